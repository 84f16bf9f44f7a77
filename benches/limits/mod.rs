//! The committed limits of what is counted, and the verdict on a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Under this share of its limit a count asks for a lower one.
const SLACK: f64 = 0.95;

/// What was counted of one operation.
pub struct Counted {
    pub name: String,
    pub count: f64,
    /// Of a limit that is new.
    pub tolerance: f64,
    /// Where it came from, shown if it is too much.
    pub detail: String,
}

#[derive(serde::Deserialize)]
struct Limit {
    count: f64,
    /// By how much more it may be, as a share.
    tolerance: f64,
}

/// How a count stands to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Within,
    Above,
    Below,
    NoLimit,
}

impl Verdict {
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Above | Self::NoLimit)
    }
    fn text(self) -> &'static str {
        match self {
            Self::Within => "",
            Self::Above => ": MORE THAN THE LIMIT",
            Self::Below => ": lower the limit",
            Self::NoLimit => ": NO LIMIT",
        }
    }
}

/// One table of benches/limits.toml.
pub struct Limits {
    table: &'static str,
    limits: BTreeMap<String, Limit>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/limits.toml")
}

impl Limits {
    pub fn read(table: &'static str) -> Self {
        let text = fs::read_to_string(path()).expect("benches/limits.toml");
        let mut tables: BTreeMap<String, BTreeMap<String, Limit>> = toml::from_str(&text).expect("benches/limits.toml");
        let limits = tables.remove(table).unwrap_or_default();
        Self { table, limits }
    }

    /// How a count stands to its limit.
    pub fn verdict(&self, counted: &Counted) -> Verdict {
        let Some(limit) = self.limits.get(&counted.name) else {
            return Verdict::NoLimit;
        };
        let ratio = counted.count / limit.count;
        // What was not counted at all, NaN, does not pass.
        if ratio.is_nan() || ratio > 1.0 + limit.tolerance {
            Verdict::Above
        } else if ratio < SLACK.min(1.0 - limit.tolerance) {
            Verdict::Below
        } else {
            Verdict::Within
        }
    }

    /// Prints a table of all that was counted and says whether it passes. `all`: nothing was left out on purpose.
    pub fn judge(&self, counted: &[Counted], write: bool, all: bool) -> ExitCode {
        if write {
            self.write(counted);
            return ExitCode::SUCCESS;
        }
        let mut failed = 0;
        println!("{:>14} {:>14} {:>7}  {}", "counted", "limit", "", self.table);
        for one in counted {
            let (verdict, limit) = (self.verdict(one), self.limits.get(&one.name));
            let off = limit.map(|limit| format!("{:+.1}%", (one.count / limit.count - 1.0) * 100.0));
            println!(
                "{:>14} {:>14} {:>7}  {}{}",
                figure(one.count),
                limit.map(|limit| figure(limit.count)).unwrap_or_default(),
                off.unwrap_or_default(),
                one.name,
                verdict.text()
            );
            if verdict.is_failure() {
                failed += 1;
                print!("{}", one.detail);
            }
        }
        if all {
            let is_counted = |name: &String| counted.iter().any(|one| one.name == *name);
            for name in self.limits.keys().filter(|name| !is_counted(name)) {
                println!("{:>14} {:>14} {:>7}  {name}: not counted on this host", "", "", "");
            }
        }
        if failed == 0 {
            return ExitCode::SUCCESS;
        }
        println!("{failed} of {} fail: see CONTRIBUTING.md, \"Cost\"", counted.len());
        ExitCode::FAILURE
    }

    /// Replaces the counts in the file; its comments and tolerances stay.
    fn write(&self, counted: &[Counted]) {
        let text = fs::read_to_string(path()).expect("benches/limits.toml");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let header = format!("[{}]", self.table);
        let start = lines.iter().position(|line| *line == header).expect("its table");
        for Counted {
            name, count, tolerance, ..
        } in counted
        {
            let key = format!("{name:?} = ");
            let count = figure(*count);
            let tolerance = self.limits.get(name).map_or(*tolerance, |limit| limit.tolerance);
            let line = format!("{key}{{ count = {count}, tolerance = {tolerance} }}");
            let end = (start + 1..lines.len())
                .find(|&i| lines[i].starts_with('['))
                .unwrap_or(lines.len());
            match (start..end).find(|&i| lines[i].starts_with(&key)) {
                Some(i) => lines[i] = line,
                None => {
                    let last = (start..end).rev().find(|&i| !lines[i].is_empty()).unwrap_or(start);
                    lines.insert(last + 1, line);
                }
            }
        }
        fs::write(path(), lines.join("\n") + "\n").expect("written");
    }
}

/// Four digits or more.
fn figure(count: f64) -> String {
    match count {
        1000.0.. => format!("{count:.0}"),
        1.0.. => format!("{count:.3}"),
        _ => format!("{count:.5}"),
    }
}
