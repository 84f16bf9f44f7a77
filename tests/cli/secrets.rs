//! Where the secret comes from, what is refused, and that it is never shown.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::{COREAPP, SECRET, WEBAPP, fails, run, text, with};

pub fn secret_file(name: &str, content: &[u8], mode: u32) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
    path.into_os_string().into_string().expect("text")
}

#[test]
fn a_secret_that_is_missing_bad_or_unreadable_is_78_with_advice() {
    let keygen = "wa-sidecar keygen";
    fails(
        &WEBAPP,
        &[],
        78,
        &["neither WA_SECRET nor WA_SECRET_FILE is set", keygen],
    );
    fails(
        &WEBAPP,
        &[("WA_SECRET", "")],
        78,
        &["neither WA_SECRET nor WA_SECRET_FILE is set"],
    );
    let both = [SECRET, ("WA_SECRET_FILE", "/x")];
    fails(
        &WEBAPP,
        &both,
        78,
        &["WA_SECRET and WA_SECRET_FILE are both set", "Unset one"],
    );
    let both = [SECRET, ("WA_SECRET_PREVIOUS", "y"), ("WA_SECRET_PREVIOUS_FILE", "/x")];
    fails(
        &WEBAPP,
        &both,
        78,
        &["WA_SECRET_PREVIOUS and WA_SECRET_PREVIOUS_FILE are both set"],
    );
    fails(
        &WEBAPP,
        &[("WA_SECRET", "too short")],
        78,
        &["variable WA_SECRET", keygen, "--allow-weak-secret"],
    );
    fails(
        &WEBAPP,
        &[SECRET, ("WA_SECRET_PREVIOUS", "short")],
        78,
        &["variable WA_SECRET_PREVIOUS", keygen],
    );
    for placeholder in [
        "changeme-changeme-changeme",
        "<the secret you made>",
        "${WA_SECRET_FROM_VAULT}",
    ] {
        fails(
            &WEBAPP,
            &[("WA_SECRET", placeholder)],
            78,
            &["it is a placeholder", keygen],
        );
    }
    let file = |path: &str, says: &[&str]| fails(&WEBAPP, &[("WA_SECRET_FILE", path)], 78, says);
    file(
        "/no/such/file",
        &["cannot read", "\"/no/such/file\"", "No such file", "WA_SECRET_FILE"],
    );
    file("/dev/zero", &["larger than any secret"]);
    file(env!("CARGO_TARGET_TMPDIR"), &["cannot read", "directory"]);
    file(&secret_file("empty", b"\n", 0o600), &["bad secret in file", keygen]);
}

#[test]
fn keygen_prints_one_line_that_is_a_good_secret() {
    let [first, second] = [(); 2].map(|()| run(&["keygen"], &[]));
    assert_eq!((first.status.code(), first.stderr.len()), (Some(0), 0));
    let secret = text(&first.stdout);
    assert!(
        secret.starts_with("wa1-") && secret.ends_with('\n') && secret.lines().count() == 1,
        "{secret}"
    );
    assert_ne!(first.stdout, second.stdout);
    let path = secret_file("key", secret.as_bytes(), 0o600);
    let output = run(&with(&["check"], &COREAPP), &[("WA_SECRET_FILE", &path)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("(key, withheld)") && !shown.contains("Warning"),
        "{shown}"
    );
    assert!(!shown.contains(secret.trim()), "{shown}");

    let mut broken = secret.trim().to_owned();
    let last = if broken.pop() == Some('a') { 'b' } else { 'a' };
    broken.push(last);
    fails(
        &WEBAPP,
        &[("WA_SECRET", &broken)],
        78,
        &["bad secret in environment variable WA_SECRET", "keygen"],
    );
}
