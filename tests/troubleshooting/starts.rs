//! Starts that fail, provoked: the row's text on stderr, and its exit code.

use crate::processes::short_of_files;
use crate::{rows, source};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SECRET: (&str, &str) = ("WA_SECRET", crate::harness::SECRET);
/// As `keygen` makes it, with one character replaced.
fn key(with: Option<&str>) -> String {
    let mut key = wa_sidecar::crypto::secret::generate([7; 32]);
    if let Some(with) = with {
        key.replace_range(6..7, with);
    }
    key
}

/// A command line, its variables, and who runs it.
#[derive(Default)]
struct Wrong {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Put before the program.
    wrapper: Vec<&'static str>,
    /// What the page calls otherwise: its word, and the test's.
    called: Vec<(String, String)>,
}

fn webapp(more: &[&str]) -> Wrong {
    let base = [
        "webapp",
        "--listen=127.0.0.1:0",
        "--peer=core.example:7250",
        "--admin=off",
    ];
    Wrong::new(&[&base, more].concat()).with(SECRET)
}

impl Wrong {
    fn new(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            ..Self::default()
        }
    }

    fn with(mut self, (name, value): (&str, &str)) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn listen(address: &str) -> Self {
        Self::new(&["webapp", "--peer=core.example:7250", "--admin=off", "--listen", address]).with(SECRET)
    }

    fn called(mut self, page: &str, here: impl ToString) -> Self {
        self.called.push((page.to_owned(), here.to_string()));
        self
    }

    fn by(mut self, wrapper: &[&'static str]) -> Self {
        self.wrapper = wrapper.to_vec();
        self
    }

    fn run(&self) -> Output {
        let program = env!("CARGO_BIN_EXE_wa-sidecar");
        let mut command = match self.wrapper.as_slice() {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).output().expect("started")
    }
}

/// A file or directory of these tests.
fn path(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("starts-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("created");
    directory.join(name)
}

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

fn secret(name: &str, content: &str) -> Wrong {
    let file = path(name);
    fs::write(&file, content).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permissions");
    let mut wrong = webapp(&[])
        .with(("WA_SECRET", ""))
        .with(("WA_SECRET_FILE", &text(&file)));
    wrong.called.push(("secret".to_owned(), text(&file)));
    wrong
}

fn file(name: &str, content: &str) -> Wrong {
    let file = path(name);
    fs::write(&file, content).expect("written");
    Wrong::new(&["run", "--config", &text(&file)]).with(SECRET)
}

/// Whoever runs the tests: without the capabilities of root, so that modes of files count.
fn powerless() -> Vec<&'static str> {
    match rustix::process::geteuid().is_root() {
        true => vec!["setpriv", "--inh-caps=-all", "--bounding-set=-all"],
        false => vec![],
    }
}

/// A Unix socket in a directory that cannot be written to.
fn locked(name: &str, stale: bool) -> Wrong {
    let directory = path(name);
    fs::create_dir_all(&directory).expect("created");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("permissions");
    let socket = directory.join("s");
    let _ = fs::remove_file(&socket);
    if stale {
        drop(UnixListener::bind(&socket).expect("bound"));
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).expect("permissions");
    unix(&socket).by(&powerless())
}

fn unix(socket: &Path) -> Wrong {
    let address = format!("unix:{}", text(socket));
    Wrong::listen(&address).called("unix:/run/wa/s", &address)
}

