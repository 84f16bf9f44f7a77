//! The layers of src/lib.rs, enforced: who may name whom, and what the layers without I/O must not name at all.
//!
//! clippy.toml forbids calls (`Instant::now()`), this forbids paths, so that a type or a re-export does not slip through.
//! A new arrow that is right gets a row with its reason; one that is not right wants the code moved.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Module, what it may name in this crate (a prefix of the path), why. Whatever is not here is forbidden.
#[rustfmt::skip] // one row an arrow
const ARROWS: &[(&str, &str, &str)] = &[
    ("crypto", "wire", "the header is associated data; names and suites have a form on the wire"),
    ("link", "counters", "what it counts"),
    ("link", "wire", "frames and messages"),
    ("link", "crypto", "handshake, seal, open"),
    ("net", "counters", "what it counts"),
    ("net", "wire", "codes of RESET and GOAWAY, and the header of frame 0"),
    ("net", "crypto", "the keyring, handed through to the handshake"),
    ("net", "link", "the state machine that it drives"),
    ("net", "config::Address", "exception: what to listen on and to dial, looked up anew at each use; a plain value"),
    ("net", "signals::Stop", "exception: two cancellation tokens; admission ends by them"),
    ("net", "sidecar::Sidecar", "exception: what admission of links needs of the process; would move down with it"),
    ("sidecar", "counters", "the registry that all threads share"),
    ("sidecar", "wire", "the software's name"),
    ("sidecar", "crypto", "keys are made of secrets here"),
    ("sidecar", "link", "who this sidecar is, and its budget"),
    ("sidecar", "net::entropy", "the instance id"),
    ("sidecar", "cgroup", "the most that 'auto' may take"),
    ("sidecar", "config", "everything is made of the configuration"),
    ("webapp", "counters", "what it counts"),
    ("webapp", "link", "opens streams"),
    ("webapp", "net", "drives links, accepts apps"),
    ("webapp", "sidecar", "what both roles are made of"),
    ("webapp", "config", "the peer and its services"),
    ("webapp", "panics", "faults that tests inject, in debug builds"),
    ("webapp", "wire::message::Code", "codes of RESET"),
    ("webapp", "wire::Name", "whom the peer must be"),
    ("coreapp", "counters", "what it counts"),
    ("coreapp", "wire", "codes of RESET"),
    ("coreapp", "link", "takes streams"),
    ("coreapp", "net", "drives links, dials apps"),
    ("coreapp", "sidecar", "what both roles are made of"),
    ("coreapp", "config", "the apps, by service"),
    ("coreapp", "panics", "faults that tests inject, in debug builds"),
    ("process", "webapp", "a role"),
    ("process", "coreapp", "a role"),
    ("process", "counters", "each worker's own"),
    ("process", "net", "threads, listeners, admission of links"),
    ("process", "sidecar", "what both roles are made of"),
    ("process", "signals::Stop", "when to drain"),
    ("admin", "counters", "what it shows"),
    ("admin", "link::budget", "what it shows"),
    ("admin", "logs", "lines that were lost"),
    ("admin", "net::accept::Accepting", "its connections, over TCP or a Unix socket"),
    ("admin", "net::listen::Listener", "the socket that was bound for it"),
    ("config", "wire::Name", "names are judged where their form is known"),
    ("config", "crypto::secret", "secrets are judged where their form is known"),
    ("config", "logs", "formats and filters"),
    ("panics", "logs", "the last line must be out before the process ends"),
    ("health", "config::Address", "whom to ask"),
    ("cli", "config", "flags and their help come from its table"),
    ("cli", "crypto::secret", "keygen, and what check may say of a secret"),
    ("cli", "net::listen::BindError", "its exit code"),
    ("demo", "cli", "its options, and how it fails"),
    ("demo", "config::Address", "whom to ask"),
    ("demo", "confine", "no core dumps"),
    ("demo", "health", "asks its sidecars' admin pages"),
    ("demo", "signals", "Ctrl-C"),
    ("demo", "wire::frame", "names the fields of a frame that it saw on the wire"),
];

/// May name nothing in this crate: everybody else may come to them.
const GROUND: &[&str] = &["counters", "wire", "logs", "signals", "confine", "cgroup"];

