//! The command line.
//!
//! Promises: all that can be judged without the machine is judged here, before anything runs.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, error::ErrorKind, value_parser};

use crate::{
    output, peers, quantity,
    works::{self, Work},
};

const ABOUT: &str = "\
Compares the pair with what else could stand on that hop: HAProxy, nginx, stunnel, spiped, shadowsocks.

Pairs of relays run on loopback, one thread a relay, before the load generator's far end. Every round gives every pair every \
work for a short time; what counts is the ratio within a round.";

const EXAMPLES: &str = "\
Examples:
  benches/compare/install                                        # what it is compared with
  cargo compare --list                                           # peers and works, and what is missing
  cargo compare --rounds 3 --works bulk-1,request-64             # some works
  cargo compare --peers haproxy-plain,ours --works connection-16 # some peers; a name is also the beginning of names
  cargo compare --works all --markdown tables.md                 # everything but sealing
  cargo compare --peers ours,other --also other=/tmp/other/wa-sidecar   # two builds

Exit codes: 0 done without an error; 64 wrong usage; 69 something that it needs is missing; 70 errors were counted.";

#[derive(Debug)]
pub struct Options {
    pub works: Vec<&'static Work>,
    /// Empty: all.
    pub peers: Vec<String>,
    pub rounds: usize,
    pub window: Duration,
    pub warmup: Duration,
    pub program: PathBuf,
    pub program_without_aead: Option<PathBuf>,
    pub also: Vec<(String, PathBuf)>,
    pub generator: Option<PathBuf>,
    pub markdown: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub list: bool,
    /// How it was called, for the report.
    pub command_line: String,
}

/// # Errors
/// What clap says: usage, or help that was asked for.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, clap::Error> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // `cargo bench` tells every bench that it is one, and the alias says `run` so that this is not all.
    arguments.retain(|argument| argument != "--bench");
    if arguments.get(1).is_some_and(|argument| argument == "run") {
        arguments.remove(1);
    }
    let typed: Vec<_> = arguments
        .iter()
        .skip(1)
        .map(|argument| argument.to_string_lossy())
        .collect();
    let command_line = format!("cargo compare {}", typed.join(" ")).trim().to_owned();
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    resolve(&matches, command_line).map_err(|message| command.error(ErrorKind::ValueValidation, message))
}

fn command() -> Command {
    Command::new("compare")
        .bin_name("cargo compare")
        .about(ABOUT)
        .after_help(EXAMPLES)
        .arg(
            value(
                "works",
                "NAMES",
                "What to measure, comma-separated: see --list; 'all' is all",
            )
            .value_delimiter(','),
        )
        .arg(
            value(
                "peers",
                "NAMES",
                "Whom to compare, comma-separated: see --list; all if left out",
            )
            .value_delimiter(','),
        )
        .arg(
            value("rounds", "N", "How many rounds")
                .default_value("9")
                .value_parser(value_parser!(u16).range(1..)),
        )
        .arg(
            value("window", "TIME", "How long each peer runs each work in a round")
                .default_value("2")
                .value_parser(quantity::parse_duration),
        )
        .arg(
            value("warmup", "TIME", "And so long before that is measured")
                .default_value("700ms")
                .value_parser(quantity::parse_duration),
        )
        .arg(
            value("program", "PATH", "Our program")
                .default_value(peers::OUR_PROGRAM)
                .hide_default_value(true)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            value(
                "also",
                "NAME=PATH",
                "Another build of our program, under this name; may be repeated",
            )
            .action(ArgAction::Append)
            .value_parser(named),
        )
        .arg(
            value(
                "program-without-aead",
                "PATH",
                "A build of our program that does not seal, for the work 'sealing'",
            )
            .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            value("generator", "PATH", "The load generator; else cargo builds it").value_parser(value_parser!(PathBuf)),
        )
        .arg(
            value(
                "markdown",
                "FILE",
                "Write the tables, and on what they were measured, as Markdown",
            )
            .value_parser(value_parser!(PathBuf)),
        )
        .arg(value("json", "FILE", "Write every sample as JSON").value_parser(value_parser!(PathBuf)))
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("Say which peers and works there are, and run nothing"),
        )
}

fn value(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let wrong = || format!("{text:?} is not NAME=PATH, with a name of small letters, digits and hyphens");
    let (name, path) = text.split_once('=').ok_or_else(wrong)?;
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || path.is_empty() || !name.chars().all(fits) {
        return Err(wrong());
    }
    if name == crate::peers::OURS {
        return Err(format!("{name:?} is what --program is called"));
    }
    Ok((name.to_owned(), path.into()))
}

fn resolve(matches: &ArgMatches, command_line: String) -> Result<Options, String> {
    let file = |name| matches.get_one::<PathBuf>(name).cloned();
    let time = |name| matches.get_one::<Duration>(name).copied().unwrap_or_default();
    let names = |name| {
        let values = matches.get_many::<String>(name).into_iter().flatten();
        values.cloned().collect::<Vec<String>>()
    };
    let program_without_aead = file("program-without-aead");
    let options = Options {
        works: choose(&names("works"), program_without_aead.is_some())?,
        peers: names("peers"),
        rounds: matches.get_one::<u16>("rounds").copied().unwrap_or(9).into(),
        window: time("window"),
        warmup: time("warmup"),
        program: file("program").unwrap_or_default(),
        program_without_aead,
        also: matches.get_many("also").into_iter().flatten().cloned().collect(),
        generator: file("generator"),
        markdown: file("markdown"),
        json: file("json"),
        list: matches.get_flag("list"),
        command_line,
    };
    output::judge("markdown", options.markdown.as_deref())?;
    output::judge("json", options.json.as_deref())?;
    match options.window.is_zero() {
        true => Err("--window must be more than 0".to_owned()),
        false => Ok(options),
    }
}

fn choose(names: &[String], can_seal: bool) -> Result<Vec<&'static Work>, String> {
    let all = names == ["all"];
    let mut chosen = Vec::new();
    for name in names.iter().filter(|_| !all) {
        chosen.push(works::find(name).ok_or_else(|| {
            let there: Vec<_> = works::ALL.iter().map(|work| work.name).collect();
            format!("--works: there is no {name:?}; there are {}, and all", there.join(", "))
        })?);
    }
    if chosen.iter().any(|work| work.kind == works::Kind::Sealing) && !can_seal {
        return Err("the work 'sealing' needs --program-without-aead PATH".to_owned());
    }
    if names.is_empty() || all {
        let wanted = |work: &&Work| all && (can_seal || work.kind != works::Kind::Sealing) || !work.long;
        chosen = works::ALL.iter().filter(wanted).collect();
    }
    Ok(chosen)
}
