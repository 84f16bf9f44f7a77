//! The messages that a frame carries (SPEC section 6): one byte of type, then a fixed layout.

use core::ops::Range;

/// Bytes before the payload of a DATA message: type, id, n.
pub const DATA_HEADER_LEN: usize = 9;
/// The longest service name, bytes.
pub const MAX_SERVICE: usize = 64;
/// The longest message that is not DATA, bytes: OPEN with the longest service.
pub const MAX_CONTROL_LEN: usize = 6 + MAX_SERVICE;
/// Bytes of a Noise message inside REKEY1 and REKEY2.
pub const REKEY_NOISE_LEN: usize = 48;

const OPEN: u8 = 0x01;
const DATA: u8 = 0x02;
const CREDIT: u8 = 0x03;
const YIELD: u8 = 0x04;
const FIN: u8 = 0x05;
const RESET: u8 = 0x06;
const STOP: u8 = 0x07;
const PING: u8 = 0x08;
const PONG: u8 = 0x09;
const REKEY1: u8 = 0x0a;
const REKEY2: u8 = 0x0b;
const REKEY3: u8 = 0x0c;
const GOAWAY: u8 = 0x0d;

/// Why a stream is reset or stopped (SPEC section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    Unspecified = 0,
    AppReset = 1,
    DialRefused = 2,
    DialTimeout = 3,
    DialFailed = 4,
    UnknownService = 5,
    Busy = 6,
    Draining = 7,
    Answer = 8,
}

impl Code {
    /// Unknown codes are treated as 0 (SPEC section 9).
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::AppReset,
            2 => Self::DialRefused,
            3 => Self::DialTimeout,
            4 => Self::DialFailed,
            5 => Self::UnknownService,
            6 => Self::Busy,
            7 => Self::Draining,
            8 => Self::Answer,
            _ => Self::Unspecified,
        }
    }

    /// The stable text of logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::AppReset => "app_reset",
            Self::DialRefused => "dial_refused",
            Self::DialTimeout => "dial_timeout",
            Self::DialFailed => "dial_failed",
            Self::UnknownService => "unknown_service",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Answer => "answer",
        }
    }

    /// The stream was never served, as opposed to broken off.
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::DialRefused
                | Self::DialTimeout
                | Self::DialFailed
                | Self::UnknownService
                | Self::Busy
                | Self::Draining
        )
    }
}

/// Why a link is to take no new streams (SPEC section 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GoAway {
    Shutdown = 0,
    IdsUsedUp = 1,
    KeysTooOld = 2,
}

impl GoAway {
    /// Unknown codes are treated as 0 (SPEC section 12).
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::IdsUsedUp,
            2 => Self::KeysTooOld,
            _ => Self::Shutdown,
        }
    }
    pub const fn label(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::IdsUsedUp => "ids_used_up",
            Self::KeysTooOld => "keys_too_old",
        }
    }
}

/// One message. Byte strings are ranges into the plaintext that was decoded, so that the buffer stays free to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Open { id: u32, service: Range<usize> },
    Data { id: u32, bytes: Range<usize> },
    Credit { id: u32, limit: u64 },
    Yield { id: u32, limit: u64 },
    Fin { id: u32, offset: u64 },
    Reset { id: u32, code: u8 },
    Stop { id: u32, code: u8 },
    Ping { token: u64, clock: u64 },
    Pong { token: u64, clock: u64 },
    Rekey1 { noise: [u8; REKEY_NOISE_LEN] },
    Rekey2 { status: u8, noise: [u8; REKEY_NOISE_LEN] },
    Rekey3,
    GoAway { code: u8 },
}

/// The bytes are not a message (SPEC section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("unknown message type {0:#04x}")]
    UnknownType(u8),
    #[error("message cut off by the end of its frame")]
    CutOff,
    #[error("DATA without bytes")]
    EmptyData,
    #[error("service name longer than 64 bytes or with a byte that names do not have")]
    BadService,
    #[error("REKEY2 refuses but its Noise message is not zero")]
    BadRefusal,
}

/// Whether `byte` may stand in a name or service (SPEC section 2).
pub const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// A reader of fixed layouts from the front of a plaintext.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>())
            .ok_or(Malformed::CutOff)?;
        self.at += N;
        Ok(*bytes)
    }
    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[b]| b)
    }
    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }
    fn range(&mut self, n: usize) -> Result<Range<usize>, Malformed> {
        if self.bytes.len() - self.at < n {
            return Err(Malformed::CutOff);
        }
        self.at += n;
        Ok(self.at - n..self.at)
    }
}

