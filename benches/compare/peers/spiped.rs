//! spiped: one suite, one thread, forward secrecy as by default, no limit of connections.

use std::{net::SocketAddr, process::Command};

use super::{Wiring, program};

pub fn pair(wiring: &Wiring) -> [Command; 2] {
    [
        relay(wiring, "-d", wiring.exit, wiring.upstream),
        relay(wiring, "-e", wiring.entry, wiring.middle),
    ]
}

fn relay(wiring: &Wiring, way: &str, from: SocketAddr, to: SocketAddr) -> Command {
    let socket = |address: SocketAddr| format!("[{}]:{}", address.ip(), address.port());
    let mut command = program("spiped");
    command.args([way, "-F", "-n", "0", "-s", &socket(from), "-t", &socket(to), "-k"]);
    command.arg(wiring.material.psk());
    command
}
