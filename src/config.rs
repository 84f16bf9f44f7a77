//! From what the operator wrote to a configuration that can be run.
//!
//! Promises: a [`Config`] is valid as a whole and nothing was bound, dialled or looked up to make it. An error names
//! the value, where it came from and what would be right. Each setting is looked for in its flag, then in its
//! environment variable, then in the file, then in its default.
//! Must not know: how flags are parsed, what a setting does, the secrets' meaning.

mod address;
mod addresses;
mod environment;
mod file;
pub mod keys;
mod origin;
mod secrets;
mod service;
mod tables;
mod values;

use std::{collections::BTreeMap, fmt, thread, time::Duration};

pub use address::Address;
pub use environment::Environment;
pub use file::FileError;
pub use keys::Key;
pub use origin::{Effective, Origin, Section};
pub use secrets::{Loaded, SecretFiles, SecretOrigin, Secrets, SecretsError};
pub use service::{Service, Target, Targets};
pub use values::Cipher;

use file::{File, Place};
use origin::Resolver;
use tables::tables;

use crate::{
    logs::{self, LogFormat},
    wire::Name,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleName {
    Webapp,
    Coreapp,
}

impl RoleName {
    pub const fn label(self) -> &'static str {
        match self {
            RoleName::Webapp => "webapp",
            RoleName::Coreapp => "coreapp",
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Everything that one sidecar runs with, except its secrets ([`Secrets`]).
#[derive(Debug)]
pub struct Config {
    pub webapps: Vec<Webapp>,
    pub coreapps: Vec<Coreapp>,
    pub deployment: Name,
    /// Who this sidecar is.
    pub name: Option<Name>,
    /// `None`: not served.
    pub admin: Option<Address>,
    pub cipher: Cipher,
    pub workers: usize,
    /// Bytes. `None`: what the links of the workers need.
    pub buffer_budget: Option<usize>,
    /// Of the files of Unix sockets that are listened on.
    pub socket_mode: u32,
    pub max_links: usize,
    /// Per link.
    pub max_streams: usize,
    pub max_dials: usize,
    pub max_waiting: usize,
    pub dial_timeout: Duration,
    pub drain_timeout: Duration,
    /// Valid for [`logs::init`].
    pub log: String,
    pub log_format: LogFormat,
    pub allow_weak_secret: bool,
    /// What the file says of them.
    pub secret_files: SecretFiles,
    /// What to log once there is a log.
    pub warnings: Vec<Warning>,
    effective: Vec<Effective>,
}

/// Apps in here, links to one peer.
#[derive(Debug)]
pub struct Webapp {
    pub listen: Vec<Address>,
    /// Of each of them.
    pub services: Vec<Service>,
    pub peer: Address,
    pub peer_name: Option<Name>,
}

/// Links in here, and the apps that they may reach.
#[derive(Debug)]
pub struct Coreapp {
    pub listen: Vec<Address>,
    pub targets: Targets,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// One table, of flags and variables.
    Role(RoleName),
    /// What the file says.
    Run,
}

impl What {
    pub const fn label(self) -> &'static str {
        match self {
            What::Role(role) => role.label(),
            What::Run => "run",
        }
    }

    /// Whether `key` is a flag of this command.
    pub fn has(self, key: &Key) -> bool {
        match self {
            What::Role(role) => key.roles.contains(&role),
            What::Run => !key.per_table,
        }
    }
}

/// Not wrong enough to stop the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub event: &'static str,
    pub text: String,
}

/// Flags as typed, by their key's name.
#[derive(Debug, Default)]
pub struct Flags(pub BTreeMap<&'static str, String>);

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "{} has {value:?}: {cause}\n  Right is: {}\n  For example:  {}",
        origin.of(key), key.form, origin.example(key)
    )]
    Value {
        key: &'static Key,
        origin: Origin,
        value: String,
        cause: String,
    },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{}, line {}: this table has no {}\n  Right is: {}\n  For example:  {} = {}",
        place.path, place.line, key.in_file(), key.form, key.in_file(), key.as_toml(key.example)
    )]
    MissingInTable { key: &'static Key, place: Place },
    #[error(
        "{} is missing: neither the flag {} nor the environment variable {} is set\n  Right is: {}\n  \
         For example:  {} {}",
        key.name, key.flag(), key.variable(), key.form, key.flag(), key.example
    )]
    Missing { key: &'static Key },
}

