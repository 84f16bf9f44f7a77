//! The runtime's side: sockets, the driver of a link, the task of a stream, threads.
//!
//! Promises: what the layers below must not know (sockets, clock, randomness) is given to them here.
//! Must not know: which role a process has, or who may speak to it.

pub mod accept;
pub mod admission;
pub mod app;
pub mod clock;
pub mod congestion;
pub mod dial;
pub mod driver;
pub mod entropy;
pub mod handshake;
mod held;
mod inlet;
pub mod limits;
pub mod links;
pub mod listen;
mod lookup;
pub mod repeat;
pub mod socket;
pub mod stream;
pub mod unix;
pub mod worker;
