//! HAProxy: a thread, TCP mode, in plaintext (spliced, as it is at its cheapest) or in TLS 1.3.

use std::{fs, io, process::Command};

use super::{Suite, Wiring, program};
use crate::material::HOST;

/// More than there are bulk streams at a time, but for memory.
const PIPES: usize = 256;

pub fn plain(wiring: &Wiring) -> io::Result<[Command; 2]> {
    let splice = "  option splice-auto\n  option splice-request\n  option splice-response\n";
    let server = format!("server next {}", wiring.upstream);
    let client = format!("server next {}", wiring.middle);
    Ok([
        relay(wiring, "server", splice, &format!("bind {}", wiring.exit), &server)?,
        relay(wiring, "client", splice, &format!("bind {}", wiring.entry), &client)?,
    ])
}

pub fn tls(wiring: &Wiring, suite: Option<Suite>) -> io::Result<[Command; 2]> {
    let suite = suite.unwrap_or(Suite::Aes).tls();
    let (authority, both) = (wiring.material.authority(), wiring.material.certificate_and_key());
    let bind = format!(
        "bind {} ssl crt {} ssl-min-ver TLSv1.3 ciphersuites {suite}",
        wiring.exit,
        both.display()
    );
    let dial = format!(
        "server next {} ssl verify required ca-file {} verifyhost {HOST} sni str({HOST}) ssl-min-ver TLSv1.3 ciphersuites {suite}",
        wiring.middle,
        authority.display()
    );
    Ok([
        relay(wiring, "server", "", &bind, &format!("server next {}", wiring.upstream))?,
        relay(wiring, "client", "", &format!("bind {}", wiring.entry), &dial)?,
    ])
}

fn relay(wiring: &Wiring, name: &str, options: &str, bind: &str, server: &str) -> io::Result<Command> {
    let file = wiring.directory.join(format!("haproxy-{name}.cfg"));
    let most = wiring.connections;
    // Else it reserves files for pipes by the number of connections, and a crowd is more than this host allows.
    let text = format!(
        "global\n  nbthread 1\n  maxconn {most}\n  maxpipes {PIPES}\n\n\
         defaults\n  mode tcp\n  maxconn {most}\n  timeout connect 10s\n  timeout client 10m\n  timeout server 10m\n{options}\n\
         listen relay\n  {bind}\n  {server}\n"
    );
    fs::write(&file, text)?;
    let mut command = program("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}
