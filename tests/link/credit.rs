//! Credit (SPEC section 8): given by what the app takes, grown by round trip, handed back, never more than there is memory for.

use super::simulation::*;
use wa_sidecar::link::Event;
use wa_sidecar::wire::message::{Code, Message};

const GROWTH: u64 = 8 << 20;

fn grown(side: &Side) -> u64 {
    GROWTH - side.budget.free().1
}

/// What the peers of `side` may still send it, and what it keeps for its apps.
fn promised(side: &Side) -> u64 {
    let credit = |id: &u32| side.link.credit(*id);
    let one = |c: wa_sidecar::link::Credit| c.granted - c.consumed;
    side.apps.keys().filter_map(credit).map(one).sum()
}

fn bulk(streams: usize, delay: Time) -> Pair {
    let mut pair = Pair::new(Options {
        delay,
        ..Options::default()
    });
    for _ in 0..streams {
        pair.open(App::new(0, true).sending(u64::MAX / 4, Ending::Open));
    }
    pair
}

#[test]
fn windows_grow_by_the_round_trip_within_the_budget() {
    let mut pair = bulk(1, 20 * MS);
    assert!(pair.run_while_not(10 * SECOND, |p| p.b.link.credit(1).is_some_and(|c| c.window == 4 << 20)));
    pair.assert_alive();
    let before = pair.b.apps[&1].received;
    pair.run_for(10 * SECOND);
    let rate = (pair.b.apps[&1].received - before) / 10;
    assert!(rate > 50 << 20, "4 MiB in 40 ms is 100 MiB/s: {rate}");

    // A path that takes three quarters of the window in a round trip is used.
    let mut pair = bulk(1, 20 * MS);
    for way in [&mut pair.ab, &mut pair.ba] {
        way.bytes_per_second = Some(70 << 20);
    }
    pair.run_for(2 * SECOND);
    let before = pair.b.apps[&1].received;
    pair.run_for(2 * SECOND);
    let rate = (pair.b.apps[&1].received - before) / 2;
    assert!(rate > 63 << 20, "70 MiB/s: {rate}");

    let mut pair = bulk(40, 20 * MS);
    let first = u64::from(16_u32 * 1024);
    let broken = pair.run_while_not(3 * SECOND, |p| {
        promised(&p.b) > 40 * first + grown(&p.b) || p.b.budget.free().1 > GROWTH
    });
    assert!(!broken, "{} promised, {} grown", promised(&pair.b), grown(&pair.b));
    assert!(grown(&pair.b) > GROWTH / 2, "growth is used: {}", grown(&pair.b));
}

/// What lies in the connection for a busy receiver is in the way of all the others.
#[test]
fn a_window_is_narrower_beside_other_streams_and_wide_again_alone() {
    let window = |pair: &Pair| pair.b.link.credit(1).map_or(0, |credit| credit.window);
    // 1 MiB, and what 1 Gbit/s carries in a round trip.
    for (delay, beside) in [(MS, (1 << 20) + 250_000), (20 * MS, 4 << 20)] {
        let mut pair = bulk(1, delay);
        assert!(pair.run_while_not(5 * SECOND, |pair| window(pair) == 4 << 20));
        let other = pair.open(App::new(0, true).sending(1, Ending::Open));
        // From the first PONG on.
        assert!(pair.run_while_not(3 * SECOND, |pair| window(pair) == beside));
        pair.run_for(SECOND / 20);
        let credit = pair.b.link.credit(1).expect("open");
        assert!(credit.granted - credit.consumed <= beside, "{credit:?}");
        assert!(grown(&pair.b) <= beside);
        let app = pair.a.apps.get_mut(&other).expect("open");
        (app.ending, app.ready) = (Ending::Break, true);
        assert!(pair.run_while_not(5 * SECOND, |pair| window(pair) == 4 << 20));
        pair.assert_alive();
    }
}

