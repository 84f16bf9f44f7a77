//! Handshake messages that are altered, and links that are led to somebody else.

use crate::cuts::{Case, tamper_with_links};
use crate::frames::Way;
use crate::harness::{SECRET, field};
use crate::middlebox::{Cases, MESSAGE_LEN, Op};
use crate::strangers::send;
use crate::{Attacked, Outcome, Upstream, handshakes, start_core};
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};
use wa_sidecar::counters::HandshakeResult;
use wa_sidecar::crypto::secret::Secret;
use wa_sidecar::crypto::suite::Suites;
use wa_sidecar::crypto::{Keyring, Psk};
use wa_sidecar::link::handshake::{Acceptor, Dial, Grant, Limits, Load, Local, Message, Verdict};
use wa_sidecar::link::time::{Instant, Now};
use wa_sidecar::wire::payload::Refusal;
use wa_sidecar::wire::{Name, Software};

fn keyring(current: Psk) -> Keyring {
    Keyring {
        current,
        previous: None,
        deployment: "default".into(),
    }
}

fn local(instance: u8, peer_name: Option<&str>) -> Local {
    Local {
        instance: [instance; 16],
        name: None,
        peer_name: peer_name.and_then(Name::new),
        suites: Suites::chacha20_poly1305(),
        software: Software::own(),
    }
}

const GRANT: Grant = Grant {
    window: 4096,
    max_streams: 16,
};

/// A message 1 as a sidecar with the tests' secret would send it now.
pub fn message_1(n: u8) -> Message {
    let psk = Secret::parse(SECRET.as_bytes(), false)
        .expect("a secret")
        .psk("default");
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now = Now {
        instant: Instant(1),
        clock_ms: since_epoch.as_millis() as u64,
    };
    Dial::start(&keyring(psk), &local(1, None), GRANT, now, [n; 32]).1
}

