//! The demo as a stranger runs it: what it says, what it leaves behind, and that it does not say "ok" when it is not.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(60);

/// A demo under way, read line by line.
struct Demo {
    child: Child,
    lines: BufReader<ChildStdout>,
    said: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
            .arg("demo")
            .args(arguments)
            // Of the shell that it is started from; none may reach the sidecars.
            .env("WA_LISTEN", "nowhere")
            .env("WA_SECRET_FILE", "/nonexistent")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let said = String::new();
        Self { child, lines, said }
    }

    /// Reads on to the line that has this, and returns it.
    fn until(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("text");
            self.said.push_str(&line);
            if line.contains(words) {
                return line;
            }
            if read == 0 {
                let stderr = self.stderr();
                panic!("ended without {words:?}: {}{stderr}", self.said);
            }
        }
    }

    /// The sidecars' process ids: webapp, coreapp.
    fn sidecars(&mut self) -> [u32; 2] {
        ["webapp sidecar   ", "coreapp sidecar   "].map(|name| {
            let line = self.until(name);
            let pid = line.split_whitespace().nth(2).expect("a column");
            pid.parse().unwrap_or_else(|_| panic!("no pid: {line}"))
        })
    }

    /// The rest of what it says, how it ended, and stderr.
    fn end(mut self) -> (String, ExitStatus, String) {
        self.lines.read_to_string(&mut self.said).expect("text");
        let status = self.child.wait().expect("ended");
        (std::mem::take(&mut self.said), status, self.stderr())
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.child.stderr.take();
        stderr.map(|mut stderr| stderr.read_to_string(&mut text));
        text
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.expect("kill").success());
}

fn until_gone(pids: &[u32]) {
    let until = Instant::now() + SOON;
    // A zombie is gone; who reaps it is not ours to say.
    let runs = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    while pids.iter().any(runs) {
        assert!(Instant::now() < until, "still there: {pids:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn once_is_0_and_shows_both_sides_of_the_wire() {
    let mut demo = Demo::start(&["--once", "--calls", "150"]);
    let sidecars = demo.sidecars();
    let (said, status, stderr) = demo.end();
    assert_eq!(status.code(), Some(0), "{said}{stderr}");
    for words in [
        "client --> webapp sidecar ==> tap ==> coreapp sidecar --> stand-in Coreapp",
        r#";{"call":0,"method":"send","to":"15550100","text":"meet me at nine by the old pier"}"#,
        "length ",
        "counter     the next must be 2",
        "timestamp ",
        "ciphertext ",
        "that frame them",
        "tag ",
        "150 calls through the pair, every answer compared byte for byte",
        "failures                 0\n",
        "straight to the stand-in",
        "1 link since the start",
        "plaintext on the wire    none",
        "Both sidecars drained and ended; no frame was refused.",
    ] {
        assert!(said.contains(words), "{words:?} is missing: {said}");
    }
    assert!(said.ends_with("ok: 150 of 150 calls came back right\n"), "{said}");
    assert!(
        said.lines().all(|line| line.len() <= 100),
        "wider than a terminal: {said}"
    );
    assert!(!said.contains('\x1b'), "colour without a terminal");
    assert!(!said.contains("wa1-"), "the secret is shown");
    assert_eq!(stderr, "");
    until_gone(&sidecars);
}

#[test]
fn a_sidecar_that_dies_in_mid_run_makes_it_70_and_no_answer_is_cut() {
    for victim in [0, 1] {
        let mut demo = Demo::start(&["--once", "--calls", "1000000"]);
        let sidecars = demo.sidecars();
        demo.until("The client read until EOF");
        // So that calls are under way.
        thread::sleep(Duration::from_millis(300));
        signal("KILL", sidecars[victim]);
        let (said, status, stderr) = demo.end();
        assert_eq!(status.code(), Some(70), "{said}{stderr}");
        assert!(said.contains("sidecar has ended: signal: 9"), "{said}");
        assert!(!said.contains("ENDED IN ORDER") && !said.contains("ok:"), "{said}");
        until_gone(&sidecars);
    }
}

#[test]
fn it_goes_on_until_ctrl_c_and_ends_in_order() {
    let mut demo = Demo::start(&[]);
    let sidecars = demo.sidecars();
    let status = demo.until("/status   the webapp sidecar");
    let admin = status
        .trim()
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    let page = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
        .args(["health", "--admin", admin.expect("an address")])
        .output();
    assert!(page.expect("asked").status.success(), "{status}");
    demo.until("call 1 ");
    demo.until("call 2 ");
    signal("INT", demo.child.id());
    let (said, status, stderr) = demo.end();
    assert_eq!(status.code(), Some(0), "{said}{stderr}");
    assert!(said.contains("bytes, whole"), "{said}");
    assert!(said.ends_with("no frame was refused.\n"), "{said}");
    until_gone(&sidecars);
}

#[test]
fn killed_it_leaves_no_sidecar_behind() {
    let mut demo = Demo::start(&[]);
    let sidecars = demo.sidecars();
    signal("KILL", demo.child.id());
    until_gone(&sidecars);
    // It was killed before its child could tie itself to it.
    let orphan = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
        .args([
            "demo-child",
            "0",
            "coreapp",
            "--listen=127.0.0.1:0",
            "--upstream=127.0.0.1:1",
        ])
        .args(["--admin=off", "--allow-weak-secret"])
        .env("WA_SECRET", "x")
        .output()
        .expect("started");
    assert_eq!(orphan.status.code(), Some(70), "{orphan:?}");
}
