//! The app side of a [`Link`]: what a driver calls when an app's socket is ready, and what it did with what arrived.

use super::Role;
use super::buffers::Buffers;
use super::connection::Link;
use super::error::Fatal;
use super::outbox::MIN_SLOT;
use super::stream::{Due, Note, Own, Peer};
use super::time::Instant;
use crate::counters::{Limit, StreamEnd};
use crate::wire::message::Code;
use core::time::Duration;

/// While other streams wait for room, one slot takes at most its share, but not less than this.
const MIN_SHARE: usize = 16 * 1024;
/// The largest window of a stream, bytes.
const WIDEST: u64 = 4 << 20;

/// And of one that is not alone, for what lies in the connection for a busy receiver holds up the others: 1 MiB, and what a line of
/// 1 Gbit/s carries in a `round_trip` of the path.
pub(super) fn widest_beside_others(round_trip: Duration) -> u64 {
    let bytes = round_trip.as_micros().saturating_mul(125).saturating_add(1 << 20);
    u64::try_from(bytes).unwrap_or(WIDEST).min(WIDEST)
}

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

impl OpenError {
    pub const ALL: [Self; 3] = [Self::Draining, Self::TooManyStreams, Self::NotInitiator];

    /// The log's reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::TooManyStreams => "too_many_streams",
            Self::NotInitiator => "not_initiator",
        }
    }
}

impl Link {
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
        // It is not idle after all.
        stream.said(Note::Yield);
        if stream.recv.said_something() {
            self.streams.note(id, Note::Credit);
        }
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

    /// The app's side of the stream is over: nothing more is asked of or told about it. A direction that has not ended is
    /// broken off, as by [`Self::abort`]: nobody is left to take or to send.
    pub fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.let_go = true;
        let reset = matches!(stream.send.own, Own::ResetMarked(_) | Own::ResetSent);
        if stream.send.own == Own::Open || (stream.recv.peer == Peer::Open && !reset) {
            self.abort(id, Code::AppReset);
        }
        self.streams.reap(id, &self.counters);
    }

    /// The app took `n` bytes straight from an event.
    pub fn consumed(&mut self, id: u32, n: usize, now: Instant) {
        let (round_trip, widest) = (self.round_trip.smoothed(), self.widest());
        let Some((stream, lease)) = self.streams.with_lease(id) else {
            return;
        };
        let due = stream.recv.consume(n as u64, now, round_trip, widest, lease);
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

    /// How wide the window of a stream may be now.
    fn widest(&self) -> u64 {
        match self.streams.live {
            0 | 1 => WIDEST,
            _ => self.widest_beside_others,
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
}
