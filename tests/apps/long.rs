//! What takes longer than a change should wait: `.ci/long` runs it. `LONG_MINUTES` is how long the mixed load lasts.

use crate::coreapp::Coreapp;
use crate::harness::{Pair, Sidecar, Start, eventually};
use crate::http::{self, Transfer, until_quiet, url};
use crate::nginx::Nginx;
use crate::php::{Clients, all_whole};
use crate::tools::{Directory, hash, noise, signal};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn minutes() -> f64 {
    std::env::var("LONG_MINUTES").map_or(10.0, |text| text.parse().expect("LONG_MINUTES is a number"))
}

fn open_files(sidecar: &Sidecar) -> usize {
    let directory = std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid()));
    directory.expect("a process").count()
}

/// Bytes of memory that are its own.
fn resident(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).expect("a process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .expect("RssAnon");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("kB");
    kib * 1024
}

const RESERVE: &str = "wa_sidecar_buffer_budget_free_bytes{half=\"reserve\"}";
const GROWTH: &str = "wa_sidecar_buffer_budget_free_bytes{half=\"growth\"}";

/// What must be as before once nobody calls.
#[derive(Debug, Clone, PartialEq)]
struct Rest {
    open_files: usize,
    reserve: f64,
    growth: f64,
}

fn rest(sidecar: &Sidecar) -> Rest {
    Rest {
        open_files: open_files(sidecar),
        reserve: sidecar.metric(RESERVE),
        growth: sidecar.metric(GROWTH),
    }
}

fn report(what: &str, pair: &Pair) {
    for (role, sidecar) in [("webapp", &pair.web), ("coreapp", &pair.core)] {
        let kib = resident(sidecar) / 1024;
        println!("{what}: {role}: {:?}, RssAnon {kib} KiB", rest(sidecar));
    }
}

#[test]
#[ignore = "long: .ci/long"]
fn a_hundred_thousand_calls_come_back_whole() {
    let coreapp = Coreapp::start((LOCAL, 0).into(), false);
    let pair = Pair::start(coreapp.address);
    all_whole(&pair, &coreapp, 4, 250);
    let before = [rest(&pair.web), rest(&pair.core)];
    report("before 100,000 calls", &pair);
    let began = Instant::now();
    for _ in 0..10 {
        all_whole(&pair, &coreapp, 4, 2_500);
    }
    report(&format!("after 100,000 calls in {:?}", began.elapsed()), &pair);
    assert_eq!([rest(&pair.web), rest(&pair.core)], before);
}

#[test]
#[ignore = "long: .ci/long"]
fn a_gibibyte_comes_and_goes_whole() {
    let nginx = Nginx::start(LOCAL);
    let pair = Pair::start(nginx.address);
    let file = nginx.serve("gibibyte", 1 << 30);
    for args in [&[][..], &["--http1.0"], &["-H", "Connection: close"]] {
        let began = Instant::now();
        http::download(pair.web.listen, &file, args);
        println!("1 GiB {args:?} in {:?}", began.elapsed());
    }
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| http::download(pair.web.listen, &file, &[]));
        }
    });
    http::upload(pair.web.listen, &nginx, "gibibyte", 1 << 30, &[]);
    until_quiet(&pair);
    report("after 7 GiB", &pair);
}

/// Both sidecars, each of which may be ended and started again where it was.
struct Restarted {
    pair: Pair,
    upstream: SocketAddr,
}

impl Restarted {
    fn restart(&mut self, web: bool) {
        let old = if web { &self.pair.web } else { &self.pair.core };
        let listen = old.listen.to_string();
        let (role, flag, to) = if web {
            ("webapp", "--peer", self.pair.core.listen)
        } else {
            ("coreapp", "--upstream", self.upstream)
        };
        let new = || {
            Start::new(
                role,
                &["--listen", &listen, flag, &to.to_string(), "--drain-timeout", "1s"],
            )
            .spawn()
        };
        let place = if web { &mut self.pair.web } else { &mut self.pair.core };
        place.signal("KILL");
        place.wait(Duration::from_secs(5));
        *place = new();
    }
}

/// What the mixed load has seen.
#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    calls_failed: AtomicU64,
    calls_cut: AtomicU64,
    downloads: AtomicU64,
    downloads_failed: AtomicU64,
    uploads: AtomicU64,
    uploads_failed: AtomicU64,
    aborts: AtomicU64,
}

