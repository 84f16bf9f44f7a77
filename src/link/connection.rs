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
use super::budget::Lease;
use super::buffers::Buffers;
use super::clock::Clock;
use super::error::Fatal;
use super::handshake::Established;
use super::outbox::Outbox;
use super::pace::Pace;
use super::rate::Rate;
use super::rekey::{Pending, Rekey};
use super::stream::{Due, Note, Own, Peer};
use super::streams::Streams;
use super::time::{Instant, Now};
use crate::counters::{Counters, Limit, StreamEnd};
use crate::crypto::Keyring;
use crate::crypto::keys::{Opener, Sealer};
use crate::wire::message::{Code, GoAway};
use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

/// No authenticated frame for this long: the link is dead (SPEC section 10).
pub const DEAD_AFTER: Duration = Duration::from_secs(11);
/// Each side seals at least a frame in this time.
pub const TICK: Duration = Duration::from_secs(1);
/// Ids from here on belong on a new link (SPEC section 7).
const LAST_COMFORTABLE_ID: u32 = 1 << 31;
/// A slot with less room than this waits for the next frame, unless the stream's credit is as short.
const MIN_SLOT: usize = 512;
/// While other streams wait for room, one slot takes at most its share, but not less than this.
const MIN_SHARE: usize = 16 * 1024;
/// Until a PONG has said better.
const ASSUMED_ROUND_TRIP: Duration = Duration::from_millis(10);
/// SPEC section 13: opened and reset a second, and bytes a second for streams that were reset.
const RESETS_PER_SECOND: u64 = 4_096;
const DISCARDED_BYTES_PER_SECOND: u64 = 64 << 20;

/// 32 random bytes at each call.
pub type Entropy = Box<dyn FnMut() -> [u8; 32] + Send>;

/// Where an app's bytes may be read to.
#[derive(Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    /// Read into this, then [`Link::commit`]. Never empty.
    Room(&'a mut [u8]),
    /// Wait for [`Event::Credit`](super::Event::Credit).
    NoCredit,
    /// Wait until [`Link::unpark`] returns the stream.
    Full,
    /// The own direction has ended, or the link has.
    Ended,
}