impl Message {
    /// Decodes the message that begins at `at` and says where the next one begins.
    pub fn decode(plaintext: &[u8], at: usize) -> Result<(Self, usize), Malformed> {
        let mut r = Reader { bytes: plaintext, at };
        let message = match r.u8()? {
            DATA => {
                let (id, n) = (r.u32()?, r.u32()?);
                if n == 0 {
                    return Err(Malformed::EmptyData);
                }
                Self::Data {
                    id,
                    bytes: r.range(n as usize)?,
                }
            }
            OPEN => {
                let (id, n) = (r.u32()?, usize::from(r.u8()?));
                if n > MAX_SERVICE {
                    return Err(Malformed::BadService);
                }
                let service = r.range(n)?;
                if !plaintext[service.clone()].iter().copied().all(is_name_byte) {
                    return Err(Malformed::BadService);
                }
                Self::Open { id, service }
            }
            CREDIT => Self::Credit {
                id: r.u32()?,
                limit: r.u64()?,
            },
            YIELD => Self::Yield {
                id: r.u32()?,
                limit: r.u64()?,
            },
            FIN => Self::Fin {
                id: r.u32()?,
                offset: r.u64()?,
            },
            RESET => Self::Reset {
                id: r.u32()?,
                code: r.u8()?,
            },
            STOP => Self::Stop {
                id: r.u32()?,
                code: r.u8()?,
            },
            PING => Self::Ping {
                token: r.u64()?,
                clock: r.u64()?,
            },
            PONG => Self::Pong {
                token: r.u64()?,
                clock: r.u64()?,
            },
            REKEY1 => Self::Rekey1 { noise: r.array()? },
            REKEY2 => {
                let (status, noise) = (r.u8()?, r.array()?);
                if status != 0 && noise != [0; REKEY_NOISE_LEN] {
                    return Err(Malformed::BadRefusal);
                }
                Self::Rekey2 { status, noise }
            }
            REKEY3 => Self::Rekey3,
            GOAWAY => Self::GoAway { code: r.u8()? },
            other => return Err(Malformed::UnknownType(other)),
        };
        Ok((message, r.at))
    }
}

/// Appends messages to a slice. Each method returns `false`, with nothing written, where the room is too small.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: &'a mut usize,
}

impl<'a> Writer<'a> {
    /// Appends to `out` from `at` on, and moves `at`.
    pub fn new(out: &'a mut [u8], at: &'a mut usize) -> Self {
        Self { out, at }
    }

    fn put(&mut self, parts: &[&[u8]]) -> bool {
        let total: usize = parts.iter().map(|p| p.len()).sum();
        let Some(mut room) = self.out.get_mut(*self.at..*self.at + total) else {
            return false;
        };
        for part in parts {
            let (head, tail) = room.split_at_mut(part.len());
            head.copy_from_slice(part);
            room = tail;
        }
        *self.at += total;
        true
    }

    /// `service` is at most [`MAX_SERVICE`] bytes; a longer one is not written.
    pub fn open(&mut self, id: u32, service: &[u8]) -> bool {
        let Ok(n @ 0..=64) = u8::try_from(service.len()) else {
            return false;
        };
        self.put(&[&[OPEN], &id.to_be_bytes(), &[n], service])
    }
    pub fn credit(&mut self, id: u32, limit: u64) -> bool {
        self.put(&[&[CREDIT], &id.to_be_bytes(), &limit.to_be_bytes()])
    }
    pub fn yield_back(&mut self, id: u32, limit: u64) -> bool {
        self.put(&[&[YIELD], &id.to_be_bytes(), &limit.to_be_bytes()])
    }
    pub fn fin(&mut self, id: u32, offset: u64) -> bool {
        self.put(&[&[FIN], &id.to_be_bytes(), &offset.to_be_bytes()])
    }
    pub fn reset(&mut self, id: u32, code: Code) -> bool {
        self.put(&[&[RESET], &id.to_be_bytes(), &[code as u8]])
    }
    pub fn stop(&mut self, id: u32, code: Code) -> bool {
        self.put(&[&[STOP], &id.to_be_bytes(), &[code as u8]])
    }
    pub fn ping(&mut self, token: u64, clock: u64) -> bool {
        self.put(&[&[PING], &token.to_be_bytes(), &clock.to_be_bytes()])
    }
    pub fn pong(&mut self, token: u64, clock: u64) -> bool {
        self.put(&[&[PONG], &token.to_be_bytes(), &clock.to_be_bytes()])
    }
    pub fn rekey1(&mut self, noise: &[u8; REKEY_NOISE_LEN]) -> bool {
        self.put(&[&[REKEY1], noise])
    }
    /// `None` refuses: status 1 and zeros.
    pub fn rekey2(&mut self, noise: Option<&[u8; REKEY_NOISE_LEN]>) -> bool {
        let status = u8::from(noise.is_none());
        self.put(&[&[REKEY2, status], noise.unwrap_or(&[0; REKEY_NOISE_LEN])])
    }
    pub fn rekey3(&mut self) -> bool {
        self.put(&[&[REKEY3]])
    }
    pub fn goaway(&mut self, code: GoAway) -> bool {
        self.put(&[&[GOAWAY, code as u8]])
    }
}

/// The header of a DATA message; its `n` bytes follow.
pub fn data_header(id: u32, n: u32) -> [u8; DATA_HEADER_LEN] {
    let [a, b, c, d] = id.to_be_bytes();
    let [e, f, g, h] = n.to_be_bytes();
    [DATA, a, b, c, d, e, f, g, h]
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
