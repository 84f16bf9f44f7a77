//! Why a link ends, by blame: who is at fault decides the level of the log line and what the operator is told.

use crate::counters::LinkEnd;
use crate::wire::{frame::BadLength, message::Malformed};

/// Ends the link at once (SPEC section 1, *Fatal*).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    #[error(transparent)]
    BadLength(#[from] BadLength),
    #[error("frame counter {got}, expected {expected}: a frame was dropped, repeated or swapped on the way")]
    BadCounter { expected: u64, got: u64 },
    #[error(
        "frame is {age_ms} ms old; at most 10000 ms pass: the network held it back, or a clock runs at a wrong rate"
    )]
    Stale { age_ms: i64 },
    #[error("frame does not open: altered on the way, or not sealed by this link's peer")]
    BadTag,
    #[error("malformed message: {0}")]
    Malformed(#[from] Malformed),
    #[error("stream {id}: {rule}")]
    Stream { id: u32, rule: &'static str },
    #[error("{rule}")]
    Link { rule: &'static str },
    #[error("flood: {0}")]
    Flood(&'static str),
    #[error("no authenticated frame for {silent_ms} ms: the peer or the network between is gone")]
    Dead { silent_ms: u64 },
    #[error("{0}")]
    Rekey(&'static str),
    #[error("frame counter used up")]
    Exhausted,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The path between: cut, slow, or somebody on it.
    Network,
    /// The peer broke the protocol.
    Peer,
    /// This side reached a bound of its own.
    Own,
}

impl Fatal {
    /// The label of metrics and of the log's `reason`.
    pub fn end(&self) -> LinkEnd {
        match self {
            Self::BadLength(_) => LinkEnd::BadLength,
            Self::BadCounter { .. } => LinkEnd::BadCounter,
            Self::Stale { .. } => LinkEnd::Stale,
            Self::BadTag => LinkEnd::BadTag,
            Self::Malformed(_) | Self::Stream { .. } | Self::Link { .. } => LinkEnd::Protocol,
            Self::Flood(_) => LinkEnd::Flood,
            Self::Dead { .. } => LinkEnd::Dead,
            Self::Rekey(_) => LinkEnd::RekeyTimeout,
            Self::Exhausted => LinkEnd::Shutdown,
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::BadLength(_)
            | Self::BadCounter { .. }
            | Self::Stale { .. }
            | Self::BadTag
            | Self::Dead { .. }
            | Self::Rekey(_) => Blame::Network,
            Self::Malformed(_) | Self::Stream { .. } | Self::Link { .. } | Self::Flood(_) => Blame::Peer,
            Self::Exhausted => Blame::Own,
        }
    }
}
