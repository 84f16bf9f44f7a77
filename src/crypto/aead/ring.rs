//! AES-256-GCM of the crate `ring` (NIST SP 800-38D), on the hosts where `aws-lc-rs` has only its code for 128-bit registers.
//!
//! aws-lc takes wide registers where there is AVX-512, ring where there is AVX2. A CPU with VAES and without AVX-512 seals a
//! frame with ring in about 0.6 of the time: `cargo bench --bench layers` has both.

use super::{Failed, KEY_LEN, NONCE_LEN, TAG_LEN};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use std::hint::black_box;

pub(in crate::crypto) struct Key(LessSafeKey);

impl Key {
    /// Whether this CPU is one for which [`Key`] is the faster one.
    pub fn suits_this_cpu() -> bool {
        use std::arch::is_x86_feature_detected as has;
        let wide = has!("vaes") && has!("vpclmulqdq") && has!("avx2");
        wide && !(has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl"))
    }

    #[expect(clippy::panic, reason = "the length is right, and nothing else can be wrong")]
    pub fn aes_256_gcm(key: &[u8; KEY_LEN]) -> Self {
        match UnboundKey::new(&AES_256_GCM, key) {
            Ok(key) => Self(LessSafeKey::new(key)),
            Err(_) => panic!("ring refuses a key of 32 bytes"),
        }
    }

    pub fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], Failed> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), data);
        tag.map_err(|_| Failed)?.as_ref().try_into().map_err(|_| Failed)
    }

    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Failed> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .0
            .open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(*tag), data, 0..);
        opened.map(|_| ()).map_err(|_| Failed)
    }
}

/// ring wipes nothing: another key's state is written over this one's.
impl Drop for Key {
    fn drop(&mut self) {
        if let Ok(zeros) = UnboundKey::new(&AES_256_GCM, &[0; KEY_LEN]) {
            self.0 = LessSafeKey::new(zeros);
            black_box(&self.0);
        }
    }
}
