//! The task of one stream: an app's socket on one side, its place in a link on the other.
//!
//! ```text
//!            collect: read straight into the link's open frame
//!   app  ------------------------------------------------------->  link
//!        <-------------------------------------------------------
//!            deliver: what the app did not take at once (the rest the link's driver has written already)
//! ```
//!
//! Promises: the app sees an end of its input only after a FIN and all bytes before it; in every other case RST.
//! Must not know: who dialled whom.

use super::app::{AppSocket, Broken, Read};
use super::clock;
use super::driver::Carrier;
use crate::link::Slot;
use crate::wire::message::Code;
use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Bytes that one stream may move in one turn, for the others' sake.
const TURN: usize = 512 * 1024;
/// What an app sends and nobody wants is read and discarded, so that it comes to read what was delivered to it: for at most this long
/// behind its end, and so many bytes. Who sends more is reset, as the far app's kernel would do it at once.
const LINGER: Duration = Duration::from_secs(30);
const DISCARDED: usize = 64 << 20;

/// What the driver of a link and the task of a stream tell each other.
pub struct App {
    pub id: u32,
    /// Empty during the dial.
    socket: OnceCell<AppSocket>,
    waker: Cell<Option<Waker>>,
    /// Bytes wait in the link's queue for this app.
    queued: Cell<bool>,
    /// FIN arrived.
    fin: Cell<bool>,
    /// RESET arrived, with this code, or the link is gone.
    reset: Cell<Option<Code>>,
    /// STOP arrived: nothing that the app sends is wanted.
    stop: Cell<bool>,
}

impl App {
    pub fn new(id: u32, socket: Option<AppSocket>) -> Rc<Self> {
        let cell = OnceCell::new();
        if let Some(socket) = socket {
            let _ = cell.set(socket);
        }
        Rc::new(Self {
            id,
            socket: cell,
            waker: Cell::new(None),
            queued: Cell::new(false),
            fin: Cell::new(false),
            reset: Cell::new(None),
            stop: Cell::new(false),
        })
    }

    /// The dial succeeded.
    pub fn connected(&self, socket: AppSocket) {
        let _ = self.socket.set(socket);
    }

    pub fn is_connected(&self) -> bool {
        self.socket.get().is_some()
    }

    /// STOP arrived.
    pub fn is_stopped(&self) -> bool {
        self.stop.get()
    }

    /// Writes `bytes` to the app if nothing waits before them; how many it took. `ends`: [`Self::fin`] comes next.
    pub fn write(&self, bytes: &[u8], ends: bool) -> usize {
        let Some(socket) = self.socket.get().filter(|_| !self.queued.get()) else {
            return 0;
        };
        // A broken socket is found again, and dealt with, by the stream's own task.
        let took = socket.write(&[IoSlice::new(bytes)], ends).unwrap_or(0);
        if !socket.is_writable() {
            // This call took the error that would have told the task.
            self.wake();
        }
        took
    }

    /// Bytes were left in the link's queue.
    pub fn queued(&self) {
        self.queued.set(true);
        self.wake();
    }
    pub fn fin(&self) {
        self.fin.set(true);
        self.wake();
    }
    /// The first code counts: a link that ends right behind a RESET must not hide why.
    pub fn reset(&self, code: Code) {
        self.reset.set(self.reset.get().or(Some(code)));
        self.wake();
    }
    pub fn stop(&self) {
        self.stop.set(true);
        self.wake();
    }
    pub fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits for a RESET, while the app is being dialled.
    pub async fn cancelled(&self) -> Code {
        poll_fn(|cx| match self.reset.get() {
            Some(code) => Poll::Ready(code),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

/// How a stream's task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both directions in order.
    Whole,
    /// The app broke.
    Broken,
    /// The peer said so, or the link is gone.
    Reset,
    /// The whole answer and its end are with the app's kernel, and nobody wants what the app still sends.
    Discarded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FromApp {
    Reading,
    /// It ended its output.
    Ended,
    /// What it sends is read and thrown away.
    Discarding,
}

/// Resolves when the app's connection has broken; `Ok`: what it sent before is whole.
type Watch<'a> = Pin<Box<dyn Future<Output = Result<(), Broken>> + 'a>>;

struct Pump<'a> {
    carrier: &'a Carrier,
    app: &'a App,
    socket: &'a AppSocket,
    from_app: FromApp,
    shut: bool,
    /// Bytes that were read and thrown away.
    discarded: usize,
    /// Not polled yet: the peer may have to be told of the stream itself.
    fresh: bool,
    /// It waits for room in a frame.
    parked: bool,
    watch: Option<Watch<'a>>,
    linger: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// Carries the stream of a connected `app` to its end. Returns the code if the peer reset it.
pub async fn run(carrier: Rc<Carrier>, app: Rc<App>) -> Option<Code> {
    let end = match app.socket.get() {
        Some(socket) => {
            let mut pump = Pump {
                carrier: &carrier,
                app: &app,
                socket,
                from_app: FromApp::Reading,
                shut: false,
                discarded: 0,
                fresh: true,
                parked: false,
                watch: None,
                linger: None,
            };
            poll_fn(|cx| pump.poll(cx)).await
        }
        None => End::Broken,
    };
    if end != End::Whole && end != End::Reset {
        carrier.link.borrow_mut().abort(app.id, Code::AppReset);
    }
    carrier.forget(app.id);
    let reset = app.reset.get();
    // Whoever holds the last of it drops it: the carrier has let go, so this is the last.
    if let Some(app) = Rc::into_inner(app)
        // The kernel resets whoever sends after this, and takes nothing of the answer back from one that reads slowly.
        && matches!(end, End::Whole | End::Discarded)
        && let Some(socket) = app.socket.into_inner()
    {
        socket.close_in_order();
    }
    reset
}

impl Pump<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.app.waker.set(Some(cx.waker().clone()));
        if self.app.reset.get().is_some() {
            return Poll::Ready(End::Reset);
        }
        if self.app.stop.get() && self.from_app == FromApp::Reading {
            self.from_app = FromApp::Discarding;
        }
        let moved = self.deliver(cx).and_then(|delivered| {
            let collected = match self.from_app {
                FromApp::Reading => self.collect(cx)?,
                FromApp::Discarding => self.discard(cx)?,
                FromApp::Ended => false,
            };
            self.watch(cx)?;
            Ok(delivered | collected)
        });
        let fresh = std::mem::take(&mut self.fresh);
        match moved {
            Ok(moved) if moved || fresh => self.carrier.kick(),
            // It was woken because there is room, and has nothing to put there: the next one may.
            Ok(_) if !self.parked => self.carrier.pass_on(),
            Ok(_) => {}
            Err(Broken) => return Poll::Ready(End::Broken),
        }
        if self.shut && self.from_app == FromApp::Ended {
            return Poll::Ready(End::Whole);
        }
        if !self.socket.is_writable() && self.from_app == FromApp::Ended {
            // Its answer was whole; it takes no more: STOP.
            return Poll::Ready(End::Broken);
        }
        if self.shut && self.from_app == FromApp::Discarding {
            if self.discarded >= DISCARDED {
                return Poll::Ready(End::Discarded);
            }
            let linger = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
            if linger.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Discarded);
            }
        }
        Poll::Pending
    }

