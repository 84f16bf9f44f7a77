//! A pair of links without sockets, on virtual time: what the layers below `net` cost, and nothing else.
//!
//! Bytes go from one link to the other by one copy, which stands for the kernel's. What an app would have read into a slot is
//! whatever is in the buffer: an AEAD does not care.

use std::sync::Arc;
use std::time::Duration;
use wa_sidecar::counters::Counters;
use wa_sidecar::crypto::suite::Suites;
use wa_sidecar::crypto::{Keyring, Psk};
use wa_sidecar::link::budget::{Budget, Lease};
use wa_sidecar::link::buffers::{Buffer, Buffers};
use wa_sidecar::link::handshake::{Acceptor, Dial, Established, Grant, Limits, Load, Local, Verdict};
use wa_sidecar::link::time::{Instant, Now};
use wa_sidecar::link::{Entropy, Event, Link, Slot};
use wa_sidecar::wire::Software;

/// Between two frames, on a link that is hardly delayed.
const STEP: Duration = Duration::from_micros(50);
const BUDGET: u64 = 16 << 20;
const MAX_STREAMS: u32 = 256;

/// One clock for both ends.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Now);

impl Clock {
    pub fn start() -> Self {
        Self(Now {
            instant: Instant(1_000_000_000),
            clock_ms: 1_750_000_000_000,
        })
    }
    pub fn now(&self) -> Now {
        self.0
    }
    pub fn advance(&mut self, by: Duration) {
        self.0.instant = self.0.instant + by;
        self.0.clock_ms = 1_750_000_000_000 + (self.0.instant.0 - 1_000_000_000) / 1000;
    }
}

/// Distinct bytes at each call; nothing here is secret.
fn entropy(mut seed: u64) -> Entropy {
    Box::new(move || {
        seed += 1;
        let mut bytes = [7; 32];
        // Not at the front, where X25519 drops bits.
        bytes[8..16].copy_from_slice(&seed.to_le_bytes());
        bytes
    })
}

/// Both processes, as far as a handshake knows them.
pub struct Handshakes {
    keyring: Keyring,
    acceptor: Acceptor,
    dialler: Local,
    entropy: Entropy,
    pub clock: Clock,
}

impl Handshakes {
    pub fn new(suites: Suites) -> Self {
        let keyring = Keyring {
            current: Psk::from_bytes([1; 32]),
            previous: None,
            deployment: "default".into(),
        };
        let local = |instance| Local {
            instance: [instance; 16],
            name: None,
            peer_name: None,
            suites,
            software: Software::own(),
        };
        Self {
            acceptor: Acceptor::new(keyring.clone(), local(2), Limits::default()),
            dialler: local(1),
            keyring,
            entropy: entropy(0),
            clock: Clock::start(),
        }
    }

    /// One handshake, from nothing to two ends that can seal. Initiator first.
    pub fn shake(&mut self, grant: Grant) -> (Established, Established) {
        let now = self.clock.now();
        let (dial, message1) = Dial::start(&self.keyring, &self.dialler, grant, now, (self.entropy)());
        let verdict = self
            .acceptor
            .accept(&message1, now, Load::default(), |_| Some(grant), (self.entropy)());
        let Verdict::Accept { message2, established } = verdict else {
            panic!("refused: {verdict:?}")
        };
        (dial.finish(&message2, now).expect("accepted"), *established)
    }
}

/// One end: a link, and what its driver has.
pub struct Side {
    pub link: Link,
    pub buffers: Buffers,
    inlet: Buffer,
    counters: Arc<Counters>,
}

impl Side {
    fn new(established: Established, lease: Lease, keyring: &Keyring, now: Now) -> Self {
        let counters = Arc::new(Counters::default());
        let keyring = Arc::new(keyring.clone());
        Self {
            link: Link::new(
                established,
                lease,
                keyring,
                entropy(1 << 32),
                Arc::clone(&counters),
                now,
            ),
            buffers: Buffers::default(),
            inlet: Buffers::default().take(),
            counters,
        }
    }

    /// Puts up to `n` bytes of the app into the open frame; how many there was credit and room for.
    pub fn put(&mut self, id: u32, n: usize) -> usize {
        let Slot::Room(room) = self.link.slot(&mut self.buffers, id) else {
            return 0;
        };
        let n = n.min(room.len());
        self.link.commit(&mut self.buffers, id, n);
        n
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Web,
    Core,
}

/// What came out at the far end of [`Pair::carry`], beside bytes, which an app took at once.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    pub bytes: u64,
    pub opened: Option<u32>,
    pub fins: u32,
}

/// Two links that are confirmed and have measured a round trip.
pub struct Pair {
    pub web: Side,
    pub core: Side,
    clock: Clock,
}

impl Pair {
    pub fn new(suites: Suites) -> Self {
        let mut handshakes = Handshakes::new(suites);
        let budget = Budget::new(2 * BUDGET);
        let (grant, lease_web) = budget.admit(MAX_STREAMS).expect("room");
        let (_, lease_core) = budget.admit(MAX_STREAMS).expect("room");
        let (web, core) = handshakes.shake(grant);
        let (keyring, clock) = (handshakes.keyring, handshakes.clock);
        let mut pair = Self {
            web: Side::new(web, lease_web, &keyring, clock.now()),
            core: Side::new(core, lease_core, &keyring, clock.now()),
            clock,
        };
        for _ in 0..4 {
            pair.carry(End::Web);
            pair.carry(End::Core);
        }
        pair
    }

    pub fn open(&mut self) -> u32 {
        let now = self.clock.now().instant;
        self.web.link.open(&mut self.web.buffers, b"", now).expect("room")
    }

    /// Frames that both ends have sealed.
    pub fn frames(&self) -> u64 {
        self.web.counters.frames_sent.get() + self.core.counters.frames_sent.get()
    }

    /// Seals what `from` has to say, and lets the other end take it.
    pub fn carry(&mut self, from: End) -> Arrived {
        self.clock.advance(STEP);
        let now = self.clock.now();
        let (from, to) = match from {
            End::Web => (&mut self.web, &mut self.core),
            End::Core => (&mut self.core, &mut self.web),
        };
        for side in [&mut *from, &mut *to] {
            if now.instant >= side.link.timeout() {
                side.link.tick(now).expect("lives");
            }
        }
        let mut arrived = Arrived::default();
        while let Some(bytes) = from.link.transmit(&mut from.buffers, now).expect("lives") {
            let n = bytes.len();
            to.inlet[..n].copy_from_slice(bytes);
            from.link.transmitted(&mut from.buffers, n, now.instant);
            while from.link.unpark().is_some() {}
            let frame = &mut to.inlet[..n];
            to.link.accept(frame, now).expect("opens").expect("whole");
            while let Some(event) = to.link.event(frame, now).expect("fair") {
                match event {
                    Event::Data { id, bytes } => {
                        to.link.consumed(id, bytes.len(), now.instant);
                        arrived.bytes += bytes.len() as u64;
                    }
                    Event::Open { id, .. } => arrived.opened = Some(id),
                    Event::Fin { .. } => arrived.fins += 1,
                    _ => {}
                }
            }
        }
        arrived
    }
}
