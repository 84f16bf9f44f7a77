//! The key exchange: `Noise_NNpsk0_25519_ChaChaPoly_SHA256` (Noise revision 34; SPEC 3.2), for the link and for REKEY.
//!
//! ```text
//! initiator   Initiator::start --message 1: psk, e--> Responder::read     responder
//!             Initiator::finish <--message 2: e, ee-- Responder::finish
//!                  |                                       |
//!                Split                                   Split
//! ```
//!
//! Promises: `Responder::read` computes no X25519, so a stranger costs a few hashes; the psk and the prologue of both sides are the
//! same or nothing authenticates; the raw keys are taken only of a finished handshake.
//! Must not know: versions, payloads' fields, replays.

use super::keys::Split;
use super::resolver::{Entropy, Resolver};
use super::secret::Psk;
use core::fmt;
use snow::{Builder, HandshakeState};
use zeroize::{Zeroize, Zeroizing};

/// Bytes that a Noise message has more than its payload: ephemeral key and tag.
pub const OVERHEAD: usize = 48;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";

/// Other psk, other prologue, or altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the handshake message does not authenticate")]
pub struct Unauthenticated;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoiseError {
    #[error("the handshake message does not authenticate")]
    Unauthenticated,
    /// The shared secret is all zeros (SPEC 3.2).
    #[error("the peer's ephemeral key is of low order")]
    LowOrder,
    /// A mistake of the caller: a message is its payload and 48 bytes.
    #[error("the message and its payload have lengths that do not fit")]
    Length,
}

/// The initiator between message 1 and message 2.
pub struct Initiator(HandshakeState);

/// The responder between message 1, which authenticated, and message 2.
pub struct Responder {
    state: HandshakeState,
    entropy: Entropy,
    remote: [u8; 32],
}

impl Initiator {
    /// Writes message 1 to `out`, which has the payload's length and 48 bytes. `entropy`: 32 random bytes, never used before.
    pub fn start(
        psk: &Psk,
        prologue: &[u8],
        payload: &[u8],
        entropy: [u8; 32],
        out: &mut [u8],
    ) -> Result<Self, NoiseError> {
        let source = Entropy::default();
        source.put(entropy);
        let mut state = build(psk, prologue, source, true)?;
        write(&mut state, payload, out)?;
        Ok(Self(state))
    }

    /// Reads message 2 into `payload`, which is 48 bytes shorter than `message`.
    pub fn finish(mut self, message: &[u8], payload: &mut [u8]) -> Result<Split, NoiseError> {
        read(&mut self.0, message, payload)?;
        split(self.0)
    }
}

impl Responder {
    /// Reads message 1 into `payload`, which is 48 bytes shorter than `message`. Computes no X25519 (SPEC 3.4).
    pub fn read(psk: &Psk, prologue: &[u8], message: &[u8], payload: &mut [u8]) -> Result<Self, Unauthenticated> {
        let entropy = Entropy::default();
        let remote = *message.first_chunk().ok_or(Unauthenticated)?;
        let mut state = build(psk, prologue, entropy.clone(), false).map_err(|_| Unauthenticated)?;
        read(&mut state, message, payload).map_err(|_| Unauthenticated)?;
        Ok(Self { state, entropy, remote })
    }

    /// The initiator's ephemeral public key: what a replay of message 1 repeats.
    pub fn remote_ephemeral(&self) -> &[u8; 32] {
        &self.remote
    }

    /// Writes message 2 to `out`, which has the payload's length and 48 bytes. `entropy`: 32 random bytes, never used before.
    pub fn finish(mut self, payload: &[u8], entropy: [u8; 32], out: &mut [u8]) -> Result<Split, NoiseError> {
        self.entropy.put(entropy);
        write(&mut self.state, payload, out)?;
        split(self.state)
    }
}

fn build(psk: &Psk, prologue: &[u8], entropy: Entropy, initiator: bool) -> Result<HandshakeState, NoiseError> {
    let built = PATTERN.parse().and_then(|pattern| {
        let builder = Builder::with_resolver(pattern, Box::new(Resolver(entropy)));
        let builder = builder.psk(0, psk.as_bytes())?.prologue(prologue)?;
        if initiator {
            builder.build_initiator()
        } else {
            builder.build_responder()
        }
    });
    // Constants only; a refused one authenticates nothing.
    built.map_err(|_| NoiseError::Unauthenticated)
}

fn write(state: &mut HandshakeState, payload: &[u8], out: &mut [u8]) -> Result<(), NoiseError> {
    if out.len() != payload.len() + OVERHEAD {
        return Err(NoiseError::Length);
    }
    match state.write_message(payload, out) {
        Ok(written) if written == out.len() => Ok(()),
        Ok(_) => Err(NoiseError::Length),
        Err(snow::Error::Dh) => Err(NoiseError::LowOrder),
        Err(_) => Err(NoiseError::Unauthenticated),
    }
}

fn read(state: &mut HandshakeState, message: &[u8], payload: &mut [u8]) -> Result<(), NoiseError> {
    if message.len() != payload.len() + OVERHEAD {
        return Err(NoiseError::Length);
    }
    match state.read_message(message, payload) {
        Ok(_) => Ok(()),
        Err(error) => {
            // What did not authenticate is nobody's to look at.
            payload.zeroize();
            Err(match error {
                snow::Error::Dh => NoiseError::LowOrder,
                _ => NoiseError::Unauthenticated,
            })
        }
    }
}

fn split(mut state: HandshakeState) -> Result<Split, NoiseError> {
    if !state.is_handshake_finished() {
        return Err(NoiseError::Unauthenticated);
    }
    let (mut k_i, mut k_r) = state.dangerously_get_raw_split();
    let h = state.get_handshake_hash().try_into();
    let split = Split {
        k_i: Zeroizing::new(k_i),
        k_r: Zeroizing::new(k_r),
        h: h.map_err(|_| NoiseError::Unauthenticated)?,
    };
    k_i.zeroize();
    k_r.zeroize();
    Ok(split)
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiator")
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder")
    }
}

#[cfg(test)]
#[path = "noise_tests.rs"]
mod tests;
