//! CPU time of other processes, from /proc.
//!
//! Promises: threads that have ended count. Nanoseconds where the kernel has schedstat and no thread has ended; else ticks. Must
//! not know: what the processes do.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

/// Processes under one name, such as both sidecars of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub name: String,
    pub pids: Vec<u32>,
}

impl Watched {
    /// `NAME=PID[,PID...]`
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn parse(text: &str) -> Result<Watched, String> {
        let (name, pids) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not NAME=PID[,PID...]"))?;
        if name.is_empty() {
            return Err(format!("{text:?} has no name before the ="));
        }
        let pids = pids
            .split([',', ' '])
            .map(|pid| pid.parse().map_err(|_| format!("{pid:?} is no process id")))
            .collect::<Result<Vec<u32>, String>>()?;
        Ok(Watched {
            name: name.to_owned(),
            pids,
        })
    }

    /// Seconds since the processes began.
    ///
    /// # Errors
    /// A process is not there (any more), or is somebody else's.
    pub fn seconds(&self) -> Result<f64, String> {
        self.pids
            .iter()
            .map(|pid| {
                of_process(&format!("/proc/{pid}")).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => format!("--cpu-of {}: there is no process {pid}", self.name),
                    _ => format!("--cpu-of {}: process {pid}: {error}", self.name),
                })
            })
            .sum()
    }
}

/// CPU seconds of this process, threads that have ended included.
pub fn own() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds of all in `watched`; who cannot be read is left out and said in the second part.
pub fn sample(watched: &[Watched]) -> (BTreeMap<String, f64>, Vec<String>) {
    let (mut seconds, mut missing) = (BTreeMap::new(), Vec::new());
    for group in watched {
        match group.seconds() {
            Ok(value) => *seconds.entry(group.name.clone()).or_insert(0.0) += value,
            Err(error) => missing.push(error),
        }
    }
    (seconds, missing)
}

fn of_process(directory: &str) -> io::Result<f64> {
    // schedstat has only the threads that live: of a server with a thread for each connection that is the least part.
    let ticks = by_stat(&fs::read_to_string(format!("{directory}/stat"))?)?;
    match by_schedstat(directory)? {
        Some(nanos) => Ok(ticks.max(nanos as f64 / 1e9)),
        // Without CONFIG_SCHED_INFO.
        None => Ok(ticks),
    }
}

fn by_schedstat(directory: &str) -> io::Result<Option<u64>> {
    let mut total = 0;
    for task in fs::read_dir(PathBuf::from(directory).join("task"))? {
        match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => match text
                .split_ascii_whitespace()
                .next()
                .and_then(|first| first.parse::<u64>().ok())
            {
                Some(nanos) => total += nanos,
                None => return Ok(None),
            },
            // Without the file at all, or the thread has just ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(total).filter(|&total| total > 0))
}

/// Fields 14 and 15, utime and stime, in ticks (proc_pid_stat(5)); the name before them may hold anything.
pub fn by_stat(stat: &str) -> io::Result<f64> {
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let mut fields = after_name.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => {
            Ok((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "unknown form of /proc/PID/stat",
        )),
    }
}
