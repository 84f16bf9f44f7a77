//! Limits, hit.

use crate::Proof;
use crate::harness::{Sidecar, app, black_hole, connect, echo, eventually, field};
use crate::lines::open_call;
use crate::links::{core, nowhere, web};
use crate::peers::{Dialler, send};
use crate::processes::no_more_files;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use wa_sidecar::wire::payload::PAYLOAD_LEN;

pub const PROVOCATIONS: [fn() -> Vec<&'static str>; 9] = [
    strangers,
    unconfirmed,
    links,
    streams,
    buffer,
    growth,
    calls,
    handshakes,
    files,
];

/// The line of the limit, with what to do.
#[track_caller]
fn hit(sidecar: &Sidecar, limit: &'static str) -> &'static str {
    let line = eventually(limit, || {
        sidecar.log().into_iter().find(|line| {
            let is = |name: &str, value: &str| field(line, name).and_then(|v| v.as_str()) == Some(value);
            is("event", "limit_hit") && is("limit", limit)
        })
    });
    assert!(line.to_string().len() > 100, "{line}");
    limit
}

fn strangers() -> Vec<&'static str> {
    let core = core(nowhere(), &[]);
    let _held: Vec<_> = (0..300).map(|_| connect(core.listen)).collect();
    vec![
        hit(&core, "unauthenticated_connections"),
        hit(&core, "failures_per_source"),
    ]
}

fn unconfirmed() -> Vec<&'static str> {
    let core = core(
        nowhere(),
        &["--max-links=200", "--max-streams=16", "--buffer-budget=64MiB"],
    );
    let dialler = Dialler::new();
    let messages: Vec<_> = (0..80).map(|_| dialler.message_1(|_| ())).collect();
    let _held: Vec<_> = messages.iter().map(|message| send(core.listen, message)).collect();
    vec![hit(&core, "unconfirmed_links")]
}

fn links() -> Vec<&'static str> {
    let core = core(nowhere(), &["--max-links", "1"]);
    let _web = web(core.listen, &["--workers", "2"]).spawn();
    vec![hit(&core, "links")]
}

fn streams() -> Vec<&'static str> {
    let core = core(echo(), &["--max-streams", "1"]);
    let web = web(core.listen, &[]).spawn();
    let _first = open_call(&web);
    let _second = connect(web.listen);
    vec![hit(&web, "streams_per_link")]
}

fn buffer() -> Vec<&'static str> {
    let core = core(nowhere(), &["--buffer-budget", "1MiB"]);
    let _web = web(core.listen, &["--workers", "16"]).spawn();
    vec![hit(&core, "buffer_budget")]
}

/// Bulk for many readers at once.
fn growth() -> Vec<&'static str> {
    let source = app(|mut stream| while stream.write_all(&[7; 65_536]).is_ok() {});
    let core = core(source, &[]);
    let web = web(core.listen, &["--buffer-budget", "1MiB"]).spawn();
    let readers: Vec<TcpStream> = (0..16).map(|_| connect(web.listen)).collect();
    std::thread::scope(|scope| {
        for reader in &readers {
            scope.spawn(move || while (&*reader).read(&mut [0; 65_536]).is_ok_and(|n| n > 0) {});
        }
        let seen = hit(&web, "window_growth");
        for reader in &readers {
            let _ = reader.shutdown(Shutdown::Both);
        }
        vec![seen]
    })
}

fn calls() -> Vec<&'static str> {
    let (address, _held) = black_hole();
    let core = core(address, &["--max-dials", "1"]);
    let web = web(core.listen, &[]).spawn();
    web.until_ready();
    let _dialled: Vec<_> = (0..2).map(|_| connect(web.listen)).collect();
    let lonely = crate::links::web(nowhere(), &["--max-waiting", "1"]).spawn();
    let _waiting: Vec<_> = (0..2).map(|_| connect(lonely.listen)).collect();
    vec![hit(&core, "dials_in_flight"), hit(&lonely, "apps_waiting_for_link")]
}

/// More than 4096 handshakes in 21 s are more than a busy host makes for this: that one the handshake's own test fills.
fn handshakes() -> Vec<&'static str> {
    Proof::Test(
        "src/link/handshake/tests/accept.rs",
        "the_steps_are_taken_in_their_order",
    )
    .holds();
    let core = core(nowhere(), &[]);
    let dialler = Dialler::new();
    let silent = || {
        let late = dialler.sealed(&[0xff; PAYLOAD_LEN]);
        matches!(send(core.listen, &late).read(&mut [0; 512]), Ok(0))
    };
    eventually("silence", || silent().then_some(()));
    vec!["replay_cache", hit(&core, "clock_skew_answers")]
}

fn files() -> Vec<&'static str> {
    let web = web(nowhere(), &[]).spawn();
    no_more_files(&web);
    // More than one: a dial that was under way has given its own back.
    let _calls: Vec<_> = (0..8).map(|_| connect(web.listen)).collect();
    vec![hit(&web, "open_files")]
}
