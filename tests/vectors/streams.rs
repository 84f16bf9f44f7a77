//! streams/: messages that a link receives, step by step, and what comes of them (SPEC 3.6 and 7 to 12).

use crate::{
    Case, Verdict, messages,
    script::{Driven, Keys, Start, assert_answers, role},
};
use wa_sidecar::{
    crypto::Suite,
    link::Fatal,
    wire::frame::{HEADER_LEN, TAG_LEN},
};

const CLOCK: u64 = 1_750_000_000_000;

pub fn run(case: &Case) -> Verdict {
    let size = |key| u32::try_from(case.number(key)).expect("a u32");
    let mut driven = Driven::new(Start {
        role: role(case),
        suite: Suite::ChaCha20Poly1305,
        keys: Keys {
            h: [1; 32],
            k_i: [2; 32],
            k_r: [3; 32],
        },
        prologue: Vec::new(),
        psks: vec![[4; 32]],
        ephemeral: [5; 32],
        window: size("window"),
        peer_window: size("peer_window"),
        max_streams: size("max_streams"),
        own_clock: CLOCK,
        peer_clock: CLOCK,
    });
    driven.flush(0);
    if case.flag("confirmed") {
        let mut ping = vec![0x08];
        ping.extend([0; 16]);
        receive(&mut driven, &ping).expect("frame 0");
        driven.flush(0);
    }
    let steps = case.list("steps");
    for (number, step) in steps.iter().enumerate() {
        if step.get("receive").is_some() {
            let plaintext: Vec<u8> = step.list("receive").iter().flat_map(messages::encoded).collect();
            if let Err(fatal) = receive(&mut driven, &plaintext) {
                assert_eq!(number + 1, steps.len(), "step {number} is not the last: {fatal}");
                return Err(word(case, &fatal));
            }
        } else {
            driven.act(step, 0);
        }
        assert_answers(step, driven.flush(0));
    }
    if case.text("expect") == "ok" {
        assert_eq!(driven.live(), case.list("live").len(), "live streams");
        assert_eq!(driven.apps(), case.at("apps").0);
    }
    Ok(())
}

fn receive(driven: &mut Driven, plaintext: &[u8]) -> Result<(), Fatal> {
    let mut frame = [&[0; HEADER_LEN], plaintext, &[0; TAG_LEN]].concat();
    driven.peer.seal(CLOCK, &mut frame).expect("sealed");
    driven.receive(frame, 0)
}

/// The vector's word, if the program's sentence is about the same rule: refused for another reason is not refused.
fn word(case: &Case, fatal: &Fatal) -> &'static str {
    let (Fatal::Stream { rule, .. } | Fatal::Link { rule }) = fatal else {
        panic!("{fatal:?}");
    };
    let words: [(&str, &[&str]); 12] = [
        ("confirmation", &["frame 0"]),
        ("stream_id", &["an id that is not opened", "id is not the next"]),
        ("stream_limit", &["limit of streams"]),
        ("stream_state", &["behind the sender's"]),
        ("credit_overrun", &["beyond the credit"]),
        ("bad_credit", &["CREDIT that does not raise", "CREDIT of 2^62"]),
        ("bad_yield", &["YIELD above", "YIELD that hands nothing back"]),
        ("fin_offset", &["FIN whose offset"]),
        ("stop_before_fin", &["STOP before"]),
        ("second_stop", &["second STOP"]),
        ("goaway", &["second GOAWAY", "after the initiator's GOAWAY"]),
        ("wrong_side", &["by the responder", "by the initiator"]),
    ];
    let error = case.text("error");
    let (word, sentences) = words
        .iter()
        .find(|(word, _)| *word == error)
        .expect("a word of the README");
    assert!(
        sentences.iter().any(|sentence| rule.contains(sentence)),
        "{error} refused as: {rule}"
    );
    word
}
