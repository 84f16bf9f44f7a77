//! Limits seen at work: what is refused, the metric that counts it and the line that says it.

use super::apps::{answer, answers, endless, nobody};
use super::*;
use crate::harness::{SOON, Sidecar, Start, app, black_hole, eventually, field};
use socket2::Socket;
use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::process::Command;

/// The limit was hit at least `times` times, and its line says which it is and why.
#[track_caller]
fn hit(sidecar: &Sidecar, limit: &str, times: f64) {
    let sample = format!("wa_sidecar_limits_hit_total{{limit=\"{limit}\"}}");
    sidecar.until_metric(&sample, |n| n >= times);
    let line = eventually(&format!("a line of {limit}"), || {
        sidecar.log().into_iter().find(|line| {
            let is = |name: &str, value: &str| field(line, name).and_then(|v| v.as_str()) == Some(value);
            is("event", "limit_hit") && is("limit", limit)
        })
    });
    assert!(field(&line, "reason").is_some(), "{line}");
}

fn all_reset(streams: &[TcpStream]) {
    for stream in streams {
        assert!(read_answer(stream, b"never").is_reset());
    }
}

#[test]
fn apps_that_wait_for_a_link() {
    let web = Start::new("webapp", &["--peer", &nobody().to_string(), "--max-waiting", "3"]).spawn();
    let mut streams: Vec<_> = (0..10).map(|_| connect(web.listen)).collect();
    hit(&web, "apps_waiting_for_link", 7.0);
    // The first three wait, the others are reset at once; in the end all are.
    streams.reverse();
    all_reset(&streams);
    web.event_with_reason("app_refused", "too_many_wait");
    web.event_with_reason("app_refused", "no_link");
    assert_eq!(
        web.metric("wa_sidecar_limits_hit_total{limit=\"apps_waiting_for_link\"}"),
        7.0
    );
}

#[test]
fn dials_in_flight() {
    let (address, _held) = black_hole();
    let pair = Pair::start_with(address, &[], &["--max-dials", "2", "--dial-timeout", "1s"]);
    let streams: Vec<_> = (0..10).map(|_| pair.connect()).collect();
    all_reset(&streams);
    hit(&pair.core, "dials_in_flight", 8.0);
    assert_eq!(
        pair.core
            .metric("wa_sidecar_limits_hit_total{limit=\"dials_in_flight\"}"),
        8.0
    );
    pair.web.event_with_reason("stream_refused", "busy");
    at_rest(&pair);
    assert_eq!(ended(&pair.web, "refused"), 10.0);
}

/// A burst at an app that is slow to accept: without sidecars its connections would be accepted in the end.
#[test]
fn dials_beyond_the_limit_wait_for_their_turn() {
    let (address, held) = black_hole();
    let pair = Pair::start_with(address, &[], &["--max-dials", "2", "--dial-timeout", "5m"]);
    let mut streams: Vec<_> = (0..4).map(|_| pair.connect()).collect();
    hit(&pair.core, "dials_in_flight", 2.0);
    // One that is gone gives its place to the next, dialled or waiting.
    for (gone, open) in [(3, 3.0), (0, 2.0)] {
        reset(streams.remove(gone));
        pair.core.until_metric("wa_sidecar_streams_open", |n| n == open);
    }
    streams.extend((0..2).map(|_| pair.connect()));
    hit(&pair.core, "dials_in_flight", 4.0);
    accept(held);
    for stream in streams {
        assert!(write_all(&stream, b"1000"));
        stream.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(read_answer(&stream, &body(1000)), Ending::Whole);
    }
    at_rest(&pair);
    assert_eq!(ended(&pair.web, "refused"), 0.0);
}

/// Of a black hole: it comes to accept, and answers.
fn accept(held: Vec<Socket>) {
    let listener: TcpListener = held.into_iter().next().expect("a listener").into();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
}

/// SPEC 9.3: what came with its FIN is whole, and STOP takes back the wish for an answer alone.
#[test]
fn a_request_whose_answer_nobody_waits_for_is_dialled_though_its_link_ends() {
    let (address, held) = black_hole();
    let Pair { web, core } = Pair::start_with(address, &[], &["--dial-timeout", "5m"]);
    let stream = connect(web.listen);
    assert!(write_all(&stream, b"a request"));
    stream.shutdown(Shutdown::Write).expect("half-closed");
    core.until_metric("wa_sidecar_plaintext_bytes_total{direction=\"received\"}", |n| n >= 9.0);
    reset(stream);
    web.until_metric("wa_sidecar_streams_ended_total{end=\"stopped\"}", |n| n == 1.0);
    drop(web);
    core.event("link_down");
    let listener: TcpListener = held.into_iter().next().expect("a listener").into();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = String::new();
            let _ = stream.read_to_string(&mut request);
            let _ = tell.send(request);
        }
    });
    // Those that filled the backlog said nothing.
    let seen = std::iter::from_fn(|| told.recv_timeout(SOON).ok()).any(|request| request == "a request");
    assert!(seen);
}

