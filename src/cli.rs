//! The command line: commands, flags, help, exit codes. A contract: scripts are written against it.
//!
//! Promises: flags and their help come from [`crate::config::keys`]; [`parse`] only splits what was typed, values are judged
//! when the configuration is resolved. A [`Failure`] carries the exit code that sysexits(3) has for it.
//! Must not know: what a sidecar does.

mod check;

pub use check::check;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{
    Arg, ArgAction, ArgMatches, Command as Clap,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::config::{
    ConfigError, Flags, Key, RoleName, SecretsError, What,
    keys::{self, ADMIN, CONFIG},
};
use crate::{crypto::secret, net::listen::BindError};

/// Exit codes, as in sysexits(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was typed is wrong.
    Usage = 64,
    /// An address cannot be had, or a peer not be reached.
    Unavailable = 69,
    /// Not the operator's fault.
    Internal = 70,
    /// What was configured elsewhere is wrong: environment, secrets.
    Config = 78,
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// Whole sentences and advice; empty if all was said.
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl ToString) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    /// Says it on stderr.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            // Nobody is left to tell if stderr is gone.
            let _ = writeln!(io::stderr(), "wa-sidecar: {}", self.message);
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(if error.is_usage() { Exit::Usage } else { Exit::Config }, error)
    }
}

impl From<SecretsError> for Failure {
    fn from(error: SecretsError) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        Self::new(Exit::Unavailable, error)
    }
}

/// Standard output is gone.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Internal, error)
    }
}

/// What was asked for.
#[derive(Debug)]
pub enum Command {
    Run(What, Flags),
    Check {
        what: What,
        flags: Flags,
        /// As a file for `run`.
        print: bool,
    },
    Keygen,
    Health(Flags),
    Demo(Demo),
    /// What the demo starts its sidecars as: hidden, and no part of the contract.
    DemoChild(Vec<OsString>),
    /// `--help`, `--version`: print this and be done.
    Print(String),
}

/// How much of a demo.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// End after `calls`.
    pub once: bool,
    pub calls: u64,
}

pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Command::Print(error.render().to_string())),
        Err(error) => return Err(usage(&error)),
    };
    let started = |matches: &ArgMatches| {
        let (name, typed) = matches.subcommand()?;
        let what = match name {
            "webapp" => What::Role(RoleName::Webapp),
            "coreapp" => What::Role(RoleName::Coreapp),
            "run" => What::Run,
            _ => return None,
        };
        let print = matches!(typed.try_get_one::<bool>("print"), Ok(Some(true)));
        Some((what, flags_of(typed), print))
    };
    let command = match matches.subcommand() {
        Some(("keygen", _)) => Some(Command::Keygen),
        Some(("health", flags)) => Some(Command::Health(flags_of(flags))),
        Some(("demo", options)) => Some(Command::Demo(Demo {
            once: options.get_flag("once"),
            calls: options.get_one("calls").copied().unwrap_or(CALLS),
        })),
        Some((DEMO_CHILD, rest)) => {
            let arguments = rest.get_many("arguments").unwrap_or_default();
            Some(Command::DemoChild(arguments.cloned().collect()))
        }
        Some(("check", inner)) => started(inner).map(|(what, flags, print)| Command::Check { what, flags, print }),
        _ => started(&matches).map(|(what, flags, _)| Command::Run(what, flags)),
    };
    command.ok_or_else(|| Failure::new(Exit::Usage, "no command; see:  wa-sidecar --help"))
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    let message = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => format!("no command was given\n\n{text}"),
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => not_here(flag).unwrap_or(text.to_owned()),
        _ => text.to_owned(),
    };
    Failure::new(Exit::Usage, message)
}

