//! What both sides agree on. `accept` and `dial` hold what is of one side.

mod accept;
mod dial;

use super::*;
use crate::crypto::suite::Suites;
use crate::crypto::{Keyring, Psk, count};
use crate::wire::payload::{Answer, Message1, Message2, Offer};

const CLOCK: u64 = 1_750_000_000_000;
const DIALLER: Grant = Grant {
    window: 16_384,
    max_streams: 512,
};
const ACCEPTOR: Grant = Grant {
    window: 8192,
    max_streams: 256,
};

/// Both hosts agree on the time, `ms` after the start.
fn now(ms: u64) -> Now {
    Now {
        instant: Instant(ms * 1000),
        clock_ms: CLOCK + ms,
    }
}

fn keyring(secret: u8) -> Keyring {
    Keyring {
        current: Psk::from_bytes([secret; 32]),
        previous: None,
        deployment: "default".into(),
    }
}

fn local(name: &str) -> Local {
    Local {
        instance: [name.as_bytes()[0]; 16],
        name: Name::new(name),
        peer_name: None,
        suites: Suites::chacha20_poly1305(),
        software: Software::own(),
    }
}

fn dial() -> (Dial, Message) {
    Dial::start(&keyring(1), &local("web"), DIALLER, now(0), [10; 32])
}

fn acceptor() -> Acceptor {
    Acceptor::new(keyring(1), local("core"), Limits::default())
}

fn answer(acceptor: &mut Acceptor, message: &Message, now: Now) -> Verdict {
    acceptor.accept(message, now, Load::default(), |_| Some(ACCEPTOR), [20; 32])
}

