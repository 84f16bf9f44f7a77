//! The clock rule and the timers (SPEC section 10).

use super::simulation::*;
use wa_sidecar::link::{Event, Fatal};
use wa_sidecar::wire::message::Message;

/// No delay, so that ages are exact.
fn exact() -> Options {
    Options {
        delay: 0,
        ..Options::default()
    }
}

#[test]
fn ten_seconds_pass_and_a_millisecond_more_does_not() {
    for skew_ms in [0, 9_900, -9_900] {
        for after_s in [0, 1, 8] {
            for (age_ms, ok) in [
                (0, true),
                (10_000, true),
                (10_001, false),
                (-10_000, true),
                (-10_001, false),
            ] {
                for make in [against_responder, against_initiator] {
                    let mut raw = make(&Options { skew_ms, ..exact() });
                    for _ in 0..after_s {
                        raw.advance(SECOND).expect("lives");
                        raw.send(|w| w.ping(9, 9)).expect("fresh");
                    }
                    let result = raw.send_aged(age_ms, |w| w.ping(1, 1));
                    let expected = if ok { Ok(vec![]) } else { Err(Fatal::Stale { age_ms }) };
                    assert_eq!(result, expected, "{age_ms} ms, clocks {skew_ms} ms apart");
                }
            }
        }
    }
}

/// The link's PING is answered after `round_trip`; how old the next frame seems that is `age_ms` old.
fn after_a_pong(round_trip: Time, age_ms: i64) -> Result<Vec<Event>, Fatal> {
    let mut raw = against_initiator(&exact());
    // That of frame 0 is answered at once.
    raw.send(|w| w.pong(1, 0))?;
    raw.advance(SECOND)?;
    let pings = raw.receive();
    assert!(matches!(pings[..], [Message::Ping { token: 2, .. }]), "{pings:?}");
    raw.t += round_trip;
    let events = raw.send(|w| w.pong(2, 0))?;
    assert!(matches!(events[..], [Event::Pong { .. }]));
    raw.send_aged(age_ms, |w| w.ping(1, 1))
}

#[test]
fn a_pong_within_a_second_gives_a_new_mapping_and_a_later_one_does_not() {
    // A new mapping says: the peer's stamp was made after our PING was sealed. So a round trip is added to every age.
    assert_eq!(after_a_pong(SECOND, 9_000), Ok(vec![]));
    assert_eq!(after_a_pong(SECOND, 9_001), Err(Fatal::Stale { age_ms: 10_001 }));
    assert_eq!(after_a_pong(SECOND + MS, 10_000), Ok(vec![]));
    assert_eq!(after_a_pong(SECOND + MS, 10_001), Err(Fatal::Stale { age_ms: 10_001 }));
    // Of the token that nobody asked with, nothing.
    let mut raw = against_initiator(&exact());
    assert_eq!(raw.send(|w| w.pong(77, 0)), Ok(vec![]));
}

#[test]
fn a_second_pong_of_one_ping_is_ignored() {
    let mut raw = against_initiator(&exact());
    raw.advance(SECOND).expect("lives");
    let Some(Message::Ping { token, .. }) = raw.receive().pop() else {
        panic!("a PING")
    };
    assert_eq!(raw.send(|w| w.pong(token, 0)).expect("taken").len(), 1);
    raw.t += 500 * MS;
    assert_eq!(raw.send(|w| w.pong(token, 0)), Ok(vec![]));
}

/// Each second a PING leaves before the last one is answered.
#[test]
fn a_path_of_more_than_a_second_is_measured_and_its_windows_grow() {
    for delay in [550 * MS, 2 * SECOND] {
        let mut pair = Pair::new(Options {
            delay,
            ..Options::default()
        });
        pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(3_000_000, Ending::FinAfterInput)));
        pair.run_for(10 * SECOND);
        for link in [&pair.a.link, &pair.b.link] {
            let measured = link.round_trip().expect("measured").as_micros();
            assert_eq!(measured, u128::from(2 * delay), "one way {delay}");
        }
        let id = pair.open(App::new(0, true).sending(1000, Ending::Fin));
        assert!(pair.run_while_not(60 * SECOND, |pair| pair.a.apps[&id].input_ended));
        pair.assert_alive();
    }
}

