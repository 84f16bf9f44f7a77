//! Our own program, or another build of it: defaults, but for one worker thread and limits where a work needs more.

use std::{env, path::Path, process::Command};

use super::{Suite, Wiring};

/// The program that cargo built beside this one.
pub const THIS: &str = env!("CARGO_BIN_EXE_wa-sidecar");
/// What a link takes by default: `--max-streams`.
const STREAMS: usize = 1024;
/// A stream's first window is at least this, out of a quarter of the budget: half is reserve, half of that one link's.
const BUDGET_OF_A_STREAM: usize = 4 * 4096;

pub fn cipher(suite: Option<Suite>) -> &'static str {
    match suite {
        Some(Suite::Aes) => "auto",
        _ => "chacha20poly1305",
    }
}

pub fn pair(program: &Path, wiring: &Wiring, suite: Option<Suite>) -> [Command; 2] {
    let relay = |role: &str, flags: [String; 4]| {
        let mut command = Command::new(program);
        command.arg(role).args(flags);
        command.args(["--cipher", cipher(suite), "--workers", "1", "--admin", "off"]);
        if wiring.connections > STREAMS {
            let streams = wiring.connections.to_string();
            let budget = (wiring.connections * BUDGET_OF_A_STREAM)
                .next_multiple_of(1 << 20)
                .to_string();
            command.args(["--max-streams", &streams, "--buffer-budget", &budget]);
            match role {
                "coreapp" => command.args(["--max-dials", &streams]),
                _ => command.args(["--max-waiting", &streams]),
            };
        }
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WA_")) {
            command.env_remove(name);
        }
        command.env("WA_SECRET", wiring.material.password());
        command
    };
    let flag = |name: &str, value: std::net::SocketAddr| [name.to_owned(), value.to_string()];
    let of = |[a, b]: [String; 2], [c, d]: [String; 2]| [a, b, c, d];
    [
        relay(
            "coreapp",
            of(flag("--listen", wiring.exit), flag("--upstream", wiring.upstream)),
        ),
        relay(
            "webapp",
            of(flag("--listen", wiring.entry), flag("--peer", wiring.middle)),
        ),
    ]
}
