//! The command line.
//!
//! Promises: all that can be judged without the network is judged here, before anything runs.

use std::{
    ffi::OsString,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::{cpu::Watched, output, quantity};

const ABOUT: &str = "\
Loads a target with HTTP/1.1 and says how fast it was: for a pair of sidecars, a proxy, or a server.

Start with a far end, if there is none yet, and load it, directly or through what stands before it:

    cargo load serve --listen 127.0.0.1:8000
    cargo load request --target 127.0.0.1:8000";

const EXAMPLES: &str = "\
Examples:
  cargo load request --target 127.0.0.1:6250 --connections 64             as fast as it goes (closed loop)
  cargo load request --target 127.0.0.1:6250 --rate 5k --report r.html    at a fixed rate (open loop): for latencies
  cargo load connection --target 127.0.0.1:6250 --cpu-of pair=812,813     a connection each; CPU of two processes
  cargo load bulk --target 127.0.0.1:6250 --streams 8 --bytes 8GiB        throughput
  cargo load mixed --target 127.0.0.1:6250 --rate 1k                      what bulk does to small requests beside it
  cargo load request --target 127.0.0.1:80 --path /index.html             any HTTP server, any path
  cargo load report direct.json sealed.json --report both.html            several runs in one page

ADDRESS is HOST:PORT or unix:/path. Times are 10, 10s, 500ms, 2m; sizes 1024, 64KiB, 1GiB; rates 500, 20k.

Exit codes: 0 done without an error; 64 wrong usage; 69 the target cannot be reached; 70 errors were counted, or nothing was answered.";

const OPEN_LOOP: &str = "\
Operations a second, begun at times that are fixed in advance (open loop). Latency counts from the time at which an \
operation was due, so a target that stalls is seen in full. Without it a connection begins its next operation when the \
last one is done (closed loop): that measures throughput, and hides stalls";

/// In place of a file, for `--json`.
pub const STDOUT: &str = "-";

/// What was asked for.
#[derive(Debug)]
pub enum Invocation {
    Serve(Serve),
    Run(Box<Run>),
    Report { files: Vec<PathBuf>, page: PathBuf },
}

#[derive(Debug)]
pub struct Serve {
    pub listen: String,
    pub threads: usize,
}

/// A measurement.
#[derive(Debug)]
pub struct Run {
    pub work: Work,
    pub target: String,
    /// How the report calls it.
    pub label: Option<String>,
    pub duration: Duration,
    pub warmup: Duration,
    pub timeout: Duration,
    pub threads: usize,
    pub watched: Vec<Watched>,
    pub json: Option<PathBuf>,
    pub report: Option<PathBuf>,
    pub quiet: bool,
}

#[derive(Clone, Debug)]
pub enum Work {
    Request(Small),
    Connection(Small),
    Bulk(Bulk),
    Mixed(Small, Bulk),
}

#[derive(Clone, Debug)]
pub struct Small {
    pub connections: usize,
    pub rate: Option<f64>,
    /// Bytes of an answer, where `path` is ours.
    pub size: Option<u64>,
    pub path: String,
}

#[derive(Clone, Debug)]
pub struct Bulk {
    pub streams: usize,
    pub direction: Direction,
    /// All streams together; `None`: as much as the time allows.
    pub bytes: Option<u64>,
    pub path: Option<String>,
    pub verify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Receive,
    Send,
    Both,
}

/// # Errors
/// What clap says: usage, or help that was asked for.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    // `cargo bench` tells every bench that it is one.
    let arguments = arguments.into_iter().filter(|argument| argument != "--bench");
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    resolve(&matches).map_err(|message| command.error(clap::error::ErrorKind::ValueValidation, message))
}

