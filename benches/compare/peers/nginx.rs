//! nginx's stream module: one worker process, TLS 1.3 between the two.

use std::{fs, io, path::Path, process::Command};

use super::{Suite, Wiring, find, program};
use crate::material::HOST;

/// Where Debian's libnginx-mod-stream puts it.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub fn stream_is_missing() -> bool {
    !Path::new(MODULE).exists() && !is_built_in()
}

fn is_built_in() -> bool {
    let said = find("nginx").and_then(|file| Command::new(file).arg("-V").output().ok());
    said.is_some_and(|output| {
        String::from_utf8_lossy(&output.stderr)
            .split_whitespace()
            .any(|flag| flag == "--with-stream")
    })
}

pub fn tls(wiring: &Wiring, suite: Option<Suite>) -> io::Result<[Command; 2]> {
    let suite = suite.unwrap_or(Suite::Aes).tls();
    let material = wiring.material;
    let server = format!(
        "listen {} ssl backlog=4096; proxy_pass {}; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {suite}; \
         ssl_certificate {}; ssl_certificate_key {};",
        wiring.exit,
        wiring.upstream,
        material.certificate().display(),
        material.key().display()
    );
    let client = format!(
        "listen {} backlog=4096; proxy_pass {}; proxy_ssl on; proxy_ssl_protocols TLSv1.3; \
         proxy_ssl_conf_command Ciphersuites {suite}; proxy_ssl_verify on; proxy_ssl_trusted_certificate {}; \
         proxy_ssl_name {HOST}; proxy_ssl_server_name on;",
        wiring.entry,
        wiring.middle,
        material.authority().display()
    );
    Ok([relay(wiring, "server", &server)?, relay(wiring, "client", &client)?])
}

fn relay(wiring: &Wiring, name: &str, server: &str) -> io::Result<Command> {
    // A directory each: it makes more files than it is told of.
    let directory = wiring.directory.join(format!("nginx-{name}"));
    fs::create_dir_all(&directory)?;
    let file = directory.join("conf");
    let module = match Path::new(MODULE).exists() {
        true => format!("load_module {MODULE};\n"),
        false => String::new(),
    };
    // A connection takes two of worker_connections.
    let sockets = wiring.connections * 2 + 64;
    let text = format!(
        "{module}daemon off;\nworker_processes 1;\nworker_rlimit_nofile {sockets};\npid {0}/pid;\nerror_log stderr warn;\n\
         events {{ worker_connections {sockets}; }}\n\
         stream {{\n  tcp_nodelay on;\n  proxy_timeout 10m;\n  server {{ {server} }}\n}}\n",
        directory.display()
    );
    fs::write(&file, text)?;
    let mut command = program("nginx");
    command.arg("-p").arg(&directory).args(["-e", "stderr", "-c"]).arg(file);
    Ok(command)
}
