//! The command itself: a round of all rows, a peer that is missing, flags that are wrong.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::generator;

/// The two benches, as cargo has built them or builds them now: a test is not told where benches are.
fn benches() -> (PathBuf, PathBuf) {
    let output = generator::cargo()
        .args([
            "bench",
            "--quiet",
            "--no-run",
            "--profile",
            "test",
            "--message-format=json",
        ])
        .args(["--bench", "compare", "--bench", "load"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let messages: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let built = |name: &str| {
        let message = messages.iter().find(|message| {
            let kind = message["target"]["kind"][0].as_str();
            message["target"]["name"] == name && kind == Some("bench") && message["executable"].is_string()
        });
        PathBuf::from(message.unwrap()["executable"].as_str().unwrap())
    };
    (built("compare"), built("load"))
}

fn compare(arguments: &str, path: Option<&str>) -> Output {
    let (compare, load) = benches();
    let mut command = Command::new(compare);
    command.arg("run").args(arguments.split_whitespace());
    command
        .args(["--program", env!("CARGO_BIN_EXE_wa-sidecar"), "--generator"])
        .arg(load);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null()).output().unwrap()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    directories
        .map(|directory| directory.join(program))
        .any(|file| file.is_file())
}

#[test]
fn a_round_has_every_row() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = |name: &str| directory.join(format!("compare-{}.{name}", std::process::id()));
    let (json, markdown) = (file("json"), file("md"));
    let output = compare(
        &format!(
            "--peers direct,haproxy-plain,ours --works bulk-1,bulk-8,request-64,request-1,connection-16,fairness,first-byte \
             --rounds 1 --window 300ms --warmup 200ms --json {} --markdown {}",
            json.display(),
            markdown.display()
        ),
        None,
    );
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    let results: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let page = std::fs::read_to_string(&markdown).unwrap();
    let mut peers = vec!["direct", "ours-aes", "ours-chacha"];
    // AES-256-GCM is agreed on only where the CPU has it: else the comparison says so, and this test must not fail.
    peers.retain(|peer| *peer != "ours-aes" || !stdout.contains("without ours-aes"));
    if is_there("haproxy") {
        peers.push("haproxy-plain");
    }
    for (work, figures) in [
        ("bulk-1", &["throughput", "CPU"][..]),
        ("bulk-8", &["throughput", "CPU"]),
        ("request-64", &["per second", "p50", "p99", "CPU"]),
        ("request-1", &["per second", "p50", "p99", "CPU"]),
        ("connection-16", &["per second", "p50", "p99", "CPU"]),
        ("fairness", &["p99 beside bulk / alone", "p99 alone", "p99"]),
        ("first-byte", &["round trips"]),
    ] {
        for peer in &peers {
            for figure in figures.iter().filter(|figure| *peer != "direct" || **figure != "CPU") {
                let value = results[work][peer][0][figure].as_f64();
                assert!(
                    value.is_some_and(|value| value > 0.0),
                    "{work}, {peer}, {figure}: {results}"
                );
            }
            assert!(
                stdout.contains(peer) && page.contains(&format!("| {peer} |")),
                "{peer}: {stdout}"
            );
        }
        assert!(
            stdout.contains(&format!("\n{work}: ")) && page.contains(&format!("\n## {work}: ")),
            "{stdout}"
        );
    }
    assert!(stdout.contains("Floors and goals"), "{stdout}");
    assert!(stderr.contains("round 1 of 1, bulk-1"), "{stderr}");
    std::fs::remove_file(json).unwrap();
    std::fs::remove_file(markdown).unwrap();
}

#[test]
fn who_is_missing_is_named_and_left_out() {
    let output = compare(
        "--peers haproxy,spiped,direct --works request-1 --rounds 1 --window 100ms --warmup 0",
        Some("/nowhere"),
    );
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    for (name, advice) in [
        ("haproxy-plain", "apt-get install haproxy"),
        ("spiped", "apt-get install spiped"),
    ] {
        for said in [&stdout, &stderr] {
            let line = said.lines().find(|line| line.contains(&format!("without {name}:")));
            assert!(line.is_some_and(|line| line.contains(advice)), "{name}: {said}");
        }
    }
    let list = compare("--list", Some("/nowhere"));
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(
        list.contains("benches/compare/install shadowsocks-rust") && list.contains("connection-16"),
        "{list}"
    );
}

#[test]
fn who_does_not_start_is_named_with_what_it_said() {
    let output = compare(
        "--peers broken,direct --also broken=/bin/false --works request-1 --rounds 1 --window 100ms --warmup 0",
        None,
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(70), "{stdout}");
    assert!(stdout.contains("without broken-aes, which did not start"), "{stdout}");
}

#[test]
fn exit_codes() {
    for (arguments, code) in [
        ("--rounds 0", 64),
        ("--peers nobody", 64),
        ("--works all --what", 64),
        ("--help", 0),
    ] {
        let output = compare(arguments, None);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // As cargo bench calls it.
    let (compare, _) = benches();
    let output = Command::new(&compare).arg("--bench").output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            output.stdout.iter().filter(|&&byte| byte == b'\n').count()
        ),
        (Some(0), 1)
    );
    let output = Command::new(&compare)
        .args(["run", "--generator", "/nowhere"])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(69),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
