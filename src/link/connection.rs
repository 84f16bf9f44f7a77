//! [`Link`]: the state of one link, from the end of the handshake to the end of the TCP connection.
//!
//! There are four kinds of methods, as a driver calls them:
//!
//! - *app side*, whenever an app's socket is ready: [`Link::open`], [`Link::slot`] and [`Link::commit`], [`Link::fin`],
//!   [`Link::abort`], [`Link::consumed`], [`Link::store`], [`Link::queued`], [`Link::delivered`], [`Link::release`];
//! - *link in*: [`Link::accept`] a frame, then [`Link::event`] until `None`, then the next frame;
//! - *link out*, when the socket is writable: [`Link::transmit`], write, [`Link::transmitted`] (or [`Link::blocked`]), then
//!   [`Link::unpark`] a few streams;
//! - *time*: [`Link::tick`] at [`Link::timeout`].
//!
//! After an error of any of them the link is over: [`Link::abandon`].

use super::Role;
use super::apps::widest_beside_others;
use super::budget::Lease;
use super::clock::Clock;
use super::error::Fatal;
use super::handshake::Established;
use super::outbox::Outbox;
use super::pace::Pace;
use super::rate::Rate;
use super::rekey::Rekey;
use super::round_trip::RoundTrip;
use super::streams::Streams;
use super::time::{Instant, Now};
use crate::counters::Counters;
use crate::crypto::Keyring;
use crate::crypto::keys::{Opener, Sealer};
use crate::wire::message::GoAway;
use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

/// No authenticated frame for this long: the link is dead (SPEC section 10).
pub const DEAD_AFTER: Duration = Duration::from_secs(11);
/// Each side seals at least a frame in this time.
pub const TICK: Duration = Duration::from_secs(1);
/// A GOAWAY without the peer's own for this long is fatal (SPEC section 12).
const GOAWAY_WITHIN: Duration = Duration::from_secs(30);
/// Ids from here on belong on a new link (SPEC section 7).
const LAST_COMFORTABLE_ID: u32 = 1 << 31;
/// SPEC section 13: opened and reset a second, and bytes a second for streams that were reset.
const RESETS_PER_SECOND: u64 = 4_096;
const DISCARDED_BYTES_PER_SECOND: u64 = 64 << 20;

/// 32 random bytes at each call.
pub type Entropy = Box<dyn FnMut() -> [u8; 32] + Send>;

/// One link. See the module for the order of calls.
pub struct Link {
    pub(super) role: Role,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) clock: Clock,
    pub(super) streams: Streams,
    pub(super) outbox: Outbox,
    pub(super) pace: Pace,
    pub(super) rekey: Rekey,
    pub(super) entropy: Entropy,
    pub(super) counters: Arc<Counters>,
    /// The plaintext of the frame that was accepted last and is not yet all taken as events; its stamp.
    pub(super) inbox: Range<usize>,
    pub(super) inbox_stamp: u64,
    /// Frame 0 has opened (responder) or is sealed (initiator).
    pub(super) confirmed: bool,
    pub(super) pending_opens: VecDeque<(u32, Box<[u8]>)>,
    pub(super) ping_token: u64,
    pub(super) ping_marked: bool,
    pub(super) ping_sealed: Option<Instant>,
    pub(super) pong_marked: Option<u64>,
    pub(super) round_trip: RoundTrip,
    pub(super) widest_beside_others: u64,
    pub(super) goaway_marked: Option<GoAway>,
    /// When the own one was sealed.
    pub(super) goaway_sent: Option<Instant>,
    pub(super) goaway_received: bool,
    pub(super) last_heard: Instant,
    pub(super) resets: Rate,
    pub(super) discarded: Rate,
    next_tick: Instant,
    pub(super) tick: u64,
    pub(super) over: bool,
}

impl Link {
    /// `lease` backs the window and the number of streams that this side granted in the handshake.
    pub fn new(
        established: Established,
        lease: Lease,
        keyring: Arc<Keyring>,
        entropy: Entropy,
        counters: Arc<Counters>,
        now: Now,
    ) -> Self {
        let e = established;
        let is_initiator = e.role == Role::Initiator;
        let (own, peer) = if is_initiator {
            (&e.split.k_i, &e.split.k_r)
        } else {
            (&e.split.k_r, &e.split.k_i)
        };
        let instant = now.instant;
        // What the peer was given as credit it may have under way when the streams are reset.
        let discarded_at_once = DISCARDED_BYTES_PER_SECOND.max(lease.total());
        Self {
            role: e.role,
            sealer: Sealer::new(e.suite, own, &e.split.h),
            opener: Opener::new(e.suite, peer, &e.split.h),
            clock: Clock::new(e.base, e.peer_stamp, e.written),
            discarded: Rate::new(DISCARDED_BYTES_PER_SECOND, discarded_at_once, instant),
            streams: Streams::new(e.max_streams, e.window_local, e.window_peer, lease),
            outbox: Outbox::default(),
            pace: Pace::new(instant),
            rekey: Rekey::new(keyring, e.suite, is_initiator, e.prologue, e.split.h, instant),
            entropy,
            counters,
            inbox: 0..0,
            inbox_stamp: 0,
            confirmed: false,
            pending_opens: VecDeque::new(),
            ping_token: 0,
            ping_marked: is_initiator,
            ping_sealed: None,
            pong_marked: None,
            widest_beside_others: widest_beside_others(RoundTrip::default().least()),
            round_trip: RoundTrip::default(),
            goaway_marked: None,
            goaway_sent: None,
            goaway_received: false,
            last_heard: instant,
            resets: Rate::new(RESETS_PER_SECOND, 2 * RESETS_PER_SECOND, instant),
            next_tick: instant + TICK,
            tick: 0,
            over: false,
        }
    }

