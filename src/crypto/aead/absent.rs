//! No AEAD at all: a relay that seals nothing, to measure what sealing adds (benches/README.md, `sealing`). Only in a build with
//! `RUSTFLAGS="--cfg wa_bench_without_aead"`, which says so at its start and is refused by every other.

use super::{Failed, KEY_LEN, NONCE_LEN, TAG_LEN};
use crate::crypto::suite::Suite;

pub(in crate::crypto) struct Key;

impl Key {
    pub fn new(_suite: Suite, _key: &[u8; KEY_LEN]) -> Self {
        Self
    }

    pub fn seal(&self, _nonce: &[u8; NONCE_LEN], _aad: &[u8], _data: &mut [u8]) -> Result<[u8; TAG_LEN], Failed> {
        Ok([0; TAG_LEN])
    }

    pub fn open(
        &self,
        _nonce: &[u8; NONCE_LEN],
        _aad: &[u8],
        _data: &mut [u8],
        _tag: &[u8; TAG_LEN],
    ) -> Result<(), Failed> {
        Ok(())
    }
}
