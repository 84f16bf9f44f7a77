//! What the program can write, read from its source: every event of its log with every reason, every error of a start.
//!
//! What an expression can be is said here by the types that it is made of; an expression that nobody has said anything of fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use wa_sidecar::counters::{HandshakeResult, Limit, LinkEnd};
use wa_sidecar::link::OpenError;
use wa_sidecar::webapp::NoLink;
use wa_sidecar::wire::message::{Code, GoAway};

/// Where the page says so of a reason that is no word of its own but a text.
pub const SENTENCE: &str = "a sentence";

/// Comments left out; a string is one token and keeps its quotes.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&c) = chars.get(at) {
        let from = at;
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        if c == '/' && next == '/' {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
            continue;
        } else if c == '/' && next == '*' {
            while at < chars.len() && !(chars[at] == '*' && chars.get(at + 1) == Some(&'/')) {
                at += 1;
            }
            at += 2;
            continue;
        } else if c == 'r' && (next == '"' || next == '#' && chars.get(at + 2) == Some(&'"')) {
            let end: String = if next == '#' { "\"#".into() } else { "\"".into() };
            at += if next == '#' { 3 } else { 2 };
            while at < chars.len() && !chars[at..].iter().collect::<String>().starts_with(&end) {
                at += 1;
            }
            at += end.len();
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' && (next == '\\' || chars.get(at + 2) == Some(&'\'')) {
            at += if next == '\\' { 3 } else { 2 };
            while chars.get(at).is_some_and(|c| *c != '\'') {
                at += 1;
            }
            at += 1;
        } else if is_word(c) {
            while chars.get(at).is_some_and(|c| is_word(*c)) {
                at += 1;
            }
        } else {
            at += 1;
            if c.is_whitespace() {
                continue;
            }
        }
        tokens.push(chars[from..at.min(chars.len())].iter().collect());
    }
    tokens
}

/// What a string token says.
fn unquoted(token: &str) -> Option<String> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    let mut joined = inner.split("\\\n").map(str::trim_start);
    let first = inner.split("\\\n").next()?.to_owned();
    joined.next();
    let whole = joined.fold(first, |whole, part| whole + part);
    Some(whole.replace("\\n", "\n").replace("\\\"", "\""))
}

/// The arguments of the macro or attribute whose parenthesis opens at `at`, each as its tokens.
fn arguments(tokens: &[String], at: usize) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut depth = 0;
    for token in &tokens[at..] {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        match (token.as_str(), depth) {
            (_, 0) => break,
            ("(", 1) => {}
            (",", 1) => found.push(Vec::new()),
            _ => found.last_mut().expect("one").push(token.clone()),
        }
    }
    found
}

/// A line of the log as the source has it: the expressions of its event and its reason.
type Logged = (String, Option<String>);

fn logged(text: &str) -> Vec<Logged> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let macros = ["error", "warn", "info", "debug", "trace", "event"];
        let is = |at: usize, what: &str| tokens.get(at).is_some_and(|token| token == what);
        if !macros.contains(&token.as_str()) || !is(i + 1, "!") || !is(i + 2, "(") {
            continue;
        }
        let arguments = arguments(&tokens, i + 2);
        let value = |name: &str| {
            let argument = arguments
                .iter()
                .find(|a| a.first().is_some_and(|first| first == name))?;
            match argument.as_slice() {
                [one] => Some(one.clone()),
                [_, equals, rest @ ..] if equals == "=" => Some(rest.concat()),
                _ => None,
            }
        };
        let event = value("event").unwrap_or_else(|| panic!("a line of the log without event: {arguments:?}"));
        found.push((event, value("reason")));
    }
    found
}

fn files(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(under).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn source(under: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(under);
    let files = if path.is_dir() { files(&path) } else { vec![path] };
    files
        .iter()
        .map(|path| fs::read_to_string(path).expect("text"))
        .collect()
}

/// Every event with its reasons; one without a reason has the empty one.
pub fn events() -> BTreeSet<(String, String)> {
    events_of(&source(""))
}

fn events_of(sources: &[String]) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (event, reason) in sources.iter().flat_map(|text| logged(text)) {
        let events: Vec<String> = match event.as_str() {
            // signals.rs: one loop for both.
            "event" => vec!["draining".into(), "stopping".into()],
            "warning.event" => sources.iter().flat_map(|text| warnings(text)).collect(),
            literal => vec![unquoted(literal).unwrap_or_else(|| panic!("which events are {literal}?"))],
        };
        for event in events {
            for reason in reasons(&event, reason.as_deref()) {
                found.insert((event.clone(), reason));
            }
        }
    }
    found
}

/// The events of `Warning { event: "...", .. }`.
fn warnings(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let is_event = |three: &&[String]| three[0] == "event" && three[1] == ":" && three[2].starts_with('"');
    tokens
        .windows(3)
        .filter(is_event)
        .filter_map(|three| unquoted(&three[2]))
        .collect()
}

