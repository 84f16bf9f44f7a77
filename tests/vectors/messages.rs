//! messages/: the plaintext of a frame to messages and back (SPEC section 6).

use crate::{Case, Verdict};
use serde_json::{Value, json};
use wa_sidecar::wire::message::{Code, GoAway, Malformed, Message, Writer, data_header};

pub fn run(case: &Case) -> Verdict {
    let plaintext = case.bytes("plaintext");
    let messages = decode(&plaintext)?;
    let printed: Vec<Value> = messages.iter().map(|message| printed(message, &plaintext)).collect();
    assert_eq!(Value::Array(printed), case.at("messages").0);
    assert_eq!(
        case.list("messages").iter().flat_map(encoded).collect::<Vec<u8>>(),
        plaintext
    );
    if case.text("name") != "unknown_codes" {
        assert_eq!(encode(&messages, &plaintext), plaintext);
    }
    Ok(())
}

pub fn decode(plaintext: &[u8]) -> Result<Vec<Message>, &'static str> {
    // The length of a frame leaves room for at least one byte.
    if plaintext.is_empty() {
        return Err("bad_length");
    }
    let (mut messages, mut at) = (Vec::new(), 0);
    while at < plaintext.len() {
        let (message, next) = Message::decode(plaintext, at).map_err(word)?;
        messages.push(message);
        assert!(next > at);
        at = next;
    }
    Ok(messages)
}

fn word(error: Malformed) -> &'static str {
    match error {
        Malformed::UnknownType(_) => "unknown_type",
        Malformed::CutOff => "truncated",
        Malformed::EmptyData | Malformed::BadService | Malformed::BadRefusal => "malformed",
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As the vectors print it.
pub fn printed(message: &Message, plaintext: &[u8]) -> Value {
    match message {
        Message::Open { id, service } => {
            let service = core::str::from_utf8(&plaintext[service.clone()]).expect("a name");
            json!({"type": "OPEN", "id": id, "service": service})
        }
        Message::Data { id, bytes } => json!({"type": "DATA", "id": id, "data": hex(&plaintext[bytes.clone()])}),
        Message::Credit { id, limit } => json!({"type": "CREDIT", "id": id, "limit": limit}),
        Message::Yield { id, limit } => json!({"type": "YIELD", "id": id, "limit": limit}),
        Message::Fin { id, offset } => json!({"type": "FIN", "id": id, "offset": offset}),
        Message::Reset { id, code } => json!({"type": "RESET", "id": id, "code": code}),
        Message::Stop { id, code } => json!({"type": "STOP", "id": id, "code": code}),
        Message::Ping { token, clock } => json!({"type": "PING", "token": token, "clock": clock}),
        Message::Pong { token, clock } => json!({"type": "PONG", "token": token, "clock": clock}),
        Message::Rekey1 { noise } => json!({"type": "REKEY1", "noise": hex(noise)}),
        Message::Rekey2 { status, noise } => json!({"type": "REKEY2", "status": status, "noise": hex(noise)}),
        Message::Rekey3 => json!({"type": "REKEY3"}),
        Message::GoAway { code } => json!({"type": "GOAWAY", "code": code}),
    }
}

/// A message as the vectors print it, on the wire; also one that the program itself would not write.
pub fn encoded(message: &Case) -> Vec<u8> {
    let u32 = |key| {
        u32::try_from(message.number(key))
            .expect("a u32")
            .to_be_bytes()
            .to_vec()
    };
    let u64 = |key| message.number(key).to_be_bytes().to_vec();
    let u8 = |key| vec![u8::try_from(message.number(key)).expect("a byte")];
    let (kind, parts) = match message.text("type") {
        "OPEN" => {
            let service = message.text("service").as_bytes().to_vec();
            (
                0x01,
                vec![u32("id"), vec![u8::try_from(service.len()).expect("a byte")], service],
            )
        }
        "DATA" => {
            let data = message.bytes("data");
            let n = u32::try_from(data.len()).expect("a u32").to_be_bytes().to_vec();
            (0x02, vec![u32("id"), n, data])
        }
        "CREDIT" => (0x03, vec![u32("id"), u64("limit")]),
        "YIELD" => (0x04, vec![u32("id"), u64("limit")]),
        "FIN" => (0x05, vec![u32("id"), u64("offset")]),
        "RESET" => (0x06, vec![u32("id"), u8("code")]),
        "STOP" => (0x07, vec![u32("id"), u8("code")]),
        "PING" => (0x08, vec![u64("token"), u64("clock")]),
        "PONG" => (0x09, vec![u64("token"), u64("clock")]),
        "REKEY1" => (0x0a, vec![message.bytes("noise")]),
        "REKEY2" => (0x0b, vec![u8("status"), message.bytes("noise")]),
        "REKEY3" => (0x0c, vec![]),
        "GOAWAY" => (0x0d, vec![u8("code")]),
        other => panic!("{other}"),
    };
    [vec![kind], parts.concat()].concat()
}

fn encode(messages: &[Message], plaintext: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (vec![0; plaintext.len()], 0);
    for message in messages {
        let mut writer = Writer::new(&mut out, &mut at);
        let written = match message {
            Message::Open { id, service } => writer.open(*id, &plaintext[service.clone()]),
            Message::Data { id, bytes } => {
                let header = data_header(*id, u32::try_from(bytes.len()).expect("a size"));
                let data = &plaintext[bytes.clone()];
                out[at..at + header.len()].copy_from_slice(&header);
                at += header.len();
                out[at..at + data.len()].copy_from_slice(data);
                at += data.len();
                true
            }
            Message::Credit { id, limit } => writer.credit(*id, *limit),
            Message::Yield { id, limit } => writer.yield_back(*id, *limit),
            Message::Fin { id, offset } => writer.fin(*id, *offset),
            Message::Reset { id, code } => writer.reset(*id, Code::from_byte(*code)),
            Message::Stop { id, code } => writer.stop(*id, Code::from_byte(*code)),
            Message::Ping { token, clock } => writer.ping(*token, *clock),
            Message::Pong { token, clock } => writer.pong(*token, *clock),
            Message::Rekey1 { noise } => writer.rekey1(noise),
            Message::Rekey2 { status, noise } => writer.rekey2((*status == 0).then_some(noise)),
            Message::Rekey3 => writer.rekey3(),
            Message::GoAway { code } => writer.goaway(GoAway::from_byte(*code)),
        };
        assert!(written);
    }
    out.truncate(at);
    out
}
