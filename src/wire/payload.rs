//! The payload of a handshake message (SPEC 3.3): typed fields in ascending order, then zeros.
//!
//! ```text
//! | type (u8) | length (u16) | value (length bytes) | ... | 0 0 0 ... |      463 bytes
//! ```
//!
//! Promises: what is decoded has every required field and only values of the table; unknown fields are skipped; no allocation; each
//! way to be malformed is an error of its own.
//! Must not know: what follows from a field, which suite is usable, when a refusal is due.

use super::{Name, Software};
use core::fmt;
use core::num::NonZeroU8;
use core::ops::RangeInclusive;

/// Bytes of a payload, padding included.
pub const PAYLOAD_LEN: usize = 463;
/// Credit, in bytes, that a side may grant on each new stream.
pub const WINDOW: RangeInclusive<u32> = 1_024..=4_194_304;
/// Streams at once that a side may say it can hold.
pub const MAX_STREAMS: RangeInclusive<u32> = 1..=1_048_576;

/// The fields of SPEC 3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    Clock = 0x01,
    Instance = 0x02,
    Features = 0x03,
    Suites = 0x04,
    Window = 0x05,
    MaxStreams = 0x06,
    Software = 0x07,
    Name = 0x08,
    PeerName = 0x09,
    Result = 0x0a,
}

/// Why a payload is malformed (SPEC 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("field {field:#04x} stands behind field {after:#04x}")]
    OutOfOrder { field: u8, after: u8 },
    #[error("field {0:#04x} is cut off")]
    CutOff(u8),
    #[error("the value of {0:?} is not in the table")]
    Value(Field),
    #[error("{0:?} does not belong into this message")]
    Misplaced(Field),
    #[error("{0:?} is missing")]
    Missing(Field),
    #[error("the padding is not zeros")]
    Padding,
}

/// The suite bytes that an initiator offers, preferred first: 1 to 16.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    length: u8,
    bytes: [u8; Self::MAX_LEN],
}

/// The payload of message 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message1 {
    /// The sender's wall clock when it made this message, ms since 1970.
    pub clock_ms: u64,
    /// Drawn once when the sender's process started.
    pub instance: [u8; 16],
    /// Bit set: what the sender can do.
    pub features: u64,
    pub suites: Offer,
    /// Within [`WINDOW`].
    pub window: u32,
    /// Within [`MAX_STREAMS`].
    pub max_streams: u32,
    pub software: Software,
    /// Who the sender is.
    pub name: Option<Name>,
    /// Whom the sender means.
    pub peer_name: Option<Name>,
}

/// The payload of message 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message2 {
    /// The sender's wall clock when it made this message, ms since 1970.
    pub clock_ms: u64,
    pub instance: [u8; 16],
    pub features: u64,
    pub software: Software,
    pub name: Option<Name>,
    pub answer: Answer,
}

/// What message 2 says to message 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accepted {
        /// The chosen suite byte.
        suite: u8,
        window: u32,
        max_streams: u32,
    },
    Refused {
        refusal: Refusal,
        /// What it means depends on the refusal (SPEC 3.5).
        figure: i64,
    },
}

/// The results of SPEC 3.5 but `accepted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Figure: the responder's clock minus the initiator's, ms.
    ClockSkew,
    PeerName,
    SelfDial,
    /// Figure: how many links the responder holds.
    Busy,
    NoCommonSuite,
    Malformed,
    Draining,
    /// A code of a later version; a refusal all the same (SPEC 3.5).
    Unknown(NonZeroU8),
}

impl Refusal {
    pub const fn code(self) -> u8 {
        match self {
            Self::ClockSkew => 1,
            Self::PeerName => 2,
            Self::SelfDial => 3,
            Self::Busy => 4,
            Self::NoCommonSuite => 5,
            Self::Malformed => 6,
            Self::Draining => 7,
            Self::Unknown(code) => code.get(),
        }
    }

