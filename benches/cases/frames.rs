//! The frame header, and frames sealed and opened.

use super::{Case, suites};
use std::hint::black_box;
use wa_sidecar::crypto::Suite;
use wa_sidecar::crypto::keys::{Opener, Sealer};
use wa_sidecar::wire::frame::{HEADER_LEN, Header, TAG_LEN};

const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 256 * 1024];
const BACKEND: &str = if cfg!(feature = "aws-lc") {
    "default"
} else {
    "portable"
};
const K: [u8; 32] = [3; 32];
const H: [u8; 32] = [4; 32];
const STAMP: u64 = 1_750_000_000_000;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![header()];
    for (suite, _) in suites() {
        for size in SIZES {
            cases.push(seal(suite, size));
            cases.push(open(suite, size));
        }
    }
    cases
}

fn header() -> Case {
    Case::new("wire/header/encode and decode", 1000, |_| {
        let mut counter = 0;
        Box::new(move || {
            counter += 1;
            let header = Header {
                length: 1000,
                counter,
                timestamp: STAMP,
            };
            let bytes = black_box(black_box(header).encode());
            assert_eq!(Header::decode(&bytes), Ok(header));
        })
    })
}

fn rounds(size: usize) -> usize {
    (256 * 1024 / size).clamp(4, 256)
}

fn seal(suite: Suite, size: usize) -> Case {
    Case::new(
        format!("crypto/seal/{BACKEND} {suite}/{size}"),
        rounds(size),
        move |_| {
            let mut sealer = Sealer::new(suite, &K, &H);
            let mut frame = vec![0x5a; HEADER_LEN + size + TAG_LEN];
            Box::new(move || sealer.seal(STAMP, black_box(&mut frame)).expect("sealed"))
        },
    )
    .bytes(size)
}

fn open(suite: Suite, size: usize) -> Case {
    Case::new(
        format!("crypto/open/{BACKEND} {suite}/{size}"),
        rounds(size),
        move |rounds| {
            let mut sealer = Sealer::new(suite, &K, &H);
            let mut frames: Vec<_> = (0..rounds)
                .map(|_| {
                    let mut frame = vec![0x5a; HEADER_LEN + size + TAG_LEN];
                    sealer.seal(STAMP, &mut frame).expect("sealed");
                    frame
                })
                .collect();
            let mut opener = Opener::new(suite, &K, &H);
            let mut next = 0;
            Box::new(move || {
                black_box(opener.open(&mut frames[next]).expect("opens"));
                next += 1;
            })
        },
    )
    .bytes(size)
}
