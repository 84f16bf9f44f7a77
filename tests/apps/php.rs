//! PHP as the Webapp: `fsockopen`, `fwrite`, `fread` until `feof`, one connection per call.

use crate::coreapp::Coreapp;
use crate::harness::{Pair, Sidecar};
use crate::tools::{Running, program};
use serde::Deserialize;
use std::net::SocketAddr;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// What the client says of its calls; see `webapp.php`.
#[derive(Debug, Default, Deserialize)]
pub struct Calls {
    pub whole: u64,
    /// Failed by an error, before the first byte of an answer.
    pub failed: u64,
    /// Failed by an error, in mid-answer.
    pub cut: u64,
    /// Never: a part of an answer that ended in order.
    pub short: u64,
    /// Never: other bytes than the Coreapp's.
    pub wrong: u64,
    pub bytes: u64,
    pub examples: Vec<String>,
}

/// Client processes, running.
pub struct Clients(Vec<Running>);

impl Clients {
    pub fn start(processes: u64, calls: u64, to: SocketAddr) -> Self {
        let host = if to.is_ipv6() {
            format!("[{}]", to.ip())
        } else {
            to.ip().to_string()
        };
        let client = |seed: u64| {
            let mut php = program("php", "php-cli");
            php.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/webapp.php"));
            php.args([
                &host,
                &to.port().to_string(),
                &calls.to_string(),
                &(seed + 1).to_string(),
            ]);
            php.stdin(Stdio::null()).stdout(Stdio::piped());
            Running(php.spawn().expect("php"))
        };
        Self((0..processes).map(client).collect())
    }

    pub fn is_running(&mut self) -> bool {
        self.0
            .iter_mut()
            .any(|client| client.0.try_wait().expect("wait").is_none())
    }

    /// Their calls, added up.
    pub fn join(self) -> Calls {
        let mut sum = Calls::default();
        for mut client in self.0 {
            let output = client.0.stdout.take().expect("piped");
            let calls: Calls = serde_json::from_reader(output).expect("a line of JSON of webapp.php");
            sum.whole += calls.whole;
            sum.failed += calls.failed;
            sum.cut += calls.cut;
            sum.short += calls.short;
            sum.wrong += calls.wrong;
            sum.bytes += calls.bytes;
            sum.examples.extend(calls.examples);
        }
        sum
    }
}

fn ends(sidecar: &Sidecar) -> String {
    let page = sidecar.page("/metrics");
    let lines = page.lines().filter(|line| line.starts_with("wa_sidecar_streams"));
    lines.collect::<Vec<_>>().join("\n")
}

/// All of `calls` come back whole, and both sidecars count them so.
pub fn all_whole(pair: &Pair, coreapp: &Coreapp, processes: u64, calls: u64) {
    let before = (
        pair.web.metric("wa_sidecar_streams_ended_total{end=\"fin\"}"),
        pair.core.metric("wa_sidecar_streams_ended_total{end=\"fin\"}"),
        coreapp.answered(),
    );
    let total = processes * calls;
    let done = Clients::start(processes, calls, pair.web.listen).join();
    assert_eq!(
        (done.whole, done.failed, done.cut, done.short, done.wrong),
        (total, 0, 0, 0, 0),
        "{done:#?}"
    );
    assert_eq!(coreapp.answered() - before.2, total);
    for (sidecar, before) in [(&pair.web, before.0), (&pair.core, before.1)] {
        sidecar.until_metric("wa_sidecar_streams_open", |open| open == 0.0);
        let fin = sidecar.metric("wa_sidecar_streams_ended_total{end=\"fin\"}") - before;
        assert!(
            fin == total as f64,
            "{fin} of {total} ended in order:\n{}",
            ends(sidecar)
        );
        for other in ["reset", "refused", "link_lost", "stopped"] {
            let n = sidecar.metric(&format!("wa_sidecar_streams_ended_total{{end=\"{other}\"}}"));
            assert!(n == 0.0, "{n} {other}:\n{}", ends(sidecar));
        }
    }
}

/// The Coreapp goes and comes back while calls are made: they fail by an error, and none is short.
pub fn restarts(pair: &Pair, coreapp: &mut Coreapp, processes: u64, calls: u64, times: u64) {
    let mut clients = Clients::start(processes, calls, pair.web.listen);
    let began = Instant::now();
    let mut stops = 0;
    while clients.is_running() && (stops < times || coreapp.cut() == 0) && began.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(150));
        coreapp.stop();
        thread::sleep(Duration::from_millis(100));
        coreapp.go();
        stops += 1;
    }
    let done = clients.join();
    assert_eq!((done.short, done.wrong), (0, 0), "{done:#?}");
    assert_eq!(done.whole + done.failed + done.cut, processes * calls, "{done:#?}");
    assert!(done.failed > 0 && done.whole > 0, "{done:#?}");
    assert!(
        coreapp.cut() > 0 && done.cut > 0,
        "nothing was cut in mid-answer after {stops} stops: {done:#?}"
    );
    for sidecar in [&pair.web, &pair.core] {
        sidecar.until_metric("wa_sidecar_streams_open", |open| open == 0.0);
    }
    let after = Clients::start(1, 50, pair.web.listen).join();
    assert_eq!(after.whole, 50, "the first calls after the last restart: {after:#?}");
}

#[test]
fn ten_thousand_calls_come_back_whole() {
    let coreapp = Coreapp::start(([127, 0, 0, 1], 0).into(), false);
    let pair = Pair::start(coreapp.address);
    all_whole(&pair, &coreapp, 4, 2_500);
}

#[test]
fn a_coreapp_that_restarts_makes_calls_fail_and_never_short() {
    let mut coreapp = Coreapp::start(([127, 0, 0, 1], 0).into(), true);
    let pair = Pair::start(coreapp.address);
    restarts(&pair, &mut coreapp, 4, 500, 5);
}
