//! tokio: sockets, the driver of a link, the pump of an app socket.

pub mod listen;
