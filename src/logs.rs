//! The log: one event, one line, on standard error.
//!
//! Promises: writing never waits. Lines go through a bounded queue to a thread of their own; what does not fit is
//! dropped and counted, for a blocked stderr must not make links stale. Whatever a peer's text holds, an event stays
//! one line. Every event has a field `event` with a stable name, and `reason` where something went wrong.
//! Must not know: what the events mean.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Lines that wait for a slow stderr: under 1 MiB of the usual ones.
const QUEUE: usize = 4096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines lost because stderr did not take them in time.
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

/// The writer thread, while there is a log.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Keeps the writer thread; dropping it writes what is queued, for a second at most.
#[derive(Debug)]
pub struct Logs(());

impl Drop for Logs {
    fn drop(&mut self) {
        flush();
    }
}

/// Whether lines are written: [`init`] was called, [`flush`] was not.
pub fn is_on() -> bool {
    WRITER.try_lock().is_ok_and(|writer| writer.is_some())
}

/// Writes what is queued, for a second at most; later lines are lost. For the end of the process.
pub fn flush() {
    let writer = WRITER.try_lock().ok().and_then(|mut writer| writer.take());
    drop(writer);
}

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("bad log filter: {0}")]
    Filter(String),
    #[error("the log was started before: {0}")]
    Twice(#[from] TryInitError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Starts the log of this process. Spawns a thread: what confines threads must come before.
pub fn init(format: LogFormat, filter: &str) -> Result<Logs, LogsError> {
    let filter = parse_filter(filter).map_err(LogsError::Filter)?;
    let terminal = io::stderr().is_terminal();
    // The writer's crate panics where the host denies it its thread.
    let tried = thread::Builder::new().spawn(|| {}).map_err(LogsError::Thread)?;
    let _ = tried.join();
    let builder = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE)
        .thread_name("log");
    let (writer, guard) = builder.finish(io::stderr());
    let counter = writer.error_counter();
    let lines = fmt::layer().with_writer(OneLine(writer));
    let lines = match format {
        LogFormat::Text => lines.with_ansi(terminal).with_target(false).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_current_span(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    DROPPED.get_or_init(|| counter);
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    Ok(Logs(()))
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether [`init`] will take this filter.
pub fn check_filter(text: &str) -> Result<(), String> {
    parse_filter(text).map(drop)
}

fn parse_filter(text: &str) -> Result<Targets, String> {
    // A bare word that is no level would name a module, and turn everything else off: `inof` would mean silence.
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or(directive);
        if !is_level(level) {
            return Err(format!("{level:?} is not a level"));
        }
    }
    text.parse::<Targets>().map_err(|error| error.to_string())
}

/// Hands over each event as exactly one line.
#[derive(Debug, Clone)]
struct OneLine(NonBlocking);

impl Write for OneLine {
    /// The formatter calls this once per event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write(&one_line(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for OneLine {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn one_line(event: &[u8]) -> Vec<u8> {
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    let mut line: Vec<u8> = text
        .iter()
        .map(|&b| if b == b'\n' || b == b'\r' { b' ' } else { b })
        .collect();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        assert_eq!(one_line(b"a\nINFO forged\r\nb\n"), b"a INFO forged  b\n");
        assert_eq!(one_line(b"a"), b"a\n");
    }

    #[test]
    fn filters() {
        for good in ["info", "off", "warn,wa_sidecar::net=debug", "wa_sidecar=TRACE"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["inof", "info,", "", "wa_sidecar", "a=b=c", "INFO "] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
