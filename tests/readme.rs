//! What the README says is what happens: its table of flags is the program's, and each line under "When something is wrong"
//! is provoked here.

mod harness;

use harness::{Sidecar, Start, connect, echo, field};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use wa_sidecar::config::{RoleName, keys};

const README: &str = include_str!("../README.md");

/// The lines between `<!-- name` and `<!-- /name -->`.
fn section(name: &str) -> Vec<&'static str> {
    let begin = format!("<!-- {name}:");
    let end = format!("<!-- /{name} -->");
    let lines = README.lines().skip_while(|line| !line.starts_with(&begin)).skip(1);
    lines.take_while(|line| *line != end).collect()
}

/// A table's rows without its head, each cell without the `code` marks.
fn rows(name: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        line.trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().replace('`', ""))
            .collect()
    };
    section(name).into_iter().skip(2).map(cells).collect()
}

#[test]
fn the_table_of_flags_is_the_programs() {
    let mut table = vec![
        "| flag | variable | default | role | |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for key in keys::ALL {
        let role = match key.roles {
            [one] => one.label(),
            _ => "both",
        };
        let value = if key.switch {
            String::new()
        } else {
            format!(" {}", key.value_name)
        };
        let default = key.default.map(|text| format!("`{text}`")).unwrap_or_default();
        table.push(
            format!(
                "| `{}{value}` | `{}` | {default} | {role} | {} |",
                key.flag(),
                key.variable(),
                key.help
            )
            .replace("|  |", "| |"),
        );
    }
    let table = table.join("\n");
    assert!(
        section("flags").join("\n") == table,
        "the README wants this table:\n{table}"
    );
    // And the table of keys is what --help says.
    for role in [RoleName::Webapp, RoleName::Coreapp] {
        let help = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
            .args([role.label(), "--help"])
            .output();
        let help = String::from_utf8(help.expect("started").stdout).expect("text");
        for key in keys::ALL {
            let has = help.contains(&format!("[env: {}]", key.variable()));
            assert_eq!(
                has,
                key.roles.contains(&role),
                "{} {}: {help}",
                role.label(),
                key.flag()
            );
        }
    }
}

#[test]
fn each_failing_start_is_as_the_table_says() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = taken.local_addr().expect("bound").to_string();
    let good: [(&str, &str); 3] = [
        ("WA_LISTEN", &taken),
        ("WA_PEER", "core.example:7250"),
        ("WA_SECRET", harness::SECRET),
    ];
    for row in rows("starts") {
        let [exit, says, _] = &row[..] else { panic!("{row:?}") };
        let change = match says.as_str() {
            "listen is missing" => ("WA_LISTEN", ""),
            "no secret" => ("WA_SECRET", ""),
            "bad secret" => ("WA_SECRET", "hunter2"),
            "cannot listen on 127.0.0.1:6250" => ("WA_ADMIN", "off"),
            "environment variable WA_MAX_LINKS has \"many\"" => ("WA_MAX_LINKS", "many"),
            _ => panic!("a row that nobody provokes: {row:?}"),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"));
        command.arg("webapp").env_clear().envs(good).env(change.0, change.1);
        let output = command.stdin(Stdio::null()).output().expect("started");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), exit.parse().ok(), "{row:?}: {stderr}");
        assert!(
            stderr.contains(&says.replace("127.0.0.1:6250", &taken)),
            "{row:?}: {stderr}"
        );
    }
}

/// A row of the table of log lines, seen.
type Seen = (&'static str, &'static str, &'static str);

fn see(sidecar: &Sidecar, seen: Seen) -> Seen {
    let (side, event, reason) = seen;
    let line = sidecar.event_with_reason(event, reason);
    let message = field(&line, "message")
        .and_then(|text| text.as_str())
        .unwrap_or_default();
    assert!(message.len() > 10, "{side}: no advice in {line}");
    seen
}

fn web(peer: SocketAddr, more: &[&str]) -> Start {
    Start::new("webapp", &[&["--peer", &peer.to_string()], more].concat())
}

fn core(upstream: SocketAddr, more: &[&str]) -> Sidecar {
    Start::new("coreapp", &[&["--upstream", &upstream.to_string()], more].concat()).spawn()
}

/// Where nobody listens.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("bound")
}

fn is_reset(mut stream: TcpStream) {
    // The error is reported once, by whichever call comes first.
    let spoken = stream
        .write_all(b"anybody there?")
        .and_then(|()| stream.read(&mut [0; 1]));
    let kind = spoken.expect_err("a reset").kind();
    assert!(
        matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{kind}"
    );
}

