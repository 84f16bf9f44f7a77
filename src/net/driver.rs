//! The driver of a link: its socket on one side, the state machine on the other.
//!
//! ```text
//! readable --> accept, event --> app sockets, straight from the read buffer
//! writable --> transmit <-- what the streams' tasks have put into the open frame
//! timer    --> tick
//! ```
//!
//! Promises: reading never waits for writing, and neither for an app; no borrow of the link lives across an await; a turn is
//! bounded, so that many links share a thread.
//! Must not know: how a link came to be, or what a service is.

use super::clock;
use super::inlet::Inlet;
use super::socket::Socket;
use super::stream::App;
use crate::counters::{LinkEnd, LinkEntry};
use crate::link::buffers::Buffers;
use crate::link::time::Now;
use crate::link::{ById, Event, Fatal, Link};
use crate::wire::message::{Code, GoAway};
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, Interest};
use tokio::sync::Notify;

/// Reads of the link in one turn, for the other links' and the apps' sake.
const READS_A_TURN: usize = 4;
/// Streams that are woken when a frame has left; each of them wakes the next.
const WAKE_A_FRAME: usize = 8;
/// The last resort of the kernel, behind the link's own dead time.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// For the peer to take what is on its way when a link ends in order, and to close its side.
const FAREWELL: Duration = Duration::from_secs(10);
/// A warning at this difference of the clocks, before anything is refused.
const CLOCK_WARNING_MS: i64 = 5_000;

/// What a coreapp does with an OPEN; a webapp has none.
pub type OnOpen = Box<dyn Fn(&Rc<Carrier>, u32, &[u8])>;

/// Why a link is over.
#[derive(Debug, thiserror::Error)]
pub enum Over {
    /// In order.
    #[error("both ends said GOAWAY and the last stream ended")]
    Closed,
    #[error("the connection ended or broke: {0}")]
    Disconnected(String),
    #[error(transparent)]
    Fatal(#[from] Fatal),
    #[error("this sidecar is stopping")]
    Shutdown,
}

impl Over {
    pub fn end(&self) -> LinkEnd {
        match self {
            Self::Closed => LinkEnd::Closed,
            Self::Disconnected(_) => LinkEnd::Disconnected,
            Self::Fatal(fatal) => fatal.end(),
            Self::Shutdown => LinkEnd::Shutdown,
        }
    }
}

/// A link with its socket, shared by its driver and the tasks of its streams, all on one thread.
pub struct Carrier {
    pub link: RefCell<Link>,
    pub buffers: Rc<RefCell<Buffers>>,
    pub status: LinkEntry,
    /// `None` once the link is over: apps that are still given the rest of a whole answer keep the carrier, not the connection.
    pub(super) socket: RefCell<Option<Socket>>,
    apps: RefCell<ById<Rc<App>>>,
    driver: Cell<Option<Waker>>,
    /// The socket took less than it was given; wait for it before sealing more.
    blocked: Cell<bool>,
    unsent_limit: Cell<usize>,
    failed: RefCell<Option<Over>>,
    over: Cell<bool>,
    clock_warned: Cell<bool>,
    /// Told when the link takes no new streams or is over.
    draining: Notify,
    on_open: Option<OnOpen>,
}

impl Carrier {
    pub fn new(
        link: Link,
        socket: Socket,
        buffers: Rc<RefCell<Buffers>>,
        status: LinkEntry,
        on_open: Option<OnOpen>,
    ) -> Rc<Self> {
        let options = SockRef::from(&socket);
        // None of these decides whether bytes pass; a kernel without one is served all the same.
        let _ = options.set_tcp_nodelay(true);
        let _ = options.set_tcp_user_timeout(Some(USER_TIMEOUT));
        Rc::new(Self {
            link: RefCell::new(link),
            buffers,
            status,
            socket: RefCell::new(Some(socket)),
            apps: RefCell::default(),
            driver: Cell::new(None),
            blocked: Cell::new(false),
            unsent_limit: Cell::new(0),
            failed: RefCell::new(None),
            over: Cell::new(false),
            clock_warned: Cell::new(false),
            draining: Notify::new(),
            on_open,
        })
    }

    /// Whether streams can be opened.
    pub fn takes_streams(&self) -> bool {
        !self.over.get() && !self.link.borrow().is_draining()
    }

    pub fn adopt(&self, app: &Rc<App>) {
        self.apps.borrow_mut().insert(app.id, Rc::clone(app));
        self.count_streams();
    }

    /// The stream's task is done with it.
    pub fn forget(&self, id: u32) {
        self.apps.borrow_mut().remove(&id);
        self.link.borrow_mut().release(id);
        self.count_streams();
        self.kick();
    }

    fn count_streams(&self) {
        self.status.streams.store(self.link.borrow().streams() as u64, Relaxed);
    }

    /// Something is there to be sent. With one stream there is nobody to wait for; with more, what the others have ready goes into
    /// the same frame, for the driver runs after them.
    pub fn kick(&self) {
        if self.over.get() {
            return;
        }
        if self.apps.borrow().len() <= 1 {
            self.flush();
        } else if self.link.borrow().wants_transmit() {
            self.wake();
        }
        self.pass_on();
    }

