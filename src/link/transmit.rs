//! Frames out of a [`Link`]: what is ready is stamped and sealed when the socket is writable, and handed out as a slice.

use super::Role;
use super::buffers::Buffers;
use super::connection::Link;
use super::error::Fatal;
use super::outbox::MIN_SLOT;
use super::rekey::Pending;
use super::stream::{Note, Own, Peer};
use super::time::{Instant, Now};
use crate::wire::message::Code;

impl Link {
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

    /// OPENs that found no room go out before anything else of their streams. `true`: none is left.
    pub(super) fn flush_opens(&mut self, buffers: &mut Buffers) -> bool {
        while let Some((id, service)) = self.pending_opens.front() {
            if !self.confirmed || !self.outbox.write(buffers, false, |w| w.open(*id, service)) {
                return false;
            }
            self.pending_opens.pop_front();
        }
        true
    }

    fn encode_ping(&mut self, buffers: &mut Buffers, now: Now) {
        // While one is under way, its token again: with another, no answer on a path of more than a tick would be that to the last PING.
        let token = self.ping_token + u64::from(self.ping_sealed.is_none());
        if self.outbox.write(buffers, false, |w| w.ping(token, now.clock_ms)) {
            self.ping_token = token;
            self.ping_sealed.get_or_insert(now.instant);
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
                self.goaway_sent = Some(now.instant);
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
}
