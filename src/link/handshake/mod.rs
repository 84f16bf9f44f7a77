//! The handshake of a link: who may speak, and what both agree on (SPEC section 3).
//!
//! ```text
//! initiator   Dial::start --message 1, 512 bytes--> Acceptor::accept   responder
//!                  |                                      |
//!             Dial::finish <--message 2, 512 bytes-- Verdict::{Accept, Refuse}, or nothing: Close
//!                  |                                      |
//!             Established                            Established, to be confirmed by frame 0 (SPEC 3.6)
//! ```
//!
//! Promises: the responder takes the steps of SPEC 3.4 in their order and answers nothing to who lacks the secret; a refusal looks
//! like an acceptance from outside; every error says what is wrong and what to type.
//! Must not know: sockets, the one second that message 1 has, the three that frame 0 has, how room is counted.

mod accept;
mod answers;
mod dial;
mod explain;
mod replay;

pub use accept::{Acceptor, CloseReason, Limits, Load, Verdict};
pub use dial::{Dial, DialError};
pub use explain::{CAUSES_OF_SILENCE, Explanation, explain};

use super::Role;
use super::time::{Instant, Now};
use crate::counters::HandshakeResult;
use crate::crypto::keys::Split;
use crate::crypto::noise;
use crate::crypto::suite::{Suite, Suites};
use crate::crypto::{SecretUsed, VERSION};
use crate::wire::payload::{PAYLOAD_LEN, Refusal};
use crate::wire::{Name, Software};

/// Bytes of either handshake message: version, Noise message (SPEC 3.1).
pub const MESSAGE_LEN: usize = 1 + noise::OVERHEAD + PAYLOAD_LEN;
const _: () = assert!(MESSAGE_LEN == 512);

/// The most that the clocks of the two sides may differ by, ms (SPEC 3.4 step 6).
pub const MAX_CLOCK_SKEW_MS: u64 = 10_000;

/// What this version can do; it defines no feature (SPEC 3.3).
const FEATURES: u64 = 0;

/// A handshake message.
pub type Message = [u8; MESSAGE_LEN];

/// What a process says of itself in every handshake.
#[derive(Debug, Clone)]
pub struct Local {
    /// 16 random bytes, drawn once when the process starts.
    pub instance: [u8; 16],
    /// `--name`.
    pub name: Option<Name>,
    /// `--peer-name`: whom an initiator means. A responder ignores it.
    pub peer_name: Option<Name>,
    /// What an initiator offers, a responder takes.
    pub suites: Suites,
    pub software: Software,
}

/// What a side grants its peer on a new link. Both within the table of SPEC 3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Credit on each new stream, bytes.
    pub window: u32,
    /// Streams at once.
    pub max_streams: u32,
}

/// What the peer said of itself, authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub name: Option<Name>,
    pub software: Software,
    pub instance: [u8; 16],
}

/// What a link starts from.
#[derive(Debug)]
pub struct Established {
    pub role: Role,
    pub split: Split,
    pub suite: Suite,
    /// The Noise prologue; REKEY extends it (SPEC section 11).
    pub prologue: Vec<u8>,
    /// Credit that this side granted on each new stream.
    pub window_local: u32,
    /// Credit that the peer granted.
    pub window_peer: u32,
    /// The smaller of both sides' (SPEC 3.3).
    pub max_streams: u32,
    /// The bits that both set (SPEC 3.3).
    pub features: u64,
    pub peer: Peer,
    /// The peer's wall clock minus the own one, ms. At a responder half a round trip too small.
    pub clock_difference_ms: i64,
    /// Both own clocks when the own handshake message was made: the base of own stamps (SPEC section 10).
    pub base: Now,
    /// S of the first mapping: the clock in message 2. `None` at the responder, whose S is the stamp of frame 0.
    pub peer_stamp: Option<u64>,
    /// L of the first mapping: an instant before the own handshake message was written.
    pub written: Instant,
    pub secret: SecretUsed,
}

impl Established {
    /// The own handshake message is about to be written. It must not be later, or ages would be understated (SPEC 14.7); without
    /// this call it is when the message was made.
    pub fn written(&mut self, before: Instant) {
        self.written = before;
    }
}

/// The envelope around a Noise message that `fill` writes (SPEC 3.1).
fn envelope<T, E>(fill: impl FnOnce(&mut [u8]) -> Result<T, E>) -> Result<(T, Message), E> {
    let mut message = [0; MESSAGE_LEN];
    message[0] = VERSION;
    let filled = fill(&mut message[1..])?;
    Ok((filled, message))
}

/// `theirs - ours`, ms; beyond an i64 its end.
fn difference(theirs: u64, ours: u64) -> i64 {
    let difference = i128::from(theirs) - i128::from(ours);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

/// The metric that counts a refusal.
fn metric(refusal: Refusal) -> HandshakeResult {
    match refusal {
        Refusal::ClockSkew => HandshakeResult::ClockSkew,
        Refusal::PeerName => HandshakeResult::PeerName,
        Refusal::SelfDial => HandshakeResult::SelfDial,
        Refusal::Busy => HandshakeResult::Busy,
        Refusal::NoCommonSuite => HandshakeResult::NoCommonSuite,
        Refusal::Malformed => HandshakeResult::Malformed,
        Refusal::Draining => HandshakeResult::Draining,
        Refusal::Unknown(_) => HandshakeResult::Unknown,
    }
}

#[cfg(test)]
mod tests;
