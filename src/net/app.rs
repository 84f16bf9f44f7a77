//! An app's socket: reads, writes and ends that keep the promise of a trusted end of stream.
//!
//! Promises: dropping it sends RST, whatever state it is in, until [`AppSocket::close_in_order`]; an end of input is reported
//! only if no call has failed before in a way that could fake one; readiness is asked for before a call is repeated. Over a Unix
//! socket, which has no RST, the first holds as far as `Held` reaches: the app must have sent something.
//! Must not know: links, streams, frames.

use super::held::Held;
use super::socket::Socket;
use rustix::net::sockopt::set_tcp_quickack;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Bytes; `more`: the socket may have more at once.
    Bytes { n: usize, more: bool },
    /// The app ended its output in order.
    End,
    /// Nothing now.
    Later,
}

/// The app's connection broke: reset it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// So many connections in a row on which the caller spoke first make a habit of it.
const HABIT: u8 = 16;
/// So many handshakes at a time may wait for their callers: an app's backlog holds them.
const HELD_BACK: usize = 4;

/// Who speaks first where an app is dialled. Where it has long been the caller, a few handshakes have their last packet held back, for
/// the request to take its place: of a short connection's ten packets one less. An app that comes to speak first after all waits for
/// that packet, for a fifth of a second, until one connection has shown it.
#[derive(Debug, Default)]
pub struct Greeting {
    /// Connections since the app last spoke first, or failed to.
    callers: Cell<u8>,
}

impl Greeting {
    fn waits(self: &Rc<Self>) -> bool {
        // Whoever has not spoken yet has a reference, and the one who asks.
        self.callers.get() >= HABIT && Rc::strong_count(self) <= 1 + HELD_BACK
    }

    fn spoken(&self, by_caller: bool) {
        let callers = if by_caller {
            self.callers.get().saturating_add(1)
        } else {
            0
        };
        self.callers.set(callers);
    }
}

/// A connection to an app.
#[derive(Debug)]
pub struct AppSocket {
    io: Socket,
    /// Of a Unix socket.
    held: Option<Held>,
    /// A call has failed: a later read of 0 says nothing.
    failed: Cell<bool>,
    /// Writes fail because the app closed after it had ended its output in order; what it sent is still whole.
    unwritable: Cell<bool>,
    delay: Cell<Delay>,
    /// Until one side has spoken.
    greeting: RefCell<Option<Rc<Greeting>>>,
}

/// Nagle's algorithm, which holds back a small segment while another one is on its way (RFC 896). The first write needs no option
/// against it, and many a connection has only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delay {
    /// Off.
    None,
    /// On, and nothing is written yet.
    Unwritten,
    /// On: to be turned off before the next write.
    Written,
}

impl AppSocket {
    /// An app that connected. TCP must carry zero linger and no delay from birth, inherited from the listener.
    pub fn accepted(io: Socket) -> Self {
        Self::new(io, Delay::None, None)
    }

    /// An app that was dialled. TCP must carry zero linger from before the connect: [`prepare`].
    pub fn dialled(io: Socket, greeting: Rc<Greeting>) -> Self {
        let delay = match io {
            Socket::Tcp(_) => Delay::Unwritten,
            Socket::Unix(_) => Delay::None,
        };
        Self::new(io, delay, Some(greeting))
    }

    fn new(io: Socket, delay: Delay, greeting: Option<Rc<Greeting>>) -> Self {
        let held = match io {
            Socket::Tcp(_) => None,
            Socket::Unix(_) => Some(Held::new()),
        };
        Self {
            held,
            io,
            failed: Cell::new(false),
            unwritable: Cell::new(false),
            delay: Cell::new(delay),
            greeting: RefCell::new(greeting),
        }
    }

    /// Whether the app can still be written to.
    pub fn is_writable(&self) -> bool {
        !self.unwritable.get()
    }

