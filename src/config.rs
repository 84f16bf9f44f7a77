//! From what the operator wrote to a configuration that can be run.
//!
//! Promises: a [`Config`] is valid as a whole and nothing was bound, dialled or looked up to make it. An error names
//! the value, where it came from and what would be right. Each setting is looked for in its flag, then in its
//! environment variable, then in its default; a file will stand between the last two.
//! Must not know: how flags are parsed, what a setting does, the secrets' meaning.

mod address;
mod addresses;
mod environment;
pub mod keys;
mod secrets;
mod service;
mod values;

use std::{collections::BTreeMap, fmt, thread, time::Duration};

pub use address::Address;
pub use environment::Environment;
pub use keys::Key;
pub use secrets::{Loaded, SecretOrigin, Secrets, SecretsError};
pub use service::{Service, Target, Targets};
pub use values::Cipher;

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
    pub role: Role,
    pub listen: Vec<Address>,
    pub deployment: Name,
    /// Who this sidecar is.
    pub name: Option<Name>,
    /// `None`: not served.
    pub admin: Option<Address>,
    pub cipher: Cipher,
    pub workers: usize,
    /// Bytes.
    pub buffer_budget: usize,
    /// Of the files of Unix sockets that are listened on.
    pub socket_mode: u32,
    pub max_links: usize,
    /// Per link.
    pub max_streams: usize,
    pub drain_timeout: Duration,
    /// Valid for [`logs::init`].
    pub log: String,
    pub log_format: LogFormat,
    pub allow_weak_secret: bool,
    /// What to log once there is a log.
    pub warnings: Vec<Warning>,
    effective: Vec<Effective>,
}

/// What only one of the roles has.
#[derive(Debug)]
pub enum Role {
    Webapp {
        peer: Address,
        peer_name: Option<Name>,
        max_waiting: usize,
    },
    Coreapp {
        targets: Targets,
        max_dials: usize,
        dial_timeout: Duration,
    },
}

impl Role {
    pub const fn name(&self) -> RoleName {
        match self {
            Role::Webapp { .. } => RoleName::Webapp,
            Role::Coreapp { .. } => RoleName::Coreapp,
        }
    }
}

/// Not wrong enough to stop the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub event: &'static str,
    pub text: String,
}

/// A setting as it came to be.
#[derive(Debug)]
pub struct Effective {
    pub key: &'static Key,
    /// As written; empty if not set.
    pub value: String,
    pub origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    Default,
}

impl Origin {
    /// Where this is, in the operator's words.
    pub fn of(self, key: &Key) -> String {
        match self {
            Origin::Flag => format!("flag {}", key.flag()),
            Origin::Environment => format!("environment variable {}", key.variable()),
            Origin::Default => "default".to_owned(),
        }
    }

    /// How to write a value of this key in this place.
    fn example(self, key: &Key) -> String {
        match self {
            Origin::Environment => format!("{}={}", key.variable(), key.example),
            Origin::Flag | Origin::Default => format!("{} {}", key.flag(), key.example),
        }
    }
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
        }
    }
}

impl Config {
    pub fn resolve(role: RoleName, flags: &Flags, env: &Environment) -> Result<Self, ConfigError> {
        let mut from = Resolver {
            flags,
            env,
            effective: Vec::new(),
        };
        let listen = from.required(&keys::LISTEN, addresses::parse)?;
        let role = match role {
            RoleName::Webapp => Role::Webapp {
                peer: from.required(&keys::PEER, Address::parse_target)?,
                peer_name: from.optional(&keys::PEER_NAME, values::name)?,
                max_waiting: from.required(&keys::MAX_WAITING, values::count(1..=MOST))?,
            },
            RoleName::Coreapp => Role::Coreapp {
                targets: Targets::by_position(&from.required(&keys::UPSTREAM, addresses::parse_targets)?),
                max_dials: from.required(&keys::MAX_DIALS, values::count(1..=MOST))?,
                dial_timeout: from.required(&keys::DIAL_TIMEOUT, values::duration(MILLISECOND..=5 * MINUTE))?,
            },
        };
        let config = Self {
            deployment: from.required(&keys::DEPLOYMENT, values::name)?,
            name: from.optional(&keys::NAME, values::name)?,
            admin: from.required(&keys::ADMIN, admin)?,
            cipher: from.required(&keys::CIPHER, values::cipher)?,
            workers: from.required(&keys::WORKERS, workers)?,
            buffer_budget: from.required(&keys::BUFFER_BUDGET, values::size(1 << 20..=64 << 30))?,
            socket_mode: from.required(&keys::SOCKET_MODE, values::mode)?,
            max_links: from.required(&keys::MAX_LINKS, values::count(1..=MOST))?,
            max_streams: from.required(&keys::MAX_STREAMS, values::count(1..=MOST))?,
            drain_timeout: from.required(&keys::DRAIN_TIMEOUT, values::duration(Duration::ZERO..=60 * MINUTE))?,
            log: from.required(&keys::LOG, |text| logs::check_filter(text).map(|()| text.to_owned()))?,
            log_format: from.required(&keys::LOG_FORMAT, values::log_format)?,
            allow_weak_secret: from.required(&keys::ALLOW_WEAK_SECRET, values::switch)?,
            warnings: env.unknown().into_iter().map(unknown_variable).collect(),
            effective: from.effective,
            role,
            listen,
        };
        config.distinct()?;
        Ok(config)
    }

