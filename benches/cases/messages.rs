//! The codec of messages: a frame of many streams, each of which opens, sends, is credited and ends.

use super::Case;
use std::hint::black_box;
use wa_sidecar::wire::message::{Message, Writer, data_header};

const STREAMS: u32 = 64;
const DATA: usize = 100;
/// More than one frame of them takes.
const ROOM: usize = 16 * 1024;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("wire/messages/encode 64 of OPEN DATA CREDIT FIN", 64, |_| {
            let mut out = vec![0; ROOM];
            Box::new(move || {
                black_box(encode(black_box(&mut out)));
            })
        }),
        Case::new("wire/messages/decode 64 of OPEN DATA CREDIT FIN", 64, |_| {
            let mut out = vec![0; ROOM];
            let len = encode(&mut out);
            Box::new(move || {
                let (mut at, mut messages) = (0, 0);
                while at < len {
                    let (message, next) = Message::decode(&out[..len], at).expect("a message");
                    black_box(message);
                    (at, messages) = (next, messages + 1);
                }
                assert_eq!(messages, 4 * STREAMS);
            })
        }),
    ]
}

/// As a link does: the header of DATA around bytes that are there already.
fn encode(out: &mut [u8]) -> usize {
    let mut at = 0;
    for id in 1..=STREAMS {
        let opened = Writer::new(out, &mut at).open(id, b"control");
        let header = data_header(id, DATA as u32);
        out[at..at + header.len()].copy_from_slice(&header);
        at += header.len() + DATA;
        let mut rest = Writer::new(out, &mut at);
        assert!(opened && rest.credit(id, 1 << 20) && rest.fin(id, DATA as u64));
    }
    at
}
