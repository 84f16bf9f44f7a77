//! A link against a peer that holds the keys and keeps no rule: messages are sealed as the test writes them.

use super::{HostClock, Options, Time, handshake, keyring};
use std::sync::Arc;
use wa_sidecar::counters::Counters;
use wa_sidecar::crypto::keys::{Opener, Sealer};
use wa_sidecar::link::budget::Budget;
use wa_sidecar::link::buffers::{BUFFER_LEN, Buffers};
use wa_sidecar::link::handshake::Established;
use wa_sidecar::link::{Event, Fatal, Link, Role};
use wa_sidecar::wire::frame::{HEADER_LEN, Header, TAG_LEN};
use wa_sidecar::wire::message::{Message, Writer};

/// The link under test, and the keys of its peer.
pub struct Raw {
    pub link: Link,
    pub buffers: Buffers,
    pub counters: Arc<Counters>,
    pub budget: Arc<Budget>,
    /// Of the link's host.
    pub clock: HostClock,
    pub t: Time,
    pub sealer: Sealer,
    pub opener: Opener,
    /// The peer's stamp at `t` = 0, ms.
    pub stamp_base: u64,
    /// What it grants, what the link grants.
    pub window_of_peer: u32,
    pub window_of_link: u32,
    pub max_streams: u32,
    frame: Box<[u8]>,
    out: Vec<u8>,
}

/// The link is the responder; its frame 0 has opened.
pub fn against_responder(options: &Options) -> Raw {
    let mut raw = unconfirmed_responder(options);
    raw.send(|w| w.ping(1, 0)).expect("frame 0");
    raw.receive();
    raw
}

pub fn unconfirmed_responder(options: &Options) -> Raw {
    make(options, Role::Responder)
}

/// The link is the initiator; it has sent frame 0.
pub fn against_initiator(options: &Options) -> Raw {
    let mut raw = make(options, Role::Initiator);
    assert_eq!(raw.receive().len(), 1, "frame 0 is one PING");
    raw
}

fn make(options: &Options, role: Role) -> Raw {
    let (a, b) = handshake(options);
    let (ours, theirs) = if role == Role::Initiator { (a, b) } else { (b, a) };
    let Established { split, suite, base, .. } = theirs.established;
    let (own, other) = match role {
        Role::Responder => (&split.k_i, &split.k_r),
        Role::Initiator => (&split.k_r, &split.k_i),
    };
    let (sealer, opener) = (Sealer::new(suite, own, &split.h), Opener::new(suite, other, &split.h));
    let (budget, clock) = (Arc::clone(&ours.budget), ours.clock.clone());
    let windows = (ours.established.window_peer, ours.established.window_local);
    let max_streams = ours.established.max_streams;
    let t = 2 * options.delay;
    let (link, counters) = ours.link(keyring(1), options.seed, t);
    Raw {
        link,
        buffers: Buffers::default(),
        counters,
        budget,
        clock,
        t,
        sealer,
        opener,
        stamp_base: base.clock_ms,
        window_of_peer: windows.0,
        window_of_link: windows.1,
        max_streams,
        frame: vec![0; BUFFER_LEN].into(),
        out: Vec::new(),
    }
}

impl Raw {
    /// Seals one frame of what `write` puts into it and gives it to the link. Events that the link made of it.
    pub fn send(&mut self, write: impl FnOnce(&mut Writer<'_>) -> bool) -> Result<Vec<Event>, Fatal> {
        let mut at = HEADER_LEN;
        let end = BUFFER_LEN - TAG_LEN;
        assert!(write(&mut Writer::new(&mut self.frame[..end], &mut at)), "it fits");
        self.deliver(at, 0)
    }

    /// One DATA message of `n` bytes of any content.
    pub fn data(&mut self, id: u32, n: usize) -> Result<Vec<Event>, Fatal> {
        let header = wa_sidecar::wire::message::data_header(id, n as u32);
        let mut plaintext = header.to_vec();
        plaintext.resize(header.len() + n, 0x5a);
        self.send_bytes(&plaintext)
    }

    pub fn send_bytes(&mut self, plaintext: &[u8]) -> Result<Vec<Event>, Fatal> {
        let end = HEADER_LEN + plaintext.len();
        self.frame[HEADER_LEN..end].copy_from_slice(plaintext);
        self.deliver(end, 0)
    }

    /// As [`Self::send`], of a frame that is `age_ms` old when it arrives.
    pub fn send_aged(&mut self, age_ms: i64, write: impl FnOnce(&mut Writer<'_>) -> bool) -> Result<Vec<Event>, Fatal> {
        let mut at = HEADER_LEN;
        assert!(write(&mut Writer::new(&mut self.frame[..], &mut at)));
        self.deliver(at, age_ms)
    }

    fn deliver(&mut self, end: usize, age_ms: i64) -> Result<Vec<Event>, Fatal> {
        let stamp = (self.stamp_base + self.t / 1000).saturating_add_signed(-age_ms);
        let frame = &mut self.frame[..end + TAG_LEN];
        self.sealer.seal(stamp, frame).expect("sealed");
        let now = self.clock.now(self.t);
        let len = self.link.accept(frame, now)?.expect("a whole frame");
        assert_eq!(len, frame.len());
        let mut events = Vec::new();
        while let Some(event) = self.link.event(frame, now)? {
            events.push(event);
        }
        Ok(events)
    }

    /// All that the link has to say now.
    pub fn receive(&mut self) -> Vec<Message> {
        self.try_receive().expect("the link lives")
    }

    pub fn try_receive(&mut self) -> Result<Vec<Message>, Fatal> {
        let mut messages = Vec::new();
        let now = self.clock.now(self.t);
        while let Some(bytes) = self.link.transmit(&mut self.buffers, now)? {
            self.out.clear();
            self.out.extend_from_slice(bytes);
            let n = bytes.len();
            self.link.transmitted(&mut self.buffers, n, now.instant);
            let header = Header::decode(self.out.first_chunk().expect("header")).expect("length");
            assert_eq!(header.frame_len(), n);
            let plaintext = self.opener.open(&mut self.out).expect("opens");
            let mut at = plaintext.start;
            while at < plaintext.end {
                let (message, next) = Message::decode(&self.out[..plaintext.end], at).expect("a message");
                messages.push(message);
                at = next;
            }
        }
        Ok(messages)
    }

    pub fn advance(&mut self, time: Time) -> Result<(), Fatal> {
        self.t += time;
        let now = self.clock.now(self.t);
        if now.instant >= self.link.timeout() {
            self.link.tick(now)?;
        }
        Ok(())
    }
}
