//! From a finished key exchange to sealed frames: the key schedule of SPEC section 4, the sealing of section 5.
//!
//! ```text
//! Split {k_i, k_r, h}
//!    |  k of one direction, HKDF-Extract(h, k)
//!    v
//!  S(0) --"ratchet"--> S(1) --"ratchet"--> S(2) ...       one S(g) for each 2^20 counters; the one before is wiped
//!    | "key", "iv"       |                   |
//!    v                   v                   v
//!  key(0), iv(0)       key(1), iv(1)       key(2), iv(2)  nonce = iv XOR counter
//! ```
//!
//! Promises: a nonce is used once, because a counter only grows and belongs to one `Sealer`, which cannot be cloned; an `Opener`
//! takes exactly the next counter and nothing any more after its first failure; old generations are wiped; no allocation but for
//! the key object of a new generation.
//! Must not know: the age of a frame, what it carries.

use super::aead::{self, NONCE_LEN};
use super::kdf::{self, Prk};
use super::suite::Suite;
use crate::wire::frame::{HEADER_LEN, Header, MAX_FRAME, TAG_LEN};
use core::fmt;
use core::ops::Range;
use zeroize::Zeroizing;

/// A counter must not reach this (SPEC section 4).
pub const MAX_COUNTER: u64 = 1 << 48;
/// Counters of one generation: `g = counter >> 20` (SPEC section 4).
const GENERATION_BITS: u32 = 20;
/// The shortest frame: one byte of plaintext.
const MIN_FRAME: usize = HEADER_LEN + 1 + TAG_LEN;

/// What a finished Noise handshake gives (SPEC 3.2).
pub struct Split {
    /// Initiator to responder.
    pub k_i: Zeroizing<[u8; 32]>,
    /// Responder to initiator.
    pub k_r: Zeroizing<[u8; 32]>,
    /// The handshake hash.
    pub h: [u8; 32],
}

/// Nothing more can be sealed. No error here comes from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// SPEC section 4: a sender that gets to 2^48 closes.
    #[error("the counter is used up")]
    Exhausted,
    /// A mistake of the caller: a frame has 37 to 262,180 bytes.
    #[error("a frame of {0} bytes is not one")]
    Length(usize),
}

/// A frame that is refused; every one is fatal for the link (SPEC section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the frame does not open: altered, or sealed under other keys")]
    Tag,
    #[error("counter {got} where {expected} is next")]
    Counter { expected: u64, got: u64 },
    /// `length` in the header is not that of the frame that was given.
    #[error("the frame's length is not the one in its header")]
    Length,
    #[error("the counter is used up")]
    Exhausted,
    /// An earlier frame was refused.
    #[error("a frame behind one that was refused")]
    Closed,
}

/// Seals one direction of one epoch.
pub struct Sealer(Direction);

/// Opens one direction of one epoch.
pub struct Opener {
    direction: Direction,
    closed: bool,
}

/// Secrets of the generation of `counter`, the next one.
struct Direction {
    suite: Suite,
    counter: u64,
    generation: u64,
    secret: Prk,
    key: aead::Key,
    iv: Zeroizing<[u8; NONCE_LEN]>,
}

impl Sealer {
    /// `k`: the key of this direction of a [`Split`]; `h`: its handshake hash.
    pub fn new(suite: Suite, k: &[u8; 32], h: &[u8; 32]) -> Self {
        Self(Direction::new(suite, k, h))
    }

    /// For tests and vectors: as if `counter` frames had been sealed. Takes a ratchet step for each 2^20 of them.
    pub fn starting_at(suite: Suite, k: &[u8; 32], h: &[u8; 32], counter: u64) -> Self {
        Self(Direction::starting_at(suite, k, h, counter))
    }

    /// The counter of the next frame.
    pub fn counter(&self) -> u64 {
        self.0.counter
    }

    /// Seals `frame`: 20 bytes of room for the header, the plaintext, 16 of room for the tag. `timestamp`: SPEC section 10.
    pub fn seal(&mut self, timestamp: u64, frame: &mut [u8]) -> Result<(), SealError> {
        let whole = frame.len();
        if !(MIN_FRAME..=MAX_FRAME).contains(&whole) {
            debug_assert!(false, "a frame of {whole} bytes");
            return Err(SealError::Length(whole));
        }
        let counter = self.0.counter;
        let nonce = self.0.nonce().ok_or(SealError::Exhausted)?;
        let header = Header {
            length: (whole - HEADER_LEN) as u32,
            counter,
            timestamp,
        }
        .encode();
        let (header_room, rest) = frame.split_at_mut(HEADER_LEN);
        let (plaintext, tag_room) = rest.split_at_mut(whole - HEADER_LEN - TAG_LEN);
        // Before the sealing: whatever becomes of it, this nonce is used.
        self.0.counter = counter + 1;
        let tag = self
            .0
            .key
            .seal(&nonce, &header, plaintext)
            .map_err(|_| SealError::Length(whole))?;
        header_room.copy_from_slice(&header);
        tag_room.copy_from_slice(&tag);
        Ok(())
    }
}