fn command() -> Command {
    Command::new("load")
        .bin_name("cargo load")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new("serve")
                .about("Be the far end: GET /bytes/N, GET / (1 KiB), POST / (discarded), POST /verify")
                .arg(value("listen", "ADDRESS", "Listen here; port 0 takes a free one. The first line on stdout is the address").default_value("127.0.0.1:8000"))
                .arg(threads()),
        )
        .subcommand(
            small(measurement("request", "Requests on connections that are kept"), "connections", "64")
                .after_help("Without --rate: throughput. With it: latencies at that rate, none omitted."),
        )
        .subcommand(
            small(measurement("connection", "A connection for each request, its answer read until EOF"), "concurrency", "16")
                .after_help("Connect, request with `Connection: close`, answer until EOF, its length checked: one operation."),
        )
        .subcommand(
            bulk(measurement("bulk", "Large transfers"), "8")
                .arg(value("bytes", "SIZE", "Stop after so many bytes, all streams together, instead of after --duration").value_parser(quantity::parse_bytes).conflicts_with("duration"))
                .arg(value("path", "PATH", "GET this instead of /bytes/N, or POST to this instead of /"))
                .after_help("The length of every answer is checked; its content too with --verify, against `cargo load serve`."),
        )
        .subcommand(
            bulk(small(measurement("mixed", "Small requests alone, then beside bulk"), "connections", "16"), "1")
                .after_help(
                    "Each half lasts --duration. The fairness ratio is p99 of the small requests beside bulk over p99 alone:\n1 would be perfect. With --rate both halves have the same load.",
                ),
        )
        .subcommand(
            Command::new("report")
                .about("One page of several runs, from their --json files")
                .arg(Arg::new("files").value_name("FILE.json").required(true).num_args(1..).value_parser(value_parser!(PathBuf)))
                .arg(value("report", "FILE.html", "The page").required(true).value_parser(value_parser!(PathBuf))),
        )
}

fn measurement(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .arg(value("target", "ADDRESS", "Whom to load").required(true))
        .arg(
            value("duration", "TIME", "How long to measure")
                .default_value("10")
                .value_parser(quantity::parse_duration),
        )
        .arg(
            value("warmup", "TIME", "Run so long before measuring")
                .default_value("1")
                .value_parser(quantity::parse_duration),
        )
        .arg(
            value("timeout", "TIME", "An operation that takes longer is an error")
                .default_value("10")
                .value_parser(quantity::parse_duration),
        )
        .arg(threads())
        .arg(
            value(
                "cpu-of",
                "NAME=PID[,PID]",
                "Measure the CPU time of these processes, under this name; may be repeated",
            )
            .action(ArgAction::Append)
            .value_parser(Watched::parse),
        )
        .arg(
            value(
                "json",
                "FILE",
                "Write the result as JSON; '-' is stdout, instead of the table",
            )
            .value_parser(value_parser!(PathBuf)),
        )
        .arg(value("report", "FILE.html", "Write a page with plots").value_parser(value_parser!(PathBuf)))
        .arg(value("label", "TEXT", "What the report calls this run"))
        .arg(
            Arg::new("quiet")
                .long("quiet")
                .action(ArgAction::SetTrue)
                .help("No progress on stderr"),
        )
}

fn small(command: Command, many: &'static str, default: &'static str) -> Command {
    command
        .arg(
            value(many, "N", "How many at a time")
                .default_value(default)
                .value_parser(quantity::parse_count),
        )
        .arg(value("rate", "RATE", OPEN_LOOP).value_parser(quantity::parse_rate))
        .arg(
            value("size", "SIZE", "Bytes of an answer: GET /bytes/SIZE")
                .default_value("1024")
                .value_parser(quantity::parse_bytes),
        )
        .arg(value("path", "PATH", "GET this instead"))
}

fn bulk(command: Command, streams: &'static str) -> Command {
    command
        .arg(
            value("streams", "N", "Bulk transfers at a time")
                .default_value(streams)
                .value_parser(quantity::parse_count),
        )
        .arg(
            value("direction", "WAY", "As seen from here; with 'both' streams take turns")
                .default_value("receive")
                .value_parser(["receive", "send", "both"]),
        )
        .arg(
            Arg::new("verify")
                .long("verify")
                .action(ArgAction::SetTrue)
                .help("Compare every byte, not only lengths; needs `cargo load serve`"),
        )
}

fn threads() -> Arg {
    value("threads", "N", "Threads, one runtime each")
        .default_value("1")
        .value_parser(quantity::parse_count)
}

