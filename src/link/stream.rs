//! One stream: two directions that end on their own, and the credit of each (SPEC sections 7 to 9).
//!
//! ```text
//!            DATA (within credit)
//!             .--.
//!             v  |
//!  OPEN ---> open ----- FIN -----> finished
//!              \
//!               '------ RESET ---> reset
//! ```
//!
//! The own direction passes through *marked* first: the end is decided, and stands in the next frame that is sealed.

use super::budget::Lease;
use super::queue::Queue;
use super::time::Instant;
use crate::counters::StreamEnd;
use crate::wire::message::Code;
use core::time::Duration;

/// The own direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Open,
    FinMarked,
    FinSent,
    ResetMarked(Code),
    ResetSent,
}

/// The peer's direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Open,
    Fin,
    Reset,
}

/// What of a stream is to be said in the next frame; each at most once, always the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    Yield = 1,
    Credit = 2,
    Fin = 4,
    Stop = 8,
    Reset = 16,
}

/// When a CREDIT is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Later,
    Now,
    /// The window should have grown too, but the budget has no growth left.
    NowUngrown,
}

#[derive(Debug)]
pub(super) struct SendHalf {
    pub own: Own,
    /// Bytes sent, and how far the peer lets them go.
    pub sent: u64,
    pub limit: u64,
    /// The tick of the last DATA.
    pub last_tick: u64,
    /// STOP received, or own STOP sent: at most one each.
    pub stop_received: bool,
}

#[derive(Debug)]
pub(super) struct RecvHalf {
    pub peer: Peer,
    pub received: u64,
    /// Bytes that the app took.
    pub consumed: u64,
    /// The limit given to the peer.
    pub granted: u64,
    /// What is granted beyond `consumed` when all is said.
    pub window: u64,
    /// The window of a new stream.
    first: u64,
    /// Growth leased for this stream, bytes beyond `first`.
    growth: u64,
    queue: Queue,
    /// What arrives is checked and dropped: RESET or STOP was sent.
    pub discard: bool,
    last_due: Instant,
    /// The own side has sent something since the last CREDIT.
    dialogue: bool,
    /// Credit is due, and goes along with what is sent next.
    along: bool,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub send: SendHalf,
    pub recv: RecvHalf,
    notes: u8,
    /// In the list of streams with notes; in the FIFO for room; in the list of credit owed; in that of grown senders.
    pub listed: bool,
    pub parked: bool,
    pub owed: bool,
    pub grown: bool,
    pub stalled: bool,
    /// The app's side is done with it.
    pub let_go: bool,
    pub counted_live: bool,
    pub stop_sent: bool,
    pub end: Option<StreamEnd>,
}

impl Stream {
    pub fn new(first_local: u32, first_peer: u32, now: Instant) -> Self {
        let first = u64::from(first_local);
        Self {
            send: SendHalf {
                own: Own::Open,
                sent: 0,
                limit: u64::from(first_peer),
                last_tick: 0,
                stop_received: false,
            },
            recv: RecvHalf {
                peer: Peer::Open,
                received: 0,
                consumed: 0,
                granted: first,
                window: first,
                first,
                growth: 0,
                queue: Queue::default(),
                discard: false,
                last_due: now,
                dialogue: false,
                along: false,
            },
            notes: 0,
            listed: false,
            parked: false,
            owed: false,
            grown: false,
            stalled: false,
            let_go: false,
            counted_live: true,
            stop_sent: false,
            end: None,
        }
    }

    pub fn note(&mut self, note: Note) {
        self.notes |= note as u8;
    }
    pub fn has(&self, note: Note) -> bool {
        self.notes & note as u8 != 0
    }
    pub fn said(&mut self, note: Note) {
        self.notes &= !(note as u8);
    }
    pub fn has_notes(&self) -> bool {
        self.notes != 0
    }

    /// Both directions have ended on the wire: what this side knows of SPEC section 7's *closed*.
    pub fn is_closed(&self) -> bool {
        matches!(self.send.own, Own::FinSent | Own::ResetSent) && self.recv.peer != Peer::Open
    }

    /// The first cause of the end is the one that is counted.
    pub fn ends_by(&mut self, end: StreamEnd) {
        self.end.get_or_insert(end);
    }

    pub fn mark_reset(&mut self, code: Code) {
        self.send.own = Own::ResetMarked(code);
        self.said(Note::Yield);
        self.note(Note::Reset);
    }
}

