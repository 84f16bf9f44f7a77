//! An app as a model: what it sends, how fast it takes, how it ends; and the bytes by which every loss shows.

use super::{Random, Time};
use std::sync::OnceLock;
use wa_sidecar::link::buffers::Buffers;
use wa_sidecar::link::{Link, Slot};
use wa_sidecar::wire::message::Code;

/// How an app takes what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    All,
    /// So many bytes more, then it stalls.
    Allowance(u64),
    /// Bytes a second, in steps of [`App::STEP`].
    PerSecond(u64),
}

/// What an app does when it has sent all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Fin,
    /// Keeps its connection open.
    Open,
    /// Breaks it off.
    Break,
    /// FIN as soon as its input has ended too.
    FinAfterInput,
    /// Closes both directions: FIN, and nothing more is taken (STOP).
    FinAndStop,
}

/// One end of a stream.
#[derive(Debug, Clone)]
pub struct App {
    pub id: u32,
    pub from_initiator: bool,
    /// Bytes that it means to send, that it has sent.
    pub sends: u64,
    pub sent: u64,
    pub ending: Ending,
    pub taking: Taking,
    pub received: u64,
    /// The input ended in order, all of it taken.
    pub input_ended: bool,
    pub fin_arrived: bool,
    pub reset: Option<Code>,
    pub stopped: Option<Code>,
    pub output_ended: bool,
    pub queued: bool,
    /// Something has changed for it.
    pub ready: bool,
    /// Has bytes to send, no credit or no room, and waits for the link to wake it. Nothing else may.
    pub waits: bool,
    /// It let go of the stream.
    pub done: bool,
    /// In the middle of everything.
    pub died: bool,
    pub(super) allowance: u64,
}

impl App {
    pub const STEP: Time = 100_000;

    pub fn new(id: u32, from_initiator: bool) -> Self {
        Self {
            id,
            from_initiator,
            sends: 0,
            sent: 0,
            ending: Ending::Fin,
            taking: Taking::All,
            received: 0,
            input_ended: false,
            fin_arrived: false,
            reset: None,
            stopped: None,
            output_ended: false,
            queued: false,
            ready: true,
            waits: false,
            done: false,
            died: false,
            allowance: 0,
        }
    }

    pub fn sending(mut self, bytes: u64, ending: Ending) -> Self {
        self.sends = bytes;
        self.ending = ending;
        self
    }
    pub fn taking(mut self, taking: Taking) -> Self {
        self.take(taking);
        self
    }

    pub fn take(&mut self, taking: Taking) {
        self.taking = taking;
        self.allowance = if let Taking::Allowance(n) = taking { n } else { 0 };
        self.ready = true;
    }

    /// By the link: there is credit, or room.
    pub fn wake(&mut self) {
        self.ready = true;
        self.waits = false;
    }

    pub fn die(&mut self) {
        self.done = true;
        self.died = true;
    }

    /// Each [`Self::STEP`].
    pub fn step(&mut self) {
        if let Taking::PerSecond(n) = self.taking {
            self.allowance = n * Self::STEP / 1_000_000;
            self.ready = true;
        }
    }

    fn allowed(&self) -> usize {
        match self.taking {
            Taking::All => usize::MAX,
            _ => self.allowance as usize,
        }
    }

