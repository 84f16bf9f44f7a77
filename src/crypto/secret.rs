//! The operator's secret and the pre-shared key that comes of it (SPEC section 2).
//!
//! Promises: two versions of the program agree on what a secret means, without a heuristic; a bad one is refused with what is
//! wrong and what to type; neither `Debug` nor an error shows any of it; it is wiped when dropped.
//! Must not know: where the secret was read from.

use super::kdf;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64UrlUnpadded, Encoding};
use core::fmt;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

const PREFIX: &str = "wa1-";
const KEY_LEN: usize = 32;
const CHECK_LEN: usize = 4;
/// Characters of base64url after the prefix.
const ENCODED_LEN: usize = (KEY_LEN + CHECK_LEN) / 3 * 4;
/// Fewer characters are a weak passphrase.
const MIN_CHARACTERS: usize = 16;

/// A secret that was found good.
pub struct Secret(Inner);

enum Inner {
    Generated(Zeroizing<[u8; KEY_LEN]>),
    Passphrase(Zeroizing<Vec<u8>>),
}

/// How a key comes of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Made by `wa-sidecar keygen`: 32 random bytes, used as they are.
    Generated,
    /// Anything else: through Argon2id.
    Passphrase,
}

/// What is wrong with a secret, and what to type. Reads on after "bad secret: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("it is empty; run `wa-sidecar keygen` and give both sidecars the line that it prints")]
    Empty,
    #[error(
        "it is a passphrase of {chars} characters, {MIN_CHARACTERS} are the least: a short one can be guessed from one recorded \
         connection; run `wa-sidecar keygen` and give both sidecars the line that it prints"
    )]
    TooShort { chars: usize },
    #[error(
        "it is a passphrase of more than 4 GiB; run `wa-sidecar keygen` and give both sidecars the line that it prints"
    )]
    TooLong,
    #[error(
        "it starts with {PREFIX} but {chars} characters follow where keygen prints {ENCODED_LEN}; copy the whole line of \
         `wa-sidecar keygen`, without spaces or quotes"
    )]
    GeneratedLength { chars: usize },
    #[error(
        "it starts with {PREFIX} but has a character that keygen never prints (only A-Z a-z 0-9 - _ follow); copy the whole line \
         of `wa-sidecar keygen`, without spaces or quotes"
    )]
    GeneratedAlphabet,
    #[error(
        "it starts with {PREFIX} but its check does not fit, so a character was changed; copy the whole line of `wa-sidecar keygen` \
         again"
    )]
    GeneratedCheck,
}

impl Secret {
    /// Takes a secret as it was configured; of a file, its bytes without one trailing LF or CR LF. `allow_weak` takes passphrases
    /// of fewer than 16 characters; the empty one is always refused.
    pub fn parse(bytes: &[u8], allow_weak: bool) -> Result<Self, SecretError> {
        if bytes.is_empty() {
            return Err(SecretError::Empty);
        }
        // SPEC 2 rule 1: whatever starts like a generated secret must be one.
        if let Some(encoded) = bytes.strip_prefix(PREFIX.as_bytes()) {
            return Self::parse_generated(encoded);
        }
        // SPEC 2 rule 2: Unicode scalar values, or bytes if it is not UTF-8.
        let chars = core::str::from_utf8(bytes).map_or(bytes.len(), |text| text.chars().count());
        if chars < MIN_CHARACTERS && !allow_weak {
            return Err(SecretError::TooShort { chars });
        }
        // RFC 9106 section 3.1: a password has at most 2^32 - 1 bytes.
        if u32::try_from(bytes.len()).is_err() {
            return Err(SecretError::TooLong);
        }
        Ok(Self(Inner::Passphrase(Zeroizing::new(bytes.to_vec()))))
    }

    fn parse_generated(encoded: &[u8]) -> Result<Self, SecretError> {
        if encoded.len() != ENCODED_LEN {
            let chars = core::str::from_utf8(encoded).map_or(encoded.len(), |text| text.chars().count());
            return Err(SecretError::GeneratedLength { chars });
        }
        let mut decoded = Zeroizing::new([0; KEY_LEN + CHECK_LEN]);
        // 48 characters are 36 bytes with no bits left over, so there is one encoding of each secret.
        Base64UrlUnpadded::decode(encoded, &mut *decoded).map_err(|_| SecretError::GeneratedAlphabet)?;
        let (key, check) = decoded.split_at(KEY_LEN);
        let mut owned = Zeroizing::new([0; KEY_LEN]);
        owned.copy_from_slice(key);
        if check != checksum(&owned) {
            return Err(SecretError::GeneratedCheck);
        }
        Ok(Self(Inner::Generated(owned)))
    }

