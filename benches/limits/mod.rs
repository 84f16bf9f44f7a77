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
    /// Where it came from, shown if it is too much.
    pub detail: String,
}

#[derive(serde::Deserialize)]
struct Limit {
    count: f64,
    /// By how much more it may be, as a share.
    tolerance: f64,
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

    /// Prints a table of all that was counted and says whether it passes. `all`: nothing was left out on purpose.
    pub fn judge(mut self, counted: Vec<Counted>, write: bool, all: bool) -> ExitCode {
        if write {
            self.write(&counted);
            return ExitCode::SUCCESS;
        }
        let mut failed = Vec::new();
        println!("{:>14} {:>14} {:>7}  {}", "counted", "limit", "", self.table);
        for Counted { name, count, detail } in &counted {
            let Some(limit) = self.limits.remove(name) else {
                println!("{:>14} {:>14} {:>7}  {name}: NO LIMIT", figure(*count), "", "");
                failed.push(name);
                continue;
            };
            let ratio = count / limit.count;
            let verdict = if ratio > 1.0 + limit.tolerance {
                failed.push(name);
                ": MORE THAN THE LIMIT"
            } else if ratio < SLACK.min(1.0 - limit.tolerance) {
                ": lower the limit"
            } else {
                ""
            };
            let (counted, limit) = (figure(*count), figure(limit.count));
            println!(
                "{counted:>14} {limit:>14} {:>+6.1}%  {name}{verdict}",
                (ratio - 1.0) * 100.0
            );
            if failed.last() == Some(&name) && !detail.is_empty() {
                println!("{detail}");
            }
        }
        if all {
            for name in self.limits.keys() {
                println!("{:>14} {:>14} {:>7}  {name}: not counted on this host", "", "", "");
            }
        }
        if failed.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!(
            "{} of {} above their limits: see CONTRIBUTING.md, \"Cost\"",
            failed.len(),
            counted.len()
        );
        ExitCode::FAILURE
    }

    /// Replaces the counts in the file; its comments and tolerances stay.
    fn write(&self, counted: &[Counted]) {
        let text = fs::read_to_string(path()).expect("benches/limits.toml");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let header = format!("[{}]", self.table);
        let start = lines.iter().position(|line| *line == header).expect("its table");
        for Counted { name, count, .. } in counted {
            let key = format!("{name:?} = ");
            let count = figure(*count);
            let tolerance = self.limits.get(name).map_or(0.02, |limit| limit.tolerance);
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

/// Instructions are whole, system calls are small numbers.
fn figure(count: f64) -> String {
    if count >= 1000.0 {
        format!("{count:.0}")
    } else {
        format!("{count:.2}")
    }
}
