//! Redis behind the pair, `redis-benchmark` and `redis-cli` in front.

use crate::account;
use crate::harness::{Pair, eventually};
use crate::tools::{Directory, Running, Said, hash, noise, on_a_free_port, program, said, until_exit};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server that keeps nothing.
struct Redis {
    process: Running,
    address: SocketAddr,
    directory: Directory,
}

impl Redis {
    fn start() -> Self {
        let directory = Directory::new();
        let (process, address) = on_a_free_port(LOCAL, |address| {
            let log = directory.join("log");
            let mut redis = program("redis-server", "redis-server");
            redis.args([
                "--bind",
                &address.ip().to_string(),
                "--port",
                &address.port().to_string(),
            ]);
            redis
                .args(["--save", "", "--appendonly", "no", "--dir"])
                .arg(&*directory);
            redis.stdin(Stdio::null()).stdout(File::create(&log).expect("created"));
            let mut process = Running::start(&mut redis);
            let (ready, text) = eventually("Redis starts or ends", || {
                let text = std::fs::read_to_string(&log).expect("a log");
                let ready = text.contains("Ready to accept connections");
                (ready || !process.is_running()).then_some((ready, text))
            });
            if ready { Ok(process) } else { Err(text) }
        });
        Self {
            process,
            address,
            directory,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.ask_to_end("TERM");
    }
}

fn to(mut command: Command, at: SocketAddr) -> Command {
    command.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]);
    command
}

fn cli(at: SocketAddr) -> Command {
    let mut cli = to(program("redis-cli", "redis-tools"), at);
    // It exits with 1 if the answer is an error.
    cli.arg("-e").env_remove("REDISCLI_AUTH");
    cli
}

fn ask(at: SocketAddr, words: &[&str]) -> String {
    let said = said(cli(at).args(words));
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{words:?}: {said:?}");
    said.stdout.trim_end().to_owned()
}

fn benchmark(at: SocketAddr, args: &[&str]) -> Said {
    let mut benchmark = to(program("redis-benchmark", "redis-tools"), at);
    let said = said(benchmark.args(["-q", "-P", "16", "-c", "50"]).args(args));
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{args:?}: {said:?}");
    assert!(!said.stdout.to_lowercase().contains("error"), "{args:?}: {said:?}");
    said
}

/// How often each command was called. None may have been refused or have failed.
fn calls(at: SocketAddr) -> BTreeMap<String, u64> {
    let info = ask(at, &["info", "commandstats"]);
    let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_"));
    let calls = lines.map(|line| {
        assert!(line.contains(",rejected_calls=0,failed_calls=0"), "{line}");
        let (name, figures) = line.split_once(":calls=").expect("calls");
        let calls = figures.split(',').next().expect("a figure");
        (name.to_owned(), calls.parse().expect("a number"))
    });
    calls.collect()
}

fn behind_a_pair() -> (Redis, Pair) {
    let redis = Redis::start();
    let pair = Pair::start(redis.address);
    (redis, pair)
}

/// Everything went through the pair, and ended in order. What asks the server is one connection more.
fn in_order(pair: &Pair) {
    let info = ask(pair.web.listen, &["info", "stats"]);
    let count = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse::<u64>().expect("a number")
    };
    assert_eq!(count("total_error_replies:"), 0);
    account::whole(pair, count("total_connections_received:"));
}

/// Each command as often as `redis-benchmark` was asked for.
fn pipelined(writes_and_reads: u64, ranges: u64) {
    let (_redis, pair) = behind_a_pair();
    let at = pair.web.listen;
    benchmark(at, &["-n", &writes_and_reads.to_string(), "-t", "set,get"]);
    benchmark(at, &["-n", &ranges.to_string(), "-t", "lrange"]);
    let calls = calls(at);
    // LRANGE in four lengths, on a list that is pushed first.
    for (name, expected) in [
        ("set", writes_and_reads),
        ("get", writes_and_reads),
        ("lpush", ranges),
        ("lrange", 4 * ranges),
    ] {
        assert_eq!(calls.get(name), Some(&expected), "{name}: {calls:?}");
    }
    assert_eq!(ask(at, &["llen", "mylist"]), ranges.to_string());
    in_order(&pair);
}