/// These know no runtime, socket, clock, file, environment or randomness: they get them as arguments.
const WITHOUT_IO: &[&str] = &["wire", "crypto", "link"];
const FORBIDDEN_CRATES: &[&str] = &[
    "tokio",
    "tokio_util",
    "hyper",
    "hyper_util",
    "socket2",
    "mio",
    "rustix",
    "getrandom",
    "rand",
    "tracing",
];
const FORBIDDEN_STD: &[&str] = &[
    "std::net",
    "std::fs",
    "std::env",
    "std::io",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

/// The text without comments, strings and characters, which may say anything.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let raw = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r').filter(|raw| {
            let before = code.chars().last().is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
            before && raw.trim_start_matches('#').starts_with('"')
        });
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = raw {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &raw[hashes + 1..];
            let skipped = rest.len() - body.len();
            skipped + body.find(&end).map_or(body.len(), |found| found + end.len())
        } else if rest.starts_with('"') {
            let mut end = 1;
            while end < rest.len() && rest.as_bytes()[end] != b'"' {
                end += if rest.as_bytes()[end] == b'\\' { 2 } else { 1 };
            }
            end + 1
        } else if rest.starts_with("'\"'") || rest.starts_with("'/'") {
            3
        } else if let Some(escaped) = rest.strip_prefix("'\\") {
            2 + escaped.chars().next().map_or(0, char::len_utf8)
        } else {
            let c = rest.chars().next().expect("not at the end");
            code.push(c);
            c.len_utf8()
        };
        if at > text.len() {
            break;
        }
    }
    code
}

/// Words, `::`, and every other character alone.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_word = false;
    for c in code.chars() {
        let word = c.is_alphanumeric() || c == '_';
        match tokens.last_mut() {
            Some(last) if word && in_word => last.push(c),
            Some(last) if c == ':' && last == ":" => last.push(':'),
            _ if c.is_whitespace() => {}
            _ => tokens.push(c.to_string()),
        }
        in_word = word;
    }
    tokens
}

/// Every path that begins with one of `roots`, its braces multiplied out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(code: &str, roots: &[&str]) -> BTreeSet<String> {
    let tokens = tokens(code);
    let mut found = BTreeSet::new();
    for (i, token) in tokens.iter().enumerate() {
        let begins = i == 0 || tokens[i - 1] != "::";
        if begins && roots.contains(&token.as_str()) && tokens.get(i + 1).is_some_and(|next| next == "::") {
            tree(&tokens, i, String::new(), &mut found);
        }
    }
    found
}

/// Reads one tree from `at`; returns where it ends.
fn tree(tokens: &[String], mut at: usize, mut path: String, found: &mut BTreeSet<String>) -> usize {
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    let end = tree(tokens, at, path.clone(), found);
                    // `as name`, commas.
                    at = end.max(at + 1);
                    while tokens.get(at).is_some_and(|token| token != "," && token != "}") {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            Some(word) => {
                let more = tokens.get(at + 1).is_some_and(|next| next == "::");
                if word != "self" {
                    let joint = if path.is_empty() { "" } else { "::" };
                    path = format!("{path}{joint}{word}");
                }
                at += 1;
                if !more {
                    found.insert(path);
                    return at;
                }
                at += 1;
            }
            None => return at,
        }
    }
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What is wrong in a file of the module at `module` (`net::driver`).
fn violations(module: &[&str], text: &str) -> Vec<String> {
    let top = module[0];
    let code = code_of(text);
    let mut wrong = Vec::new();
    let mut named = paths(&code, &["crate"]);
    // As many `super::` as the module is deep are the crate; in an inline module of tests, one more.
    let outside = code.split("mod tests").next().unwrap_or_default();
    for (code, depth) in [(outside, module.len()), (code.as_str(), module.len() + 1)] {
        for path in paths(code, &["super"]) {
            if path.split("::").take_while(|part| *part == "super").count() >= depth {
                named.insert(format!("crate::{}", path.replace("super::", "")));
            }
        }
    }
    for path in &named {
        let Some(target) = path.strip_prefix("crate::") else {
            continue;
        };
        let own = is_under(target, top);
        let arrow = ARROWS.iter().any(|(from, to, _)| *from == top && is_under(target, to));
        if !own && !arrow {
            wrong.push(format!("{} must not know {path}", module.join("::")));
        }
    }
    if WITHOUT_IO.contains(&top) {
        let outside = paths(&code, &[FORBIDDEN_CRATES, &["std"]].concat());
        for path in outside {
            let krate = path.split("::").next().unwrap_or_default();
            let std = FORBIDDEN_STD.iter().any(|prefix| is_under(&path, prefix));
            // A glob or a bare `std::time` could bring any of them in.
            let glob = path == "std::time" || path == "std::*" || path == "std::time::*";
            if FORBIDDEN_CRATES.contains(&krate) || std || glob {
                wrong.push(format!("{} must not know {path}", module.join("::")));
            }
        }
    }
    wrong
}