#[test]
fn idle_streams_hand_their_growth_back() {
    let mut pair = bulk(10, 20 * MS);
    pair.run_for(5 * SECOND);
    assert!(grown(&pair.b) > 0);
    for app in pair.a.apps.values_mut() {
        app.sends = app.sent;
    }
    pair.run_for(4 * SECOND);
    assert_eq!(grown(&pair.b), 0);
    for id in 1..=10 {
        let (at_b, at_a) = (
            pair.b.link.credit(id).expect("open"),
            pair.a.link.credit(id).expect("open"),
        );
        assert_eq!((at_b.window, at_b.granted), (16_384, at_b.consumed + 16_384));
        assert_eq!((at_a.limit, at_a.sent), (at_b.granted, at_b.received));
    }
    // And it still carries.
    for app in pair.a.apps.values_mut() {
        app.sends += 1_000_000;
        app.ready = true;
        app.ending = Ending::Fin;
    }
    pair.run_for(5 * SECOND);
    pair.assert_at_rest();
}

#[test]
fn growth_comes_back_at_every_end_of_a_stream() {
    type End = fn(&mut Pair);
    let ends: [(&str, End); 8] = [
        ("FIN by the sender", |p| finish(p, true, Ending::Fin)),
        ("RESET by the sender", |p| finish(p, true, Ending::Break)),
        ("RESET by the receiver", |p| finish(p, false, Ending::Break)),
        ("STOP by the receiver", |p| finish(p, false, Ending::FinAndStop)),
        ("FIN by the receiver, then RESET by the sender", |p| {
            finish(p, false, Ending::Fin);
            finish(p, true, Ending::Break);
        }),
        ("release at the receiver", |p| {
            p.b.link.release(1);
            p.b.apps.get_mut(&1).expect("there").die();
        }),
        ("release at the sender", |p| {
            p.a.link.release(1);
            p.a.apps.get_mut(&1).expect("there").die();
        }),
        ("FIN while the receiver stalls", |p| {
            p.b.apps.get_mut(&1).expect("there").take(Taking::Allowance(0));
            p.run_for(100 * MS);
            finish(p, true, Ending::Fin);
            p.run_for(SECOND);
            assert!(
                p.b.link.queued(1)[0].len() > 16_384 && grown(&p.b) > 0,
                "pinned by what waits"
            );
            p.b.apps.get_mut(&1).expect("there").take(Taking::All);
        }),
    ];
    for (name, end) in ends {
        let mut pair = bulk(1, 20 * MS);
        pair.run_for(2 * SECOND);
        assert!(grown(&pair.b) > 0);
        end(&mut pair);
        pair.run_for(5 * SECOND);
        assert_eq!(grown(&pair.b), 0, "{name}");
        pair.assert_alive();
    }
    // The link under it is lost.
    let mut pair = bulk(1, 20 * MS);
    pair.run_for(2 * SECOND);
    pair.ab.closed = true;
    pair.run_for(SECOND);
    assert_eq!((pair.b.over.clone(), grown(&pair.b)), (Some(Over::Disconnected), 0));
    let (budget, total) = (pair.b.budget.clone(), 16 << 20);
    drop(pair);
    assert_eq!(budget.free(), (total / 2, total / 2), "the first windows too");
}

fn finish(pair: &mut Pair, at_initiator: bool, ending: Ending) {
    let side = if at_initiator { &mut pair.a } else { &mut pair.b };
    let app = side.apps.get_mut(&1).expect("there");
    app.sends = app.sent;
    app.ending = ending;
    app.output_ended = false;
    app.ready = true;
    pair.run_for(100 * MS);
}

#[test]
fn small_amounts_are_credited_at_the_latest_after_a_tick() {
    let mut pair = Pair::start();
    let id = pair.open(App::new(0, true).sending(100, Ending::Open));
    pair.run_for(2 * SECOND);
    let credit = pair.b.link.credit(id).expect("open");
    assert_eq!((credit.consumed, credit.granted), (100, 100 + credit.window));
    assert_eq!(pair.a.link.credit(id).expect("open").limit, credit.granted);
}

/// A stream, and on either side an app that [`say`] makes speak.
fn dialogue() -> (Pair, u32) {
    let mut pair = Pair::new(Options {
        delay: MS,
        ..Options::default()
    });
    pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(0, Ending::Open)));
    let id = pair.open(App::new(0, true).sending(80, Ending::Open));
    (pair, id)
}

