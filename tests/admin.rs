//! The admin endpoint as its callers see it: over a socket, by the byte, and through `promtool`.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime},
};

use wa_sidecar::net::listen::Listener;
use wa_sidecar::{
    admin::{self, About, Pages},
    counters::{HandshakeResult, Limit, LinkEnd, LinkStatus, Registry, StreamEnd},
};

/// A server on a thread of its own, for as long as the test process runs.
fn start(registry: &Arc<Registry>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.set_nonblocking(true).expect("non-blocking");
    let address = listener.local_addr().expect("bound");
    let about = About {
        role: "webapp",
        deployment: "default".into(),
        name: Some("node-1".into()),
        aead_backend: "aws-lc",
        limits: vec![(Limit::Links, 64), (Limit::Streams, 1024)],
        budget: wa_sidecar::link::budget::Budget::new(16 << 20),
    };
    let pages = Arc::new(Pages::new(registry.clone(), about).expect("pages"));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime
            .block_on(admin::serve(Listener::Tcp(listener), pages))
            .expect("served");
    });
    address
}

fn link(peer: &str, clock_ms: i64, rtt_us: u64) -> LinkStatus {
    let mut link = LinkStatus::new(
        peer.into(),
        "webapp",
        "chacha20poly1305",
        SystemTime::UNIX_EPOCH,
        Instant::now(),
    );
    link.peer_name = "node \"2\"\n".into();
    link.peer_version = "0.1.0".into();
    (link.max_streams, link.first_window) = (512, 8192);
    link.clock_difference_ms.store(clock_ms, Relaxed);
    link.rtt_us.store(rtt_us, Relaxed);
    link
}

/// Sends a request as it is and reads until the end.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer with an end");
    String::from_utf8(answer).expect("text")
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let answer = raw(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

fn metrics(address: SocketAddr) -> String {
    let (head, body) = get(address, "/metrics");
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"),
        "{head}"
    );
    body
}

#[track_caller]
fn has(page: &str, line: &str) {
    assert!(page.lines().any(|l| l == line), "no line {line:?} in:\n{page}");
}

/// `promtool check metrics`, which must have nothing to say.
fn promtool(page: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus");
    promtool
        .stdin
        .take()
        .expect("piped")
        .write_all(page.as_bytes())
        .expect("read by promtool");
    let output = promtool.wait_with_output().expect("ended");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}\n{page}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn promtool_has_nothing_to_say_before_anything_happened_nor_after() {
    let registry = Registry::new(2);
    let address = start(&registry);
    promtool(&metrics(address));

    let _links = [
        link("192.0.2.1", -1500, 300),
        link("192.0.2.1", 1000, 0),
        link("core.example:7250", 0, 0),
    ]
    .map(|link| registry.register(link));
    registry.handshake_clock(-10_500);
    registry.readiness.ready();
    for counters in registry.all() {
        counters.handshake(HandshakeResult::ClockSkew);
        counters.handshake_durations.observe_us(90);
        counters.dial_durations.observe_us(60_000_000);
    }
    promtool(&metrics(address));
}

#[test]
fn counters_of_all_threads_are_summed() {
    let registry = Registry::new(2);
    let address = start(&registry);
    for (counters, n) in registry.all().zip(1..) {
        counters.plaintext_sent.add(100 * n);
        counters.sealed_received.add(n);
        counters.frames_sent.add(n);
        counters.streams_open.add(n as i64);
        counters.stream_ended(StreamEnd::LinkLost);
        counters.link_ended(LinkEnd::Stale);
        counters.limit_hit(Limit::Streams);
        counters.credit_stalls.inc();
        counters.handshake_durations.observe_us(51);
    }
    registry.workers[0].streams_open.add(-6);
    let page = metrics(address);
    for line in [
        r#"wa_sidecar_plaintext_bytes_total{direction="sent"} 600"#,
        r#"wa_sidecar_plaintext_bytes_total{direction="received"} 0"#,
        r#"wa_sidecar_sealed_bytes_total{direction="received"} 6"#,
        r#"wa_sidecar_frames_total{direction="sent"} 6"#,
        "wa_sidecar_streams_open 0",
        r#"wa_sidecar_streams_ended_total{end="link_lost"} 3"#,
        r#"wa_sidecar_links_ended_total{reason="stale"} 3"#,
        r#"wa_sidecar_frames_refused_total{reason="stale"} 3"#,
        r#"wa_sidecar_limits_hit_total{limit="streams_per_link"} 3"#,
        r#"wa_sidecar_limit{limit="streams_per_link"} 1024"#,
        "wa_sidecar_buffer_budget_bytes 16777216",
        "wa_sidecar_credit_stalls_total 3",
        r#"wa_sidecar_handshake_duration_seconds_bucket{le="0.00005"} 0"#,
        r#"wa_sidecar_handshake_duration_seconds_bucket{le="0.0001"} 3"#,
        r#"wa_sidecar_handshake_duration_seconds_bucket{le="+Inf"} 3"#,
        "wa_sidecar_handshake_duration_seconds_sum 0.000153",
        "wa_sidecar_ready 0",
    ] {
        has(&page, line);
    }
    assert!(page.contains("process_open_fds ") && page.contains("process_start_time_seconds "));
    assert!(
        !page.contains("frames_refused_total{reason=\"closed\"}"),
        "a link that closed refused no frame"
    );
    assert!(!page.contains("handshake_clock_difference"), "nothing was measured");
}

