//! What the README says is what happens: its table of flags is the program's, and its failures are rows of TROUBLESHOOTING.md,
//! which tests/troubleshooting provokes.

use std::fs;
use std::path::Path;
use std::process::Command;
use wa_sidecar::config::{RoleName, keys};

const README: &str = include_str!("../README.md");

/// The lines between `<!-- name` and `<!-- /name -->`.
fn section(name: &str) -> Vec<&'static str> {
    let begin = format!("<!-- {name}:");
    let end = format!("<!-- /{name} -->");
    let lines = README.lines().skip_while(|line| !line.starts_with(&begin)).skip(1);
    lines.take_while(|line| *line != end).collect()
}

#[test]
fn the_table_of_flags_is_the_programs() {
    let mut table = vec![
        "| flag | variable | default | role | |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for key in keys::ALL {
        let role = match key.roles {
            [one] => one.label(),
            _ => "both",
        };
        let value = if key.switch {
            String::new()
        } else {
            format!(" {}", key.value_name)
        };
        let default = key.default.map(|text| format!("`{text}`")).unwrap_or_default();
        table.push(
            format!(
                "| `{}{value}` | `{}` | {default} | {role} | {} |",
                key.flag(),
                key.variable(),
                key.help
            )
            .replace("|  |", "| |"),
        );
    }
    let table = table.join("\n");
    assert!(
        section("flags").join("\n") == table,
        "the README wants this table:\n{table}"
    );
    // And the table of keys is what --help says.
    for role in [RoleName::Webapp, RoleName::Coreapp] {
        let help = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
            .args([role.label(), "--help"])
            .output();
        let help = String::from_utf8(help.expect("started").stdout).expect("text");
        for key in keys::ALL {
            let has = help.contains(&format!("[env: {}]", key.variable()));
            assert_eq!(
                has,
                key.roles.contains(&role),
                "{} {}: {help}",
                role.label(),
                key.flag()
            );
        }
    }
}

/// Programs of tests alone have a folder or a file; what others share is named with them.
#[test]
fn every_test_has_its_place_in_the_table_of_contributing() {
    let contributing = include_str!("../CONTRIBUTING.md");
    let tests = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")).expect("tests");
    for entry in tests.map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().into_string().expect("text");
        let is_test = name.ends_with(".rs") || entry.path().join("main.rs").exists();
        assert!(
            !is_test || contributing.contains(&format!("tests/{name}")),
            "CONTRIBUTING.md does not say what tests/{name} is for"
        );
    }
}

#[test]
fn the_five_most_common_failures_are_rows_of_the_page() {
    let page: Vec<_> = include_str!("../TROUBLESHOOTING.md").lines().collect();
    let common = &section("common")[2..];
    assert_eq!(common.len(), 5);
    for row in common {
        assert!(page.contains(row), "TROUBLESHOOTING.md has another row than: {row}");
    }
}