    /// Wakes the next of the streams that wait for room in a frame, if there is some.
    pub fn pass_on(&self) {
        loop {
            let next = self.link.borrow_mut().unpark();
            // A stream that is gone meanwhile would break the chain.
            if next.is_none_or(|id| self.wake_app(id)) {
                return;
            }
        }
    }

    /// Says GOAWAY; the link ends when the last stream has.
    pub fn drain(&self, code: GoAway) {
        self.link.borrow_mut().goaway(code);
        self.draining.notify_waiters();
        self.wake();
    }

    /// Resets a stream that is not, or not any more, to be served.
    pub fn refuse(&self, id: u32, code: Code) {
        self.link.borrow_mut().abort(id, code);
        self.forget(id);
    }

    /// Resets every stream and its app.
    pub fn reset_all(&self, code: Code) {
        for (&id, app) in self.apps.borrow().iter() {
            self.link.borrow_mut().abort(id, code);
            // Not `code`, which would be logged as the peer's.
            app.reset(Code::Unspecified);
        }
        self.wake();
    }

    /// Until the link takes no new streams.
    pub async fn until_draining(&self) {
        loop {
            let changed = self.draining.notified();
            if !self.takes_streams() {
                return;
            }
            changed.await;
        }
    }

    /// Ends the link now.
    pub fn shut_down(&self) {
        self.fail(Over::Shutdown);
    }

    fn wake(&self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    /// Whether there was somebody to wake.
    fn wake_app(&self, id: u32) -> bool {
        let apps = self.apps.borrow();
        let app = apps.get(&id);
        app.inspect(|app| app.wake()).is_some()
    }

    fn app(&self, id: u32) -> Option<Rc<App>> {
        self.apps.borrow().get(&id).cloned()
    }

    fn fail(&self, over: Over) {
        self.failed.borrow_mut().get_or_insert(over);
        self.wake();
    }

    /// Writes frames while the socket takes them.
    fn flush(&self) {
        let socket = self.socket.borrow();
        let Some(socket) = &*socket else { return };
        while !self.blocked.get() && self.failed.borrow().is_none() {
            let mut link = self.link.borrow_mut();
            if !link.wants_transmit() {
                break;
            }
            let mut buffers = self.buffers.borrow_mut();
            let now = clock::now();
            let bytes = match link.transmit(&mut buffers, now) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(fatal) => {
                    drop((link, buffers));
                    return self.fail(fatal.into());
                }
            };
            let total = bytes.len();
            let mut put = 0;
            let result = socket.try_io(Interest::WRITABLE, || {
                put = rustix::io::write(socket, bytes)?;
                if put < total {
                    Err(ErrorKind::WouldBlock.into())
                } else {
                    Ok(())
                }
            });
            link.transmitted(&mut buffers, put, now.instant);
            let unsent_limit = link.unsent_limit();
            match result {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    link.blocked();
                    self.blocked.set(true);
                    drop((link, buffers));
                    self.wake();
                    break;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => {
                    let in_order = link.may_end();
                    drop((link, buffers));
                    return self.fail(if in_order {
                        Over::Closed
                    } else {
                        Over::Disconnected(e.to_string())
                    });
                }
            }
            drop(buffers);
            for _ in 0..WAKE_A_FRAME {
                let Some(id) = link.unpark() else { break };
                self.wake_app(id);
            }
            drop(link);
            if self.unsent_limit.replace(unsent_limit) != unsent_limit {
                let _ = SockRef::from(socket).set_tcp_notsent_lowat(unsent_limit as u32);
            }
        }
        // A stream goes when its last message is sealed, or has arrived: the driver flushes after both.
        self.count_streams();
    }

