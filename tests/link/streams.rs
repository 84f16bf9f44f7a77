//! How streams end, each way round (SPEC section 9).

use super::simulation::*;
use wa_sidecar::counters::StreamEnd;
use wa_sidecar::link::{Fatal, Role};
use wa_sidecar::wire::message::{Code, GoAway, Message};

fn ended(side: &Side, end: StreamEnd) -> u64 {
    side.counters.streams_ended[end as usize].get()
}

/// Every responder app of `pair` sends `bytes` and ends so.
fn serve(pair: &mut Pair, bytes: u64, ending: Ending) {
    pair.b.serve = Box::new(move |id| Some(App::new(id, false).sending(bytes, ending)));
}

#[test]
fn half_closes_each_way() {
    for (ask, answer) in [(0, 0), (1, 1), (5_000, 70_000), (3_000_000, 10), (10, 3_000_000)] {
        for (first, second) in [
            (Ending::Fin, Ending::FinAfterInput),
            (Ending::FinAfterInput, Ending::Fin),
        ] {
            let mut pair = Pair::start();
            pair.ab.largest_piece = 7_000;
            serve(&mut pair, answer, second);
            let id = pair.open(App::new(0, true).sending(ask, first));
            assert!(pair.run_while_not(MINUTE, |p| p.a.apps[&id].done
                && p.b.apps.get(&id).is_some_and(|app| app.done)));
            assert_eq!(pair.b.apps[&id].received, ask);
            assert_eq!(pair.a.apps[&id].received, answer);
            pair.assert_at_rest();
            assert_eq!(ended(&pair.a, StreamEnd::Fin), 1);
            assert_eq!(ended(&pair.b, StreamEnd::Fin), 1);
            pair.drain();
        }
    }
}

#[test]
fn a_server_that_answers_early_and_closes_loses_nothing_of_its_answer() {
    let mut pair = Pair::start();
    serve(&mut pair, 100_000, Ending::FinAndStop);
    // The client is slow to take the answer and would send for ever.
    let id = pair.open(
        App::new(0, true)
            .sending(u64::MAX / 4, Ending::Fin)
            .taking(Taking::PerSecond(20_000)),
    );
    assert!(pair.run_while_not(MINUTE, |p| p.a.apps[&id].done));
    let app = &pair.a.apps[&id];
    assert_eq!(
        (app.received, app.reset, app.stopped),
        (100_000, None, Some(Code::AppReset))
    );
    pair.assert_at_rest();
    assert_eq!(ended(&pair.a, StreamEnd::Stopped), 1);
    assert_eq!(ended(&pair.b, StreamEnd::Stopped), 1);
}

#[test]
fn an_app_that_breaks_resets_the_other_wherever_it_stands() {
    for at_initiator in [true, false] {
        for (sent, other_sends, other) in [
            (0, 0, Ending::Open),
            (50_000, 0, Ending::Open),
            (50_000, 2_000_000, Ending::Fin),
            (0, 10, Ending::Fin),
            (5, 9_000, Ending::FinAfterInput),
        ] {
            let mut pair = Pair::start();
            let breaks = App::new(0, at_initiator).sending(sent, Ending::Break);
            let stays = App::new(0, !at_initiator).sending(other_sends, other);
            let (at_a, at_b) = if at_initiator { (breaks, stays) } else { (stays, breaks) };
            pair.b.serve = Box::new(move |_| Some(at_b.clone()));
            let id = pair.open(at_a);
            pair.run_for(5 * SECOND);
            let survivor = if at_initiator {
                &pair.b.apps[&id]
            } else {
                &pair.a.apps[&id]
            };
            assert_eq!(survivor.reset, Some(Code::AppReset), "{sent} {other_sends} {other:?}");
            assert!(!survivor.input_ended, "never an end in order");
            pair.assert_at_rest();
        }
    }
}

