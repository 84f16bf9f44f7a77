//! Real sidecars as child processes, for tests: started on free ports, watched through their log, ended with the test.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A generated secret, for tests alone.
pub const SECRET: &str = "correct horse battery staple";

/// Waits no longer than this for what should take milliseconds.
pub const SOON: Duration = Duration::from_secs(20);

/// A sidecar process.
pub struct Sidecar {
    child: Child,
    log: Arc<Log>,
    /// Where it accepts apps (webapp) or links (coreapp).
    pub listen: SocketAddr,
    pub admin: SocketAddr,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
}

/// What a sidecar is started with.
pub struct Start {
    command: Command,
}

impl Start {
    /// `role` and what it needs: `--peer` or `--upstream`. Listens on free ports of 127.0.0.1 unless `flags` say else.
    pub fn new(role: &str, flags: &[&str]) -> Self {
        Self::of(env!("CARGO_BIN_EXE_wa-sidecar").as_ref(), role, flags)
    }

    /// Another build of the program.
    pub fn of(program: &Path, role: &str, flags: &[&str]) -> Self {
        let listen: &[&str] = match flags.contains(&"--listen") {
            true => &[],
            false => &["--listen", "127.0.0.1:0"],
        };
        let arguments = [&[role], flags, listen, &["--admin", "127.0.0.1:0"]].concat();
        Self::with(program, &arguments)
    }

    /// These arguments alone, and a secret; it logs JSON.
    pub fn bare(arguments: &[&str]) -> Self {
        Self::with(env!("CARGO_BIN_EXE_wa-sidecar").as_ref(), arguments)
    }

    fn with(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).args(["--log-format", "json"]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WA_")) {
            command.env_remove(name);
        }
        if !arguments.contains(&"run") {
            // One link, however many cores the host has; a flag beats it.
            command.env("WA_WORKERS", "1");
        }
        command.env("WA_SECRET", SECRET);
        Self { command }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// By `wrapper`, a command that is given this one: strace.
    pub fn under(self, wrapper: &[&str]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]);
        command.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command }
    }

    pub fn spawn(mut self) -> Sidecar {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawned");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sink.lines.lock().expect("lock").push(value);
                sink.more.notify_all();
            }
        });
        let mut sidecar = Sidecar {
            child,
            log,
            listen: ([0, 0, 0, 0], 0).into(),
            admin: ([0, 0, 0, 0], 0).into(),
        };
        sidecar.listen = sidecar.address_of("listening");
        sidecar.admin = sidecar.address_of("admin_listening");
        sidecar
    }
}

/// A field of a log line, wherever the format puts it.
pub fn field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line.get(name).or_else(|| line.get("fields")?.get(name))
}

fn is_event(line: &Value, event: &str) -> bool {
    field(line, "event").and_then(Value::as_str) == Some(event)
}

impl Sidecar {
    fn address_of(&self, event: &str) -> SocketAddr {
        let line = self.event(event);
        let address = field(&line, "address").and_then(Value::as_str).expect("an address");
        // A Unix socket is known to the test that asked for it.
        address.parse().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Where it accepts, once there are `n` listeners, in their order.
    pub fn doors(&self, n: usize) -> Vec<SocketAddr> {
        eventually("all listeners", || (self.count("listening") == n).then_some(()));
        let lines = self.log();
        let listening = lines.iter().filter(|line| is_event(line, "listening"));
        let address = |line| field(line, "address")?.as_str()?.parse().ok();
        listening.map(|line| address(line).expect("an address")).collect()
    }

    /// The first line of `event`, waited for.
    pub fn event(&self, event: &str) -> Value {
        self.line(&format!("event {event}"), |line| is_event(line, event))
    }

    /// The first line of `event` with that `reason`, waited for.
    pub fn event_with_reason(&self, event: &str, reason: &str) -> Value {
        self.line(&format!("event {event} reason {reason}"), |line| {
            is_event(line, event) && field(line, "reason").and_then(Value::as_str) == Some(reason)
        })
    }

    fn line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + SOON;
        let mut lines = self.log.lines.lock().expect("lock");
        loop {
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} in the log: {lines:#?}");
            lines = self.log.more.wait_timeout(lines, left).expect("lock").0;
        }
    }

    /// How many lines of `event` there are now.
    pub fn count(&self, event: &str) -> usize {
        self.log
            .lines
            .lock()
            .expect("lock")
            .iter()
            .filter(|line| is_event(line, event))
            .count()
    }

    /// The whole log so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lines.lock().expect("lock").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `TERM`, `KILL`, `STOP`, `CONT`, `ABRT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// Waits for the end.
    pub fn wait(&mut self, at_most: Duration) -> ExitStatus {
        let until = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(
                Instant::now() < until,
                "still running after {at_most:?}: {:#?}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The body of a page of the admin endpoint.
    pub fn page(&self, path: &str) -> String {
        http_get(self.admin, path)
    }

    /// The value of a sample of `/metrics`: `wa_sidecar_links_up`, `wa_sidecar_handshakes_total{result="busy"}`.
    pub fn metric(&self, sample: &str) -> f64 {
        let page = self.page("/metrics");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in {page}"))
            .parse()
            .expect("a number")
    }

    /// Waits until a sample has a value.
    pub fn until_metric(&self, sample: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        eventually(&format!("{sample} as wanted"), || {
            Some(self.metric(sample)).filter(|&value| wanted(value))
        })
    }

    pub fn until_ready(&self) {
        eventually("ready", || {
            self.page("/readyz").starts_with("HTTP/1.1 200").then_some(())
        });
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until there is something.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "not within {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Status line, headers and body.
pub fn http_get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

/// Both sidecars, linked and ready.
pub struct Pair {
    pub web: Sidecar,
    pub core: Sidecar,
}

impl Pair {
    /// In front of the app at `upstream`.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::start_with(upstream, &[], &[])
    }

    /// With more flags for the webapp and the coreapp side.
    pub fn start_with(upstream: SocketAddr, web: &[&str], core: &[&str]) -> Self {
        let core = Start::new("coreapp", &[&["--upstream", &upstream.to_string()], core].concat()).spawn();
        let web = Start::new("webapp", &[&["--peer", &core.listen.to_string()], web].concat()).spawn();
        web.until_ready();
        Self { web, core }
    }

    /// A connection to the app, through the pair.
    pub fn connect(&self) -> TcpStream {
        connect(self.web.listen)
    }
}

/// With time-outs, so that a hanging test fails.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("time-out");
    stream.set_write_timeout(Some(SOON)).expect("time-out");
    stream
}

/// An app on a free port: `serve` is called for each connection, on a thread of its own.
pub fn app(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An app that sends back what it gets, and ends when its input does.
pub fn echo() -> SocketAddr {
    app(|mut stream| {
        let mut input = stream.try_clone().expect("clone");
        let _ = std::io::copy(&mut input, &mut stream);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    })
}

/// A port that never answers: its backlog is full, so the kernel drops what comes. Keep what is returned.
pub fn black_hole() -> (SocketAddr, Vec<Socket>) {
    let tcp = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let listener = tcp();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).expect("bound");
    listener.listen(0).expect("listening");
    let address = listener.local_addr().expect("bound").as_socket().expect("an address");
    let mut held = vec![listener];
    // Many more than the backlog takes: whatever room there is, is theirs.
    for _ in 0..8 {
        let fill = tcp();
        fill.set_nonblocking(true).expect("non-blocking");
        let _ = fill.connect(&address.into());
        held.push(fill);
    }
    (address, held)
}
