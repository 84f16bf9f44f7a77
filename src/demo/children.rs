//! The two sidecars as child processes of this one, watched through their log.
//!
//! Promises: a child gets no `WA_*` variable but the fresh secret, and outlives this process in no case: it is ended in
//! order, or killed by the kernel when this process is gone.
//! Must not know: what is shown.

use super::no_thread;
use crate::cli::{DEMO_CHILD, Exit, Failure};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What takes milliseconds is waited for this long.
const START: Duration = Duration::from_secs(10);
/// A drain with nothing open takes milliseconds too.
const END: Duration = Duration::from_secs(5);
/// Lines of a child's log that are kept, the last ones.
const KEPT: usize = 500;

/// A running sidecar.
pub struct Sidecar {
    pub role: &'static str,
    child: Child,
    log: Arc<Log>,
    /// Where it accepts: apps (webapp), links (coreapp).
    pub listen: SocketAddr,
    pub admin: SocketAddr,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    kept: Vec<String>,
    ended: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: String) {
        let mut lines = self.lock();
        if lines.kept.len() == KEPT {
            lines.kept.remove(0);
        }
        lines.kept.push(line);
        self.more.notify_all();
    }
}

/// Becomes the sidecar that `arguments` say behind the demo's pid, tied to its life. Returns only if it cannot.
pub fn become_sidecar(arguments: &[OsString]) -> Result<(), Failure> {
    let (demo, arguments) = arguments.split_first().ok_or_else(|| internal("no pid"))?;
    // Kept across exec(2); without it a demo that is killed would leave its sidecars behind.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(internal)?;
    // One that was killed before that tells nobody.
    if getppid().map(|parent| parent.to_string().into()).as_ref() != Some(demo) {
        return Err(internal("the demo is gone"));
    }
    let program = std::env::current_exe().map_err(internal)?;
    Err(internal(Command::new(program).args(arguments).exec()))
}

impl Sidecar {
    /// `wa-sidecar ROLE FLAG VALUE` on free ports of 127.0.0.1, with `secret` in its environment.
    pub fn start(role: &'static str, flag: &str, value: SocketAddr, secret: &str) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| denied(role, &error))?;
        let mut command = Command::new(program);
        command.args([DEMO_CHILD, &std::process::id().to_string()]);
        command.args([role, flag, &value.to_string()]);
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WA_") {
                command.env_remove(name);
            }
        }
        command.env("WA_SECRET", secret);
        // One link, whose frames can be followed.
        command.env("WA_WORKERS", "1");
        // A process group of its own: Ctrl-C is for the demo, which then ends its children in order.
        command.process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| denied(role, &error))?;
        let reader = thread::Builder::new().name(format!("log-{role}"));
        let mut sidecar = Self::watched(role, child, reader)?;
        sidecar.admin = sidecar.address("admin_listening")?;
        sidecar.listen = sidecar.address("listening")?;
        Ok(sidecar)
    }

    /// `child`, whose log `reader` reads. It is ended if that cannot be.
    fn watched(role: &'static str, child: Child, reader: thread::Builder) -> Result<Self, Failure> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut sidecar = Self {
            role,
            child,
            log: Arc::default(),
            listen: unknown,
            admin: unknown,
        };
        if let Some(stderr) = sidecar.child.stderr.take() {
            let sink = Arc::clone(&sidecar.log);
            let reading = reader.spawn(move || {
                BufReader::new(stderr)
                    .lines()
                    .map_while(Result::ok)
                    .for_each(|line| sink.push(line));
                sink.lock().ended = true;
                sink.more.notify_all();
            });
            reading.map_err(no_thread)?;
        }
        Ok(sidecar)
    }

    fn address(&mut self, event: &str) -> Result<SocketAddr, Failure> {
        let line = self.event(event)?;
        let address = line["address"].as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| Failure::new(Exit::Internal, format!("no address in the {}'s log: {line}", self.role)))
    }

    /// The first line of that event, waited for.
    pub fn event(&mut self, event: &str) -> Result<Value, Failure> {
        let until = Instant::now() + START;
        let log = Arc::clone(&self.log);
        let mut lines = log.lock();
        loop {
            let found = lines
                .kept
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["event"] == event);
            if let Some(found) = found {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                let everything = lines.kept.clone();
                // Its log ends a moment before it does.
                let ends_within = if lines.ended { END } else { Duration::ZERO };
                drop(lines);
                let warnings = self.warnings();
                let said = if warnings.is_empty() { everything } else { warnings };
                return Err(self.stuck(event, &said.join("\n  "), ends_within));
            }
            lines = match log.more.wait_timeout(lines, left) {
                Ok((lines, _)) => lines,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// The child's own words are the best there are.
    fn stuck(&mut self, event: &str, said: &str, ends_within: Duration) -> Failure {
        let role = self.role;
        match self.status_within(ends_within) {
            Some(status) => {
                let exit = if status.code() == Some(Exit::Unavailable as i32) {
                    Exit::Unavailable
                } else {
                    Exit::Internal
                };
                Failure::new(
                    exit,
                    format!("the {role} sidecar ended at its start ({status}). It said:\n  {said}"),
                )
            }
            None => Failure::new(
                Exit::Internal,
                format!("the {role} sidecar did not come to {event:?} within {START:?}. It said:\n  {said}"),
            ),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `Some(how)` once it has ended.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// What it warned of, most recent last.
    pub fn warnings(&self) -> Vec<String> {
        let lines = self.log.lock();
        let warned = lines.kept.iter().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let level = line["level"].as_str()?;
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            matches!(level, "WARN" | "ERROR").then(|| {
                format!(
                    "{level} event={} reason={} {}",
                    text("event"),
                    text("reason"),
                    text("message")
                )
            })
        });
        warned.collect()
    }

    /// SIGTERM, and waits. `false`: it had to be killed, or did not end with 0.
    pub fn end(&mut self) -> bool {
        if self.ended().is_some() {
            return false;
        }
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        self.status_within(END).is_some_and(|status| status.success())
    }

    /// How it ended, if it does within that time.
    fn status_within(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + at_most;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                _ if Instant::now() >= until => return None,
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn denied(role: &str, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!(
            "cannot start the {role} sidecar as a process of its own: {error}\n  \
             The demo runs this very program twice. Is it on a file system that is mounted noexec, was it deleted\n  \
             since it was started, or does a container's profile deny starting processes?"
        ),
    )
}

fn internal(error: impl ToString) -> Failure {
    Failure::new(Exit::Internal, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The kernel closes its files before it can be waited for.
    #[test]
    fn a_child_that_has_said_its_last_is_known_to_have_ended() {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", "exec 2>&-; sleep 0.1; exit 69"]);
        let child = shell.stderr(Stdio::piped()).spawn().expect("started");
        let mut sidecar = Sidecar::watched("coreapp", child, thread::Builder::new()).expect("watched");
        let failure = sidecar.event("listening").expect_err("it ended");
        assert_eq!(failure.exit, Exit::Unavailable, "{}", failure.message);
        assert!(failure.message.contains("ended at its start"), "{}", failure.message);
    }

    #[test]
    fn a_child_whose_log_nobody_can_read_is_ended() {
        let mut sleep = Command::new("sleep");
        let child = sleep.arg("60").stderr(Stdio::piped()).spawn().expect("started");
        let pid = child.id();
        // More than any address space.
        let reader = thread::Builder::new().stack_size(1 << 47);
        assert!(Sidecar::watched("coreapp", child, reader).is_err());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
