//! A log line for each limit that is hit, wherever it was: whoever hits one only counts it (DESIGN section 8).
//!
//! Promises: one line per limit at once (within `LOOK`), then at most one every `SAY_AGAIN`, with how often it was hit since.
//! Must not know: where limits are hit.

use crate::counters::{Limit, Registry};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(500);
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What was counted and said of each limit.
#[derive(Debug, Default)]
struct Told {
    hits: [u64; Limit::ALL.len()],
    at: [Option<Instant>; Limit::ALL.len()],
}

/// Says which limits are hit, until it is dropped.
pub async fn watch(registry: Arc<Registry>) {
    let mut told = Told::default();
    loop {
        tokio::time::sleep(LOOK).await;
        for (limit, times) in told.look(&registry, Instant::now()) {
            let (reason, text) = meaning(limit);
            tracing::warn!(event = "limit_hit", limit = limit.label(), reason, times, "{text}");
        }
    }
}

impl Told {
    fn look(&mut self, registry: &Registry, now: Instant) -> Vec<(Limit, u64)> {
        let mut hit = Vec::new();
        for (i, &limit) in Limit::ALL.iter().enumerate() {
            let hits: u64 = registry
                .all()
                .map(|counters| counters.limits_hit[limit as usize].get())
                .sum();
            let quiet = self.at[i].is_some_and(|at| now.duration_since(at) < SAY_AGAIN);
            if hits > self.hits[i] && !quiet {
                hit.push((limit, hits - self.hits[i]));
                self.hits[i] = hits;
                self.at[i] = Some(now);
            }
        }
        hit
    }
}

/// What happens at this limit in one word, and what to do about it.
const fn meaning(limit: Limit) -> (&'static str, &'static str) {
    match limit {
        Limit::Unauthenticated => (
            "oldest_closed",
            "more connections that have not authenticated than are held: the oldest are closed. Let only the peers reach --listen",
        ),
        Limit::Unconfirmed => (
            "refused",
            "too many links are authenticated and never confirmed: a recorded handshake is replayed, or connections break",
        ),
        Limit::Links => (
            "refused",
            "as many links are up as --max-links allows: more are refused. Raise it, or see who dials:  /status",
        ),
        Limit::Streams => (
            "reset",
            "as many app connections are open on every link as both sides' --max-streams and --buffer-budget allow: more are reset",
        ),
        Limit::Buffer => (
            "refused",
            "no room for another link in --buffer-budget: raise it, or lower --max-streams",
        ),
        Limit::Growth => (
            "not_grown",
            "streams could use larger windows than --buffer-budget has room for: they go on, more slowly",
        ),
        Limit::Dials => (
            "waits",
            "as many dials to one app are in flight as --max-dials allows: as many again wait, for --dial-timeout at most; more are reset. Is the app slow to accept?",
        ),
        Limit::WaitingApps => (
            "reset",
            "as many apps wait for a link as --max-waiting allows: more are reset",
        ),
        Limit::ReplayCache => (
            "refused",
            "more handshakes in 21 s than are remembered: more are refused, for one could be a replay",
        ),
        Limit::SkewAnswers => (
            "silent",
            "handshakes with a clock that is too far off come faster than they are answered: some are closed in silence",
        ),
        Limit::OpenFiles => (
            "paused",
            "no more open files: accepting pauses and is tried again every 0.1 s. Raise the limit:  ulimit -n 65536",
        ),
        Limit::FailureRate => (
            "not_logged",
            "handshakes of one source fail again and again: they are counted, and logged every 10 s",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_said_once_and_then_with_its_sum() {
        let registry = Registry::new(2);
        let mut told = Told::default();
        let start = Instant::now();
        let mut look = |after| told.look(&registry, start + Duration::from_secs(after));
        assert!(look(0).is_empty());
        registry.workers[0].limit_hit(Limit::Growth);
        registry.control.limit_hit(Limit::Links);
        assert_eq!(look(1), [(Limit::Links, 1), (Limit::Growth, 1)]);
        registry.workers[0].limit_hit(Limit::Growth);
        registry.workers[1].limit_hit(Limit::Growth);
        assert!(look(10).is_empty());
        assert_eq!(look(11), [(Limit::Growth, 2)]);
        assert!(look(30).is_empty());
    }
}