    /// Every setting with where it came from, in the order of [`keys::ALL`].
    pub fn effective(&self) -> impl Iterator<Item = &Effective> {
        keys::ALL
            .iter()
            .filter_map(|key| self.effective.iter().find(|setting| setting.key.name == key.name))
    }

    /// Whether an app is met on a Unix socket.
    pub fn apps_are_unix(&self) -> bool {
        match &self.role {
            Role::Webapp { .. } => self.listen.iter().any(Address::is_unix),
            Role::Coreapp { targets, .. } => targets.all().iter().any(|target| target.address.is_unix()),
        }
    }

    /// Two of our own addresses being one is a loop, or a bind that must fail.
    fn distinct(&self) -> Result<(), ConfigError> {
        let (far_key, far) = match &self.role {
            Role::Webapp { peer, .. } => (&keys::PEER, vec![peer]),
            Role::Coreapp { targets, .. } => {
                let dialled = targets.all().into_iter().map(|target| &target.address);
                (&keys::UPSTREAM, dialled.collect())
            }
        };
        let same = |key: &'static Key, cause: &str| {
            let setting = self.effective.iter().find(|setting| setting.key.name == key.name);
            let (origin, value) = setting.map_or((Origin::Default, ""), |s| (s.origin, s.value.as_str()));
            Err(ConfigError::Value {
                key,
                origin,
                value: value.to_owned(),
                cause: cause.to_owned(),
            })
        };
        if far.iter().any(|far| self.listen.contains(far)) {
            return same(far_key, "--listen has the same: this sidecar would dial itself");
        }
        if let Some(admin) = &self.admin
            && !admin.is_chosen()
            && self.listen.contains(admin)
        {
            return same(&keys::ADMIN, "--listen has the same");
        }
        Ok(())
    }
}

/// Where a running sidecar's admin endpoint is, for `health`.
pub fn admin_address(flags: &Flags, env: &Environment) -> Result<Option<Address>, ConfigError> {
    Resolver {
        flags,
        env,
        effective: Vec::new(),
    }
    .required(&keys::ADMIN, admin)
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

fn unknown_variable((name, nearest): (&str, Option<String>)) -> Warning {
    let hint = nearest.map_or("wa-sidecar has no such setting".to_owned(), |known| {
        format!("did you mean {known}?")
    });
    Warning {
        event: "unknown_variable",
        text: format!("environment variable {name} is ignored: {hint}"),
    }
}

struct Resolver<'a> {
    flags: &'a Flags,
    env: &'a Environment,
    effective: Vec<Effective>,
}

impl Resolver<'_> {
    fn required<T>(&mut self, key: &'static Key, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        self.optional(key, parse)?.ok_or(ConfigError::Missing { key })
    }

    fn optional<T>(
        &mut self,
        key: &'static Key,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let found = self.find(key)?;
        let (value, origin) = found.clone().unwrap_or((String::new(), Origin::Default));
        self.effective.push(Effective { key, value, origin });
        let Some((value, origin)) = found else { return Ok(None) };
        parse(&value).map(Some).map_err(|cause| ConfigError::Value {
            key,
            origin,
            value,
            cause,
        })
    }

    /// The first place that has a value.
    fn find(&self, key: &'static Key) -> Result<Option<(String, Origin)>, ConfigError> {
        if let Some(value) = self.flags.0.get(key.name) {
            return Ok(Some((value.clone(), Origin::Flag)));
        }
        if let Some(bytes) = self.env.get(&key.variable()) {
            let origin = Origin::Environment;
            return match std::str::from_utf8(bytes) {
                Ok(value) => Ok(Some((value.to_owned(), origin))),
                Err(_) => {
                    let value = String::from_utf8_lossy(bytes).into_owned();
                    Err(ConfigError::Value {
                        key,
                        origin,
                        value,
                        cause: "it is not UTF-8".into(),
                    })
                }
            };
        }
        Ok(key.default.map(|value| (value.to_owned(), Origin::Default)))
    }
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
        Config::resolve(RoleName::Coreapp, &flags, &env)
    }

    #[test]
    fn a_flag_beats_the_environment_and_that_beats_the_default() {
        let links = |flags: &[_], env: &[_]| {
            let config = resolve(flags, env).expect("valid");
            let origin = config
                .effective()
                .find(|s| s.key.name == "max-links")
                .expect("listed")
                .origin;
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
            Config::resolve(role, &Flags(flags), &env).unwrap_or_else(|e| panic!("{}: {e}", key.name));
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
        let error = Config::resolve(RoleName::Webapp, &Flags::default(), &env).expect_err("refused");
        assert!(
            error.to_string().starts_with("environment variable WA_LISTEN has"),
            "{error}"
        );
        assert!(!error.is_usage());
    }
}
