//! nginx behind the pair, `curl` and `wrk` in front.

use crate::harness::{Pair, SOON, Sidecar, eventually};
use crate::nginx::{Nginx, Served};
use crate::tools::{Directory, Running, hash, noise, program};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LOCAL: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

pub fn url(at: SocketAddr, path: &str) -> String {
    format!("http://{at}/{path}")
}

fn curl() -> Command {
    let mut curl = program("curl", "curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--globoff",
        "--noproxy",
        "*",
        "--max-time",
        "300",
    ]);
    curl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    curl
}

/// A transfer by curl.
pub struct Transfer(Running);

/// How it ended: curl's exit code, and the body.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub len: u64,
    pub sha256: String,
    pub stderr: String,
}

impl Transfer {
    pub fn start(args: &[&str]) -> Self {
        Self(Running(curl().args(args).spawn().expect("curl")))
    }

    pub fn pid(&self) -> u32 {
        self.0.0.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.0.0.try_wait().expect("wait").is_none()
    }

    pub fn end(mut self) -> Outcome {
        let (sha256, len) = hash(self.0.0.stdout.take().expect("piped"));
        let mut stderr = String::new();
        let pipe = self.0.0.stderr.take();
        pipe.expect("piped").read_to_string(&mut stderr).expect("text");
        let code = self.0.0.wait().expect("wait").code();
        Outcome {
            code,
            len,
            sha256,
            stderr,
        }
    }
}

/// Downloads one file, which must come whole.
pub fn download(at: SocketAddr, file: &Served, args: &[&str]) {
    let got = Transfer::start(&[args, &[&*url(at, &file.name)]].concat()).end();
    assert_eq!(got.code, Some(0), "{file:?} {args:?}: {got:?}");
    assert_eq!(
        (got.len, &got.sha256),
        (file.len, &file.sha256),
        "{file:?} {args:?}: {got:?}"
    );
}

pub fn upload(at: SocketAddr, nginx: &Nginx, name: &str, len: usize, args: &[&str]) {
    let directory = Directory::new();
    let file = directory.join(name);
    std::fs::write(&file, noise(len as u64 + 7, len)).expect("written");
    let from = file.display().to_string();
    let url = url(at, &format!("up/{name}"));
    let got = Transfer::start(&[args, &["-T", &from, &url]].concat()).end();
    assert_eq!(got.code, Some(0), "PUT {name} {args:?}: {got:?}");
    let sent = hash(File::open(&file).expect("there"));
    let stored = hash(File::open(nginx.uploaded(name)).expect("uploaded"));
    assert_eq!(sent, stored, "PUT {name} {args:?}");
}

/// What `wrk` counted: requests, and what went wrong.
#[derive(Debug)]
pub struct Load {
    pub requests: u64,
    pub report: String,
}

pub fn wrk(at: SocketAddr, path: &str, seconds: u32, args: &[&str]) -> Load {
    let mut wrk = program("wrk", "wrk");
    wrk.args(["-t2", "-c64", "--timeout", "20s", &format!("-d{seconds}s")])
        .args(args);
    let output = wrk.arg(url(at, path)).output().expect("wrk");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = report.lines().find(|line| line.contains(" requests in "));
    let requests = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Load {
        requests: requests.unwrap_or_else(|| panic!("{report} {output:?}")),
        report,
    }
}

/// A load without one error.
pub fn wrk_in_order(at: SocketAddr, path: &str, seconds: u32, args: &[&str]) {
    let load = wrk(at, path, seconds, args);
    assert!(load.requests > 0, "{load:?}");
    for wrong in ["Socket errors", "Non-2xx"] {
        assert!(!load.report.contains(wrong), "{wrong} {args:?}: {load:?}");
    }
}

pub fn until_quiet(pair: &Pair) {
    for sidecar in [&pair.web, &pair.core] {
        sidecar.until_metric("wa_sidecar_streams_open", |open| open == 0.0);
    }
}

fn open_streams(sidecar: &Sidecar) -> f64 {
    sidecar.metric("wa_sidecar_streams_open")
}

fn behind_a_pair() -> (Nginx, Pair) {
    let nginx = Nginx::start(LOCAL);
    let pair = Pair::start(nginx.address);
    (nginx, pair)
}

#[test]
fn files_of_every_size_come_whole() {
    let (nginx, pair) = behind_a_pair();
    let at = pair.web.listen;
    for len in [0, 1, 4_095, 4_096, 4_097, 65_536, 1 << 20, 16 << 20, 256 << 20] {
        let file = nginx.serve(&len.to_string(), len);
        download(at, &file, &[]);
        if len <= 16 << 20 {
            download(at, &file, &["-H", "Connection: close"]);
            // The end of the body is the end of the connection.
            download(at, &file, &["--http1.0"]);
        }
    }
    until_quiet(&pair);
    let resets = pair.web.metric("wa_sidecar_streams_ended_total{end=\"reset\"}");
    assert_eq!(resets, 0.0);
}