#[test]
fn redis_benchmark_pipelined_sees_no_error_and_redis_counts_every_call() {
    pipelined(100_000, 1_600);
}

#[test]
#[ignore = "long: .ci/long"]
fn redis_benchmark_pipelined_for_a_hundred_thousand_ranges_of_each_length() {
    pipelined(1_000_000, 100_000);
}

#[test]
fn a_value_of_eight_mebibytes_comes_back_byte_for_byte() {
    const LEN: usize = 8 << 20;
    let (redis, pair) = behind_a_pair();
    let at = pair.web.listen;
    let (from, back) = (redis.directory.join("value"), redis.directory.join("back"));
    let value = noise(8, LEN);
    std::fs::write(&from, &value).expect("written");
    let set = cli(at)
        .args(["-x", "set", "value"])
        .stdin(File::open(&from).expect("open"))
        .output()
        .expect("redis-cli");
    assert_eq!(set.stdout, b"OK\n", "{set:?}");
    assert_eq!(ask(at, &["strlen", "value"]), LEN.to_string());
    let got = cli(at)
        .args(["--raw", "get", "value"])
        .stdin(Stdio::null())
        .stdout(File::create(&back).expect("created"))
        .status();
    assert!(got.expect("redis-cli").success());
    let expected = hash(&*[&*value, b"\n"].concat());
    assert_eq!(hash(File::open(&back).expect("open")), expected);
    in_order(&pair);
}

/// Sends all commands without waiting, and reads as many answers.
fn insert(redis: &Redis, at: SocketAddr, commands: impl ExactSizeIterator<Item = String>) {
    let count = commands.len();
    let file = redis.directory.join("commands");
    std::fs::write(&file, commands.collect::<String>()).expect("written");
    let mut pipe = cli(at);
    pipe.arg("--pipe").stdin(File::open(&file).expect("open"));
    let said = until_exit(Running::start(pipe.stdout(Stdio::piped()).stderr(Stdio::piped())));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout.contains(&format!("errors: 0, replies: {count}\n")),
        "{said:?}"
    );
}

#[test]
fn mass_insertion_is_answered_key_by_key() {
    const KEYS: usize = 20_000;
    let (redis, pair) = behind_a_pair();
    let at = pair.web.listen;
    insert(
        &redis,
        at,
        (0..KEYS).map(|i| format!("SET key:{i} {}\r\n", "v".repeat(1 + i % 500))),
    );
    assert_eq!(ask(at, &["dbsize"]), KEYS.to_string());
    assert_eq!(ask(at, &["strlen", "key:499"]), "500");
    in_order(&pair);
}

#[test]
fn a_subscriber_hears_every_message_in_its_order() {
    const MESSAGES: usize = 10_000;
    let (redis, pair) = behind_a_pair();
    let at = pair.web.listen;
    let heard = redis.directory.join("heard");
    let mut subscribe = cli(at);
    subscribe.args(["--raw", "subscribe", "news"]);
    let subscriber = Running::start(
        subscribe
            .stdin(Stdio::null())
            .stdout(File::create(&heard).expect("created")),
    );
    eventually("a subscriber", || {
        (ask(at, &["pubsub", "numsub", "news"]) == "news\n1").then_some(())
    });
    insert(
        &redis,
        at,
        (0..MESSAGES).map(|i| format!("PUBLISH news message-{i}\r\n")),
    );

    let expected: String = (0..MESSAGES).map(|i| format!("message\nnews\nmessage-{i}\n")).collect();
    let expected = format!("subscribe\nnews\n1\n{expected}");
    eventually("all messages", || {
        let heard = std::fs::read_to_string(&heard).expect("text");
        assert!(expected.starts_with(&heard), "{heard}");
        (heard == expected).then_some(())
    });
    drop(subscriber);
    in_order(&pair);
}
