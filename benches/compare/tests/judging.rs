//! Medians, ratios within a round, floors and goals, on numbers that are given.

use std::ffi::OsString;

use crate::{
    figures::{Spread, ratios, spread},
    flags,
    peers::{self, Cast, Peer},
    results::{Metric, Results, Sample},
    table::Table,
    verdict::{self, Against, Judged, Verdict},
    works::{self, Work},
};

fn options(arguments: &str) -> Result<flags::Options, clap::Error> {
    flags::parse(
        ["compare", "run"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .map(OsString::from),
    )
}

/// Every peer there could be, installed or not.
fn everybody(arguments: &str) -> Vec<Peer> {
    peers::all(&options(arguments).unwrap())
}

fn add(results: &mut Results, work: &'static str, peer: &str, metric: Metric, rounds: &[f64]) {
    for (round, &value) in rounds.iter().enumerate() {
        let mut sample = Sample::default();
        sample.values.insert(metric, value);
        results.add(work, peer, round, sample);
    }
}

fn of<'a>(judged: &'a [Judged], ours: &str, metric: Metric, floor: f64) -> &'a Judged {
    let wanted = |line: &&Judged| line.ours == ours && line.rule.metric == metric && line.rule.floor == floor;
    judged.iter().find(wanted).unwrap()
}

#[test]
fn medians() {
    assert_eq!(spread(&[]), None);
    assert_eq!(spread(&[f64::NAN]), None);
    let odd = Spread {
        median: 2.0,
        least: 1.0,
        most: 9.0,
    };
    assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(odd));
    let even = Spread {
        median: 2.5,
        least: 1.0,
        most: 9.0,
    };
    assert_eq!(spread(&[9.0, 1.0, 3.0, 2.0]), Some(even));
}

#[test]
fn a_ratio_is_of_one_round() {
    // A host that is twice as slow in one round is so for both: the ratio stays.
    let (ours, theirs) = (
        [Some(1.0), Some(2.0), None, Some(1.0), Some(1.0)],
        [Some(2.0), Some(4.0), Some(1.0), None, Some(0.0)],
    );
    assert_eq!(ratios(&ours, &theirs), [0.5, 0.5]);
}

#[test]
fn floors_and_goals() {
    let peers = everybody("");
    let mut results = Results::default();
    let mut cpu = |peer: &str, rounds: &[f64]| add(&mut results, "bulk-1", peer, Metric::Cpu, rounds);
    cpu("haproxy-plain", &[1.0, 2.0, 1.0]);
    cpu("ours-aes", &[0.6, 1.6, 0.9]);
    cpu("ours-chacha", &[1.3, 2.6, 1.3]);
    let judged = verdict::judge(&results, &peers, peers::OURS);
    let aes = of(&judged, "ours-aes", Metric::Cpu, 0.85);
    assert_eq!((aes.spread.unwrap().median, aes.verdict), (0.8, Verdict::Ok));
    assert_eq!(aes.peer, "haproxy-plain");
    assert_eq!(of(&judged, "ours-chacha", Metric::Cpu, 1.25).verdict, Verdict::Missed);
    // Nobody was measured whose throughput could be held against it; works that did not run have no line.
    assert_eq!(
        of(&judged, "ours-aes", Metric::BytesPerSecond, 1.3).verdict,
        Verdict::Open
    );
    assert!(judged.iter().all(|line| line.rule.work == "bulk-1"));
}

#[test]
fn of_several_peers_the_hardest_counts() {
    let peers = everybody("");
    let mut results = Results::default();
    let mut rate = |peer: &str, rounds: &[f64]| add(&mut results, "request-64", peer, Metric::PerSecond, rounds);
    rate("ours-aes", &[1500.0]);
    rate("spiped", &[500.0]);
    rate("ss-rust-chacha", &[1000.0]);
    // In plaintext, or without a relay, it is no peer that seals.
    rate("haproxy-plain", &[9000.0]);
    rate("direct", &[9000.0]);
    let judged = verdict::judge(&results, &peers, peers::OURS);
    let line = of(&judged, "ours-aes", Metric::PerSecond, 1.25);
    assert_eq!((line.peer.as_str(), line.verdict), ("ss-rust-chacha", Verdict::Goal));
    assert_eq!(line.spread.unwrap().median, 1.5);
}

