//! A peer that holds the keys and means harm: messages valid, nearly valid and not at all, each sealed as it should be.

use super::{Choices, Options, Raw, SECOND, against_initiator, against_responder, unconfirmed_responder};
use std::collections::BTreeMap;
use wa_sidecar::link::{Event, Fatal, Role, Slot};
use wa_sidecar::wire::message::{Code, GoAway, Message, REKEY_NOISE_LEN};

/// What the peer believes of a stream.
#[derive(Debug, Default, Clone)]
struct Stream {
    sent: u64,
    limit: u64,
    given: u64,
    ended: bool,
}

/// What one run did.
#[derive(Debug, Default)]
pub struct Done {
    pub messages: u64,
    pub ended: Option<Fatal>,
}

/// One link and its peer, for at most `most` messages or until the link refuses one.
pub fn run(choices: &mut Choices<'_>, most: u64) -> Done {
    let options = Options {
        seed: choices.below(1 << 16),
        budget: *choices.of(&[64 << 10, 1 << 20, 16 << 20]),
        max_streams: *choices.of(&[1, 4, 64]),
        ..Options::default()
    };
    let role = *choices.of(&[Role::Responder, Role::Responder, Role::Initiator]);
    let raw = match role {
        Role::Initiator => against_initiator(&options),
        Role::Responder if choices.chance(2) => unconfirmed_responder(&options),
        Role::Responder => against_responder(&options),
    };
    let mut peer = Peer {
        raw,
        role,
        streams: BTreeMap::new(),
        last_id: 0,
        wild: *choices.of(&[0, 0, 1, 10, 60]),
        payload: Vec::new(),
    };
    let mut done = Done::default();
    while done.messages < most && !choices.is_over() {
        done.messages += 1;
        if let Err(fatal) = peer.step(choices) {
            peer.raw.link.abandon();
            assert!(peer.raw.link.streams() <= 2 * peer.raw.max_streams as usize);
            done.ended = Some(fatal);
            break;
        }
        peer.judge();
    }
    done
}

struct Peer {
    raw: Raw,
    /// Of the link under test.
    role: Role,
    streams: BTreeMap<u32, Stream>,
    last_id: u32,
    /// Percent of messages that keep no rule at all.
    wild: u64,
    payload: Vec<u8>,
}

impl Peer {
    fn step(&mut self, choices: &mut Choices<'_>) -> Result<(), Fatal> {
        if choices.chance(30) {
            self.apps(choices);
        }
        if choices.chance(20) {
            self.receive()?;
        }
        if choices.chance(5) {
            self.raw.advance(choices.below(3 * SECOND))?;
        }
        self.payload.clear();
        for _ in 0..=choices.size(2) {
            if choices.chance(self.wild) {
                self.wild_message(choices);
            } else {
                self.fair_message(choices);
            }
        }
        if self.payload.is_empty() {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.payload);
        let events = self.raw.send_bytes(&payload)?;
        self.payload = payload;
        let now = self.raw.clock.now(self.raw.t).instant;
        for event in events {
            if let Event::Data { id, bytes } = event {
                let took = choices.below(bytes.len() as u64 + 1) as usize;
                if took > 0 {
                    self.raw.link.consumed(id, took, now);
                }
                // What they were is gone with the frame; only how many counts here.
                self.raw.link.store(id, &vec![0; bytes.len() - took])?;
            }
        }
        Ok(())
    }

    /// The apps of the link under test do what they like.
    fn apps(&mut self, choices: &mut Choices<'_>) {
        let raw = &mut self.raw;
        let now = raw.clock.now(raw.t).instant;
        if self.role == Role::Initiator && choices.chance(40) {
            if let Ok(id) = raw.link.open(&mut raw.buffers, b"", now) {
                self.last_id = id;
                let (given, limit) = (u64::from(raw.window_of_peer), u64::from(raw.window_of_link));
                self.streams.insert(
                    id,
                    Stream {
                        given,
                        limit,
                        ..Stream::default()
                    },
                );
            }
            return;
        }
        let id = self.known(choices);
        let raw = &mut self.raw;
        match choices.below(12) {
            0 => raw.link.fin(id),
            1 => raw.link.abort(id, *choices.of(&[Code::AppReset, Code::DialRefused])),
            2 => raw.link.release(id),
            3 if choices.chance(2) => raw.link.goaway(GoAway::Shutdown),
            4 => raw.link.rekey_now(now),
            5..=7 => {
                let n = match raw.link.slot(&mut raw.buffers, id) {
                    Slot::Room(room) => choices.below(room.len() as u64 + 1) as usize,
                    _ => return,
                };
                raw.link.commit(&mut raw.buffers, id, n);
            }
            _ => {
                let waiting = raw.link.queued(id).map(<[u8]>::len);
                let n = choices.below((waiting[0] + waiting[1]) as u64 + 1) as usize;
                if n > 0 {
                    raw.link.delivered(id, n, now);
                }
            }
        }
        let _ = raw.link.unpark();
    }

