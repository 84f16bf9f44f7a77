//! wa-sidecar: paired sidecars that seal a plaintext TCP hop under one shared secret.
//!
//! The layers, arrows only downward:
//!
//! ```text
//! demo                 both roles in one process tree, for somebody who has never seen them
//! main, cli, config    flags, environment -> Config; exit codes; signals, logs, confinement
//! admin                /metrics /livez /readyz /status over HTTP
//! process              one process: threads, and the roles on them
//! webapp, coreapp      the two roles
//! net                  tokio: sockets, the driver of a link, the pump of an app socket
//! link                 sans-IO state machine: streams, credit, clock rule, drain, errors by blame
//! crypto               secret, key schedule, handshake, seal and open
//! wire                 bytes: frame header, messages, handshake payloads
//! counters             plain numbers that every layer adds to and admin reads
//! ```

#![forbid(unsafe_code)]
// Nothing that the network, a file or a flag says may end the process.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo
    )
)]

pub mod admin;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod confine;
pub mod coreapp;
pub mod counters;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod crypto;
pub mod demo;
pub mod health;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod link;
pub mod logs;
pub mod net;
pub mod panics;
pub mod process;
pub mod sidecar;
pub mod signals;
pub mod webapp;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod wire;