#[test]
fn figures_that_are_held_against_nobody() {
    let peers = everybody("");
    let mut results = Results::default();
    add(
        &mut results,
        "first-byte",
        "ours-aes",
        Metric::RoundTrips,
        &[1.05, 1.1, 3.0],
    );
    add(&mut results, "first-byte", "ours-chacha", Metric::RoundTrips, &[2.1]);
    let judged = verdict::judge(&results, &peers, peers::OURS);
    assert_eq!(of(&judged, "ours-aes", Metric::RoundTrips, 1.2).verdict, Verdict::Goal);
    assert_eq!(
        of(&judged, "ours-chacha", Metric::RoundTrips, 1.2).verdict,
        Verdict::Missed
    );
}

#[test]
fn every_rule_names_what_there_is() {
    let peers = everybody("--program-without-aead /bin/true");
    for rule in verdict::RULES {
        let work = works::find(rule.work).unwrap();
        assert!(work.columns.contains(&rule.metric), "{rule:?} has no column");
        let (low, high) = (rule.floor.min(rule.goal), rule.floor.max(rule.goal));
        let easier = if Work::more_is_better(rule.metric) { low } else { high };
        assert_eq!(rule.floor, easier, "the goal of {rule:?} is easier than its floor");
        if let Against::These(names) = rule.against {
            for name in names {
                let there = *name == works::IPERF3 || peers.iter().any(|peer| peer.is_called(name));
                assert!(there, "{rule:?}: nobody is called {name}");
            }
        }
    }
}

#[test]
fn names_of_peers() {
    let chosen = |arguments: &str| -> Cast { peers::choose(&options(arguments).unwrap()).unwrap() };
    let names = |cast: Cast| {
        let missing = cast.missing.into_iter().map(|(name, _)| name);
        cast.peers
            .into_iter()
            .map(|peer| peer.name)
            .chain(missing)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(chosen("--peers ours")), ["ours-aes", "ours-chacha"]);
    assert_eq!(names(chosen("--peers direct,ours-aes")), ["direct", "ours-aes"]);
    assert_eq!(
        names(chosen("--peers old --also old=/bin/true")),
        ["old-aes", "old-chacha"]
    );
    let refused = |arguments: &str| peers::choose(&options(arguments).unwrap()).unwrap_err();
    assert!(refused("--peers our").contains("ours-aes"));
    assert_eq!(
        chosen("--peers old --also old=/nowhere").unbuilt,
        Some("old-aes: /nowhere is no file".to_owned())
    );
}

#[test]
fn flags_that_are_refused() {
    for (arguments, why) in [
        ("--works nothing", "bulk-1"),
        ("--works sealing", "--program-without-aead"),
        ("--window 0", "--window"),
        ("--window soon", "no time"),
        ("--rounds 0", "--rounds"),
        ("--also ours=/bin/true", "--program"),
        ("--also /bin/true", "NAME=PATH"),
        ("--unknown", "--unknown"),
        (
            "--markdown /no/such/directory/tables.md",
            "--markdown /no/such/directory/tables.md",
        ),
    ] {
        let said = options(arguments).unwrap_err().to_string();
        assert!(said.contains(why), "{arguments}: {said}");
    }
    // All but what needs a build that is not there; by default those that are short.
    let works = |arguments: &str| options(arguments).unwrap().works.len();
    assert_eq!(works("--works all"), works::ALL.len() - 1);
    assert_eq!(works("--works all --program-without-aead /bin/true"), works::ALL.len());
    assert_eq!(works(""), works::ALL.iter().filter(|work| !work.long).count());
}

#[test]
fn tables() {
    let mut table = Table::new(1, ["peer", "CPU"]);
    table.rows.push(vec!["ours".to_owned(), "0.77".to_owned()]);
    table.rows.push(vec!["a long name".to_owned(), "-".to_owned()]);
    assert_eq!(
        table.plain(),
        "  peer          CPU\n  ours         0.77\n  a long name     -\n"
    );
    assert_eq!(
        table.markdown(),
        "| peer | CPU |\n|---|---:|\n| ours | 0.77 |\n| a long name | - |\n"
    );
}
