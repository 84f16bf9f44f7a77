//! The round trip of a link, as PING and PONG measure it.

use core::time::Duration;

/// So many measurements, one a second, are two generations' least.
const GENERATION: u8 = 16;
/// Until a PONG has said better.
const ASSUMED: Duration = Duration::from_millis(10);

/// What was measured so far.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    smoothed: Option<Duration>,
    least: Option<Duration>,
    least_before: Option<Duration>,
    measured: u8,
}

impl RoundTrip {
    pub fn measured(&mut self, sample: Duration) {
        self.smoothed = Some(self.smoothed.map_or(sample, |old| (old * 7 + sample) / 8));
        if self.measured == GENERATION {
            self.least_before = self.least.take();
            self.measured = 0;
        }
        self.measured += 1;
        self.least = Some(self.least.map_or(sample, |least| least.min(sample)));
    }

    /// Smoothed over the last 8 or so.
    pub fn known(&self) -> Option<Duration> {
        self.smoothed
    }

    pub fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(ASSUMED)
    }

    /// The least of the last 16 to 32 s: the path's own, without what bytes wait for a busy host.
    pub fn least(&self) -> Duration {
        let both = [self.least, self.least_before];
        both.into_iter().flatten().min().unwrap_or(ASSUMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_forgotten_when_the_path_has_become_longer() {
        let ms = Duration::from_millis;
        let mut round_trip = RoundTrip::default();
        assert_eq!((round_trip.known(), round_trip.least()), (None, ASSUMED));
        round_trip.measured(ms(2));
        for second in 0..2 * u32::from(GENERATION) {
            let expected = if second < 2 * u32::from(GENERATION) - 1 {
                ms(2)
            } else {
                ms(80)
            };
            round_trip.measured(ms(80));
            assert_eq!(round_trip.least(), expected, "after {second} s");
        }
        assert!(round_trip.smoothed() > ms(75));
        round_trip.measured(ms(3));
        assert_eq!(round_trip.least(), ms(3));
    }
}
