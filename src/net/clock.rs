//! The clocks of this host: the only place that reads them for the layers below.

use crate::link::time::{Instant, Now};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Not zero, so that instants can be stepped back from it.
const ORIGIN_US: u64 = 1_000_000_000;
static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

/// Microseconds on the monotonic clock.
pub fn instant() -> Instant {
    Instant(ORIGIN_US + u64::try_from(ORIGIN.elapsed().as_micros()).unwrap_or(u64::MAX / 2))
}

/// Both clocks.
pub fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        instant: instant(),
        clock_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The runtime's instant for one of ours.
pub fn deadline(at: Instant) -> tokio::time::Instant {
    tokio::time::Instant::from_std(*ORIGIN + (at.since(Instant(ORIGIN_US))))
}