/// Calls, downloads, uploads and aborts until `until`. What fails fails by an error; what ends in order is whole.
fn mixed_load(php: SocketAddr, web: SocketAddr, nginx: &Nginx, until: Instant, seen: &Seen) {
    let files: Vec<_> = [1_000, 70_000, 5_000_000, 40_000_000]
        .map(|len| nginx.serve(&format!("mixed-{len}"), len))
        .into();
    let goes_on = || Instant::now() < until;
    let count = |counter: &AtomicU64, n| counter.fetch_add(n, SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| {
            while goes_on() {
                let done = Clients::start(2, 200, php).join();
                assert_eq!((done.short, done.wrong), (0, 0), "{done:#?}");
                count(&seen.calls, done.whole);
                count(&seen.calls_failed, done.failed);
                count(&seen.calls_cut, done.cut);
            }
        });
        for turn in 0..2 {
            let files = &files;
            scope.spawn(move || {
                for i in turn.. {
                    if !goes_on() {
                        break;
                    }
                    let file = &files[i % files.len()];
                    let got = Transfer::start(&[&*url(web, &file.name)]).end();
                    if got.code == Some(0) {
                        assert_eq!(got.sha256, file.sha256, "{file:?}: {got:?}");
                        count(&seen.downloads, 1);
                    } else {
                        count(&seen.downloads_failed, 1);
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            });
        }
        scope.spawn(|| {
            let directory = Directory::new();
            let file = directory.join("upload");
            std::fs::write(&file, noise(77, 3_000_000)).expect("written");
            let (sha256, _) = hash(File::open(&file).expect("there"));
            let from = file.display().to_string();
            while goes_on() {
                let name = format!("mixed-{}", seen.uploads.load(SeqCst) % 10);
                let got = Transfer::start(&["-T", &from, &url(web, &format!("up/{name}"))]).end();
                if got.code == Some(0) {
                    let (stored, _) = hash(File::open(nginx.uploaded(&name)).expect("uploaded"));
                    assert_eq!(stored, sha256, "{got:?}");
                    count(&seen.uploads, 1);
                } else {
                    count(&seen.uploads_failed, 1);
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
        scope.spawn(|| {
            while goes_on() {
                let slow = Transfer::start(&["--limit-rate", "500k", &url(web, &files[3].name)]);
                thread::sleep(Duration::from_millis(300));
                signal(slow.pid(), "KILL");
                slow.end();
                count(&seen.aborts, 1);
            }
        });
    });
}

#[test]
#[ignore = "long: .ci/long"]
fn mixed_load_with_kills_leaves_nothing_behind() {
    let half = Duration::from_secs_f64(minutes() * 30.0);
    let nginx = Nginx::start(LOCAL);
    let coreapp = Coreapp::start((LOCAL, 0).into(), true);
    let start = |upstream| Restarted {
        pair: Pair::start(upstream),
        upstream,
    };
    let (mut calls, mut files) = (start(coreapp.address), start(nginx.address));
    let (php, web) = (calls.pair.web.listen, files.pair.web.listen);

    let seen = Seen::default();
    let until = Instant::now() + half;
    let mut kills = 0;
    thread::scope(|scope| {
        let load = scope.spawn(|| mixed_load(php, web, &nginx, until, &seen));
        let mut dice = noise(std::process::id().into(), 1 << 16).into_iter();
        let mut next = || dice.next().unwrap_or(0);
        while Instant::now() < until && !load.is_finished() {
            thread::sleep(Duration::from_millis(1_000 + 20 * u64::from(next())));
            let (which, web) = (if next() & 1 == 0 { &mut calls } else { &mut files }, next() & 1 == 0);
            which.restart(web);
            kills += 1;
        }
    });
    println!("with {kills} kills in {half:?}: {seen:?}");
    assert!(seen.calls.load(SeqCst) > 0 && seen.downloads.load(SeqCst) > 0 && seen.uploads.load(SeqCst) > 0);

    for run in [&calls, &files] {
        eventually("linked again", || {
            (run.pair.web.metric("wa_sidecar_links_up") == 1.0).then_some(())
        });
        until_quiet(&run.pair);
    }
    // Warm: every buffer that is kept is there.
    let warm = Instant::now() + half / 10;
    mixed_load(php, web, &nginx, warm, &Seen::default());
    let quiet = |run: &Restarted| {
        until_quiet(&run.pair);
        for sidecar in [&run.pair.web, &run.pair.core] {
            let total = sidecar.metric("wa_sidecar_buffer_budget_bytes");
            sidecar.until_metric(GROWTH, |free| free == total / 2.0);
            // The admin page's own connections have gone too.
            thread::sleep(Duration::from_millis(200));
        }
        [&run.pair.web, &run.pair.core].map(|sidecar| (rest(sidecar), resident(sidecar)))
    };
    let before = [quiet(&calls), quiet(&files)];
    report("calls, warm", &calls.pair);
    report("files, warm", &files.pair);

    let seen = Seen::default();
    mixed_load(php, web, &nginx, Instant::now() + half, &seen);
    println!("without kills in {half:?}: {seen:?}");
    for failed in [
        &seen.calls_failed,
        &seen.calls_cut,
        &seen.downloads_failed,
        &seen.uploads_failed,
    ] {
        assert_eq!(failed.load(SeqCst), 0, "nothing was ended: {seen:?}");
    }
    let after = [quiet(&calls), quiet(&files)];
    report("calls, after", &calls.pair);
    report("files, after", &files.pair);
    for (before, after) in before.as_flattened().iter().zip(after.as_flattened()) {
        assert_eq!(before.0, after.0);
        let grown = after.1.saturating_sub(before.1);
        assert!(grown < 4 << 20, "grew by {grown} bytes, from {}", before.1);
    }
}
