//! `check`: a configuration as a start would have it, judged and shown.
//!
//! Promises: nothing is bound or sent, and no secret is shown. With `--print` what is shown is itself a file for `run`, one
//! `key = value  # origin` a line.
//! Must not know: where values are looked for.

use std::io::{self, Write};

use super::Failure;
use crate::{
    config::{Config, Effective, Environment, Flags, Origin, Secrets, Section, What, keys::toml_text},
    crypto::secret::Kind,
};

/// Validates as a start would and shows what came out, without the secrets.
pub fn check(what: What, flags: &Flags, print: bool) -> Result<(), Failure> {
    let env = Environment::of_process();
    let config = Config::resolve(what, flags, &env)?;
    let secrets = Secrets::load(&env, &config.secret_files, config.allow_weak_secret)?;
    let mut out = io::stdout().lock();
    if print {
        as_file(&mut out, &config, &secrets)?;
    } else {
        as_list(&mut out, what, &config, &secrets)?;
    }
    let comment = if print { "# " } else { "" };
    for warning in config.warnings.iter().chain(&secrets.warnings) {
        writeln!(out, "{comment}Warning: {}", in_a_line(&warning.text))?;
    }
    Ok(())
}

fn as_list(out: &mut impl Write, what: What, config: &Config, secrets: &Secrets) -> io::Result<()> {
    writeln!(out, "This configuration is good. {}:", what.label())?;
    for section in tables_first(config) {
        if let (What::Run, Some(title)) = (what, title(section)) {
            writeln!(out, "  {title}")?;
        }
        for setting in config.effective(section) {
            let value = if setting.value.is_empty() {
                "(not set)"
            } else {
                &setting.value
            };
            let name = match &setting.service {
                Some(service) => format!("service {service}"),
                None => setting.key.name.to_owned(),
            };
            writeln!(out, "  {name:<18} {value:<24} {}", origin(setting))?;
        }
    }
    for (name, loaded) in [
        ("secret", Some(&secrets.current)),
        ("secret, previous", secrets.previous.as_ref()),
    ] {
        match loaded {
            Some(loaded) => writeln!(
                out,
                "  {name:<18} {:<24} {}",
                withheld(loaded.secret.kind()),
                loaded.origin
            )?,
            None => writeln!(out, "  {name:<18} (not set)")?,
        }
    }
    Ok(())
}

/// The tables of a role before what belongs to the process.
fn tables_first(config: &Config) -> impl Iterator<Item = Section> {
    config.sections().skip(1).chain([Section::Top])
}

fn as_file(out: &mut impl Write, config: &Config, secrets: &Secrets) -> io::Result<()> {
    for section in config.sections() {
        if let Some(title) = title(section) {
            writeln!(out, "\n{title}")?;
        }
        let mut services = false;
        for setting in config.effective(section) {
            let (key, value) = (setting.key, &setting.value);
            match &setting.service {
                Some(service) => {
                    if !std::mem::replace(&mut services, true) {
                        writeln!(out, "[coreapp.services]")?;
                    }
                    // In quotes, for a dot in a bare key would begin a table.
                    let (service, value) = (toml_text(service), toml_text(value));
                    writeln!(out, "{service} = {value}  # {}", origin(setting))?;
                }
                None if value.is_empty() => writeln!(out, "# {} is not set", key.in_file())?,
                None => writeln!(out, "{} = {}  # {}", key.in_file(), key.as_toml(value), origin(setting))?,
            }
        }
        if section == Section::Top {
            let loaded = [
                ("secret", Some(&secrets.current)),
                ("secret_previous", secrets.previous.as_ref()),
            ];
            for (name, loaded) in loaded {
                match loaded {
                    Some(loaded) => {
                        writeln!(
                            out,
                            "# {name} = {}  # {}",
                            withheld(loaded.secret.kind()),
                            in_a_line(&loaded.origin)
                        )?;
                    }
                    None => writeln!(out, "# {name} is not set")?,
                }
            }
        }
    }
    Ok(())
}

fn title(section: Section) -> Option<&'static str> {
    match section {
        Section::Top => None,
        Section::Webapp(_) => Some("[[webapp]]"),
        Section::Coreapp(_) => Some("[[coreapp]]"),
    }
}

fn origin(setting: &Effective) -> String {
    in_a_line(match &setting.origin {
        Origin::File(place) => format!("{}, line {}", place.path, place.line),
        origin => origin.of(setting.key),
    })
}

/// For a comment: names of files and of variables may have the end of a line in them.
fn in_a_line(text: impl ToString) -> String {
    text.to_string().replace(char::is_control, " ")
}

fn withheld(kind: Kind) -> &'static str {
    match kind {
        Kind::Generated => "(key, withheld)",
        Kind::Passphrase => "(passphrase, withheld)",
    }
}