    /// Reads what the link says, as far as it is of use.
    fn receive(&mut self) -> Result<(), Fatal> {
        for message in self.raw.try_receive()? {
            match message {
                Message::Credit { id, limit } => {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.limit = limit;
                    }
                }
                // Ask no more: keys would have to follow.
                Message::Rekey1 { .. } => {
                    self.raw.send(|w| w.rekey2(None))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn known(&self, choices: &mut Choices<'_>) -> u32 {
        let n = self.last_id.min(8);
        self.last_id - choices.below(u64::from(n) + 1) as u32
    }

    /// A message that a peer may send, mostly.
    fn fair_message(&mut self, choices: &mut Choices<'_>) {
        let id = self.known(choices);
        let kind = choices.below(16);
        let responder = self.role == Role::Responder;
        if responder && kind < 4 && self.raw.link.live_streams() < self.raw.max_streams {
            self.last_id += 1;
            let (given, limit) = (u64::from(self.raw.window_of_peer), u64::from(self.raw.window_of_link));
            self.streams.insert(
                self.last_id,
                Stream {
                    given,
                    limit,
                    ..Stream::default()
                },
            );
            let id = self.last_id;
            return self.put(0x01, id, &[0]);
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return self.ping(choices);
        };
        match kind {
            4..=9 if !stream.ended => {
                let room = (stream.limit - stream.sent).min(60_000);
                let n = match choices.below(3) {
                    0 => room,
                    1 => room.min(1),
                    _ => choices.below(room + 1),
                };
                if n > 0 {
                    stream.sent += n;
                    let mut rest = (n as u32).to_be_bytes().to_vec();
                    rest.resize(4 + n as usize, 7);
                    self.put(0x02, id, &rest);
                }
            }
            10 if !stream.ended => {
                stream.ended = true;
                let offset = stream.sent.to_be_bytes();
                self.put(0x05, id, &offset);
            }
            11 if !stream.ended => {
                stream.ended = true;
                self.put(0x06, id, &[choices.below(12) as u8]);
            }
            12..=13 => {
                stream.given += 1 + choices.size(22);
                let limit = stream.given.to_be_bytes();
                if self.raw.link.credit(id).is_some() && !self.streams[&id].ended {
                    self.put(0x03, id, &limit);
                }
            }
            14 if !stream.ended && stream.limit > stream.sent + u64::from(self.raw.window_of_link) => {
                let limit = stream.limit.to_be_bytes();
                stream.limit = stream.sent + u64::from(self.raw.window_of_link);
                self.put(0x04, id, &limit);
            }
            _ => self.ping(choices),
        }
    }

    fn put(&mut self, kind: u8, id: u32, rest: &[u8]) {
        self.payload.push(kind);
        self.payload.extend_from_slice(&id.to_be_bytes());
        self.payload.extend_from_slice(rest);
    }

    fn ping(&mut self, choices: &mut Choices<'_>) {
        self.payload.push(*choices.of(&[0x08, 0x09]));
        self.payload.extend_from_slice(&choices.below(100).to_be_bytes());
        self.payload.extend_from_slice(&choices.number().to_be_bytes());
    }

    /// Any message, with any numbers, or bytes that are none.
    fn wild_message(&mut self, choices: &mut Choices<'_>) {
        let id = match choices.below(6) {
            0 => 0,
            1 => self.last_id + 1,
            2 => choices.below(1 << 32) as u32,
            _ => self.known(choices),
        };
        let number = match choices.below(3) {
            0 => choices.size(20),
            1 => choices.number(),
            _ => self.streams.get(&id).map_or(0, |stream| stream.sent + choices.below(3)),
        };
        match choices.below(14) {
            0 => self.put(0x01, id, &[choices.below(70) as u8, b'x']),
            1 => {
                let n = choices.size(16) as u32;
                let mut rest = n.to_be_bytes().to_vec();
                rest.resize(4 + n as usize, 3);
                self.put(0x02, id, &rest);
            }
            kind @ 2..=4 => self.put(kind as u8 + 1, id, &number.to_be_bytes()),
            kind @ 5..=6 => self.put(kind as u8 + 1, id, &[number as u8]),
            7 => self.ping(choices),
            8 => {
                self.payload.push(0x0a);
                self.payload.extend_from_slice(&[number as u8; REKEY_NOISE_LEN]);
            }
            9 => {
                self.payload.extend_from_slice(&[0x0b, number as u8]);
                self.payload.extend_from_slice(&[id as u8; REKEY_NOISE_LEN]);
            }
            10 => self.payload.push(0x0c),
            11 => self.payload.extend_from_slice(&[0x0d, number as u8]),
            _ => {
                for _ in 0..choices.size(6) {
                    self.payload.push(choices.below(256) as u8);
                }
            }
        }
    }

    /// Whatever was sent, the link keeps its bounds.
    fn judge(&self) {
        let raw = &self.raw;
        let (held, live) = (raw.link.streams(), raw.link.live_streams());
        assert!(
            live <= raw.max_streams && held <= 2 * raw.max_streams as usize,
            "{held} held, {live} live"
        );
        let (mut queued, mut first) = (0, 0);
        for id in self.streams.keys() {
            let [a, b] = raw.link.queued(*id);
            queued += a.len() + b.len();
            first += if a.is_empty() { 0 } else { raw.window_of_link as usize };
        }
        let grown = raw.budget.total() as usize / 2 - raw.budget.free().1 as usize;
        assert!(
            queued <= first + grown,
            "{queued} bytes wait, {first} and {grown} are leased"
        );
    }
}
