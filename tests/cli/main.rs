//! The command line as scripts and operators meet it: exit codes, and messages that say what to do.

mod secrets;
mod start;

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Output, Stdio},
    thread,
};

const SECRET: (&str, &str) = ("WA_SECRET", "a passphrase that nobody guesses");
const WEBAPP: [&str; 5] = ["webapp", "--listen", "127.0.0.1:6250", "--peer", "core.example:7250"];
const COREAPP: [&str; 5] = ["coreapp", "--listen", "0.0.0.0:7250", "--upstream", "127.0.0.1:6250"];

fn command(arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"));
    command.args(arguments).env_clear().envs(env.iter().copied());
    command
}

fn run(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    command(arguments, env).stdin(Stdio::null()).output().expect("started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The exit code, and that each of `says` stands on stderr.
#[track_caller]
fn fails(arguments: &[&str], env: &[(&str, &str)], exit: i32, says: &[&str]) {
    let output = run(arguments, env);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?} {env:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
    for words in says {
        assert!(
            stderr.contains(words),
            "{arguments:?} {env:?} does not say {words:?} but: {stderr}"
        );
    }
}

fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [base, more].concat()
}

#[test]
fn help_teaches_the_pair_every_flag_and_the_exit_codes() {
    let help = run(&["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for words in [
        "wa-sidecar coreapp --listen 0.0.0.0:7250 --upstream 127.0.0.1:6250",
        "wa-sidecar webapp --listen 127.0.0.1:6250 --peer core.example:7250",
        "wa-sidecar keygen >secret",
        "64 wrong usage",
    ] {
        assert!(help.contains(words), "{words}: {help}");
    }
    for command in ["webapp", "coreapp", "run", "run", "keygen", "check", "health", "demo"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    assert!(!help.contains("demo-child"), "what is nobody's to type is not listed");

    for (role, has, has_not) in [
        (
            "webapp",
            ["--peer <ADDRESS>", "--peer-name <NAME>", "--max-waiting <N>"],
            "--upstream",
        ),
        (
            "coreapp",
            ["--upstream <ADDRESSES>", "--dial-timeout <TIME>", "--max-dials <N>"],
            "--peer ",
        ),
    ] {
        let help = text(&run(&[role, "--help"], &[]).stdout);
        let flags = help.split("The secret comes from").next().expect("the part before");
        for words in has.into_iter().chain([
            "[env: WA_LISTEN]",
            "[env: WA_ADMIN] [default: 127.0.0.1:9464]",
            "[env: WA_BUFFER_BUDGET] [default: auto]",
            "[env: WA_DRAIN_TIMEOUT] [default: 25s]",
            "[env: WA_CIPHER] [default: chacha20poly1305]",
            "[env: WA_LOG] [default: info]",
        ]) {
            assert!(flags.contains(words), "{words}: {flags}");
        }
        assert!(!flags.contains(has_not), "{has_not}: {flags}");
        assert!(
            help.contains("WA_SECRET_FILE") && help.contains("WA_SECRET_PREVIOUS"),
            "{help}"
        );
        assert!(
            help.lines().all(|line| line.len() <= 100),
            "wider than a terminal: {help}"
        );
    }
    let help = text(&run(&["run", "--help"], &[]).stdout);
    for words in [
        "--config <FILE>",
        "[env: WA_CONFIG]",
        "[[webapp]]",
        "peer_name = \"node-2\"",
        "[coreapp.services]",
        "--max-dials <N>",
        "check run --config",
    ] {
        assert!(help.contains(words), "{words}: {help}");
    }
    assert!(
        help.lines().all(|line| line.len() <= 100),
        "wider than a terminal: {help}"
    );
    assert!(!help.contains("--listen"), "that stands in tables: {help}");
    assert_eq!(
        run(&["--version"], &[]).stdout,
        concat!("wa-sidecar ", env!("CARGO_PKG_VERSION"), "\n").as_bytes()
    );
}

#[test]
fn wrong_usage_is_64() {
    fails(&[], &[], 64, &["no command was given", "Usage:"]);
    fails(&["wabapp"], &[], 64, &["'wabapp'", "webapp"]);
    fails(&["demo", "--calls", "5"], &[], 64, &["--once"]);
    fails(&["demo", "--once", "--calls", "0"], &[], 64, &["--calls", "1000000"]);
    fails(&["webapp", "--lisen", "x"], &[], 64, &["'--lisen'", "--listen"]);
    fails(&["webapp", "--listen"], &[], 64, &["--listen <ADDRESSES>"]);
    fails(
        &["webapp", "--listen", "a:1", "--listen", "b:1"],
        &[],
        64,
        &["--listen"],
    );
    fails(&["webapp", "extra"], &[], 64, &["'extra'"]);
    fails(
        &["webapp", "--upstream", "a:1"],
        &[],
        64,
        &["--upstream is not a flag of this command", "coreapp"],
    );
    fails(
        &["coreapp", "--peer", "a:1"],
        &[],
        64,
        &["--peer is not a flag of this command", "webapp"],
    );
    fails(
        &["webapp", "--secret", "x"],
        &[],
        64,
        &["a secret is never a flag", "WA_SECRET_FILE"],
    );
    fails(&["check"], &[], 64, &["webapp", "coreapp", "run"]);
    fails(
        &["run"],
        &[],
        64,
        &["config is missing", "--config", "WA_CONFIG", "wa-sidecar.toml"],
    );
    fails(
        &["run", "--peer", "a:1"],
        &[],
        64,
        &["--peer is not a flag of this command", "webapp"],
    );
    fails(
        &["webapp", "--config", "f"],
        &[],
        64,
        &["--config is not a flag of this command", "run"],
    );
    fails(&["webapp", "--print"], &[], 64, &["--print"]);
    for role in ["webapp", "coreapp"] {
        fails(
            &[role],
            &[],
            64,
            &["listen is missing", "--listen", "WA_LISTEN", "127.0.0.1:6250"],
        );
    }
    fails(
        &["webapp", "--listen", "a:1"],
        &[],
        64,
        &["peer is missing", "--peer core.example:7250"],
    );
    fails(
        &["coreapp", "--listen", "a:1"],
        &[],
        64,
        &["upstream is missing", "--upstream 127.0.0.1:6250"],
    );
}

/// Each once as a flag (64) and once in the environment (78): what it was, where it was, what is right.
#[test]
fn a_bad_value_is_named_with_its_origin_and_what_would_be_right() {
    let long = "n".repeat(65);
    let address = "HOST:PORT";
    let ranges = "a range of up to 1024 ports, HOST:FIRST-LAST, and a list of these";
    let name = "1 to 64 letters, digits";
    let whole = "a whole number from 1 to 65535";
    #[rustfmt::skip] // one row a case
    let cases = [
        (&WEBAPP, "listen", "127.0.0.1", "it has no port", address),
        (&WEBAPP, "listen", "6250", "it has no host", address),
        (&WEBAPP, "listen", "::1:6250", "in brackets: [::1]:6250", address),
        (&WEBAPP, "listen", "127.0.0.1:6253-6250", "the range runs backwards; did you mean 6250-6253?", ranges),
        (&WEBAPP, "listen", "127.0.0.1:1-1025", "the range has 1025 ports, and 1024 is the most", ranges),
        (&WEBAPP, "listen", "127.0.0.1:0-3", "port 0 cannot stand in a range", ranges),
        (&WEBAPP, "listen", "127.0.0.1:1,core", "\"core\" in the list: it has no port", ranges),
        (&WEBAPP, "listen", "127.0.0.1:1,", "item 2 of the list is empty", ranges),
        (&WEBAPP, "listen", "127.0.0.1:1-3,127.0.0.1:2", "127.0.0.1:2 is in it twice", ranges),
        (&COREAPP, "upstream", "[::1]:6253-6250", "backwards", ranges),
        (&COREAPP, "upstream", "127.0.0.1:6250,127.0.0.1:0", "port 0 cannot be dialled", ranges),
        (&COREAPP, "upstream", "127.0.0.1:6250,0.0.0.0:7250", "would dial itself", ranges),
        (&WEBAPP, "peer", "core:7250-7253", "one address stands here, not a range", address),
        (&WEBAPP, "peer", "core:7250,other:7250", "one address stands here, not a list", address),
        (&WEBAPP, "admin", "127.0.0.1:1-2", "one address stands here", "unix:/PATH, or 'off'"),
        (&WEBAPP, "listen", "unix:message_socket", "starts with '/'", "unix:/PATH"),
        (&WEBAPP, "listen", "unix:/run/wa/a,unix:/run/wa/a", "unix:/run/wa/a is in it twice", ranges),
        (&WEBAPP, "peer", "unix:/run/wa/", "names no file", "unix:/PATH"),
        (&COREAPP, "upstream", "unix:@core", "starts with '/'", "unix:/PATH"),
        (&WEBAPP, "socket-mode", "rw", "not an octal mode", "up to 0777"),
        (&WEBAPP, "socket-mode", "1777", "not an octal mode", "up to 0777"),
        (&WEBAPP, "socket-mode", "0668", "not an octal mode", "up to 0777"),
        (&WEBAPP, "peer", "http://core:7250", "it is no URL", address),
        (&WEBAPP, "peer", "core:0", "port 0 cannot be dialled", address),
        (&WEBAPP, "peer", "core:65536", "not a port number", address),
        (&WEBAPP, "peer", "127.0.0.1:6250", "would dial itself", address),
        (&COREAPP, "upstream", "256.0.0.1:1", "not an IPv4 address", address),
        (&COREAPP, "upstream", "0.0.0.0:7250", "would dial itself", address),
        (&WEBAPP, "services", "a,b", "it has 2 names, and listen has 1 addresses", "one for each address"),
        (&WEBAPP, "services", "a/b", "'/' is not allowed", "one for each address"),
        (&WEBAPP, "deployment", "a b", "' ' is not allowed", name),
        (&WEBAPP, "name", "knoten/1", "'/' is not allowed", name),
        (&WEBAPP, "peer-name", &long, "it has 65 bytes", name),
        (&WEBAPP, "admin", "on", "it has no port", "unix:/PATH, or 'off'"),
        (&WEBAPP, "admin", "127.0.0.1:6250", "--listen has the same", "unix:/PATH, or 'off'"),
        (&WEBAPP, "cipher", "aes", "no such choice", "'auto' or 'chacha20poly1305'"),
        (&WEBAPP, "workers", "0", "under the least, 1", "'auto', or a whole number from 1 to 64"),
        (&WEBAPP, "buffer-budget", "16MB", "\"MB\" is not a unit of size", "KiB, MiB or GiB"),
        (&WEBAPP, "buffer-budget", "1KiB", "under the least", "from 1MiB"),
        (&WEBAPP, "max-links", "many", "not a whole number", whole),
        (&WEBAPP, "max-links", "-1", "not a whole number", whole),
        (&WEBAPP, "max-streams", "65536", "over the most, 65535", whole),
        (&WEBAPP, "max-waiting", "0", "under the least", whole),
        (&COREAPP, "max-dials", "1.5", "not a whole number", whole),
        (&COREAPP, "dial-timeout", "5", "it has no unit", "in ms, s or m"),
        (&COREAPP, "dial-timeout", "0s", "under the least, 1ms", "from 1ms to 5m"),
        (&WEBAPP, "drain-timeout", "2h", "\"h\" is not a unit of time", "in ms, s or m"),
        (&WEBAPP, "log", "inof", "\"inof\" is not a level", "off, error, warn, info, debug or trace"),
        (&WEBAPP, "log-format", "xml", "no such format", "'text' or 'json'"),
        (&WEBAPP, "allow-weak-secret", "yes", "neither true nor false", "true or false"),
    ];
    for (base, flag, value, cause, right) in cases {
        let said = format!("{value:?}");
        let typed = format!("--{flag}={value}");
        let others: Vec<&str> = match base.iter().position(|a| *a == format!("--{flag}")) {
            Some(at) => [&base[..at], &base[at + 2..]].concat(),
            None => base.to_vec(),
        };
        fails(
            &with(&others, &[&typed]),
            &[SECRET],
            64,
            &[
                &format!("flag --{flag} has"),
                &said,
                cause,
                "Right is: ",
                right,
                &format!("For example:  --{flag} "),
            ],
        );
        let variable = format!("WA_{}", flag.replace('-', "_").to_uppercase());
        let of_env = format!("environment variable {variable} has");
        let example = format!("For example:  {variable}=");
        fails(
            &others,
            &[SECRET, (&variable, value)],
            78,
            &[&of_env, &said, cause, "Right is: ", right, &example],
        );
    }
}

/// Answers one request with this and ends.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("one caller");
        let mut request = [0; 1024];
        let n = stream.read(&mut request).expect("a request");
        assert!(request[..n].starts_with(b"GET /readyz HTTP/1.1\r\n"));
        stream.write_all(answer.as_bytes()).expect("answered");
    });
    address
}

#[test]
fn health_is_0_or_69_with_the_reason() {
    let ready = answering("HTTP/1.1 200 OK\r\n\r\nok\n");
    let output = run(&["health", "--admin", &ready], &[]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "ok\n"));

    let not_ready = answering("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: no link\n");
    let output = run(&["health"], &[("WA_ADMIN", &not_ready)]);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(69), "not ready: no link\n")
    );

    fails(
        &["health", "--admin", "127.0.0.1:1"],
        &[],
        69,
        &["http://127.0.0.1:1/readyz", "refused"],
    );
    fails(
        &["health", "--admin", "off"],
        &[],
        78,
        &["the admin endpoint is off", "--admin (WA_ADMIN)"],
    );
    fails(&["health", "--admin", "here"], &[], 64, &["flag --admin has \"here\""]);
}
