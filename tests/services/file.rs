//! The configuration file as an interface: what is refused and in which words, what beats what, and what `check` shows.

use crate::harness::SECRET;
use crate::run::file;
use std::process::{Command, Output};

/// With bounded memory: a file may have no end.
fn check(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new("prlimit")
        .args(["--as=4294967296", env!("CARGO_BIN_EXE_wa-sidecar"), "check"])
        .args(arguments)
        .env_clear()
        .env("WA_SECRET", SECRET)
        .envs(env.iter().copied())
        .output()
        .expect("started")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

const GOOD: &str = "\
deployment = \"staging\"
max_links = 7
[[webapp]]
listen = [\"127.0.0.1:6250\", \"127.0.0.1:6251\"]
peer = \"core.example:7250\"
[[coreapp]]
listen = \"0.0.0.0:7250\"
[coreapp.services]
health = \"127.0.0.1:6253\"
\"a.b\" = \"unix:/run/e\u{301}\\\\\"
";

/// What stands in the file, the line that is named, and what is said.
#[test]
fn every_error_names_its_line_and_what_would_be_right() {
    let webapp = "[[webapp]]\nlisten = \"127.0.0.1:1\"\npeer = \"a:1\"\n";
    let named = |name: &str, peer: &str, port: u16| {
        format!("[[webapp]]\nlisten = \"127.0.0.1:{port}\"\npeer = \"{peer}\"\n{name}\n")
    };
    let two = |first: &str, second: &str| [named(first, "a:1", 1), named(second, "b:1", 2)].concat();
    #[rustfmt::skip] // one row a case
    let cases: &[(&str, String, &str, &[&str])] = &[
        ("empty", String::new(), "line 1", &["no table [[webapp]] and none [[coreapp]]"]),
        ("syntax", "deployment = \n".into(), "line 1, column", &["this is no TOML"]),
        ("unquoted", "[[webapp]]\npeer = 192.0.2.1:7250\n".into(), "line 2, column", &["this is no TOML", "peer = \"core.example:7250\""]),
        ("syntax2", format!("{webapp}x = [1,\n"), "line 4, column", &["this is no TOML"]),
        ("twice", format!("name = \"a\"\nname = \"b\"\n{webapp}"), "line 2", &["this is no TOML", "duplicate"]),
        ("secret", format!("secret = \"x\"\n{webapp}"), "line 1", &["never stands in a configuration file", "secret_file = "]),
        ("secret2", format!("secret_previous = \"x\"\n{webapp}"), "line 1", &["secret_previous_file = "]),
        ("unknown", format!("{webapp}[[coreapp]]\nlisen = \"x\"\n"), "line 5", &["lisen is not known in [[coreapp]]; did you mean listen?"]),
        ("hyphen", format!("max-links = 5\n{webapp}"), "line 1", &["did you mean max_links?"]),
        ("far", format!("frobnicate = 5\n{webapp}"), "line 1", &["frobnicate is not known in the top level", "Known are: ", "buffer_budget"]),
        ("place", format!("{webapp}max_links = 5\n"), "line 4", &["max_links does not belong to [[webapp]], but to the top level"]),
        ("place2", "listen = \"a:1\"\n".into(), "line 1", &["listen does not belong to the top level, but to [[webapp]] or [[coreapp]]"]),
        ("place3", "[[coreapp]]\npeer = \"a:1\"\n".into(), "line 2", &["but to [[webapp]]"]),
        ("missing", "\n[[webapp]]\nlisten = \"a:1\"\n".into(), "line 2", &["this table has no peer", "For example:  peer = \"core.example:7250\""]),
        ("missing2", "[[coreapp]]\nupstream = \"a:1\"\n".into(), "line 1", &["this table has no listen"]),
        ("missing3", "[[coreapp]]\nlisten = \"a:1\"\n".into(), "line 1", &["this table has no upstream"]),
        ("value", format!("max_links = 0\n{webapp}"), "line 1,", &["key max_links in ", "has \"0\": it is under the least", "For example:  max_links = 64"]),
        ("value2", format!("workers = 1.5\n{webapp}"), "line 1,", &["has \"1.5\"", "'auto'"]),
        ("value3", format!("drain_timeout = 5\n{webapp}"), "line 1,", &["it has no unit", "drain_timeout = \"25s\""]),
        ("value4", "[[webapp]]\nlisten = \"a:6253-6250\"\npeer = \"b:1\"\n".into(), "line 2,", &["the range runs backwards"]),
        ("type", format!("name = {{ a = 1 }}\n{webapp}"), "line 1", &["a table does not belong here"]),
        ("type2", "[[webapp]]\nlisten = [6250]\n".into(), "line 2", &["a list has texts in quotes"]),
        ("type3", "webapp = 5\n".into(), "line 1", &["webapp is a table: [[webapp]]"]),
        ("type4", format!("secret_file = 5\n{webapp}"), "line 1", &["the name of a file"]),
        ("services", format!("{webapp}services = [\"a\", \"b\"]\n"), "line 4,", &["it has 2 names, and listen has 1 addresses"]),
        ("services2", format!("{webapp}services = \"a b\"\n"), "line 4,", &["' ' is not allowed in a name"]),
        ("services3", "[[coreapp]]\nlisten = \"a:1\"\nservices = \"health\"\n".into(), "line 3", &["services is a table here:  [coreapp.services]"]),
        ("services4", "[[coreapp]]\nlisten = \"a:1\"\n[coreapp.services]\n5 = \"b:1\"\n".into(), "line 4", &["is a number", "positions of upstream"]),
        ("services5", "[[coreapp]]\nlisten = \"a:1\"\n[coreapp.services]\nhealth = \"b\"\n".into(), "line 4", &["service health has \"b\": it has no port"]),
        ("services6", "[[coreapp]]\nlisten = \"a:1\"\n[coreapp.services]\n\"a b\" = \"b:1\"\n".into(), "line 4", &["' ' is not allowed in a name"]),
        ("nameless", two("", "peer_name = \"b\""), "line 1", &["no peer_name, and there are several peers", "peer_name = \"node-2\""]),
        ("nameless2", two("peer_name = \"a\"", ""), "line 5", &["no peer_name, and there are several peers"]),
        ("bound", two("peer_name = \"a\"", "peer_name = \"b\"").replace("0.0.1:2", "0.0.1:1"), "line 6,", &["127.0.0.1:1 is listened on by another table"]),
        ("itself", "[[webapp]]\nlisten = \"a:1\"\npeer = \"b:1\"\n[[coreapp]]\nlisten = \"b:1\"\nupstream = \"c:1\"\n".into(), "line 3,", &["would dial itself"]),
        ("itself2", "[[coreapp]]\nlisten = \"b:1\"\nupstream = \"b:1\"\n".into(), "line 3,", &["would dial itself"]),
        ("admin", "admin = \"b:1\"\n[[coreapp]]\nlisten = \"b:1\"\nupstream = \"c:1\"\n".into(), "line 1,", &["--listen has the same"]),
    ];
    for (name, content, line, says) in cases {
        let path = file(&format!("error-{name}"), content);
        let output = check(&["run", "--config", &path], &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{name}: {said}");
        assert!(
            said.contains(&format!("{path}, {line}")),
            "{name} is in {line}, but: {said}"
        );
        for words in *says {
            assert!(said.contains(words), "{name} does not say {words:?}, but: {said}");
        }
        // A start says the same.
        let started = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
            .args(["run", "--config", &path])
            .env_clear()
            .env("WA_SECRET", SECRET)
            .output()
            .expect("started");
        assert_eq!((started.status.code(), text(&started.stderr)), (Some(78), said));
    }
}

#[test]
fn a_file_that_is_not_there_or_not_named() {
    let output = check(&["run", "--config", "/no/such.toml"], &[]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    assert!(
        said.contains("\"/no/such.toml\"") && said.contains("No such file"),
        "{said}"
    );
    let output = check(&["run", "--config", "/dev/zero"], &[]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    assert!(said.contains("larger than 1 MiB"), "{said}");
    let output = check(&["run"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        text(&output.stderr).contains("--config wa-sidecar.toml"),
        "{}",
        text(&output.stderr)
    );
    let output = check(&["run", "--listen", "a:1"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        text(&output.stderr).contains("not a flag of this command"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_flag_beats_the_environment_that_beats_the_file_and_that_the_default() {
    let path = file("precedence", GOOD);
    let links = |flags: &[&str], env: &[(&str, &str)]| {
        let output = check(&[&["run", "--config", &path, "--print"], flags].concat(), env);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        let line = shown.lines().find(|line| line.starts_with("max_links"));
        line.expect("shown").to_owned()
    };
    assert_eq!(links(&[], &[]), format!("max_links = 7  # {path}, line 2"));
    let of_env = [("WA_MAX_LINKS", "8")];
    assert_eq!(
        links(&[], &of_env),
        "max_links = 8  # environment variable WA_MAX_LINKS"
    );
    assert_eq!(
        links(&["--max-links", "9"], &of_env),
        "max_links = 9  # flag --max-links"
    );
    let by_variable = check(&["run"], &[("WA_CONFIG", &path)]);
    assert_eq!(by_variable.status.code(), Some(0), "{}", text(&by_variable.stderr));
    let ignored = check(&["run", "--config", &path], &[("WA_LISTEN", "a:1")]);
    let shown = text(&ignored.stdout);
    assert!(
        shown.contains("WA_LISTEN is ignored: run takes listen from the tables"),
        "{shown}"
    );
}

/// What is printed is a file that means the same, of flags too.
#[test]
fn what_is_printed_is_a_configuration_again_and_has_no_secret() {
    let path = file("print\n", GOOD);
    let values = |printed: &str| {
        let lines = printed
            .lines()
            .map(|line| line.split("  # ").next().unwrap_or_default().to_owned());
        let mut values: Vec<_> = lines.filter(|line| !line.starts_with('#')).collect();
        values.retain(|line| !line.is_empty());
        values
    };
    for arguments in [
        &["run", "--config", &*path, "--print"][..],
        &[
            "webapp",
            "--listen",
            "127.0.0.1:1-3",
            "--peer",
            "unix:/run/wa/link",
            "--print",
        ],
        &[
            "coreapp",
            "--listen",
            "0.0.0.0:1",
            "--upstream",
            "127.0.0.1:2,unix:/run/app",
            "--name",
            "n",
            "--print",
        ],
    ] {
        let output = check(arguments, &[("WA_SECRET_PREVIOUS", "another secret, of last year")]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert!(
            printed.contains("# secret = (passphrase, withheld)  # environment variable WA_SECRET"),
            "{printed}"
        );
        assert!(!printed.contains(SECRET) && !printed.contains("last year"), "{printed}");
        let again = file("printed", printed);
        let second = check(&["run", "--config", &again, "--print"], &[]);
        assert_eq!(second.status.code(), Some(0), "{}: {printed}", text(&second.stderr));
        let mut second = values(text(&second.stdout));
        // A role leaves out what is the other's.
        second.retain(|line| arguments[0] == "run" || values(printed).contains(line));
        assert_eq!(second, values(printed));
    }
    let shown = check(&["run", "--config", &path], &[]);
    let shown = text(&shown.stdout);
    for words in [
        "[[webapp]]",
        "service health",
        "core.example:7250",
        &format!("{}, line 5", path.replace('\n', " ")),
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn health_asks_where_the_file_says() {
    let path = file("health", &format!("admin = \"127.0.0.1:1\"\n{GOOD}"));
    let output = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
        .args(["health", "--config", &path])
        .env_clear()
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(69));
    assert!(
        text(&output.stderr).contains("http://127.0.0.1:1/readyz"),
        "{}",
        text(&output.stderr)
    );
}

/// Between the line that holds `from` and the one that holds `to`, without the indent.
fn lines_between(text: &str, from: &str, to: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.contains(from)).skip(1);
    let lines = lines.take_while(|line| !line.contains(to));
    lines.map(|line| format!("{}\n", line.trim_start())).collect()
}

#[test]
fn the_files_that_help_and_readme_show_are_good() {
    let help = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
        .args(["run", "--help"])
        .output()
        .expect("started");
    let readme = include_str!("../../README.md");
    for (name, example) in [
        (
            "help",
            lines_between(text(&help.stdout), "A file of a node", "To see what comes"),
        ),
        (
            "readme",
            lines_between(readme, "but for what stands in a table", "Tables with one peer"),
        ),
    ] {
        assert!(example.contains("[[webapp]]"), "{name}: {example}");
        let output = check(&["run", "--config", &file(&format!("shown-{name}"), &example)], &[]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        assert!(!text(&output.stdout).contains("Warning"), "{}", text(&output.stdout));
    }
}
