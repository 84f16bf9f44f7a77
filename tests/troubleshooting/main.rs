//! TROUBLESHOOTING.md against the program: each row of the page is provoked, and whatever the program can write has a row.

#[path = "../harness/mod.rs"]
mod harness;
mod limits;
mod lines;
mod links;
mod pages;
mod peers;
mod processes;
mod source;
mod starts;

use harness::{Sidecar, field};
use source::SENTENCE;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;

const PAGE: &str = include_str!("../../TROUBLESHOOTING.md");

/// The lines between `<!-- name` and `<!-- /name -->`.
fn section(name: &str) -> Vec<&'static str> {
    let (begin, end) = (format!("<!-- {name}:"), format!("<!-- /{name} -->"));
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(&begin)).skip(1);
    let lines: Vec<_> = lines.take_while(|line| *line != end).collect();
    assert!(!lines.is_empty(), "no section {name}");
    lines
}

/// The rows of a section's tables without their heads, each cell without the `code` marks.
fn rows(name: &str) -> Vec<Vec<String>> {
    let lines = section(name);
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    let is_head = |i: usize| lines.get(i + 1).is_some_and(|next| next.starts_with("|---"));
    let is_row = |i: &usize| lines[*i].starts_with("| ") && !is_head(*i);
    (0..lines.len()).filter(is_row).map(|i| cells(lines[i])).collect()
}

/// What identifies a row of the log: side, event, reason.
type Row = (&'static str, &'static str, &'static str);

/// Rows that no process on a test's host can be brought to: the test that shows the same on virtual time, or why there is none.
const ELSEWHERE: [(Row, Proof); 7] = [
    (
        ("webapp", "rekey_refused", "unknown_secret"),
        Proof::Test(
            "tests/link/rekey.rs",
            "a_refused_rekey_is_tried_again_each_minute_until_the_keys_are_too_old",
        ),
    ),
    (
        ("webapp", "link_down", "rekey_timeout"),
        Proof::Test(
            "tests/link/rekey.rs",
            "an_initiator_that_gets_no_answer_gives_up_after_30_s",
        ),
    ),
    (
        ("coreapp", "link_failed", "socket"),
        Proof::None("the kernel refuses a socket that it has accepted"),
    ),
    (
        ("webapp", "app_refused", "not_initiator"),
        Proof::None("the type of the role forbids it"),
    ),
    (
        ("either", "no_randomness", SENTENCE),
        Proof::None("getrandom(2) does not fail on Linux"),
    ),
    (
        ("either", "admin_connection_failed", "timeout"),
        Proof::None("the kernel takes a whole page at once, read or not"),
    ),
    (
        ("either", "admin_page_failed", SENTENCE),
        Proof::None("the encoder of a page does not fail"),
    ),
];

/// What stands behind a row that is not provoked here.
enum Proof {
    /// File and function.
    Test(&'static str, &'static str),
    None(&'static str),
}

impl Proof {
    fn holds(&self) {
        let (file, function) = match self {
            Self::Test(file, function) => (file, function),
            Self::None(why) => return assert!(why.len() > 10, "say why"),
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = fs::read_to_string(path).expect(file);
        let shell = format!("\n{function}() {{");
        let found = text.contains(&format!("fn {function}(")) || text.contains(&shell);
        assert!(found, "{file} has no {function}");
    }
}

/// A line of the log is there, and says more than its reason.
fn see(sidecar: &Sidecar, row: Row) -> Row {
    let (side, event, reason) = row;
    let line = match reason {
        "" | SENTENCE => sidecar.event(event),
        reason => sidecar.event_with_reason(event, reason),
    };
    let text = |name: &str| field(&line, name).and_then(|text| text.as_str()).unwrap_or_default();
    let said = text("message").len() + if reason == SENTENCE { text("reason").len() } else { 0 };
    assert!(said > 10, "{side}: no advice in {line}");
    row
}

fn owned(row: &Row) -> (String, String, String) {
    (row.0.to_owned(), row.1.to_owned(), row.2.to_owned())
}

#[test]
fn each_line_of_the_log_is_as_the_page_says() {
    let provocations = [links::PROVOCATIONS, lines::PROVOCATIONS, processes::PROVOCATIONS].concat();
    let running: Vec<_> = provocations.into_iter().map(thread::spawn).collect();
    let seen: Vec<Row> = running
        .into_iter()
        .flat_map(|provoked| provoked.join().expect("seen"))
        .collect();
    let seen = seen.iter().chain(ELSEWHERE.iter().map(|(row, _)| row)).map(owned);
    ELSEWHERE.iter().for_each(|(_, proof)| proof.holds());
    let fine: BTreeSet<_> = processes::FINE.iter().map(owned).collect();
    let (found, seen): (BTreeSet<_>, BTreeSet<_>) = seen.partition(|row| fine.contains(row));
    assert_eq!(found, fine, "left is what was seen when all is well");
    let all = [rows("lines"), rows("more")].concat();
    let written: BTreeSet<_> = all
        .iter()
        .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
        .collect();
    assert_eq!(written.len(), all.len(), "a row twice");
    let (unseen, unwritten) = (written.difference(&seen), seen.difference(&written));
    let (unseen, unwritten): (Vec<_>, Vec<_>) = (unseen.collect(), unwritten.collect());
    assert!(
        unseen.is_empty() && unwritten.is_empty(),
        "not provoked: {unseen:#?}; not on the page: {unwritten:#?}"
    );
}

/// The words of the paragraph that begins with "All is well".
fn words_of_what_is_fine() -> BTreeSet<String> {
    let lines = section("more")
        .into_iter()
        .skip_while(|line| !line.starts_with("All is well"));
    let paragraph: String = lines.collect::<Vec<_>>().join(" ");
    paragraph.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn whatever_the_program_can_log_is_on_the_page() {
    let mut written: BTreeSet<(String, String)> = BTreeSet::new();
    for row in [rows("lines"), rows("more")].concat() {
        written.insert((row[1].clone(), row[2].clone()));
    }
    written.extend(
        rows("limits")
            .iter()
            .map(|row| ("limit_hit".to_owned(), row[1].clone())),
    );
    written.extend(processes::FINE.map(|(_, event, reason)| (event.to_owned(), reason.to_owned())));
    let logged = source::events();
    let missing: Vec<_> = logged.difference(&written).collect();
    let invented: Vec<_> = written.difference(&logged).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "TROUBLESHOOTING.md has no row of {missing:#?}; nothing writes {invented:#?}"
    );
    let fine = processes::FINE.iter().flat_map(|(_, event, reason)| [*event, *reason]);
    let fine: BTreeSet<_> = fine.filter(|word| !word.is_empty()).map(str::to_owned).collect();
    assert_eq!(
        words_of_what_is_fine(),
        fine,
        "left is the page's paragraph, right what the test knows"
    );
}

#[test]
fn each_limit_is_as_the_page_says() {
    let running: Vec<_> = limits::PROVOCATIONS.into_iter().map(thread::spawn).collect();
    let seen = running.into_iter().flat_map(|provoked| provoked.join().expect("hit"));
    let seen: BTreeSet<_> = seen.map(str::to_owned).collect();
    let written: BTreeSet<_> = rows("limits").iter().map(|row| row[1].clone()).collect();
    assert_eq!(written, seen, "left is the page, right what was provoked");
}
