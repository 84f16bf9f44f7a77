//! The comparison, as one command: `cargo compare --help`, and benches/README.md.
//!
//!     flags -> peers (what is installed) -> stage (pairs that run) -> rounds (windows, interleaved) -> results
//!           -> verdict (floors and goals) -> report
//!
//! Promises: what counts is a ratio within one round; a peer that is left out is named; exit code 0 only if no operation
//! failed anywhere. A goal that was missed is no error: it stands in the table.

#![forbid(unsafe_code)]

mod figures;
mod flags;
mod generator;
mod iperf3;
#[path = "../load/limits.rs"]
mod limits;
#[path = "../load/machine.rs"]
mod machine;
mod material;
mod memory;
#[path = "../load/output.rs"]
mod output;
mod pair;
mod path;
mod peers;
mod probe;
mod processes;
#[path = "../load/quantity.rs"]
#[allow(dead_code, reason = "the load generator needs more of it")]
mod quantity;
mod report;
mod results;
mod rounds;
mod stage;
mod table;
mod verdict;
mod window;
mod works;

use std::{env, io::Write, process::ExitCode};

use flags::Options;

/// Exit codes, as those of the sidecar.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const FAILED: u8 = 70;

fn main() -> ExitCode {
    if env::args_os().skip(1).eq(["--bench"]) {
        // `cargo bench` runs all benches.
        println!("compare: takes most of an hour and other programs; see `cargo compare --help`");
        return ExitCode::SUCCESS;
    }
    let result = match flags::parse(env::args_os()) {
        Ok(options) => compare(&options),
        Err(error) => {
            // Help is no error; a closed stdout is nobody's.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            eprintln!("compare: {message}");
            ExitCode::from(code)
        }
    }
}

type Result<T> = std::result::Result<T, (u8, String)>;

fn compare(options: &Options) -> Result<()> {
    let unavailable = |message| (UNAVAILABLE, message);
    let cast = peers::choose(options).map_err(|message| (USAGE, message))?;
    if options.list {
        print!("{}", report::list(&cast));
        return Ok(());
    }
    if let Some(message) = cast.unbuilt {
        return Err(unavailable(message));
    }
    let generator = generator::find(options.generator.as_deref()).map_err(unavailable)?;
    let limit = limits::raise();
    let stop = rounds::stop_on_signals().map_err(|error| (FAILED, error.to_string()))?;
    let mut stage = stage::Stage::new(options, cast, &generator, limit).map_err(unavailable)?;
    let results = rounds::run(options, &mut stage, &stop);
    let text = report::Report::new(options, &stage, &results);
    let failed = |error: std::io::Error| (FAILED, error.to_string());
    std::io::stdout().write_all(text.plain().as_bytes()).map_err(failed)?;
    let written = |flag, file, text: &str| output::write(flag, file, text).map_err(|message| (FAILED, message));
    if let Some(file) = &options.markdown {
        written("markdown", file, &text.markdown())?;
    }
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&results.json()).map_err(|error| (FAILED, error.to_string()))?;
        written("json", file, &(json + "\n"))?;
    }
    match (results.is_empty(), stage.failures.len() + results.errors().len()) {
        (true, _) => Err((FAILED, "nothing was measured".to_owned())),
        (false, 0) => Ok(()),
        (false, errors) => Err((FAILED, format!("{errors} errors: they are named above"))),
    }
}