#[test]
fn a_wall_clock_that_steps_by_an_hour_ends_nothing() {
    for step_ms in [3_600_000, -3_600_000] {
        for at_initiator in [true, false] {
            let mut pair = Pair::new(Options {
                skew_ms: 9_900,
                ..Options::default()
            });
            pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(3_000_000, Ending::FinAfterInput)));
            pair.run_for(2 * SECOND);
            let id = pair.open(
                App::new(0, true)
                    .sending(3_000_000, Ending::Fin)
                    .taking(Taking::PerSecond(100_000)),
            );
            pair.run_for(2 * SECOND);
            let side = if at_initiator { &mut pair.a } else { &mut pair.b };
            side.clock.wall_offset_ms += step_ms;
            pair.run_for(40 * SECOND);
            pair.assert_alive();
            assert!(pair.a.apps[&id].input_ended && pair.b.apps[&id].input_ended);
            let differences: Vec<i64> = pair
                .a
                .seen
                .iter()
                .filter_map(|event| match event {
                    Event::Pong {
                        clock_difference_ms, ..
                    } => *clock_difference_ms,
                    _ => None,
                })
                .collect();
            let shown = 9_900 + if at_initiator { -step_ms } else { step_ms };
            assert!(differences.iter().any(|ms| (ms - 9_900).abs() < 10), "before the step");
            assert!(
                differences.iter().rev().take(3).all(|ms| (ms - shown).abs() < 10),
                "{differences:?}"
            );
        }
    }
}

#[test]
fn clocks_of_different_rates_stay_together() {
    // 500 ppm are 3.6 s in two hours; a mapping is at most a second old.
    let mut pair = Pair::new(Options {
        rate_ppm: 500,
        ..Options::default()
    });
    pair.run_for(HOUR + MINUTE);
    pair.assert_alive();
}

#[test]
fn dead_after_eleven_silent_seconds_and_not_before() {
    for make in [against_responder, against_initiator] {
        let mut raw = make(&exact());
        let mut silent = 0;
        let dead = loop {
            silent += 1;
            if let Err(fatal) = raw.advance(MS) {
                break fatal;
            }
            raw.receive();
        };
        assert_eq!((dead, silent), (Fatal::Dead { silent_ms: 11_000 }, 11_000));
    }
}

#[test]
fn a_partition_of_five_seconds_is_survived_and_one_of_twelve_is_not() {
    for (cut, survives) in [(5, true), (12, false)] {
        let mut pair = Pair::new(Options {
            delay: 25 * MS,
            ..Options::default()
        });
        pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(20_000_000, Ending::FinAfterInput)));
        pair.ab.bytes_per_second = Some(2_000_000);
        pair.ba.bytes_per_second = Some(2_000_000);
        let id = pair.open(App::new(0, true).sending(20_000_000, Ending::Fin));
        pair.run_for(5 * SECOND);
        pair.ab.partitioned = true;
        pair.ba.partitioned = true;
        pair.run_for(cut * SECOND);
        pair.ab.partitioned = false;
        pair.ba.partitioned = false;
        if survives {
            assert!(pair.run_while_not(2 * MINUTE, |p| p.a.apps[&id].done && p.b.apps[&id].done));
            pair.assert_at_rest();
        } else {
            pair.run_for(SECOND);
            assert!(
                matches!(pair.a.over, Some(Over::Fatal(Fatal::Dead { .. }))),
                "{:?}",
                pair.a.over
            );
            assert!(pair.a.apps[&id].done && !pair.a.apps[&id].input_ended);
        }
    }
}

/// A network that holds one direction back for 11 s and then delivers: nothing late reaches an app.
#[test]
fn what_was_held_back_for_eleven_seconds_is_not_delivered() {
    let mut pair = Pair::start();
    pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(1000, Ending::Open)));
    let id = pair.open(App::new(0, true).sending(100, Ending::Open));
    pair.run_for(3 * SECOND);
    let server = pair.b.apps.get_mut(&id).expect("served");
    server.sends += 500;
    server.ready = true;
    // The frame is on the way when the path stops; everything else goes on, so that nobody is dead.
    pair.ba.delay = 10_500 * MS;
    pair.run_for(10_900 * MS);
    assert!(
        matches!(pair.a.over, Some(Over::Fatal(Fatal::Stale { .. }))),
        "{:?}",
        pair.a.over
    );
    assert_eq!(pair.a.apps[&id].received, 1000);
}

#[test]
fn an_idle_link_seals_a_frame_a_second_on_both_sides() {
    let mut pair = Pair::new(Options {
        delay: 40 * MS,
        ..Options::default()
    });
    pair.run_for(MINUTE);
    pair.assert_alive();
    for side in [&pair.a, &pair.b] {
        assert!(
            side.sealed_at.len() < 200,
            "PING and PONG, no more: {}",
            side.sealed_at.len()
        );
        for two in side.sealed_at.windows(2) {
            assert!(two[1] - two[0] <= SECOND, "{} ms", (two[1] - two[0]) / MS);
        }
    }
}

/// A timer that fires late does not slow the rhythm down.
#[test]
fn ticks_keep_their_rhythm_when_the_timer_is_late() {
    let mut raw = against_initiator(&exact());
    let start = raw.t;
    for _ in 0..100 {
        raw.t = raw.clock.when(raw.link.timeout()) + 20 * MS;
        raw.advance(0).expect("lives");
        raw.send(|w| w.ping(0, 0)).expect("lives");
        assert!(raw.receive().iter().any(|m| matches!(m, Message::Ping { .. })));
    }
    assert_eq!(raw.t - start, 100 * SECOND + 20 * MS);
}
