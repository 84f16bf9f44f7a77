//! Why there is no link, provoked.

use crate::harness::{self, Sidecar, Start, app, connect, echo};
use crate::peers::{Dialler, answering, refusing, send, send_from};
use crate::{Row, see};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU8;
use std::sync::{Arc, OnceLock};
use wa_sidecar::wire::payload::{PAYLOAD_LEN, Refusal};

pub const PROVOCATIONS: &[fn() -> Vec<Row>] = &[
    no_peer,
    no_way,
    other_secret,
    no_sidecar_there,
    other_clock,
    other_name,
    itself,
    one_link_too_many,
    no_buffer,
    stopping,
    refusals,
    other_version,
    replayed,
];

pub fn web(peer: SocketAddr, more: &[&str]) -> Start {
    Start::new("webapp", &[&["--peer", &peer.to_string()], more].concat())
}

pub fn core(upstream: SocketAddr, more: &[&str]) -> Sidecar {
    Start::new("coreapp", &[&["--upstream", &upstream.to_string()], more].concat()).spawn()
}

/// Where nobody listens.
pub fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("bound")
}

fn no_peer() -> Vec<Row> {
    vec![see(
        &web(nowhere(), &[]).spawn(),
        ("webapp", "link_failed", "dial_refused"),
    )]
}

fn no_way() -> Vec<Row> {
    let web = Start::new("webapp", &["--peer", "unix:/no/such/socket"]).spawn();
    vec![see(&web, ("webapp", "link_failed", "dial_failed"))]
}