    pub fn read(&self, room: &mut [u8]) -> Result<Read, Broken> {
        if self.failed.get() {
            return Err(Broken);
        }
        let mut got = 0;
        // A short read has drained the socket: clearing its readiness here saves the read that would say so.
        let result = self.io.try_io(Interest::READABLE, || {
            got = match &self.held {
                None => rustix::io::read(&self.io, &mut *room)?,
                Some(held) => held.read(&self.io, room)?,
            };
            if 0 < got && got < room.len() {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        });
        if got > 0 || result.is_ok() {
            self.greeted(false);
        }
        match result {
            Ok(()) if got == 0 => Ok(Read::End),
            Ok(()) => Ok(Read::Bytes { n: got, more: true }),
            Err(e) if e.kind() == ErrorKind::WouldBlock && got > 0 => Ok(Read::Bytes { n: got, more: false }),
            Err(e) if is_transient(&e) => Ok(Read::Later),
            Err(_) => self.fail(),
        }
    }

    fn greeted(&self, by_caller: bool) {
        if let Some(greeting) = self.greeting.take() {
            greeting.spoken(by_caller);
        }
    }

    fn fail<T>(&self) -> Result<T, Broken> {
        self.greeted(false);
        self.failed.set(true);
        Err(Broken)
    }

    /// Writes what the socket takes; how much that was. Of an app that closed after ending its output in order everything is
    /// taken, and lost, as it would be without a sidecar. `ends`: the end comes next, and may share the last segment.
    pub fn write(&self, parts: &[IoSlice<'_>], ends: bool) -> Result<usize, Broken> {
        let total = parts.iter().map(|part| part.len()).sum();
        if self.failed.get() {
            return Err(Broken);
        }
        if self.unwritable.get() {
            return Ok(total);
        }
        let mut put = 0;
        let mut call = || {
            put = match ends {
                false => rustix::io::writev(&self.io, parts)?,
                true => sendmsg(&self.io, parts, &mut SendAncillaryBuffer::default(), SendFlags::MORE)?,
            };
            if put < total {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        };
        let result = match self.delay.get() {
            // A new connection has room. That the runtime has not heard so yet is no reason to wait.
            Delay::Unwritten => {
                self.delay.set(Delay::Written);
                self.greeted(true);
                call()
            }
            Delay::Written => {
                // Without it bytes come later, and still come.
                let _ = self.io.set_nodelay();
                self.delay.set(Delay::None);
                self.io.try_io(Interest::WRITABLE, call)
            }
            Delay::None => self.io.try_io(Interest::WRITABLE, call),
        };
        match result {
            Ok(()) => Ok(put),
            Err(e) if is_transient(&e) => Ok(put),
            Err(e) => self.write_failed(&e).map(|()| total),
        }
    }

    /// Linux answers EPIPE to the first call after a RST if the app's FIN had arrived before it, else ECONNRESET: only in the first
    /// case is what the app sent whole, and a server that answers early and closes must not lose its answer.
    ///
    /// A Unix socket answers EPIPE in both cases, and keeps ECONNRESET for who asks if the app left bytes unread.
    fn write_failed(&self, error: &io::Error) -> Result<(), Broken> {
        if error.kind() != ErrorKind::BrokenPipe {
            return self.fail();
        }
        if self.held.is_some() && matches!(self.io.take_error(), Ok(Some(_))) {
            return self.fail();
        }
        self.unwritable.set(true);
        Ok(())
    }

    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_read_ready(cx).map(drop)
    }

    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_write_ready(cx).map(drop)
    }

    /// Waits for the connection to break, while nothing is read from it. Returns if what was sent before is still whole.
    pub async fn watch(&self) -> Result<(), Broken> {
        if self.unwritable.get() || self.failed.get() {
            return std::future::pending().await;
        }
        if self.io.ready(Interest::ERROR).await.is_err() {
            return self.fail();
        }
        if self.unwritable.get() {
            // A write met the error first, and took it.
            return Ok(());
        }
        match self.io.take_error() {
            Ok(Some(error)) => self.write_failed(&error),
            Ok(None) | Err(_) => self.fail(),
        }
    }

    /// Ends the app's input: everything was delivered.
    pub fn shutdown_write(&self) {
        // The app may have gone already; then there is nobody to tell.
        let _ = SockRef::from(&self.io).shutdown(std::net::Shutdown::Write);
    }

    /// Closes without RST: both directions ended in order.
    pub fn close_in_order(self) {
        if let Some(held) = &self.held {
            held.let_go(&self.io);
        }
        let _ = self.io.set_linger(None);
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// What a socket to an app must be before it connects.
pub fn prepare(socket: SockRef<'_>, greeting: &Rc<Greeting>) -> io::Result<()> {
    if greeting.waits() {
        // Without it there is a packet more.
        let _ = set_tcp_quickack(&*socket, false);
    }
    socket.set_linger(Some(Duration::ZERO))
}