    /// Queued bytes, then the end. `true`: something moved that the peer has to be told of.
    fn deliver(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let mut moved = false;
        while self.app.queued.get() {
            let mut link = self.carrier.link.borrow_mut();
            let [a, b] = link.queued(self.app.id);
            let total = a.len() + b.len();
            if total == 0 {
                self.app.queued.set(false);
                break;
            }
            let n = self.socket.write(&[IoSlice::new(a), IoSlice::new(b)], false)?;
            link.delivered(self.app.id, n, clock::instant());
            moved |= n > 0;
            if n < total && self.socket.poll_writable(cx).is_pending() {
                return Ok(moved);
            }
        }
        if self.app.fin.get() && !self.shut {
            // An app that has ended its own output is told by the close that comes next.
            if self.from_app != FromApp::Ended {
                self.socket.shutdown_write();
            }
            self.shut = true;
        }
        Ok(moved)
    }

    fn collect(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let id = self.app.id;
        let mut moved = 0;
        self.parked = false;
        loop {
            let mut link = self.carrier.link.borrow_mut();
            let mut buffers = self.carrier.buffers.borrow_mut();
            let got = match link.slot(&mut buffers, id) {
                Slot::Room(room) => self.socket.read(room),
                Slot::NoCredit => break,
                Slot::Full => {
                    self.parked = true;
                    break;
                }
                Slot::Ended => {
                    self.from_app = FromApp::Discarding;
                    drop((link, buffers));
                    return self.discard(cx).map(|_| moved > 0);
                }
            };
            let n = if let Ok(Read::Bytes { n, .. }) = got { n } else { 0 };
            link.commit(&mut buffers, id, n);
            moved += n;
            match got? {
                Read::Bytes { more: true, .. } => {}
                Read::Bytes { more: false, .. } | Read::Later => {
                    drop((link, buffers));
                    if self.socket.poll_readable(cx).is_pending() {
                        break;
                    }
                }
                Read::End => {
                    link.fin(id);
                    self.from_app = FromApp::Ended;
                    moved += 1;
                    break;
                }
            }
            if moved >= TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        Ok(moved > 0)
    }

    /// Closing with unread bytes would turn the answer that was delivered into RST.
    fn discard(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let mut buffers = self.carrier.buffers.borrow_mut();
        let mut scratch = buffers.take();
        let discarded = self.discard_into(cx, &mut scratch);
        buffers.give_back(scratch);
        discarded.map(|()| false)
    }

    fn discard_into(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Result<(), Broken> {
        let until = self.discarded + TURN;
        while self.discarded < DISCARDED {
            match self.socket.read(scratch)? {
                Read::Bytes { n, more } => {
                    self.discarded += n;
                    if !more && self.socket.poll_readable(cx).is_pending() {
                        return Ok(());
                    }
                }
                Read::Later => {
                    if self.socket.poll_readable(cx).is_pending() {
                        return Ok(());
                    }
                }
                Read::End => {
                    self.from_app = FromApp::Ended;
                    return Ok(());
                }
            }
            if self.discarded >= until {
                cx.waker().wake_by_ref();
                return Ok(());
            }
        }
        Ok(())
    }

    /// A socket that is not read must still tell when it breaks.
    fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let is_read = match self.from_app {
            FromApp::Reading => !self.carrier.link.borrow().is_stalled(self.app.id),
            FromApp::Discarding => self.discarded < DISCARDED,
            FromApp::Ended => false,
        };
        if is_read {
            return Ok(());
        }
        let socket = self.socket;
        let watch = self.watch.get_or_insert_with(|| Box::pin(socket.watch()));
        match watch.as_mut().poll(cx) {
            Poll::Ready(result) => {
                self.watch = None;
                result
            }
            Poll::Pending => Ok(()),
        }
    }
}
