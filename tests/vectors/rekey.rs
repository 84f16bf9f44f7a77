//! rekey/: sealed frames around a REKEY, for a responder and for an initiator (SPEC section 11).

use crate::{
    Case, Verdict,
    script::{Driven, Keys, Start, assert_answers, role},
};
use serde_json::json;
use wa_sidecar::{
    crypto::Suite,
    link::{Fatal, Role},
};

pub fn run(case: &Case) -> Verdict {
    let role = role(case);
    let Some(suite) = Suite::from_byte(u8::try_from(case.number("suite")).expect("a byte")) else {
        // AES-256-GCM, which a build without aws-lc has not.
        return Ok(());
    };
    let clocks = (case.number("clock_initiator"), case.number("clock_responder"));
    let (own_clock, peer_clock) = if role == Role::Initiator {
        clocks
    } else {
        (clocks.1, clocks.0)
    };
    let mut driven = Driven::new(Start {
        role,
        suite,
        keys: Keys::of(&case.at("old")),
        prologue: case.bytes("prologue"),
        psks: case.psks(),
        ephemeral: case.array("ephemeral"),
        window: 4096,
        peer_window: 4096,
        max_streams: 4,
        own_clock,
        peer_clock,
    });
    driven.next = Some(Keys::of(&case.at("new")));
    driven.flush(0);
    let refusal = json!({"type": "REKEY2", "status": 1, "noise": "00".repeat(48)});
    let mut refused = false;
    let steps = case.list("steps");
    for (number, step) in steps.iter().enumerate() {
        let at = step.number("at");
        if step.get("receive").is_some() {
            if let Err(fatal) = driven.receive(step.bytes("receive"), at) {
                assert_eq!(number + 1, steps.len(), "step {number} is not the last: {fatal}");
                assert!(case.flag("fatal"));
                return Err(word(&fatal));
            }
        } else {
            driven.act(step, at);
        }
        let said = driven.flush(at);
        refused |= said.contains(&refusal);
        assert_answers(step, said);
    }
    if case.text("expect") == "refuse" && refused {
        assert!(!case.flag("fatal"));
        return Err("rekey_refused");
    }
    Ok(())
}

fn word(fatal: &Fatal) -> &'static str {
    match fatal {
        Fatal::BadCounter { .. } => "bad_counter",
        Fatal::BadTag => "bad_tag",
        Fatal::Link { rule } if rule.contains("REKEY") => "rekey",
        other => panic!("{other:?}"),
    }
}