/// Why a stream cannot be opened; the app's connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the link is draining")]
    Draining,
    #[error("the link holds as many streams as both ends allow")]
    TooManyStreams,
    #[error("only the side that dialled a link opens streams on it")]
    NotInitiator,
}

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
    pub(super) round_trip: Option<Duration>,
    pub(super) goaway_marked: Option<GoAway>,
    pub(super) goaway_sent: bool,
    pub(super) goaway_received: bool,
    pub(super) last_heard: Instant,
    pub(super) resets: Rate,
    pub(super) discarded: Rate,
    next_tick: Instant,
    tick: u64,
    over: bool,
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
        Self {
            role: e.role,
            sealer: Sealer::new(e.suite, own, &e.split.h),
            opener: Opener::new(e.suite, peer, &e.split.h),
            clock: Clock::new(e.base, e.peer_stamp, e.written),
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
            round_trip: None,
            goaway_marked: None,
            goaway_sent: false,
            goaway_received: false,
            last_heard: instant,
            resets: Rate::new(RESETS_PER_SECOND, 2 * RESETS_PER_SECOND, instant),
            discarded: Rate::new(DISCARDED_BYTES_PER_SECOND, DISCARDED_BYTES_PER_SECOND, instant),
            next_tick: instant + TICK,
            tick: 0,
            over: false,
        }
    }

    /// From now on another thread's counters count.
    pub fn set_counters(&mut self, counters: Arc<Counters>) {
        self.counters = counters;
    }

    // The app side.

    /// Opens a stream to `service` (at most 64 bytes; empty: the peer's default). Initiator only.
    pub fn open(&mut self, buffers: &mut Buffers, service: &[u8], now: Instant) -> Result<u32, OpenError> {
        if self.role != Role::Initiator {
            return Err(OpenError::NotInitiator);
        }
        if self.is_draining() || self.streams.last_id == u32::MAX {
            return Err(OpenError::Draining);
        }
        if self.streams.held() >= self.streams.max as usize {
            return Err(OpenError::TooManyStreams);
        }
        let id = self.streams.last_id + 1;
        self.streams.insert(id, now);
        self.counters.streams_opened.inc();
        self.counters.streams_open.add(1);
        // Frame 0 holds nothing but its PING.
        let now_or_later = self.confirmed
            && self.pending_opens.is_empty()
            && self.outbox.write(buffers, false, |w| w.open(id, service));
        if !now_or_later {
            self.pending_opens.push_back((id, service.into()));
        }
        Ok(id)
    }

    /// OPENs that found no room go out before anything else of their streams. `true`: none is left.
    fn flush_opens(&mut self, buffers: &mut Buffers) -> bool {
        while let Some((id, service)) = self.pending_opens.front() {
            if !self.confirmed || !self.outbox.write(buffers, false, |w| w.open(*id, service)) {
                return false;
            }
            self.pending_opens.pop_front();
        }
        true
    }

    /// Room in the open frame for bytes of stream `id`, within its credit.
    pub fn slot<'a>(&'a mut self, buffers: &mut Buffers, id: u32) -> Slot<'a> {
        let others = self.streams.parked_len();
        let Some(stream) = self.streams.get_mut(id) else {
            return Slot::Ended;
        };
        if self.over || stream.send.own != Own::Open {
            return Slot::Ended;
        }
        let credit = usize::try_from(stream.send.limit.saturating_sub(stream.send.sent)).unwrap_or(usize::MAX);
        if credit == 0 {
            if !stream.stalled {
                stream.stalled = true;
                self.counters.credit_stalls.inc();
            }
            return Slot::NoCredit;
        }
        let can_send = self.confirmed && self.flush_opens(buffers);
        // What is left to be said is said in this frame too.
        let bound = self.pace.bound();
        let said = (64 + 18 * self.streams.dirty_len()).min(bound / 4);
        let room = if can_send { self.outbox.room(bound - said) } else { 0 };
        if room < MIN_SLOT.min(credit) {
            self.streams.park(id);
            return Slot::Full;
        }
        let share = if others == 0 {
            room
        } else {
            (bound / (others + 1)).max(MIN_SHARE)
        };
        Slot::Room(self.outbox.data_slot(buffers, room.min(credit).min(share)))
    }

    /// `n` bytes were put into the slot of stream `id`; with 0 the slot is given up.
    pub fn commit(&mut self, buffers: &mut Buffers, id: u32, n: usize) {
        let Some(stream) = self.streams.get_mut(id).filter(|_| n > 0) else {
            self.outbox.give_back_empty(buffers);
            return;
        };
        debug_assert!(
            stream.send.sent + n as u64 <= stream.send.limit,
            "committed more than the slot had"
        );
        stream.send.sent += n as u64;
        stream.send.last_tick = self.tick;
        self.outbox.commit(id, n);
        self.counters.plaintext_sent.add(n as u64);
    }

    /// The app ended its output in order.
    pub fn fin(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.send.own == Own::Open
        {
            stream.send.own = Own::FinMarked;
            self.streams.note(id, Note::Fin);
        }
    }

    /// The app's connection broke or is not served: RESET, or STOP if its output had ended in order (SPEC 9.4).
    pub fn abort(&mut self, id: u32, code: Code) {
        let Some((stream, lease)) = self.streams.with_lease(id) else {
            return;
        };
        match stream.send.own {
            Own::Open => {
                stream.ends_by(if code.is_refusal() {
                    StreamEnd::Refused
                } else {
                    StreamEnd::Reset
                });
                stream.mark_reset(code);
            }
            Own::FinMarked | Own::FinSent if stream.recv.peer == Peer::Open => {
                stream.ends_by(StreamEnd::Stopped);
                if !stream.stop_sent {
                    stream.stop_sent = true;
                    stream.note(Note::Stop);
                }
            }
            Own::FinMarked | Own::FinSent => stream.ends_by(StreamEnd::Reset),
            Own::ResetMarked(_) | Own::ResetSent => {}
        }
        stream.recv.clear(lease);
        self.streams.list(id);
    }

    /// The app's side of the stream is over: nothing more is asked of or told about it.
    pub fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.let_go = true;
        if stream.send.own == Own::Open {
            self.abort(id, Code::AppReset);
        }
        self.streams.reap(id, &self.counters);
    }

    /// The app took `n` bytes straight from an event.
    pub fn consumed(&mut self, id: u32, n: usize, now: Instant) {
        let round_trip = self.round_trip.unwrap_or(ASSUMED_ROUND_TRIP);
        let Some((stream, lease)) = self.streams.with_lease(id) else {
            return;
        };
        let due = stream.recv.consume(n as u64, now, round_trip, lease);
        let owed = stream.recv.credit_owed() > 0;
        match due {
            Due::Later if owed => self.streams.owe(id),
            Due::Later => {}
            Due::Now => self.streams.note(id, Note::Credit),
            Due::NowUngrown => {
                self.counters.limit_hit(Limit::Growth);
                self.streams.note(id, Note::Credit);
            }
        }
    }

    /// Keeps `bytes` of an event that the app did not take.
    pub fn store(&mut self, id: u32, bytes: &[u8]) -> Result<(), Fatal> {
        let Some(stream) = self.streams.get_mut(id) else {
            return Ok(());
        };
        if stream.recv.store(bytes) {
            Ok(())
        } else {
            Err(Fatal::Stream {
                id,
                rule: "more bytes than the credit given",
            })
        }
    }

    /// The bytes that wait for the app, in order; both empty if none do.
    pub fn queued(&self, id: u32) -> [&[u8]; 2] {
        self.streams
            .get(id)
            .map_or([&[], &[]], |stream| stream.recv.queue().slices())
    }

    /// The app took `n` bytes of [`Self::queued`].
    pub fn delivered(&mut self, id: u32, n: usize, now: Instant) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.recv.pop(n);
            self.consumed(id, n, now);
        }
    }

    // Link out.

    /// Whether [`Self::transmit`] has something.
    pub fn wants_transmit(&self) -> bool {
        self.outbox.unwritten().is_some()
            || if self.confirmed {
                self.has_unsealed()
            } else {
                self.role == Role::Initiator
            }
    }

    fn has_unsealed(&self) -> bool {
        self.outbox.len() > 0
            || self.streams.has_dirty()
            || self.ping_marked
            || self.pong_marked.is_some()
            || self.goaway_marked.is_some()
            || !self.pending_opens.is_empty()
            || self.rekey.pending().is_some()
    }

    /// The bytes to write next: the rest of the sealed frame, or else all that is ready, stamped and sealed now. Call it when the
    /// socket is writable, for the stamp is to be the write's.
    pub fn transmit(&mut self, buffers: &mut Buffers, now: Now) -> Result<Option<&[u8]>, Fatal> {
        if self.outbox.unwritten().is_none() && self.wants_transmit() && !self.over {
            self.seal(buffers, now)?;
        }
        Ok(self.outbox.unwritten())
    }

    fn seal(&mut self, buffers: &mut Buffers, now: Now) -> Result<(), Fatal> {
        let ends_epoch = if self.confirmed {
            self.encode(buffers, now)
        } else {
            // Frame 0: exactly one PING (SPEC 3.6).
            self.confirmed = true;
            self.encode_ping(buffers, now);
            false
        };
        if self.outbox.len() == 0 {
            self.outbox.give_back_empty(buffers);
            return Ok(());
        }
        let stamp = self.clock.stamp(now.instant);
        let sealer = &mut self.sealer;
        self.outbox
            .seal(|frame| sealer.seal(stamp, frame))
            .map_err(|_| Fatal::Exhausted)?;
        self.counters.frames_sent.inc();
        self.counters
            .sealed_sent
            .add(self.outbox.unwritten().map_or(0, <[u8]>::len) as u64);
        if ends_epoch && let Some(sealer) = self.rekey.sealed(now.instant) {
            self.sealer = sealer;
            if self.role == Role::Initiator {
                self.counters.rekeys.inc();
            }
        }
        Ok(())
    }

    fn encode_ping(&mut self, buffers: &mut Buffers, now: Now) {
        let token = self.ping_token + 1;
        if self.outbox.write(buffers, false, |w| w.ping(token, now.clock_ms)) {
            self.ping_token = token;
            self.ping_sealed = Some(now.instant);
            self.ping_marked = false;
        }
    }

    /// Puts all that is to be said behind the data of the open frame. `true`: a REKEY message is its last.
    fn encode(&mut self, buffers: &mut Buffers, now: Now) -> bool {
        if let Some(token) = self.pong_marked
            && self.outbox.write(buffers, false, |w| w.pong(token, now.clock_ms))
        {
            self.pong_marked = None;
        }
        if self.ping_marked {
            self.encode_ping(buffers, now);
        }
        if self.flush_opens(buffers) {
            if let Some(code) = self.goaway_marked
                && self.outbox.write(buffers, false, |w| w.goaway(code))
            {
                self.goaway_marked = None;
                self.goaway_sent = true;
            }
            for _ in 0..self.streams.dirty_len() {
                let Some(id) = self.streams.pop_dirty() else { break };
                if !self.encode_notes(buffers, id) {
                    self.streams.push_dirty_front(id);
                    break;
                }
                self.streams.reap(id, &self.counters);
            }
        }
        match self.rekey.pending() {
            None => false,
            Some(pending) => self.outbox.write(buffers, true, |w| match pending {
                Pending::Rekey1(noise) => w.rekey1(noise),
                Pending::Rekey2(noise) => w.rekey2(noise),
                Pending::Rekey3 => w.rekey3(),
            }),
        }
    }

    /// `false`: no room; what was not said stays noted.
    fn encode_notes(&mut self, buffers: &mut Buffers, id: u32) -> bool {
        let first_peer = u64::from(self.streams.first_peer);
        let Some(stream) = self.streams.get_mut(id) else {
            return true;
        };
        let out = &mut self.outbox;
        if stream.has(Note::Yield) {
            let (sent, limit) = (stream.send.sent, stream.send.limit);
            if stream.send.own == Own::Open && limit - sent > first_peer {
                if !out.write(buffers, false, |w| w.yield_back(id, limit)) {
                    return false;
                }
                stream.send.limit = sent + first_peer;
            }
            stream.said(Note::Yield);
        }
        if stream.has(Note::Credit) {
            let limit = stream.recv.granted + stream.recv.credit_owed();
            if limit > stream.recv.granted && !out.write(buffers, false, |w| w.credit(id, limit)) {
                return false;
            }
            stream.recv.grant();
            stream.said(Note::Credit);
        }
        if stream.has(Note::Fin) {
            if !out.write(buffers, false, |w| w.fin(id, stream.send.sent)) {
                return false;
            }
            stream.send.own = Own::FinSent;
            stream.said(Note::Fin);
        }
        if stream.has(Note::Stop) {
            // The peer's direction may have ended since.
            if stream.recv.peer == Peer::Open && !out.write(buffers, false, |w| w.stop(id, Code::AppReset)) {
                return false;
            }
            stream.said(Note::Stop);
        }
        if stream.has(Note::Reset) {
            let Own::ResetMarked(code) = stream.send.own else {
                return true;
            };
            if !out.write(buffers, false, |w| w.reset(id, code)) {
                return false;
            }
            stream.send.own = Own::ResetSent;
            stream.said(Note::Reset);
        }
        true
    }

    /// The socket took `n` bytes of what [`Self::transmit`] returned.
    pub fn transmitted(&mut self, buffers: &mut Buffers, n: usize, now: Instant) {
        let all = self.outbox.wrote(buffers, n);
        self.pace.took(n, all, now);
    }

    /// The socket would not take more.
    pub fn blocked(&mut self) {
        self.pace.blocked();
    }

    /// What the socket should be told to hold unsent at most (TCP_NOTSENT_LOWAT), bytes.
    pub fn unsent_limit(&self) -> usize {
        self.pace.bound()
    }

    /// A stream that waited for room, if there is room again.
    pub fn unpark(&mut self) -> Option<u32> {
        if self.outbox.room(self.pace.bound()) < MIN_SLOT {
            None
        } else {
            self.streams.unpark()
        }
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
        if self.rekey.due().is_some_and(|due| instant >= due) {
            let entropy = (self.entropy)();
            self.rekey.start(entropy)?;
        }
        if instant >= self.next_tick {
            self.next_tick = instant + TICK;
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
        if !self.goaway_sent && self.goaway_marked.is_none() {
            self.goaway_marked = Some(code);
        }
    }

    /// Takes no new streams: this side or the peer said GOAWAY.
    pub fn is_draining(&self) -> bool {
        self.goaway_sent || self.goaway_marked.is_some() || self.goaway_received
    }

    /// Both said GOAWAY, no stream is live, and all is written: the connection may be closed, by either side.
    pub fn is_finished(&self) -> bool {
        self.goaway_sent && self.goaway_received && self.streams.live == 0 && self.outbox.unwritten().is_none()
    }

    /// Both said GOAWAY and no stream is live: an end of the connection here is in order.
    pub fn may_end(&self) -> bool {
        self.goaway_sent && self.goaway_received && self.streams.live == 0
    }

    /// The connection is gone. Returns the streams that end with it; those whose FIN has arrived can still be delivered.
    pub fn abandon(&mut self) -> Vec<u32> {
        self.over = true;
        self.streams.abandon(&self.counters)
    }

    // What is known of it.

    pub fn role(&self) -> Role {
        self.role
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
        self.round_trip
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
