//! A token bucket on virtual time.

use super::time::Instant;

/// Holds up to one second's worth of its rate, unless made with another burst.
#[derive(Debug, Clone)]
pub struct Rate {
    per_second: u64,
    /// In millionths of a token, so that no call loses a part of one to rounding; so many are held at most.
    level: u128,
    burst: u128,
    last: Instant,
}

const TOKEN: u128 = 1_000_000;

impl Rate {
    pub fn new(per_second: u64, burst: u64, now: Instant) -> Self {
        let burst = u128::from(burst) * TOKEN;
        Self {
            per_second,
            level: burst,
            burst,
            last: now,
        }
    }

    /// Takes `n` tokens, or none and `false`.
    pub fn take(&mut self, n: u64, now: Instant) -> bool {
        // Microseconds times tokens a second are millionths of a token.
        let earned = u128::from(now.0.saturating_sub(self.last.0)) * u128::from(self.per_second);
        self.level = self.level.saturating_add(earned).min(self.burst);
        self.last = self.last.max(now);
        let n = u128::from(n) * TOKEN;
        let enough = self.level >= n;
        if enough {
            self.level -= n;
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

    /// However the calls fall, what is earned is earned: nothing is lost to rounding.
    #[test]
    fn a_rate_just_under_the_bound_is_never_refused() {
        let mut rate = Rate::new(4096, 8192, Instant(0));
        let (mut t, mut seed) = (0, 1_u32);
        for call in 0..200_000 {
            // 280 us from one to the next on average: 3,571 a second.
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            t += u64::from(seed >> 8) % 561;
            assert!(rate.take(1, Instant(t)), "call {call}");
        }
    }
}