#[track_caller]
fn accepted(verdict: Verdict) -> (Message, Established) {
    match verdict {
        Verdict::Accept { message2, established } => (message2, *established),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(verdict: Verdict) -> (Message, Refusal, i64) {
    match verdict {
        Verdict::Refuse {
            message2,
            result,
            figure,
            ..
        } => (message2, result, figure),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn closed(verdict: Verdict) -> CloseReason {
    match verdict {
        Verdict::Close { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// The payload of a good message 1 of `web`.
fn payload_1() -> Message1 {
    Message1 {
        clock_ms: CLOCK,
        instance: [b'w'; 16],
        features: u64::MAX,
        suites: Offer::from([9, 1]),
        window: 1024,
        max_streams: 1,
        software: Software::own(),
        name: None,
        peer_name: None,
    }
}

/// Message 1 with any payload, as a holder of secret 1 can make it.
fn message_1(payload: &[u8; PAYLOAD_LEN], entropy: u8) -> Message {
    let keyring = keyring(1);
    let start =
        |out: &mut [u8]| noise::Initiator::start(&keyring.current, &keyring.prologue(), payload, [entropy; 32], out);
    envelope(start).expect("made").1
}

/// What the initiator makes of any message 2 that a holder of secret 1 can make.
fn concluded(local: &Local, payload: &[u8; PAYLOAD_LEN]) -> Result<Established, DialError> {
    let keyring = keyring(1);
    let (dial, message) = Dial::start(&keyring, local, DIALLER, now(0), [10; 32]);
    let read = noise::Responder::read(
        &keyring.current,
        &keyring.prologue(),
        &message[1..],
        &mut [0; PAYLOAD_LEN],
    );
    let finish = |out: &mut [u8]| read.expect("authenticates").finish(payload, [20; 32], out);
    dial.finish(&envelope(finish).expect("made").1, now(50))
}

fn payload_2(answer: Answer) -> Message2 {
    Message2 {
        clock_ms: CLOCK,
        instance: [b'c'; 16],
        features: u64::MAX,
        software: Software::own(),
        name: Name::new("core"),
        answer,
    }
}

const YES: Answer = Answer::Accepted {
    suite: 1,
    window: 1024,
    max_streams: 4,
};

/// What [`dial`] concludes from `message2`.
#[track_caller]
fn dial_error(message2: &Message) -> DialError {
    dial().0.finish(message2, now(40)).expect_err("no link")
}

#[test]
fn both_sides_agree_on_a_link() {
    let (mut dial, message1) = dial();
    dial.written(Instant(1000));
    // The responder's clock is 3 s ahead, message 1 took 20 ms, message 2 takes 20 ms.
    let at_core = Now {
        instant: Instant(77),
        clock_ms: CLOCK + 3020,
    };
    let (message2, mut theirs) = accepted(answer(&mut acceptor(), &message1, at_core));
    theirs.written(Instant(99));
    let ours = dial.finish(&message2, now(40)).expect("accepted");

    assert_eq!((ours.role, theirs.role), (Role::Initiator, Role::Responder));
    assert!(ours.split.k_i == theirs.split.k_i && ours.split.k_r == theirs.split.k_r);
    assert_eq!(ours.split.h, theirs.split.h);
    assert_eq!(
        (ours.suite, theirs.suite),
        (Suite::ChaCha20Poly1305, Suite::ChaCha20Poly1305)
    );
    assert_eq!(ours.prologue, theirs.prologue);
    assert_eq!((ours.window_local, ours.window_peer), (16_384, 8192));
    assert_eq!((theirs.window_local, theirs.window_peer), (8192, 16_384));
    assert_eq!((ours.max_streams, theirs.max_streams), (256, 256));
    assert_eq!((ours.features, theirs.features), (0, 0));
    assert_eq!(ours.peer.name, Name::new("core"));
    assert_eq!(theirs.peer.name, Name::new("web"));
    assert_eq!((ours.peer.instance, theirs.peer.instance), ([b'c'; 16], [b'w'; 16]));
    assert_eq!(ours.peer.software, Software::own());
    assert_eq!((ours.clock_difference_ms, theirs.clock_difference_ms), (3000, -3020));
    assert_eq!((ours.base, theirs.base), (now(0), at_core));
    assert_eq!((ours.peer_stamp, theirs.peer_stamp), (Some(CLOCK + 3020), None));
    assert_eq!((ours.written, theirs.written), (Instant(1000), Instant(99)));
    assert_eq!((ours.secret, theirs.secret), (SecretUsed::Current, SecretUsed::Current));
}

#[test]
fn a_refusal_looks_like_an_acceptance_from_outside() {
    let (_, message) = dial();
    let load = Load {
        links: 3,
        draining: true,
    };
    let (message2, result, _) = refused(acceptor().accept(&message, now(0), load, |_| None, [20; 32]));
    assert_eq!(result, Refusal::Draining);
    assert_eq!((message2.len(), message2[0]), (512, VERSION));
    let error = dial_error(&message2);
    assert!(matches!(
        error,
        DialError::Refused {
            result: Refusal::Draining,
            figure: 0,
            ..
        }
    ));
}

#[test]
fn other_secrets_deployments_and_reflections_do_not_authenticate() {
    let other_secret = keyring(2);
    let other_deployment = Keyring {
        deployment: "staging".into(),
        ..keyring(1)
    };
    for keyring in [other_secret, other_deployment] {
        let (_, message) = Dial::start(&keyring, &local("web"), DIALLER, now(0), [10; 32]);
        assert_eq!(
            closed(answer(&mut acceptor(), &message, now(0))),
            CloseReason::Unauthenticated
        );
    }
    let (_, message1) = dial();
    assert_eq!(dial_error(&message1), DialError::Unauthenticated);
    let (message2, _) = accepted(answer(&mut acceptor(), &message1, now(0)));
    assert_eq!(
        closed(answer(&mut acceptor(), &message2, now(0))),
        CloseReason::Unauthenticated
    );
}

#[test]
fn a_link_is_not_led_to_another_node() {
    let meaning = |name| Local {
        peer_name: Name::new(name),
        ..local("web")
    };
    let send = |name, to: &Local, entropy| {
        let (dial, message) = Dial::start(&keyring(1), &meaning(name), DIALLER, now(0), [entropy; 32]);
        let mut acceptor = Acceptor::new(keyring(1), to.clone(), Limits::default());
        (dial, answer(&mut acceptor, &message, now(0)))
    };
    accepted(send("core", &local("core"), 10).1);
    let nameless = Local {
        name: None,
        ..local("core")
    };
    for (name, to) in [("core-b", local("core")), ("Core", local("core")), ("core", nameless)] {
        let (dial, verdict) = send(name, &to, 11);
        let (message2, result, _) = refused(verdict);
        assert_eq!(result, Refusal::PeerName);
        let error = dial.finish(&message2, now(1)).expect_err("refused");
        assert!(error.explanation().advice.contains("--peer-name"), "{error:?}");
    }
    // A responder that accepts without being the one that was meant.
    for found in [Name::new("core-b"), None] {
        let payload = Message2 {
            name: found,
            ..payload_2(YES)
        };
        let error = concluded(&meaning("core"), &payload.encode()).expect_err("wrong name");
        let DialError::WrongName { meant, peer } = error else {
            panic!("{error}")
        };
        assert_eq!((Some(meant), peer.name), (Name::new("core"), found));
    }
    assert!(concluded(&local("web"), &payload_2(YES).encode()).is_ok());
}

#[cfg(feature = "aws-lc")]
#[test]
fn aes_is_taken_if_both_have_it() {
    let with_aes = |name| Local {
        suites: Suites::with_aes_256_gcm(),
        ..local(name)
    };
    for (web, core, suite) in [
        (with_aes("web"), with_aes("core"), Suite::Aes256Gcm),
        (with_aes("web"), local("core"), Suite::ChaCha20Poly1305),
        (local("web"), with_aes("core"), Suite::ChaCha20Poly1305),
    ] {
        let (dial, message) = Dial::start(&keyring(1), &web, DIALLER, now(0), [10; 32]);
        let mut acceptor = Acceptor::new(keyring(1), core, Limits::default());
        let (message2, theirs) = accepted(answer(&mut acceptor, &message, now(0)));
        let ours = dial.finish(&message2, now(1)).expect("accepted");
        assert_eq!((ours.suite, theirs.suite), (suite, suite));
    }
}

#[test]
fn debug_shows_no_key_and_all_can_move_between_threads() {
    fn send<T: Send>(_: &T) {}
    let (dial, message) = dial();
    let acceptor = &mut acceptor();
    let (_, established) = accepted(answer(acceptor, &message, now(0)));
    send(&dial);
    send(acceptor);
    send(&established);
    assert_eq!(format!("{dial:?}"), "Dial { peer_name: None, .. }");
    assert!(format!("{acceptor:?}").starts_with("Acceptor { local: Local {"));
    let shown = format!("{established:?}");
    assert!(shown.contains("split: Split,"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", established.split.h)));
}