/// Whole as they are, their answers would have nowhere to go.
#[test]
fn requests_that_wait_for_a_dial_go_with_their_link() {
    let (address, held) = black_hole();
    let flags = ["--max-dials", "1", "--dial-timeout", "5m"];
    let Pair { web, core } = Pair::start_with(address, &[], &flags);
    for _ in 0..2 {
        let stream = connect(web.listen);
        assert!(write_all(&stream, b"1000"));
        stream.shutdown(Shutdown::Write).expect("half-closed");
    }
    hit(&core, "dials_in_flight", 1.0);
    drop(web);
    core.event("link_down");
    let web = Start::new("webapp", &["--peer", &core.listen.to_string()]).spawn();
    web.until_ready();
    let stream = connect(web.listen);
    core.until_metric("wa_sidecar_streams_open", |n| n == 1.0);
    accept(held);
    assert!(write_all(&stream, b"1000"));
    stream.shutdown(Shutdown::Write).expect("half-closed");
    assert_eq!(read_answer(&stream, &body(1000)), Ending::Whole);
    let hits = core.metric("wa_sidecar_limits_hit_total{limit=\"dials_in_flight\"}");
    assert_eq!(hits, 1.0, "nobody was before it");
}

#[test]
fn streams_on_a_link() {
    for flags in [[&["--max-streams", "4"][..], &[][..]], [&[], &["--max-streams", "4"]]] {
        let pair = Pair::start_with(endless(), &[&["--workers", "1"], flags[0]].concat(), flags[1]);
        let streams: Vec<_> = (0..4).map(|_| pair.connect()).collect();
        for stream in &streams {
            read_part(stream, &body(1_000), 1_000);
        }
        let more: Vec<_> = (0..6).map(|_| pair.connect()).collect();
        all_reset(&more);
        hit(&pair.web, "streams_per_link", 6.0);
        pair.web.event("app_refused");
        // Those that are served are served on, and one that ends makes room.
        streams.into_iter().for_each(reset);
        pair.web.until_metric("wa_sidecar_streams_open", |n| n == 0.0);
        read_part(&pair.connect(), &body(1_000), 1_000);
    }
}

/// Whichever worker accepts a connection: there is room as long as one link has some.
#[test]
fn a_link_that_is_full_leaves_connections_to_the_others() {
    let pair = Pair::start_with(endless(), &["--workers", "3", "--max-streams", "4"], &[]);
    pair.web.until_metric("wa_sidecar_links_up", |n| n == 3.0);
    let streams: Vec<_> = (0..12).map(|_| pair.connect()).collect();
    for stream in &streams {
        read_part(stream, &body(1_000), 1_000);
    }
    all_reset(&[pair.connect()]);
    hit(&pair.web, "streams_per_link", 1.0);
    assert_eq!(
        pair.web
            .metric("wa_sidecar_limits_hit_total{limit=\"streams_per_link\"}"),
        1.0
    );
}

/// Also that of a worker which nobody has come to since.
#[test]
fn room_that_comes_back_is_seen_by_all_workers() {
    let pair = Pair::start_with(endless(), &["--workers", "2", "--max-streams", "4"], &[]);
    pair.web.until_metric("wa_sidecar_links_up", |n| n == 2.0);
    for _ in 0..5 {
        let streams: Vec<_> = (0..8).map(|_| pair.connect()).collect();
        for stream in &streams {
            read_part(stream, &body(1_000), 1_000);
        }
        streams.into_iter().for_each(reset);
        pair.web.until_metric("wa_sidecar_streams_open", |n| n == 0.0);
        eventually("no stream on a link's own count", || {
            let page = pair.web.page("/status");
            let status: serde_json::Value = serde_json::from_str(page.split("\r\n\r\n").nth(1)?).ok()?;
            let links = status["links"].as_array()?;
            links.iter().all(|link| link["streams"] == 0).then_some(())
        });
    }
    assert_eq!(pair.web.count("app_refused"), 0);
}

#[test]
fn a_worker_without_a_link_leaves_connections_to_the_others() {
    let core = Start::new("coreapp", &["--upstream", &answers().to_string(), "--max-links", "1"]).spawn();
    let web = Start::new("webapp", &["--peer", &core.listen.to_string(), "--workers", "4"]).spawn();
    web.until_ready();
    let pair = Pair { web, core };
    for _ in 0..12 {
        whole_call(&pair, 1_000);
    }
    assert_eq!(pair.web.count("app_refused"), 0);
}

#[test]
fn links() {
    let pair = Pair::start_with(answers(), &[], &["--max-links", "1"]);
    let second = Start::new("webapp", &["--peer", &pair.core.listen.to_string()]).spawn();
    second.event_with_reason("link_failed", "busy");
    pair.core.event_with_reason("handshake_refused", "busy");
    hit(&pair.core, "links", 1.0);
    second.until_metric("wa_sidecar_handshakes_total{result=\"busy\"}", |n| n >= 1.0);
    assert!(read_answer(&connect(second.listen), b"never").is_reset());
    whole_call(&pair, 1_000);
    // The place is free when the first is gone.
    drop(pair.web);
    second.until_ready();
}

