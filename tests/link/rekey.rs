//! New keys in place (SPEC section 11), under traffic, on the hour, refused, unanswered, out of order.

use super::simulation::*;
use wa_sidecar::crypto::keys::{Opener, Sealer};
use wa_sidecar::crypto::noise::{Initiator, Responder};
use wa_sidecar::crypto::{Keyring, Psk};
use wa_sidecar::link::{Event, Fatal};
use wa_sidecar::wire::message::{Message, REKEY_NOISE_LEN};

fn rekeys(side: &Side) -> u64 {
    side.counters.rekeys.get()
}

fn asked(side: &Side, accepted: bool) -> usize {
    side.seen
        .iter()
        .filter(|&event| *event == Event::Rekey { accepted })
        .count()
}

#[test]
fn many_rekeys_under_bulk_both_ways() {
    let mut pair = Pair::new(Options {
        delay: 10 * MS,
        ..Options::default()
    });
    pair.ab.bytes_per_second = Some(4_000_000);
    pair.ba.bytes_per_second = Some(4_000_000);
    pair.ab.largest_piece = 3_000;
    pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(2_000_000, Ending::FinAfterInput)));
    for _ in 0..8 {
        pair.open(App::new(0, true).sending(2_000_000, Ending::Fin));
    }
    for n in 0..40 {
        pair.a.link.rekey_now(pair.a.clock.now(pair.t).instant);
        pair.run_for((100 + n * 7 % 50) * MS);
        pair.assert_alive();
    }
    assert!(pair.run_while_not(MINUTE, |p| p.a.apps.values().all(|app| app.done)));
    pair.assert_at_rest();
    assert!(rekeys(&pair.a) >= 20, "{}", rekeys(&pair.a));
    assert_eq!(rekeys(&pair.a), rekeys(&pair.b));
    assert_eq!(asked(&pair.a, true) as u64, rekeys(&pair.a));
    pair.drain();
}

#[test]
fn every_hour() {
    let mut pair = Pair::start();
    pair.run_for(3 * HOUR + 30 * MINUTE);
    pair.assert_alive();
    assert_eq!((rekeys(&pair.a), rekeys(&pair.b)), (3, 3));
    let age = pair.a.link.epoch_age(pair.a.clock.now(pair.t).instant);
    assert!(age < seconds(31 * 60), "{age:?}");
}

#[test]
fn a_refused_rekey_is_tried_again_each_minute_until_the_keys_are_too_old() {
    let mut pair = Pair::new(Options {
        rekey_at_responder: keyring(2),
        ..Options::default()
    });
    let id = pair.open(App::new(0, true).sending(1000, Ending::Open));
    pair.run_for(HOUR - MINUTE);
    assert_eq!(asked(&pair.a, false), 0);
    pair.run_for(10 * MINUTE + 30 * SECOND);
    assert!((9..=10).contains(&asked(&pair.a, false)), "{}", asked(&pair.a, false));
    pair.assert_alive();
    assert!(!pair.a.link.is_draining());
    pair.run_for(HOUR - 9 * MINUTE);
    assert!(pair.a.link.is_draining() && pair.b.link.is_draining());
    pair.assert_alive();
    // The stream that is there may end in order.
    let app = pair.a.apps.get_mut(&id).expect("open");
    app.ending = Ending::Fin;
    app.ready = true;
    pair.run_for(5 * SECOND);
    assert_eq!((&pair.a.over, &pair.b.over), (&Some(Over::Closed), &Some(Over::Closed)));
    assert!(pair.b.apps[&id].input_ended);
}

#[test]
fn a_responder_accepts_the_previous_secret() {
    let both = Keyring {
        previous: Some(Psk::from_bytes([1; 32])),
        ..keyring(2)
    };
    let mut pair = Pair::new(Options {
        rekey_at_responder: both,
        ..Options::default()
    });
    pair.run_for(HOUR + MINUTE);
    pair.assert_alive();
    assert_eq!((rekeys(&pair.a), rekeys(&pair.b)), (1, 1));
}

/// Time passes, frames arrive, but not the one that is waited for.
fn until_fatal(raw: &mut Raw) -> (Fatal, u64) {
    let start = raw.t;
    loop {
        raw.t += 100 * MS;
        if let Err(fatal) = raw.advance(0).and_then(|()| raw.send(|w| w.ping(0, 0)).map(drop)) {
            return (fatal, (raw.t - start) / SECOND);
        }
        raw.receive();
    }
}

#[test]
fn an_initiator_that_gets_no_answer_gives_up_after_30_s() {
    let mut raw = against_initiator(&Options::default());
    raw.link.rekey_now(raw.clock.now(raw.t).instant);
    raw.advance(0).expect("lives");
    assert!(matches!(raw.receive()[..], [Message::Rekey1 { .. }]));
    assert!(matches!(until_fatal(&mut raw), (Fatal::Rekey(_), 30)));
}

/// The initiator's side of the exchange with the responder under test, until REKEY2.
struct Exchange {
    raw: Raw,
    sealer: Sealer,
}