/// Better advice than a flag that looks like it.
fn not_here(flag: &str) -> Option<String> {
    if flag.starts_with("--secret") {
        return Some(
            "a secret is never a flag: every user of this host could read it in the list of processes\n  \
             Set WA_SECRET, or write it to a file and set WA_SECRET_FILE to the file's name."
                .to_owned(),
        );
    }
    let key = keys::ALL.into_iter().chain([&CONFIG]).find(|key| key.flag() == flag)?;
    let mut roles: Vec<_> = key.roles.iter().map(|role| role.label()).collect();
    if key.name == CONFIG.name {
        roles = vec!["run", "health"];
    } else if !key.per_table {
        roles.push("run");
    }
    Some(format!(
        "{flag} is not a flag of this command; it belongs to:  {}\n  See:  wa-sidecar {} --help",
        roles.join(", "),
        roles.first()?
    ))
}

/// The flags that were typed.
fn flags_of(matches: &ArgMatches) -> Flags {
    // A command has some of the keys: one that it has not is not there.
    let typed = |key: &&'static Key| matches.try_get_one::<String>(key.name).ok().flatten().cloned();
    Flags(
        keys::ALL
            .iter()
            .chain([&&CONFIG])
            .filter_map(|key| typed(key).map(|value| (key.name, value)))
            .collect(),
    )
}

fn command() -> Clap {
    let webapp = starts(What::Role(RoleName::Webapp))
        .about("Run beside the Webapp: accept it here, and dial the coreapp's sidecar");
    let run = starts(What::Run).about("Run what a file says: several peers and services, both roles in one process");
    let coreapp =
        starts(What::Role(RoleName::Coreapp)).about("Run beside Coreapp: accept links here, and dial the real Coreapp");
    Clap::new("wa-sidecar")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Seals the plaintext TCP hop between a Webapp and a Coreapp, with one sidecar beside each")
        .after_help(PAIR)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .max_term_width(120)
        .subcommand(webapp.clone())
        .subcommand(coreapp.clone())
        .subcommand(run.clone())
        .subcommand(
            Clap::new("keygen")
                .about("Print a new secret, for both sidecars of a pair")
                .after_help(KEYGEN),
        )
        .subcommand(
            Clap::new("check")
                .about("Check a configuration and its secret, bind and send nothing, and show where each value is from")
                .after_help(CHECK)
                .subcommand_required(true)
                .arg_required_else_help(true)
                .disable_help_subcommand(true)
                .subcommand(webapp.arg(print()))
                .subcommand(coreapp.arg(print()))
                .subcommand(run.arg(print())),
        )
        .subcommand(
            Clap::new("health")
                .about("Ask the sidecar that runs here whether it is ready; for container probes")
                .arg(argument(&CONFIG))
                .arg(argument(&ADMIN))
                .after_help(HEALTH),
        )
        .subcommand(demo())
        .subcommand(
            Clap::new(DEMO_CHILD).hide(true).arg(
                Arg::new("arguments")
                    .num_args(1..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .value_parser(clap::value_parser!(OsString)),
            ),
        )
}

/// The hidden command that the demo's sidecars start as.
pub const DEMO_CHILD: &str = "demo-child";
/// Calls of `demo --once`.
const CALLS: u64 = 1_000;

fn demo() -> Clap {
    Clap::new("demo")
        .about("Show a pair at work on this machine: both sidecars, a stand-in Coreapp, a client, and the wire")
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("End by itself, after a number of calls that are all checked"),
        )
        .arg(
            Arg::new("calls")
                .long("calls")
                .value_name("N")
                .requires("once")
                .value_parser(clap::value_parser!(u64).range(1..=1_000_000))
                .help(format!("How many calls --once makes [default: {CALLS}]")),
        )
        .after_help(DEMO)
}

/// A command that starts a sidecar.
fn starts(what: What) -> Clap {
    let config = (what == What::Run).then_some(&CONFIG).into_iter();
    let keys = keys::ALL.into_iter().filter(|key| what.has(key));
    let example = if what == What::Run { FILE } else { PAIR };
    Clap::new(what.label())
        .args(config.chain(keys).map(argument))
        .after_help(format!("{SECRETS}\n\n{example}"))
}

fn print() -> Arg {
    Arg::new("print")
        .long("print")
        .action(ArgAction::SetTrue)
        .help("Show it as a file for `run`: every value with its origin, secrets withheld")
}

