//! The configuration file: TOML, read whole and taken apart into settings that know their line.
//!
//! ```toml
//! deployment = "staging"            # top level: the flags of `run`, with '_' for '-'
//! [[webapp]]                        # any number: listen, peer, peer_name, services
//! [[coreapp]]                       # any number: listen, upstream
//! [coreapp.services]                # by name, beside or instead of upstream's positions
//! health = "127.0.0.1:6253"
//! ```
//!
//! Promises: a key that is not known here is refused with the nearest one that is; a relative path is relative to the file; a secret
//! never stands in it. Values are texts still: they are judged like flags.
//! Must not know: which values are right.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{address::UNIX, keys};

/// Larger than any configuration.
const MOST: u64 = 1 << 20;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: Arc<str>,
    pub line: usize,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub value: String,
    pub place: Place,
}

/// By the name of the flag.
pub type Entries = BTreeMap<&'static str, Entry>;

/// One `[[webapp]]` or `[[coreapp]]`.
#[derive(Debug)]
pub struct Table {
    pub place: Place,
    pub entries: Entries,
    /// `[coreapp.services]`, in the file's order.
    pub services: Vec<(String, Entry)>,
}

#[derive(Debug)]
pub struct File {
    pub path: Arc<str>,
    pub top: Entries,
    pub webapps: Vec<Table>,
    pub coreapps: Vec<Table>,
    pub secret_file: Option<Entry>,
    pub secret_previous_file: Option<Entry>,
}

/// Why a file is none.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(
        "cannot read the configuration file {path:?}: {source}\n  --config names a TOML file that this user can read."
    )]
    Unreadable { path: String, source: io::Error },
    #[error(
        "{path}, line {line}, column {column}: this is no TOML: {message}\n  \
         Text stands in quotes, for example:  peer = \"core.example:7250\""
    )]
    Syntax {
        path: Arc<str>,
        line: usize,
        column: usize,
        message: String,
    },
    /// With what to do.
    #[error("{}, line {}: {text}", place.path, place.line)]
    Wrong { place: Place, text: String },
}

impl File {
    pub fn read(path: &str) -> Result<Self, FileError> {
        let unreadable = |source| FileError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        // Not by its metadata: a device has no size, and no end.
        file.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MOST {
            return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable(io::Error::other("it is not UTF-8")))?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Reader {
            path: path.into(),
            directory,
            text: &text,
        }
        .file()
    }
}

struct Reader<'a> {
    path: Arc<str>,
    directory: PathBuf,
    text: &'a str,
}

/// What a key may be in one part of the file.
struct Part {
    /// As shown.
    name: &'static str,
    keys: Vec<&'static keys::Key>,
    /// What is no setting of its own.
    others: &'static [&'static str],
}

