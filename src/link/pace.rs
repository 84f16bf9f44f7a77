//! How large a frame may be: what the link took in the last 100 ms, between 4 and 250 KiB (SPEC section 5 allows 256). A slow line must
//! not turn its own bulk stale; a fast one gets frames as large as they come.

use super::time::Instant;

/// The smallest bound, bytes of plaintext.
pub const MIN: usize = 4 * 1024;
/// The largest. A frame of 256 KiB, or its data on its way to the app, is a few bytes more than the four packets that TCP hands down
/// for it, 65,483 bytes at most over loopback and 44 or 45 segments over Ethernet of 1,500 bytes: those bytes would be a fifth one.
const MAX: usize = 250 * 1024;
/// Of a line that is not known yet: small enough that on the slowest one nothing turns stale before it is.
const FIRST: usize = 16 * 1024;
const PERIOD_US: u64 = 100_000;

/// Measures what the connection takes.
#[derive(Debug, Clone)]
pub struct Pace {
    bound: usize,
    since: Instant,
    taken: u64,
    blocked: bool,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self {
            bound: FIRST,
            since: now,
            taken: 0,
            blocked: false,
        }
    }

    /// Bytes of plaintext that a frame may carry now, and of ciphertext that may stay unsent in the socket.
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// The socket took `n` bytes; `all`: nothing of the frame is left.
    pub fn took(&mut self, n: usize, all: bool, now: Instant) {
        self.taken += n as u64;
        let elapsed = now.0.saturating_sub(self.since.0);
        let over = elapsed >= PERIOD_US;
        if over && self.blocked {
            let rate = u128::from(self.taken) * u128::from(PERIOD_US) / u128::from(elapsed);
            self.bound = usize::try_from(rate).unwrap_or(MAX).clamp(MIN, MAX);
        } else if all && !self.blocked && n >= self.bound / 2 {
            // A small frame that goes through at once, a PING, says nothing about the line.
            self.bound = (self.bound * 2).min(MAX);
        }
        if over {
            self.since = now;
            self.taken = 0;
            self.blocked = false;
        }
    }

    /// The socket would not take more.
    pub fn blocked(&mut self) {
        self.blocked = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_never_blocks_gets_the_largest_frames() {
        let mut pace = Pace::new(Instant(0));
        for i in 0..4 {
            pace.took(pace.bound(), true, Instant(i * 10));
        }
        assert_eq!(pace.bound(), MAX);
    }

    #[test]
    fn pings_say_nothing_about_the_line() {
        let mut pace = Pace::new(Instant(0));
        for second in 0..100 {
            pace.took(53, true, Instant(second * 1_000_000));
        }
        assert_eq!(pace.bound(), FIRST);
    }

    #[test]
    fn a_slow_line_gets_what_it_takes_in_100_ms() {
        let mut pace = Pace::new(Instant(0));
        // 256 kbit/s: 3.2 kB in 100 ms; 1 Mbit/s: 12.5 kB.
        for (per_period, expected) in [(3_200, MIN), (12_500, 12_500), (3_200, MIN)] {
            let start = pace.since.0;
            pace.blocked();
            pace.took(per_period, false, Instant(start + PERIOD_US));
            assert_eq!(pace.bound(), expected);
        }
    }
}