fn value(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

fn resolve(matches: &ArgMatches) -> Result<Invocation, String> {
    // Every command is in the table above, and clap insists on one.
    let Some((name, matches)) = matches.subcommand() else {
        return Err("no command".to_owned());
    };
    match name {
        "serve" => Ok(Invocation::Serve(Serve {
            listen: text(matches, "listen").unwrap_or_default(),
            threads: number(matches, "threads"),
        })),
        "report" => {
            let page = matches.get_one::<PathBuf>("report").cloned().unwrap_or_default();
            output::judge("report", Some(&page))?;
            Ok(Invocation::Report {
                files: matches
                    .get_many::<PathBuf>("files")
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect(),
                page,
            })
        }
        _ => {
            let work = match name {
                "request" => Work::Request(small_of(matches, "connections")?),
                "connection" => Work::Connection(small_of(matches, "concurrency")?),
                "bulk" => Work::Bulk(bulk_of(matches)?),
                _ => Work::Mixed(
                    small_of(matches, "connections")?,
                    Bulk {
                        bytes: None,
                        path: None,
                        ..bulk_of(matches)?
                    },
                ),
            };
            run_of(matches, work)
        }
    }
}

fn run_of(matches: &ArgMatches, work: Work) -> Result<Invocation, String> {
    let time = |name| matches.get_one::<Duration>(name).copied().unwrap_or_default();
    let run = Run {
        work,
        target: text(matches, "target").unwrap_or_default(),
        label: text(matches, "label"),
        duration: time("duration"),
        warmup: time("warmup"),
        timeout: time("timeout"),
        threads: number(matches, "threads"),
        watched: matches
            .get_many::<Watched>("cpu-of")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        json: matches.get_one::<PathBuf>("json").cloned(),
        report: matches.get_one::<PathBuf>("report").cloned(),
        quiet: matches.get_flag("quiet"),
    };
    for (name, time) in [("duration", run.duration), ("timeout", run.timeout)] {
        if time.is_zero() {
            return Err(format!("--{name} must be more than 0"));
        }
    }
    output::judge("json", run.json.as_deref().filter(|path| *path != Path::new(STDOUT)))?;
    output::judge("report", run.report.as_deref())?;
    if run.json.is_some() && run.json == run.report {
        return Err("--json and --report name the same file".to_owned());
    }
    for group in &run.watched {
        group.seconds()?;
    }
    Ok(Invocation::Run(Box::new(run)))
}

fn small_of(matches: &ArgMatches, many: &str) -> Result<Small, String> {
    let path = text(matches, "path");
    let size = matches.get_one::<u64>("size").copied().unwrap_or(1024);
    let typed = matches.value_source("size") == Some(clap::parser::ValueSource::CommandLine);
    if path.is_some() && typed {
        return Err("--size is for /bytes/SIZE, which --path replaces: leave one of them out".to_owned());
    }
    Ok(Small {
        connections: number(matches, many),
        rate: matches.get_one::<f64>("rate").copied(),
        size: path.is_none().then_some(size),
        path: path.map_or_else(|| Ok(format!("/bytes/{size}")), judge_path)?,
    })
}

fn bulk_of(matches: &ArgMatches) -> Result<Bulk, String> {
    let direction = match matches.get_one::<String>("direction").map(String::as_str) {
        Some("send") => Direction::Send,
        Some("both") => Direction::Both,
        _ => Direction::Receive,
    };
    // Only bulk has these; mixed has --path for its small requests.
    let bytes = matches.try_get_one::<u64>("bytes").ok().flatten().copied();
    let path = text(matches, "path").map(judge_path).transpose()?;
    let streams = number(matches, "streams");
    if bytes.is_some_and(|bytes| bytes < streams as u64) {
        return Err("--bytes is less than a byte a stream".to_owned());
    }
    Ok(Bulk {
        streams,
        direction,
        bytes,
        path,
        verify: matches.get_flag("verify"),
    })
}

/// A path goes into a request line as it is.
fn judge_path(path: String) -> Result<String, String> {
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(path)
    } else {
        Err(format!(
            "--path {path:?} must begin with / and have no blanks (%20 is one)"
        ))
    }
}

fn text(matches: &ArgMatches, name: &str) -> Option<String> {
    matches.get_one::<String>(name).cloned()
}

fn number(matches: &ArgMatches, name: &str) -> usize {
    matches.get_one::<NonZeroUsize>(name).map_or(1, |number| number.get())
}
