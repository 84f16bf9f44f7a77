//! handshake/: both handshake messages whole, and what each side concludes from the other's (SPEC section 3).

use crate::{Case, Verdict, messages::printed};
use serde_json::Value;
use std::time::Duration;
use wa_sidecar::{
    crypto::{
        Keyring, Psk,
        keys::{Opener, Sealer},
        suite::Suites,
    },
    link::{
        handshake::{
            Acceptor, CloseReason, Dial, DialError, Established, Grant, Limits, Load, Local, MESSAGE_LEN,
            Verdict as Judged,
        },
        time::{Instant, Now},
    },
    wire::{Name, Software, frame, message::Message, payload::Refusal},
};

pub fn run(case: &Case) -> Verdict {
    match case.text("receiver") {
        "responder" => responder(case),
        "initiator" => initiator(case).map(drop),
        _ => both(case),
    }
}

fn now(side: &Case, instant_ms: u64) -> Now {
    Now {
        instant: Instant(instant_ms * 1000),
        clock_ms: side.number("clock"),
    }
}

/// `None`: suites that this build or this host cannot offer.
fn suites(side: &Case) -> Option<Suites> {
    match side.text("suites") {
        "01" => Some(Suites::chacha20_poly1305()),
        "0201" => Some(Suites::auto()).filter(|suites| suites.as_slice().len() == 2),
        _ => None,
    }
}

fn local(side: &Case, suites: Suites) -> Local {
    let name = |key| side.get(key).map(|_| Name::new(side.text(key)).expect("a name"));
    Local {
        instance: side.array("instance"),
        name: name("name"),
        peer_name: name("peer_name"),
        suites,
        software: Software::new(side.text("software")).expect("printable"),
    }
}

fn grant(side: &Case) -> Grant {
    let number = |key| u32::try_from(side.number(key)).expect("a u32");
    Grant {
        window: number("window"),
        max_streams: number("max_streams"),
    }
}

fn keyring(case: &Case, psks: &[[u8; 32]]) -> Keyring {
    Keyring {
        current: Psk::from_bytes(psks[0]),
        previous: psks.get(1).map(|psk| Psk::from_bytes(*psk)),
        deployment: case.text("deployment").to_owned(),
    }
}

/// What an `Acceptor` in the state of the case does.
fn judged(case: &Case, suites: Suites) -> Result<Judged, &'static str> {
    let side = case.at("responder");
    let state = case.get("state");
    let flag = |key| {
        state
            .as_ref()
            .is_some_and(|state| state.get(key).is_some() && state.flag(key))
    };
    let number = |key| {
        state
            .as_ref()
            .and_then(|state| state.get(key).map(|_| state.number(key)))
    };
    let limits = Limits {
        replay_entries: if flag("replay_cache_full") { 0 } else { 4096 },
        replay_keep: Duration::from_secs(21),
    };
    let mut acceptor = Acceptor::new(keyring(case, &case.psks()), local(&side, suites), limits);
    let load = Load {
        links: number("links").unwrap_or(0),
        draining: flag("draining"),
    };
    let message: [u8; MESSAGE_LEN] = case.bytes("message_1").try_into().map_err(|_| "bad_length")?;
    let room = || (!flag("full")).then(|| grant(&side));
    let mut accept = |at| acceptor.accept(&message, now(&side, at), load, |_| room(), side.array("ephemeral"));
    let seen_before = number("seen_before_ms");
    if seen_before.is_some() {
        assert!(matches!(accept(0), Judged::Accept { .. }));
    }
    Ok(accept(seen_before.unwrap_or(0)))
}

