//! Messages and handshake payloads of any bytes: refused or taken, and what is taken says the same when it is encoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wa_sidecar::wire::message::Message;
use wa_sidecar::wire::payload::{Message1, Message2, PAYLOAD_LEN};

fuzz_target!(|bytes: &[u8]| {
    let mut at = 0;
    while at < bytes.len()
        && let Ok((_, next)) = Message::decode(bytes, at)
    {
        assert!(at < next && next <= bytes.len());
        at = next;
    }
    let mut payload = [0; PAYLOAD_LEN];
    let n = bytes.len().min(PAYLOAD_LEN);
    payload[..n].copy_from_slice(&bytes[..n]);
    if let Ok(message) = Message1::decode(&payload) {
        assert_eq!(Message1::decode(&message.encode()).as_ref(), Ok(&message));
    }
    if let Ok(message) = Message2::decode(&payload) {
        assert_eq!(Message2::decode(&message.encode()).as_ref(), Ok(&message));
    }
});