    /// Takes a part of `bytes`, straight or from the queue; how many.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.allowed());
        assert!(!self.input_ended, "stream {}: bytes behind the end", self.id);
        check(self.id, !self.from_initiator, self.received, &bytes[..n]);
        self.received += n as u64;
        if self.taking != Taking::All {
            self.allowance -= n as u64;
        }
        n
    }

    /// Does what it can: as `net::stream::Pump::poll`. `true`: something moved.
    pub fn turn(&mut self, link: &mut Link, buffers: &mut Buffers, now: wa_sidecar::link::time::Instant) -> bool {
        if self.done || !self.ready {
            return false;
        }
        self.ready = false;
        if self.reset.is_some() {
            link.release(self.id);
            self.done = true;
            return true;
        }
        let mut moved = self.deliver(link, now);
        if !self.output_ended {
            moved |= self.collect(link, buffers);
        }
        if self.done {
            return true;
        }
        if self.input_ended && self.output_ended {
            link.release(self.id);
            self.done = true;
            moved = true;
        }
        moved
    }

    fn deliver(&mut self, link: &mut Link, now: wa_sidecar::link::time::Instant) -> bool {
        let mut moved = false;
        while self.queued {
            let [a, b] = link.queued(self.id).map(<[u8]>::to_vec);
            if a.is_empty() && b.is_empty() {
                self.queued = false;
                break;
            }
            let n = self.receive(&a);
            let n = n + if n == a.len() { self.receive(&b) } else { 0 };
            if n == 0 {
                return moved;
            }
            link.delivered(self.id, n, now);
            moved = true;
        }
        if self.fin_arrived && !self.input_ended {
            self.input_ended = true;
            moved = true;
        }
        moved
    }

    fn collect(&mut self, link: &mut Link, buffers: &mut Buffers) -> bool {
        let mut moved = false;
        if self.stopped.is_some() {
            self.output_ended = true;
            return true;
        }
        if self.waits && self.sent < self.sends {
            return false;
        }
        while self.sent < self.sends {
            match link.slot(buffers, self.id) {
                Slot::Room(room) => {
                    let n = room.len().min((self.sends - self.sent) as usize);
                    fill(self.id, self.from_initiator, self.sent, &mut room[..n]);
                    link.commit(buffers, self.id, n);
                    self.sent += n as u64;
                    moved = true;
                }
                Slot::NoCredit | Slot::Full => {
                    self.waits = true;
                    return moved;
                }
                Slot::Ended => {
                    self.output_ended = true;
                    return true;
                }
            }
        }
        match self.ending {
            Ending::Open => return moved,
            Ending::FinAfterInput if !self.input_ended => return moved,
            Ending::Fin | Ending::FinAfterInput => link.fin(self.id),
            Ending::FinAndStop => {
                link.fin(self.id);
                link.abort(self.id, Code::AppReset);
                link.release(self.id);
                self.done = true;
            }
            Ending::Break => {
                link.abort(self.id, Code::AppReset);
                link.release(self.id);
                self.done = true;
            }
        }
        self.output_ended = true;
        true
    }

    pub fn next_step(&self) -> bool {
        matches!(self.taking, Taking::PerSecond(_)) && !self.done
    }
}

const PERIOD: usize = 65_521;

fn pattern(id: u32, from_initiator: bool, offset: u64) -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| {
        let mut random = Random(42);
        (0..PERIOD).map(|_| random.next() as u8).collect()
    });
    let at = offset + u64::from(id) * 7919 + if from_initiator { 31_337 } else { 0 };
    &pattern[(at % PERIOD as u64) as usize..]
}

/// Writes what stream `id` carries from `offset` on.
pub fn fill(id: u32, from_initiator: bool, mut offset: u64, mut room: &mut [u8]) {
    while !room.is_empty() {
        let bytes = pattern(id, from_initiator, offset);
        let n = bytes.len().min(room.len());
        let (head, tail) = room.split_at_mut(n);
        head.copy_from_slice(&bytes[..n]);
        offset += n as u64;
        room = tail;
    }
}

/// Panics unless `got` is what stream `id` carries from `offset` on.
pub fn check(id: u32, from_initiator: bool, mut offset: u64, mut got: &[u8]) {
    while !got.is_empty() {
        let bytes = pattern(id, from_initiator, offset);
        let n = bytes.len().min(got.len());
        assert!(
            got[..n] == bytes[..n],
            "stream {id}: wrong bytes from offset {offset} on"
        );
        offset += n as u64;
        got = &got[n..];
    }
}
