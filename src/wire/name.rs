//! Names of deployments, sidecars and services, and the software text of a handshake (SPEC sections 2 and 3.3).
//!
//! Promises: a value that exists has the form that the wire allows; inline, no allocation.
//! Must not know: what is named.

use core::fmt;
use core::ops::Deref;

/// Text of at most `N` bytes of ASCII, kept inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Inline<const N: usize> {
    length: u8,
    /// Zeros behind `length`, so that equal texts are equal bytes.
    bytes: [u8; N],
}

impl<const N: usize> Inline<N> {
    /// `None`: empty, too long, or a byte that is not `allowed`.
    fn new(text: &[u8], allowed: impl Fn(u8) -> bool) -> Option<Self> {
        const { assert!(N <= u8::MAX as usize) };
        let mut bytes = [0; N];
        if text.is_empty() || !text.iter().all(|&byte| byte.is_ascii() && allowed(byte)) {
            return None;
        }
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        let length = text.len() as u8;
        Some(Self { length, bytes })
    }

    fn as_str(&self) -> &str {
        // `new` takes ASCII alone, so this is always the text.
        core::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

macro_rules! text {
    ($name:ident, $most:literal, $allowed:expr) => {
        impl $name {
            /// The most bytes that it can have.
            pub const MAX_LEN: usize = $most;

            /// `None` if `text` does not have the form above.
            pub fn new(text: &str) -> Option<Self> {
                Self::from_bytes(text.as_bytes())
            }

            /// As [`new`](Self::new), of bytes from the wire.
            pub fn from_bytes(text: &[u8]) -> Option<Self> {
                Inline::new(text, $allowed).map(Self)
            }

            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&**self, f)
            }
        }
    };
}

/// 1 to 64 bytes of `A-Z a-z 0-9 . _ -` (SPEC section 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(Inline<64>);

text!(Name, 64, |byte| byte.is_ascii_alphanumeric()
    || matches!(byte, b'.' | b'_' | b'-'));

/// 1 to 32 bytes of printable ASCII: a program and its version (SPEC 3.3, field 0x07).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Software(Inline<32>);

text!(Software, 32, |byte| matches!(byte, 0x20..=0x7e));

impl Software {
    /// This program.
    pub const fn own() -> Self {
        const OWN: Software = {
            const TEXT: &[u8] = concat!("wa-sidecar/", env!("CARGO_PKG_VERSION")).as_bytes();
            let mut bytes = [0; 32];
            let mut at = 0;
            while at < TEXT.len() {
                assert!(matches!(TEXT[at], 0x20..=0x7e));
                bytes[at] = TEXT[at];
                at += 1;
            }
            Software(Inline {
                length: TEXT.len() as u8,
                bytes,
            })
        };
        OWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_name() {
        for good in ["a", "Node_1.a-b", &"n".repeat(64)] {
            assert_eq!(Name::new(good).expect(good).as_str(), good);
        }
        for bad in [
            "",
            " a",
            "a b",
            "a/b",
            "ä",
            "a\0",
            "a\n",
            &"n".repeat(65),
            &"n".repeat(300),
        ] {
            assert_eq!(Name::new(bad), None, "{bad:?}");
        }
        assert_eq!(Name::from_bytes(&[0xff]), None);
        assert_ne!(Name::new("a"), Name::new("aa"));
    }

    #[test]
    fn the_form_of_software() {
        assert_eq!(&*Software::new("x y~").expect("printable"), "x y~");
        for bad in ["", "a\u{7f}", "a\t", "ü", &"s".repeat(33)] {
            assert_eq!(Software::new(bad), None, "{bad:?}");
        }
        assert!(Software::own().starts_with("wa-sidecar/"));
    }
}
