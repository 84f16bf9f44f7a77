//! iperf3 at both ends of the pair: one connection that controls, and one or more that are filled as fast as they go.

use crate::account;
use crate::harness::{Pair, eventually};
use crate::tools::{Directory, Running, on_a_free_port, program, said};
use serde_json::Value;
use std::cell::Cell;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Server {
    process: Running,
    address: SocketAddr,
    directory: Directory,
    done: Cell<u64>,
}

impl Server {
    fn start() -> Self {
        let directory = Directory::new();
        let (process, address) = on_a_free_port(LOCAL, |address| {
            let log = File::create(directory.join("log")).expect("created");
            let mut iperf3 = program("iperf3", "iperf3");
            iperf3.args(["--server", "--forceflush", "--bind", &address.ip().to_string()]);
            iperf3.args(["--port", &address.port().to_string()]);
            iperf3
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a handle"))
                .stderr(log);
            let mut process = Running::start(&mut iperf3);
            let (ready, text) = eventually("iperf3 listens or ends", || {
                let text = log_of(&directory);
                let ready = text.contains(&waits_for(1));
                (ready || !process.is_running()).then_some((ready, text))
            });
            if ready { Ok(process) } else { Err(text) }
        });
        Self {
            process,
            address,
            directory,
            done: Cell::new(0),
        }
    }

    /// It takes one client at a time, and says when it waits for the next one.
    fn until_done(&self) {
        let waits = self.done.get() + 1;
        self.done.set(waits);
        let log = eventually("iperf3 waits for the next client", || {
            let log = log_of(&self.directory);
            log.contains(&waits_for(waits + 1)).then_some(log)
        });
        assert!(!log.contains("error"), "{log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.ask_to_end("TERM");
    }
}

fn log_of(directory: &Directory) -> String {
    std::fs::read_to_string(directory.join("log")).expect("a log")
}

fn waits_for(test: u64) -> String {
    format!("(test #{test})")
}

fn client(at: SocketAddr, args: &[&str]) -> Value {
    let mut iperf3 = program("iperf3", "iperf3");
    iperf3.args([
        "--client",
        &at.ip().to_string(),
        "--port",
        &at.port().to_string(),
        "--json",
    ]);
    let said = said(iperf3.args(args));
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert!(report.get("error").is_none(), "{args:?}: {report}");
    report
}

/// A direction's bytes: what its sender wrote, and what its receiver read.
#[derive(Debug)]
struct Bytes {
    sent: u64,
    received: u64,
}

fn bytes(report: &Value, way: &str) -> Bytes {
    let sum = |which: &str| report["end"][format!("sum_{which}{way}")]["bytes"].as_u64();
    let both = sum("sent").zip(sum("received"));
    let (sent, received) = both.unwrap_or_else(|| panic!("no figures of {way:?}: {report}"));
    assert!(received > 0 && received <= sent, "{way:?}: {received} of {sent}");
    Bytes { sent, received }
}

/// Runs a client until `BYTES` went one way: its report, and the pair.
fn run(server: &Server, args: &[&str], connections: u64) -> (Value, Pair) {
    let pair = Pair::start(server.address);
    let report = client(pair.web.listen, &[args, &["--bytes", &BYTES.to_string()]].concat());
    let connected = report["start"]["connected"].as_array().map_or(0, Vec::len);
    assert_eq!(connected as u64, connections, "{args:?}: {report}");
    server.until_done();
    // One more controls, and ends in order: neither end can do without its last word.
    account::served(&pair, 1 + connections);
    assert!(
        account::ended(&pair.web).fin >= 1,
        "{args:?}: {:?}",
        account::ended(&pair.web)
    );
    (report, pair)
}

const BYTES: u64 = 128 << 20;

#[test]
fn the_server_sends_and_the_client_has_it_all() {
    let server = Server::start();
    for connections in [1, 4] {
        let (report, pair) = run(
            &server,
            &["--reverse", "--parallel", &connections.to_string()],
            connections,
        );
        let Bytes { sent, received } = bytes(&report, "");
        assert!(received >= BYTES, "{report}");
        // It may have sent a little more than the client wanted: then that is reset.
        if sent == received {
            account::whole(&pair, 1 + connections);
        }
    }
}

#[test]
fn the_client_sends() {
    let server = Server::start();
    for connections in [1, 4] {
        // When the client has sent it all it says so on its other connection; then the server reads no more.
        let (report, _pair) = run(&server, &["--parallel", &connections.to_string()], connections);
        assert!(bytes(&report, "").sent >= BYTES, "{report}");
    }
}

#[test]
fn both_send_at_once() {
    let server = Server::start();
    for connections in [1, 4] {
        let args = ["--bidir", "--parallel", &connections.to_string()];
        let (report, _pair) = run(&server, &args, 2 * connections);
        // It goes on until one of them is done.
        let (there, back) = (bytes(&report, ""), bytes(&report, "_bidir_reverse"));
        assert!(there.sent >= BYTES || back.received >= BYTES, "{there:?} {back:?}");
    }
}
