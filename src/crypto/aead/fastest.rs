//! The fastest of the backends for this suite on this CPU.

use super::{Failed, KEY_LEN, NONCE_LEN, TAG_LEN, aws};
use crate::crypto::suite::Suite;

#[cfg(all(feature = "ring", target_arch = "x86_64"))]
use super::ring;

pub(in crate::crypto) enum Key {
    Aws(aws::Key),
    #[cfg(all(feature = "ring", target_arch = "x86_64"))]
    /// Not moved any more: where it lies, it is wiped.
    Ring(Box<ring::Key>),
}

/// One of two, the same call.
macro_rules! either {
    ($self:expr, $key:ident => $call:expr) => {
        match $self {
            Key::Aws($key) => $call,
            #[cfg(all(feature = "ring", target_arch = "x86_64"))]
            Key::Ring($key) => $call,
        }
    };
}

impl Key {
    pub fn new(suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        #[cfg(all(feature = "ring", target_arch = "x86_64"))]
        if suite == Suite::Aes256Gcm && ring::Key::suits_this_cpu() {
            return Self::Ring(Box::new(ring::Key::aes_256_gcm(key)));
        }
        Self::Aws(aws::Key::new(suite, key))
    }

    pub fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], Failed> {
        either!(self, key => key.seal(nonce, aad, data))
    }

    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Failed> {
        either!(self, key => key.open(nonce, aad, data, tag))
    }
}
