//! shadowsocks-rust: the 2022 ciphers, a fixed target (protocol `tunnel`), TCP alone, one thread.

use std::{fs, io, process::Command};

use serde_json::{Value, json};

use super::{Suite, Wiring, program};

pub fn method(suite: Option<Suite>) -> &'static str {
    match suite {
        Some(Suite::ChaCha) => "2022-blake3-chacha20-poly1305",
        _ => "2022-blake3-aes-256-gcm",
    }
}

pub fn pair(wiring: &Wiring, suite: Option<Suite>) -> io::Result<[Command; 2]> {
    let server = json!({
        "server": wiring.exit.ip(), "server_port": wiring.exit.port(),
    });
    let client = json!({
        "server": wiring.middle.ip(), "server_port": wiring.middle.port(),
        "locals": [{
            "protocol": "tunnel", "mode": "tcp_only",
            "local_address": wiring.entry.ip(), "local_port": wiring.entry.port(),
            "forward_address": wiring.upstream.ip(), "forward_port": wiring.upstream.port(),
        }],
    });
    Ok([
        relay("ssserver", wiring, suite, server)?,
        relay("sslocal", wiring, suite, client)?,
    ])
}

fn relay(name: &str, wiring: &Wiring, suite: Option<Suite>, mut config: Value) -> io::Result<Command> {
    config["method"] = method(suite).into();
    config["password"] = wiring.material.key_in_base64().into();
    config["mode"] = "tcp_only".into();
    config["no_delay"] = true.into();
    config["runtime"] = json!({ "mode": "single_thread" });
    let file = wiring.directory.join(format!("{name}.json"));
    fs::write(&file, config.to_string())?;
    let mut command = program(name);
    command.arg("--config").arg(file);
    Ok(command)
}
