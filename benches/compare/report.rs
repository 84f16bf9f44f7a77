//! What a comparison came to, for people: who took part, a table for each work, floors and goals, errors.

use std::fmt::Write;

use crate::{
    figures::Spread,
    flags::Options,
    machine,
    peers::{self, Cast, Peer},
    quantity,
    results::{Metric, Results},
    stage::Stage,
    table::Table,
    verdict::{self, Against, Judged},
    works::{self, Kind, Work},
};

/// Peers and works, and what is missing: `--list`.
pub fn list(cast: &Cast) -> String {
    let mut peers = Table::new(3, ["peer", "is", "version"]);
    for peer in &cast.peers {
        peers.rows.push(vec![peer.name.clone(), peer.what(), peer.version()]);
    }
    for (name, advice) in &cast.missing {
        peers
            .rows
            .push(vec![name.clone(), format!("left out: {advice}"), String::new()]);
    }
    let mut works = Table::new(3, ["work", "is", ""]);
    for work in works::ALL {
        let when = if work.long { "on request" } else { "by default" };
        works
            .rows
            .push(vec![work.name.to_owned(), work.says.to_owned(), when.to_owned()]);
    }
    format!("{}\n{}", peers.plain(), works.plain())
}

/// Parts, each of which is rendered in two ways.
enum Part {
    Heading(String),
    Text(String),
    Lines(Vec<String>),
    Table(Table),
}

pub struct Report {
    parts: Vec<Part>,
}

impl Report {
    pub fn new(options: &Options, stage: &Stage, results: &Results) -> Report {
        let peers = &stage.cast.peers;
        let mut parts = about(options, results);
        parts.extend(who(stage));
        let judged = verdict::judge(results, peers, peers::OURS);
        if !judged.is_empty() {
            parts.push(Part::Heading("Floors and goals".to_owned()));
            parts.push(Part::Text(
                "Ratios are ours over theirs within a round: the median of all rounds, then the least and the most. Of several peers the one \
                 that is hardest to beat stands here."
                    .to_owned(),
            ));
            parts.push(Part::Table(verdicts(&judged)));
        }
        for work in options.works.iter().filter(|work| !results.peers(work.name).is_empty()) {
            parts.push(Part::Heading(format!("{}: {}", work.name, work.says)));
            parts.push(Part::Table(of_work(work, peers, results)));
        }
        for (name, _) in &options.also {
            parts.push(Part::Heading(format!("{name}, held against {}", peers::OURS)));
            parts.push(Part::Table(builds(options, name, results)));
        }
        let errors = results.errors();
        if !errors.is_empty() {
            parts.push(Part::Heading(format!("{} errors", errors.len())));
            parts.push(Part::Lines(errors));
        }
        Report { parts }
    }

    pub fn plain(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let _ = match part {
                Part::Heading(heading) => writeln!(text, "\n{heading}\n"),
                Part::Text(words) => writeln!(text, "  {words}\n"),
                Part::Lines(lines) => writeln!(text, "  {}", lines.join("\n").replace('\n', "\n  ")),
                Part::Table(table) => write!(text, "{}", table.plain()),
            };
        }
        text
    }

    pub fn markdown(&self) -> String {
        let mut text = "# How the pair compares\n".to_owned();
        for part in &self.parts {
            let _ = match part {
                Part::Heading(heading) => writeln!(text, "\n## {heading}"),
                Part::Text(words) => writeln!(text, "\n{words}"),
                Part::Lines(lines) => writeln!(text, "\n    {}", lines.join("\n").replace('\n', "\n    ")),
                Part::Table(table) => write!(text, "\n{}", table.markdown()),
            };
        }
        text
    }
}

