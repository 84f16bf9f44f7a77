//! What arrives: frames are checked and opened, messages change the state and become events (SPEC sections 5 to 12).

use super::Role;
use super::apps::widest_beside_others;
use super::clock::is_fresh;
use super::connection::Link;
use super::error::Fatal;
use super::stream::{Own, Peer, Stream};
use super::time::Now;
use crate::counters::{Limit, StreamEnd};
use crate::crypto::keys::OpenError;
use crate::wire::frame::{HEADER_LEN, Header, MAX_CONFIRMATION_LENGTH};
use crate::wire::message::{Code, GoAway, Message};
use core::ops::Range;
use core::time::Duration;

/// Offsets and limits stay below this (SPEC section 7).
const MAX_OFFSET: u64 = 1 << 62;

/// What a message means to the apps. Ranges are into the bytes given to [`Link::event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer wants a connection to a service.
    Open { id: u32, service: Range<usize> },
    /// Bytes for the app: what it takes is [`Link::consumed`], the rest goes to [`Link::store`].
    Data { id: u32, bytes: Range<usize> },
    /// All has arrived; deliver it, then end the app's input.
    Fin { id: u32 },
    /// Reset the app's connection.
    Reset { id: u32, code: Code },
    /// Read no more from the app, deliver what there is.
    Stop { id: u32, code: Code },
    /// A stream that had no credit has some.
    Credit { id: u32 },
    /// A round trip was measured; the peer's clock minus the own one, unless it took too long to tell.
    Pong {
        round_trip: Duration,
        clock_difference_ms: Option<i64>,
    },
    /// The peer takes no new streams.
    GoAway { code: GoAway },
    /// The peer confirmed the handshake (responder).
    Confirmed,
    /// The keys were replaced, or the peer refused to.
    Rekey { accepted: bool },
}

impl Link {
    /// Takes the frame at the front of `bytes`, if it is there whole: checks length, counter and age, opens it in place, and
    /// returns how many bytes it took. Then call [`Link::event`] with the same bytes until it returns `None`.
    pub fn accept(&mut self, bytes: &mut [u8], now: Now) -> Result<Option<usize>, Fatal> {
        debug_assert!(self.inbox.is_empty(), "accepted a frame before the last one was taken");
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::decode(header)?;
        let expected = self.opener.expected();
        if header.counter != expected {
            return Err(Fatal::BadCounter {
                expected,
                got: header.counter,
            });
        }
        let confirms = self.role == Role::Responder && !self.confirmed;
        if confirms && header.length > MAX_CONFIRMATION_LENGTH {
            return Err(Fatal::Link {
                rule: "the initiator's frame 0 is longer than 512 bytes",
            });
        }
        let Some(frame) = bytes.get_mut(..header.frame_len()) else {
            return Ok(None);
        };
        let age_ms = self.clock.age_ms(header.timestamp, now.instant);
        if !is_fresh(age_ms) {
            return Err(Fatal::Stale { age_ms });
        }
        let plaintext = self.opener.open(frame).map_err(|error| match error {
            OpenError::Tag => Fatal::BadTag,
            _ => Fatal::Exhausted,
        })?;
        if confirms {
            match Message::decode(&frame[..plaintext.end], plaintext.start)? {
                (Message::Ping { .. }, end) if end == plaintext.end => {}
                _ => {
                    return Err(Fatal::Link {
                        rule: "the initiator's frame 0 is not exactly one PING",
                    });
                }
            }
            self.clock.confirmed(header.timestamp);
        }
        self.last_heard = now.instant;
        self.inbox = plaintext;
        self.inbox_stamp = header.timestamp;
        self.counters.frames_received.inc();
        self.counters.sealed_received.add(header.frame_len() as u64);
        Ok(Some(header.frame_len()))
    }

