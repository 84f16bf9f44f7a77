//! The frame header (SPEC section 5).
//!
//! ```text
//! 0        4                12                 20                             20 + length
//! | length | counter (u64)  | timestamp (u64)  | ciphertext (length - 16) | tag (16) |
//! ```

/// Bytes of the header; they are the frame's associated data.
pub const HEADER_LEN: usize = 20;
/// Bytes of the AEAD tag.
pub const TAG_LEN: usize = 16;
/// The most plaintext that a frame can carry, bytes.
pub const MAX_PLAINTEXT: usize = 262_144;
/// The most that a whole frame can take, header and tag included.
pub const MAX_FRAME: usize = HEADER_LEN + MAX_PLAINTEXT + TAG_LEN;
/// `length` of the initiator's frame 0 is at most this (SPEC 3.6).
pub const MAX_CONFIRMATION_LENGTH: u32 = 512;

const MIN_LENGTH: u32 = 1 + TAG_LEN as u32;
const MAX_LENGTH: u32 = (MAX_PLAINTEXT + TAG_LEN) as u32;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of ciphertext and tag, 17 to 262,160.
    pub length: u32,
    pub counter: u64,
    /// The sender's stamp, milliseconds (SPEC section 10).
    pub timestamp: u64,
}

/// `length` is out of range (SPEC section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame length {0} is not within {MIN_LENGTH} to {MAX_LENGTH}")]
pub struct BadLength(pub u32);

impl Header {
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..4].copy_from_slice(&self.length.to_be_bytes());
        out[4..12].copy_from_slice(&self.counter.to_be_bytes());
        out[12..].copy_from_slice(&self.timestamp.to_be_bytes());
        out
    }

    /// Checks `length` before anything else is done with the frame.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, BadLength> {
        let [a, b, c, d, rest @ ..] = *bytes;
        let [counter @ .., _, _, _, _, _, _, _, _] = rest;
        let [_, _, _, _, _, _, _, _, timestamp @ ..] = rest;
        let length = u32::from_be_bytes([a, b, c, d]);
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&length) {
            return Err(BadLength(length));
        }
        Ok(Self {
            length,
            counter: u64::from_be_bytes(counter),
            timestamp: u64::from_be_bytes(timestamp),
        })
    }

    /// Bytes of the whole frame that this header begins.
    pub const fn frame_len(&self) -> usize {
        HEADER_LEN + self.length as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        let header = Header {
            length: 17,
            counter: 0x0102_0304_0506_0708,
            timestamp: u64::MAX - 1,
        };
        let bytes = header.encode();
        assert_eq!(bytes[..8], [0, 0, 0, 17, 1, 2, 3, 4]);
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn lengths_at_the_borders() {
        for (length, ok) in [
            (0, false),
            (16, false),
            (17, true),
            (262_160, true),
            (262_161, false),
            (u32::MAX, false),
        ] {
            let bytes = Header {
                length,
                counter: 0,
                timestamp: 0,
            }
            .encode();
            assert_eq!(Header::decode(&bytes).is_ok(), ok, "length {length}");
        }
    }
}
