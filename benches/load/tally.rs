//! What a thread counts while it works: operations, bytes, latencies, failures.
//!
//! Promises: adding allocates nothing. Each thread has its own; the control thread takes it away once a second.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::fault::{Fault, Faults};

/// The longest latency that is told apart, nanoseconds: an hour.
const HIGHEST: u64 = 3_600_000_000_000;

/// Counts since they were last taken away.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Nanoseconds, three significant digits.
    pub latencies: Histogram<u64>,
    pub operations: u64,
    /// Payload.
    pub bytes: u64,
    /// Scheduled operations that began over 1 ms after their time, because no connection was free.
    pub late: u64,
    /// Scheduled operations whose time had come and that had no answer when the run ended.
    pub unanswered: u64,
    /// Connections made.
    pub connects: u64,
    pub faults: Faults,
}

impl Default for Tally {
    fn default() -> Tally {
        // Bounds and digits are constants that the histogram takes.
        let latencies = Histogram::new_with_bounds(100, HIGHEST, 3).unwrap_or_else(|_| unreachable!());
        Tally {
            latencies,
            operations: 0,
            bytes: 0,
            late: 0,
            unanswered: 0,
            connects: 0,
            faults: Faults::default(),
        }
    }
}

impl Tally {
    pub fn latency(&mut self, latency: Duration) {
        self.latencies
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(HIGHEST));
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: Tally) {
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.late += other.late;
        self.unanswered += other.unanswered;
        self.connects += other.connects;
        self.faults.merge(other.faults);
    }
}

/// A tally that one thread writes and the control thread empties.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Tally>);

impl Shared {
    /// Never contended but for the moment of a [`Shared::take`].
    pub fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fail(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// Takes what was counted, and leaves `empty` in its place.
    pub fn take(&self, empty: Tally) -> Tally {
        std::mem::replace(&mut *self.lock(), empty)
    }
}
