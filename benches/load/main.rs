//! The load generator: `cargo load --help`, and benches/README.md.
//!
//!     flags -> plan -> run (threads: work, client, answer; schedule; tally) -> outcome -> table, JSON, page
//!
//! Promises: exit code 0 only if something was measured and nothing failed.

#![forbid(unsafe_code)]

mod address;
mod answer;
mod client;
mod cpu;
mod fault;
mod figures;
mod flags;
mod limits;
mod machine;
mod outcome;
mod output;
mod page;
mod pattern;
mod plan;
mod plot;
mod progress;
mod quantity;
mod run;
mod schedule;
mod serve;
mod tally;
mod work;

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use flags::Invocation;
use outcome::Outcome;
use progress::Progress;

/// Exit codes, as those of the sidecar.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const FAILED: u8 = 70;

fn main() -> ExitCode {
    if env::args_os().skip(1).eq(["--bench"]) {
        // `cargo bench` runs all benches.
        println!("load: has no address to load; see `cargo load --help`");
        return ExitCode::SUCCESS;
    }
    limits::raise();
    let result = match flags::parse(env::args_os()) {
        Ok(Invocation::Serve(options)) => serve(&options),
        Ok(Invocation::Run(options)) => measure(&options),
        Ok(Invocation::Report { files, page }) => report(&files, &page),
        Err(error) => {
            // Help is no error; a closed stdout is nobody's.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            eprintln!("load: {message}");
            ExitCode::from(code)
        }
    }
}

type Result = std::result::Result<(), (u8, String)>;

fn serve(options: &flags::Serve) -> Result {
    let door = serve::bind(&options.listen).map_err(|message| (UNAVAILABLE, message))?;
    println!("{}", door.address());
    door.serve(options.threads)
        .map_err(|error| (FAILED, format!("serve: {error}")))
}

fn measure(options: &flags::Run) -> Result {
    let failed = |error: std::io::Error| (FAILED, error.to_string());
    let (plan, heading) = plan::make(options).map_err(|error| match error {
        address::Error::Form(message) => (USAGE, message),
        address::Error::Unknown(message) => (UNAVAILABLE, message),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let outcome = runtime.block_on(async {
        if let Err(fault) = run::probe(&plan.target, plan.timeout).await {
            return Err((
                UNAVAILABLE,
                format!(
                    "cannot reach {}: {}\n      {}",
                    plan.target,
                    fault.detail,
                    plan.target.advice()
                ),
            ));
        }
        let measured = run::run(&plan, &mut Progress::new(options.quiet))
            .await
            .map_err(failed)?;
        Ok(Outcome::new(heading, measured))
    })?;
    publish(options, &outcome)?;
    if outcome.is_good() {
        Ok(())
    } else if outcome.errors == 0 {
        Err((FAILED, format!("nothing was answered within {:.1} s", outcome.seconds)))
    } else {
        Err((FAILED, format!("{} errors", outcome.errors)))
    }
}

fn publish(options: &flags::Run, outcome: &Outcome) -> Result {
    let mut stdout = std::io::stdout();
    let mut say = |text: &str| {
        let said = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        said.map_err(|error| (FAILED, format!("stdout: {error}")))
    };
    let json = || serde_json::to_string_pretty(outcome).map(|text| text + "\n");
    let json = json().map_err(|error| (FAILED, error.to_string()))?;
    let written = |flag, path, text: &str| output::write(flag, path, text).map_err(|message| (FAILED, message));
    match options.json.as_deref() {
        Some(path) if path == Path::new(flags::STDOUT) => say(&json)?,
        path => {
            say(&outcome.table())?;
            if let Some(path) = path {
                written("json", path, &json)?;
            }
        }
    }
    if let Some(path) = &options.report {
        written("report", path, &page::render(std::slice::from_ref(outcome)))?;
    }
    Ok(())
}

fn report(files: &[PathBuf], page: &Path) -> Result {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str::<Outcome>(&text)
            .map_err(|error| format!("{} is no result of --json: {error}", path.display()))
    };
    let runs = files
        .iter()
        .map(read)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|message| (USAGE, message))?;
    output::write("report", page, &page::render(&runs)).map_err(|message| (FAILED, message))
}
