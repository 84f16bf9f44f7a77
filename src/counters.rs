//! Plain counters that every layer may add to and only `admin` reads.
//!
//! Promises: adding is a relaxed load and a store, no lock and no label look-up. A [`Counters`] has one writer at a
//! time (the worker that owns it); readers may see a value that is a few operations old, never a torn one. The locks
//! of [`Registry`] and [`Readiness`] are taken when a link comes or goes, or a state turns: never for a byte.
//! Must not know: Prometheus, HTTP, what a label looks like on a page, what time it is.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

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
        /// Refused with a code of a later version.
        Unknown = "unknown",
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
    pub limits_hit: [Counter; Limit::ALL.len()],
}

impl LinkEnd {
    /// Whether a received frame was refused, and that ended the link.
    pub const fn refused_frame(self) -> bool {
        use LinkEnd::*;
        matches!(self, BadLength | BadCounter | Stale | BadTag | Protocol)
    }
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

/// What is counted in one process: a [`Counters`] for each thread that writes, the links that are up, and readiness.
#[derive(Debug)]
pub struct Registry {
    /// One per worker, by the worker's index.
    pub workers: Vec<Arc<Counters>>,
    /// The control thread's own: handshakes, accepts, limits of the process.
    pub control: Arc<Counters>,
    pub readiness: Readiness,
    links: Mutex<Vec<Arc<LinkStatus>>>,
    handshake_clock_ms: AtomicI64,
}

/// No handshake has measured a clock yet.
const UNMEASURED: i64 = i64::MIN;

impl Registry {
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            control: Arc::default(),
            readiness: Readiness::default(),
            links: Mutex::default(),
            handshake_clock_ms: AtomicI64::new(UNMEASURED),
        })
    }

    /// Every [`Counters`] of the process.
    pub fn all(&self) -> impl Iterator<Item = &Counters> {
        self.workers.iter().chain([&self.control]).map(|counters| &**counters)
    }

    /// Lists a link for as long as the entry lives: a link cannot end and stay listed.
    pub fn register(self: &Arc<Self>, link: LinkStatus) -> LinkEntry {
        let link = Arc::new(link);
        lock(&self.links).push(link.clone());
        LinkEntry {
            link,
            registry: self.clone(),
        }
    }

    pub fn links(&self) -> Vec<Arc<LinkStatus>> {
        lock(&self.links).clone()
    }

    /// Notes what a handshake measured, accepted or refused: the peer's wall clock minus ours, milliseconds.
    pub fn handshake_clock(&self, difference_ms: i64) {
        self.handshake_clock_ms
            .store(difference_ms.max(UNMEASURED + 1), Relaxed);
    }

    /// The last difference that [`handshake_clock`](Self::handshake_clock) noted.
    pub fn last_handshake_clock(&self) -> Option<i64> {
        Some(self.handshake_clock_ms.load(Relaxed)).filter(|&ms| ms != UNMEASURED)
    }
}

/// What an operator may know of one link that is up. Whoever drives the link keeps it true.
#[derive(Debug)]
pub struct LinkStatus {
    /// Where the peer is: what was dialled, or the address it came from *without* its port (this becomes a label).
    pub peer: String,
    /// The peer's `--name`, empty if it has none.
    pub peer_name: String,
    /// Our role on this link: `webapp` (we dialled) or `coreapp`.
    pub role: &'static str,
    pub suite: &'static str,
    /// The peer's software version, as it told it in the handshake.
    pub peer_version: String,
    /// Streams that it may have at a time: the smaller of both sides' limits.
    pub max_streams: u32,
    /// What we let the peer send on a new stream before we have said more, bytes.
    pub first_window: u32,
    pub established: SystemTime,
    /// `established` on the monotonic clock.
    pub since: Instant,
    /// The peer's wall clock minus ours, milliseconds.
    pub clock_difference_ms: AtomicI64,
    /// Round trip, microseconds; 0: not measured yet.
    pub rtt_us: AtomicU64,
    /// Streams open now.
    pub streams: AtomicU64,
    /// Keys in use: 0 are the handshake's own, each REKEY adds one.
    pub epoch: AtomicU64,
    epoch_since_ms: AtomicU64,
}

impl LinkStatus {
    pub fn new(peer: String, role: &'static str, suite: &'static str, established: SystemTime, since: Instant) -> Self {
        Self {
            peer,
            peer_name: String::new(),
            role,
            suite,
            peer_version: String::new(),
            max_streams: 0,
            first_window: 0,
            established,
            since,
            clock_difference_ms: AtomicI64::new(0),
            rtt_us: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            epoch_since_ms: AtomicU64::new(0),
        }
    }

