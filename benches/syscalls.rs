//! System calls of a real pair, counted by strace, against the committed limits. `cargo bench --bench syscalls`; a name chooses a
//! work; `--write` makes what was counted the limits; `--show` shows them by name.
//!
//! Counted are the calls of the worker threads alone, which carry the data; each side has one. What a side says every second
//! (PING, PONG) is in the figures.

#[path = "../tests/harness/mod.rs"]
mod harness;
mod limits;
mod trace;

use harness::{SOON, Sidecar, Start, app, connect};
use limits::{Counted, Limits};
use socket2::SockRef;
use std::env;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, ExitCode};
use trace::Trace;

const REQUEST: usize = 100;
const LONE: usize = 1000;
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 30;
const BULK: usize = 64 << 20;
const MIB: usize = 1 << 20;
/// A busy host comes between two calls of an app and splits one turn of a sidecar into two, which costs calls and never saves any: what
/// exceeds its limit is counted anew, and the least of so many runs is judged.
const RUNS: usize = 3;

/// What the pair is given to do.
struct Work {
    name: &'static str,
    /// What one of `operations` is.
    unit: &'static str,
    operations: usize,
    /// Each is one delivery to an app on either side, and over before the next begins.
    one_at_a_time: bool,
    serve: fn(TcpStream),
    /// Connects and makes everything warm.
    prepare: fn(SocketAddr) -> Vec<TcpStream>,
    run: fn(SocketAddr, &mut [TcpStream]),
    /// By how much a count may be more the next time.
    tolerance: f64,
}

const WORKS: &[Work] = &[
    Work {
        name: "lone connection",
        unit: "request",
        operations: LONE,
        one_at_a_time: true,
        serve: answer_all,
        prepare: |at| warm(at, 1),
        run: |_, streams| (0..LONE).for_each(|_| ask(&mut streams[0])),
        tolerance: 0.02,
    },
    Work {
        name: "64 connections",
        unit: "request",
        operations: CONNECTIONS * ROUNDS,
        one_at_a_time: false,
        serve: answer_all,
        prepare: |at| warm(at, CONNECTIONS),
        run: |_, streams| {
            for _ in 0..ROUNDS {
                streams
                    .iter_mut()
                    .for_each(|stream| stream.write_all(&[5; REQUEST]).expect("sent"));
                streams
                    .iter_mut()
                    .for_each(|stream| stream.read_exact(&mut [0; REQUEST]).expect("answered"));
            }
        },
        tolerance: 0.15,
    },
    Work {
        name: "short connections",
        unit: "connection",
        operations: LONE,
        one_at_a_time: true,
        serve: answer_once,
        prepare: |at| {
            call(at);
            Vec::new()
        },
        run: |at, _| (0..LONE).for_each(|_| call(at)),
        tolerance: 0.02,
    },
    Work {
        name: "bulk to the coreapp",
        unit: "MiB",
        operations: BULK / MIB,
        one_at_a_time: false,
        serve: |mut stream| {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        },
        prepare: |_| Vec::new(),
        run: |at, _| {
            let mut stream = connect(at);
            let part = vec![5; MIB];
            (0..BULK / MIB).for_each(|_| stream.write_all(&part).expect("sent"));
            stream.shutdown(Shutdown::Write).expect("ended");
            assert_eq!(stream.read(&mut [0]).expect("all taken"), 0);
        },
        tolerance: 0.4,
    },
    Work {
        name: "bulk to the webapp",
        unit: "MiB",
        operations: BULK / MIB,
        one_at_a_time: false,
        serve: |mut stream| {
            let part = vec![5; MIB];
            let _ = (0..BULK / MIB).try_for_each(|_| stream.write_all(&part));
        },
        prepare: |_| Vec::new(),
        run: |at, _| {
            let got = std::io::copy(&mut connect(at), &mut std::io::sink()).expect("whole");
            assert_eq!(got, BULK as u64);
        },
        tolerance: 0.4,
    },
];

/// Requests and answers until the end.
fn answer_all(mut stream: TcpStream) {
    let mut request = [0; REQUEST];
    while stream.read_exact(&mut request).is_ok() && stream.write_all(&request).is_ok() {}
}