    pub fn kind(&self) -> Kind {
        match self.0 {
            Inner::Generated(_) => Kind::Generated,
            Inner::Passphrase(_) => Kind::Passphrase,
        }
    }

    /// The pre-shared key of `deployment`, a name of 1 to 64 bytes. For a passphrase this takes 7 MiB and some 20 ms.
    pub fn psk(&self, deployment: &str) -> Psk {
        let stretched;
        let key: &[u8; KEY_LEN] = match &self.0 {
            Inner::Generated(key) => key,
            Inner::Passphrase(passphrase) => {
                stretched = stretch(passphrase, deployment);
                &stretched
            }
        };
        let prk = kdf::extract(b"wa-sidecar/1", key);
        Psk(kdf::expand(
            &prk,
            &[b"psk", &[name_length(deployment)], deployment.as_bytes()],
        ))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?})", self.kind())
    }
}

/// The line that `wa-sidecar keygen` prints: a generated secret whose key is `entropy`.
pub fn generate(mut entropy: [u8; KEY_LEN]) -> String {
    let mut joined = Zeroizing::new([0; KEY_LEN + CHECK_LEN]);
    joined[..KEY_LEN].copy_from_slice(&entropy);
    joined[KEY_LEN..].copy_from_slice(&checksum(&entropy));
    entropy.zeroize();
    let mut encoded = Zeroizing::new([0; ENCODED_LEN]);
    // The room is exact, so there is always a text.
    let text = Base64UrlUnpadded::encode(&*joined, &mut *encoded).unwrap_or_default();
    [PREFIX, text].concat()
}

/// The length byte of a name in a prologue or label.
pub(super) fn name_length(name: &str) -> u8 {
    debug_assert!((1..=64).contains(&name.len()), "a deployment name has 1 to 64 bytes");
    name.len() as u8
}

/// SPEC 2 rule 1.
fn checksum(key: &[u8; KEY_LEN]) -> [u8; CHECK_LEN] {
    let hash = Sha256::new()
        .chain_update(b"wa-sidecar secret 1")
        .chain_update(key)
        .finalize();
    core::array::from_fn(|i| hash[i])
}

/// SPEC 2 rule 2: Argon2id, RFC 9106.
fn stretch(passphrase: &[u8], deployment: &str) -> Zeroizing<[u8; KEY_LEN]> {
    const MEMORY_KIB: u32 = 7168;
    const PASSES: u32 = 5;
    const LANES: u32 = 1;
    let salt = [b"wa-sidecar/1 ", deployment.as_bytes()].concat();
    let mut key = Zeroizing::new([0; KEY_LEN]);
    // A guard, so that the memory is wiped before it is freed.
    struct Memory(Vec<Block>);
    impl Drop for Memory {
        fn drop(&mut self) {
            self.0.iter_mut().for_each(Zeroize::zeroize);
        }
    }
    let done = Params::new(MEMORY_KIB, PASSES, LANES, Some(KEY_LEN)).and_then(|params| {
        let mut memory = Memory(vec![Block::default(); params.block_count()]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(passphrase, &salt, &mut *key, memory.0.as_mut_slice())
    });
    // Constant parameters; the salt has 13 bytes and more, `parse` bounds the passphrase.
    assert!(done.is_ok(), "Argon2id takes these parameters");
    key
}

/// The pre-shared key of a link's handshake.
#[derive(Clone)]
pub struct Psk(Zeroizing<[u8; 32]>);

impl Psk {
    /// For test vectors; else a `Psk` comes of [`Secret::psk`].
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In constant time.
impl PartialEq for Psk {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0.iter()).fold(0, |acc, (a, b)| acc | (a ^ b));
        core::hint::black_box(difference) == 0
    }
}

impl Eq for Psk {}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk")
    }
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
