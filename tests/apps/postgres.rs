//! PostgreSQL behind the pair, `pgbench` and `psql` in front.

use crate::account;
use crate::harness::{Pair, SOON, eventually};
use crate::tools::{Directory, Running, Said, on_a_free_port, said, signal, until_exit};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const CLIENTS: u64 = 16;

/// Its programs stand apart from the path, by version: the newest.
fn program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .map(|(version, path)| (version, path.join("bin").join(name)))
        .filter(|(_, file)| file.is_file())
        .max();
    let (_, file) = found.unwrap_or_else(|| panic!("{name} is missing. Type:  apt-get install postgresql"));
    let mut command = Command::new(file);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
}

/// A server with a cluster of its own.
struct Postgres {
    process: Running,
    address: SocketAddr,
    directory: Directory,
}

/// It refuses to run as root: then it is the user whom its package made.
struct User(Option<u32>);

impl User {
    fn find() -> Self {
        let id = || {
            let said = said(Command::new("id").args(["-u", "postgres"]));
            said.stdout.trim().parse().expect("the user postgres, of the package")
        };
        Self(rustix::process::geteuid().is_root().then(id))
    }

    fn owns(&self, path: &Path) {
        std::os::unix::fs::chown(path, self.0, None).expect("given away");
    }

    fn runs(&self, command: &mut Command) {
        if let Some(id) = self.0 {
            command.uid(id);
        }
    }
}

impl Postgres {
    fn start() -> Self {
        let user = User::find();
        // Not below the target directory, which that user may not be able to reach.
        let directory = Directory::below(&std::env::temp_dir());
        user.owns(&directory);
        let data = directory.join("data");
        let mut initdb = program("initdb");
        initdb.arg("-D").arg(&data).current_dir(&*directory).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        user.runs(&mut initdb);
        let made = said(&mut initdb);
        assert_eq!(made.code, Some(0), "{made:?}");
        let (process, address) = on_a_free_port(LOCAL, |address| {
            let log = directory.join("log");
            let file = File::create(&log).expect("created");
            let mut postgres = program("postgres");
            postgres.arg("-D").arg(&data).current_dir(&*directory);
            for setting in [
                &format!("listen_addresses={}", address.ip()),
                &format!("port={}", address.port()),
                "unix_socket_directories=",
                "max_connections=50",
                "log_connections=on",
                // It looks whether a client has gone while a query runs.
                "client_connection_check_interval=200ms",
                "fsync=off",
                "autovacuum=off",
            ] {
                postgres.args(["-c", setting]);
            }
            user.runs(&mut postgres);
            let mut process = Running::start(postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file));
            let ready = eventually("PostgreSQL starts or ends", || {
                let text = std::fs::read_to_string(&log).expect("a log");
                let ready = text.contains("ready to accept connections");
                (ready || !process.is_running()).then_some((ready, text))
            });
            if ready.0 { Ok(process) } else { Err(ready.1) }
        });
        Self {
            process,
            address,
            directory,
        }
    }

    /// Connections that it has seen, a cancel's among them.
    fn connections(&self) -> u64 {
        let log = std::fs::read_to_string(self.directory.join("log")).expect("a log");
        log.matches("LOG:  connection received:").count() as u64
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children go with it, and its shared memory.
        self.process.ask_to_end("INT");
    }
}

/// `psql` with settings of its own alone. It stops at the first error.
fn psql(at: SocketAddr) -> Command {
    let mut psql = program("psql");
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]);
    to(&mut psql, at);
    psql
}

fn to(command: &mut Command, at: SocketAddr) {
    command.args([
        "-U",
        "postgres",
        "-h",
        &at.ip().to_string(),
        "-p",
        &at.port().to_string(),
    ]);
}

fn query(at: SocketAddr, sql: &str) -> String {
    let said = said(psql(at).args(["-c", sql]));
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{sql}");
    said.stdout.trim_end().to_owned()
}

fn pgbench(at: SocketAddr, args: &[&str]) -> Said {
    let mut pgbench = program("pgbench");
    to(&mut pgbench, at);
    let said = said(pgbench.args(args).arg("postgres"));
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    said
}

fn behind_a_pair() -> (Postgres, Pair) {
    let postgres = Postgres::start();
    let pair = Pair::start(postgres.address);
    (postgres, pair)
}

/// Everything went through the pair, and ended in order.
fn in_order(postgres: &Postgres, pair: &Pair) {
    account::whole(pair, postgres.connections());
}