fn about(options: &Options, results: &Results) -> Vec<Part> {
    let mut rows = vec![
        ("command".to_owned(), options.command_line.clone()),
        (
            "date".to_owned(),
            peers::said(std::process::Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
        ),
        (
            "rounds".to_owned(),
            format!(
                "{}{}, {} s a window after {} s of warm-up",
                results.rounds,
                if results.interrupted { ", then interrupted" } else { "" },
                options.window.as_secs_f64(),
                options.warmup.as_secs_f64()
            ),
        ),
    ];
    rows.extend(machine::describe().into_iter().filter(|(name, _)| name != "wa-sidecar"));
    if !results.peers("far-bulk").is_empty() {
        let version = peers::find(works::IPERF3).map(|file| peers::said(std::process::Command::new(file).arg("-v")));
        rows.push((works::IPERF3.to_owned(), version.unwrap_or_default()));
    }
    let mut table = Table::new(2, ["", "measured"]);
    table.rows = rows.into_iter().map(|(name, value)| vec![name, value]).collect();
    vec![Part::Table(table)]
}

fn who(stage: &Stage) -> Vec<Part> {
    let mut table = Table::new(3, ["peer", "is", "version"]);
    for peer in &stage.cast.peers {
        table.rows.push(vec![peer.name.clone(), peer.what(), peer.version()]);
    }
    let mut parts = vec![Part::Heading("Who".to_owned()), Part::Table(table)];
    let missing = stage
        .cast
        .missing
        .iter()
        .map(|(name, advice)| format!("without {name}: {advice}"));
    let failed = stage
        .failures
        .iter()
        .map(|(name, why)| format!("without {name}, which did not start: {why}"));
    let lines: Vec<String> = missing.chain(failed).collect();
    if !lines.is_empty() {
        parts.push(Part::Lines(lines));
    }
    parts
}

/// A row a peer: medians, and what they are over those of the plaintext pair and of the best that seals.
fn of_work(work: &Work, peers: &[Peer], results: &Results) -> Table {
    let unit = |metric: Metric| match metric {
        Metric::Cpu if !work.unit.is_empty() => format!("CPU, {}", work.unit),
        _ => metric.name(),
    };
    let compared = compared(work);
    let mut head: Vec<String> = vec!["peer".to_owned()];
    head.extend(work.columns.iter().map(|&metric| unit(metric)));
    let best = |metric| best_sealed(work, metric, peers, results);
    for &metric in &compared {
        head.push(format!("{} / {}", metric.name(), peers::PLAIN));
        if let Some(best) = best(metric) {
            head.push(format!("{} / {best}", metric.name()));
        }
    }
    let mut table = Table::new(1, head);
    // As they are listed, then those that are not peers, such as iperf3.
    let measured = results.peers(work.name);
    let mut names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    names.extend(
        measured
            .iter()
            .filter(|name| peers.iter().all(|peer| peer.name != **name)),
    );
    for name in names.into_iter().filter(|name| measured.contains(name)) {
        let mut row = vec![name.to_owned()];
        for &metric in work.columns {
            let spread = results.spread(work.name, name, metric);
            row.push(spread.map_or("-".to_owned(), |spread| figure(metric, spread.median)));
        }
        for &metric in &compared {
            for other in std::iter::once(peers::PLAIN.to_owned()).chain(best(metric)) {
                row.push(ratio(results.ratio(work.name, name, &other, metric)));
            }
        }
        table.rows.push(row);
    }
    table
}

/// The figures that are shown as ratios too.
fn compared(work: &Work) -> Vec<Metric> {
    match work.kind {
        Kind::Load(arguments) if arguments[0] == "bulk" => vec![Metric::BytesPerSecond, Metric::Cpu],
        Kind::Load(arguments) if arguments[0] == "mixed" => vec![Metric::Fairness],
        Kind::Load(_) => vec![Metric::PerSecond, Metric::Cpu],
        Kind::Memory => vec![Metric::PerStream],
        Kind::Sealing | Kind::FirstByte | Kind::Far | Kind::Growth => Vec::new(),
    }
}

/// The peer that seals whose median is the best.
fn best_sealed(work: &Work, metric: Metric, peers: &[Peer], results: &Results) -> Option<String> {
    let medians = peers.iter().filter(|peer| peer.is_sealed_peer()).filter_map(|peer| {
        let spread = results.spread(work.name, &peer.name, metric)?;
        Some((peer.name.clone(), spread.median))
    });
    let better = |a: &(String, f64), b: &(String, f64)| match Work::more_is_better(metric) {
        true => a.1.total_cmp(&b.1),
        false => b.1.total_cmp(&a.1),
    };
    medians.max_by(better).map(|(name, _)| name)
}

fn verdicts(judged: &[Judged]) -> Table {
    let mut table = Table::new(
        4,
        [
            "work", "figure", "ours", "against", "median", "least", "most", "floor", "goal", "",
        ],
    );
    for line in judged {
        let rule = &line.rule;
        let shown = |value: f64| match rule.against {
            Against::Itself => figure(rule.metric, value),
            _ => format!("{value:.2}"),
        };
        let bound = |value: f64| match Work::more_is_better(rule.metric) && rule.against != Against::Itself {
            true => format!(">= {value:.2}"),
            false => format!("<= {}", shown(value)),
        };
        let spread = |of: fn(Spread) -> f64| line.spread.map_or("-".to_owned(), |spread| shown(of(spread)));
        let against = match (rule.against, line.peer.as_str()) {
            (Against::Itself, _) => "itself",
            (_, "") => "nobody is there",
            (_, peer) => peer,
        };
        table.rows.push(vec![
            rule.work.to_owned(),
            rule.metric.name(),
            line.ours.clone(),
            against.to_owned(),
            spread(|spread| spread.median),
            spread(|spread| spread.least),
            spread(|spread| spread.most),
            bound(rule.floor),
            bound(rule.goal),
            line.verdict.name().to_owned(),
        ]);
    }
    table
}

/// Another build over ours, for each work and suite.
fn builds(options: &Options, name: &str, results: &Results) -> Table {
    let mut table = Table::new(3, ["work", "figure", "suite", "median", "least", "most"]);
    for work in &options.works {
        for &metric in work.columns {
            for suite in ["aes", "chacha"] {
                let (theirs, ours) = (format!("{name}-{suite}"), format!("{}-{suite}", peers::OURS));
                if let Some(spread) = results.ratio(work.name, &theirs, &ours, metric) {
                    let figures = [spread.median, spread.least, spread.most].map(|value| format!("{value:.3}"));
                    let names = [work.name.to_owned(), metric.name(), suite.to_owned()];
                    table.rows.push(names.into_iter().chain(figures).collect());
                }
            }
        }
    }
    table
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or("-".to_owned(), |spread| {
        format!("{:.2} ({:.2}-{:.2})", spread.median, spread.least, spread.most)
    })
}

fn figure(metric: Metric, value: f64) -> String {
    match metric {
        Metric::BytesPerSecond => format!("{}/s", quantity::bytes(value)),
        Metric::PerSecond => format!("{}/s", quantity::count(value)),
        Metric::P50 | Metric::P99 | Metric::P99Alone => quantity::micros(value),
        Metric::Idle | Metric::IdleResident | Metric::Busy | Metric::BusyPeak => format!("{:.1} MiB", value / 1024.0),
        Metric::PerStream => format!("{value:.2} KiB"),
        Metric::IdleStreams => quantity::count(value),
        Metric::Cpu
        | Metric::CpuAt(_)
        | Metric::Fairness
        | Metric::RoundTrips
        | Metric::GrowthTo1000
        | Metric::GrowthTo5000 => quantity::three_digits(value),
    }
}
