//! The log while nobody reads it. Each test runs its second half as a process of its own, for its own stderr.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use wa_sidecar::logs::{self, LogFormat};

const LINES: u64 = 20_000;

/// A full pipe: an ordinary write would hang for ever here.
#[test]
fn a_blocked_stderr_holds_up_nobody_and_what_is_lost_is_counted() {
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "logs_more_than_fits", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut dropped = None;
    while dropped.is_none() {
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).expect("text"), 0, "it ended without a word");
        dropped = line
            .trim()
            .strip_prefix("dropped ")
            .map(|n| n.parse::<u64>().expect("a number"));
    }

    let mut written = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut written)
        .expect("text");
    assert!(child.wait().expect("ended").success());
    let written = written.lines().filter(|line| line.contains("event=\"flood\"")).count() as u64;
    assert!(
        dropped > Some(0) && written > 0,
        "{dropped:?} dropped, {written} written"
    );
    assert_eq!(
        dropped.unwrap_or_default() + written,
        LINES,
        "each line is written or counted"
    );
}

#[test]
#[ignore = "the other process of the test above"]
fn logs_more_than_fits() {
    let log = logs::init(LogFormat::Text, "info").expect("the first log of this process");
    let started = Instant::now();
    for n in 0..LINES {
        tracing::info!(event = "flood", n, "{}", "a line of about the usual length ".repeat(4));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    writeln!(io::stdout(), "\ndropped {}", logs::dropped_lines()).expect("read by the test");
    drop(log);
}