impl Opener {
    /// `k`: the key of this direction of a [`Split`]; `h`: its handshake hash.
    pub fn new(suite: Suite, k: &[u8; 32], h: &[u8; 32]) -> Self {
        Self::from(Direction::new(suite, k, h))
    }

    /// For tests and vectors: as if `counter` frames had been opened. Takes a ratchet step for each 2^20 of them.
    pub fn starting_at(suite: Suite, k: &[u8; 32], h: &[u8; 32], counter: u64) -> Self {
        Self::from(Direction::starting_at(suite, k, h, counter))
    }

    /// The only counter that the next frame can have (SPEC section 5).
    pub fn expected(&self) -> u64 {
        self.direction.counter
    }

    /// Opens a whole frame, header included, in place, and says where its plaintext is. The age is the caller's to check before
    /// (SPEC section 5: length, counter, age, tag). After an error nothing opens any more.
    pub fn open(&mut self, frame: &mut [u8]) -> Result<Range<usize>, OpenError> {
        if self.closed {
            return Err(OpenError::Closed);
        }
        let opened = self.try_open(frame);
        self.closed = opened.is_err();
        opened
    }

    fn try_open(&mut self, frame: &mut [u8]) -> Result<Range<usize>, OpenError> {
        let (header_bytes, rest) = frame.split_first_chunk_mut::<HEADER_LEN>().ok_or(OpenError::Length)?;
        let header = Header::decode(header_bytes).map_err(|_| OpenError::Length)?;
        if header.length as usize != rest.len() {
            return Err(OpenError::Length);
        }
        let expected = self.direction.counter;
        if header.counter != expected {
            let got = header.counter;
            return Err(OpenError::Counter { expected, got });
        }
        let nonce = self.direction.nonce().ok_or(OpenError::Exhausted)?;
        let (data, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError::Length)?;
        let key = &self.direction.key;
        key.open(&nonce, header_bytes, data, tag).map_err(|_| OpenError::Tag)?;
        self.direction.counter = expected + 1;
        Ok(HEADER_LEN..HEADER_LEN + data.len())
    }
}

impl From<Direction> for Opener {
    fn from(direction: Direction) -> Self {
        Self {
            direction,
            closed: false,
        }
    }
}

impl Direction {
    /// S(0) = HKDF-Extract(salt = h, ikm = k).
    fn new(suite: Suite, k: &[u8; 32], h: &[u8; 32]) -> Self {
        let secret = kdf::extract(h, k);
        let (key, iv) = generation(suite, &secret);
        Self {
            suite,
            counter: 0,
            generation: 0,
            secret,
            key,
            iv,
        }
    }

    fn starting_at(suite: Suite, k: &[u8; 32], h: &[u8; 32], counter: u64) -> Self {
        let mut direction = Self::new(suite, k, h);
        direction.counter = counter;
        direction
    }

    /// The nonce of the next frame, under the key of its generation: iv(g) XOR (0x00000000 || counter). `None`: used up.
    fn nonce(&mut self) -> Option<[u8; NONCE_LEN]> {
        // SPEC section 4: a counter MUST NOT reach 2^48.
        if self.counter >= MAX_COUNTER {
            return None;
        }
        while self.generation < self.counter >> GENERATION_BITS {
            self.ratchet();
        }
        let mut nonce = *self.iv;
        for (byte, count) in nonce[4..].iter_mut().zip(self.counter.to_be_bytes()) {
            *byte ^= count;
        }
        Some(nonce)
    }

    /// S(g+1) = HKDF-Expand(S(g), "wa-sidecar/1 ratchet", 32). What is assigned over wipes itself.
    fn ratchet(&mut self) {
        self.secret = kdf::expand(&self.secret, &[b"wa-sidecar/1 ratchet"]);
        self.generation += 1;
        (self.key, self.iv) = generation(self.suite, &self.secret);
    }
}

/// key(g) and iv(g) of SPEC section 4.
fn generation(suite: Suite, secret: &Prk) -> (aead::Key, Zeroizing<[u8; NONCE_LEN]>) {
    let key = kdf::expand::<{ aead::KEY_LEN }>(secret, &[b"wa-sidecar/1 key", &[suite.byte()]]);
    let iv = kdf::expand(secret, &[b"wa-sidecar/1 iv"]);
    (aead::Key::new(suite, &key), iv)
}

/// Without the keys.
impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Split")
    }
}

/// Without the keys.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({}, counter {})", self.0.suite, self.0.counter)
    }
}

/// Without the keys.
impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Opener({}, counter {})",
            self.direction.suite, self.direction.counter
        )
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