    /// From now on another thread's counters count.
    pub fn set_counters(&mut self, counters: Arc<Counters>) {
        self.counters = counters;
    }

    // Time.

    /// When [`Self::tick`] has something to do.
    pub fn timeout(&self) -> Instant {
        let mut at = self.next_tick.min(self.last_heard + DEAD_AFTER);
        for other in [self.rekey.due(), self.rekey.deadline()].into_iter().flatten() {
            at = at.min(other);
        }
        at
    }

    pub fn tick(&mut self, now: Now) -> Result<(), Fatal> {
        let instant = now.instant;
        if instant >= self.last_heard + DEAD_AFTER {
            return Err(Fatal::Dead {
                silent_ms: instant.since(self.last_heard).as_millis() as u64,
            });
        }
        if self.rekey.deadline().is_some_and(|deadline| instant >= deadline) {
            return Err(Fatal::Rekey("no answer to REKEY within 30 s"));
        }
        let unanswered = self.goaway_sent.filter(|_| !self.goaway_received);
        if unanswered.is_some_and(|sent| instant >= sent + GOAWAY_WITHIN) {
            // Else whoever ignores it keeps the link, and its old keys, for as long as it likes.
            return Err(Fatal::Link {
                rule: "no answer to GOAWAY within 30 s",
            });
        }
        if self.rekey.due().is_some_and(|due| instant >= due) {
            let entropy = (self.entropy)();
            self.rekey.start(entropy)?;
        }
        if instant >= self.next_tick {
            // From when it was due, so that late timers do not add up; from now, if a whole tick was missed.
            let next = self.next_tick + TICK;
            self.next_tick = if next > instant { next } else { instant + TICK };
            self.tick += 1;
            self.ping_marked = true;
            self.streams.flush_owed();
            self.streams.yield_idle(self.tick);
            if self.rekey.epoch_age(instant) > super::rekey::MAX_EPOCH_AGE {
                self.goaway(GoAway::KeysTooOld);
            } else if self.streams.last_id >= LAST_COMFORTABLE_ID {
                self.goaway(GoAway::IdsUsedUp);
            }
        }
        Ok(())
    }

    /// Begins a REKEY at the next tick (initiator).
    pub fn rekey_now(&mut self, now: Instant) {
        self.rekey.bring_forward(now);
    }

    // The end.

    /// No new streams on this link; it ends when the last one has (SPEC section 12).
    pub fn goaway(&mut self, code: GoAway) {
        if self.goaway_sent.is_none() && self.goaway_marked.is_none() {
            self.goaway_marked = Some(code);
            if self.role == Role::Initiator {
                self.streams.close_to_new();
            }
        }
    }

    /// Takes no new streams: this side or the peer said GOAWAY.
    pub fn is_draining(&self) -> bool {
        self.goaway_sent.is_some() || self.goaway_marked.is_some() || self.goaway_received
    }

    /// Both said GOAWAY, no stream is live, and all is written: the connection may be closed, by either side.
    pub fn is_finished(&self) -> bool {
        self.may_end() && self.outbox.unwritten().is_none()
    }

    /// Both said GOAWAY and no stream is live: an end of the connection here is in order.
    pub fn may_end(&self) -> bool {
        self.goaway_sent.is_some() && self.goaway_received && self.streams.live == 0
    }

    /// The connection is gone. Returns the streams that end with it; those whose FIN has arrived can still be delivered.
    pub fn abandon(&mut self) -> Vec<u32> {
        self.over = true;
        // Frames that nobody will write: their buffers are large, and an app may hold the link for long.
        self.outbox = Outbox::default();
        self.streams.abandon(&self.counters)
    }

    // What is known of it.

    pub fn role(&self) -> Role {
        self.role
    }
    /// Whether a stream can be opened (initiator).
    pub fn has_room(&self) -> bool {
        !self.is_draining() && self.streams.held() < self.streams.max as usize
    }
    /// Streams held, those included that only an app still has to take.
    pub fn streams(&self) -> usize {
        self.streams.held()
    }
    /// Streams that the wire holds.
    pub fn live_streams(&self) -> u32 {
        self.streams.live
    }
    /// Frame 0 has been sealed (initiator) or opened (responder).
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }
    /// The last measured round trip, smoothed.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip.known()
    }
    /// The stream has bytes to send, perhaps, and no credit.
    pub fn is_stalled(&self, id: u32) -> bool {
        self.streams.get(id).is_some_and(|stream| stream.stalled)
    }
    /// How old the keys in force are.
    pub fn epoch_age(&self, now: Instant) -> Duration {
        self.rekey.epoch_age(now)
    }

    /// Credit of a stream, for tests of the invariant that at rest granted = consumed + window.
    pub fn credit(&self, id: u32) -> Option<Credit> {
        self.streams.get(id).map(|s| Credit {
            granted: s.recv.granted,
            consumed: s.recv.consumed,
            received: s.recv.received,
            window: s.recv.window,
            sent: s.send.sent,
            limit: s.send.limit,
        })
    }
}

/// The credit of a stream as this side sees it, bytes and absolute offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    pub granted: u64,
    pub consumed: u64,
    pub received: u64,
    pub window: u64,
    pub sent: u64,
    pub limit: u64,
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Link")
            .field("role", &self.role)
            .field("streams", &self.streams.held())
            .finish_non_exhaustive()
    }
}
