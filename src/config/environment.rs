//! The `WA_*` variables that this process was started with.
//!
//! Promises: what is copied from the environment is wiped when dropped, and `Debug` shows names alone. A variable set
//! to nothing counts as not set: that is what Compose files make of `WA_NAME=${NAME:-}`.
//! Must not know: what a variable means.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroizing;

use super::{keys, secrets};

pub struct Environment(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Environment {
    pub fn of_process() -> Self {
        let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        named.map(|(name, value)| (name, value.into_encoded_bytes())).collect()
    }

    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0
            .get(name)
            .map(|value| value.as_slice())
            .filter(|value| !value.is_empty())
    }

    /// Variables that nobody reads, each with the known one that looks most like it.
    pub fn unknown(&self) -> Vec<(&str, Option<String>)> {
        let known: Vec<String> = keys::ALL
            .iter()
            .copied()
            .chain([&keys::CONFIG])
            .map(keys::Key::variable)
            .chain(secrets::VARIABLES.map(str::to_owned))
            .collect();
        let nearest = |name: &str| {
            let near = known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(name, known), known));
            near.filter(|(edits, _)| *edits <= 3)
                .min()
                .map(|(_, known)| known.clone())
        };
        let unknown = self
            .0
            .keys()
            .filter(|name| !known.contains(name) && !of_orchestrator(name));
        unknown.map(|name| (name.as_str(), nearest(name))).collect()
    }
}

/// Kubernetes gives every container `WA_SIDECAR_PORT` and the like for a service named `wa-sidecar`.
fn of_orchestrator(name: &str) -> bool {
    name.starts_with("WA_SIDECAR_")
}

impl FromIterator<(String, Vec<u8>)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(variables: I) -> Self {
        let ours = variables.into_iter().filter(|(name, _)| name.starts_with("WA_"));
        Self(ours.map(|(name, value)| (name, Zeroizing::new(value))).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn unknown_variables_and_what_was_meant() {
        let env = environment(&[
            ("WA_LISTN", "x"),
            ("WA_SECERT", "x"),
            ("WA_DB_HOSTNAME", "x"),
            ("WA_SIDECAR_SERVICE_HOST", "x"),
            ("WA_LISTEN", "x"),
            ("PATH", "x"),
        ]);
        assert_eq!(
            env.unknown(),
            [
                ("WA_DB_HOSTNAME", None),
                ("WA_LISTN", Some("WA_LISTEN".into())),
                ("WA_SECERT", Some("WA_SECRET".into()))
            ]
        );
    }

    #[test]
    fn nothing_is_not_set_and_values_are_not_shown() {
        let env = environment(&[("WA_NAME", ""), ("WA_SECRET", "correct horse")]);
        assert_eq!(env.get("WA_NAME"), None);
        assert_eq!(format!("{env:?}"), r#"{"WA_NAME", "WA_SECRET"}"#);
    }
}