impl ConfigError {
    /// Whether what was typed is at fault, not what was configured elsewhere.
    pub fn is_usage(&self) -> bool {
        match self {
            ConfigError::Value { origin, .. } => *origin == Origin::Flag,
            ConfigError::Missing { .. } => true,
            ConfigError::File(_) | ConfigError::MissingInTable { .. } => false,
        }
    }
}

impl Config {
    pub fn resolve(what: What, flags: &Flags, env: &Environment) -> Result<Self, ConfigError> {
        let file = match what {
            What::Role(_) => None,
            What::Run => Some(file_of(flags, env)?.ok_or(ConfigError::Missing { key: &keys::CONFIG })?),
        };
        let mut from = Resolver {
            flags,
            env,
            file: file.as_ref(),
            section: Section::Top,
            effective: Vec::new(),
        };
        let (webapps, coreapps) = tables(what, &mut from)?;
        let dials = values::count(1..=MOST);
        let dial_timeout = values::duration(MILLISECOND..=5 * MINUTE);
        let waits = what.has(&keys::MAX_WAITING);
        let mut config = Self {
            deployment: from.required(&keys::DEPLOYMENT, values::name)?,
            name: from.optional(&keys::NAME, values::name)?,
            admin: from.required(&keys::ADMIN, admin)?,
            cipher: from.required(&keys::CIPHER, values::cipher)?,
            workers: from.required(&keys::WORKERS, workers)?,
            buffer_budget: from.required(&keys::BUFFER_BUDGET, budget)?,
            max_links: from.required(&keys::MAX_LINKS, values::count(1..=MOST))?,
            max_streams: from.required(&keys::MAX_STREAMS, values::count(1..=MOST))?,
            max_dials: match what.has(&keys::MAX_DIALS) {
                true => from.required(&keys::MAX_DIALS, dials)?,
                false => Resolver::not_here(&keys::MAX_DIALS, dials)?,
            },
            max_waiting: match waits {
                true => from.required(&keys::MAX_WAITING, values::count(1..=MOST))?,
                false => Resolver::not_here(&keys::MAX_WAITING, values::count(1..=MOST))?,
            },
            dial_timeout: match what.has(&keys::DIAL_TIMEOUT) {
                true => from.required(&keys::DIAL_TIMEOUT, dial_timeout)?,
                false => Resolver::not_here(&keys::DIAL_TIMEOUT, dial_timeout)?,
            },
            socket_mode: from.required(&keys::SOCKET_MODE, values::mode)?,
            drain_timeout: from.required(&keys::DRAIN_TIMEOUT, values::duration(Duration::ZERO..=60 * MINUTE))?,
            log: from.required(&keys::LOG, |text| logs::check_filter(text).map(|()| text.to_owned()))?,
            log_format: from.required(&keys::LOG_FORMAT, values::log_format)?,
            allow_weak_secret: from.required(&keys::ALLOW_WEAK_SECRET, values::switch)?,
            warnings: env.unknown().into_iter().map(unknown_variable).collect(),
            effective: from.effective,
            secret_files: SecretFiles::default(),
            webapps,
            coreapps,
        };
        if let Some(file) = file {
            config.warnings.extend(not_read(env));
            config.secret_files = SecretFiles {
                current: file.secret_file,
                previous: file.secret_previous_file,
            };
        }
        config.distinct()?;
        Ok(config)
    }

    /// Every setting with where it came from, in the order of the tables and then of [`keys::ALL`].
    pub fn effective(&self, section: Section) -> impl Iterator<Item = &Effective> {
        let of_key = move |key: &'static &'static Key| {
            let all = self.effective.iter();
            all.filter(move |setting| setting.section == section && setting.key.name == key.name)
        };
        keys::ALL.iter().flat_map(of_key)
    }

