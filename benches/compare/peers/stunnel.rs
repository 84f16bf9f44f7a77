//! stunnel with a pre-shared key, TLS 1.3. It has a thread for each connection: it cannot be told to have one.

use std::{fs, io, process::Command};

use super::{Suite, Wiring, program};

/// OpenSSL's callbacks for pre-shared keys, which stunnel uses, allow only suites of SHA-256 in TLS 1.3: AES has 128 bits here.
pub fn ciphersuite(suite: Option<Suite>) -> &'static str {
    match suite {
        Some(Suite::ChaCha) => Suite::ChaCha.tls(),
        _ => "TLS_AES_128_GCM_SHA256",
    }
}

pub fn psk(wiring: &Wiring, suite: Option<Suite>) -> io::Result<[Command; 2]> {
    let suite = ciphersuite(suite);
    Ok([
        relay(
            wiring,
            "server",
            suite,
            &format!("accept = {}\nconnect = {}\n", wiring.exit, wiring.upstream),
        )?,
        relay(
            wiring,
            "client",
            suite,
            &format!(
                "client = yes\naccept = {}\nconnect = {}\nPSKidentity = compare\n",
                wiring.entry, wiring.middle
            ),
        )?,
    ])
}

fn relay(wiring: &Wiring, name: &str, suite: &str, service: &str) -> io::Result<Command> {
    let file = wiring.directory.join(format!("stunnel-{name}.conf"));
    let text = format!(
        "foreground = yes\npid =\ndebug = 4\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\n\
         [relay]\n{service}sslVersion = TLSv1.3\nciphersuites = {suite}\nPSKsecrets = {}\n",
        wiring.material.psk().display()
    );
    fs::write(&file, text)?;
    let mut command = program("stunnel");
    command.arg(file);
    Ok(command)
}