fn argument(key: &'static Key) -> Arg {
    let default = key
        .default
        .map(|text| format!(" [default: {text}]"))
        .unwrap_or_default();
    let argument = Arg::new(key.name)
        .long(key.name)
        .value_name(key.value_name)
        .help(format!("{}\n[env: {}]{default}", key.help, key.variable()))
        .allow_negative_numbers(true);
    if key.switch {
        argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        argument
    }
}

const PAIR: &str = "\
A pair, on two hosts:
  wa-sidecar keygen >secret      # once; the same file on both hosts, readable to the sidecar alone
  export WA_SECRET_FILE=secret   # on both
  wa-sidecar coreapp --listen 0.0.0.0:7250 --upstream 127.0.0.1:6250      # beside Coreapp
  wa-sidecar webapp --listen 127.0.0.1:6250 --peer core.example:7250      # beside the Webapp
The Webapp then connects to 127.0.0.1:6250 as if Coreapp were there. Several ports go over the same
links, one to one in their order: 127.0.0.1:6250-6253 for 127.0.0.1:6250 in both of these lines.

Exit codes: 0 done, 64 wrong usage, 69 address or peer unavailable, 70 internal error,
78 bad configuration.";

const FILE: &str = "\
A file of a node that takes links and dials two peers; a flag or variable beats it:
  deployment = \"staging\"
  name = \"node-1\"
  secret_file = \"secret\"                # relative to this file; a secret itself never stands here
  [[coreapp]]
  listen = \"0.0.0.0:7250\"
  upstream = \"127.0.0.1:6250-6252\"
  [coreapp.services]
  health = \"127.0.0.1:6253\"
  [[webapp]]
  listen = \"127.0.0.1:8250-8252\"
  peer = \"node-2.example:7250\"
  peer_name = \"node-2\"
  [[webapp]]
  listen = \"127.0.0.1:9253\"
  services = [\"health\"]
  peer = \"node-3.example:7250\"
  peer_name = \"node-3\"
To see what comes of it:  wa-sidecar check run --config wa-sidecar.toml --print";

const SECRETS: &str = "\
The secret comes from the environment, never from a flag:
  WA_SECRET, or a file that WA_SECRET_FILE names: what both sidecars share (wa-sidecar keygen)
  WA_SECRET_PREVIOUS, WA_SECRET_PREVIOUS_FILE: accepted too while rotating, never dialled with
A flag beats its environment variable, that beats a file (run), and that the default.";

const KEYGEN: &str = "\
For example:
  (umask 077; wa-sidecar keygen >secret)";

const CHECK: &str = "\
For example:
  wa-sidecar check webapp --listen 127.0.0.1:6250 --peer core.example:7250
  wa-sidecar check run --config wa-sidecar.toml --print
Exits with 0 if a sidecar would start with this, else with 64 or 78 as the start would.";

const HEALTH: &str = "\
Exits with 0 if /readyz says so, else with 69 and prints why. In a Dockerfile:
  HEALTHCHECK CMD [\"wa-sidecar\", \"health\"]";

const DEMO: &str = "\
It needs no root, no network and no file: free ports of 127.0.0.1, and a fresh secret that the two
sidecars get in their environment. They are processes of their own, started as an operator would
start them. Between them a tap relays the link and shows what is on the wire.

  wa-sidecar demo                       # look, then a call a second until Ctrl-C, admin pages up
  wa-sidecar demo --once                # the same, ends by itself; for scripts
  wa-sidecar demo --once --calls 20000

Exit codes: 0 every call came back right, 69 a port or a process was denied, 70 anything else.";

/// What keygen prints: from the kernel's randomness, wiped when dropped.
pub fn new_secret() -> Result<zeroize::Zeroizing<String>, Failure> {
    let mut entropy = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *entropy).map_err(|error| Failure::new(Exit::Internal, format!("no randomness: {error}")))?;
    Ok(zeroize::Zeroizing::new(secret::generate(*entropy)))
}

/// Prints one new secret and nothing else.
pub fn keygen() -> Result<(), Failure> {
    let line = new_secret()?;
    writeln!(io::stdout(), "{}", *line)?;
    Ok(())
}
