use super::*;
use core::time::Duration;

#[test]
fn every_altered_bit_of_message_1_is_answered_with_silence() {
    let (_, message) = dial();
    let mut acceptor = acceptor();
    count::take();
    for bit in 0..MESSAGE_LEN * 8 {
        let mut altered = message;
        altered[bit / 8] ^= 1 << (bit % 8);
        let reason = closed(answer(&mut acceptor, &altered, now(0)));
        match bit / 8 {
            0 => assert_eq!(reason, CloseReason::Version(altered[0])),
            _ => assert_eq!(reason, CloseReason::Unauthenticated, "bit {bit}"),
        }
    }
    // SPEC 3.4: no X25519 for who does not authenticate.
    assert_eq!(count::take(), 0);
    accepted(answer(&mut acceptor, &message, now(0)));
}

/// SPEC 3.4: each message violates one step and all that can be violated behind it.
#[test]
fn the_steps_are_taken_in_their_order() {
    let attempt = |first_bad: u32| {
        let bad = |step| first_bad <= step;
        let mut acceptor = Acceptor::new(
            keyring(1),
            local("core"),
            Limits {
                replay_entries: 1,
                ..Limits::default()
            },
        );
        if bad(7) {
            // Fills the cache; as a replay it is this very e.
            let e = if bad(4) { 10 } else { 11 };
            accepted(answer(&mut acceptor, &message_1(&payload_1().encode(), e), now(0)));
        }
        let mut payload = Message1 {
            clock_ms: if bad(6) { CLOCK + 10_001 } else { CLOCK },
            peer_name: bad(8).then(|| Name::new("other")).flatten(),
            instance: if bad(9) { [b'c'; 16] } else { [b'w'; 16] },
            suites: if bad(11) { [9].into() } else { [1].into() },
            ..payload_1()
        }
        .encode();
        if bad(5) {
            payload[PAYLOAD_LEN - 1] = 1;
        }
        let mut message = message_1(&payload, 10);
        if bad(3) {
            message[100] ^= 1;
        }
        if bad(2) {
            message[0] = 2;
        }
        let load = Load {
            links: 7,
            draining: bad(10),
        };
        let mut asked = false;
        let verdict = acceptor.accept(
            &message,
            now(0),
            load,
            |_| {
                asked = true;
                (!bad(12)).then_some(ACCEPTOR)
            },
            [20; 32],
        );
        // Room is the last thing to be asked for: nothing that was reserved is left behind.
        assert_eq!(asked, first_bad >= 12);
        verdict
    };
    assert_eq!(closed(attempt(2)), CloseReason::Version(2));
    assert_eq!(closed(attempt(3)), CloseReason::Unauthenticated);
    assert_eq!(closed(attempt(4)), CloseReason::Replay);
    for (step, result, figure) in [
        (5, Refusal::Malformed, 0),
        (6, Refusal::ClockSkew, -10_001),
        (7, Refusal::Busy, 7),
        (8, Refusal::PeerName, 0),
        (9, Refusal::SelfDial, 0),
        (10, Refusal::Draining, 0),
        (11, Refusal::NoCommonSuite, 0),
        (12, Refusal::Busy, 7),
    ] {
        let verdict = attempt(step);
        let of_cache = matches!(verdict, Verdict::Refuse { cache_full: true, .. });
        assert_eq!(of_cache, step == 7, "step {step}");
        let (_, got, said) = refused(verdict);
        assert_eq!((got, said), (result, figure), "step {step}");
    }
    accepted(attempt(13));
}

#[test]
fn clocks_may_differ_by_ten_seconds() {
    for (clock_ms, figure) in [
        (CLOCK - 10_000, None),
        (CLOCK + 10_000, None),
        (CLOCK - 10_001, Some(10_001)),
        (CLOCK + 10_001, Some(-10_001)),
        (0, Some(CLOCK as i64)),
        (u64::MAX, Some(i64::MIN)),
    ] {
        let message = message_1(
            &Message1 {
                clock_ms,
                ..payload_1()
            }
            .encode(),
            10,
        );
        let verdict = answer(&mut acceptor(), &message, now(0));
        match figure {
            None => drop(accepted(verdict)),
            Some(figure) => {
                let (message2, result, said) = refused(verdict);
                assert_eq!((result, said), (Refusal::ClockSkew, figure), "{clock_ms}");
                let error = dial_error(&message2);
                assert!(
                    matches!(error, DialError::Unauthenticated),
                    "it answers another message 1"
                );
            }
        }
    }
}

