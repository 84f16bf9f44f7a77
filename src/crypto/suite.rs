//! The AEAD suites of frames (SPEC 3.3), and which of them this build and this host can offer.
//!
//! Promises: a `Suite` that exists can be used: without the feature `aws-lc` there is no AES-256-GCM to name.
//! Must not know: keys.

use crate::wire::payload::Offer;
use core::fmt;

/// An AEAD with 32 bytes of key, 12 of nonce and 16 of tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// RFC 8439; every implementation has it.
    ChaCha20Poly1305 = 1,
    /// NIST SP 800-38D.
    #[cfg(feature = "aws-lc")]
    Aes256Gcm = 2,
}

impl Suite {
    /// `None`: this build does not know it.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::ChaCha20Poly1305),
            #[cfg(feature = "aws-lc")]
            2 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// The suite byte of SPEC sections 3.3 and 4.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// The stable text of logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            #[cfg(feature = "aws-lc")]
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }

    /// This build has AES-256-GCM and this CPU does AES and carry-less multiplication. Only then may it be offered or taken.
    pub fn hardware_aes() -> bool {
        if !cfg!(feature = "aws-lc") {
            return false;
        }
        #[cfg(target_arch = "x86_64")]
        let has = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let has = std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let has = false;
        has
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What a side offers or takes, preferred first. ChaCha20-Poly1305 is always in it (SPEC 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suites {
    aes: bool,
}

impl Suites {
    /// `--cipher auto`: AES-256-GCM first where the hardware does it.
    pub fn auto() -> Self {
        Self {
            aes: Suite::hardware_aes(),
        }
    }

    /// ChaCha20-Poly1305 alone.
    pub const fn chacha20_poly1305() -> Self {
        Self { aes: false }
    }

    /// AES-256-GCM first, also where the CPU does not do AES: for tests and vectors.
    #[cfg(feature = "aws-lc")]
    pub const fn with_aes_256_gcm() -> Self {
        Self { aes: true }
    }

    /// The suites, preferred first.
    pub const fn as_slice(&self) -> &'static [Suite] {
        #[cfg(feature = "aws-lc")]
        if self.aes {
            return &[Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
        }
        &[Suite::ChaCha20Poly1305]
    }

    pub fn contains(&self, suite: Suite) -> bool {
        self.as_slice().contains(&suite)
    }

    /// The suite of a link whose initiator offers `offered`, as the responder chooses it: AES-256-GCM if both have it, else
    /// ChaCha20-Poly1305 (SPEC 3.4). `None`: none is common.
    pub fn choose(&self, offered: &[u8]) -> Option<Suite> {
        self.as_slice()
            .iter()
            .copied()
            .find(|suite| offered.contains(&suite.byte()))
    }
}

impl From<Suites> for Offer {
    fn from(suites: Suites) -> Self {
        match suites.as_slice() {
            [first, second] => [first.byte(), second.byte()].into(),
            _ => [Suite::ChaCha20Poly1305.byte()].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_responder_chooses_aes_only_if_both_have_it() {
        let chacha = Suites::chacha20_poly1305();
        assert_eq!(chacha.choose(&[2, 1]), Some(Suite::ChaCha20Poly1305));
        assert_eq!(chacha.choose(&[9, 1]), Some(Suite::ChaCha20Poly1305));
        assert_eq!(chacha.choose(&[2]), None);
        assert_eq!(Offer::from(chacha).as_bytes(), [1]);
        #[cfg(feature = "aws-lc")]
        {
            let both = Suites::with_aes_256_gcm();
            assert_eq!(both.choose(&[1]), Some(Suite::ChaCha20Poly1305));
            assert_eq!(both.choose(&[1, 2]), Some(Suite::Aes256Gcm));
            assert_eq!(Offer::from(both).as_bytes(), [2, 1]);
        }
        #[cfg(not(feature = "aws-lc"))]
        assert!(!Suite::hardware_aes() && Suite::from_byte(2).is_none());
    }

    #[test]
    fn bytes_and_suites_agree() {
        for byte in 0..=255 {
            if let Some(suite) = Suite::from_byte(byte) {
                assert_eq!(suite.byte(), byte);
            }
        }
        assert_eq!(Suite::from_byte(1), Some(Suite::ChaCha20Poly1305));
    }
}