#[test]
fn uploads_come_whole() {
    let (nginx, pair) = behind_a_pair();
    for len in [0, 1, 4_097, 65_536, 1 << 20, 16 << 20, 64 << 20] {
        upload(pair.web.listen, &nginx, &format!("u{len}"), len, &[]);
    }
    upload(
        pair.web.listen,
        &nginx,
        "chunked",
        5_000_000,
        &["-H", "Transfer-Encoding: chunked"],
    );
    upload(
        pair.web.listen,
        &nginx,
        "closed",
        5_000_000,
        &["-H", "Connection: close"],
    );
    until_quiet(&pair);
}

#[test]
fn ranges_come_as_asked_for() {
    let (nginx, pair) = behind_a_pair();
    let file = nginx.serve("ranges", 1 << 20);
    let bytes = std::fs::read(nginx.directory().join("files/ranges")).expect("there");
    let url = url(pair.web.listen, &file.name);
    for (range, expected) in [
        ("0-0", &bytes[..1]),
        ("4095-4097", &bytes[4095..4098]),
        ("16384-524287", &bytes[16384..524288]),
        ("1048575-", &bytes[1048575..]),
        ("-70000", &bytes[bytes.len() - 70000..]),
    ] {
        let got = Transfer::start(&["--range", range, &url]).end();
        assert_eq!(got.code, Some(0), "{range}: {got:?}");
        assert_eq!((got.sha256, got.len), hash(expected), "range {range}");
    }
}

#[test]
fn several_at_once_and_a_slow_one_among_them() {
    let (nginx, pair) = behind_a_pair();
    let at = pair.web.listen;
    let large = nginx.serve("large", 16 << 20);
    let small = nginx.serve("small", 10_000);
    let mut slow = Transfer::start(&["--limit-rate", "1M", &url(at, &large.name)]);
    eventually("the slow one has begun", || {
        (open_streams(&pair.core) > 0.0).then_some(())
    });
    thread::scope(|scope| {
        for i in 0..4 {
            let (large, small, nginx) = (&large, &small, &nginx);
            scope.spawn(move || {
                download(at, large, &[]);
                for _ in 0..5 {
                    download(at, small, &[]);
                }
                upload(at, nginx, &format!("beside-{i}"), 2_000_000, &[]);
            });
        }
    });
    assert!(slow.is_running(), "the others waited for a slow reader");
    let got = slow.end();
    assert_eq!((got.code, got.sha256), (Some(0), large.sha256), "{}", got.stderr);
    until_quiet(&pair);
}

#[test]
fn wrk_sees_no_error() {
    let (nginx, pair) = behind_a_pair();
    let file = nginx.serve("1k", 1024);
    wrk_in_order(pair.web.listen, &file.name, 4, &[]);
    until_quiet(&pair);
    wrk_in_order(pair.web.listen, &file.name, 4, &["-H", "Connection: close"]);
    until_quiet(&pair);
    assert_eq!(pair.core.metric("wa_sidecar_links_up"), 1.0);
}

#[test]
fn a_client_that_goes_in_mid_download_leaves_nothing_open() {
    let (nginx, pair) = behind_a_pair();
    let file = nginx.serve("large", 64 << 20);
    for _ in 0..5 {
        let slow = Transfer::start(&["--limit-rate", "100k", &url(pair.web.listen, &file.name)]);
        pair.core.until_metric("wa_sidecar_streams_open", |open| open == 1.0);
        thread::sleep(Duration::from_millis(100));
        // Killed: its socket closes with unread bytes, which is RST.
        drop(slow);
        until_quiet(&pair);
    }
    for sidecar in [&pair.web, &pair.core] {
        assert_eq!(sidecar.metric("wa_sidecar_streams_ended_total{end=\"reset\"}"), 5.0);
    }
    download(pair.web.listen, &file, &[]);
}

#[test]
fn a_reload_lets_downloads_end_and_a_stop_cuts_them_visibly() {
    let (nginx, pair) = behind_a_pair();
    let file = nginx.serve("large", 32 << 20);
    let begin = || {
        let slow = Transfer::start(&["--limit-rate", "16M", &url(pair.web.listen, &file.name)]);
        pair.core.until_metric("wa_sidecar_streams_open", |open| open >= 1.0);
        slow
    };
    let slow = begin();
    nginx.signal("HUP");
    thread::sleep(Duration::from_millis(200));
    download(pair.web.listen, &file, &[]);
    let got = slow.end();
    assert_eq!((got.code, got.sha256), (Some(0), file.sha256.clone()), "{}", got.stderr);

    let cut = Transfer::start(&["--limit-rate", "1M", &url(pair.web.listen, &file.name)]);
    pair.core.until_metric("wa_sidecar_streams_open", |open| open >= 1.0);
    thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    nginx.signal("TERM");
    let got = cut.end();
    // 18: a part of the file; 56: reset.
    assert!(matches!(got.code, Some(18 | 56)), "{got:?}");
    assert!(got.len < file.len, "{got:?}");
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    until_quiet(&pair);
    // Nobody is there now: an error at once, not an empty answer.
    let got = Transfer::start(&[&*url(pair.web.listen, &file.name)]).end();
    assert!(matches!(got.code, Some(52 | 56)), "{got:?}");
}
