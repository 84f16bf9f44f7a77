//! Handshakes, and a pair of links from the first OPEN to bulk.

use super::{Case, suites};
use crate::pair::{Arrived, End, Handshakes, Pair};
use std::time::Duration;
use wa_sidecar::crypto::suite::Suites;
use wa_sidecar::link::handshake::Grant;

const SMALL: usize = 100;
const MESSAGES: usize = 1000;
const BULK: usize = 16 << 20;
const ANSWER: usize = 1000;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![handshake()];
    let chacha = Suites::chacha20_poly1305();
    for streams in [1, 64] {
        cases.push(messages(streams, chacha));
    }
    cases.push(life(chacha));
    for (suite, suites) in suites() {
        cases.push(bulk(&suite.to_string(), suites));
    }
    cases
}

/// Both sides of it, without the links that come of it.
fn handshake() -> Case {
    Case::new("link/handshake", 16, |_| {
        let mut handshakes = Handshakes::new(Suites::chacha20_poly1305());
        let grant = Grant {
            window: 16 * 1024,
            max_streams: 256,
        };
        Box::new(move || {
            // So that no more of them are remembered than a busy sidecar has.
            handshakes.clock.advance(Duration::from_secs(1));
            std::hint::black_box(handshakes.shake(grant));
        })
    })
}

/// 1,000 messages of 100 bytes, to and fro: every stream has one in each frame.
fn messages(streams: usize, suites: Suites) -> Case {
    let plural = if streams == 1 { "stream" } else { "streams" };
    let name = format!("link/pair/1000 messages of 100 bytes, {streams} {plural}");
    Case::new(name, 4, move |_| {
        let mut pair = Pair::new(suites);
        let ids: Vec<u32> = (0..streams).map(|_| pair.open()).collect();
        pair.carry(End::Web);
        let mut run = move || {
            let (mut left, mut from) = (MESSAGES, End::Web);
            while left > 0 {
                let side = match from {
                    End::Web => &mut pair.web,
                    End::Core => &mut pair.core,
                };
                let now = left.min(streams);
                for &id in &ids[..now] {
                    assert_eq!(side.put(id, SMALL), SMALL);
                }
                let before = pair.frames();
                assert_eq!(pair.carry(from).bytes, (now * SMALL) as u64);
                assert_eq!(pair.frames(), before + 1, "all in one frame");
                left -= now;
                from = match from {
                    End::Web => End::Core,
                    End::Core => End::Web,
                };
            }
        };
        run();
        Box::new(run)
    })
    .bytes(MESSAGES * SMALL)
}

/// A call as apps make them: OPEN and request, answer and FIN, FIN. Three frames.
fn life(suites: Suites) -> Case {
    Case::new("link/pair/a stream's whole life", 100, move |_| {
        let mut pair = Pair::new(suites);
        let mut run = move || {
            let id = pair.open();
            assert_eq!(pair.web.put(id, SMALL), SMALL);
            let asked = Arrived {
                bytes: SMALL as u64,
                opened: Some(id),
                fins: 0,
            };
            assert_eq!(pair.carry(End::Web), asked);
            assert_eq!(pair.core.put(id, ANSWER), ANSWER);
            pair.core.link.fin(id);
            let answered = pair.carry(End::Core);
            assert_eq!((answered.bytes, answered.fins), (ANSWER as u64, 1));
            pair.web.link.fin(id);
            assert_eq!(pair.carry(End::Web).fins, 1);
            pair.web.link.release(id);
            pair.core.link.release(id);
            assert_eq!(pair.web.link.streams() + pair.core.link.streams(), 0);
        };
        run();
        Box::new(run)
    })
    .bytes(SMALL + ANSWER)
}

/// 16 MiB on one stream, credit and all.
fn bulk(suite: &str, suites: Suites) -> Case {
    Case::new(format!("link/pair/16 MiB on one stream, {suite}"), 1, move |_| {
        let mut pair = Pair::new(suites);
        let id = pair.open();
        let mut run = move || {
            let mut left = BULK;
            while left > 0 {
                let n = pair.web.put(id, left);
                assert_eq!(pair.carry(End::Web).bytes, n as u64);
                pair.carry(End::Core);
                left -= n;
            }
        };
        // The window grows to what it will be.
        run();
        Box::new(run)
    })
    .bytes(BULK)
}
