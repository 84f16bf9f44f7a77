//! What strace wrote of a process: the calls of its worker threads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// The shortest frame; what a worker writes to wake another thread is shorter.
const SHORTEST_FRAME: u64 = 37;
/// Without a call for this long, all that belongs to a work is done: a call takes microseconds, a tick is a second away.
const QUIET: Duration = Duration::from_millis(100);

/// A file that strace writes.
pub struct Trace {
    file: PathBuf,
}

/// Calls of the worker threads up to a moment.
#[derive(Debug, Default)]
pub struct Calls {
    by_name: BTreeMap<String, u64>,
    /// write(2) of at least a frame; apps' bytes go by writev(2), or sendmsg(2) where the end follows.
    frames_written: u64,
    /// How many calls, and frames, there had been at each of those to an app.
    at_delivery: Vec<[u64; 2]>,
}

impl Trace {
    pub fn new(role: &str) -> Self {
        let name = format!("trace-{}-{role}", std::process::id());
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&file);
        Self { file }
    }

    /// strace, to be given a command. No strings: they would be most of the file.
    pub fn command(&self) -> [&str; 7] {
        let file = self.file.to_str().expect("a path");
        ["strace", "-f", "-qq", "-s", "16", "-o", file]
    }

    /// Who is traced: the first to call anything.
    pub fn process(&self) -> Option<String> {
        let text = fs::read_to_string(&self.file).ok()?;
        text.split_whitespace().next().map(str::to_owned)
    }

    /// The calls so far, once there are no more of them.
    pub fn settled(&self) -> Calls {
        let mut len = 0;
        loop {
            thread::sleep(QUIET);
            let now = fs::metadata(&self.file).expect("strace, of .ci/packages").len();
            if now == len {
                return self.read();
            }
            len = now;
        }
    }

    fn read(&self) -> Calls {
        let text = fs::read_to_string(&self.file).expect("ASCII");
        let mut workers = BTreeSet::new();
        let mut calls = Calls::default();
        for line in text.lines() {
            let Some((thread, call)) = line.split_once(' ') else {
                continue;
            };
            let call = call.trim_start();
            if call.starts_with("prctl(PR_SET_NAME, \"worker-") {
                workers.insert(thread);
            } else if workers.contains(thread) {
                calls.add(call);
            }
        }
        calls
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

impl Calls {
    /// A line of strace without its thread: `read(9, "..."..., 16384) = 100`; a call that another thread's cut in two counts where
    /// it began.
    fn add(&mut self, call: &str) {
        let resumed = call.strip_prefix("<... ");
        let whole = resumed.is_some() || !call.ends_with("<unfinished ...>");
        let name = match resumed {
            Some(rest) => rest.split_once(' ').map(|(name, _)| name),
            None => call.split_once('(').map(|(name, _)| name),
        };
        // Signals and exits are no calls.
        let Some(name) = name.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) else {
            return;
        };
        if resumed.is_none() {
            if matches!(name, "writev" | "sendmsg") {
                self.at_delivery.push([self.total(), self.frames_written]);
            }
            *self.by_name.entry(name.to_owned()).or_default() += 1;
        }
        let result = call.rsplit_once(" = ").and_then(|(_, result)| result.parse().ok());
        if whole && name == "write" && result.is_some_and(|n: u64| n >= SHORTEST_FRAME) {
            self.frames_written += 1;
        }
    }

    pub fn since(mut self, before: &Self) -> Self {
        for (name, n) in &before.by_name {
            if let Some(mine) = self.by_name.get_mut(name) {
                *mine -= n;
            }
        }
        self.frames_written -= before.frames_written;
        // From the last one before on.
        self.at_delivery.drain(..before.at_delivery.len().saturating_sub(1));
        self
    }

    /// Calls and frames from one delivery to an app to the next, as they usually are: without the dearest tenth, where a tick, CREDIT or the
    /// scheduler came in between.
    pub fn usual(&self) -> [f64; 2] {
        [0, 1].map(|what| {
            let mut costs: Vec<u64> = self
                .at_delivery
                .windows(2)
                .map(|two| two[1][what] - two[0][what])
                .collect();
            costs.sort_unstable();
            costs.truncate(costs.len() - costs.len() / 10);
            costs.iter().sum::<u64>() as f64 / costs.len() as f64
        })
    }

    pub fn total(&self) -> u64 {
        self.by_name.values().sum()
    }
    pub fn frames_written(&self) -> u64 {
        self.frames_written
    }

    /// Each name's share of one operation.
    pub fn breakdown(&self, operations: f64, unit: &str) -> String {
        let mut by_count: Vec<_> = self.by_name.iter().filter(|(_, n)| **n > 0).collect();
        by_count.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), *name));
        let line = |(name, n): (&String, &u64)| format!("{:>38.3}  {name} a {unit}\n", *n as f64 / operations);
        by_count.into_iter().map(line).collect()
    }
}