#[test]
fn resets_that_cross_end_the_stream_once() {
    let mut pair = Pair::start();
    serve(&mut pair, 0, Ending::Open);
    let ids: Vec<u32> = (0..10)
        .map(|_| pair.open(App::new(0, true).sending(100, Ending::Open)))
        .collect();
    pair.run_for(100 * MS);
    for &id in &ids {
        for side in [&mut pair.a, &mut pair.b] {
            let app = side.apps.get_mut(&id).expect("served");
            app.ending = Ending::Break;
            app.ready = true;
        }
    }
    pair.assert_at_rest();
    assert_eq!(
        (ended(&pair.a, StreamEnd::Reset), ended(&pair.b, StreamEnd::Reset)),
        (10, 10)
    );
    pair.drain();
}

#[test]
fn fin_and_reset_cross() {
    for breaker_is_initiator in [true, false] {
        let mut pair = Pair::start();
        serve(&mut pair, 0, Ending::Open);
        let id = pair.open(App::new(0, true).sending(1000, Ending::Open));
        pair.run_for(100 * MS);
        for side in [&mut pair.a, &mut pair.b] {
            let app = side.apps.get_mut(&id).expect("served");
            let breaks = app.from_initiator == breaker_is_initiator;
            app.ending = if breaks { Ending::Break } else { Ending::Fin };
            app.ready = true;
        }
        pair.run_for(SECOND);
        let other = if breaker_is_initiator { &pair.b } else { &pair.a };
        assert_eq!(other.apps[&id].reset, Some(Code::AppReset));
        pair.assert_at_rest();
    }
}

#[test]
fn a_refusal_tells_its_reason_and_is_counted_as_one() {
    let mut pair = Pair::start();
    pair.b.serve = Box::new(|_| None);
    let id = pair.open(App::new(0, true).sending(3000, Ending::Open));
    pair.run_for(100 * MS);
    pair.b.link.abort(id, Code::DialRefused);
    pair.b.link.release(id);
    pair.run_for(100 * MS);
    assert_eq!(pair.a.apps[&id].reset, Some(Code::DialRefused));
    pair.assert_at_rest();
    assert_eq!(
        (ended(&pair.a, StreamEnd::Refused), ended(&pair.b, StreamEnd::Refused)),
        (1, 1)
    );
}

#[test]
fn a_stream_reset_before_its_open_has_left_is_told_in_order() {
    let mut pair = Pair::start();
    let id = pair.open(App::new(0, true).sending(0, Ending::Break));
    let other = pair.open(App::new(0, true).sending(10, Ending::FinAfterInput));
    pair.run_for(SECOND);
    assert_eq!(pair.b.apps[&id].reset, Some(Code::AppReset));
    assert!(pair.b.apps[&other].input_ended);
    pair.assert_at_rest();
}

/// After `release` nothing more is asked of the app, so nothing may wait for it: not even of a stream whose own direction
/// had ended while the peer goes on sending.
#[test]
fn a_stream_that_is_let_go_while_the_peer_still_sends_does_not_stay_for_ever() {
    for at_initiator in [true, false] {
        let mut pair = Pair::start();
        let quits = App::new(0, at_initiator).sending(100, Ending::Fin);
        let sends = App::new(0, !at_initiator).sending(10_000_000, Ending::Fin);
        let (at_a, at_b) = if at_initiator { (quits, sends) } else { (sends, quits) };
        pair.b.serve = Box::new(move |_| Some(at_b.clone()));
        let id = pair.open(at_a);
        pair.run_for(5 * MS);
        let side = if at_initiator { &mut pair.a } else { &mut pair.b };
        side.link.release(id);
        side.apps.get_mut(&id).expect("there").done = true;
        pair.assert_at_rest();
    }
}

