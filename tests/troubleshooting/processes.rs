//! What a process says of itself: at its start, at its end, and while it lacks what the system should give it.

use crate::harness::{Pair, Sidecar, connect, echo, field};
use crate::lines::{is_reset, open_call};
use crate::links::{core, nowhere, web};
use crate::peers::{Hostile, clock_ms};
use crate::source::SENTENCE;
use crate::{Row, see};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use wa_sidecar::wire::message::GoAway;

pub const PROVOCATIONS: &[fn() -> Vec<Row>] = &[
    all_is_well,
    warnings,
    unix_sockets,
    no_files,
    pages_that_fail,
    bug,
    last_words,
];

/// What the page says of a life without trouble.
pub const FINE: [Row; 15] = [
    ("either", "starting", ""),
    ("either", "open_files", ""),
    ("either", "confined", ""),
    ("either", "admin_listening", ""),
    ("coreapp", "service", ""),
    ("either", "listening", ""),
    ("either", "link_up", ""),
    ("coreapp", "dial_recovered", ""),
    ("either", "draining", ""),
    ("either", "stopping", ""),
    ("either", "stopped", ""),
    ("either", "goaway", "shutdown"),
    ("either", "goaway", "ids_used_up"),
    ("either", "goaway", "keys_too_old"),
    ("either", "link_down", "closed"),
];

fn there(sidecar: &Sidecar, row: Row) -> Row {
    let (_, event, reason) = row;
    if reason.is_empty() {
        sidecar.event(event);
    } else {
        sidecar.event_with_reason(event, reason);
    }
    row
}

fn all_is_well() -> Vec<Row> {
    // An app that is not there yet.
    let place = nowhere();
    let pair = Pair::start(place);
    is_reset(pair.connect());
    let listener = std::net::TcpListener::bind(place).expect("still free");
    let serving = std::thread::spawn(move || listener.accept());
    let call = pair.connect();
    let mut seen: Vec<Row> = FINE[..8].iter().map(|row| there(&pair.core, *row)).collect();
    let served = serving.join().expect("accepted");
    pair.core.signal("TERM");
    seen.push(there(&pair.core, ("either", "draining", "")));
    seen.push(there(&pair.web, ("either", "goaway", "shutdown")));
    drop((call, served));
    seen.push(there(&pair.core, ("either", "stopped", "")));
    seen.push(there(&pair.web, ("either", "link_down", "closed")));
    let pair = Pair::start(echo());
    let _call = open_call(&pair.web);
    pair.web.signal("TERM");
    pair.web.event("draining");
    pair.web.signal("TERM");
    seen.push(there(&pair.web, ("either", "stopping", "")));
    let core = core(nowhere(), &[]);
    for code in [GoAway::IdsUsedUp, GoAway::KeysTooOld] {
        let mut peer = Hostile::dial(core.listen);
        let frame = peer.frame(clock_ms(), |w| w.goaway(code));
        peer.write(&frame);
        seen.push(there(&core, ("either", "goaway", code.label())));
    }
    seen
}

/// A directory of this test alone.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    let _ = fs::remove_file(&path);
    fs::create_dir(&path).expect("created");
    path
}

fn warnings() -> Vec<Row> {
    let file = directory("warnings").join("secret");
    fs::write(&file, crate::harness::SECRET).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions");
    let path = file.to_str().expect("text");
    let web = web(nowhere(), &[])
        .env("WA_SECRET", "")
        .env("WA_SECRET_FILE", path)
        .env("WA_SECRET_PREVIOUS_FILE", path)
        .env("WA_LISTN", "x")
        .spawn();
    ["unknown_variable", "secret_file_open", "secret_previous_same"]
        .map(|event| {
            let line = web.event(event);
            let reason = field(&line, "reason")
                .and_then(|reason| reason.as_str())
                .unwrap_or_default();
            assert!(reason.len() > 20, "{line}");
            ("either", event, SENTENCE)
        })
        .to_vec()
}

fn unix_sockets() -> Vec<Row> {
    let directory = directory("left");
    let listen = format!("unix:{}/s", directory.display());
    let web = web(nowhere(), &["--listen", &listen]).spawn();
    let seen = see(&web, ("either", "unix_socket_caveat", "no_reset_on_unix_sockets"));
    // The directory is another thing now.
    fs::rename(&directory, directory.with_extension("moved")).expect("moved");
    fs::write(&directory, "").expect("written");
    web.signal("TERM");
    vec![seen, see(&web, ("either", "unix_socket_left", SENTENCE))]
}

/// No more than it has open now.
pub fn no_more_files(sidecar: &Sidecar) {
    let used = fs::read_dir(format!("/proc/{}/fd", sidecar.pid()))
        .expect("fds")
        .count();
    let limit = format!("--nofile={used}:{used}");
    let set = Command::new("prlimit")
        .args(["--pid", &sidecar.pid().to_string(), &limit])
        .status();
    assert!(set.expect("prlimit").success());
}

fn no_files() -> Vec<Row> {
    let web = web(nowhere(), &["--log", "debug"]).spawn();
    no_more_files(&web);
    // More than one: a dial that was under way has given its own back.
    let _calls: Vec<_> = (0..8).map(|_| (connect(web.listen), connect(web.admin))).collect();
    vec![
        see(&web, ("either", "accept_failed", SENTENCE)),
        see(&web, ("either", "admin_accept_failed", SENTENCE)),
    ]
}

fn pages_that_fail() -> Vec<Row> {
    let web = web(nowhere(), &["--log", "debug"]).spawn();
    connect(web.admin).write_all(b"\0\r\n\r\n").expect("sent");
    web.event("admin_connection_failed");
    vec![("either", "admin_connection_failed", SENTENCE)]
}

fn bug() -> Vec<Row> {
    let core = core(echo(), &[]);
    let mut web = web(core.listen, &[]).env("SIDECAR_TEST_PANIC_AT_STREAM", "1").spawn();
    web.until_ready();
    is_reset(connect(web.listen));
    let seen = see(&web, ("either", "panic", SENTENCE));
    let status = web.wait(crate::harness::SOON);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(6),
        "134 is 128 and this"
    );
    vec![seen]
}

/// Just so many files that it has its log, and nothing more.
fn last_words() -> Vec<Row> {
    let found = (4..64).find_map(|files| {
        let output = short_of_files(files);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.contains("\"event\":\"failed\"")
            .then_some((output.status.code(), said))
    });
    let (code, said) = found.expect("a start that fails after its log began");
    assert_eq!(code, Some(70), "{said}");
    vec![("either", "failed", SENTENCE)]
}

/// A start with so many files; one that does not fail is ended.
pub fn short_of_files(files: u32) -> std::process::Output {
    let limit = format!("--nofile={files}:{files}");
    let mut command = Command::new("timeout");
    command.args([
        "-s",
        "KILL",
        "1",
        "prlimit",
        &limit,
        env!("CARGO_BIN_EXE_wa-sidecar"),
        "webapp",
    ]);
    command.args([
        "--listen=127.0.0.1:0",
        "--admin=127.0.0.1:0",
        "--peer=127.0.0.1:1",
        "--log-format=json",
        "--drain-timeout=0s",
    ]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("WA_SECRET", crate::harness::SECRET);
    command.stdin(Stdio::null()).output().expect("started")
}