    /// Whether `bytes` begin with a whole frame, or with a header that [`Link::accept`] would refuse.
    pub fn has_frame(bytes: &[u8]) -> bool {
        match bytes.first_chunk::<HEADER_LEN>().map(Header::decode) {
            Some(Ok(header)) => bytes.len() >= header.frame_len(),
            Some(Err(_)) => true,
            None => false,
        }
    }

    /// The next event of the accepted frame; `None` at its end.
    pub fn event(&mut self, bytes: &[u8], now: Now) -> Result<Option<Event>, Fatal> {
        while !self.inbox.is_empty() {
            let plaintext = bytes.get(..self.inbox.end).ok_or(Fatal::Link {
                rule: "event() without its frame",
            })?;
            let (message, next) = Message::decode(plaintext, self.inbox.start)?;
            self.inbox.start = next;
            if let Some(event) = self.take(message, now)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Whether the message behind the last event is the FIN of stream `id`: nothing comes behind that event's bytes.
    pub fn fin_follows(&self, bytes: &[u8], id: u32) -> bool {
        let next = bytes
            .get(..self.inbox.end)
            .map(|plaintext| Message::decode(plaintext, self.inbox.start));
        matches!(next, Some(Ok((Message::Fin { id: ended, .. }, _))) if ended == id)
    }

    fn take(&mut self, message: Message, now: Now) -> Result<Option<Event>, Fatal> {
        match message {
            Message::Data { id, bytes } => self.take_data(id, bytes, now),
            Message::Open { id, service } => self.take_open(id, service, now),
            Message::Credit { id, limit } => self.take_credit(id, limit),
            Message::Yield { id, limit } => self.take_yield(id, limit),
            Message::Fin { id, offset } => self.take_fin(id, offset),
            Message::Reset { id, code } => self.take_reset(id, Code::from_byte(code), now),
            Message::Stop { id, code } => self.take_stop(id, Code::from_byte(code)),
            Message::Ping { token, .. } => {
                self.pong_marked = Some(token);
                let first = self.role == Role::Responder && !self.confirmed;
                self.confirmed = true;
                Ok(first.then_some(Event::Confirmed))
            }
            Message::Pong { token, clock } => Ok(self.take_pong(token, clock, now)),
            Message::GoAway { code } => self.take_goaway(GoAway::from_byte(code)),
            Message::Rekey1 { noise } => {
                let entropy = (self.entropy)();
                self.rekey.rekey1(&noise, entropy)?;
                Ok(None)
            }
            Message::Rekey2 { status, noise } => {
                if self.role == Role::Responder {
                    return Err(Fatal::Link {
                        rule: "REKEY2 by the initiator",
                    });
                }
                let opener = self.rekey.rekey2(status, &noise, now.instant)?;
                let accepted = opener.is_some();
                if let Some(opener) = opener {
                    self.must_be_last("message behind an accepting REKEY2")?;
                    self.opener = opener;
                }
                Ok(Some(Event::Rekey { accepted }))
            }
            Message::Rekey3 => {
                if self.role == Role::Initiator {
                    return Err(Fatal::Link {
                        rule: "REKEY3 by the responder",
                    });
                }
                self.opener = self.rekey.rekey3(now.instant)?;
                self.must_be_last("message behind REKEY3")?;
                self.counters.rekeys.inc();
                Ok(Some(Event::Rekey { accepted: true }))
            }
        }
    }

    fn must_be_last(&self, rule: &'static str) -> Result<(), Fatal> {
        if self.inbox.is_empty() {
            Ok(())
        } else {
            Err(Fatal::Link { rule })
        }
    }

    /// The stream whose peer's direction is open, for DATA, FIN, YIELD and RESET (SPEC section 7, the table).
    fn receiving(&mut self, id: u32) -> Result<&mut Stream, Fatal> {
        if id == 0 || id > self.streams.last_id {
            return Err(Fatal::Stream {
                id,
                rule: "message for an id that is not opened",
            });
        }
        match self.streams.get_mut(id) {
            Some(stream) if stream.recv.peer == Peer::Open => Ok(stream),
            _ => Err(Fatal::Stream {
                id,
                rule: "DATA, FIN, YIELD or RESET behind the sender's FIN or RESET",
            }),
        }
    }

    /// The stream for CREDIT and STOP; `None` where they are ignored.
    fn sending(&mut self, id: u32) -> Result<Option<&mut Stream>, Fatal> {
        if id == 0 || id > self.streams.last_id {
            return Err(Fatal::Stream {
                id,
                rule: "message for an id that is not opened",
            });
        }
        match self.streams.get_mut(id) {
            Some(stream) if stream.is_closed() => Ok(None),
            Some(stream) if stream.recv.peer == Peer::Reset => Err(Fatal::Stream {
                id,
                rule: "CREDIT or STOP behind the sender's RESET",
            }),
            found => Ok(found),
        }
    }

    fn take_data(&mut self, id: u32, bytes: Range<usize>, now: Now) -> Result<Option<Event>, Fatal> {
        let n = bytes.len() as u64;
        let recv = &mut self.receiving(id)?.recv;
        if n > recv.granted - recv.received {
            return Err(Fatal::Stream {
                id,
                rule: "DATA beyond the credit given",
            });
        }
        recv.received += n;
        if recv.discard {
            if !self.discarded.take(n, now.instant) {
                return Err(Fatal::Flood("more than 64 MiB a second for streams that were reset"));
            }
            return Ok(None);
        }
        self.counters.plaintext_received.add(n);
        Ok(Some(Event::Data { id, bytes }))
    }

    fn take_open(&mut self, id: u32, service: Range<usize>, now: Now) -> Result<Option<Event>, Fatal> {
        if self.role == Role::Initiator {
            return Err(Fatal::Stream {
                id,
                rule: "OPEN by the responder",
            });
        }
        if self.goaway_received {
            return Err(Fatal::Stream {
                id,
                rule: "OPEN after the initiator's GOAWAY",
            });
        }
        if self.streams.last_id.checked_add(1) != Some(id) {
            return Err(Fatal::Stream {
                id,
                rule: "OPEN whose id is not the next one",
            });
        }
        if self.streams.live >= self.streams.max {
            return Err(Fatal::Stream {
                id,
                rule: "OPEN beyond the link's limit of streams",
            });
        }
        // Streams that the wire has closed may still hold memory for an app that does not take its bytes.
        let full = self.streams.held() >= self.streams.max as usize;
        self.streams.insert(id, now.instant);
        self.counters.streams_opened.inc();
        self.counters.streams_open.add(1);
        if full {
            self.counters.limit_hit(Limit::Streams);
            self.abort(id, Code::Busy);
            self.release(id);
            return Ok(None);
        }
        Ok(Some(Event::Open { id, service }))
    }

    fn take_credit(&mut self, id: u32, limit: u64) -> Result<Option<Event>, Fatal> {
        let first = u64::from(self.streams.first_peer);
        let Some(stream) = self.sending(id)? else {
            return Ok(None);
        };
        let send = &mut stream.send;
        // It crossed the end (SPEC section 7).
        if send.own != Own::Open {
            return Ok(None);
        }
        if limit <= send.limit {
            return Err(Fatal::Stream {
                id,
                rule: "CREDIT that does not raise the limit",
            });
        }
        if limit >= MAX_OFFSET {
            return Err(Fatal::Stream {
                id,
                rule: "CREDIT of 2^62 or more",
            });
        }
        send.limit = limit;
        let grown = limit - send.sent > first;
        let wake = core::mem::take(&mut stream.stalled);
        if grown {
            self.streams.grew(id);
        }
        Ok(wake.then_some(Event::Credit { id }))
    }

    fn take_yield(&mut self, id: u32, limit: u64) -> Result<Option<Event>, Fatal> {
        self.receiving(id)?;
        if let Some((stream, lease)) = self.streams.with_lease(id) {
            stream
                .recv
                .yielded(limit, lease)
                .map_err(|rule| Fatal::Stream { id, rule })?;
        }
        Ok(None)
    }

    fn take_fin(&mut self, id: u32, offset: u64) -> Result<Option<Event>, Fatal> {
        let recv = &mut self.receiving(id)?.recv;
        if offset != recv.received {
            return Err(Fatal::Stream {
                id,
                rule: "FIN whose offset is not what was received",
            });
        }
        recv.peer = Peer::Fin;
        let told = !recv.discard;
        if let Some((stream, lease)) = self.streams.with_lease(id) {
            stream.recv.settle(lease);
        }
        self.streams.reap(id, &self.counters);
        Ok(told.then_some(Event::Fin { id }))
    }

    fn take_reset(&mut self, id: u32, code: Code, now: Now) -> Result<Option<Event>, Fatal> {
        // The answers to RESETs that have left are not the peer's doing.
        let unasked = self.receiving(id)?.send.own != Own::ResetSent;
        if self.role == Role::Responder && unasked && !self.resets.take(1, now.instant) {
            return Err(Fatal::Flood("streams are opened and reset at more than 4096 a second"));
        }
        let Some((stream, lease)) = self.streams.with_lease(id) else {
            return Ok(None);
        };
        stream.recv.peer = Peer::Reset;
        stream.recv.clear(lease);
        stream.ends_by(if code.is_refusal() {
            StreamEnd::Refused
        } else {
            StreamEnd::Reset
        });
        if stream.send.own == Own::Open {
            stream.mark_reset(Code::Answer);
        }
        let told = !stream.let_go;
        self.streams.list(id);
        self.streams.reap(id, &self.counters);
        Ok(told.then_some(Event::Reset { id, code }))
    }

    fn take_stop(&mut self, id: u32, code: Code) -> Result<Option<Event>, Fatal> {
        let Some(stream) = self.sending(id)? else {
            return Ok(None);
        };
        if stream.recv.peer != Peer::Fin {
            return Err(Fatal::Stream {
                id,
                rule: "STOP before the sender's FIN",
            });
        }
        if core::mem::replace(&mut stream.send.stop_received, true) {
            return Err(Fatal::Stream {
                id,
                rule: "second STOP",
            });
        }
        if stream.send.own != Own::Open {
            return Ok(None);
        }
        stream.ends_by(StreamEnd::Stopped);
        stream.mark_reset(Code::Answer);
        let told = !stream.let_go;
        self.streams.list(id);
        Ok(told.then_some(Event::Stop { id, code }))
    }

    fn take_pong(&mut self, token: u64, clock: u64, now: Now) -> Option<Event> {
        if token != self.ping_token {
            return None;
        }
        let sealed = self.ping_sealed.take()?;
        let sample = now.instant.since(sealed);
        let soon = self.clock.pong(self.inbox_stamp, sealed, now.instant);
        self.round_trip.measured(sample);
        self.widest_beside_others = widest_beside_others(self.round_trip.least());
        let half = i128::try_from(sample.as_millis() / 2).unwrap_or(0);
        let difference = i128::from(clock) + half - i128::from(now.clock_ms);
        let clock_difference_ms = i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN });
        Some(Event::Pong {
            round_trip: self.round_trip.smoothed(),
            clock_difference_ms: soon.then_some(clock_difference_ms),
        })
    }

    fn take_goaway(&mut self, code: GoAway) -> Result<Option<Event>, Fatal> {
        if core::mem::replace(&mut self.goaway_received, true) {
            return Err(Fatal::Link { rule: "second GOAWAY" });
        }
        // Behind an initiator's there is no OPEN.
        self.streams.close_to_new();
        self.goaway(code);
        Ok(Some(Event::GoAway { code }))
    }
}
