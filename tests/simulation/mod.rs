//! Two links on virtual time: their clocks, the bytes between them, and apps that send and take at their own pace.
//!
//! ```text
//! app models <-> Side a (initiator) --Path--> Side b (responder) <-> app models
//!                       ^------------Path--------'
//! ```
//!
//! Promises: no sleep, no socket, no clock of the host; the same seed gives the same run. A side is driven as `net::driver`
//! drives it, and an app as `net::stream` does: who waits is woken by the link's events alone, so a lost wake-up shows.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

mod app;
mod choices;
pub mod hostile;
mod pair;
mod path;
mod raw;
pub mod schedule;
mod side;

pub use app::{App, Ending, Taking, check, fill};
pub use choices::Choices;
pub use pair::Pair;
pub use path::Path;
pub use raw::{Raw, against_initiator, against_responder, unconfirmed_responder};
pub use side::{Over, Side};

use std::sync::Arc;
use std::time::Duration;
use wa_sidecar::counters::Counters;
use wa_sidecar::crypto::suite::Suites;
use wa_sidecar::crypto::{Keyring, Psk};
use wa_sidecar::link::budget::{Budget, Lease};
use wa_sidecar::link::handshake::{Acceptor, Dial, Established, Grant, Limits, Load, Local, Verdict};
use wa_sidecar::link::time::{Instant, Now};
use wa_sidecar::link::{Entropy, Link};
use wa_sidecar::wire::Software;

/// Virtual time, microseconds since the start of the run.
pub type Time = u64;
pub const MS: Time = 1_000;
pub const SECOND: Time = 1_000_000;
pub const MINUTE: Time = 60 * SECOND;
pub const HOUR: Time = 60 * MINUTE;

/// A seeded generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    /// As many bits as all, so that small and large numbers are as likely.
    pub fn any_size(&mut self, bits: u64) -> u64 {
        let bits = self.below(bits + 1);
        if bits == 0 { 0 } else { self.next() >> (64 - bits) }
    }
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        out
    }
}

pub fn entropy(seed: u64) -> Entropy {
    let mut random = Random(seed);
    Box::new(move || random.bytes32())
}

/// Both clocks of one host.
#[derive(Debug, Clone)]
pub struct HostClock {
    /// What the monotonic clock says at the start of the run, microseconds.
    pub origin: u64,
    /// How much faster than true time the monotonic clock runs, parts per million.
    pub rate_ppm: i64,
    /// What the wall clock shows too much, ms. May be stepped.
    pub wall_offset_ms: i64,
}

const WALL_BASE_MS: u64 = 1_750_000_000_000;

impl HostClock {
    pub fn now(&self, t: Time) -> Now {
        let drift = t as i128 * i128::from(self.rate_ppm) / 1_000_000;
        Now {
            instant: Instant(self.origin + (t as i128 + drift) as u64),
            clock_ms: (WALL_BASE_MS + t / 1000).saturating_add_signed(self.wall_offset_ms),
        }
    }
    /// The first moment at which the monotonic clock has reached `instant`.
    pub fn when(&self, instant: Instant) -> Time {
        let shown = u128::from(instant.0.saturating_sub(self.origin));
        let mut t = (shown * 1_000_000 / (1_000_000 + self.rate_ppm) as u128) as u64;
        while self.now(t).instant < instant {
            t += 1;
        }
        t
    }
}

/// What a pair is made of.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    /// Of each side, bytes.
    pub budget: u64,
    pub max_streams: u32,
    /// The responder's wall clock minus the initiator's.
    pub skew_ms: i64,
    /// How much faster the responder's monotonic clock runs.
    pub rate_ppm: i64,
    /// One way.
    pub delay: Time,
    /// The responder's secrets when it comes to a REKEY.
    pub rekey_at_responder: Keyring,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            budget: 16 << 20,
            max_streams: 256,
            skew_ms: 0,
            rate_ppm: 0,
            delay: MS,
            rekey_at_responder: keyring(1),
        }
    }
}

pub fn keyring(secret: u8) -> Keyring {
    Keyring {
        current: Psk::from_bytes([secret; 32]),
        previous: None,
        deployment: "default".into(),
    }
}

/// Of one end of a handshake: what a [`Link`] is made from.
pub struct End {
    pub established: Established,
    pub lease: Lease,
    pub budget: Arc<Budget>,
    pub clock: HostClock,
}

impl End {
    pub fn link(self, keyring: Keyring, seed: u64, t: Time) -> (Link, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let now = self.clock.now(t);
        let link = Link::new(
            self.established,
            self.lease,
            Arc::new(keyring),
            entropy(seed),
            Arc::clone(&counters),
            now,
        );
        (link, counters)
    }
}

fn local(instance: u8) -> Local {
    Local {
        instance: [instance; 16],
        name: None,
        peer_name: None,
        suites: Suites::auto(),
        software: Software::own(),
    }
}

/// Shakes hands; the initiator has message 2 at `2 * delay`. Initiator first.
pub fn handshake(options: &Options) -> (End, End) {
    let clocks = [
        HostClock {
            origin: 5_000_000,
            rate_ppm: 0,
            wall_offset_ms: 0,
        },
        HostClock {
            origin: 770_000_000,
            rate_ppm: options.rate_ppm,
            wall_offset_ms: options.skew_ms,
        },
    ];
    let mut random = Random(options.seed);
    let budgets = [Budget::new(options.budget), Budget::new(options.budget)];
    let (grant, lease_a) = budgets[0].admit(options.max_streams).expect("room");
    let (mut dial, message1) = Dial::start(&keyring(1), &local(1), grant, clocks[0].now(0), random.bytes32());
    dial.written(clocks[0].now(0).instant);
    let mut acceptor = Acceptor::new(keyring(1), local(2), Limits::default());
    let mut lease_b = None;
    let room = |_: &_| {
        let (grant, lease) = budgets[1].admit(options.max_streams)?;
        lease_b = Some(lease);
        Some(grant)
    };
    let at_b = clocks[1].now(options.delay);
    let verdict = acceptor.accept(&message1, at_b, Load::default(), room, random.bytes32());
    let Verdict::Accept {
        message2,
        mut established,
    } = verdict
    else {
        panic!("refused: {verdict:?}")
    };
    established.written(at_b.instant);
    let at_a = dial
        .finish(&message2, clocks[0].now(2 * options.delay))
        .expect("accepted");
    let [budget_a, budget_b] = budgets;
    let [clock_a, clock_b] = clocks;
    (
        End {
            established: at_a,
            lease: lease_a,
            budget: budget_a,
            clock: clock_a,
        },
        End {
            established: *established,
            lease: lease_b.expect("accepted"),
            budget: budget_b,
            clock: clock_b,
        },
    )
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