    /// `None`: accepted.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::ClockSkew,
            2 => Self::PeerName,
            3 => Self::SelfDial,
            4 => Self::Busy,
            5 => Self::NoCommonSuite,
            6 => Self::Malformed,
            7 => Self::Draining,
            _ => match NonZeroU8::new(code) {
                Some(code) => Self::Unknown(code),
                None => return None,
            },
        })
    }

    /// The stable text of logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClockSkew => "clock_skew",
            Self::PeerName => "peer_name",
            Self::SelfDial => "self_dial",
            Self::Busy => "busy",
            Self::NoCommonSuite => "no_common_suite",
            Self::Malformed => "malformed",
            Self::Draining => "draining",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Offer {
    pub const MAX_LEN: usize = 16;

    /// `None`: none, or more than 16.
    pub fn new(suites: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..suites.len())?.copy_from_slice(suites);
        let length = suites.len() as u8;
        (length > 0).then_some(Self { length, bytes })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// `N` suites, 1 to 16.
impl<const N: usize> From<[u8; N]> for Offer {
    fn from(suites: [u8; N]) -> Self {
        const { assert!(N >= 1 && N <= Self::MAX_LEN) };
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..N].copy_from_slice(&suites);
        Self { length: N as u8, bytes }
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().fmt(f)
    }
}

impl Message1 {
    pub fn encode(&self) -> [u8; PAYLOAD_LEN] {
        let mut out = Writer::new();
        out.common(self.clock_ms, &self.instance, self.features);
        out.link(self.suites.as_bytes(), self.window, self.max_streams);
        out.put(Field::Software, self.software.as_bytes());
        out.optional(Field::Name, self.name);
        out.optional(Field::PeerName, self.peer_name);
        out.payload
    }

    pub fn decode(payload: &[u8; PAYLOAD_LEN]) -> Result<Self, Malformed> {
        let fields = Fields::read(payload)?;
        if fields.result.is_some() {
            return Err(Malformed::Misplaced(Field::Result));
        }
        Ok(Self {
            clock_ms: required(fields.clock_ms, Field::Clock)?,
            instance: required(fields.instance, Field::Instance)?,
            features: required(fields.features, Field::Features)?,
            suites: required(fields.suites, Field::Suites)?,
            window: required(fields.window, Field::Window)?,
            max_streams: required(fields.max_streams, Field::MaxStreams)?,
            software: required(fields.software, Field::Software)?,
            name: fields.name,
            peer_name: fields.peer_name,
        })
    }
}

impl Message2 {
    pub fn encode(&self) -> [u8; PAYLOAD_LEN] {
        let mut out = Writer::new();
        out.common(self.clock_ms, &self.instance, self.features);
        let (code, figure) = match self.answer {
            Answer::Accepted {
                suite,
                window,
                max_streams,
            } => {
                out.link(&[suite], window, max_streams);
                (0, 0)
            }
            Answer::Refused { refusal, figure } => (refusal.code(), figure),
        };
        out.put(Field::Software, self.software.as_bytes());
        out.optional(Field::Name, self.name);
        let [a, b, c, d, e, f, g, h] = figure.to_be_bytes();
        out.put(Field::Result, &[code, a, b, c, d, e, f, g, h]);
        out.payload
    }

    pub fn decode(payload: &[u8; PAYLOAD_LEN]) -> Result<Self, Malformed> {
        let fields = Fields::read(payload)?;
        if fields.peer_name.is_some() {
            return Err(Malformed::Misplaced(Field::PeerName));
        }
        let suite = match fields.suites.as_ref().map(Offer::as_bytes) {
            None => None,
            Some(&[suite]) => Some(suite),
            // Message 2 names the one that was chosen.
            Some(_) => return Err(Malformed::Value(Field::Suites)),
        };
        let (code, figure) = required(fields.result, Field::Result)?;
        let answer = match Refusal::from_code(code) {
            Some(refusal) => Answer::Refused { refusal, figure },
            None => Answer::Accepted {
                suite: required(suite, Field::Suites)?,
                window: required(fields.window, Field::Window)?,
                max_streams: required(fields.max_streams, Field::MaxStreams)?,
            },
        };
        Ok(Self {
            clock_ms: required(fields.clock_ms, Field::Clock)?,
            instance: required(fields.instance, Field::Instance)?,
            features: required(fields.features, Field::Features)?,
            software: required(fields.software, Field::Software)?,
            name: fields.name,
            answer,
        })
    }
}

fn required<T>(value: Option<T>, field: Field) -> Result<T, Malformed> {
    value.ok_or(Malformed::Missing(field))
}

/// Every known field of either message, its value checked against the table.
#[derive(Default)]
struct Fields {
    clock_ms: Option<u64>,
    instance: Option<[u8; 16]>,
    features: Option<u64>,
    suites: Option<Offer>,
    window: Option<u32>,
    max_streams: Option<u32>,
    software: Option<Software>,
    name: Option<Name>,
    peer_name: Option<Name>,
    result: Option<(u8, i64)>,
}