    /// The parts that there are.
    pub fn sections(&self) -> impl Iterator<Item = Section> {
        let webapps = (0..self.webapps.len()).map(Section::Webapp);
        let coreapps = (0..self.coreapps.len()).map(Section::Coreapp);
        std::iter::once(Section::Top).chain(webapps).chain(coreapps)
    }

    /// `webapp`, `coreapp`, or `both`.
    pub fn role(&self) -> &'static str {
        match (self.webapps.is_empty(), self.coreapps.is_empty()) {
            (false, true) => RoleName::Webapp.label(),
            (true, _) => RoleName::Coreapp.label(),
            (false, false) => "both",
        }
    }

    /// Whether an app is met on a Unix socket.
    pub fn apps_are_unix(&self) -> bool {
        let listens = self.webapps.iter().flat_map(|webapp| &webapp.listen);
        let mut dialled = self.coreapps.iter().flat_map(|coreapp| coreapp.targets.all());
        listens.into_iter().any(Address::is_unix) || dialled.any(|target| target.address.is_unix())
    }

    /// Two of our own addresses being one is a loop, or a bind that must fail.
    fn distinct(&self) -> Result<(), ConfigError> {
        let mut bound: Vec<(Section, &Address)> = Vec::new();
        let webapps = self.webapps.iter().enumerate();
        let listens = webapps.map(|(i, webapp)| (Section::Webapp(i), &webapp.listen));
        let coreapps = self.coreapps.iter().enumerate();
        let listens = listens.chain(coreapps.map(|(i, coreapp)| (Section::Coreapp(i), &coreapp.listen)));
        for (section, addresses) in listens {
            for address in addresses {
                if !address.is_chosen() && bound.iter().any(|(_, known)| *known == address) {
                    let cause = format!("{address} is listened on by another table already");
                    return Err(self.wrong(section, &keys::LISTEN, &cause));
                }
                bound.push((section, address));
            }
        }
        let loops = "--listen has the same: this sidecar would dial itself";
        for (i, webapp) in self.webapps.iter().enumerate() {
            if bound.iter().any(|(_, address)| **address == webapp.peer) {
                return Err(self.wrong(Section::Webapp(i), &keys::PEER, loops));
            }
        }
        for (i, coreapp) in self.coreapps.iter().enumerate() {
            // The door of a webapp table is an app like any other: that makes a relay.
            let links = |address: &Address| self.coreapps.iter().any(|table| table.listen.contains(address));
            if coreapp.targets.all().iter().any(|target| links(&target.address)) {
                return Err(self.wrong(Section::Coreapp(i), &keys::UPSTREAM, loops));
            }
        }
        if let Some(admin) = &self.admin
            && !admin.is_chosen()
            && bound.iter().any(|(_, address)| *address == admin)
        {
            return Err(self.wrong(Section::Top, &keys::ADMIN, "--listen has the same"));
        }
        Ok(())
    }

    fn wrong(&self, section: Section, key: &'static Key, cause: &str) -> ConfigError {
        let setting = self.effective(section).find(|setting| setting.key.name == key.name);
        let (origin, value) = setting.map_or((Origin::Default, ""), |s| (s.origin.clone(), s.value.as_str()));
        ConfigError::Value {
            key,
            origin,
            value: value.to_owned(),
            cause: cause.to_owned(),
        }
    }
}

/// Where a running sidecar's admin endpoint is, for `health`.
pub fn admin_address(flags: &Flags, env: &Environment) -> Result<Option<Address>, ConfigError> {
    let file = file_of(flags, env)?;
    Resolver {
        flags,
        env,
        file: file.as_ref(),
        section: Section::Top,
        effective: Vec::new(),
    }
    .required(&keys::ADMIN, admin)
}

/// The file that `--config` names.
fn file_of(flags: &Flags, env: &Environment) -> Result<Option<File>, ConfigError> {
    let mut from = Resolver {
        flags,
        env,
        file: None,
        section: Section::Top,
        effective: Vec::new(),
    };
    let path = from.optional(&keys::CONFIG, |text| match text {
        "" => Err("it is empty".to_owned()),
        path => Ok(path.to_owned()),
    })?;
    Ok(path.map(|path| File::read(&path)).transpose()?)
}

/// More of anything than one process can serve.
const MOST: usize = 65_535;
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

