//! The streams of a link, and the lists of those that have something to say or wait for something.

use super::budget::Lease;
use super::stream::{Note, Own, Peer, Stream};
use super::time::Instant;
use crate::counters::{Counters, StreamEnd};
use core::hash::{BuildHasherDefault, Hasher};
use std::collections::{HashMap, VecDeque};

/// Ids are consecutive numbers, so the identity spreads them; a peer cannot choose them (SPEC section 7).
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.wrapping_mul(257).wrapping_add(u64::from(byte));
        }
    }
    fn write_u32(&mut self, id: u32) {
        // Multiplied, for the map takes its control bytes from the top bits.
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A map by stream id.
pub type ById<T> = HashMap<u32, T, BuildHasherDefault<IdHasher>>;

#[derive(Debug)]
pub(super) struct Streams {
    map: ById<Stream>,
    /// Streams with notes to encode, in the order in which they got them.
    dirty: VecDeque<u32>,
    /// Streams that wait for room in a frame.
    parked: VecDeque<u32>,
    /// Streams that are owed credit too small to be sent at once; flushed every tick.
    owed: Vec<u32>,
    /// Streams that hold more credit than their first window.
    grown: Vec<u32>,
    pub live: u32,
    pub max: u32,
    pub last_id: u32,
    /// First windows: what this side grants, what the peer grants.
    pub first_local: u32,
    pub first_peer: u32,
    pub lease: Lease,
}

impl Streams {
    pub fn new(max: u32, first_local: u32, first_peer: u32, lease: Lease) -> Self {
        Self {
            map: ById::default(),
            dirty: VecDeque::new(),
            parked: VecDeque::new(),
            owed: Vec::new(),
            grown: Vec::new(),
            live: 0,
            max,
            last_id: 0,
            first_local,
            first_peer,
            lease,
        }
    }

    pub fn get(&self, id: u32) -> Option<&Stream> {
        self.map.get(&id)
    }
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        self.map.get_mut(&id)
    }
    /// The stream and the lease together, for calls that need both.
    pub fn with_lease(&mut self, id: u32) -> Option<(&mut Stream, &mut Lease)> {
        Some((self.map.get_mut(&id)?, &mut self.lease))
    }

    /// Streams held, those included whose app is not done though the wire is.
    pub fn held(&self) -> usize {
        self.map.len()
    }

    pub fn insert(&mut self, id: u32, now: Instant) -> &mut Stream {
        self.live += 1;
        self.last_id = id;
        let (local, peer) = (self.first_local, self.first_peer);
        self.map.entry(id).or_insert_with(|| Stream::new(local, peer, now))
    }

    /// Puts `note` on the stream and the stream on the list.
    pub fn note(&mut self, id: u32, note: Note) {
        if let Some(stream) = self.map.get_mut(&id) {
            stream.note(note);
            self.list(id);
        }
    }

    /// Puts a stream that has notes on the list.
    pub fn list(&mut self, id: u32) {
        if let Some(stream) = self.map.get_mut(&id)
            && stream.has_notes()
            && !stream.listed
        {
            stream.listed = true;
            self.dirty.push_back(id);
        }
    }

    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }
    pub fn pop_dirty(&mut self) -> Option<u32> {
        let id = self.dirty.pop_front()?;
        if let Some(stream) = self.map.get_mut(&id) {
            stream.listed = false;
        }
        Some(id)
    }
    /// The stream still has notes; it goes first in the next frame.
    pub fn push_dirty_front(&mut self, id: u32) {
        if let Some(stream) = self.map.get_mut(&id) {
            stream.listed = true;
            self.dirty.push_front(id);
        }
    }

    pub fn park(&mut self, id: u32) {
        if let Some(stream) = self.map.get_mut(&id)
            && !stream.parked
        {
            stream.parked = true;
            self.parked.push_back(id);
        }
    }
    pub fn parked_len(&self) -> usize {
        self.parked.len()
    }
    pub fn unpark(&mut self) -> Option<u32> {
        loop {
            let id = self.parked.pop_front()?;
            let Some(stream) = self.map.get_mut(&id) else { continue };
            stream.parked = false;
            // One that has ended, or whose app is gone, would not pass its turn on.
            if stream.send.own == Own::Open && !stream.let_go {
                return Some(id);
            }
        }
    }

    pub fn owe(&mut self, id: u32) {
        if let Some(stream) = self.map.get_mut(&id)
            && !stream.owed
        {
            stream.owed = true;
            self.owed.push(id);
        }
    }
    pub fn flush_owed(&mut self) {
        let mut owed = core::mem::take(&mut self.owed);
        for &id in &owed {
            let Some(stream) = self.map.get_mut(&id) else { continue };
            stream.owed = false;
            if stream.recv.credit_owed() > 0 {
                self.note(id, Note::Credit);
            }
        }
        owed.clear();
        self.owed = owed;
    }

    pub fn grew(&mut self, id: u32) {
        if let Some(stream) = self.map.get_mut(&id)
            && !stream.grown
        {
            stream.grown = true;
            self.grown.push(id);
        }
    }
    /// Marks a YIELD on every grown stream whose last DATA was a whole tick ago.
    pub fn yield_idle(&mut self, tick: u64) {
        let mut grown = core::mem::take(&mut self.grown);
        let first = u64::from(self.first_peer);
        grown.retain(|&id| {
            let Some(stream) = self.map.get_mut(&id) else {
                return false;
            };
            let keep = stream.send.limit - stream.send.sent > first;
            if keep && stream.send.last_tick + 1 < tick {
                stream.note(Note::Yield);
                self.list(id);
            }
            if !keep && let Some(stream) = self.map.get_mut(&id) {
                stream.grown = false;
            }
            keep
        });
        grown.append(&mut self.grown);
        self.grown = grown;
    }

    /// Drops the stream once the wire and the app are both done with it, and counts its end. `true` when it went.
    pub fn reap(&mut self, id: u32, counters: &Counters) -> bool {
        let Some(stream) = self.map.get_mut(&id) else {
            return false;
        };
        if !stream.is_closed() {
            return false;
        }
        if stream.counted_live {
            stream.counted_live = false;
            self.live -= 1;
        }
        stream.recv.settle(&mut self.lease);
        if !stream.let_go {
            return false;
        }
        stream.recv.clear(&mut self.lease);
        counters.stream_ended(stream.end.unwrap_or(StreamEnd::Fin));
        counters.streams_open.add(-1);
        self.map.remove(&id);
        true
    }

    /// No stream will be opened any more: what is reserved for new ones is for other links.
    pub fn close_to_new(&mut self) {
        self.lease.keep(self.map.len() as u64 * u64::from(self.first_local));
    }

    /// The link is gone. A stream whose FIN has arrived stays until its app has it all; every other one ends here, and its id is
    /// returned: its app's connection is to be reset (SPEC 9.5).
    pub fn abandon(&mut self, counters: &Counters) -> Vec<u32> {
        let mut lost = Vec::new();
        let lease = &mut self.lease;
        self.map.retain(|&id, stream| {
            if !matches!(stream.send.own, Own::FinSent) {
                stream.ends_by(StreamEnd::LinkLost);
                stream.send.own = Own::ResetSent;
            }
            let whole = stream.recv.peer == Peer::Fin && !stream.let_go;
            if !whole {
                stream.ends_by(StreamEnd::LinkLost);
                stream.recv.clear(lease);
                counters.stream_ended(stream.end.unwrap_or(StreamEnd::LinkLost));
                counters.streams_open.add(-1);
                lost.push(id);
            }
            whole
        });
        self.live = 0;
        for stream in self.map.values_mut() {
            stream.counted_live = false;
        }
        // An app may take its time, and the next link needs the first windows of all the other streams.
        self.close_to_new();
        lost
    }
}
