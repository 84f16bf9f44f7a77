//! Where the shared secrets come from: `WA_SECRET` or a file, and while rotating a previous one.
//!
//! Promises: a secret is read once, wiped when dropped, never shown; a start without a good one fails with advice.
//! Must not know: what a key is made of (`crypto::secret` judges that), or the protocol.

use std::{
    ffi::OsStr,
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
};

use zeroize::Zeroizing;

use super::{Environment, Warning, file::Entry};
use crate::crypto::secret::{Kind, Secret, SecretError};

/// Every variable that this module reads.
pub(super) const VARIABLES: [&str; 4] = [
    "WA_SECRET",
    "WA_SECRET_FILE",
    "WA_SECRET_PREVIOUS",
    "WA_SECRET_PREVIOUS_FILE",
];

/// The secrets of this start.
#[derive(Debug)]
pub struct Secrets {
    pub current: Loaded,
    /// Accepted from a dialler, never dialled with.
    pub previous: Option<Loaded>,
    pub warnings: Vec<Warning>,
}

/// A secret, and what may be said of it.
pub struct Loaded {
    pub secret: Secret,
    pub origin: SecretOrigin,
}

/// Without the secret.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("kind", &self.secret.kind())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretOrigin {
    Variable(&'static str),
    /// The file that a variable names.
    File(&'static str, String),
    /// The file that a key of the configuration file names, with that file and the line.
    Key(&'static str, String, String),
}

impl fmt::Display for SecretOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretOrigin::Variable(name) => write!(f, "environment variable {name}"),
            SecretOrigin::File(name, path) => write!(f, "file {path:?} (environment variable {name})"),
            SecretOrigin::Key(key, path, place) => write!(f, "file {path:?} (key {key} in {place})"),
        }
    }
}

/// Why there is no good secret, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error(
        "no secret: neither WA_SECRET nor WA_SECRET_FILE is set\n  \
         Both sidecars of a pair need the same one. Make it once, with:  wa-sidecar keygen\n  \
         then give it to both as WA_SECRET, or in a file that WA_SECRET_FILE names."
    )]
    Missing,
    #[error(
        "{variable} and {variable}_FILE are both set\n  Unset one of them: nobody could tell which of the two counts."
    )]
    Both { variable: &'static str },
    #[error(
        "cannot read the secret of {origin}: {source}\n  {variable}_FILE must name a file that this user can read."
    )]
    Unreadable {
        origin: SecretOrigin,
        variable: &'static str,
        source: io::Error,
    },
    #[error("bad secret in {origin}: {cause}{or_else}")]
    Bad {
        origin: SecretOrigin,
        /// With what to type.
        cause: String,
        or_else: &'static str,
    },
}

/// The keys of the configuration file that name files of secrets. The environment beats them.
#[derive(Debug, Default)]
pub struct SecretFiles {
    pub(super) current: Option<Entry>,
    pub(super) previous: Option<Entry>,
}

impl Secrets {
    pub fn load(env: &Environment, files: &SecretFiles, allow_weak: bool) -> Result<Self, SecretsError> {
        let mut warnings = Vec::new();
        let current = find(
            env,
            "WA_SECRET",
            "WA_SECRET_FILE",
            files.current.as_ref(),
            &mut warnings,
        )?
        .ok_or(SecretsError::Missing)?;
        let previous = find(
            env,
            "WA_SECRET_PREVIOUS",
            "WA_SECRET_PREVIOUS_FILE",
            files.previous.as_ref(),
            &mut warnings,
        )?;
        if previous.as_ref().is_some_and(|(bytes, _)| *bytes == current.0) {
            let text = "WA_SECRET_PREVIOUS is the same as WA_SECRET: nothing rotates".to_owned();
            warnings.push(Warning {
                event: "secret_previous_same",
                text,
            });
        }
        let previous = previous.map(|found| parse(found, allow_weak)).transpose()?;
        Ok(Self {
            current: parse(current, allow_weak)?,
            previous,
            warnings,
        })
    }
}

type Found = (Zeroizing<Vec<u8>>, SecretOrigin);

fn find(
    env: &Environment,
    variable: &'static str,
    file_variable: &'static str,
    of_file: Option<&Entry>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Found>, SecretsError> {
    match (env.get(variable), env.get(file_variable)) {
        (None, None) => {
            let Some(Entry { value, place }) = of_file else {
                return Ok(None);
            };
            let key = if variable == "WA_SECRET" {
                "secret_file"
            } else {
                "secret_previous_file"
            };
            let place = format!("{}, line {}", place.path, place.line);
            let origin = SecretOrigin::Key(key, value.clone(), place);
            read(OsStr::new(value), origin, variable, warnings).map(Some)
        }
        (Some(_), Some(_)) => Err(SecretsError::Both { variable }),
        (Some(bytes), None) => Ok(Some((Zeroizing::new(bytes.to_vec()), SecretOrigin::Variable(variable)))),
        (None, Some(path)) => {
            let path = OsStr::from_bytes(path);
            let origin = SecretOrigin::File(file_variable, path.to_string_lossy().into_owned());
            read(path, origin, variable, warnings).map(Some)
        }
    }
}

fn read(
    path: &OsStr,
    origin: SecretOrigin,
    variable: &'static str,
    warnings: &mut Vec<Warning>,
) -> Result<Found, SecretsError> {
    match read_file(path) {
        Ok((bytes, mode)) => {
            if mode & 0o004 != 0 {
                let text = format!("every user of this host can read {origin}: chmod o-r");
                warnings.push(Warning {
                    event: "secret_file_open",
                    text,
                });
            }
            Ok((bytes, origin))
        }
        Err(source) => Err(SecretsError::Unreadable {
            origin,
            variable,
            source,
        }),
    }
}

/// More than any secret: what is larger is the wrong file, or has no end.
const MOST: u64 = 64 * 1024;

/// The file's bytes without one trailing LF or CR LF (SPEC section 2), and its mode.
fn read_file(path: &OsStr) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    // Room from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST as usize + 1));
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other("it is larger than any secret (64 KiB)"));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok((bytes, mode))
}

fn parse((bytes, origin): Found, allow_weak: bool) -> Result<Loaded, SecretsError> {
    let bad = |cause: String, or_else| SecretsError::Bad {
        origin: origin.clone(),
        cause,
        or_else,
    };
    match Secret::parse(&bytes, allow_weak) {
        Ok(secret) if secret.kind() == Kind::Passphrase && !allow_weak && is_placeholder(&bytes) => Err(bad(
            "it is a placeholder from an example, which everybody knows; run `wa-sidecar keygen` and give both \
             sidecars the line that it prints"
                .to_owned(),
            OR_WEAK,
        )),
        Ok(secret) => Ok(Loaded { secret, origin }),
        Err(error @ SecretError::TooShort { .. }) => Err(bad(error.to_string(), OR_WEAK)),
        Err(error) => Err(bad(error.to_string(), "")),
    }
}

const OR_WEAK: &str = "\n  Or take the risk with:  --allow-weak-secret";

/// What people leave in place when they copy an example.
fn is_placeholder(bytes: &[u8]) -> bool {
    let text: Zeroizing<Vec<u8>> = Zeroizing::new(
        bytes
            .iter()
            .filter(|b| b.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .collect(),
    );
    let holds = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    let unexpanded =
        (bytes.starts_with(b"${") && bytes.ends_with(b"}")) || (bytes.starts_with(b"<") && bytes.ends_with(b">"));
    unexpanded
        || [&b"changeme"[..], b"replaceme", b"yoursecret", b"placeholder"]
            .iter()
            .any(|word| holds(word))
}