/// Every source file with the path of its module; `main.rs` and `lib.rs` stand above all.
fn sources() -> Vec<(Vec<String>, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&root).expect("under src").with_extension("");
            let mut module: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            if !["main", "lib"].contains(&module[0].as_str()) {
                files.push((module, path));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_arrow_points_down() {
    let mut wrong = Vec::new();
    for (module, path) in sources() {
        let module: Vec<&str> = module.iter().map(String::as_str).collect();
        wrong.extend(violations(&module, &fs::read_to_string(&path).expect("text")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_is_about_what_is_there() {
    let sources = sources();
    let tops: BTreeSet<&str> = sources.iter().map(|(module, _)| module[0].as_str()).collect();
    let known: BTreeSet<&str> = ARROWS
        .iter()
        .map(|(from, ..)| *from)
        .chain(GROUND.iter().copied())
        .collect();
    assert_eq!(
        tops, known,
        "a module without a place in the layers, or a row without a module"
    );
    assert!(ARROWS.iter().all(|(from, ..)| !GROUND.contains(from)));
    // A row that nothing needs any more would let something back in.
    for (from, to, _) in ARROWS {
        let used = sources
            .iter()
            .filter(|(module, _)| module[0] == *from)
            .any(|(_, path)| {
                let code = code_of(&fs::read_to_string(path).expect("text"));
                paths(&code, &["crate"])
                    .iter()
                    .any(|path| is_under(path, &format!("crate::{to}")))
            });
        assert!(used, "nothing in {from} names {to}: take the row out");
    }
}

/// What it finds, on sources made for it.
#[test]
fn a_broken_arrow_is_found_however_it_is_written() {
    for (module, source) in [
        ("wire", "use crate::link::Link;"),
        ("wire", "use crate::{counters, wire::frame};"),
        ("wire::frame", "fn f() -> crate::crypto::suite::Suite { todo!() }"),
        ("link", "use crate::{crypto::keys, net::{self, driver}};"),
        ("link::clock", "use super::super::net::clock;"),
        ("link", "use std::{sync::Arc, time::{Duration, Instant}};"),
        ("link", "use std::time;"),
        ("link", "use std::time::*;"),
        ("crypto", "let x = std::env::var(\"X\");"),
        ("crypto", "pub use getrandom::fill as entropy;"),
        ("crypto", "fn f(s: &tokio::net::TcpStream) {}"),
        ("net", "use crate::config::Config;"),
        ("net", "use crate::webapp;"),
        ("admin", "use crate::net::driver::Carrier;"),
        ("webapp", "use super::coreapp::Settings;"),
        ("link", "use super::net;"),
        ("counters", "use crate::logs;"),
        ("link", "let quote = '\"'; use crate::admin; let other = \"\";"),
        ("link", "let a = r#\"\"# ; use crate::cli; let b = '\\'';"),
    ] {
        let path: Vec<&str> = module.split("::").collect();
        assert!(!violations(&path, source).is_empty(), "{module}: {source}");
    }
    for (module, source) in [
        (
            "wire",
            "// use crate::link::Link;\n/* use tokio::net; */ const X: &str = \"crate::net\";",
        ),
        (
            "wire",
            "/// [`Link`](crate::link::Link)\nconst X: &str = r#\"use \"crate::net\" \"#;",
        ),
        (
            "link",
            "use crate::{counters::Counters, crypto::{Keyring, keys}, wire};",
        ),
        ("link::clock", "use std::time::Duration; use super::time::Instant;"),
        ("net", "use crate::{config::Address, signals::Stop};"),
        ("webapp", "fn f() {} #[cfg(test)] mod tests { use super::*; }"),
        ("crypto::aead::aws", "pub(in crate::crypto) struct Key; let std = 1;"),
    ] {
        let path: Vec<&str> = module.split("::").collect();
        assert_eq!(violations(&path, source), Vec::<String>::new(), "{module}: {source}");
    }
}
