//! A token bucket on virtual time.

use super::time::Instant;

/// Holds up to one second's worth of its rate, unless made with another burst.
#[derive(Debug, Clone)]
pub struct Rate {
    per_second: u64,
    burst: u64,
    tokens: u64,
    last: Instant,
}

impl Rate {
    pub fn new(per_second: u64, burst: u64, now: Instant) -> Self {
        Self {
            per_second,
            burst,
            tokens: burst,
            last: now,
        }
    }

    /// Takes `n` tokens, or none and `false`.
    pub fn take(&mut self, n: u64, now: Instant) -> bool {
        let elapsed = u128::from(now.0.saturating_sub(self.last.0));
        let earned = elapsed * u128::from(self.per_second) / 1_000_000;
        if earned > 0 {
            self.tokens = u64::try_from(u128::from(self.tokens) + earned)
                .unwrap_or(u64::MAX)
                .min(self.burst);
            self.last = now;
        }
        let enough = self.tokens >= n;
        if enough {
            self.tokens -= n;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut rate = Rate::new(5, 5, Instant(0));
        assert_eq!((0..9).filter(|_| rate.take(1, Instant(10))).count(), 5);
        assert!(!rate.take(1, Instant(150_000)));
        assert!(rate.take(1, Instant(210_000)));
        assert!(!rate.take(1, Instant(210_000)));
        assert_eq!((0..99).filter(|_| rate.take(1, Instant(100_000_000))).count(), 5);
    }
}