/// What the reason of an event can be.
fn reasons(event: &str, expression: Option<&str>) -> Vec<String> {
    let Some(expression) = expression else {
        return vec![String::new()];
    };
    if let Some(literal) = unquoted(expression) {
        return vec![literal];
    }
    let handshake =
        |of: fn(&HandshakeResult) -> bool| HandshakeResult::ALL.iter().filter(move |r| of(r)).map(|r| r.label());
    let codes: Vec<Code> = (0..=255).map(Code::from_byte).collect();
    let words: Vec<&str> = match (event, expression) {
        (_, "%error") | ("panic", "reason") | ("failed", "message") | (_, "warning.text") => vec![SENTENCE],
        // Why there is less of it than there could be.
        ("confined", "reason") => vec![""],
        ("handshake_refused", "result.label()") => handshake(is_refusal).collect(),
        ("handshake_failed", "result.label()") => handshake(is_silence).collect(),
        ("handshake_failed", "HandshakeResult::Unconfirmed.label()") => vec![HandshakeResult::Unconfirmed.label()],
        // net::handshake::InitiateError: of a dial, of the budget, of the handshake.
        ("link_failed", "reason") => ["dial_refused", "dial_failed", "buffer_budget"]
            .into_iter()
            .chain(handshake(is_of_initiator))
            .collect(),
        ("link_down", "reason") => LinkEnd::ALL.iter().map(|end| end.label()).collect(),
        ("goaway", "code.label()") => (0..=255).map(|byte| GoAway::from_byte(byte).label()).collect(),
        ("stream_refused", "reason") => codes
            .iter()
            .filter(|code| code.is_refusal())
            .map(|code| code.label())
            .collect(),
        ("dial_failed", "code.label()") => codes
            .iter()
            .filter(|code| is_of_dial(code))
            .map(|code| code.label())
            .collect(),
        ("app_refused", "reason") => {
            let open = OpenError::ALL.iter().map(|error| error.label());
            open.chain(NoLink::ALL.iter().map(|why| why.label())).collect()
        }
        // The page has a table by the limit.
        ("limit_hit", "reason") => Limit::ALL.iter().map(|limit| limit.label()).collect(),
        _ => panic!("which reasons of {event} are {expression}? Say it in tests/troubleshooting/source.rs"),
    };
    words.into_iter().map(str::to_owned).collect()
}

/// In message 2, under the secret.
fn is_refusal(result: &HandshakeResult) -> bool {
    use HandshakeResult::*;
    match result {
        ClockSkew | PeerName | SelfDial | Busy | NoCommonSuite | Malformed | Draining => true,
        Accepted | Unknown | Unauthenticated | Replay | Timeout | Disconnected | Unconfirmed => false,
    }
}

/// A close without an answer. The first two: more of them than are answered.
fn is_silence(result: &HandshakeResult) -> bool {
    use HandshakeResult::*;
    match result {
        ClockSkew | Malformed | Unauthenticated | Replay | Timeout | Disconnected => true,
        Accepted | PeerName | SelfDial | Busy | NoCommonSuite | Draining | Unknown | Unconfirmed => false,
    }
}

/// What a dialler can be told or find.
fn is_of_initiator(result: &HandshakeResult) -> bool {
    use HandshakeResult::*;
    match result {
        Unauthenticated | Timeout | Disconnected | Unknown => true,
        Accepted | Replay | Unconfirmed => false,
        refusal => is_refusal(refusal),
    }
}

fn is_of_dial(code: &Code) -> bool {
    matches!(code, Code::DialRefused | Code::DialTimeout | Code::DialFailed)
}

/// The fixed parts of every `#[error("...")]` that can end a start, by the whole.
pub fn start_errors() -> BTreeMap<String, Vec<String>> {
    let from = [
        "config.rs",
        "config",
        "crypto/secret.rs",
        "net/listen.rs",
        "net/unix.rs",
    ];
    let sources = from.into_iter().flat_map(source);
    sources.flat_map(|text| errors(&text)).collect()
}

fn errors(text: &str) -> Vec<(String, Vec<String>)> {
    let tokens = tokens(text);
    let starts =
        (0..tokens.len()).filter(|&i| tokens[i] == "error" && i > 1 && tokens[i - 1] == "[" && tokens[i - 2] == "#");
    let texts = starts.filter_map(|i| unquoted(arguments(&tokens, i + 1).first()?.first()?));
    texts.map(|text| (text.clone(), fixed(&text))).collect()
}

/// What stands outside of `{}`.
fn fixed(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                parts.push(String::new());
            }
            c if depth == 0 => parts.last_mut().expect("one").push(c),
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[test]
fn the_source_is_read_as_it_is_meant() {
    let text = r##"
        // warn!(event = "commented", reason = "x");
        tracing::warn!(event = "limit_hit", limit = limit.label(), reason, "text, with ) and {x}");
        info!(
            event = "goaway", peer = %peer,
            reason = code.label(), "'"
        );
        warn!(event = "e", reason = %error);
        debug!(event = "new", reason = "its reason");
        let w = Warning { event: "careful", text };
        warn!(event = warning.event, reason = warning.text);
        #[error("one {place} of {} two\n  \
                 three")]
    "##;
    let expected = [
        ("\"limit_hit\"", Some("reason")),
        ("\"goaway\"", Some("code.label()")),
        ("\"e\"", Some("%error")),
        ("\"new\"", Some("\"its reason\"")),
        ("warning.event", Some("warning.text")),
    ];
    let expected = expected.map(|(event, reason)| (event.to_owned(), reason.map(str::to_owned)));
    assert_eq!(logged(text), expected);
    let found = events_of(&[text.to_owned()]);
    for pair in [
        ("new", "its reason"),
        ("careful", SENTENCE),
        ("goaway", "keys_too_old"),
        ("e", SENTENCE),
    ] {
        assert!(
            found.contains(&(pair.0.to_owned(), pair.1.to_owned())),
            "{pair:?}: {found:?}"
        );
    }
    assert_eq!(errors(text)[0].1, ["one ", " of ", " two\n  three"]);
}

#[test]
#[should_panic(expected = "which reasons of dial_failed are surprise()?")]
fn a_reason_that_nobody_knows_fails() {
    events_of(&["warn!(event = \"dial_failed\", reason = surprise());".to_owned()]);
}

#[test]
#[should_panic(expected = "without event")]
fn a_line_without_an_event_fails() {
    events_of(&["warn!(reason = \"x\", \"text\");".to_owned()]);
}
