//! Calls that fail, and links that end, provoked.

use crate::harness::{self, Sidecar, Start, black_hole, connect, echo};
use crate::links::{core, nowhere, web};
use crate::peers::{Hostile, clock_ms};
use crate::{Row, see};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use wa_sidecar::wire::message::Code;

pub const PROVOCATIONS: &[fn() -> Vec<Row>] = &[
    no_link,
    no_app,
    an_app_that_does_not_answer,
    no_way_to_the_app,
    no_such_service,
    too_many_calls,
    too_many_dials,
    stopping,
    killed,
    silent,
    broken_frames,
    broken_rules,
    flood,
];

pub fn is_reset(mut stream: TcpStream) {
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

/// A call that is open: a byte went there and back.
pub fn open_call(web: &Sidecar) -> TcpStream {
    let mut call = connect(web.listen);
    call.write_all(b"x").expect("sent");
    call.read_exact(&mut [0]).expect("answered");
    call
}

fn pair(upstream: SocketAddr, of_web: &[&str], of_core: &[&str]) -> (Sidecar, Sidecar) {
    let core = core(upstream, of_core);
    let web = web(core.listen, of_web).spawn();
    web.until_ready();
    (web, core)
}

fn no_link() -> Vec<Row> {
    let web = web(nowhere(), &["--max-waiting", "1", "--drain-timeout", "1s"]).spawn();
    let first = connect(web.listen);
    web.until_metric("wa_sidecar_limits_hit_total{limit=\"apps_waiting_for_link\"}", |n| {
        n == 0.0
    });
    let second = connect(web.listen);
    let mut seen = vec![see(&web, ("webapp", "app_refused", "too_many_wait"))];
    is_reset(first);
    seen.push(see(&web, ("webapp", "app_refused", "no_link")));
    drop(second);
    let _third = connect(web.listen);
    // Accepted, and waiting, once the next one may not.
    drop(connect(web.listen));
    web.until_metric("wa_sidecar_limits_hit_total{limit=\"apps_waiting_for_link\"}", |n| {
        n == 2.0
    });
    web.signal("TERM");
    seen.push(see(&web, ("webapp", "app_refused", "draining")));
    seen
}

fn no_app() -> Vec<Row> {
    let (web, core) = pair(nowhere(), &[], &[]);
    is_reset(connect(web.listen));
    vec![
        see(&core, ("coreapp", "dial_failed", "dial_refused")),
        see(&web, ("webapp", "stream_refused", "dial_refused")),
    ]
}

fn an_app_that_does_not_answer() -> Vec<Row> {
    let (address, _held) = black_hole();
    let (web, core) = pair(address, &[], &["--dial-timeout", "200ms"]);
    is_reset(connect(web.listen));
    vec![
        see(&core, ("coreapp", "dial_failed", "dial_timeout")),
        see(&web, ("webapp", "stream_refused", "dial_timeout")),
    ]
}

fn no_way_to_the_app() -> Vec<Row> {
    let core = Start::new("coreapp", &["--upstream", "unix:/no/such/socket"]).spawn();
    let web = web(core.listen, &[]).spawn();
    web.until_ready();
    is_reset(connect(web.listen));
    vec![
        see(&core, ("coreapp", "dial_failed", "dial_failed")),
        see(&web, ("webapp", "stream_refused", "dial_failed")),
    ]
}

fn no_such_service() -> Vec<Row> {
    let (web, core) = pair(echo(), &["--services", "health"], &[]);
    is_reset(connect(web.listen));
    vec![
        see(&core, ("coreapp", "stream_refused", "unknown_service")),
        see(&web, ("webapp", "stream_refused", "unknown_service")),
    ]
}

fn too_many_calls() -> Vec<Row> {
    let (web, _core) = pair(echo(), &["--max-streams", "1", "--workers", "1"], &[]);
    let _first = open_call(&web);
    is_reset(connect(web.listen));
    vec![see(&web, ("webapp", "app_refused", "too_many_streams"))]
}

fn too_many_dials() -> Vec<Row> {
    let (address, _held) = black_hole();
    let (web, _core) = pair(address, &[], &["--max-dials", "1"]);
    // One is dialled, one waits.
    let _calls: Vec<_> = (0..3).map(|_| connect(web.listen)).collect();
    vec![see(&web, ("webapp", "stream_refused", "busy"))]
}

fn stopping() -> Vec<Row> {
    let (web, core) = pair(echo(), &[], &["--drain-timeout", "0s"]);
    let _call = open_call(&web);
    core.signal("TERM");
    let mut seen = vec![
        see(&core, ("either", "drain_over", "time_is_up")),
        see(&web, ("webapp", "stream_refused", "draining")),
    ];
    // The far side does not even answer.
    let (web, core) = pair(echo(), &["--drain-timeout", "0s"], &[]);
    let _call = open_call(&web);
    core.signal("STOP");
    web.signal("TERM");
    seen.push(see(&web, ("either", "link_down", "shutdown")));
    seen
}

fn killed() -> Vec<Row> {
    let (web, core) = pair(echo(), &[], &[]);
    core.signal("KILL");
    vec![see(&web, ("either", "link_down", "disconnected"))]
}

fn silent() -> Vec<Row> {
    let (web, core) = pair(echo(), &[], &[]);
    core.signal("STOP");
    vec![see(&web, ("either", "link_down", "dead"))]
}

/// As somebody on the path would make them.
fn broken_frames() -> Vec<Row> {
    let core = core(nowhere(), &[]);
    let mut seen = Vec::new();
    for reason in ["bad_length", "bad_counter", "stale", "bad_tag"] {
        let mut peer = Hostile::dial(core.listen);
        let mut stamp = clock_ms();
        match reason {
            "bad_counter" => peer.skip_counters(5),
            "stale" => stamp -= 11_000,
            _ => {}
        }
        let mut frame = peer.frame(stamp, |w| w.ping(2, 0));
        match reason {
            "bad_length" => frame[..4].fill(0xff),
            "bad_tag" => *frame.last_mut().expect("a tag") ^= 1,
            _ => {}
        }
        peer.write(&frame);
        seen.push(see(&core, ("either", "link_down", reason)));
    }
    seen
}

fn broken_rules() -> Vec<Row> {
    let core = core(nowhere(), &[]);
    let mut peer = Hostile::dial(core.listen);
    let frame = peer.frame(clock_ms(), |w| w.open(2, b""));
    peer.write(&frame);
    vec![see(&core, ("either", "link_down", "protocol"))]
}

fn flood() -> Vec<Row> {
    let core = core(nowhere(), &[]);
    let mut peer = Hostile::dial(core.listen);
    let mut id = 1;
    let mut answers = peer.stream.try_clone().expect("clone");
    std::thread::spawn(move || while answers.read(&mut [0; 65_536]).is_ok_and(|n| n > 0) {});
    harness::eventually("the end of the flood", || {
        for _ in 0..64 {
            let frame = peer.frame(clock_ms(), |w| w.open(id, b"") && w.reset(id, Code::AppReset));
            id += 1;
            if peer.stream.write_all(&frame).is_err() {
                return Some(());
            }
        }
        (core.count("link_down") > 0).then_some(())
    });
    vec![see(&core, ("either", "link_down", "flood"))]
}