fn other_secret() -> Vec<Row> {
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

fn no_sidecar_there() -> Vec<Row> {
    // As an app or another webapp's sidecar: one hangs up in mid-answer, the other waits for more.
    let polite = app(|mut stream| {
        let _ = stream.read_exact(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    });
    let silent = app(|mut stream| {
        let mut bytes = [0; 512];
        while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
    });
    let (hung_up, waited) = (web(polite, &[]).spawn(), web(silent, &[]).spawn());
    let core = core(nowhere(), &[]);
    let _browser = send(core.listen, b"GET / HTTP/1.1\r\n\r\n");
    vec![
        see(&hung_up, ("webapp", "link_failed", "disconnected")),
        see(&waited, ("webapp", "link_failed", "timeout")),
        see(&core, ("coreapp", "handshake_failed", "timeout")),
    ]
}

/// Its wall clock is off by that.
pub fn with_clock(start: Start, offset: &str) -> Start {
    let library = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    start
        .env("LD_PRELOAD", &library.expect("Debian's package faketime"))
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

fn other_clock() -> Vec<Row> {
    let core = core(nowhere(), &[]);
    let far = with_clock(web(core.listen, &[]), "+20s").spawn();
    let near = with_clock(web(core.listen, &[]), "+7s").spawn();
    vec![
        see(&far, ("webapp", "link_failed", "clock_skew")),
        see(&core, ("coreapp", "handshake_refused", "clock_skew")),
        see(&near, ("either", "clock_difference", "clock_skew")),
    ]
}

fn other_name() -> Vec<Row> {
    let core = core(nowhere(), &["--name", "node-1"]);
    let web = web(core.listen, &["--peer-name", "node-2"]).spawn();
    vec![
        see(&web, ("webapp", "link_failed", "peer_name")),
        see(&core, ("coreapp", "handshake_refused", "peer_name")),
    ]
}

/// Leads to an address that is not known yet.
fn relay() -> (SocketAddr, Arc<OnceLock<SocketAddr>>) {
    let target = Arc::new(OnceLock::new());
    let known = Arc::clone(&target);
    let address = app(move |near| {
        let Some(far) = known.get().and_then(|target| TcpStream::connect(target).ok()) else {
            return;
        };
        let (mut up, mut down) = (near.try_clone().expect("clone"), far.try_clone().expect("clone"));
        std::thread::scope(|scope| {
            scope.spawn(|| std::io::copy(&mut up, &mut &far));
            let _ = std::io::copy(&mut down, &mut &near);
        });
    });
    (address, target)
}

fn itself() -> Vec<Row> {
    let (address, target) = relay();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("itself-{}.toml", std::process::id()));
    let text = format!(
        "admin = \"127.0.0.1:0\"\n[[coreapp]]\nlisten = \"127.0.0.1:0\"\nupstream = \"127.0.0.1:1\"\n\
         [[webapp]]\nlisten = \"127.0.0.1:0\"\npeer = \"{address}\"\n"
    );
    std::fs::write(&path, text).expect("written");
    let both = Start::bare(&["run", "--config", path.to_str().expect("text")]).spawn();
    // Links first, then apps.
    target.set(both.doors(2)[0]).expect("once");
    vec![
        see(&both, ("webapp", "link_failed", "self_dial")),
        see(&both, ("coreapp", "handshake_refused", "self_dial")),
    ]
}

fn one_link_too_many() -> Vec<Row> {
    let core = core(nowhere(), &["--max-links", "1"]);
    let first = web(core.listen, &["--workers", "1"]).spawn();
    first.until_ready();
    let second = web(core.listen, &[]).spawn();
    vec![
        see(&second, ("webapp", "link_failed", "busy")),
        see(&core, ("coreapp", "handshake_refused", "busy")),
    ]
}

fn no_buffer() -> Vec<Row> {
    let small = core(nowhere(), &["--buffer-budget", "1MiB"]);
    let _first = web(small.listen, &[]).spawn();
    let core = core(nowhere(), &[]);
    let web = web(core.listen, &["--workers", "16", "--buffer-budget", "1MiB"]).spawn();
    vec![
        see(&web, ("webapp", "link_failed", "buffer_budget")),
        see(&web, ("either", "few_streams", "buffer_budget")),
        see(&small, ("either", "few_streams", "buffer_budget")),
    ]
}

fn stopping() -> Vec<Row> {
    let core = core(echo(), &[]);
    let first = web(core.listen, &[]).spawn();
    first.until_ready();
    // A call that stays open keeps the coreapp's side from ending.
    let mut call = connect(first.listen);
    call.write_all(b"x").expect("sent");
    call.read_exact(&mut [0]).expect("answered");
    core.signal("TERM");
    core.event("draining");
    let second = web(core.listen, &[]).spawn();
    vec![
        see(&second, ("webapp", "link_failed", "draining")),
        see(&core, ("coreapp", "handshake_refused", "draining")),
    ]
}

/// What only another version says.
fn refusals() -> Vec<Row> {
    let unknown = Refusal::Unknown(NonZeroU8::new(99).expect("not 0"));
    let mut seen = Vec::new();
    for (refusal, reason) in [
        (Refusal::NoCommonSuite, "no_common_suite"),
        (Refusal::Malformed, "malformed"),
        (unknown, "unknown"),
    ] {
        let web = web(refusing(refusal, 0), &[]).spawn();
        seen.push(see(&web, ("webapp", "link_failed", reason)));
    }
    let garbage = web(answering(|| [0xff; PAYLOAD_LEN]), &[]).spawn();
    seen.push(see(&garbage, ("webapp", "link_failed", "malformed")));
    seen
}

fn other_version() -> Vec<Row> {
    let core = core(nowhere(), &[]);
    let dialler = Dialler::new();
    let answered = |bytes: &[u8]| {
        let mut answer = Vec::new();
        let _ = send(core.listen, bytes).read_to_end(&mut answer);
        answer.len()
    };
    answered(&dialler.message_1(|message| message.suites = [99].into()));
    let mut seen = vec![see(&core, ("coreapp", "handshake_refused", "no_common_suite"))];
    // Five a second are answered; a source that was told so is not logged again at once, another one is.
    for reason in ["malformed", "clock_skew"] {
        let next = || match reason {
            "malformed" => dialler.sealed(&[0xff; PAYLOAD_LEN]),
            _ => dialler.message_1(|message| message.clock_ms += 3_600_000),
        };
        harness::eventually("silence for somebody else", || {
            let messages: Vec<_> = (0..6).map(|_| next()).collect();
            let (theirs, ours) = messages.split_last().expect("six");
            for message in ours {
                answered(message);
            }
            let mut other = send_from([127, 0, 0, 2], core.listen, theirs);
            matches!(other.read(&mut [0; 512]), Ok(0)).then_some(())
        });
        seen.push(see(&core, ("coreapp", "handshake_failed", reason)));
    }
    seen.push(see(&core, ("coreapp", "handshake_refused", "malformed")));
    seen
}

fn replayed() -> Vec<Row> {
    let core = core(nowhere(), &[]);
    let message_1 = Dialler::new().message_1(|_| ());
    let mut first = send(core.listen, &message_1);
    first.read_exact(&mut [0; 512]).expect("answered");
    let _again = send(core.listen, &message_1);
    let seen = see(&core, ("coreapp", "handshake_failed", "replay"));
    drop(first);
    vec![seen, see(&core, ("coreapp", "handshake_failed", "unconfirmed"))]
}
