//! Reading from an app's Unix socket so that an abort can be told from an end.
//!
//! A Unix socket has no RST: its peer reads whatever is queued and then an end in order, however this side went. But for one case: Linux
//! gives the peer ECONNRESET after the queued bytes if a side closes *with unread input*. So the last byte of what the app has sent is
//! forwarded and yet left in the socket, and is read only when both directions have ended in order. Whatever else closes the
//! socket, the kernel after a SIGKILL included, resets the app.
//!
//! ```text
//! queue of the socket   [..............x]    peek all of it, forward all of it, read all but x
//!                                     [x..........y]    peek past x, forward, read x and all but y
//! ```
//!
//! Promises: every byte is reported once. At most one is held, and only out of little: the kernel counts the whole write that a byte came
//! from against the app's send buffer until the last of it is read, and an app that waits for room must get it.
//! Must not know: what is read.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSliceMut};
use std::os::fd::AsFd;

/// Held only out of what came at once and is no more than this: a quarter of any send buffer of 16 KiB or more.
const LITTLE: usize = 4096;

/// What one socket holds.
#[derive(Debug)]
pub struct Held {
    /// The first byte of the socket's queue was reported already.
    one: Cell<bool>,
    /// Nothing else was left there by the last read.
    drained: Cell<bool>,
}

impl Held {
    pub const fn new() -> Self {
        Self {
            one: Cell::new(false),
            drained: Cell::new(true),
        }
    }

    /// As read(2): 0 is the end.
    pub fn read(&self, socket: impl AsFd, room: &mut [u8]) -> io::Result<usize> {
        let skip = usize::from(self.one.get());
        let mut seen = peek(&socket, skip, room)?;
        if seen == skip && skip > 0 {
            // Nothing new. The byte hides whether that is for now or for good.
            if !has_ended(&socket)? {
                return Err(ErrorKind::WouldBlock.into());
            }
            // No more can come, but some may have come in between.
            seen = peek(&socket, skip, room)?;
        }
        if seen == skip {
            return Ok(0);
        }
        let drained = seen < skip + room.len();
        let keep = usize::from(drained && self.drained.get() && seen <= LITTLE);
        self.drop_first(&socket, skip, seen - keep, room)?;
        self.one.set(keep == 1);
        self.drained.set(drained);
        Ok(seen - skip)
    }

    /// Both directions have ended in order: closing must not reset.
    pub fn let_go(&self, socket: impl AsFd) {
        if self.one.take() {
            let _ = rustix::io::read(socket, &mut [0]);
        }
    }

    /// Reads `total` bytes that were seen: the one that is held and those that stand in `room` already.
    fn drop_first(&self, socket: impl AsFd, skip: usize, total: usize, room: &mut [u8]) -> io::Result<()> {
        let mut dropped = 0;
        while dropped < total {
            let n = if dropped < skip {
                receive(&socket, skip, &mut room[..total - skip], RecvFlags::empty())?
            } else {
                receive(&socket, 0, &mut room[dropped - skip..total - skip], RecvFlags::empty())?
            };
            if n == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            dropped += n;
        }
        Ok(())
    }
}

fn peek(socket: impl AsFd, skip: usize, room: &mut [u8]) -> io::Result<usize> {
    receive(socket, skip, room, RecvFlags::PEEK)
}

/// Past `skip` bytes, 0 or 1, into `room`; how many, skipped included.
fn receive(socket: impl AsFd, skip: usize, room: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    let mut skipped = [0];
    let mut parts = [IoSliceMut::new(&mut skipped[..skip]), IoSliceMut::new(room)];
    let message = recvmsg(socket, &mut parts, &mut RecvAncillaryBuffer::default(), flags)?;
    Ok(message.bytes)
}