fn responder(case: &Case) -> Verdict {
    let suites = suites(&case.at("responder")).expect("no case of a refusal has others");
    match judged(case, suites)? {
        Judged::Close { reason } => {
            assert_eq!(case.text("outcome"), "close");
            Err(match reason {
                CloseReason::Version(_) => "version",
                CloseReason::Unauthenticated | CloseReason::LowOrderKey => "unauthenticated",
                CloseReason::Replay => "replay",
                CloseReason::TooManyAnswers(_) => "refusal_limit",
            })
        }
        Judged::Refuse {
            message2,
            result,
            figure,
            ..
        } => {
            assert_eq!(case.text("outcome"), "refuse");
            assert_eq!(case.at("result").number("code"), u64::from(result.code()));
            assert_eq!(case.at("result").0["figure"], Value::from(figure));
            assert_eq!(message2[..], case.bytes("message_2"));
            Err(result.label())
        }
        Judged::Accept { .. } => Ok(()),
    }
}

/// Dials, compares message 1, concludes from message 2.
fn initiator(case: &Case) -> Result<Option<Established>, &'static str> {
    let side = case.at("initiator");
    let Some(suites) = suites(&side).filter(|_| side.number("features") == 0) else {
        return Ok(None);
    };
    let keyring = keyring(case, &[case.array("psk")]);
    let at = now(&side, 0);
    let (dial, message_1) = Dial::start(
        &keyring,
        &local(&side, suites),
        grant(&side),
        at,
        side.array("ephemeral"),
    );
    assert_eq!(message_1[..], case.bytes("message_1"));
    // Fewer bytes: the driver never gets that far.
    let message_2: [u8; MESSAGE_LEN] = case.bytes("message_2").try_into().map_err(|_| "unauthenticated")?;
    dial.finish(&message_2, at).map(Some).map_err(|error| match error {
        DialError::Closed | DialError::Unauthenticated => "unauthenticated",
        DialError::Version(_) => "version",
        DialError::Malformed(_) => "malformed",
        DialError::SuiteNotOffered(_) => "suite_not_offered",
        DialError::WrongName { .. } => "name_mismatch",
        DialError::Refused { result, .. } => match result {
            Refusal::ClockSkew => "refused_clock_skew",
            Refusal::PeerName => "refused_peer_name",
            Refusal::SelfDial => "refused_self_dial",
            Refusal::Busy => "refused_busy",
            Refusal::NoCommonSuite => "refused_no_common_suite",
            Refusal::Malformed => "refused_malformed",
            Refusal::Draining => "refused_draining",
            Refusal::Unknown(_) => "refused_unknown",
        },
    })
}

fn both(case: &Case) -> Verdict {
    if let Some(established) = initiator(case)? {
        compare(case, &established);
    }
    let Some(suites) = suites(&case.at("responder")) else {
        return Ok(());
    };
    match judged(case, suites)? {
        Judged::Accept { message2, established } => {
            assert_eq!(message2[..], case.bytes("message_2"));
            compare(case, &established);
            Ok(())
        }
        other => panic!("{other:?}"),
    }
}

fn compare(case: &Case, link: &Established) {
    assert_eq!(link.split.h, case.array("h"));
    assert_eq!(*link.split.k_i, case.array("k_i"));
    assert_eq!(*link.split.k_r, case.array("k_r"));
    assert_eq!(u64::from(link.suite.byte()), case.number("suite"));
    assert_eq!(u64::from(link.max_streams), case.number("max_streams"));
    for (key, k) in [("frame_0", &link.split.k_i), ("first_responder_frame", &link.split.k_r)] {
        let wanted = case.at(key);
        let mut frame = wanted.bytes("frame");
        let range = Opener::new(link.suite, k, &link.split.h)
            .open(&mut frame)
            .expect("it opens");
        let plaintext = &frame[range];
        let (mut said, mut at) = (Vec::new(), 0);
        while at < plaintext.len() {
            let (message, next) = Message::decode(plaintext, at).expect("a message");
            said.push(printed(&message, plaintext));
            at = next;
        }
        assert_eq!(Value::Array(said), wanted.at("messages").0);
        let mut again = [&[0; frame::HEADER_LEN], plaintext, &[0; frame::TAG_LEN]].concat();
        let mut sealer = Sealer::new(link.suite, k, &link.split.h);
        sealer.seal(wanted.number("timestamp"), &mut again).expect("sealed");
        assert_eq!(again, wanted.bytes("frame"));
    }
}
