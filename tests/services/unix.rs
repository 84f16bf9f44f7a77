//! Unix sockets wherever an address stands: who may connect, what a stale one is, and how an abort reads.

use crate::harness::{SECRET, SOON, Start, app, echo, eventually, field};
use crate::{answer, call};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wa-services-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("created");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn address(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("time-out");
    stream
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// Starts a webapp side that cannot start.
fn refused(listen: &str) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
        .args(["webapp", "--listen", listen, "--peer", "127.0.0.1:1", "--admin", "off"])
        .env_clear()
        .env("WA_SECRET", SECRET)
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    output
}

fn says(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn apps_links_and_pages_over_unix_sockets() {
    let at = Directory::new("all");
    let listener = UnixListener::bind(at.path("app")).expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            answer(&mut stream, "unix");
        }
    });
    let admin = at.address("admin");
    let core = Start::new(
        "coreapp",
        &["--listen", &at.address("link"), "--upstream", &at.address("app")],
    )
    .spawn();
    let web = Start::new(
        "webapp",
        &[
            "--listen",
            &at.address("door"),
            "--peer",
            &at.address("link"),
            "--socket-mode",
            "0600",
        ],
    )
    .spawn();
    web.until_ready();
    for _ in 0..3 {
        assert_eq!(call(&mut connect(&at.path("door")), "hello"), "unix: hello");
    }
    assert_eq!((mode(&at.path("door")), mode(&at.path("link"))), (0o600, 0o660));
    let listening = web.event("listening");
    assert_eq!(
        field(&listening, "address").and_then(|a| a.as_str()),
        Some(&*at.address("door"))
    );
    for sidecar in [&web, &core] {
        let caveat = sidecar.event("unix_socket_caveat").to_string();
        assert!(caveat.contains("127.0.0.1"), "{caveat}");
    }
    let page = web.page("/status");
    assert!(page.contains(&at.address("link")), "{page}");

    let probed = Start::bare(&[
        "webapp",
        "--listen",
        "127.0.0.1:0",
        "--peer",
        &at.address("link"),
        "--admin",
        &admin,
    ]);
    let mut probed = probed.spawn();
    let health = || {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_wa-sidecar"));
        command
            .args(["health", "--admin", &admin])
            .env_clear()
            .output()
            .expect("started")
    };
    eventually("healthy", || (health().status.code() == Some(0)).then_some(()));
    probed.signal("TERM");
    assert!(probed.wait(SOON).success());
    assert!(!at.path("admin").exists());
}

#[test]
fn bytes_and_half_ends_go_through_as_over_tcp() {
    let at = Directory::new("bytes");
    let core = Start::new("coreapp", &["--upstream", &echo().to_string()]).spawn();
    let web = Start::new(
        "webapp",
        &["--listen", &at.address("door"), "--peer", &core.listen.to_string()],
    )
    .spawn();
    web.until_ready();
    assert_eq!(core.count("unix_socket_caveat"), 0, "its app is met over TCP");
    for size in [0, 1, 1_000, 5_000, 70_000, 3_000_000] {
        let sent: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let mut stream = connect(&at.path("door"));
        let mut output = stream.try_clone().expect("clone");
        let copy = sent.clone();
        let writer = thread::spawn(move || {
            output.write_all(&copy).expect("sent");
            output.shutdown(Shutdown::Write).expect("ended");
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("ends in order");
        writer.join().expect("writer");
        assert!(got == sent, "{size} bytes came back as {} others", got.len());
    }
    web.until_metric("wa_sidecar_streams_ended_total{end=\"fin\"}", |n| n == 6.0);
}

/// An app that has sent a request must not take half an answer for a whole one, whatever broke: the far app, or this sidecar.
#[test]
fn half_an_answer_is_reset_once_the_app_has_asked() {
    let at = Directory::new("half");
    let half = app(|mut stream| {
        let line = crate::read_line(&mut stream);
        stream.write_all(b"half of an ").expect("sent");
        if line == "wait" {
            thread::sleep(SOON);
        }
        socket2::SockRef::from(&stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("linger");
    });
    let core = Start::new("coreapp", &["--upstream", &half.to_string()]).spawn();
    let web = Start::new(
        "webapp",
        &["--listen", &at.address("door"), "--peer", &core.listen.to_string()],
    )
    .spawn();
    web.until_ready();
    let broken = |mut stream: UnixStream| {
        let mut got = Vec::new();
        let error = stream.read_to_end(&mut got).expect_err("reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{got:?}");
    };
    let mut stream = connect(&at.path("door"));
    stream.write_all(b"break\n").expect("sent");
    broken(stream);

    let mut stream = connect(&at.path("door"));
    stream.write_all(b"wait\n").expect("sent");
    stream.read_exact(&mut [0; 11]).expect("half");
    web.signal("KILL");
    broken(stream);
}

#[test]
fn a_stale_socket_is_taken_over_and_an_orderly_end_leaves_none() {
    let at = Directory::new("stale");
    let start = || Start::new("webapp", &["--listen", &at.address("door"), "--peer", "127.0.0.1:1"]).spawn();
    let mut killed = start();
    killed.signal("KILL");
    killed.wait(SOON);
    assert!(
        fs::metadata(at.path("door"))
            .expect("left behind")
            .file_type()
            .is_socket()
    );

    let mut running = start();
    let _ = connect(&at.path("door"));
    says(
        &refused(&at.address("door")),
        &["another program listens there", "ss -lxp | grep "],
    );
    let _ = connect(&at.path("door"));
    running.signal("TERM");
    assert!(running.wait(SOON).success());
    assert!(!at.path("door").exists());
    assert_eq!(running.count("unix_socket_left"), 0);
}

#[test]
fn what_is_no_socket_is_left_alone_and_what_is_not_there_is_said() {
    let at = Directory::new("bad");
    fs::write(at.path("file"), "precious").expect("written");
    says(&refused(&at.address("file")), &["not a socket", "left alone", "ls -l "]);
    assert_eq!(fs::read(at.path("file")).expect("there"), b"precious");
    says(
        &refused(&at.address("no/door")),
        &["directory does not exist", "mkdir -p "],
    );

    // All or none: the first of the two is not left behind.
    let both = format!("{},{}", at.address("first"), at.address("file"));
    says(&refused(&both), &["not a socket"]);
    assert!(!at.path("first").exists());
}

#[test]
fn a_dial_of_a_socket_that_is_not_there_says_so() {
    let at = Directory::new("dial");
    let core = Start::new("coreapp", &["--upstream", &at.address("app")]).spawn();
    let web = Start::new("webapp", &["--peer", &core.listen.to_string()]).spawn();
    web.until_ready();
    crate::is_reset(crate::harness::connect(web.listen));
    let line = core.event_with_reason("dial_failed", "dial_failed").to_string();
    assert!(
        line.contains(&at.address("app")) && line.contains("No such file"),
        "{line}"
    );
}