/// An alert on a rate misses a first event whose series was not there before it.
#[test]
fn every_label_is_there_from_the_start() {
    let page = metrics(start(&Registry::new(1)));
    let family = |name: &str, label: &str, values: Vec<&str>| {
        values
            .iter()
            .for_each(|value| has(&page, &format!("wa_sidecar_{name}{{{label}=\"{value}\"}} 0")));
    };
    family(
        "streams_ended_total",
        "end",
        StreamEnd::ALL.iter().map(|v| v.label()).collect(),
    );
    family(
        "links_ended_total",
        "reason",
        LinkEnd::ALL.iter().map(|v| v.label()).collect(),
    );
    family(
        "handshakes_total",
        "result",
        HandshakeResult::ALL.iter().map(|v| v.label()).collect(),
    );
    family(
        "limits_hit_total",
        "limit",
        Limit::ALL.iter().map(|v| v.label()).collect(),
    );
    for reason in ["bad_length", "bad_counter", "stale", "bad_tag", "protocol"] {
        has(
            &page,
            &format!("wa_sidecar_frames_refused_total{{reason=\"{reason}\"}} 0"),
        );
    }
}

#[test]
fn several_links_to_one_peer_are_one_series_that_of_the_worst() {
    let registry = Registry::new(1);
    let address = start(&registry);
    let links = [link("a", 4_000, 100), link("a", -6_000, 200), link("a", 0, 0)].map(|l| registry.register(l));
    registry.handshake_clock(10_500);
    let page = metrics(address);
    let labels = r#"{peer="a",peer_name="node \"2\"\n"}"#;
    has(&page, &format!("wa_sidecar_link_clock_difference_seconds{labels} -6"));
    has(&page, &format!("wa_sidecar_link_round_trip_seconds{labels} 0.0002"));
    has(&page, "wa_sidecar_handshake_clock_difference_seconds 10.5");
    drop(links);
    assert!(!metrics(address).contains("link_clock_difference"), "no link is up");
}

#[test]
fn readiness_follows_its_latch_and_says_why_not() {
    let registry = Registry::new(1);
    let address = start(&registry);
    let readyz = || get(address, "/readyz");
    assert!(readyz().0.starts_with("HTTP/1.1 503 "));
    assert_eq!(readyz().1, "not ready: starting\n");
    registry.readiness.ready();
    assert_eq!(
        (readyz().0.starts_with("HTTP/1.1 200 "), readyz().1.as_str()),
        (true, "ok\n")
    );
    registry
        .readiness
        .not_ready("the last dial of 127.0.0.1:6250 failed: connection refused");
    assert_eq!(
        readyz().1,
        "not ready: the last dial of 127.0.0.1:6250 failed: connection refused\n"
    );
    registry.readiness.drain();
    assert_eq!(readyz().1, "not ready: draining\n");
    assert!(
        get(address, "/livez").0.starts_with("HTTP/1.1 200 "),
        "it drains, so it lives"
    );
}

#[test]
fn status_is_json() {
    let registry = Registry::new(2);
    let address = start(&registry);
    let _link = registry.register(link("core.example:7250", -1500, 250));
    let (head, body) = get(address, "/status?pretty");
    assert!(head.contains("application/json"), "{head}");
    let status: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    for (pointer, value) in [
        ("/role", serde_json::json!("webapp")),
        ("/name", "node-1".into()),
        ("/ready", false.into()),
        ("/reason", "starting".into()),
        ("/workers", 2.into()),
        ("/limits/1/limit", "streams_per_link".into()),
        ("/limits/1/value", 1024.into()),
        ("/links/0/peer", "core.example:7250".into()),
        ("/links/0/suite", "chacha20poly1305".into()),
        ("/links/0/clock_difference_seconds", (-1.5).into()),
        ("/links/0/round_trip_seconds", 0.00025.into()),
        ("/links/0/epoch", 0.into()),
        ("/links/0/max_streams", 512.into()),
        ("/links/0/first_window_bytes", 8192.into()),
    ] {
        assert_eq!(status.pointer(pointer), Some(&value), "{pointer} in {body}");
    }
}

#[test]
fn only_get_and_head_and_only_these_pages() {
    let address = start(&Registry::new(1));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = raw(
            address,
            &format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
        );
        assert!(
            answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"),
            "{answer}"
        );
    }
    for path in ["/metrics/", "/admin", "//", "/../etc/passwd"] {
        assert!(get(address, path).0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    let index = get(address, "/").1;
    for path in ["/metrics", "/livez", "/readyz", "/status"] {
        assert!(index.contains(path));
        let head = raw(address, &format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(
            head.ends_with("\r\n\r\n") && head.contains("content-length: "),
            "{head}"
        );
    }
}

#[test]
fn one_request_a_connection_and_no_large_head() {
    let address = start(&Registry::new(1));
    let two = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    assert_eq!(raw(address, &two).matches("HTTP/1.1 200").count(), 1);

    let mut stream = TcpStream::connect(address).expect("connected");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let _ = stream.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).as_bytes());
    let mut answer = Vec::new();
    // It may be cut off by a reset: what it must not be is served.
    let _ = stream.read_to_end(&mut answer);
    assert!(
        !answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// All places taken by callers that never finish: the oldest makes room for the next caller, and in time all are put out.
#[test]
fn callers_that_never_finish_keep_nobody_out() {
    let address = start(&Registry::new(1));
    let mut slow: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connected");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").expect("sent");
            stream
        })
        .collect();
    assert!(get(address, "/livez").0.starts_with("HTTP/1.1 200 "));
    let is_open = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).expect("non-blocking");
        let end = stream.read(&mut [0; 1024]);
        end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    // The second has its head timeout still to run, unless this test stood still for as long.
    assert_eq!((is_open(&slow[0]), is_open(&slow[1])), (false, true));
    let last = slow.last_mut().expect("64 of them");
    last.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let end = last.read_to_end(&mut Vec::new());
    assert!(
        !end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "still open"
    );
}
