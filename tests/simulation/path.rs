//! The bytes of one direction: what the sender's socket holds unsent, what is on the way, what has arrived.

use super::{Random, Time};
use std::collections::VecDeque;

/// Of a slow line; of a fast one what it carries in 2 ms leaves at once.
const PACKET: usize = 1460;

/// One direction of a TCP connection.
#[derive(Debug, Default)]
pub struct Path {
    pub delay: Time,
    /// Of the line; `None`: as fast as it is written.
    pub bytes_per_second: Option<u64>,
    /// What arrives is handed over in pieces of at most this; 0: as it comes.
    pub largest_piece: usize,
    /// What a write takes at most; 0: as it comes.
    pub largest_write: usize,
    /// Cut, but nobody noticed: nothing leaves the socket and nothing arrives.
    pub partitioned: bool,
    /// The sender has closed, or its host is gone: after what is in flight comes the end.
    pub closed: bool,
    pub(super) unsent: VecDeque<u8>,
    pub(super) flight: VecDeque<(Time, Vec<u8>)>,
    pub(super) line_free: Time,
}

impl Path {
    /// The socket takes what fits under its limit of unsent bytes.
    pub fn write(&mut self, bytes: &[u8], unsent_limit: usize, t: Time) -> usize {
        let bytes = match self.largest_write {
            0 => bytes,
            n => &bytes[..bytes.len().min(n)],
        };
        let mut written = 0;
        while written < bytes.len() {
            let n = unsent_limit
                .saturating_sub(self.unsent.len())
                .min(bytes.len() - written);
            if n == 0 {
                break;
            }
            self.unsent.extend(&bytes[written..written + n]);
            written += n;
            self.pump(t);
        }
        written
    }

    pub fn is_writable(&self, unsent_limit: usize) -> bool {
        self.unsent.len() < unsent_limit
    }

    /// Puts on the line what it takes by now.
    pub fn pump(&mut self, t: Time) {
        if self.partitioned {
            return;
        }
        match self.bytes_per_second {
            None if !self.unsent.is_empty() => {
                let all: Vec<u8> = std::mem::take(&mut self.unsent).into();
                self.flight.push_back((t + self.delay, all));
            }
            None => {}
            Some(rate) => {
                while self.line_free <= t && !self.unsent.is_empty() {
                    let n = self.unsent.len().min(PACKET.max(rate as usize / 500));
                    let packet = self.unsent.drain(..n).collect();
                    self.line_free = self.line_free.max(t) + n as u64 * 1_000_000 / rate;
                    self.flight.push_back((self.line_free + self.delay, packet));
                }
            }
        }
    }

    /// When something is to be done next.
    pub fn next(&self) -> Option<Time> {
        if self.partitioned {
            return None;
        }
        let arrives = self.flight.front().map(|(at, _)| *at);
        let leaves = (!self.unsent.is_empty() && self.bytes_per_second.is_some()).then_some(self.line_free);
        arrives.into_iter().chain(leaves).min()
    }

    /// Moves what has arrived into `room`, at most one piece.
    pub fn read(&mut self, room: &mut [u8], t: Time, random: &mut Random) -> usize {
        if self.partitioned {
            return 0;
        }
        let Some((at, bytes)) = self.flight.front_mut() else {
            return 0;
        };
        if *at > t {
            return 0;
        }
        let most = match self.largest_piece {
            0 => usize::MAX,
            n => 1 + random.below(n as u64) as usize,
        };
        let n = bytes.len().min(room.len()).min(most);
        room[..n].copy_from_slice(&bytes[..n]);
        if n == bytes.len() {
            self.flight.pop_front();
        } else {
            bytes.drain(..n);
        }
        n
    }

    /// Everything has arrived.
    pub fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.flight.is_empty()
    }

    /// For messages of failed tests.
    pub fn describe(&self) -> String {
        let first = self.flight.front().map(|(at, bytes)| (*at, bytes.len()));
        format!(
            "{} unsent, {} packets on the way, the first {first:?}, line free at {}, {:?} bytes/s, writes of {}, pieces of {}",
            self.unsent.len(),
            self.flight.len(),
            self.line_free,
            self.bytes_per_second,
            self.largest_write,
            self.largest_piece
        )
    }

    /// Bytes of the next frames are altered, kept or dropped by a test.
    pub fn flight_mut(&mut self) -> &mut VecDeque<(Time, Vec<u8>)> {
        &mut self.flight
    }
}
