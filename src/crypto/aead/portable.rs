//! ChaCha20-Poly1305 of the crate `chacha20poly1305` (RFC 8439), which wipes its key when dropped.

use super::{Failed, KEY_LEN, NONCE_LEN, TAG_LEN};
use crate::crypto::suite::Suite;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

pub(in crate::crypto) struct Key(ChaCha20Poly1305);

impl Key {
    /// Only for ChaCha20-Poly1305, which is all there is without the feature `aws-lc`.
    #[cfg_attr(feature = "aws-lc", allow(dead_code, reason = "the active backend is aws"))]
    pub fn new(suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        debug_assert_eq!(suite, Suite::ChaCha20Poly1305);
        Self::chacha20_poly1305(key)
    }

    pub fn chacha20_poly1305(key: &[u8; KEY_LEN]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    pub fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], Failed> {
        let tag = self.0.encrypt_in_place_detached(nonce.into(), aad, data);
        tag.map(Into::into).map_err(|_| Failed)
    }

    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Failed> {
        self.0
            .decrypt_in_place_detached(nonce.into(), aad, data, tag.into())
            .map_err(|_| Failed)
    }
}