#[test]
fn no_flipped_bit_of_message_1_is_answered() {
    let upstream = Upstream::start();
    let core = start_core(&upstream, &[]).spawn();
    let message = Arc::new(message_1(1));
    let (threads, listen) = (8, core.listen);
    let flipping: Vec<_> = (0..threads)
        .map(|thread| {
            let message = Arc::clone(&message);
            thread::spawn(move || {
                for bit in (0..8 * MESSAGE_LEN).filter(|bit| bit % threads == thread) {
                    let mut altered = *message;
                    altered[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(send(listen, &altered).bytes, 0, "bit {bit}");
                }
            })
        })
        .collect();
    flipping.into_iter().for_each(|flips| flips.join().expect("all silent"));
    assert_eq!(handshakes(&core, "unauthenticated"), 8 * MESSAGE_LEN as u32);
    assert_eq!(handshakes(&core, "replay"), 0);
    // None of them was taken for the true one, which is answered once.
    assert_eq!(send(core.listen, &*message).bytes, MESSAGE_LEN);
    assert_eq!(send(core.listen, &*message).bytes, 0);
    assert_eq!(handshakes(&core, "replay"), 1);
    core.until_metric("wa_sidecar_handshakes_total{result=\"unconfirmed\"}", |n| n == 1.0);
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn no_flipped_bit_of_message_2_is_believed() {
    let keyring = keyring(Psk::from_bytes([7; 32]));
    let limits = Limits {
        replay_entries: 8 * MESSAGE_LEN,
        ..Limits::default()
    };
    let mut acceptor = Acceptor::new(keyring.clone(), local(2, None), limits);
    let now = Now {
        instant: Instant(1_000_000),
        clock_ms: 1_750_000_000_000,
    };
    for bit in 0..8 * MESSAGE_LEN {
        let mut entropy = [3; 32];
        entropy[..8].copy_from_slice(&bit.to_be_bytes());
        let (dial, message_1) = Dial::start(&keyring, &local(1, None), GRANT, now, entropy);
        let verdict = acceptor.accept(&message_1, now, Load::default(), |_| Some(GRANT), [4; 32]);
        let Verdict::Accept { mut message2, .. } = verdict else {
            panic!("{verdict:?}")
        };
        message2[bit / 8] ^= 1 << (bit % 8);
        let error = dial.finish(&message2, now).expect_err("refused");
        assert_eq!(error.result(), HandshakeResult::Unauthenticated, "bit {bit}");
    }
}

#[test]
fn no_altered_byte_of_message_2_gives_a_link() {
    let lanes: Vec<_> = (0..32)
        .map(|lane| thread::spawn(move || alter_message_2(lane, 32)))
        .collect();
    lanes.into_iter().for_each(|lane| lane.join().expect("a lane"));
}

fn alter_message_2(lane: usize, lanes: usize) {
    let cases = (0..MESSAGE_LEN).filter(|at| at % lanes == lane).map(|at| {
        let tamper: crate::cuts::Act = Box::new(move |message: &[u8]| {
            let mut altered = message.to_vec();
            altered[at] ^= 1 << (at / 8 % 8);
            vec![Op::Send(altered)]
        });
        Case {
            way: Way::Down,
            place: 0,
            tamper,
        }
    });
    let cases = Cases::new(cases);
    let flips = cases.left() as u32;
    let pair = tamper_with_links(&cases);
    cases.until_taken();
    pair.recovers();
    assert_eq!(handshakes(&pair.web, "unauthenticated"), flips);
    assert_eq!(handshakes(&pair.web, "accepted"), 1);
    assert!(handshakes(&pair.core, "unconfirmed") >= flips);
    assert_eq!(pair.upstream.connections(), 1);
    causes_are_listed(&pair.web.event_with_reason("link_failed", "unauthenticated"));
}

/// Every cause that there can be, and none claimed.
pub fn causes_are_listed(line: &serde_json::Value) {
    let text = field(line, "message")
        .and_then(|text| text.as_str())
        .expect("a message");
    for part in [
        "one of these",
        "WA_SECRET",
        "--deployment",
        "version",
        "not a wa-sidecar",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_link_for_one_node_cannot_be_led_to_another() {
    let pair = Attacked::start_with(&["--peer-name", "B"], &["--name", "B"], |_| ());
    pair.recovers();
    for name in [&["--name", "C"][..], &[]] {
        let upstream = Upstream::start();
        let other = start_core(&upstream, name).spawn();
        let refused = handshakes(&pair.web, "peer_name");
        pair.middlebox.lead_to(other.listen);
        pair.middlebox.cut();
        let said = other.event_with_reason("handshake_refused", "peer_name");
        let text = field(&said, "message").expect("a message").to_string();
        assert!(text.contains("the dialler means another sidecar"), "{text}");
        let sample = "wa_sidecar_handshakes_total{result=\"peer_name\"}";
        pair.web.until_metric(sample, |n| n > f64::from(refused));
        other.until_metric(sample, |n| n > 0.0);
        let said = pair.web.event_with_reason("link_failed", "peer_name");
        let text = field(&said, "message").expect("a message").to_string();
        assert!(text.contains("--peer-name"), "{text}");
        assert_eq!(handshakes(&other, "accepted"), 0);
        pair.middlebox.lead_to(pair.core.listen);
        pair.recovers();
        assert_eq!(upstream.connections(), 0);
    }
    assert_eq!(handshakes(&pair.core, "peer_name"), 0);
    assert_eq!(pair.call(9), Outcome::Whole);
}

#[test]
fn a_link_that_is_led_back_to_its_dialler_is_refused() {
    let keyring = keyring(Psk::from_bytes([7; 32]));
    let own = local(5, None);
    let now = Now {
        instant: Instant(1_000_000),
        clock_ms: 1_750_000_000_000,
    };
    let (_, message_1) = Dial::start(&keyring, &own, GRANT, now, [1; 32]);
    let mut acceptor = Acceptor::new(keyring, own, Limits::default());
    let verdict = acceptor.accept(&message_1, now, Load::default(), |_| panic!("asked for room"), [2; 32]);
    let self_dial = matches!(
        verdict,
        Verdict::Refuse {
            result: Refusal::SelfDial,
            ..
        }
    );
    assert!(self_dial, "{verdict:?}");
}
