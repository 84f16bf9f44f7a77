//! A peer that holds the secret and keeps no rule: whatever it sends, the link refuses it or bears it. No panic, no growth.
//!
//! `WA_HOSTILE_MESSAGES=n` for longer runs. The fuzz targets in `fuzz/` share this peer.

mod simulation;

use simulation::{Choices, Random, hostile, schedule};
use std::collections::BTreeMap;
use wa_sidecar::wire::message::Message;
use wa_sidecar::wire::payload::{Message1, Message2, PAYLOAD_LEN};

#[test]
fn two_hundred_thousand_messages_of_a_hostile_peer() {
    let most = std::env::var("WA_HOSTILE_MESSAGES").ok().and_then(|n| n.parse().ok());
    let most: u64 = most.unwrap_or(200_000);
    let (mut messages, mut seed) = (0, 0);
    let mut ends = BTreeMap::<&str, u64>::new();
    while messages < most {
        seed += 1;
        let done = hostile::run(&mut Choices::seeded(seed), 400);
        messages += done.messages;
        *ends
            .entry(done.ended.map_or("lives", |fatal| fatal.end().label()))
            .or_default() += 1;
    }
    println!("{messages} frames on {seed} links: {ends:?}");
    assert!(ends["lives"] > 0 && ends["protocol"] > 0, "{ends:?}");
}

#[test]
fn random_bytes_where_messages_and_payloads_are_meant() {
    let mut random = Random(7);
    for _ in 0..200_000 {
        let mut bytes = [0; PAYLOAD_LEN];
        let n = random.below(80) as usize;
        bytes[..n].iter_mut().for_each(|byte| *byte = random.any_size(8) as u8);
        decode(&bytes, n);
    }
}

fn decode(bytes: &[u8; PAYLOAD_LEN], n: usize) {
    let mut at = 0;
    while let Ok((_, next)) = Message::decode(&bytes[..n], at) {
        assert!(at < next && next <= n, "it goes on");
        at = next;
        if at == n {
            break;
        }
    }
    if let Ok(message) = Message1::decode(bytes) {
        assert_eq!(Message1::decode(&message.encode()).as_ref(), Ok(&message));
    }
    if let Ok(message) = Message2::decode(bytes) {
        assert_eq!(Message2::decode(&message.encode()).as_ref(), Ok(&message));
    }
}

/// The fuzz targets' way in: decisions from bytes.
#[test]
fn decisions_from_bytes_drive_the_same_peers() {
    let mut random = Random(11);
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..random.below(600)).map(|_| random.next() as u8).collect();
        hostile::run(&mut Choices::Bytes(&bytes), 400);
        schedule::run(&mut Choices::Bytes(&bytes), 200);
    }
}