impl Fields {
    fn read(payload: &[u8; PAYLOAD_LEN]) -> Result<Self, Malformed> {
        let mut fields = Self::default();
        let mut rest: &[u8] = payload;
        let mut after = 0;
        while let [kind, tail @ ..] = rest {
            let kind = *kind;
            if kind == 0 {
                // SPEC 3.3: type 0 is the end, every byte from there on is 0.
                let zeros = tail.iter().all(|&byte| byte == 0);
                return if zeros { Ok(fields) } else { Err(Malformed::Padding) };
            }
            // Strictly ascending, so nothing is there twice.
            if kind <= after {
                return Err(Malformed::OutOfOrder { field: kind, after });
            }
            let ([high, low], tail) = tail.split_first_chunk().ok_or(Malformed::CutOff(kind))?;
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, tail) = tail.split_at_checked(length).ok_or(Malformed::CutOff(kind))?;
            fields.take(kind, value)?;
            (rest, after) = (tail, kind);
        }
        Ok(fields)
    }

    /// Takes one field; one of unknown type is skipped (SPEC 3.3).
    fn take(&mut self, kind: u8, value: &[u8]) -> Result<(), Malformed> {
        fn set<T>(slot: &mut Option<T>, value: Option<T>, field: Field) -> Result<(), Malformed> {
            *slot = Some(value.ok_or(Malformed::Value(field))?);
            Ok(())
        }
        let number = || value.try_into().ok().map(u32::from_be_bytes);
        let within = |range: RangeInclusive<u32>| number().filter(|n| range.contains(n));
        let long = || value.try_into().ok().map(u64::from_be_bytes);
        match kind {
            0x01 => set(&mut self.clock_ms, long(), Field::Clock),
            0x02 => set(&mut self.instance, value.try_into().ok(), Field::Instance),
            0x03 => set(&mut self.features, long(), Field::Features),
            0x04 => set(&mut self.suites, Offer::new(value), Field::Suites),
            0x05 => set(&mut self.window, within(WINDOW), Field::Window),
            0x06 => set(&mut self.max_streams, within(MAX_STREAMS), Field::MaxStreams),
            0x07 => set(&mut self.software, Software::from_bytes(value), Field::Software),
            0x08 => set(&mut self.name, Name::from_bytes(value), Field::Name),
            0x09 => set(&mut self.peer_name, Name::from_bytes(value), Field::PeerName),
            0x0a => set(&mut self.result, result(value), Field::Result),
            _ => Ok(()),
        }
    }
}

/// Code and figure.
fn result(value: &[u8]) -> Option<(u8, i64)> {
    let (code, figure) = value.split_first()?;
    Some((*code, i64::from_be_bytes(figure.try_into().ok()?)))
}

/// Fields into a payload of zeros. All of them at their longest fit (a test holds it to that).
struct Writer {
    payload: [u8; PAYLOAD_LEN],
    at: usize,
}

impl Writer {
    fn new() -> Self {
        Self {
            payload: [0; PAYLOAD_LEN],
            at: 0,
        }
    }

    fn put(&mut self, field: Field, value: &[u8]) {
        let whole = 3 + value.len();
        let Some([kind, high, low, room @ ..]) = self.payload.get_mut(self.at..self.at + whole) else {
            debug_assert!(false, "{field:?} does not fit");
            return;
        };
        *kind = field as u8;
        [*high, *low] = (value.len() as u16).to_be_bytes();
        room.copy_from_slice(value);
        self.at += whole;
    }

    fn optional(&mut self, field: Field, name: Option<Name>) {
        if let Some(name) = name {
            self.put(field, name.as_bytes());
        }
    }

    fn common(&mut self, clock_ms: u64, instance: &[u8; 16], features: u64) {
        self.put(Field::Clock, &clock_ms.to_be_bytes());
        self.put(Field::Instance, instance);
        self.put(Field::Features, &features.to_be_bytes());
    }

    fn link(&mut self, suites: &[u8], window: u32, max_streams: u32) {
        debug_assert!(WINDOW.contains(&window), "a window of {window}");
        debug_assert!(MAX_STREAMS.contains(&max_streams), "{max_streams} streams");
        self.put(Field::Suites, suites);
        self.put(Field::Window, &window.to_be_bytes());
        self.put(Field::MaxStreams, &max_streams.to_be_bytes());
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
