//! How many refusals that are not cached may be given (SPEC 3.4 step 6): 5 in any second.
//!
//! Promises: over every window of one second, not only on average; constant memory.
//! Must not know: what is refused.

use crate::link::time::Instant;
use core::time::Duration;

const WINDOW: Duration = Duration::from_secs(1);
const MOST: usize = 5;

#[derive(Default)]
pub(super) struct Answers {
    /// When the last ones were given; `next` is the oldest.
    given: [Option<Instant>; MOST],
    next: usize,
}

impl Answers {
    /// One more may be given now; then it counts.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.given[self.next].is_some_and(|oldest| now.since(oldest) < WINDOW) {
            return false;
        }
        self.given[self.next] = Some(now);
        self.next = (self.next + 1) % MOST;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    #[test]
    fn five_in_any_second() {
        let mut answers = Answers::default();
        for ms in [0, 100, 200, 300, 999] {
            assert!(answers.take(at_ms(ms)), "{ms}");
        }
        assert!(!answers.take(at_ms(999)));
        // The first is a second old, the next is not.
        assert!(answers.take(at_ms(1000)));
        assert!(!answers.take(at_ms(1099)));
        assert!(answers.take(at_ms(1100)));
    }

    #[test]
    fn a_flood_gets_five_a_second() {
        let mut answers = Answers::default();
        let given = (0..10_000).filter(|&ms| answers.take(at_ms(ms))).count();
        assert_eq!(given, 50);
    }
}