    /// The link has new keys since `now`.
    pub fn rekeyed(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.since).as_millis();
        self.epoch_since_ms
            .store(u64::try_from(ms).unwrap_or(u64::MAX), Relaxed);
        self.epoch.store(self.epoch.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub fn epoch_age(&self, now: Instant) -> Duration {
        let since_start = now.saturating_duration_since(self.since);
        since_start.saturating_sub(Duration::from_millis(self.epoch_since_ms.load(Relaxed)))
    }
}

/// A link's place in the [`Registry`]; dropping it takes the link off the list.
#[derive(Debug)]
pub struct LinkEntry {
    link: Arc<LinkStatus>,
    registry: Arc<Registry>,
}

impl Deref for LinkEntry {
    type Target = LinkStatus;
    fn deref(&self) -> &LinkStatus {
        &self.link
    }
}

impl LinkEntry {
    /// For others to see how it does.
    pub fn share(&self) -> Arc<LinkStatus> {
        Arc::clone(&self.link)
    }

    /// Takes the link off the list: it is not up any more, though something still needs to know of it.
    pub fn unlist(&self) {
        lock(&self.registry.links).retain(|link| !Arc::ptr_eq(link, &self.link));
    }
}

impl Drop for LinkEntry {
    fn drop(&mut self) {
        self.unlist();
    }
}

/// Whether this process can do its work now, and if not, why.
///
/// ```text
/// starting --ready()--> ready if no part objects <--part(name, ..)--> not ready
///     any --drain()--> draining, for good
/// ```
#[derive(Debug)]
pub struct Readiness(Mutex<State>);

#[derive(Debug, Clone)]
enum State {
    /// What keeps it from serving, by part; the process itself is the part without a name.
    Serving(BTreeMap<String, String>),
    Draining,
}

impl Default for Readiness {
    fn default() -> Self {
        let starting = BTreeMap::from([(String::new(), "starting".to_owned())]);
        Self(Mutex::new(State::Serving(starting)))
    }
}

impl Readiness {
    pub fn ready(&self) {
        self.part("", Ok(()));
    }

    /// `why` is one line for the operator, shown by `/readyz`.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.part("", Err(why.into()));
    }

    /// A peer, or an app, without which the process cannot do all of its work.
    pub fn part(&self, name: &str, state: Result<(), String>) {
        if let State::Serving(reasons) = &mut *lock(&self.0) {
            match state {
                Ok(()) => drop(reasons.remove(name)),
                Err(why) => drop(reasons.insert(name.to_owned(), why)),
            }
        }
    }

    pub fn drain(&self) {
        *lock(&self.0) = State::Draining;
    }

    /// `Err` says why not: every reason there is.
    pub fn get(&self) -> Result<(), String> {
        match &*lock(&self.0) {
            State::Serving(reasons) if reasons.is_empty() => Ok(()),
            State::Serving(reasons) => Err(reasons.values().map(String::as_str).collect::<Vec<_>>().join("; ")),
            State::Draining => Err("draining".to_owned()),
        }
    }
}

/// What these locks guard is whole after every statement, so a thread that died holding one did no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_link_is_listed_as_long_as_its_entry_lives() {
        let registry = Registry::new(2);
        let now = Instant::now();
        let entry = |peer: &str| {
            registry.register(LinkStatus::new(
                peer.into(),
                "webapp",
                "chacha20poly1305",
                SystemTime::UNIX_EPOCH,
                now,
            ))
        };
        let (a, b) = (entry("a"), entry("b"));
        drop(a);
        assert_eq!(registry.links().iter().map(|l| &*l.peer).collect::<Vec<_>>(), ["b"]);

        assert_eq!(b.epoch_age(now + Duration::from_secs(5)), Duration::from_secs(5));
        b.rekeyed(now + Duration::from_secs(3));
        assert_eq!(b.epoch_age(now + Duration::from_secs(5)), Duration::from_secs(2));
        assert_eq!(b.epoch.load(Relaxed), 1);
    }

    #[test]
    fn draining_is_for_good() {
        let readiness = Readiness::default();
        assert_eq!(readiness.get(), Err("starting".into()));
        readiness.ready();
        assert_eq!(readiness.get(), Ok(()));
        readiness.not_ready("no link");
        assert_eq!(readiness.get(), Err("no link".into()));
        readiness.part("b", Err("no app".into()));
        readiness.part("a", Err("no peer".into()));
        assert_eq!(readiness.get(), Err("no link; no peer; no app".into()));
        readiness.ready();
        readiness.part("a", Ok(()));
        assert_eq!(readiness.get(), Err("no app".into()));
        readiness.drain();
        readiness.ready();
        assert_eq!(readiness.get(), Err("draining".into()));
    }
}
