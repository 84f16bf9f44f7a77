//! The metrics of a live pair tell the truth: known calls, then every figure that follows from them.

mod harness;

use harness::{Pair, SOON, Start, app, connect, eventually, http_get};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the operator is promised; a name that goes away breaks dashboards.
const PROMISED: &[&str] = &[
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "wa_sidecar_build_info",
    "wa_sidecar_start_time_seconds",
    "wa_sidecar_ready",
    "wa_sidecar_workers",
    "wa_sidecar_links_up",
    "wa_sidecar_links_ended_total",
    "wa_sidecar_frames_refused_total",
    "wa_sidecar_rekeys_total",
    "wa_sidecar_streams_open",
    "wa_sidecar_streams_opened_total",
    "wa_sidecar_streams_ended_total",
    "wa_sidecar_plaintext_bytes_total",
    "wa_sidecar_sealed_bytes_total",
    "wa_sidecar_frames_total",
    "wa_sidecar_handshakes_total",
    "wa_sidecar_handshake_duration_seconds",
    "wa_sidecar_handshake_clock_difference_seconds",
    "wa_sidecar_dial_duration_seconds",
    "wa_sidecar_dials_failed_total",
    "wa_sidecar_link_clock_difference_seconds",
    "wa_sidecar_link_round_trip_seconds",
    "wa_sidecar_credit_stalls_total",
    "wa_sidecar_limits_hit_total",
    "wa_sidecar_limit",
    "wa_sidecar_buffer_budget_bytes",
    "wa_sidecar_buffer_budget_free_bytes",
    "wa_sidecar_log_lines_dropped_total",
];

const CALLS: u64 = 50;
const REQUEST: usize = 100;
const ANSWER: usize = 1_000;