#[test]
fn uncached_refusals_are_given_five_times_a_second() {
    let mut acceptor = acceptor();
    let late = message_1(
        &Message1 {
            clock_ms: CLOCK - 20_000,
            ..payload_1()
        }
        .encode(),
        10,
    );
    let malformed = message_1(&[0xff; PAYLOAD_LEN], 10);
    for ms in 0..5 {
        let message = if ms % 2 == 0 { &late } else { &malformed };
        refused(answer(&mut acceptor, message, now(ms)));
    }
    count::take();
    for ms in 5..1000 {
        let reason = closed(answer(&mut acceptor, &late, now(ms)));
        assert_eq!(reason, CloseReason::TooManyAnswers(Refusal::ClockSkew));
    }
    assert_eq!(count::take(), 0, "no X25519 for what is not answered");
    let reason = closed(answer(&mut acceptor, &malformed, now(999)));
    assert_eq!(reason, CloseReason::TooManyAnswers(Refusal::Malformed));
    refused(answer(&mut acceptor, &late, now(1000)));
    // Not cached: the same e with a good clock is taken.
    accepted(answer(&mut acceptor, &message_1(&payload_1().encode(), 10), now(1000)));
}

#[test]
fn message_1_is_taken_once() {
    let mut acceptor = acceptor();
    let (_, message) = dial();
    accepted(answer(&mut acceptor, &message, now(0)));
    for seconds in [0, 10, 20] {
        let later = Now {
            instant: Instant(seconds * 1_000_000 + 999_999),
            clock_ms: CLOCK,
        };
        assert_eq!(closed(answer(&mut acceptor, &message, later)), CloseReason::Replay);
    }
    // Refused after step 7 is cached too.
    let (_, named) = Dial::start(
        &keyring(1),
        &Local {
            peer_name: Name::new("other"),
            ..local("web")
        },
        DIALLER,
        now(0),
        [11; 32],
    );
    refused(answer(&mut acceptor, &named, now(0)));
    assert_eq!(closed(answer(&mut acceptor, &named, now(0))), CloseReason::Replay);
    // After 21 s it is forgotten: its own clock is what keeps it out then, and frame 0 in any case (SPEC 14.3).
    let later = Now {
        instant: Instant(21_000_000),
        clock_ms: CLOCK,
    };
    accepted(answer(&mut acceptor, &message, later));
}

#[test]
fn the_previous_secret_is_accepted_and_never_dialled_with() {
    let rotated = Keyring {
        current: Psk::from_bytes([2; 32]),
        previous: Some(Psk::from_bytes([1; 32])),
        deployment: "default".into(),
    };
    let mut acceptor = Acceptor::new(rotated.clone(), local("core"), Limits::default());
    let (dial, message) = dial();
    let (message2, theirs) = accepted(answer(&mut acceptor, &message, now(0)));
    assert_eq!(theirs.secret, SecretUsed::Previous);
    assert!(dial.finish(&message2, now(1)).is_ok());

    let (dial, message) = Dial::start(&rotated, &local("web"), DIALLER, now(0), [11; 32]);
    let (message2, theirs) = accepted(answer(&mut acceptor, &message, now(0)));
    assert_eq!(theirs.secret, SecretUsed::Current);
    assert!(dial.finish(&message2, now(1)).is_ok());

    // To a responder that knows only the old one the rotated initiator is a stranger.
    let (_, message) = Dial::start(&rotated, &local("web"), DIALLER, now(0), [12; 32]);
    acceptor.set_keyring(keyring(1));
    assert_eq!(
        closed(answer(&mut acceptor, &message, now(0))),
        CloseReason::Unauthenticated
    );
}

#[test]
fn the_replay_cache_has_the_bounds_of_the_specification() {
    let limits = Limits::default();
    assert_eq!(
        (limits.replay_entries, limits.replay_keep),
        (4096, Duration::from_secs(21))
    );
}
