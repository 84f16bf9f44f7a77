//! What every test here needs: programs from Debian, directories of its own, hashes.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// A program of a Debian package that `.ci/packages` lists.
pub fn program(name: &str, package: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file());
    let file = found.unwrap_or_else(|| panic!("{name} is missing. Type:  apt-get install {package}"));
    Command::new(file)
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("wait").is_none()
    }

    /// Sends a signal on which it ends what it has begun, and waits; for `Drop`, so it never fails.
    pub fn ask_to_end(&mut self, name: &str) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let _ = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status();
        let until = Instant::now() + Duration::from_secs(10);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that ends with the test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        Self::below(env!("CARGO_TARGET_TMPDIR").as_ref())
    }

    pub fn below(parent: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("apps-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = parent.join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl std::ops::Deref for Directory {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a program said, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end.
pub fn said(command: &mut Command) -> Said {
    until_exit(Running::start(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    ))
}

/// Reads what it says until it ends. A minute without an end fails the test.
pub fn until_exit(mut running: Running) -> Said {
    fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }
    let (stdout, stderr) = (read(running.0.stdout.take()), read(running.0.stderr.take()));
    let until = Instant::now() + Duration::from_secs(60);
    while running.is_running() {
        assert!(Instant::now() < until, "it does not end: {:?}", running.0);
        thread::sleep(Duration::from_millis(5));
    }
    Said {
        code: running.0.wait().expect("waited for").code(),
        stdout: stdout.join().expect("read"),
        stderr: stderr.join().expect("read"),
    }
}

/// Starts a server on a port that was free a moment ago; if it was taken since, on another one.
pub fn on_a_free_port<T>(ip: IpAddr, mut start: impl FnMut(SocketAddr) -> Result<T, String>) -> (T, SocketAddr) {
    let mut why = String::new();
    for _ in 0..10 {
        let free = TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        match start(address) {
            Ok(server) => return (server, address),
            Err(log) => why = log,
        }
    }
    panic!("it does not start: {why}");
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of all that `input` has, and how many bytes that were.
pub fn hash(mut input: impl Read) -> (String, u64) {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let n = input.read(&mut buffer).expect("readable");
        if n == 0 {
            return (hex(&hash.finalize()), total);
        }
        hash.update(&buffer[..n]);
        total += n as u64;
    }
}

/// Bytes that look random and are the same in every run.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// Sends a signal to a process of the test's own.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.expect("kill").success(), "signal {name} to {pid}");
}
