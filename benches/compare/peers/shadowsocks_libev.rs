//! shadowsocks-libev: one thread, a fixed target (ss-tunnel), no plugin.

use std::{net::SocketAddr, process::Command};

use super::{Suite, Wiring, program};

pub fn method(suite: Option<Suite>) -> &'static str {
    match suite {
        Some(Suite::ChaCha) => "chacha20-ietf-poly1305",
        _ => "aes-256-gcm",
    }
}

pub fn pair(wiring: &Wiring, suite: Option<Suite>) -> [Command; 2] {
    let mut server = relay("ss-server", wiring, suite, wiring.exit);
    server.args(["-t", "600"]);
    let mut client = relay("ss-tunnel", wiring, suite, wiring.middle);
    client.args(["-t", "600", "-b", &wiring.entry.ip().to_string()]);
    client.args([
        "-l",
        &wiring.entry.port().to_string(),
        "-L",
        &wiring.upstream.to_string(),
    ]);
    [server, client]
}

/// `server` is what both are told of the relay beside the server: one listens there, one dials it.
fn relay(name: &str, wiring: &Wiring, suite: Option<Suite>, server: SocketAddr) -> Command {
    let mut command = program(name);
    command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string()]);
    command.args(["-m", method(suite), "-k", wiring.material.password(), "--no-delay"]);
    command.args(["-n", &(wiring.connections * 2 + 64).to_string()]);
    command
}