impl RecvHalf {
    /// The app took `n` bytes. A CREDIT is due when half of the window was consumed, for what is due is what a path cannot use. A window
    /// that was half used up within two round trips doubles, up to `widest`, if there is growth to lease; of the widest one a quarter is
    /// due. One that is wider than it may be now is not refilled until it is not.
    ///
    /// In a dialogue that takes longer than that for half a window, CREDIT is in no hurry: what is said next takes it along, and if nothing
    /// is, three quarters make it due.
    pub fn consume(&mut self, n: u64, now: Instant, round_trip: Duration, widest: u64, lease: &mut Lease) -> Due {
        debug_assert!(self.consumed + n <= self.received, "consumed bytes that never arrived");
        self.consumed = (self.consumed + n).min(self.received);
        self.window = self.window.min(widest);
        self.settle(lease);
        let may_grow = self.window < widest;
        let (owed, at_last) = (self.credit_owed(), self.window / 4 * 3);
        let due = match (self.along, may_grow) {
            (true, _) => at_last,
            (false, true) => self.window / 2,
            (false, false) => self.window / 4,
        };
        if !self.is_receiving() || owed < due {
            return Due::Later;
        }
        let is_fast = now.since(self.last_due) < round_trip * 2;
        self.last_due = now;
        if may_grow && !is_fast && self.dialogue && owed < at_last {
            self.along = true;
            return Due::Later;
        }
        let wants_more = may_grow && is_fast && !self.along;
        if wants_more {
            let more = self.window.min(widest - self.window);
            if !lease.grow(more) {
                return Due::NowUngrown;
            }
            self.window += more;
            self.growth += more;
        }
        Due::Now
    }

    fn is_receiving(&self) -> bool {
        self.peer == Peer::Open && !self.discard
    }

    /// Bytes by which the limit may be raised; 0 when the direction is over.
    pub fn credit_owed(&self) -> u64 {
        if self.is_receiving() {
            (self.consumed + self.window).saturating_sub(self.granted)
        } else {
            0
        }
    }

    /// The own side sends something. `true`: a CREDIT goes along.
    pub fn said_something(&mut self) -> bool {
        self.dialogue = true;
        self.along
    }

    /// The limit to put into a CREDIT now, if there is anything to give.
    pub fn grant(&mut self) -> Option<u64> {
        let owed = self.credit_owed();
        (self.dialogue, self.along) = (false, false);
        (owed > 0).then(|| {
            self.granted += owed;
            self.granted
        })
    }

    /// YIELD of `limit` (SPEC section 8).
    pub fn yielded(&mut self, limit: u64, lease: &mut Lease) -> Result<(), &'static str> {
        if limit > self.granted {
            return Err("YIELD above the limit given");
        }
        if limit <= self.received.saturating_add(self.first) {
            return Err("YIELD that hands nothing back");
        }
        if limit == self.granted && !self.discard {
            self.granted = self.received + self.first;
            self.window = self.first;
            self.settle(lease);
        }
        Ok(())
    }

    /// Copies what the app did not take, unless it has broken since. `false`: the peer would have overrun its credit.
    #[must_use]
    pub fn store(&mut self, bytes: &[u8]) -> bool {
        if self.discard {
            return true;
        }
        let bound = usize::try_from(self.first + self.growth).unwrap_or(usize::MAX);
        self.queue.push(bytes, bound)
    }

    pub fn queue(&self) -> &Queue {
        &self.queue
    }
    pub fn pop(&mut self, n: usize) {
        self.queue.pop(n);
    }

    /// Nothing more will be given to the app: frees the queue and all growth.
    pub fn clear(&mut self, lease: &mut Lease) {
        self.queue = Queue::default();
        self.discard = true;
        self.settle(lease);
    }

    /// Returns growth that neither credit given out nor queued memory needs.
    pub fn settle(&mut self, lease: &mut Lease) {
        if self.growth == 0 {
            return;
        }
        let promised = if self.is_receiving() {
            self.window.max(self.granted.saturating_sub(self.consumed))
        } else {
            0
        };
        let needed = promised
            .max(self.queue.capacity() as u64)
            .saturating_sub(self.first)
            .min(self.growth);
        lease.shrink(self.growth - needed);
        self.growth = needed;
    }
}
