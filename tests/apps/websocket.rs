//! WebSockets through nginx behind the pair; both ends are Debian's python3-websockets, see `websocket.py`.

use crate::account;
use crate::harness::{Pair, SOON, eventually};
use crate::nginx::Nginx;
use crate::tools::{Directory, Running, Said, said, until_exit};
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the script prints.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
struct Line {
    port: Option<u16>,
    code: Option<u16>,
    reason: String,
    echoed: u64,
}

/// Debian's Python: another one on the path does not see the package.
fn script(arguments: &[&str]) -> Command {
    let mut python = Command::new("/usr/bin/python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/websocket.py"));
    python.args(arguments).stdin(Stdio::null());
    python
}

fn lines(text: &str) -> Vec<Line> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"));
    text.lines().map(parse).collect()
}

/// The server that echoes, behind nginx.
struct Server {
    nginx: Nginx,
    _python: Running,
    output: PathBuf,
    _directory: Directory,
}

impl Server {
    fn start() -> Self {
        let directory = Directory::new();
        let output = directory.join("output");
        let file = File::create(&output).expect("created");
        let mut python = Running::start(script(&["serve"]).stdout(file));
        let port = eventually("a port", || {
            assert!(
                python.is_running(),
                "it does not start. Type:  apt-get install python3-websockets"
            );
            let text = std::fs::read_to_string(&output).expect("text");
            text.ends_with('\n').then(|| lines(&text)[0].port.expect("a port"))
        });
        let location = format!(
            "location /socket {{
                proxy_pass http://127.0.0.1:{port};
                proxy_http_version 1.1;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection upgrade;
            }}"
        );
        Self {
            nginx: Nginx::start_with(LOCAL, "", &location),
            _python: python,
            output,
            _directory: directory,
        }
    }

    /// How its connections ended, once `count` have.
    fn closed(&self, count: usize) -> Vec<Line> {
        eventually("both ends have closed", || {
            let text = std::fs::read_to_string(&self.output).expect("text");
            let mut closed = lines(text.get(..=text.rfind('\n')?)?).split_off(1);
            closed.sort();
            (closed.len() == count).then_some(closed)
        })
    }
}

fn url(pair: &Pair) -> String {
    format!("ws://{}/socket", pair.web.listen)
}

fn talked(said: &Said) -> Vec<Line> {
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    let mut lines = lines(&said.stdout);
    lines.sort();
    lines
}

#[test]
fn messages_come_back_byte_for_byte_and_both_ends_agree_how_it_ended() {
    let server = Server::start();
    let pair = Pair::start(server.nginx.address);
    let lines = talked(&said(&mut script(&["talk", &url(&pair)])));
    let expected: Vec<Line> = [(3000, "done"), (3001, "done"), (4002, "as asked"), (4003, "as asked")]
        .map(|(code, reason)| Line {
            code: Some(code),
            reason: reason.to_owned(),
            echoed: 41,
            port: None,
        })
        .into();
    assert_eq!(lines, expected);
    let mut closed = server.closed(expected.len());
    closed.iter_mut().for_each(|line| line.echoed = 41);
    assert_eq!(closed, expected);
    account::whole(&pair, expected.len() as u64);
}

#[test]
fn a_pair_that_is_killed_is_no_close() {
    let server = Server::start();
    for (turn, webapp) in [(1, true), (2, false)] {
        let mut pair = Pair::start(server.nginx.address);
        let mut idle = script(&["wait", &url(&pair)]);
        let mut idle = Running::start(idle.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut open = String::new();
        // Unbuffered: what comes later is read at the end.
        let stdout = idle.0.stdout.as_mut().expect("piped");
        while !open.ends_with('\n') {
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("it is open");
            open.push(char::from(byte[0]));
        }
        assert_eq!(lines(&open)[0].reason, "open");
        let sidecar = if webapp { &mut pair.web } else { &mut pair.core };
        sidecar.signal("KILL");
        sidecar.wait(SOON);
        // 1006: no close frame came (RFC 6455, 7.1.5).
        let told = talked(&until_exit(idle));
        assert_eq!(told[0].code, Some(1006), "{told:?}");
        assert!(server.closed(turn).iter().all(|line| line.code == Some(1006)));
    }
}