#[test]
fn streams_that_only_an_app_holds_count_against_the_limit() {
    let mut pair = Pair::new(Options {
        max_streams: 4,
        ..Options::default()
    });
    // The responder's apps take nothing, so the streams stay there after the wire has closed them.
    pair.b.serve = Box::new(|id| Some(App::new(id, false).taking(Taking::Allowance(0))));
    for _ in 0..4 {
        pair.open(App::new(0, true).sending(1000, Ending::Fin));
    }
    pair.run_for(SECOND);
    assert_eq!((pair.a.link.streams(), pair.b.link.streams()), (0, 4));
    assert_eq!((pair.a.link.live_streams(), pair.b.link.live_streams()), (0, 0));
    let refused = pair.open(App::new(0, true).sending(1000, Ending::Fin));
    pair.run_for(SECOND);
    assert_eq!(pair.a.apps[&refused].reset, Some(Code::Busy));
    assert!(!pair.b.apps.contains_key(&refused));
    pair.assert_alive();
    for app in pair.b.apps.values_mut() {
        app.take(Taking::All);
    }
    pair.assert_at_rest();
    let served = pair.open(App::new(0, true).sending(1000, Ending::Fin));
    pair.run_for(SECOND);
    assert!(pair.b.apps.contains_key(&served), "there is room again");
}

#[test]
fn a_lost_link_resets_what_is_not_whole_and_delivers_what_is() {
    let mut pair = Pair::start();
    pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(if id == 1 { 9000 } else { 10 }, Ending::Open)));
    // Stream 1's answer arrives whole but is not taken; stream 2's goes on.
    let whole = pair.open(
        App::new(0, true)
            .sending(10, Ending::Fin)
            .taking(Taking::Allowance(100)),
    );
    let cut = pair.open(App::new(0, true).sending(10, Ending::Open));
    pair.run_for(SECOND);
    let answering = pair.b.apps.get_mut(&whole).expect("served");
    answering.ending = Ending::Fin;
    answering.ready = true;
    pair.run_for(SECOND);
    pair.ba.closed = true;
    pair.run_for(SECOND);
    assert_eq!(pair.a.over, Some(Over::Disconnected));
    assert_eq!(pair.a.lost, [cut]);
    assert!(pair.a.apps[&cut].done && !pair.a.apps[&cut].input_ended);
    let app = pair.a.apps.get_mut(&whole).expect("there");
    assert_eq!((app.received, app.input_ended, app.reset), (100, false, None));
    app.take(Taking::All);
    pair.run_for(SECOND);
    let app = &pair.a.apps[&whole];
    assert_eq!((app.received, app.input_ended, app.done), (9000, true, true));
    assert_eq!((pair.a.link.streams(), pair.a.counters.streams_open.get()), (0, 0));
    assert_eq!(
        (ended(&pair.a, StreamEnd::Fin), ended(&pair.a, StreamEnd::LinkLost)),
        (1, 1)
    );
    assert_eq!(pair.a.budget.free().1, 8 << 20);
}

#[test]
fn goaway_from_either_side_serves_what_crosses_it_and_then_both_close() {
    for by_initiator in [true, false] {
        let mut pair = Pair::new(Options {
            delay: 50 * MS,
            ..Options::default()
        });
        serve(&mut pair, 40_000, Ending::FinAfterInput);
        pair.run_for(SECOND);
        let side = if by_initiator { &mut pair.a } else { &mut pair.b };
        // In one moment: opened at the initiator, GOAWAY at either.
        let goaway = wa_sidecar::wire::message::GoAway::Shutdown;
        side.link.goaway(goaway);
        if by_initiator {
            assert!(
                pair.a
                    .link
                    .open(&mut pair.a.buffers, b"", pair.a.clock.now(pair.t).instant)
                    .is_err()
            );
        } else {
            let id = pair.open(App::new(0, true).sending(500_000, Ending::Fin));
            assert!(pair.run_while_not(MINUTE, |p| p.a.apps[&id].done));
            assert!(pair.a.apps[&id].input_ended && pair.b.apps[&id].input_ended);
        }
        pair.run_for(2 * SECOND);
        assert_eq!((&pair.a.over, &pair.b.over), (&Some(Over::Closed), &Some(Over::Closed)));
        assert_eq!((pair.a.budget.free().1, pair.b.budget.free().1), (8 << 20, 8 << 20));
    }
}