#[test]
fn connections_that_do_not_authenticate() {
    let core = Start::new("coreapp", &["--upstream", &answers().to_string()]).spawn();
    // More than are held: the oldest are closed before their second is over, so count which end first.
    let strangers: Vec<_> = (0..300).map(|_| connect(core.listen)).collect();
    hit(&core, "unauthenticated_connections", 1.0);
    // One that has the secret is let in all the same.
    let web = Start::new("webapp", &["--peer", &core.listen.to_string()]).spawn();
    web.until_ready();
    for mut stranger in &strangers {
        assert_eq!(stranger.read(&mut [0; 8]).expect("closed, without a byte"), 0);
    }
    drop(strangers);
    let pair = Pair { web, core };
    whole_call(&pair, 1_000);
    // The rest had its second.
    pair.core
        .until_metric("wa_sidecar_handshakes_total{result=\"timeout\"}", |n| n >= 1.0);
    let closed = pair
        .core
        .metric("wa_sidecar_limits_hit_total{limit=\"unauthenticated_connections\"}");
    let timeout = pair.core.metric("wa_sidecar_handshakes_total{result=\"timeout\"}");
    assert_eq!(closed + timeout, 300.0);
    pair.core.event_with_reason("handshake_failed", "timeout");
    assert!(pair.core.count("handshake_failed") < 5);
    hit(&pair.core, "failures_per_source", 1.0);
}

#[test]
fn a_handshake_that_is_never_confirmed() {
    // A whole message 1 that somebody recorded, sent again: it is authentic, and so is the answer to it; there is no frame 0. On the first
    // sidecar it is a replay; on one that started since, nothing happens either.
    let first = Start::new("coreapp", &["--upstream", &answers().to_string()]).spawn();
    let relay = relay::Relay::to(first.listen);
    relay.record();
    let web = Start::new("webapp", &["--peer", &relay.address.to_string()]).spawn();
    web.until_ready();
    let message_1 = relay.recorded()[0][0][..512].to_vec();
    let second = Start::new("coreapp", &["--upstream", &answers().to_string()]).spawn();
    let mut at_first = connect(first.listen);
    let mut at_second = connect(second.listen);
    assert!(write_all(&at_first, &message_1));
    assert!(write_all(&at_second, &message_1));
    assert_eq!(at_first.read(&mut [0; 8]).expect("closed"), 0);
    first.event_with_reason("handshake_failed", "replay");
    let mut answer = Vec::new();
    let _ = at_second.read_to_end(&mut answer);
    assert_eq!(answer.len(), 512, "message 2, and nothing after it");
    second.event_with_reason("handshake_failed", "unconfirmed");
    assert_eq!(second.metric("wa_sidecar_links_up"), 0.0);
}

/// Seconds of CPU that a process has used.
fn cpu(sidecar: &Sidecar) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", sidecar.pid())).expect("stat");
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
    ticks / 100.0
}

#[test]
fn open_files() {
    let upstream: SocketAddr = app(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let core = Start::new("coreapp", &["--upstream", &upstream.to_string()]).spawn();
    let web = Start::new("webapp", &["--peer", &core.listen.to_string()]).spawn();
    web.until_ready();
    // What is in use now, and ten more; the admin page takes one of them for a moment.
    let used = std::fs::read_dir(format!("/proc/{}/fd", web.pid()))
        .expect("fds")
        .count();
    let limit = format!("--nofile={0}:{0}", used + 10);
    let set = Command::new("prlimit")
        .args(["--pid", &web.pid().to_string(), &limit])
        .status()
        .expect("prlimit");
    assert!(set.success());
    let mut streams: Vec<_> = (0..40).map(|_| connect(web.listen)).collect();
    eventually("the limit is said", || (web.count("limit_hit") > 0).then_some(()));
    let before = cpu(&web);
    thread::sleep(Duration::from_secs(2));
    let spent = cpu(&web) - before;
    assert!(spent < 0.5, "{spent} s of CPU in 2 s");
    // Those that were accepted work, and when they end the others are accepted.
    streams.drain(..20).for_each(|stream| {
        let _ = stream.shutdown(Shutdown::Both);
    });
    thread::sleep(Duration::from_millis(200));
    streams.drain(..).for_each(reset);
    hit(&web, "open_files", 1.0);
    let pair = Pair { web, core };
    pair.web.until_metric("wa_sidecar_streams_open", |n| n == 0.0);
    let stream = pair.connect();
    assert!(write_all(&stream, b"?"));
    stream.shutdown(Shutdown::Write).expect("half-closed");
    assert_eq!(read_answer(&stream, b""), Ending::Whole);
}