#[test]
fn pgbench_with_sixteen_clients_sees_no_error_and_the_books_balance() {
    let (postgres, pair) = behind_a_pair();
    let at = pair.web.listen;
    pgbench(at, &["-i", "-q", "-s", "4"]);
    assert_eq!(query(at, "select count(*) from pgbench_accounts"), "400000");
    let mut total = 0;
    for (each, args) in [
        (100, &["-M", "simple"][..]),
        (100, &["-M", "prepared"]),
        // A connection for each transaction.
        (5, &["-M", "extended", "-C"]),
    ] {
        let said = pgbench(
            at,
            &[
                args,
                &["-n", "-j", "2", "-c", &CLIENTS.to_string(), "-t", &each.to_string()],
            ]
            .concat(),
        );
        let all = CLIENTS * each;
        let processed = format!("number of transactions actually processed: {all}/{all}\n");
        assert!(said.stdout.contains(&processed), "{args:?}: {said:?}");
        assert!(
            said.stdout.contains("number of failed transactions: 0 (0.000%)\n"),
            "{args:?}: {said:?}"
        );
        total += all;
    }
    // Each transaction adds one amount to an account, a teller, a branch and the history.
    let sums = query(
        at,
        "select count(*), sum(delta), (select sum(abalance) from pgbench_accounts),
         (select sum(tbalance) from pgbench_tellers), (select sum(bbalance) from pgbench_branches) from pgbench_history",
    );
    let sums: Vec<&str> = sums.split('|').collect();
    assert_eq!(sums[0], total.to_string(), "{sums:?}");
    assert_eq!(sums[1..], [sums[1]; 4], "{sums:?}");
    // One connection for each client, and more: one that asks what there is, one for each transaction under -C.
    assert!(
        postgres.connections() > 2 * CLIENTS + 5 * CLIENTS,
        "{}",
        postgres.connections()
    );
    in_order(&postgres, &pair);
}

#[test]
fn copies_go_out_and_come_in_whole() {
    let (postgres, pair) = behind_a_pair();
    let at = pair.web.listen;
    query(
        at,
        "create table goods (id int primary key, name text);
         insert into goods select i, repeat(md5(i::text), 3) from generate_series(1, 100000) i;
         create table copies (like goods);",
    );
    let file: PathBuf = postgres.directory.join("goods");
    let copy = |sql: &str, from: Stdio, to: Stdio| {
        let mut psql = psql(at);
        let child = psql.args(["-c", sql]).stdin(from).stdout(to).spawn();
        assert!(child.expect("psql").wait().expect("waited for").success(), "{sql}");
    };
    let out = "copy (select * from goods order by id) to stdout";
    copy(out, Stdio::null(), File::create(&file).expect("created").into());
    let lines = std::fs::read_to_string(&file).expect("text");
    assert!(lines.len() > 9 << 20, "{}", lines.len());
    // What the server itself says of it.
    let digest = "select count(*), md5(string_agg(id || e'\\t' || name || e'\\n', '' order by id)) from";
    let expected = query(at, &format!("{digest} goods"));
    let md5 = said(Command::new("md5sum").arg(&file)).stdout;
    assert_eq!(expected, format!("100000|{}", md5.split(' ').next().expect("a sum")));

    copy(
        "copy copies from stdin",
        File::open(&file).expect("open").into(),
        Stdio::null(),
    );
    assert_eq!(query(at, &format!("{digest} copies")), expected);

    // One answer of one row.
    let long = query(at, "select repeat('0123456789abcdef', 2 << 20)");
    assert!(long == "0123456789abcdef".repeat(2 << 20), "{}", long.len());
    in_order(&postgres, &pair);
}

/// A query that lasts, once the server is at it.
fn asleep(at: SocketAddr, sql: &str) -> Running {
    let mut psql = psql(at);
    psql.args(["-c", sql, "-c", "select 'and after'"]);
    let running = Running::start(psql.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    eventually("the query runs", || (active(at) == "1").then_some(()));
    running
}

fn active(at: SocketAddr) -> String {
    query(
        at,
        "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()",
    )
}

#[test]
fn a_query_is_cancelled_by_a_second_connection() {
    let (postgres, pair) = behind_a_pair();
    let at = pair.web.listen;
    for _ in 0..3 {
        let psql = asleep(at, "select pg_sleep(600)");
        signal(psql.id(), "INT");
        let said = until_exit(psql);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert_eq!(said.stdout, "", "{said:?}");
        assert!(
            said.stderr.contains("ERROR:  canceling statement due to user request"),
            "{said:?}"
        );
        assert_eq!(active(at), "0");
    }
    in_order(&postgres, &pair);
}

#[test]
fn a_pair_that_is_killed_is_a_lost_server_and_a_lost_client() {
    let (postgres, mut pair) = behind_a_pair();
    for webapp in [true, false] {
        let sleeping = asleep(pair.web.listen, "select pg_sleep(600)");
        let mut copying = psql(pair.web.listen);
        copying.args(["-c", "copy (select generate_series(1, 1000000000)) to stdout"]);
        // It reads nothing of what it writes, so the copy stands in the middle.
        let copying = Running::start(
            copying
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        pair.core
            .until_metric("wa_sidecar_credit_stalls_total", |stalls| stalls > 0.0);

        let sidecar = if webapp { &mut pair.web } else { &mut pair.core };
        sidecar.signal("KILL");
        sidecar.wait(SOON);
        for psql in [sleeping, copying] {
            let said = until_exit(psql);
            assert!(!matches!(said.code, Some(0) | None), "{said:?}");
            assert!(
                said.stderr.contains("server closed the connection unexpectedly"),
                "{said:?}"
            );
        }
        // The server notices too.
        eventually("no query runs", || (active(postgres.address) == "0").then_some(()));
        eventually("no copy runs", || {
            let copies = "select count(*) from pg_stat_activity where query like '%generate_series%'
                          and pid <> pg_backend_pid()";
            (query(postgres.address, copies) == "0").then_some(())
        });
        pair = Pair::start(postgres.address);
    }
    assert_eq!(query(pair.web.listen, "select 'there again'"), "there again");
}
