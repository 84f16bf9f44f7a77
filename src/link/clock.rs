//! The clock rule (SPEC section 10): stamps that ignore steps of the wall clock, and ages that are never understated.

use super::time::{Instant, Now};

/// A frame this old, or this far ahead, still passes; one millisecond more is fatal.
pub const WINDOW_MS: i64 = 10_000;
/// A PONG gives a new mapping only if its round trip was at most this, microseconds.
const MAX_MAPPING_ROUND_TRIP_US: u64 = 1_000_000;

/// The stamps of one end and what it knows of the other's.
#[derive(Debug, Clone)]
pub struct Clock {
    base: Now,
    mapping: Mapping,
}

/// 'The peer made this stamp after this instant of mine.'
#[derive(Debug, Clone, Copy)]
enum Mapping {
    /// The responder before frame 0: it knows when it wrote message 2, not yet a stamp.
    Written(Instant),
    Known {
        stamp: u64,
        after: Instant,
    },
}

impl Clock {
    /// `base`: both clocks of this host when it made its handshake message. `stamp`: the clock in message 2 (initiator) or
    /// `None` until frame 0 gives one (responder). `written`: when the own handshake message was written.
    pub fn new(base: Now, stamp: Option<u64>, written: Instant) -> Self {
        let mapping = match stamp {
            Some(stamp) => Mapping::Known { stamp, after: written },
            None => Mapping::Written(written),
        };
        Self { base, mapping }
    }

    /// The stamp of a frame sealed at `instant`, ms.
    pub fn stamp(&self, instant: Instant) -> u64 {
        self.base
            .clock_ms
            .saturating_add(instant.0.saturating_sub(self.base.instant.0) / 1000)
    }

    /// The age in ms of a frame with `stamp` that arrived at `arrived`. The first one that a responder sees makes its mapping and
    /// has age 0.
    pub fn age_ms(&mut self, stamp: u64, arrived: Instant) -> i64 {
        let (known, after) = match self.mapping {
            Mapping::Known { stamp, after } => (stamp, after),
            Mapping::Written(_) => return 0,
        };
        let here = i128::from(arrived.0.saturating_sub(after.0) / 1000);
        let there = i128::from(stamp) - i128::from(known);
        let age = here - there;
        i64::try_from(age).unwrap_or(if age > 0 { i64::MAX } else { i64::MIN })
    }

    /// Frame 0 of the initiator has opened.
    pub fn confirmed(&mut self, stamp: u64) {
        if let Mapping::Written(after) = self.mapping {
            self.mapping = Mapping::Known { stamp, after };
        }
    }

    /// A PONG in a frame with `stamp` arrived at `arrived`; its PING was sealed at `sealed`. Whether that was soon enough to tell the
    /// peer's clock by.
    pub fn pong(&mut self, stamp: u64, sealed: Instant, arrived: Instant) -> bool {
        let soon = arrived.0.saturating_sub(sealed.0) <= MAX_MAPPING_ROUND_TRIP_US;
        if soon {
            self.mapping = Mapping::Known { stamp, after: sealed };
        }
        soon
    }
}

/// Whether a frame of this age passes.
pub const fn is_fresh(age_ms: i64) -> bool {
    -WINDOW_MS <= age_ms && age_ms <= WINDOW_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    #[test]
    fn age_is_counted_from_the_mapping_not_from_the_wall_clock() {
        let base = Now {
            instant: at_ms(100),
            clock_ms: 1_000_000,
        };
        // The peer's clock is an hour ahead: it does not matter.
        let mut clock = Clock::new(base, Some(4_600_000), at_ms(110));
        assert_eq!(clock.age_ms(4_600_000, at_ms(110)), 0);
        assert_eq!(clock.age_ms(4_600_000, at_ms(10_110)), 10_000);
        assert_eq!(clock.age_ms(4_600_000, at_ms(10_111)), 10_001);
        assert_eq!(clock.age_ms(4_610_000, at_ms(110)), -10_000);
        assert!(is_fresh(10_000) && is_fresh(-10_000) && !is_fresh(10_001) && !is_fresh(-10_001));
        assert_eq!(clock.stamp(at_ms(150)), 1_000_050);
    }

    #[test]
    fn only_a_quick_pong_moves_the_mapping() {
        let mut clock = Clock::new(Now::default(), Some(0), at_ms(0));
        assert!(!clock.pong(500, at_ms(1000), at_ms(2001)));
        assert_eq!(clock.age_ms(500, at_ms(2001)), 1501);
        assert!(clock.pong(500, at_ms(1000), at_ms(2000)));
        assert_eq!(clock.age_ms(500, at_ms(2000)), 1000);
    }

    #[test]
    fn no_stamp_that_a_peer_can_send_overflows() {
        let mut clock = Clock::new(
            Now {
                instant: at_ms(0),
                clock_ms: u64::MAX,
            },
            Some(u64::MAX),
            at_ms(0),
        );
        assert_eq!(clock.age_ms(0, Instant(u64::MAX)), i64::MAX);
        assert_eq!(clock.stamp(Instant(u64::MAX)), u64::MAX);
        let mut clock = Clock::new(Now::default(), Some(0), Instant(u64::MAX));
        assert_eq!(clock.age_ms(u64::MAX, at_ms(0)), i64::MIN);
    }

    #[test]
    fn a_responder_takes_its_first_mapping_from_frame_0() {
        let mut clock = Clock::new(Now::default(), None, at_ms(50));
        assert_eq!(clock.age_ms(123, at_ms(99_000)), 0);
        clock.confirmed(123);
        assert_eq!(clock.age_ms(123, at_ms(60)), 10);
    }
}
