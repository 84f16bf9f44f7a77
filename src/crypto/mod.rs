//! Keys: from the operator's secret to sealed frames (SPEC sections 2, 3.2, 4 and 11).
//!
//! ```text
//! secret    WA_SECRET            -> Psk                   Argon2id, HKDF-SHA256
//! noise     Psk, prologue        -> Split {k_i, k_r, h}   Noise_NNpsk0_25519_ChaChaPoly_SHA256, over resolver
//! keys      one half of a Split  -> Sealer | Opener       kdf's ratchet, a counter that cannot repeat
//! aead      a key of one generation                       portable | aws, ring
//! ```
//!
//! Promises: a key of the wrong stage does not compile; what is ours of a secret is wiped when dropped and never shown by `Debug`;
//! nothing that arrives from the network or a file reaches a panic; a frame costs no allocation.
//! Must not know: sockets, clocks, where randomness comes from, what is inside a frame or a payload.

mod aead;
mod kdf;
pub mod keys;
pub mod noise;
mod resolver;
pub mod secret;
pub mod suite;

#[cfg(test)]
pub(crate) use resolver::count;
pub use secret::Psk;
pub use suite::Suite;

/// The version of the protocol (SPEC 3.1).
pub const VERSION: u8 = if cfg!(wa_bench_without_aead) { 0 } else { 1 };

/// The keys of one process: what it dials with, what else it accepts while a secret is being replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// An initiator uses this one alone (SPEC 3.5).
    pub current: Psk,
    /// A responder tries it after `current` (SPEC 3.4 step 3).
    pub previous: Option<Psk>,
    /// The deployment name, of the form of [`Name`](crate::wire::Name).
    pub deployment: String,
}

/// Which of the two secrets authenticated a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretUsed {
    Current,
    Previous,
}

impl SecretUsed {
    /// The stable text of logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }
}

impl Keyring {
    /// The Noise prologue of a link (SPEC 3.2).
    pub fn prologue(&self) -> Vec<u8> {
        const INITIATOR: u8 = 0x01;
        const RESPONDER: u8 = 0x02;
        let name = self.deployment.as_bytes();
        let mut prologue = b"wa-sidecar".to_vec();
        prologue.extend_from_slice(&[VERSION, INITIATOR, RESPONDER]);
        prologue.push(secret::name_length(&self.deployment));
        prologue.extend_from_slice(name);
        prologue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prologue_binds_version_roles_and_deployment() {
        let keyring = Keyring {
            current: Psk::from_bytes([1; 32]),
            previous: None,
            deployment: "prod-1".into(),
        };
        assert_eq!(keyring.prologue(), b"wa-sidecar\x01\x01\x02\x06prod-1");
    }
}
