//! Where a setting came from, and how it became what it is.

use super::{ConfigError, file::File};
use super::{Environment, Flags, Key, file::Place, file::Table};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File(Place),
    Default,
}

impl Origin {
    /// Where this is, in the operator's words.
    pub fn of(&self, key: &Key) -> String {
        match self {
            Origin::Flag => format!("flag {}", key.flag()),
            Origin::Environment => format!("environment variable {}", key.variable()),
            Origin::File(Place { path, line }) => format!("key {} in {path}, line {line},", key.in_file()),
            Origin::Default => "default".to_owned(),
        }
    }

    /// How to write a value of this key in this place.
    pub(super) fn example(&self, key: &Key) -> String {
        match self {
            Origin::Environment => format!("{}={}", key.variable(), key.example),
            Origin::File(_) => format!("{} = {}", key.in_file(), key.as_toml(key.example)),
            Origin::Flag | Origin::Default => format!("{} {}", key.flag(), key.example),
        }
    }
}

/// The part of a configuration that a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Top,
    Webapp(usize),
    Coreapp(usize),
}

/// A setting as it came to be.
#[derive(Debug)]
pub struct Effective {
    pub section: Section,
    pub key: &'static Key,
    /// `[coreapp.services]`: the service's name.
    pub service: Option<String>,
    /// As written; empty if not set.
    pub value: String,
    pub origin: Origin,
}

/// Looks settings up: flag, environment, file, default.
pub(super) struct Resolver<'a> {
    pub flags: &'a Flags,
    pub env: &'a Environment,
    pub file: Option<&'a File>,
    pub section: Section,
    pub effective: Vec<Effective>,
}

impl<'a> Resolver<'a> {
    pub fn required<T>(
        &mut self,
        key: &'static Key,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        match self.optional(key, parse)? {
            Some(value) => Ok(value),
            None => Err(match self.table() {
                Some(table) => ConfigError::MissingInTable {
                    key,
                    place: table.place.clone(),
                },
                None => ConfigError::Missing { key },
            }),
        }
    }

    pub fn optional<T>(
        &mut self,
        key: &'static Key,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let found = self.find(key)?;
        let (value, origin) = found.clone().unwrap_or((String::new(), Origin::Default));
        self.effective.push(Effective {
            section: self.section,
            key,
            service: None,
            value,
            origin,
        });
        let Some((value, origin)) = found else { return Ok(None) };
        parse(&value).map(Some).map_err(|cause| ConfigError::Value {
            key,
            origin,
            value,
            cause,
        })
    }

    /// The default, without saying so: the key is not one of this command.
    pub fn not_here<T>(key: &'static Key, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let value = key.default.unwrap_or_default();
        parse(value).map_err(|cause| ConfigError::Value {
            key,
            origin: Origin::Default,
            value: value.to_owned(),
            cause,
        })
    }

    /// The table of the file that the section is about.
    pub fn table(&self) -> Option<&'a Table> {
        let file = self.file?;
        match self.section {
            Section::Top => None,
            Section::Webapp(i) => file.webapps.get(i),
            Section::Coreapp(i) => file.coreapps.get(i),
        }
    }

    /// The first place that has a value.
    fn find(&self, key: &'static Key) -> Result<Option<(String, Origin)>, ConfigError> {
        let of_file = |entry: &super::file::Entry| (entry.value.clone(), Origin::File(entry.place.clone()));
        let default = key.default.map(|value| (value.to_owned(), Origin::Default));
        if let Some(table) = self.table() {
            return Ok(table.entries.get(key.name).map(of_file).or(default));
        }
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
        let top = self.file.and_then(|file| file.top.get(key.name));
        Ok(top.map(of_file).or(default))
    }
}