fn say(side: &mut Side, id: u32, bytes: u64) {
    let app = side.apps.get_mut(&id).expect("open");
    app.sends += bytes;
    app.wake();
}

/// A CREDIT of its own would be a frame, and a wake-up of the peer, for every half a window.
#[test]
fn credit_of_a_dialogue_goes_along_with_its_requests() {
    let (mut pair, id) = dialogue();
    pair.run_for(2 * SECOND);
    let sent = pair.a.counters.frames_sent.get();
    for _ in 0..200 {
        say(&mut pair.a, id, 80);
        say(&mut pair.b, id, 1_000);
        pair.run_for(5 * MS);
    }
    assert_eq!(pair.a.apps[&id].received, 200_000);
    let frames = pair.a.counters.frames_sent.get() - sent;
    // A PING or a PONG.
    assert!((200..=204).contains(&frames), "{frames} frames for 200 requests");

    // A side that falls silent says by itself what it took, before the peer stalls.
    for _ in 0..100 {
        say(&mut pair.b, id, 1_000);
        pair.run_for(5 * MS);
    }
    assert_eq!(pair.a.apps[&id].received, 300_000);
    assert_eq!(pair.b.counters.credit_stalls.get(), 0);
}

/// A tick is a second.
#[test]
fn a_long_answer_after_a_pause_does_not_wait_for_a_tick() {
    let (mut pair, id) = dialogue();
    let mut answered = 0;
    // Of every part of a window, so that each threshold is met by less and by more than it.
    for answer in (1..=64).map(|n| n * 1_024) {
        pair.run_for(50 * MS);
        say(&mut pair.a, id, 80);
        say(&mut pair.b, id, answer);
        answered += answer;
        assert!(
            pair.run_while_not(40 * MS, |pair| pair.a.apps[&id].received == answered),
            "{answer} bytes: {} of {answered}",
            pair.a.apps[&id].received
        );
    }
}

/// The link as receiver: a stream with a window that grew, and the limits that it gave.
fn with_growth() -> (Raw, Vec<u64>) {
    let mut raw = against_responder(&Options::default());
    raw.send(|w| w.open(1, b"")).expect("opened");
    let mut limits = vec![u64::from(raw.window_of_link)];
    for _ in 0..4 {
        take(&mut raw, 16_384);
        limits.extend(credits(raw.receive()));
    }
    assert!(
        limits.len() > 2 && raw.link.credit(1).expect("open").window > 16_384,
        "{limits:?}"
    );
    (raw, limits)
}

fn take(raw: &mut Raw, n: usize) {
    let events = raw.data(1, n).expect("within credit");
    assert!(matches!(events[..], [Event::Data { id: 1, .. }]));
    let now = raw.clock.now(raw.t).instant;
    raw.link.consumed(1, n, now);
}

fn credits(messages: Vec<Message>) -> Vec<u64> {
    let credit = |message| {
        if let Message::Credit { limit, .. } = message {
            Some(limit)
        } else {
            None
        }
    };
    messages.into_iter().filter_map(credit).collect()
}

#[test]
fn a_yield_of_the_limit_in_force_is_taken() {
    let (mut raw, limits) = with_growth();
    let last = *limits.last().expect("some");
    let received = raw.link.credit(1).expect("open").received;
    assert_eq!(raw.send(|w| w.yield_back(1, last)), Ok(vec![]));
    let credit = raw.link.credit(1).expect("open");
    assert_eq!((credit.granted, credit.window), (received + 16_384, 16_384));
    assert_eq!(raw.budget.free().1, GROWTH);
    raw.data(1, 16_384).expect("the first window is left");
    assert!(raw.data(1, 1).is_err(), "what was handed back is not");
}

#[test]
fn a_yield_behind_a_greater_limit_is_void() {
    let (mut raw, limits) = with_growth();
    let [.., older, last] = limits[..] else {
        panic!("{limits:?}")
    };
    let credit = raw.link.credit(1).expect("open");
    assert!(older > credit.received + 16_384, "there is something to hand back");
    assert_eq!(raw.send(|w| w.yield_back(1, older)), Ok(vec![]));
    assert_eq!(raw.link.credit(1), Some(credit));
    raw.data(1, (last - credit.received) as usize)
        .expect("all of the greater limit");
}