fn admin(text: &str) -> Result<Option<Address>, String> {
    if text == "off" {
        Ok(None)
    } else {
        Address::parse(text).map(Some)
    }
}

fn workers(text: &str) -> Result<usize, String> {
    if text != "auto" {
        return values::count(1..=64)(text);
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Ok(if cores <= 2 { 1 } else { (cores / 2).min(4) })
}

fn budget(text: &str) -> Result<Option<usize>, String> {
    match text {
        "auto" => Ok(None),
        _ => values::size(1 << 20..=64 << 30)(text).map(Some),
    }
}

fn unknown_variable((name, nearest): (&str, Option<String>)) -> Warning {
    let hint = nearest.map_or("wa-sidecar has no such setting".to_owned(), |known| {
        format!("did you mean {known}?")
    });
    Warning {
        event: "unknown_variable",
        text: format!("environment variable {name} is ignored: {hint}"),
    }
}

/// Variables that only the commands of one role read.
fn not_read(env: &Environment) -> impl Iterator<Item = Warning> {
    let of_tables = keys::ALL.into_iter().filter(|key| key.per_table);
    let set = of_tables.filter(|key| env.get(&key.variable()).is_some());
    set.map(|key| Warning {
        event: "unknown_variable",
        text: format!(
            "environment variable {} is ignored: run takes {} from the tables of its file",
            key.variable(),
            key.in_file()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COREAPP: [(&str, &str); 2] = [("listen", "0.0.0.0:7250"), ("upstream", "127.0.0.1:6250")];

    fn resolve(flags: &[(&'static str, &str)], env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let flags = Flags(
            flags
                .iter()
                .chain(&COREAPP)
                .rev()
                .map(|(key, value)| (*key, (*value).to_owned()))
                .collect(),
        );
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        Config::resolve(What::Role(RoleName::Coreapp), &flags, &env)
    }

    #[test]
    fn a_flag_beats_the_environment_and_that_beats_the_default() {
        let links = |flags: &[_], env: &[_]| {
            let config = resolve(flags, env).expect("valid");
            let origin = config
                .effective(Section::Top)
                .find(|s| s.key.name == "max-links")
                .expect("listed")
                .origin
                .clone();
            (config.max_links, origin)
        };
        assert_eq!(links(&[], &[]), (64, Origin::Default));
        assert_eq!(links(&[], &[("WA_MAX_LINKS", "")]), (64, Origin::Default));
        assert_eq!(links(&[], &[("WA_MAX_LINKS", "7")]), (7, Origin::Environment));
        assert_eq!(
            links(&[("max-links", "8")], &[("WA_MAX_LINKS", "7")]),
            (8, Origin::Flag)
        );
    }

    #[test]
    fn every_default_and_every_example_is_right() {
        for key in keys::ALL {
            assert!(!key.form.is_empty() && !key.help.is_empty(), "{}", key.name);
            let role = key.roles[0];
            let far = if role == RoleName::Webapp { "peer" } else { "upstream" };
            let mut flags = BTreeMap::from([("listen", "0.0.0.0:1".to_owned()), (far, "h:1".to_owned())]);
            flags.insert(key.name, key.example.to_owned());
            let env = Environment::from_iter([]);
            Config::resolve(What::Role(role), &Flags(flags), &env).unwrap_or_else(|e| panic!("{}: {e}", key.name));
        }
    }

    #[test]
    fn an_address_of_ours_twice_is_refused() {
        let text = |flags: &[_]| resolve(flags, &[]).expect_err("refused").to_string();
        assert!(text(&[("listen", "127.0.0.1:6250")]).contains("would dial itself"));
        assert!(text(&[("admin", "0.0.0.0:7250")]).contains("--listen has the same"));
    }

    #[test]
    fn a_value_that_is_not_text_is_named_with_its_variable() {
        let env = Environment::from_iter([("WA_LISTEN".to_owned(), vec![0xff])]);
        let error = Config::resolve(What::Role(RoleName::Webapp), &Flags::default(), &env).expect_err("refused");
        assert!(
            error.to_string().starts_with("environment variable WA_LISTEN has"),
            "{error}"
        );
        assert!(!error.is_usage());
    }
}
