//! Holds the program against every file in proto/vectors/, which an independent implementation made (see its README).
//!
//! A runner of a kind returns `Ok` when the program takes a case, and when it refuses one, the vectors' word for why. Where a case
//! is taken, what comes of it is compared too: that is an `assert`. A kind that nobody runs, or an empty one, fails.

mod frames;
mod handshake;
mod messages;
mod payloads;
mod rekey;
mod script;
mod secret;
mod streams;

use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

/// The word for a refusal.
type Verdict = Result<(), &'static str>;

const KINDS: [&str; 8] = [
    "secret",
    "key_schedule",
    "frames",
    "messages",
    "payloads",
    "handshake",
    "rekey",
    "streams",
];

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("proto/vectors")
}

#[test]
fn every_kind_is_run() {
    let entries = fs::read_dir(vectors()).expect("proto/vectors");
    let kinds: BTreeSet<String> = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_type().expect("a type").is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    let known: BTreeSet<String> = KINDS.iter().map(|kind| kind.to_string()).collect();
    assert_eq!(kinds, known);
}

/// Runs every case of `kind` and fails with all of those that went otherwise than their file says.
fn run(kind: &str, runner: impl Fn(&Case) -> Verdict) {
    assert!(KINDS.contains(&kind), "{kind} is not listed");
    let mut paths: Vec<PathBuf> = fs::read_dir(vectors().join(kind))
        .expect(kind)
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no case of {kind}");
    let mut failed = Vec::new();
    for path in &paths {
        let case = Case(serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON"));
        let name = case.text("name").to_owned();
        assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(&*name));
        let expected = match case.text("expect") {
            "ok" => None,
            "refuse" => Some(case.text("error")),
            other => panic!("{name}: expect {other}"),
        };
        match catch_unwind(AssertUnwindSafe(|| runner(&case))) {
            Ok(verdict) if verdict.err() == expected => {}
            Ok(verdict) => failed.push(format!("{name}: {:?} instead of {expected:?}", verdict.err())),
            Err(_) => failed.push(format!("{name}: it panicked, see above")),
        }
    }
    assert!(failed.is_empty(), "{kind}: {}\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn secrets() {
    run("secret", secret::run);
}

#[test]
fn key_schedule() {
    run("key_schedule", frames::run_key_schedule);
}

#[test]
fn frames() {
    run("frames", frames::run);
}

#[test]
fn messages() {
    run("messages", messages::run);
}

#[test]
fn payloads() {
    run("payloads", payloads::run);
}

#[test]
fn handshake() {
    run("handshake", handshake::run);
}

#[test]
fn rekey() {
    run("rekey", rekey::run);
}

#[test]
fn streams() {
    run("streams", streams::run);
}

/// A JSON object of a vector; every accessor panics where the file is not of the form that its README says.
struct Case(Value);

impl Case {
    fn get(&self, key: &str) -> Option<Case> {
        self.0.get(key).filter(|value| !value.is_null()).cloned().map(Case)
    }

    fn at(&self, key: &str) -> Case {
        self.get(key).unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    fn list(&self, key: &str) -> Vec<Case> {
        let Value::Array(list) = self.at(key).0 else {
            panic!("{key} is no list");
        };
        list.into_iter().map(Case).collect()
    }

    fn text(&self, key: &str) -> &str {
        self.0[key]
            .as_str()
            .unwrap_or_else(|| panic!("no text {key} in {}", self.0))
    }

    fn number(&self, key: &str) -> u64 {
        self.0[key]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {key} in {}", self.0))
    }

    fn flag(&self, key: &str) -> bool {
        self.0[key]
            .as_bool()
            .unwrap_or_else(|| panic!("no bool {key} in {}", self.0))
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let text = self.text(key);
        assert!(text.len().is_multiple_of(2), "{key}: half a byte");
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        (0..text.len()).step_by(2).map(byte).collect()
    }

    /// Secrets in force at one end: the current one, then the previous one if there is any.
    fn psks(&self) -> Vec<[u8; 32]> {
        let Value::Array(psks) = self.at("psks").0 else {
            panic!("psks is no list");
        };
        let psk = |psk| Case(serde_json::json!({ "psk": psk })).array("psk");
        psks.into_iter().map(psk).collect()
    }

    fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        self.bytes(key)
            .try_into()
            .unwrap_or_else(|_| panic!("{key} has not {N} bytes"))
    }
}