fn no_peer() -> Vec<Seen> {
    let web = web(nowhere(), &[]).spawn();
    is_reset(connect(web.listen));
    vec![
        see(&web, ("webapp", "link_failed", "dial_refused")),
        see(&web, ("webapp", "app_refused", "no_link")),
    ]
}

fn other_secret() -> Vec<Seen> {
    let core = core(nowhere(), &[]);
    let web = web(core.listen, &[])
        .env("WA_SECRET", "another passphrase than theirs")
        .spawn();
    let mut seen = vec![
        see(&web, ("webapp", "link_failed", "unauthenticated")),
        see(&core, ("coreapp", "handshake_failed", "unauthenticated")),
    ];
    drop(TcpStream::connect(core.listen).expect("connected"));
    seen.push(see(&core, ("coreapp", "handshake_failed", "disconnected")));
    seen
}

fn no_sidecar_there() -> Vec<Seen> {
    // As an app or another webapp's sidecar: one hangs up in mid-answer, the other waits for more.
    let polite = harness::app(|mut stream| {
        let _ = stream.read_exact(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    });
    let silent = harness::app(|mut stream| {
        let mut bytes = [0; 512];
        while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
    });
    let (hung_up, waited) = (web(polite, &[]).spawn(), web(silent, &[]).spawn());
    let mut seen = vec![
        see(&hung_up, ("webapp", "link_failed", "disconnected")),
        see(&waited, ("webapp", "link_failed", "timeout")),
    ];
    let core = core(nowhere(), &[]);
    let mut browser = connect(core.listen);
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    seen.push(see(&core, ("coreapp", "handshake_failed", "timeout")));
    seen
}

fn other_clock() -> Vec<Seen> {
    let library = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    let core = core(nowhere(), &[]);
    let web = web(core.listen, &[])
        .env("LD_PRELOAD", &library.expect("Debian's package faketime"))
        .env("FAKETIME", "+20s")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .spawn();
    vec![
        see(&web, ("webapp", "link_failed", "clock_skew")),
        see(&core, ("coreapp", "handshake_refused", "clock_skew")),
    ]
}

fn other_name() -> Vec<Seen> {
    let core = core(nowhere(), &["--name", "node-1"]);
    let web = web(core.listen, &["--peer-name", "node-2"]).spawn();
    vec![
        see(&web, ("webapp", "link_failed", "peer_name")),
        see(&core, ("coreapp", "handshake_refused", "peer_name")),
    ]
}

fn one_link_too_many() -> Vec<Seen> {
    let core = core(nowhere(), &["--max-links", "1"]);
    let first = web(core.listen, &["--workers", "1"]).spawn();
    first.until_ready();
    let second = web(core.listen, &[]).spawn();
    vec![
        see(&second, ("webapp", "link_failed", "busy")),
        see(&core, ("coreapp", "handshake_refused", "busy")),
    ]
}

fn no_app() -> Vec<Seen> {
    let core = core(nowhere(), &[]);
    let web = web(core.listen, &[]).spawn();
    web.until_ready();
    is_reset(connect(web.listen));
    vec![
        see(&core, ("coreapp", "dial_failed", "dial_refused")),
        see(&web, ("webapp", "stream_refused", "dial_refused")),
    ]
}

fn killed() -> Vec<Seen> {
    let core = core(echo(), &[]);
    let web = web(core.listen, &[]).spawn();
    web.until_ready();
    core.signal("KILL");
    vec![see(&web, ("webapp", "link_down", "disconnected"))]
}

fn silent() -> Vec<Seen> {
    let core = core(echo(), &[]);
    let web = web(core.listen, &[]).spawn();
    web.until_ready();
    core.signal("STOP");
    vec![see(&web, ("webapp", "link_down", "dead"))]
}

#[test]
fn each_log_line_is_as_the_table_says() {
    let provocations = [
        no_peer,
        other_secret,
        no_sidecar_there,
        other_clock,
        other_name,
        one_link_too_many,
        no_app,
        killed,
        silent,
    ];
    let running: Vec<_> = provocations.into_iter().map(thread::spawn).collect();
    let mut seen: Vec<Vec<String>> = running
        .into_iter()
        .flat_map(|provoked| provoked.join().expect("seen"))
        .map(|(side, event, reason)| vec![side.to_owned(), event.to_owned(), reason.to_owned()])
        .collect();
    let mut written: Vec<Vec<String>> = rows("lines").iter().map(|row| row[..3].to_vec()).collect();
    seen.sort();
    written.sort();
    assert_eq!(written, seen, "left is the README's table, right what was provoked");
}