/// Whether the app ends its output; an error if its socket broke.
fn has_ended(socket: impl AsFd) -> io::Result<bool> {
    let mut watched = [PollFd::new(&socket, PollFlags::IN | PollFlags::RDHUP)];
    poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let [watched] = watched;
    let found = watched.revents();
    if found.contains(PollFlags::ERR) {
        return Err(ErrorKind::ConnectionReset.into());
    }
    Ok(found.intersects(PollFlags::RDHUP | PollFlags::HUP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream, Held) {
        let (app, ours) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("non-blocking");
        (app, ours, Held::new())
    }

    fn read(held: &Held, ours: &UnixStream, most: usize) -> io::Result<Vec<u8>> {
        let mut room = vec![0; most];
        held.read(ours, &mut room).map(|n| room[..n].to_vec())
    }

    fn later(result: io::Result<Vec<u8>>) {
        assert_eq!(result.expect_err("nothing now").kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn every_byte_is_reported_once_and_then_the_end() {
        let (mut app, ours, held) = pair();
        later(read(&held, &ours, 10));
        for text in ["a", "bc", "0123456789", "x"] {
            app.write_all(text.as_bytes()).expect("sent");
            assert_eq!(read(&held, &ours, 64).expect("bytes"), text.as_bytes());
            later(read(&held, &ours, 64));
        }
        app.write_all(b"0123456789").expect("sent");
        assert_eq!(read(&held, &ours, 4).expect("bytes"), b"0123");
        assert_eq!(read(&held, &ours, 6).expect("bytes"), b"456789");
        app.write_all(b"last").expect("sent");
        app.shutdown(Shutdown::Write).expect("ended");
        assert_eq!(read(&held, &ours, 64).expect("bytes"), b"last");
        assert_eq!(read(&held, &ours, 64).expect("the end"), b"");
        assert_eq!(read(&held, &ours, 64).expect("the end again"), b"");
    }

    #[test]
    fn much_comes_through_whole_whatever_the_room() {
        for most in [1, 7, 4096, 4097, 65_536] {
            let (mut app, ours, held) = pair();
            let sent: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
            let copy = sent.clone();
            let writer = std::thread::spawn(move || app.write_all(&copy).expect("sent"));
            let mut got = Vec::new();
            while got.len() < sent.len() {
                match read(&held, &ours, most) {
                    Ok(bytes) => got.extend(bytes),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            writer.join().expect("writer");
            assert!(got == sent, "room of {most}");
            assert_eq!(read(&held, &ours, most).expect("the end"), b"");
        }
    }

    /// What Linux does, and what this module is for.
    #[test]
    fn an_app_that_has_spoken_reads_a_reset_unless_it_ended_in_order() {
        for in_order in [false, true] {
            let (mut app, mut ours, held) = pair();
            app.write_all(b"request").expect("sent");
            assert_eq!(read(&held, &ours, 64).expect("bytes"), b"request");
            ours.write_all(b"part of an answer").expect("sent");
            if in_order {
                held.let_go(&ours);
            }
            drop(ours);
            let mut got = [0; 64];
            assert_eq!(app.read(&mut got).expect("what was sent"), 17);
            let end = app.read(&mut got);
            if in_order {
                assert_eq!(end.expect("an end"), 0);
            } else {
                assert_eq!(end.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
            }
        }
    }

    /// A byte that is held out of a large write would keep the whole of it in the app's send buffer.
    #[test]
    fn an_app_that_waits_for_room_gets_it() {
        let (app, ours, held) = pair();
        app.set_nonblocking(true).expect("non-blocking");
        rustix::net::sockopt::set_socket_send_buffer_size(&app, 16 * 1024).expect("set");
        for size in [1, LITTLE, LITTLE + 1, 8_000, 16_000] {
            let sent = (&app).write(&vec![0; size]).expect("sent");
            let mut got = 0;
            while got < sent {
                got += read(&held, &ours, 3_000).expect("bytes").len();
            }
            let mut watched = [PollFd::new(&app, PollFlags::OUT)];
            poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("polled");
            assert!(watched[0].revents().contains(PollFlags::OUT), "{size}");
        }
    }

    #[test]
    fn an_app_that_breaks_off_is_an_error() {
        let (mut app, mut ours, held) = pair();
        app.write_all(b"request").expect("sent");
        assert_eq!(read(&held, &ours, 64).expect("bytes"), b"request");
        ours.write_all(b"unread").expect("sent");
        drop(app);
        assert_eq!(
            read(&held, &ours, 64).expect_err("broken").kind(),
            ErrorKind::ConnectionReset
        );
    }
}
