//! What a start checks, binds and says, and in which order.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Stdio},
};

use super::{COREAPP, SECRET, command, fails, run, secrets::secret_file, text, with};

/// Shown by what it is not: 69, which a bind to a port that is taken would be.
#[test]
fn nothing_is_bound_before_all_is_valid() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    let base = [
        "webapp",
        "--listen",
        &address,
        "--peer",
        "core.example:7250",
        "--admin",
        "off",
    ];
    fails(&with(&base, &["--max-links", "x"]), &[SECRET], 64, &[]);
    fails(&base, &[SECRET, ("WA_MAX_LINKS", "x")], 78, &[]);
    fails(&base, &[], 78, &["neither WA_SECRET"]);
    fails(
        &base,
        &[SECRET],
        69,
        &[
            &format!("cannot listen on {address}"),
            "Another program has it",
            "--listen",
        ],
    );

    let admin = [
        "webapp",
        "--listen",
        "127.0.0.1:0",
        "--peer",
        "core.example:7250",
        "--admin",
        &address,
    ];
    fails(
        &admin,
        &[SECRET],
        69,
        &[&format!("cannot listen on {address}"), "--admin"],
    );
    let elsewhere = ["webapp", "--listen", "192.0.2.1:6250", "--peer", "core.example:7250"];
    fails(
        &elsewhere,
        &[SECRET],
        69,
        &["cannot listen on 192.0.2.1:6250", "--listen 0.0.0.0:6250"],
    );
}

#[test]
fn check_shows_where_each_value_is_from_and_no_secret() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    let path = secret_file("previous", b"another passphrase, once\n", 0o644);
    let output = run(
        &[
            "check",
            "webapp",
            "--listen",
            &address,
            "--peer=core.example:7250",
            "--allow-weak-secret",
        ],
        &[
            SECRET,
            ("WA_SECRET_PREVIOUS_FILE", &path),
            ("WA_MAX_LINKS", "7"),
            ("WA_MAX_LINK", "8"),
        ],
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "it binds nothing: {}",
        text(&output.stderr)
    );
    let shown = text(&output.stdout);
    for (setting, value, origin) in [
        ("listen", &*address, "flag --listen"),
        ("peer", "core.example:7250", "flag --peer"),
        ("max-links", "7", "environment variable WA_MAX_LINKS"),
        ("max-streams", "1024", "default"),
        ("name", "(not set)", "default"),
        ("allow-weak-secret", "true", "flag --allow-weak-secret"),
        ("secret", "(passphrase, withheld)", "environment variable WA_SECRET"),
        ("secret, previous", "(passphrase, withheld)", &path),
    ] {
        let line = shown.lines().find(|line| line.starts_with(&format!("  {setting} ")));
        let line = line.unwrap_or_else(|| panic!("no {setting} in: {shown}"));
        assert!(line.contains(value) && line.contains(origin), "{line}");
    }
    assert!(
        shown.contains("WA_MAX_LINK is ignored: did you mean WA_MAX_LINKS?"),
        "{shown}"
    );
    assert!(shown.contains("every user of this host can read"), "{shown}");
    assert!(
        !shown.contains("passphrase that") && !shown.contains("another"),
        "{shown}"
    );

    fails(
        &["check", "webapp", "--listen", &address],
        &[SECRET],
        64,
        &["peer is missing"],
    );
    fails(&with(&["check"], &COREAPP), &[], 78, &["neither WA_SECRET"]);
}

/// A sidecar that runs until this is dropped.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one and returns its log lines up to the event `listening`.
fn log_of_start(more: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let base = [
        "webapp",
        "--listen",
        "127.0.0.1:0",
        "--peer",
        "127.0.0.1:1",
        "--admin",
        "localhost:0",
    ];
    let child = command(&with(&base, more), env)
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut sidecar = Sidecar(child);
    let mut lines = Vec::new();
    for line in BufReader::new(sidecar.0.stderr.take().expect("piped")).lines() {
        lines.push(line.expect("text"));
        if lines.last().is_some_and(|line| line.contains("\"listening\"")) {
            break;
        }
    }
    lines
}

#[test]
fn a_start_says_what_it_bound_in_text() {
    let path = secret_file("open", SECRET.1.as_bytes(), 0o644);
    let lines = log_of_start(&[], &[("WA_SECRET_FILE", &path), ("WA_LISTN", "x")]);
    let line = |event: &str| {
        let line = lines.iter().find(|line| line.contains(&format!("event=\"{event}\"")));
        line.unwrap_or_else(|| panic!("no {event} in {lines:#?}"))
    };
    assert!(line("starting").contains("role=webapp"));
    assert!(line("unknown_variable").contains("did you mean WA_LISTEN?"));
    assert!(line("secret_file_open").contains(" WARN "));
    assert!(line("confined").contains("no_new_privs=true"));
    for event in ["listening", "admin_listening"] {
        let address = line(event).split("address=").nth(1).expect("an address");
        let address: std::net::SocketAddr = address.parse().expect(address);
        assert!(address.port() != 0);
    }
    assert!(
        lines
            .iter()
            .all(|line| !line.contains('\x1b') && !line.contains(SECRET.1)),
        "{lines:#?}"
    );
}

#[test]
fn a_start_says_what_it_bound_in_json() {
    let lines = log_of_start(&["--log-format=json"], &[SECRET, ("WA_LOG", "info")]);
    let events: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    assert!(events.iter().all(|event| event["event"].is_string()), "{lines:#?}");
    let listening = events.last().expect("a last line");
    assert_eq!(
        (&listening["event"], &listening["level"]),
        (&"listening".into(), &"INFO".into())
    );
    assert!(
        listening["address"]
            .as_str()
            .is_some_and(|address| address.starts_with("127.0.0.1:"))
    );
}