/// The end comes with the answer: whether a scheduler gets in between is not what is counted.
fn answer_once(mut stream: TcpStream) {
    let mut request = [0; REQUEST];
    if stream.read_exact(&mut request).is_ok() && SockRef::from(&stream).set_tcp_cork(true).is_ok() {
        let _ = stream.write_all(&request);
    }
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(&[5; REQUEST]).expect("sent");
    stream.read_exact(&mut [0; REQUEST]).expect("answered");
}

/// As Webapp calls: one connection, one request, the answer until its end.
fn call(at: SocketAddr) {
    let mut stream = connect(at);
    stream.write_all(&[5; REQUEST]).expect("sent");
    let mut answer = Vec::with_capacity(2 * REQUEST);
    stream.read_to_end(&mut answer).expect("a whole answer");
    assert_eq!(answer.len(), REQUEST);
}

fn warm(at: SocketAddr, connections: usize) -> Vec<TcpStream> {
    let mut streams: Vec<_> = (0..connections).map(|_| connect(at)).collect();
    (0..10).for_each(|_| streams.iter_mut().for_each(ask));
    streams
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (flags, filters): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|argument| argument.starts_with("--"));
    let limits = Limits::read("syscalls");
    let (write, show) = (flags.contains(&"--write"), flags.contains(&"--show"));
    let chosen = WORKS
        .iter()
        .filter(|work| filters.is_empty() || filters.iter().any(|filter| work.name.contains(filter)));
    let mut counted = Vec::new();
    for work in chosen {
        let mut least = count(work, show);
        for _ in 1..RUNS {
            if !write && least.iter().any(|one| limits.verdict(one).is_failure()) {
                let again = count(work, show);
                least = least
                    .into_iter()
                    .zip(again)
                    .map(|(a, b)| if b.count < a.count { b } else { a })
                    .collect();
            }
        }
        counted.extend(least);
    }
    limits.judge(&counted, write, filters.is_empty())
}

/// A sidecar whose calls are recorded.
struct Traced {
    sidecar: Sidecar,
    trace: Trace,
}

impl Traced {
    fn start(role: &str, flags: &[&str]) -> Self {
        let trace = Trace::new(role);
        let flags = [flags, &["--workers", "1"]].concat();
        let sidecar = Start::new(role, &flags).under(&trace.command()).spawn();
        Self { sidecar, trace }
    }

    fn frames(&self) -> f64 {
        self.sidecar.metric(r#"wa_sidecar_frames_total{direction="sent"}"#)
    }
}

/// The sidecar first: strace ends with it, it would not end with strace.
impl Drop for Traced {
    fn drop(&mut self) {
        if let Some(pid) = self.trace.process() {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
            self.sidecar.wait(SOON);
        }
    }
}

fn count(work: &Work, show: bool) -> Vec<Counted> {
    let upstream = app(work.serve).to_string();
    let core = Traced::start("coreapp", &["--upstream", &upstream]);
    let web = Traced::start("webapp", &["--peer", &core.sidecar.listen.to_string()]);
    web.sidecar.until_ready();
    let at = web.sidecar.listen;
    let mut streams = (work.prepare)(at);
    let sides = [("webapp", &web), ("coreapp", &core)];
    let before = sides.map(|(_, side)| (side.frames(), side.trace.settled()));
    (work.run)(at, &mut streams);
    let operations = work.operations as f64;
    let mut counted = Vec::new();
    for ((role, side), (frames, calls)) in sides.into_iter().zip(before) {
        let calls = side.trace.settled().since(&calls);
        let frames = side.frames() - frames;
        let named = |what: &str, count: f64, tolerance: f64| Counted {
            name: format!("{}, {role}: {what}", work.name),
            count,
            tolerance,
            detail: calls.breakdown(operations, work.unit),
        };
        let unit = work.unit;
        let mean = [calls.total() as f64, frames].map(|n| n / operations);
        let [a_call, a_frame] = match work.one_at_a_time {
            true => calls.usual(),
            false => mean,
        };
        counted.push(named(&format!("calls a {unit}"), a_call, work.tolerance));
        counted.push(named(&format!("frames a {unit}"), a_frame, work.tolerance));
        // More than one where the socket takes a part.
        counted.push(named("writes a frame", calls.frames_written() as f64 / frames, 0.1));
        if show {
            print!("{}, {role}:\n{}", work.name, calls.breakdown(operations, unit));
        }
    }
    counted
}
