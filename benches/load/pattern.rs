//! The content of bulk bodies: a block whose length is prime, repeated, so that lost, doubled or moved bytes show.
//!
//! Promises: the byte at an offset is always the same, and any slice is there without copying.

use std::sync::LazyLock;

const PERIOD: usize = 65_521;
/// The longest slice that is given at a time, bytes.
pub const MAX_SLICE: usize = 256 * 1024;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // xorshift64: any sequence without a short period does.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let block: Vec<u8> = (0..PERIOD)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    (0..PERIOD + MAX_SLICE).map(|index| block[index % PERIOD]).collect()
});

/// The content from `offset` on, at most `length` bytes and at most [`MAX_SLICE`].
pub fn at(offset: u64, length: u64) -> &'static [u8] {
    let start = (offset % PERIOD as u64) as usize;
    let length = usize::try_from(length).unwrap_or(MAX_SLICE).min(MAX_SLICE);
    &BLOCK[start..start + length]
}

/// The first byte of `bytes` that is not what it must be at `offset`.
pub fn first_wrong(offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut done = 0;
    for part in bytes.chunks(MAX_SLICE) {
        let here = offset + done;
        let right = at(here, part.len() as u64);
        if part != right {
            let index = part.iter().zip(right).position(|(a, b)| a != b).unwrap_or(0);
            return Some(here + index as u64);
        }
        done += part.len() as u64;
    }
    None
}
