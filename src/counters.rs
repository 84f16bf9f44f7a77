//! Plain counters that every layer may add to and only `admin` reads.
//!
//! Promises: adding is a relaxed load and a store, no lock and no label look-up. A [`Counters`] has one writer at a
//! time (the worker that owns it); readers may see a value that is a few operations old, never a torn one.
//! Must not know: Prometheus, HTTP, what a label looks like on a page.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows. One writer; see the module's promise.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
    pub fn inc(&self) {
        self.add(1);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. One writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the duration buckets, microseconds: 50 us doubling to 13 s.
pub const DURATION_BUCKETS_US: [u64; 19] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600, 819_200, 1_638_400,
    3_276_800, 6_553_600, 13_107_200,
];

/// Durations, counted per bucket (not cumulative), with their sum in microseconds.
#[derive(Debug, Default)]
pub struct Durations {
    pub buckets: [Counter; DURATION_BUCKETS_US.len()],
    pub over: Counter,
    pub sum_us: Counter,
}

impl Durations {
    pub fn observe_us(&self, us: u64) {
        match DURATION_BUCKETS_US.iter().position(|&le| us <= le) {
            Some(i) => self.buckets[i].inc(),
            None => self.over.inc(),
        }
        self.sum_us.add(us);
    }
}

/// An enum whose variants index an array of counters and have a stable label.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The label's text in metrics, logs and `/status`; stable.
            pub const fn label(self) -> &'static str { match self { $($name::$variant => $label),+ } }
        }
    };
}

labels! {
    /// How a stream ended.
    StreamEnd {
        /// Both directions whole.
        Fin = "fin",
        /// An app or the peer's app broke it off.
        Reset = "reset",
        /// Never served: dial failed, limit, unknown service, draining.
        Refused = "refused",
        /// The link under it ended.
        LinkLost = "link_lost",
        /// One direction whole, the other stopped by STOP.
        Stopped = "stopped",
    }
}

labels! {
    /// What became of a handshake (SPEC section 4).
    HandshakeResult {
        Accepted = "accepted",
        ClockSkew = "clock_skew",
        PeerName = "peer_name",
        SelfDial = "self_dial",
        Busy = "busy",
        NoCommonSuite = "no_common_suite",
        Malformed = "malformed",
        Draining = "draining",
        /// Not authenticated: wrong secret, other deployment, other version, or not a wa-sidecar.
        Unauthenticated = "unauthenticated",
        Replay = "replay",
        Timeout = "timeout",
        /// The connection broke or ended before the handshake was over.
        Disconnected = "disconnected",
        /// Authenticated, but frame 0 never proved the ephemeral key.
        Unconfirmed = "unconfirmed",
    }
}

labels! {
    /// Why a link ended (SPEC section 11): its frames were refused, or it went quiet, or it was closed.
    LinkEnd {
        /// Both said GOAWAY and the last stream ended.
        Closed = "closed",
        /// The TCP connection ended or broke without GOAWAY.
        Disconnected = "disconnected",
        /// 11 s without an authenticated frame.
        Dead = "dead",
        /// Header's length out of range.
        BadLength = "bad_length",
        /// Header's counter was not the next one: dropped, repeated, swapped.
        BadCounter = "bad_counter",
        /// Older (or newer) than the window.
        Stale = "stale",
        /// The frame did not open: altered, reflected, or other keys.
        BadTag = "bad_tag",
        /// It opened, but a message in it was malformed or out of state.
        Protocol = "protocol",
        /// A rate of the peer's was over its bound.
        Flood = "flood",
        /// REKEY did not finish in time, or the epoch grew too old.
        RekeyTimeout = "rekey_timeout",
        /// The peer never confirmed (frame 0).
        Unconfirmed = "unconfirmed",
        /// This process is stopping and its drain time is over.
        Shutdown = "shutdown",
    }
}

labels! {
    /// A limit of DESIGN section 8 that was hit.
    Limit {
        Unauthenticated = "unauthenticated_connections",
        Unconfirmed = "unconfirmed_links",
        Links = "links",
        Streams = "streams_per_link",
        Buffer = "buffer_budget",
        Growth = "window_growth",
        Dials = "dials_in_flight",
        WaitingApps = "apps_waiting_for_link",
        ReplayCache = "replay_cache",
        SkewAnswers = "clock_skew_answers",
        OpenFiles = "open_files",
        FailureRate = "failures_per_source",
    }
}

/// Everything that one worker (or the control thread) counts.
#[derive(Debug, Default)]
pub struct Counters {
    pub links_up: Gauge,
    pub links_ended: [Counter; LinkEnd::ALL.len()],
    pub streams_open: Gauge,
    pub streams_opened: Counter,
    pub streams_ended: [Counter; StreamEnd::ALL.len()],
    /// Plaintext bytes read from apps and sent on links.
    pub plaintext_sent: Counter,
    /// Plaintext bytes received on links for apps.
    pub plaintext_received: Counter,
    /// Bytes of frames written to links, headers and tags included.
    pub sealed_sent: Counter,
    pub sealed_received: Counter,
    pub frames_sent: Counter,
    pub frames_received: Counter,
    pub handshakes: [Counter; HandshakeResult::ALL.len()],
    pub handshake_durations: Durations,
    pub dial_durations: Durations,
    pub dials_failed: Counter,
    /// A stream had bytes to send and no credit.
    pub credit_stalls: Counter,
    pub rekeys: Counter,
    /// Bytes of window handed out beyond the initial windows, now.
    pub window_growth: Gauge,
    /// Bytes queued for apps that do not take them, now (capacity, not length).
    pub queued: Gauge,
    pub limits_hit: [Counter; Limit::ALL.len()],
}

impl Counters {
    pub fn limit_hit(&self, limit: Limit) {
        self.limits_hit[limit as usize].inc();
    }
    pub fn handshake(&self, result: HandshakeResult) {
        self.handshakes[result as usize].inc();
    }
    pub fn stream_ended(&self, end: StreamEnd) {
        self.streams_ended[end as usize].inc();
    }
    pub fn link_ended(&self, end: LinkEnd) {
        self.links_ended[end as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lands_in_the_first_bucket_that_holds_it() {
        let d = Durations::default();
        for us in [0, 50, 51, 13_107_200, 13_107_201] {
            d.observe_us(us);
        }
        assert_eq!(d.buckets[0].get(), 2);
        assert_eq!(d.buckets[1].get(), 1);
        assert_eq!(d.buckets[18].get(), 1);
        assert_eq!(d.over.get(), 1);
        assert_eq!(d.sum_us.get(), 50 + 51 + 13_107_200 + 13_107_201);
    }
}
