//! Someone on the wire: relays the link between the two sidecars, and keeps what it saw.
//!
//! Promises: passes every byte on as it came, before it looks at it; knows no secret, so all that it can tell is what
//! anybody on the path could.
//! Must not know: keys.

use crate::wire::frame::{HEADER_LEN, Header, TAG_LEN};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A handshake message (proto/SPEC.md 3.1); frames follow it.
pub const HANDSHAKE_LEN: usize = 512;
/// Frames that are kept while `Tap::record` records.
const KEPT: usize = 64;
const SOON: Duration = Duration::from_secs(1);

/// Listens where the webapp's sidecar dials.
pub struct Tap {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What went by.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub links: u64,
    /// Webapp's sidecar to Coreapp's.
    pub there: Way,
    pub back: Way,
    recording: bool,
}

/// One direction.
#[derive(Debug, Default, Clone)]
pub struct Way {
    pub handshake: Vec<u8>,
    pub frames: u64,
    pub bytes: u64,
    /// Times that the text to watch for went by in the clear.
    pub leaks: u64,
    /// Whole frames, of the time in which they were recorded.
    pub recorded: Vec<Vec<u8>>,
}

impl Tap {
    /// Relays to `to` on threads of its own, and looks for `text` in what passes.
    pub fn start(listener: TcpListener, to: SocketAddr, text: &'static str) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sink = Arc::clone(&seen);
        thread::Builder::new().name("tap".into()).spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // If it cannot, both ends see their connection close, and the webapp's sidecar tries again.
                let _ = relay(near, to, &sink, text);
            }
        })?;
        Ok(Self { address, seen })
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// What was seen once it is `enough`, or after a second: bytes are passed on before they are looked at.
    pub fn seen_once(&self, enough: impl Fn(&Seen) -> bool) -> Seen {
        let until = Instant::now() + SOON;
        loop {
            let seen = self.seen();
            if enough(&seen) || Instant::now() >= until {
                return seen;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What is seen of `act`, with whole frames, until it is `enough`.
    pub fn record<T>(&self, act: impl FnOnce() -> T, enough: impl Fn(&Seen) -> bool) -> (T, Seen) {
        {
            let mut seen = lock(&self.seen);
            seen.recording = true;
            seen.there.recorded.clear();
            seen.back.recorded.clear();
        }
        let acted = act();
        let seen = self.seen_once(enough);
        lock(&self.seen).recording = false;
        (acted, seen)
    }
}

impl Way {
    /// The first frame in which so many bytes can have travelled: a smaller one is a PING or a CREDIT of its own.
    pub fn carrier_of(&self, bytes: usize) -> Option<&[u8]> {
        let least = HEADER_LEN + bytes + TAG_LEN;
        let mut frames = self.recorded.iter().map(Vec::as_slice);
        frames.find(|frame| frame.len() > least)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn relay(near: TcpStream, to: SocketAddr, seen: &Arc<Mutex<Seen>>, text: &'static str) -> io::Result<()> {
    let far = TcpStream::connect(to)?;
    lock(seen).links += 1;
    for (from, to, way) in [
        (near.try_clone()?, far.try_clone()?, (|seen| &mut seen.there) as Pick),
        (far, near, |seen| &mut seen.back),
    ] {
        to.set_nodelay(true)?;
        let seen = Arc::clone(seen);
        thread::Builder::new().name("tap-link".into()).spawn(move || {
            let mut watch = Watch::new(text);
            let _ = pass(&from, &to, |bytes| {
                let mut seen = lock(&seen);
                let recording = seen.recording;
                watch.look(bytes, way(&mut seen), recording);
            });
            // Whichever way ended first: the link is over.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        })?;
    }
    Ok(())
}

type Pick = fn(&mut Seen) -> &mut Way;

fn pass(mut from: &TcpStream, mut to: &TcpStream, mut look: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => {
                to.write_all(&buffer[..n])?;
                look(&buffer[..n]);
            }
        }
    }
}

/// What one direction of one link needs to be read.
struct Watch {
    text: &'static [u8],
    /// The end of what was searched, in which the text may have begun.
    tail: Vec<u8>,
    handshake: Vec<u8>,
    /// Of a frame that is not whole yet.
    pending: Vec<u8>,
}

impl Watch {
    fn new(text: &'static str) -> Self {
        Self {
            text: text.as_bytes(),
            tail: Vec::new(),
            handshake: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn look(&mut self, bytes: &[u8], way: &mut Way, recording: bool) {
        way.bytes += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        let found = self.tail.windows(self.text.len()).filter(|window| *window == self.text);
        way.leaks += found.count() as u64;
        let keep = (self.text.len() - 1).min(self.tail.len());
        self.tail.drain(..self.tail.len() - keep);

        let of_handshake = (HANDSHAKE_LEN - self.handshake.len()).min(bytes.len());
        let (handshake, frames) = bytes.split_at(of_handshake);
        if !handshake.is_empty() {
            self.handshake.extend_from_slice(handshake);
            way.handshake.clone_from(&self.handshake);
        }
        self.pending.extend_from_slice(frames);
        while let Some(header) = self.pending.first_chunk::<HEADER_LEN>() {
            // A length that no frame has: not a link of ours, and nothing more to learn from it.
            let Ok(header) = Header::decode(header) else {
                self.pending.clear();
                return;
            };
            if self.pending.len() < header.frame_len() {
                return;
            }
            let frame: Vec<u8> = self.pending.drain(..header.frame_len()).collect();
            way.frames += 1;
            if recording && way.recorded.len() < KEPT {
                way.recorded.push(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(counter: u64, len: usize) -> Vec<u8> {
        let header = Header {
            length: len as u32,
            counter,
            timestamp: 0,
        };
        [&header.encode()[..], &vec![7; len]].concat()
    }

    #[test]
    fn frames_and_text_are_found_however_the_bytes_are_cut() {
        let stream = [&[1; HANDSHAKE_LEN][..], &frame(0, 17), &frame(1, 300), b"the old pier"].concat();
        for cut in [1, 2, 7, 100, 511, 512, 513, stream.len()] {
            let (mut watch, mut way) = (Watch::new("the old pier"), Way::default());
            for bytes in stream.chunks(cut) {
                watch.look(bytes, &mut way, true);
            }
            assert_eq!((way.frames, way.leaks, way.bytes), (2, 1, stream.len() as u64), "{cut}");
            assert_eq!(way.handshake, [1; HANDSHAKE_LEN]);
            assert_eq!(way.recorded, [frame(0, 17), frame(1, 300)]);
        }
    }

    #[test]
    fn bytes_pass_both_ways_and_an_end_is_passed_on() {
        let far = TcpListener::bind("127.0.0.1:0").expect("bound");
        let near = TcpListener::bind("127.0.0.1:0").expect("bound");
        let tap = Tap::start(near, far.local_addr().expect("bound"), "x").expect("started");
        let mut a = TcpStream::connect(tap.address).expect("connected");
        let (mut b, _) = far.accept().expect("relayed");
        let act = || {
            a.write_all(b"ping").expect("sent");
            b.read_exact(&mut [0; 4]).expect("passed");
            b.write_all(b"pong").expect("sent");
            a.read_exact(&mut [0; 4]).expect("passed");
        };
        let ((), seen) = tap.record(act, |seen| seen.there.bytes == 4 && seen.back.bytes == 4);
        assert_eq!((seen.links, seen.there.bytes, seen.back.bytes), (1, 4, 4));
        drop(b);
        assert_eq!(a.read(&mut [0; 1]).expect("the end"), 0);
    }
}
