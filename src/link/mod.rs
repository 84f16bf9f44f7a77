//! A link as a state machine without I/O (SPEC sections 3 and 5 to 13).
//!
//! Promises: time and entropy come in as arguments, bytes come in and go out as slices; the same calls give the same
//! results. Nothing that a peer sends reaches a panic, an unbounded allocation or a loop that it does not pay for.
//! Must not know: sockets, a runtime, the clock of this host.

pub mod handshake;
pub mod time;

/// Which side of a link this is (SPEC section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Role `webapp`: dials links and opens streams on them.
    Initiator,
    /// Role `coreapp`: accepts links and dials apps.
    Responder,
}