/// Answers each request of [`REQUEST`] bytes with [`ANSWER`] and ends.
fn coreapp() -> SocketAddr {
    app(|mut stream| {
        if stream.read_exact(&mut [0; REQUEST]).is_ok() {
            let _ = stream.write_all(&[7; ANSWER]);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    })
}

fn call(at: SocketAddr) {
    let mut stream = connect(at);
    stream.write_all(&[5; REQUEST]).expect("sent");
    stream.shutdown(Shutdown::Write).expect("ended");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("whole");
    assert_eq!(answer.len(), ANSWER);
}

/// The body of a page.
fn body(admin: SocketAddr, path: &str) -> String {
    let page = http_get(admin, path);
    page.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

fn promtool_is_silent(page: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(page.as_bytes()).expect("read by promtool");
    drop(stdin);
    let output = promtool.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}

#[test]
fn known_calls_make_known_figures() {
    let pair = Pair::start(coreapp());
    for _ in 0..CALLS {
        call(pair.web.listen);
    }
    let calls = CALLS as f64;
    for (sidecar, sent, received) in [(&pair.web, REQUEST, ANSWER), (&pair.core, ANSWER, REQUEST)] {
        sidecar.until_metric(r#"wa_sidecar_streams_ended_total{end="fin"}"#, |n| n == calls);
        // A PING each second: after the first one the round trip is known.
        let rtt = eventually("a round trip", || {
            let page = sidecar.page("/metrics");
            let line = page
                .lines()
                .find(|line| line.starts_with("wa_sidecar_link_round_trip_seconds{"));
            line?.rsplit(' ').next()?.parse::<f64>().ok()
        });
        assert!(rtt > 0.0 && rtt < 5.0, "{rtt}");

        let page = body(sidecar.admin, "/metrics");
        promtool_is_silent(&page);
        for name in PROMISED {
            assert!(
                page.contains(&format!("\n# TYPE {name} ")) || page.starts_with(&format!("# HELP {name} ")),
                "{name}: {page}"
            );
            assert!(
                page.lines()
                    .any(|line| !line.starts_with('#') && line.starts_with(name)),
                "no sample of {name}: {page}"
            );
        }
        let metric = |sample: &str| sidecar.metric(sample);
        assert_eq!(metric("wa_sidecar_ready"), 1.0);
        assert_eq!(metric("wa_sidecar_links_up"), 1.0);
        assert_eq!(metric("wa_sidecar_streams_open"), 0.0);
        assert_eq!(metric("wa_sidecar_streams_opened_total"), calls);
        for end in ["reset", "refused", "link_lost", "stopped"] {
            assert_eq!(
                metric(&format!("wa_sidecar_streams_ended_total{{end=\"{end}\"}}")),
                0.0,
                "{end}"
            );
        }
        for (direction, each) in [("sent", sent), ("received", received)] {
            let of = |name: &str| metric(&format!("wa_sidecar_{name}_total{{direction=\"{direction}\"}}"));
            let plaintext = of("plaintext_bytes");
            assert_eq!(plaintext, calls * each as f64, "{direction}");
            let (frames, sealed) = (of("frames"), of("sealed_bytes"));
            assert!(frames >= 1.0, "{frames}");
            // Header and tag of every frame, and a message around every byte.
            assert!(
                sealed >= plaintext + 36.0 * frames,
                "{sealed} for {plaintext} in {frames}"
            );
        }
        assert_eq!(metric(r#"wa_sidecar_handshakes_total{result="accepted"}"#), 1.0);
        assert_eq!(metric("wa_sidecar_handshake_duration_seconds_count"), 1.0);
        assert_eq!(
            metric(r#"wa_sidecar_handshake_duration_seconds_bucket{le="0.00005"}"#),
            0.0,
            "quicker than light"
        );
        assert_eq!(
            metric(r#"wa_sidecar_handshake_duration_seconds_bucket{le="+Inf"}"#),
            1.0
        );
        let difference = metric("wa_sidecar_handshake_clock_difference_seconds");
        assert!(difference.abs() < 5.0, "one clock, and yet {difference}");
        for line in page
            .lines()
            .filter(|line| line.starts_with("wa_sidecar_frames_refused_total{"))
        {
            assert!(line.ends_with(" 0"), "{line}");
        }
    }
    assert_eq!(pair.core.metric("wa_sidecar_dial_duration_seconds_count"), calls);
    assert!(pair.core.metric("wa_sidecar_dial_duration_seconds_sum") > 0.0);
    assert_eq!(pair.web.metric("wa_sidecar_dial_duration_seconds_count"), 0.0);

    // What one end sent is what the other received; frames go on all the time, so apps' bytes alone.
    let of = |sidecar: &harness::Sidecar, direction: &str| {
        sidecar.metric(&format!(
            "wa_sidecar_plaintext_bytes_total{{direction=\"{direction}\"}}"
        ))
    };
    assert_eq!(of(&pair.web, "sent"), of(&pair.core, "received"));
    assert_eq!(of(&pair.core, "sent"), of(&pair.web, "received"));
}

#[test]
fn a_reader_that_stalls_is_counted() {
    let pair = Pair::start(app(|mut stream| {
        let _ = stream.read_exact(&mut [0; 1]);
        let _ = stream.write_all(&vec![1; 32 << 20]);
    }));
    let mut stream = pair.connect();
    stream.write_all(&[1]).expect("sent");
    pair.core.until_metric("wa_sidecar_credit_stalls_total", |n| n >= 1.0);
    assert_eq!(pair.core.metric("wa_sidecar_streams_open"), 1.0);
    drop(stream);
    pair.core.until_metric("wa_sidecar_streams_open", |n| n == 0.0);
}

#[test]
fn readiness_follows_the_link() {
    let free = TcpListener::bind("127.0.0.1:0").expect("bound");
    let peer = free.local_addr().expect("bound");
    drop(free);
    let web = Start::new("webapp", &["--peer", &peer.to_string()]).spawn();
    let not_ready = eventually("a reason", || {
        let page = web.page("/readyz");
        page.contains("refused").then_some(page)
    });
    assert!(not_ready.starts_with("HTTP/1.1 503 "), "{not_ready}");
    assert!(not_ready.contains(&format!("no link to {peer}")), "{not_ready}");
    assert!(web.page("/livez").starts_with("HTTP/1.1 200 "));
    assert_eq!(web.metric("wa_sidecar_ready"), 0.0);

    let upstream = coreapp().to_string();
    let listen = peer.to_string();
    let mut core = Start::new(
        "coreapp",
        &["--upstream", &upstream, "--listen", &listen, "--name", "node-1"],
    )
    .spawn();
    web.until_ready();
    call(web.listen);

    core.signal("TERM");
    core.wait(SOON);
    let page = eventually("not ready", || {
        let page = web.page("/readyz");
        page.starts_with("HTTP/1.1 503 ").then_some(page)
    });
    assert!(page.contains(&format!("no link to {peer}")), "{page}");
}

#[test]
fn readiness_follows_the_last_dial() {
    let free = TcpListener::bind("127.0.0.1:0").expect("bound");
    let upstream = free.local_addr().expect("bound");
    drop(free);
    let pair = Pair::start(upstream);
    assert!(
        pair.core.page("/readyz").starts_with("HTTP/1.1 200 "),
        "nothing was dialled yet"
    );

    let mut stream = pair.connect();
    // The error is reported once, by whichever call comes first.
    let spoken = stream
        .write_all(b"anybody there?")
        .and_then(|()| stream.read(&mut [0; 1]));
    assert_eq!(spoken.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
    let page = pair.core.page("/readyz");
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert!(
        page.contains(&format!("the last dial to {upstream} failed")) && page.contains("refused"),
        "{page}"
    );
    assert_eq!(pair.core.metric("wa_sidecar_dials_failed_total"), 1.0);
    for sidecar in [&pair.web, &pair.core] {
        sidecar.until_metric(r#"wa_sidecar_streams_ended_total{end="refused"}"#, |n| n == 1.0);
    }
    assert!(pair.web.page("/readyz").starts_with("HTTP/1.1 200 "), "its link is up");

    let listener = TcpListener::bind(upstream).expect("bound");
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a dial");
        stream.write_all(b"here").expect("sent");
    });
    let mut stream = pair.connect();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("whole");
    served.join().expect("served");
    assert_eq!(answer, b"here");
    assert!(pair.core.page("/readyz").starts_with("HTTP/1.1 200 "));
    assert_eq!(pair.core.metric("wa_sidecar_dials_failed_total"), 1.0);
}

#[test]
fn status_lists_the_link_and_who_is_at_its_other_end() {
    let pair = Pair::start_with(
        coreapp(),
        &["--name", "node-1", "--peer-name", "node-2"],
        &["--name", "node-2"],
    );
    call(pair.web.listen);
    for (sidecar, role, peer, peer_name) in [
        (&pair.web, "webapp", pair.core.listen.to_string(), "node-2"),
        (&pair.core, "coreapp", "127.0.0.1".to_owned(), "node-1"),
    ] {
        let status: Value = eventually("a round trip", || {
            let status: Value = serde_json::from_str(&body(sidecar.admin, "/status")).expect("JSON");
            status["links"][0]["round_trip_seconds"].is_number().then_some(status)
        });
        assert_eq!(
            (&status["role"], &status["ready"]),
            (&role.into(), &true.into()),
            "{status}"
        );
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        let links = status["links"].as_array().expect("links");
        assert_eq!(links.len(), 1, "{status}");
        let link = &links[0];
        assert_eq!(
            (&link["peer"], &link["peer_name"]),
            (&peer.into(), &peer_name.into()),
            "{status}"
        );
        assert_eq!(link["role"], role);
        assert_eq!(link["suite"], "chacha20-poly1305");
        assert_eq!((&link["streams"], &link["epoch"]), (&0.into(), &0.into()), "{status}");
        assert!(
            link["peer_version"]
                .as_str()
                .is_some_and(|version| version.contains(env!("CARGO_PKG_VERSION"))),
            "{status}"
        );
        assert!(
            link["clock_difference_seconds"]
                .as_f64()
                .is_some_and(|seconds| seconds.abs() < 5.0),
            "{status}"
        );
        assert!(
            link["age_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0),
            "{status}"
        );
        assert!(!status.to_string().contains(harness::SECRET));
    }
}

/// What the peer cannot use is not kept for it: 1,024 streams would have 4 KiB each.
#[test]
fn a_coreapp_reserves_for_as_many_streams_as_the_peer_takes() {
    let pair = Pair::start_with(coreapp(), &["--max-streams", "16"], &[]);
    call(pair.web.listen);
    let status: Value = serde_json::from_str(&body(pair.core.admin, "/status")).expect("JSON");
    let link = &status["links"][0];
    assert_eq!(
        (&link["max_streams"], &link["first_window_bytes"]),
        (&16.into(), &16_384.into()),
        "{status}"
    );
}

/// As in a rolling restart: what the old one keeps for streams that it will not open would halve the new one for life.
#[test]
fn a_link_that_drains_makes_room_for_the_next() {
    let flags = ["--workers", "1", "--buffer-budget", "16MiB"];
    let pair = Pair::start_with(coreapp(), &flags, &flags);
    let _open = pair.connect();
    pair.core.until_metric("wa_sidecar_streams_open", |n| n == 1.0);
    pair.web.signal("TERM");
    pair.core.event("goaway");
    let peer = pair.core.listen.to_string();
    let next = harness::Start::new("webapp", &[&["--peer", &peer][..], &flags].concat()).spawn();
    next.until_ready();
    let status: Value = serde_json::from_str(&body(next.admin, "/status")).expect("JSON");
    // All but what the open stream may still want.
    assert_eq!(status["links"][0]["max_streams"], 1023, "{status}");
    assert_eq!(pair.core.count("few_streams"), 0);
}