impl Reader<'_> {
    fn file(&self) -> Result<File, FileError> {
        let document = DeTable::parse(self.text).map_err(|error| {
            let (line, column) = self.position(error.span().map_or(0, |span| span.start));
            FileError::Syntax {
                path: Arc::clone(&self.path),
                line,
                column,
                message: error.message().to_owned(),
            }
        })?;
        let mut file = File {
            path: Arc::clone(&self.path),
            top: Entries::new(),
            webapps: Vec::new(),
            coreapps: Vec::new(),
            secret_file: None,
            secret_previous_file: None,
        };
        let part = Part {
            name: "the top level",
            keys: keys::ALL.into_iter().filter(|key| !key.per_table).collect(),
            others: &["secret_file", "secret_previous_file", "webapp", "coreapp"],
        };
        for (key, value) in in_order(document.get_ref()) {
            match key.get_ref().as_ref() {
                "webapp" => file.webapps = self.tables(value, "webapp", &[])?,
                "coreapp" => file.coreapps = self.tables(value, "coreapp", &["services"])?,
                "secret_file" => file.secret_file = Some(self.secret_file(value)?),
                "secret_previous_file" => file.secret_previous_file = Some(self.secret_file(value)?),
                _ => self.setting(&part, key, value, &mut file.top)?,
            }
        }
        Ok(file)
    }

    fn tables(
        &self,
        value: &Spanned<DeValue<'_>>,
        name: &'static str,
        others: &'static [&'static str],
    ) -> Result<Vec<Table>, FileError> {
        let part = Part {
            name: if name == "webapp" { "[[webapp]]" } else { "[[coreapp]]" },
            keys: keys::ALL
                .into_iter()
                .filter(|key| key.per_table && key.roles.iter().any(|role| role.label() == name))
                .collect(),
            others,
        };
        match value.get_ref() {
            DeValue::Array(array) => array
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::Table(table) => self.table(&part, item.span(), table),
                    _ => Err(self.wrong(item.span(), format!("{name} is a table: {}", part.name))),
                })
                .collect(),
            DeValue::Table(table) => Ok(vec![self.table(&part, value.span(), table)?]),
            _ => Err(self.wrong(value.span(), format!("{name} is a table: {}", part.name))),
        }
    }

    fn table(&self, part: &Part, span: Range<usize>, table: &DeTable<'_>) -> Result<Table, FileError> {
        let mut entries = Entries::new();
        let mut services = Vec::new();
        for (key, value) in in_order(table) {
            if key.get_ref() == "services" && part.others.contains(&"services") {
                let DeValue::Table(named) = value.get_ref() else {
                    let text =
                        "services is a table here:  [coreapp.services]  with lines like  health = \"127.0.0.1:6253\"";
                    return Err(self.wrong(value.span(), text.to_owned()));
                };
                for (name, address) in in_order(named) {
                    let value = self.paths(self.text_of(address, false)?);
                    let place = self.place(name.span());
                    services.push((name.get_ref().to_string(), Entry { value, place }));
                }
            } else {
                self.setting(part, key, value, &mut entries)?;
            }
        }
        Ok(Table {
            place: self.place(span),
            entries,
            services,
        })
    }

    fn setting(
        &self,
        part: &Part,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        entries: &mut Entries,
    ) -> Result<(), FileError> {
        let Some(key) = part.keys.iter().find(|key| key.in_file() == *name.get_ref()) else {
            return Err(self.wrong(name.span(), unknown(part, name.get_ref())));
        };
        let value = self.paths(self.text_of(value, key.name == keys::SOCKET_MODE.name)?);
        let place = self.place(name.span());
        entries.insert(key.name, Entry { value, place });
        Ok(())
    }

    /// What would be typed as a flag: a list joined by commas, everything else as it stands.
    fn text_of(&self, value: &Spanned<DeValue<'_>>, octal: bool) -> Result<String, FileError> {
        Ok(match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 || (octal && number.radix() == 8) => {
                number.as_str().to_owned()
            }
            DeValue::Boolean(is) => is.to_string(),
            DeValue::Array(items) => {
                let item = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                    DeValue::String(text) => Ok(text.to_string()),
                    _ => Err(self.wrong(item.span(), "a list has texts in quotes".to_owned())),
                };
                items.iter().map(item).collect::<Result<Vec<_>, _>>()?.join(",")
            }
            DeValue::Table(_) => {
                return Err(self.wrong(value.span(), "a table does not belong here".to_owned()));
            }
            _ => self.text.get(value.span()).unwrap_or_default().to_owned(),
        })
    }

    /// Relative paths of Unix sockets are relative to the file.
    fn paths(&self, text: String) -> String {
        if !text.contains(UNIX) {
            return text;
        }
        let absolute = |item: &str| match item.trim().strip_prefix(UNIX) {
            Some(path) if !path.starts_with('/') && !path.is_empty() => {
                format!("{UNIX}{}", self.directory.join(path).display())
            }
            _ => item.to_owned(),
        };
        text.split(',').map(absolute).collect::<Vec<_>>().join(",")
    }

    fn secret_file(&self, value: &Spanned<DeValue<'_>>) -> Result<Entry, FileError> {
        let DeValue::String(path) = value.get_ref() else {
            return Err(self.wrong(value.span(), "the name of a file, in quotes, stands here".to_owned()));
        };
        Ok(Entry {
            value: self.directory.join(path.as_ref()).display().to_string(),
            place: self.place(value.span()),
        })
    }

    fn wrong(&self, at: Range<usize>, text: String) -> FileError {
        FileError::Wrong {
            place: self.place(at),
            text,
        }
    }

    fn place(&self, at: Range<usize>) -> Place {
        Place {
            path: Arc::clone(&self.path),
            line: self.position(at.start).0,
        }
    }

    /// Line and column, from 1; a column is a character.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }
}

/// As they stand in the file.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>)> {
    let mut all: Vec<_> = table.iter().collect();
    all.sort_by_key(|(key, _)| key.span().start);
    all
}

/// What is wrong with a key that is not of this part of the file, and what was meant.
fn unknown(part: &Part, name: &str) -> String {
    if matches!(name, "secret" | "secret_previous") {
        return format!(
            "a secret never stands in a configuration file: these are copied, mailed and kept under version control\n  \
             Write it to a file of its own, readable to the sidecar alone, and name that:  {name}_file = \"secret\""
        );
    }
    if let Some(key) = keys::ALL.into_iter().find(|key| key.in_file() == name) {
        let belongs: Vec<_> = match key.per_table {
            true => key.roles.iter().map(|role| format!("[[{}]]", role.label())).collect(),
            false => vec!["the top level, before the first table".to_owned()],
        };
        return format!(
            "{name} does not belong to {}, but to {}",
            part.name,
            belongs.join(" or ")
        );
    }
    let known = part.keys.iter().map(|key| key.in_file());
    let known = known.chain(part.others.iter().map(|other| (*other).to_owned()));
    let nearest = known
        .clone()
        .map(|known| (strsim::damerau_levenshtein(name, &known), known))
        .filter(|(edits, _)| *edits <= 3)
        .min();
    match nearest {
        Some((_, nearest)) => format!("{name} is not known in {}; did you mean {nearest}?", part.name),
        None => {
            let known = known.collect::<Vec<_>>().join(", ");
            format!("{name} is not known in {}\n  Known are: {known}", part.name)
        }
    }
}
