//! wa-sidecar: paired sidecars that seal a plaintext TCP hop under one shared secret.
//!
//! The layers, arrows only downward:
//!
//! ```text
//! main, cli            flags, environment -> Config; exit codes; signals
//! admin                /metrics /livez /readyz /status over HTTP
//! webapp, coreapp      the two roles
//! net                  tokio: sockets, the driver of a link, the pump of an app socket
//! link                 sans-IO state machine: streams, credit, clock rule, drain, errors by blame
//! crypto               secret, key schedule, handshake, seal and open
//! wire                 bytes: frame header, messages, handshake payloads
//! counters             plain numbers that every layer adds to and admin reads
//! ```

#![forbid(unsafe_code)]

pub mod counters;
pub mod link;
pub mod wire;
