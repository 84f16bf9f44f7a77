//! secret/: a secret, as bytes or as a file, to the psk (SPEC section 2).

use crate::{Case, Verdict};
use std::{env, fs, process};
use wa_sidecar::{
    config::{Environment, SecretFiles, Secrets, SecretsError},
    crypto::secret::{Kind, Secret, SecretError},
    wire::Name,
};

pub fn run(case: &Case) -> Verdict {
    let deployment = case.text("deployment");
    let allow_short = case.flag("allow_short");
    if Name::new(deployment).is_none() {
        return Err("bad_deployment");
    }
    let secret = match case.get("secret") {
        Some(_) => Secret::parse(&case.bytes("secret"), allow_short).map_err(word)?,
        None => of_file(case, allow_short)?,
    };
    let given = case.bytes(if case.get("secret").is_some() { "secret" } else { "file" });
    let generated = given.starts_with(b"wa1-");
    assert_eq!(secret.kind() == Kind::Generated, generated);
    assert_eq!(secret.psk(deployment).as_bytes(), &case.array::<32>("psk"));
    Ok(())
}

/// As the program reads a file that `WA_SECRET_FILE` names.
fn of_file(case: &Case, allow_short: bool) -> Result<Secret, &'static str> {
    let name = format!("wa-sidecar-vector-{}-{}", process::id(), case.text("name"));
    let path = env::temp_dir().join(name);
    fs::write(&path, case.bytes("file")).expect("written");
    let path_text = path.to_str().expect("text").as_bytes().to_vec();
    let environment = Environment::from_iter([("WA_SECRET_FILE".to_owned(), path_text)]);
    let loaded = Secrets::load(&environment, &SecretFiles::default(), allow_short);
    fs::remove_file(&path).expect("removed");
    match loaded {
        Ok(secrets) => Ok(secrets.current.secret),
        // It says what is wrong in a sentence for people; the word is the vector's own then.
        Err(SecretsError::Bad { cause, .. }) => match case.text("error") {
            "bad_length" if cause.contains("characters follow") => Err("bad_length"),
            "too_short" if cause.contains("the least") => Err("too_short"),
            "empty" if cause.contains("empty") => Err("empty"),
            _ => panic!("refused as: {cause}"),
        },
        Err(other) => panic!("{other}"),
    }
}

fn word(error: SecretError) -> &'static str {
    match error {
        SecretError::Empty => "empty",
        SecretError::TooShort { .. } => "too_short",
        SecretError::TooLong => "too_long",
        SecretError::GeneratedLength { .. } => "bad_length",
        SecretError::GeneratedAlphabet => "bad_alphabet",
        SecretError::GeneratedCheck => "bad_check",
    }
}
