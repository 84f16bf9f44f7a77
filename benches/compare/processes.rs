//! A program that runs, with all that it has forked: its log, its ids, its memory, its end.
//!
//! Promises: it ends with this process, however that ends; only processes that began here are ended, by id.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::peers;

/// Lines of a log that are shown when a program does not start.
const TAIL: usize = 6;
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &Command, log: PathBuf) -> io::Result<Running> {
        let file = File::create(&log)?;
        let child = bound(command)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", command.get_program().display())))?;
        Ok(Running { child, log })
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of what it said.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its own id first, then those of all that descend from it.
    pub fn ids(&self) -> Vec<u32> {
        let children = children();
        let mut ids = vec![self.child.id()];
        let mut next = 0;
        while next < ids.len() {
            ids.extend(children.get(&ids[next]).into_iter().flatten());
            next += 1;
        }
        ids
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A process that forks ends its children when it is asked, and orphans them when it is killed.
        let ids = self.ids();
        if self.is_running() {
            signal(self.child.id(), Signal::TERM);
            let until = Instant::now() + PATIENCE;
            while self.is_running() && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
            if self.is_running() {
                ids[1..].iter().for_each(|&id| signal(id, Signal::KILL));
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }
}

fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Through setpriv(1), so that no relay survives a comparison that was killed; without it as it is.
pub fn bound(command: &Command) -> Command {
    let mut bound = through_setpriv(command);
    // Ctrl-C is for this process: it ends the others.
    bound.process_group(0);
    bound
}

fn through_setpriv(command: &Command) -> Command {
    let Some(setpriv) = peers::find("setpriv") else {
        return copy(command, Command::new(command.get_program()));
    };
    let mut bound = Command::new(setpriv);
    bound.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
    copy(command, bound)
}

fn copy(from: &Command, mut to: Command) -> Command {
    to.args(from.get_args());
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    to
}

/// Of every process, whom it has begun.
fn children() -> BTreeMap<u32, Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for id in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // State and parent follow the name, which may hold anything.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(id);
        }
    }
    children
}

/// KiB of a relay, all its processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kib {
    /// Resident, shared pages in full.
    pub resident: f64,
    /// Resident, shared pages in proportion.
    pub proportional: f64,
    /// The most that was ever resident.
    pub peak: f64,
}

pub fn memory(ids: &[u32]) -> Kib {
    let mut sum = Kib::default();
    for id in ids {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        sum.resident += kib(&status, "VmRSS:");
        sum.peak += kib(&status, "VmHWM:");
        sum.proportional += kib(&rollup, "Pss:");
    }
    sum
}

fn kib(text: &str, name: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}