#[test]
fn yields_that_claim_too_much_or_hand_back_nothing_are_fatal() {
    let (mut raw, limits) = with_growth();
    assert!(raw.send(|w| w.yield_back(1, limits.last().expect("some") + 1)).is_err());
    let (mut raw, _) = with_growth();
    let received = raw.link.credit(1).expect("open").received;
    assert!(raw.send(|w| w.yield_back(1, received + 16_384)).is_err());
}

#[test]
fn the_link_yields_what_it_does_not_use_once() {
    let mut raw = against_initiator(&Options::default());
    let now = raw.clock.now(raw.t).instant;
    raw.link.open(&mut raw.buffers, b"", now).expect("room");
    raw.receive();
    raw.send(|w| w.credit(1, 1_000_000)).expect("taken");
    let mut yields = Vec::new();
    for _ in 0..8 {
        raw.advance(500 * MS).expect("lives");
        raw.send(|w| w.ping(0, 0)).expect("lives");
        yields.extend(raw.receive().into_iter().filter(|m| matches!(m, Message::Yield { .. })));
    }
    assert_eq!(
        yields,
        [Message::Yield {
            id: 1,
            limit: 1_000_000
        }]
    );
    assert_eq!(raw.link.credit(1).expect("open").limit, u64::from(raw.window_of_peer));
    // A CREDIT that crossed it is in force.
    raw.send(|w| w.credit(1, 1_000_001)).expect("taken");
    assert_eq!(raw.link.credit(1).expect("open").limit, 1_000_001);
}

/// A stream that was about to be yielded and sends again keeps its credit.
#[test]
fn data_in_the_same_moment_calls_a_yield_off() {
    let mut raw = against_initiator(&Options::default());
    let now = raw.clock.now(raw.t).instant;
    raw.link.open(&mut raw.buffers, b"", now).expect("room");
    raw.receive();
    raw.send(|w| w.credit(1, 1_000_000)).expect("taken");
    raw.advance(SECOND).expect("lives");
    raw.receive();
    raw.advance(SECOND).expect("lives");
    assert!(matches!(
        raw.link.slot(&mut raw.buffers, 1),
        wa_sidecar::link::Slot::Room(_)
    ));
    raw.link.commit(&mut raw.buffers, 1, 100);
    let messages = raw.receive();
    assert!(
        !messages.iter().any(|m| matches!(m, Message::Yield { .. })),
        "{messages:?}"
    );
}

/// An app may break between an event and what is kept of it.
#[test]
fn what_is_kept_for_a_stream_that_was_aborted_is_dropped() {
    let (mut raw, _) = with_growth();
    raw.data(1, 60_000).expect("within credit");
    raw.link.abort(1, Code::AppReset);
    raw.link.store(1, &[0; 60_000]).expect("dropped");
    assert_eq!(raw.link.queued(1), [b"", b""] as [&[u8]; 2]);
}

/// What an honest peer has under way when many apps break at once is within what it was granted, however much that is.
#[test]
fn late_data_within_the_credit_given_is_no_flood() {
    let mut raw = against_responder(&Options {
        budget: 256 << 20,
        ..Options::default()
    });
    for id in 1..=90 {
        raw.send(|w| w.open(id, b"")).expect("opened");
        while raw.link.credit(id).expect("open").window < 1 << 20 {
            let left = raw.link.credit(id).map(|c| c.granted - c.received).expect("open");
            let n = left.min(262_144 - 9) as usize;
            raw.data(id, n).expect("within credit");
            raw.link.consumed(id, n, raw.clock.now(raw.t).instant);
            raw.receive();
        }
    }
    for id in 1..=90 {
        raw.link.abort(id, Code::AppReset);
        raw.receive();
    }
    let mut late = 0;
    for id in 1..=90 {
        let mut left = raw.link.credit(id).map(|c| c.granted - c.received).expect("open");
        while left > 0 {
            let n = left.min(262_144 - 9);
            raw.data(id, n as usize).expect("an honest peer");
            (left, late) = (left - n, late + n);
        }
    }
    assert!(late > 64 << 20, "{late}");
}