    /// Drives the link to its end; then every app whose stream is not whole is reset.
    pub async fn drive(self: Rc<Self>) -> Over {
        let mut inlet = Inlet::default();
        let mut sleep = Box::pin(tokio::time::sleep_until(clock::deadline(self.link.borrow().timeout())));
        let over = poll_fn(|cx| self.poll(cx, &mut inlet, sleep.as_mut())).await;
        inlet.give_back(&self.buffers);
        self.over.set(true);
        let lost = self.link.borrow_mut().abandon();
        for id in lost {
            if let Some(app) = self.app(id) {
                app.reset(Code::Unspecified);
            }
        }
        // Those that stay have their FIN and are still delivering. A dial would be for nobody, unless the peer broke off the answer alone.
        for app in self.apps.borrow().values() {
            if app.is_connected() || app.is_stopped() {
                app.wake();
            } else {
                app.reset(Code::Unspecified);
            }
        }
        self.status.unlist();
        if !matches!(over, Over::Closed)
            && let Some(socket) = self.socket.borrow_mut().take()
        {
            // Fatal ends are abortive: the peer must not read an end in order (SPEC section 1).
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.draining.notify_waiters();
        over
    }

    /// Closes the connection of a link that ended in order. What is on its way must arrive: a close over unread bytes, or bytes that
    /// come after it, would be a reset, which takes back what the kernel has not sent yet.
    pub async fn farewell(&self) {
        let Some(mut socket) = self.socket.borrow_mut().take() else {
            return;
        };
        let _ = SockRef::from(&socket).shutdown(std::net::Shutdown::Write);
        let mut scratch = [0; 4096];
        let until_the_end = async { while let Ok(1..) = socket.read(&mut scratch).await {} };
        let _ = tokio::time::timeout(FAREWELL, until_the_end).await;
    }

    fn poll(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        inlet: &mut Inlet,
        mut sleep: Pin<&mut tokio::time::Sleep>,
    ) -> Poll<Over> {
        self.driver.set(Some(cx.waker().clone()));
        if let Some(over) = self.failed.borrow_mut().take() {
            return Poll::Ready(over);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            let mut link = self.link.borrow_mut();
            if let Err(fatal) = link.tick(clock::now()) {
                return Poll::Ready(fatal.into());
            }
            sleep.as_mut().reset(clock::deadline(link.timeout()));
        }
        if self.blocked.get() && self.is_writable(cx) {
            self.blocked.set(false);
        }
        self.flush();
        for turn in 0.. {
            match inlet.read(self, cx) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(over) => return Poll::Ready(over),
            }
            if turn == READS_A_TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        // What was read has made credit, answers and pongs due.
        self.flush();
        if self.blocked.get() && self.is_writable(cx) {
            self.blocked.set(false);
            cx.waker().wake_by_ref();
        }
        if let Some(over) = self.failed.borrow_mut().take() {
            return Poll::Ready(over);
        }
        if self.link.borrow().is_finished() {
            return Poll::Ready(Over::Closed);
        }
        Poll::Pending
    }

    fn is_writable(&self, cx: &mut Context<'_>) -> bool {
        self.socket
            .borrow()
            .as_ref()
            .is_some_and(|socket| socket.poll_write_ready(cx).is_ready())
    }

    /// Takes the events of the frame that was just opened in `bytes`.
    pub(super) fn events(self: &Rc<Self>, bytes: &[u8], now: Now) -> Result<(), Fatal> {
        loop {
            let event = self.link.borrow_mut().event(bytes, now)?;
            match event {
                None => return Ok(()),
                Some(Event::Data { id, bytes: range }) => {
                    let payload = &bytes[range];
                    let app = self.app(id);
                    let ends = self.link.borrow().fin_follows(bytes, id);
                    let took = app.as_ref().map_or(0, |app| app.write(payload, ends));
                    let mut link = self.link.borrow_mut();
                    if took > 0 {
                        link.consumed(id, took, now.instant);
                    }
                    if took < payload.len() {
                        link.store(id, &payload[took..])?;
                        if let Some(app) = app {
                            app.queued();
                        }
                    }
                }
                Some(Event::Open { id, service }) => {
                    if let Some(on_open) = &self.on_open {
                        on_open(self, id, &bytes[service]);
                    }
                }
                Some(Event::Fin { id }) => {
                    if let Some(app) = self.app(id) {
                        app.fin();
                    }
                }
                Some(Event::Reset { id, code }) => {
                    if let Some(app) = self.app(id) {
                        app.reset(code);
                    }
                }
                Some(Event::Stop { id, .. }) => {
                    if let Some(app) = self.app(id) {
                        app.stop();
                    }
                }
                Some(Event::Credit { id }) => {
                    self.wake_app(id);
                }
                Some(Event::Pong {
                    round_trip,
                    clock_difference_ms,
                }) => {
                    let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                    self.status.rtt_us.store(us, Relaxed);
                    if let Some(difference_ms) = clock_difference_ms {
                        self.measured(difference_ms);
                    }
                }
                Some(Event::GoAway { code }) => {
                    tracing::info!(event = "goaway", reason = code.label(), peer = %self.status.peer, "the peer takes no new streams on this link");
                    self.draining.notify_waiters();
                }
                Some(Event::Rekey { accepted: true }) => self.status.rekeyed(std::time::Instant::now()),
                Some(Event::Rekey { accepted: false }) => tracing::warn!(
                    event = "rekey_refused",
                    reason = "unknown_secret",
                    peer = %self.status.peer,
                    "the peer does not know this side's WA_SECRET any more; the link goes on with its old keys and asks again in 60 s"
                ),
                Some(Event::Confirmed) => {}
            }
        }
    }

    fn measured(&self, clock_difference_ms: i64) {
        let status = &self.status;
        status.clock_difference_ms.store(clock_difference_ms, Relaxed);
        let far = clock_difference_ms.saturating_abs() >= CLOCK_WARNING_MS;
        if far && !self.clock_warned.replace(true) {
            let (seconds, ahead) = (
                clock_difference_ms.unsigned_abs() as f64 / 1000.0,
                if clock_difference_ms > 0 { "ahead of" } else { "behind" },
            );
            tracing::warn!(
                event = "clock_difference",
                reason = "clock_skew",
                peer = %status.peer,
                difference_ms = clock_difference_ms,
                "the peer's clock is {seconds:.1} s {ahead} this host's; from 10 s on new links are refused. Check on both hosts:  timedatectl"
            );
        } else if !far {
            self.clock_warned.set(false);
        }
    }
}
