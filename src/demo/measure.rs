//! Many calls, each answer checked, each timed beside one that no sidecar touches.
//!
//! Promises: a call through the pair and a direct one take turns, so that whatever else the machine does falls on both.
//! Must not know: how it is shown.

use super::show::micros;
use super::standin::{self, Wrong};
use super::tap::{Seen, Way};
use std::net::SocketAddr;
use std::time::Duration;

/// Calls of a demo that goes on afterwards.
pub const GLANCE: u64 = 200;
/// After as many failures in a row the rest would fail too.
const GIVE_UP: usize = 5;

/// What came of the calls.
#[derive(Debug, Default)]
pub struct Tally {
    /// Those that failed are among them.
    pub made: u64,
    pub failures: Vec<(u64, Wrong)>,
    pub sealed: Times,
    pub direct: Times,
    /// The apps' bytes.
    pub requests: u64,
    pub answers: u64,
    /// What the tap saw meanwhile.
    pub there: Way,
    pub back: Way,
    pub leaks: u64,
    /// Since the start.
    pub links: u64,
}

/// How long calls took.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// The median and what 99 of 100 keep within.
    pub fn percentiles(&self) -> Option<String> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len().checked_sub(1)?));
        Some(format!("{} and {}", micros(*at(50)?), micros(*at(99)?)))
    }
}

/// Makes `calls` through `sealed` and as many straight to `direct`, unless `over` says that it is.
pub fn calls(sealed: SocketAddr, direct: SocketAddr, calls: u64, mut over: impl FnMut() -> bool) -> Tally {
    let mut tally = Tally::default();
    let mut in_a_row = 0;
    for n in 1..=calls {
        tally.made = n;
        match standin::call(sealed, n) {
            Ok(took) => {
                in_a_row = 0;
                tally.sealed.0.push(took);
                tally.requests += standin::request(n).len() as u64;
                tally.answers += standin::answer(n).len() as u64;
            }
            Err(wrong) => {
                in_a_row += 1;
                tally.failures.push((n, wrong));
            }
        }
        // It cannot fail for a reason of the sidecars'; if it does, the times say less and the calls go on.
        if let Ok(took) = standin::call(direct, n) {
            tally.direct.0.push(took);
        }
        if in_a_row == GIVE_UP || over() {
            break;
        }
    }
    tally
}

impl Tally {
    pub fn traffic(&mut self, before: &Seen, after: &Seen) {
        let passed = |before: &Way, after: &Way| Way {
            frames: after.frames - before.frames,
            bytes: after.bytes - before.bytes,
            ..Way::default()
        };
        self.there = passed(&before.there, &after.there);
        self.back = passed(&before.back, &after.back);
        self.leaks = after.there.leaks + after.back.leaks;
        self.links = after.links;
    }
}
