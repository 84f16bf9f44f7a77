//! A link as a state machine without I/O (SPEC sections 3 and 5 to 13).
//!
//! Promises: time and entropy come in as arguments, bytes come in and go out as slices; the same calls give the same
//! results. Nothing that a peer sends reaches a panic, an unbounded allocation or a loop that it does not pay for.
//! Must not know: sockets, a runtime, the clock of this host.
//!
//! ```text
//! handshake   who may speak: message 1, message 2, refusals            -> Established
//! connection  Link: timers, the end, what is known of it
//! apps        Link: the app side                                       <- stream, streams
//! transmit    Link: frames out                                         <- outbox, pace
//! inbox       Link: frames in, messages to events                      <- clock, rate, round_trip
//! rekey       new keys in place            budget, queue, buffers      what memory may be promised, pinned, lent
//! ```

mod apps;
pub mod budget;
pub mod buffers;
pub mod clock;
mod connection;
mod error;
pub mod handshake;
mod inbox;
mod outbox;
mod pace;
pub mod queue;
mod rate;
pub mod rekey;
mod round_trip;
mod stream;
mod streams;
pub mod time;
mod transmit;

pub use apps::{OpenError, Slot};
pub use connection::{Credit, DEAD_AFTER, Entropy, Link, TICK};
pub use error::{Blame, Fatal};
pub use inbox::Event;
pub use streams::ById;

/// Which side of a link this is (SPEC section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Role `webapp`: dials links and opens streams on them.
    Initiator,
    /// Role `coreapp`: accepts links and dials apps.
    Responder,
}
