//! HKDF-SHA256 (RFC 5869) in the three forms that SPEC sections 1, 2 and 4 name.
//!
//! Promises: outputs of at most 32 bytes, in memory that is wiped when dropped; lengths are checked when compiling.
//! Must not know: labels, or what the keys are for.
//! The hash states inside `hkdf` and `hmac` are not ours to wipe; they live on the stack for the length of a call.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// A pseudorandom key: what `extract` gives and `expand` takes.
pub(super) type Prk = Zeroizing<[u8; 32]>;

/// `HKDF-Extract(salt, ikm)` (RFC 5869 section 2.2).
pub(super) fn extract(salt: &[u8], ikm: &[u8]) -> Prk {
    let mut prk = Prk::default();
    let (mut bytes, _) = Hkdf::<Sha256>::extract(Some(salt), ikm);
    prk.copy_from_slice(&bytes);
    bytes.as_mut_slice().zeroize();
    prk
}

/// `HKDF-Expand(prk, info, N)` (RFC 5869 section 2.3); `info` is the parts joined.
pub(super) fn expand<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 32) };
    let mut out = Zeroizing::new([0; N]);
    let done = Hkdf::<Sha256>::from_prk(&**prk).is_ok_and(|hkdf| hkdf.expand_multi_info(info, &mut *out).is_ok());
    // Constant lengths: a PRK of one hash, and no more than one hash of output.
    assert!(done, "HKDF takes a PRK of 32 bytes and gives at most 32");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869 appendix A.1 and A.3 (the first 32 bytes of their OKM).
    #[test]
    fn known_answers_of_rfc_5869() {
        let prk = extract(&core::array::from_fn::<u8, 13, _>(|i| i as u8), &[0x0b; 22]);
        let expected = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5";
        assert_eq!(hex(&*prk), expected);
        let okm = expand::<32>(
            &prk,
            &[&[0xf0, 0xf1, 0xf2, 0xf3], &[0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9]],
        );
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        assert_eq!(hex(&*okm), expected);

        let prk = extract(&[], &[0x0b; 22]);
        let expected = "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04";
        assert_eq!(hex(&*prk), expected);
        let okm = expand::<32>(&prk, &[]);
        let expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        assert_eq!(hex(&*okm), expected);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