fn asked_responder() -> Exchange {
    let options = Options::default();
    let (_, b) = handshake(&options);
    let (prologue, h, suite) = (b.established.prologue, b.established.split.h, b.established.suite);
    let mut raw = against_responder(&options);
    let prologue = [b"rekey".as_slice(), &prologue, &h].concat();
    let mut noise1 = [0; REKEY_NOISE_LEN];
    let psk = keyring(1).current;
    let initiator = Initiator::start(&psk, &prologue, &[], [7; 32], &mut noise1).expect("made");
    assert_eq!(raw.send(|w| w.rekey1(&noise1)), Ok(vec![]));
    let said = raw.receive();
    let Some(Message::Rekey2 { status: 0, noise }) = said.last() else {
        panic!("{said:?}")
    };
    let split = initiator.finish(noise, &mut []).expect("authenticates");
    raw.opener = Opener::new(suite, &split.k_r, &split.h);
    Exchange {
        raw,
        sealer: Sealer::new(suite, &split.k_i, &split.h),
    }
}

#[test]
fn a_responder_waits_30_s_for_rekey3_and_takes_it_as_the_last_of_its_epoch() {
    assert!(matches!(until_fatal(&mut asked_responder().raw), (Fatal::Rekey(_), 30)));

    let Exchange { mut raw, sealer } = asked_responder();
    raw.send(|w| w.ping(5, 5)).expect("the old epoch goes on until REKEY3");
    assert_eq!(raw.receive().len(), 1, "under the new keys");
    assert_eq!(raw.send(|w| w.rekey3()), Ok(vec![Event::Rekey { accepted: true }]));
    raw.sealer = sealer;
    raw.send(|w| w.ping(6, 6)).expect("under the new keys");
    assert!(
        raw.receive()
            .iter()
            .any(|m| matches!(m, Message::Pong { token: 6, .. }))
    );
    assert!(raw.send(|w| w.rekey3()).is_err(), "a second REKEY3");

    let Exchange { mut raw, .. } = asked_responder();
    assert!(raw.send(|w| w.rekey3() && w.ping(1, 1)).is_err(), "behind REKEY3");
    let Exchange { mut raw, .. } = asked_responder();
    assert!(
        raw.send(|w| w.rekey1(&[1; REKEY_NOISE_LEN])).is_err(),
        "REKEY1 in an exchange"
    );
    // No trial under two keys: after REKEY3 the old ones open nothing.
    let Exchange { mut raw, .. } = asked_responder();
    raw.send(|w| w.rekey3()).expect("taken");
    assert!(raw.send(|w| w.ping(1, 1)).is_err());
}

#[test]
fn rekey_messages_out_of_order_are_fatal() {
    let noise = [3; REKEY_NOISE_LEN];
    assert!(
        against_responder(&Options::default())
            .send(|w| w.rekey2(Some(&noise)))
            .is_err()
    );
    assert!(against_responder(&Options::default()).send(|w| w.rekey2(None)).is_err());
    assert!(against_responder(&Options::default()).send(|w| w.rekey3()).is_err());
    assert!(
        against_initiator(&Options::default())
            .send(|w| w.rekey1(&noise))
            .is_err()
    );
    assert!(against_initiator(&Options::default()).send(|w| w.rekey3()).is_err());
    assert!(
        against_initiator(&Options::default())
            .send(|w| w.rekey2(Some(&noise)))
            .is_err()
    );
    assert!(against_initiator(&Options::default()).send(|w| w.rekey2(None)).is_err());
    // One that does not authenticate is refused by a responder, fatal at an initiator.
    let mut raw = against_responder(&Options::default());
    assert_eq!(raw.send(|w| w.rekey1(&noise)), Ok(vec![]));
    assert_eq!(
        raw.receive(),
        [Message::Rekey2 {
            status: 1,
            noise: [0; REKEY_NOISE_LEN]
        }]
    );
    raw.send(|w| w.ping(1, 1)).expect("nothing changed");
    assert_eq!(raw.receive().len(), 1);
    let mut raw = against_initiator(&Options::default());
    raw.link.rekey_now(raw.clock.now(raw.t).instant);
    raw.advance(0).expect("lives");
    raw.receive();
    assert!(raw.send(|w| w.rekey2(Some(&noise))).is_err());
    // A message behind an accepting REKEY2.
    let mut raw = against_initiator(&Options::default());
    let (a, _) = handshake(&Options::default());
    let prologue = [b"rekey".as_slice(), &a.established.prologue, &a.established.split.h].concat();
    raw.link.rekey_now(raw.clock.now(raw.t).instant);
    raw.advance(0).expect("lives");
    let [Message::Rekey1 { noise }] = raw.receive()[..] else {
        panic!("REKEY1")
    };
    let responder = Responder::read(&keyring(1).current, &prologue, &noise, &mut []).expect("authenticates");
    let mut answer = [0; REKEY_NOISE_LEN];
    responder.finish(&[], [8; 32], &mut answer).expect("made");
    assert!(raw.send(|w| w.rekey2(Some(&answer)) && w.ping(1, 1)).is_err());
}

/// Both directions pass into the second generation of keys (SPEC section 4) while streams go on.
#[test]
fn the_ratchet_turns_under_traffic() {
    let mut raw = against_responder(&Options::default());
    for n in 0..(1 << 20) + 1000 {
        raw.t += 1000;
        raw.send(|w| w.ping(n, 0)).expect("opens");
        assert!(
            raw.receive()
                .iter()
                .any(|m| matches!(m, Message::Pong { token, .. } if *token == n))
        );
    }
}
