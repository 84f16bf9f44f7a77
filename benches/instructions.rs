//! Instructions of each operation of `cases`, counted by valgrind, against the committed limits: a guard that does not depend on
//! the machine's mood. `cargo bench --bench instructions`; a name chooses; `--write` makes what was counted the limits;
//! `--profile NAME` leaves a callgrind profile.
//!
//! Every case runs twice, for N and for 2N operations, in processes of their own: what the second has more is N operations, and
//! preparation cancels out. valgrind's CPU has no AVX-512: on a host that has it, aws-lc runs other code than is counted here.

mod cases;
mod limits;
mod pair;

use cases::Case;
use limits::{Counted, Limits};
use std::env;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// For code that is another compiler's or C library's; on one host the counts repeat.
const TOLERANCE: f64 = 0.02;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let cases = cases::all();
    let named = |name: &str| cases.iter().find(|case| case.name == name);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--run", name, prepared, rounds] => {
            let case = named(name).expect("a case");
            let mut run = (case.make)(prepared.parse().expect("a number"));
            for _ in 0..rounds.parse().expect("a number") {
                run();
            }
            ExitCode::SUCCESS
        }
        ["--profile", name] => {
            let case = named(name).expect("a case, by its full name");
            callgrind(case, 2, "callgrind.out");
            println!("callgrind_annotate callgrind.out   # {} operations", 2 * case.rounds);
            ExitCode::SUCCESS
        }
        _ => guard(&cases, &words),
    }
}

fn guard(cases: &[Case], words: &[&str]) -> ExitCode {
    let (flags, filters): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    let chosen: Vec<&Case> = cases
        .iter()
        .filter(|case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter)))
        .collect();
    let (next, threads) = (
        AtomicUsize::new(0),
        thread::available_parallelism().map_or(1, usize::from),
    );
    let mut counted: Vec<(usize, f64)> = thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            loop {
                let i = next.fetch_add(1, Relaxed);
                let Some(case) = chosen.get(i) else { return mine };
                mine.push((i, count(case)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("counted"))
            .collect()
    });
    counted.sort_by_key(|(i, _)| *i);
    let counted = counted.into_iter().zip(&chosen).map(|((_, count), case)| Counted {
        name: case.name.clone(),
        count,
        tolerance: TOLERANCE,
        detail: String::new(),
    });
    Limits::read("instructions").judge(
        &counted.collect::<Vec<_>>(),
        flags.contains(&"--write"),
        filters.is_empty(),
    )
}

/// Instructions of one operation.
fn count(case: &Case) -> f64 {
    let [once, twice] = [1, 2].map(|times| callgrind(case, times, "/dev/null"));
    (twice - once) as f64 / case.rounds as f64
}

/// Instructions of a process that runs `times` the rounds of a case.
fn callgrind(case: &Case, times: usize, profile: &str) -> i64 {
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={profile}"))
        .arg(env::current_exe().expect("itself"))
        .args(["--run", &case.name])
        .args([2 * case.rounds, times * case.rounds].map(|n| n.to_string()))
        .output()
        .expect("valgrind, of .ci/packages");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", case.name);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected.expect("callgrind's sum").1.trim().parse().expect("a number")
}