#[test]
fn goaways_that_cross_are_one_each() {
    let mut pair = Pair::start();
    let id = pair.open(App::new(0, true).sending(1_000_000, Ending::Fin));
    pair.run_for(5 * MS);
    for side in [&mut pair.a, &mut pair.b] {
        side.link.goaway(wa_sidecar::wire::message::GoAway::Shutdown);
        side.link.goaway(wa_sidecar::wire::message::GoAway::KeysTooOld);
    }
    pair.run_for(5 * SECOND);
    assert!(pair.b.apps[&id].input_ended);
    assert_eq!((&pair.a.over, &pair.b.over), (&Some(Over::Closed), &Some(Over::Closed)));
}

/// A GOAWAY that is never answered would keep the link, and its first windows, for as long as the peer likes.
#[test]
fn a_goaway_that_is_not_answered_within_30_s_ends_the_link() {
    for role in [Role::Responder, Role::Initiator] {
        let mut raw = match role {
            Role::Responder => against_responder(&Options::default()),
            Role::Initiator => against_initiator(&Options::default()),
        };
        raw.link.goaway(GoAway::KeysTooOld);
        let mut said = raw.receive();
        let start = raw.t;
        let (mut id, mut fatal) = (0, None);
        while fatal.is_none() && raw.t < start + MINUTE {
            id += 1;
            let alive = raw.send(|w| w.ping(0, 0) && (role == Role::Initiator || w.open(id, b"")));
            fatal = alive.and_then(|_| raw.advance(SECOND)).err();
            said.extend(raw.receive());
        }
        assert!(said.contains(&Message::GoAway { code: 2 }), "{role:?}");
        assert!(matches!(fatal, Some(Fatal::Link { .. })), "{role:?}: {fatal:?}");
        assert_eq!(raw.t - start, 30 * SECOND, "{role:?}");
    }
    // One that is answered leaves a stream all its time.
    let mut raw = against_responder(&Options::default());
    raw.send(|w| w.open(1, b"")).expect("opened");
    raw.link.goaway(GoAway::Shutdown);
    raw.receive();
    raw.send(|w| w.goaway(GoAway::Shutdown)).expect("answered");
    for _ in 0..120 {
        raw.advance(SECOND).expect("a stream is open");
        raw.send(|w| w.ping(0, 0)).expect("lives");
        raw.receive();
    }
}

/// An app that never takes its answer would else keep the whole reserve of every link that ends under it, until none is left.
#[test]
fn a_link_that_is_over_keeps_memory_only_for_what_waits() {
    let mut pair = Pair::start();
    serve(&mut pair, 9000, Ending::Fin);
    let whole = pair.open(
        App::new(0, true)
            .sending(10, Ending::Fin)
            .taking(Taking::Allowance(100)),
    );
    pair.run_for(SECOND);
    let reserve = pair.a.budget.total() / 2;
    let window = pair.a.link.credit(whole).expect("held").window;
    assert!(
        pair.a.budget.free().0 < reserve - 100 * window,
        "first windows are leased"
    );
    // What is sealed and not taken by the socket when the link ends.
    let busy = pair.open(App::new(0, true).sending(10_000, Ending::Open));
    pair.a.apps_turn(pair.t);
    let now = pair.a.clock.now(pair.t);
    let sealed = pair.a.link.transmit(&mut pair.a.buffers, now).expect("sealed");
    assert!(sealed.is_some_and(|bytes| bytes.len() > 10_000));
    pair.a.end_by(Over::Disconnected, &mut pair.ab);
    assert_eq!(pair.a.lost, [busy]);
    assert_eq!(pair.a.budget.free().0, reserve - window);
    assert_eq!(
        pair.a.link.transmit(&mut pair.a.buffers, now),
        Ok(None),
        "its frames are gone"
    );
    pair.a.apps.get_mut(&whole).expect("there").take(Taking::All);
    pair.run_for(SECOND);
    assert!(pair.a.apps[&whole].input_ended && pair.a.apps[&whole].received == 9000);
    let budget = pair.a.budget.clone();
    drop(pair);
    assert_eq!(budget.free(), (reserve, reserve));
}
