//! How a run goes, on stderr: one line that is rewritten on a terminal, else a line every 5 s.
//!
//! Promises: never on stdout, which belongs to the result.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use crate::{
    quantity,
    run::{Second, Window},
};

/// Where progress goes.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    quiet: bool,
    phase: &'static str,
    length: Option<Duration>,
}

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        Progress {
            terminal: std::io::stderr().is_terminal(),
            quiet,
            phase: "",
            length: None,
        }
    }

    /// A phase begins.
    pub fn phase(&mut self, name: &'static str, length: Option<Duration>) {
        (self.phase, self.length) = (name, length);
    }

    /// A second of it has passed.
    pub fn second(&mut self, window: &Window) {
        let Some(last) = window.seconds_series.last() else {
            return;
        };
        if self.quiet || (!self.terminal && !window.seconds_series.len().is_multiple_of(5)) {
            return;
        }
        let of = self
            .length
            .map_or(String::new(), |length| format!(" of {} s", length.as_secs_f64()));
        let line = format!("{} {:.0}{of}: {}", self.phase, last.at, describe(window, last));
        let mut stderr = std::io::stderr();
        // A stderr that is gone is no reason to stop.
        let _ = if self.terminal {
            write!(stderr, "\r{line}\x1b[K")
        } else {
            writeln!(stderr, "{line}")
        };
    }

    /// The run is over.
    pub fn end(&mut self) {
        if self.terminal && !self.quiet {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn describe(window: &Window, last: &Second) -> String {
    let mut parts = Vec::new();
    if !window.small.latencies.is_empty() || window.bulk.bytes == 0 {
        let at = |quantile| quantity::micros(window.small.latencies.value_at_quantile(quantile) as f64 / 1e3);
        parts.push(format!(
            "{}/s",
            quantity::count(last.small.operations as f64 / last.length)
        ));
        parts.push(format!("p50 {} p99 {}", at(0.5), at(0.99)));
    }
    let bytes = last.small.bytes + last.bulk.bytes;
    parts.push(format!("{}/s", quantity::bytes(bytes as f64 / last.length)));
    parts.push(format!(
        "{} errors",
        window.small.faults.total() + window.bulk.faults.total()
    ));
    parts.join(", ")
}