/// What the row is about.
fn provoke(says: &str, exit: &str, taken: &str, alive: &Path) -> Wrong {
    let tables = "[[coreapp]]\nlisten = \"127.0.0.1:7250\"\nupstream = \"127.0.0.1:6250\"\n";
    match says {
        "no command was given" => Wrong::new(&[]),
        "listen is missing" => Wrong::new(&["webapp"]).with(SECRET),
        "flag --max-links has \"many\"" => webapp(&["--max-links=many"]),
        "unexpected argument '--lisen'" => webapp(&["--lisen=x"]),
        "is not a flag of this command" => webapp(&["--upstream=127.0.0.1:6250"]),
        "a secret is never a flag" => webapp(&["--secret=hunter2"]),
        "cannot listen on 127.0.0.1:6250: Address already in use" => {
            Wrong::listen(taken).called("127.0.0.1:6250", taken)
        }
        "cannot listen on 192.0.2.1:6250: Cannot assign requested address" => Wrong::listen("192.0.2.1:6250"),
        // In a network of its own: some hosts allow it to everybody.
        "cannot listen on 0.0.0.0:80: Permission denied" => {
            let unshare = ["unshare", "-rn", "setpriv", "--inh-caps=-all", "--bounding-set=-all"];
            Wrong::listen("0.0.0.0:80").by(&unshare)
        }
        "cannot listen on core.invalid:6250: failed to lookup address" => Wrong::listen("core.invalid:6250"),
        "cannot listen on unix:/run/wa/s: its directory does not exist" => unix(&path("missing").join("s")),
        "cannot listen on unix:/run/wa/s: another program listens there" => unix(alive),
        "cannot listen on unix:/run/wa/s: there is a file that is not a socket" => {
            let file = path("precious");
            fs::write(&file, "x").expect("written");
            unix(&file)
        }
        "cannot listen on unix:/run/wa/s: the socket there is stale, and cannot be removed" => locked("stale", true),
        "cannot listen on unix:/run/wa/s: Permission denied" => locked("locked", false),
        // Each would need more than any address space.
        "cannot start a thread" => webapp(&[]).with(("RUST_MIN_STACK", "140737488355328")),
        "no secret" => webapp(&[]).with(("WA_SECRET", "")),
        "WA_SECRET and WA_SECRET_FILE are both set" => webapp(&[]).with(("WA_SECRET_FILE", "/x")),
        "cannot read the secret of file \"secret\"" => {
            let wrong = secret("unreadable", &key(None)).by(&powerless());
            fs::set_permissions(path("unreadable"), fs::Permissions::from_mode(0o000)).expect("permissions");
            wrong
        }
        "bad secret in file \"secret\" (environment variable WA_SECRET_FILE): it is empty" => secret("empty", "\n"),
        "it is a passphrase of 7 characters" => secret("short", "hunter2"),
        "it starts with wa1- but 8 characters follow" => secret("cut", &key(None)[..12]),
        "it starts with wa1- but has a character that keygen never prints" => secret("spaced", &key(Some(" "))),
        "it starts with wa1- but its check does not fit" => secret("changed", &key(Some("_"))),
        "it is a placeholder from an example" => secret("placeholder", "changeme-changeme-changeme"),
        "environment variable WA_MAX_LINKS has \"many\"" => webapp(&[]).with(("WA_MAX_LINKS", "many")),
        "cannot read the configuration file" => Wrong::new(&["run", "--config=/no/such/file.toml"]).with(SECRET),
        "this is no TOML" => file("syntax.toml", "deployment = staging\n"),
        "is not known in the top level; did you mean" => file("unknown.toml", &format!("deplyment = \"x\"\n{tables}")),
        "does not belong to the top level, but to" => file("place.toml", &format!("peer = \"core:7250\"\n{tables}")),
        "a secret never stands in a configuration file" => file("secret.toml", &format!("secret = \"x\"\n{tables}")),
        "there is no table [[webapp]] and none [[coreapp]]" => file("empty.toml", ""),
        "this table has no peer" => file("peerless.toml", "[[webapp]]\nlisten = \"127.0.0.1:6250\"\n"),
        "and there are several peers: one secret opens them all" => file(
            "nameless.toml",
            "[[webapp]]\nlisten = \"127.0.0.1:1\"\npeer = \"a:1\"\n[[webapp]]\nlisten = \"127.0.0.1:2\"\npeer = \"b:1\"\n",
        ),
        "is a number, and these are the positions of upstream" => file(
            "number.toml",
            &format!("{tables}[coreapp.services]\n1 = \"127.0.0.1:6251\"\n"),
        ),
        "this sidecar would dial itself" => file(
            "loop.toml",
            "[[webapp]]\nlisten = \"127.0.0.1:6250\"\npeer = \"127.0.0.1:6250\"\n",
        ),
        "is listened on by another table already" => file("twice.toml", &format!("{tables}{tables}")),
        _ => panic!("a row that nobody provokes: {exit} {says}"),
    }
}

#[test]
fn each_failing_start_is_as_the_page_says() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = taken.local_addr().expect("bound").to_string();
    let alive = path("alive");
    let _ = fs::remove_file(&alive);
    let _alive = UnixListener::bind(&alive).expect("bound");
    let mut said = Vec::new();
    for row in rows("starts") {
        let [exit, says, ..] = &row[..] else { panic!("{row:?}") };
        let (output, called) = if says == "Too many open files" {
            let outputs: Vec<_> = (4..20).map(short_of_files).collect();
            let said = |output: &Output, text: &str| String::from_utf8_lossy(&output.stderr).contains(text);
            let aborted = outputs.iter().find(|output| said(output, "\"panic\""));
            assert!(aborted.is_none(), "{aborted:?}");
            let failed = outputs.into_iter().filter(|output| output.status.code() == Some(70));
            let mut failed = failed.filter(|output| said(output, says));
            (failed.next().expect("a start that fails for files"), Vec::new())
        } else {
            let wrong = provoke(says, exit, &taken, &alive);
            (wrong.run(), wrong.called)
        };
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let wanted = called
            .iter()
            .fold(says.clone(), |text, (page, here)| match page.as_str() {
                "secret" => text.replace("\"secret\"", &format!("{here:?}")),
                page => text.replace(page, here),
            });
        assert!(stderr.contains(&wanted), "{wanted} is not what it says: {stderr}");
        assert_eq!(output.status.code(), exit.parse().ok(), "{row:?}: {stderr}");
        said.push(stderr);
    }
    let unseen: Vec<_> = source::start_errors()
        .into_iter()
        .filter(|(_, parts)| !parts.is_empty() && !said.iter().any(|said| has_in_order(said, parts)))
        .map(|(whole, _)| whole)
        .filter(|whole| !whole.contains("more than 4 GiB"))
        .collect();
    assert!(unseen.is_empty(), "errors of a start that no row provokes: {unseen:#?}");
}

fn has_in_order(text: &str, parts: &[String]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| {
        let Some(at) = rest.find(part.as_str()) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        true
    })
}
