//! The bytes of the protocol: frame header, messages, handshake payload (proto/SPEC.md sections 3.3, 5, 6).
//!
//! Promises: encode to and decode from slices that the caller owns; no allocation, no I/O, no clock; every malformed input is
//! an error value, never a panic.
//! Must not know: keys, streams, which message is legal when.

pub mod frame;
pub mod message;
mod name;
pub mod payload;

pub use name::{Name, Software};
