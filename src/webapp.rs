//! Role `webapp`: accepts apps, dials links to the peer, opens a stream for each app.
//!
//! Promises: an app that cannot be carried is reset, never left to wait longer than [`WAIT_FOR_LINK`]; a lost link is dialled
//! anew at once, unless it had hardly been up, and then with growing pauses.
//! Must not know: bytes of the wire, keys.

use crate::config::{Address, Service};
use crate::counters::{HandshakeResult, Limit, LinkEntry, LinkStatus};
use crate::link::{Link, OpenError};
use crate::net::accept::Accepting;
use crate::net::driver::Carrier;
use crate::net::handshake::{self, InitiateError};
use crate::net::listen::Listener;
use crate::net::socket::{Parked, Socket};
use crate::net::stream::{self, App};
use crate::net::{accept, app::AppSocket, clock, dial, entropy, repeat::Repeat, worker::Seat};
use crate::panics;
use crate::sidecar::Sidecar;
use crate::wire::{Name, message::Code};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// An app that was accepted while no link is up waits this long for one.
pub const WAIT_FOR_LINK: Duration = Duration::from_secs(3);
/// One attempt to have a link: name, connection and handshake.
const ATTEMPT: Duration = Duration::from_millis(1500);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A link that was lost sooner is dialled anew after a pause that grows: else whoever ends every link would set the pace of the dials.
const SETTLED: Duration = Duration::from_secs(1);

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub peer: Address,
    /// Whom that must be.
    pub peer_name: Option<Name>,
}

/// Where apps are accepted, and what for.
#[derive(Debug)]
pub struct Door {
    pub listener: Listener,
    pub service: Service,
}

impl Door {
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            service: self.service.clone(),
        })
    }
}

/// Apps that wait for a link, of the whole process.
#[derive(Debug)]
pub struct Waiting {
    now: AtomicUsize,
    at_most: usize,
}

impl Waiting {
    pub fn new(at_most: usize) -> Self {
        Self {
            now: AtomicUsize::new(0),
            at_most,
        }
    }
}

/// Why there is no link for an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLink {
    /// It waited for one.
    InTime,
    TooManyWait,
    Draining,
}

impl NoLink {
    pub const ALL: [Self; 3] = [Self::InTime, Self::TooManyWait, Self::Draining];

    /// The log's reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InTime => "no_link",
            Self::TooManyWait => "too_many_wait",
            Self::Draining => "draining",
        }
    }
}

/// A worker as the others see it.
#[derive(Debug)]
struct Neighbour {
    /// That takes new streams.
    link: Mutex<Option<Arc<LinkStatus>>>,
    guests: mpsc::UnboundedSender<Guest>,
}

impl Neighbour {
    fn has_room(&self) -> bool {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.as_ref()
            .is_some_and(|link| link.streams.load(Relaxed) < u64::from(link.max_streams))
    }

    fn has_link(&self, link: Option<Arc<LinkStatus>>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// `false`: it takes no one any more, and the app is reset.
    fn take(&self, socket: Socket, service: &Service, since: Instant, moves: usize) -> bool {
        let guest = |socket| Guest {
            socket,
            service: service.clone(),
            since,
            moves,
        };
        socket
            .park()
            .is_ok_and(|socket| self.guests.send(guest(socket)).is_ok())
    }
}

/// An app whose connection was accepted by a worker that had no room for it.
#[derive(Debug)]
struct Guest {
    socket: Parked,
    service: Service,
    /// When it was accepted.
    since: Instant,
    /// Workers that it has been to.
    moves: usize,
}

/// Who carries an app.
enum Carries {
    This(Rc<Carrier>),
    /// Another worker.
    Other(Arc<Neighbour>),
}

/// A peer as all workers see it.
#[derive(Debug)]
pub struct Uplink {
    pub settings: Settings,
    sidecar: Sidecar,
    /// Of all workers. Held while readiness is told, so that what is said last is true.
    links_up: Mutex<usize>,
    waiting: Arc<Waiting>,
    /// Those that have started.
    workers: Mutex<Vec<Arc<Neighbour>>>,
    /// Told when one of them has a link.
    linked: Notify,
    /// Of readiness.
    part: String,
}

impl Uplink {
    pub fn new(mut sidecar: Sidecar, settings: Settings, waiting: Arc<Waiting>) -> Self {
        sidecar.local.peer_name = settings.peer_name;
        let part = format!(
            "peer {} {}",
            settings.peer,
            settings.peer_name.as_deref().unwrap_or_default()
        );
        let why = format!("no link to {} yet", settings.peer);
        sidecar.registry.readiness.part(&part, Err(why));
        Self {
            settings,
            sidecar,
            links_up: Mutex::new(0),
            waiting,
            workers: Mutex::default(),
            linked: Notify::new(),
            part,
        }
    }

    /// One more worker.
    fn join(&self) -> (Arc<Neighbour>, mpsc::UnboundedReceiver<Guest>) {
        let (guests, inbox) = mpsc::unbounded_channel();
        let neighbour = Arc::new(Neighbour {
            link: Mutex::default(),
            guests,
        });
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(&neighbour));
        (neighbour, inbox)
    }

    /// Another worker than `own` whose link has room.
    fn elsewhere(&self, own: &Neighbour) -> Option<Arc<Neighbour>> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = |other: &&Arc<Neighbour>| !std::ptr::eq(&***other, own) && other.has_room();
        workers.iter().find(has_room).cloned()
    }

    /// Counts links, and tells readiness: `why` not, if none is up.
    fn count(&self, change: isize, why: impl FnOnce() -> String) {
        let mut up = self.links_up.lock().unwrap_or_else(PoisonError::into_inner);
        *up = up.saturating_add_signed(change);
        let state = if *up > 0 { Ok(()) } else { Err(why()) };
        self.sidecar.registry.readiness.part(&self.part, state);
    }
}

struct Worker {
    shared: Arc<Uplink>,
    seat: Rc<Seat>,
    /// The link that takes new streams.
    current: RefCell<Option<Rc<Carrier>>>,
    said: Repeat,
    drain: CancellationToken,
    /// What the others see.
    own: Arc<Neighbour>,
}

/// Starts a worker's part: its link to the peer, and the apps that come through `doors`. Ends when the tasks are aborted.
pub fn start(
    seat: &Rc<Seat>,
    uplink: Arc<Uplink>,
    doors: Vec<Door>,
    drain: CancellationToken,
) -> io::Result<Vec<JoinHandle<()>>> {
    let (own, inbox) = uplink.join();
    let worker = Rc::new(Worker {
        shared: uplink,
        own,
        seat: Rc::clone(seat),
        current: RefCell::default(),
        said: Repeat::default(),
        drain,
    });
    let mut tasks = vec![
        tokio::task::spawn_local(keep_link(Rc::clone(&worker))),
        tokio::task::spawn_local(take_in(Rc::clone(&worker), inbox)),
    ];
    for Door { listener, service } in doors {
        let listener = Accepting::new(listener)?;
        tasks.push(tokio::task::spawn_local(accept(Rc::clone(&worker), listener, service)));
    }
    Ok(tasks)
}

/// The apps of one listener, for as long as it lives.
async fn accept(worker: Rc<Worker>, listener: Accepting, service: Service) {
    let service = Rc::new(service);
    loop {
        let (socket, _) = accept::next(&listener, &worker.seat.counters).await;
        let served = serve(Rc::clone(&worker), socket, Rc::clone(&service), Instant::now(), 0);
        worker.seat.links.tasks.spawn_local(served);
    }
}

/// The apps that other workers had no room for.
async fn take_in(worker: Rc<Worker>, mut inbox: mpsc::UnboundedReceiver<Guest>) {
    while let Some(guest) = inbox.recv().await {
        // An error drops it, which resets it.
        if let Ok(socket) = guest.socket.unpark() {
            let served = serve(
                Rc::clone(&worker),
                socket,
                Rc::new(guest.service),
                guest.since,
                guest.moves,
            );
            worker.seat.links.tasks.spawn_local(served);
        }
    }
}

/// One app, from accept to end. `moves`: of workers before this one.
async fn serve(worker: Rc<Worker>, socket: Socket, service: Rc<Service>, since: Instant, moves: usize) {
    match worker.carries(since, moves).await {
        Ok(Carries::This(carrier)) => carry(worker, AppSocket::accepted(socket), service, carrier).await,
        Ok(Carries::Other(other)) => {
            if !other.take(socket, &service, since, moves + 1) {
                worker.refuse(NoLink::Draining);
            }
        }
        Err(why) => {
            drop(AppSocket::accepted(socket));
            worker.refuse(why);
        }
    }
}

async fn carry(worker: Rc<Worker>, socket: AppSocket, service: Rc<Service>, carrier: Rc<Carrier>) {
    let opened =
        carrier
            .link
            .borrow_mut()
            .open(&mut carrier.buffers.borrow_mut(), service.as_bytes(), clock::instant());
    let id = match opened {
        Ok(id) => id,
        Err(error) => {
            if error == OpenError::TooManyStreams {
                worker.seat.counters.limit_hit(Limit::Streams);
            }
            let (reason, peer) = (error.label(), &worker.shared.settings.peer);
            if worker.said.first(reason, "") {
                tracing::warn!(event = "app_refused", reason, %peer, "{error}: an app's connection was reset");
            }
            return;
        }
    };
    panics::injected_at_stream(id);
    let app = App::new(id, Some(socket));
    carrier.adopt(&app);
    if let Some(code) = stream::run(carrier, app).await
        && code.is_refusal()
    {
        worker.refused(code, &service);
    }
}

impl Worker {
    fn current(&self) -> Option<Rc<Carrier>> {
        self.current.borrow().clone().filter(|carrier| carrier.takes_streams())
    }

    /// Who carries an app that has moved so often, if that can be said now.
    fn who_carries(&self, moves: usize) -> Option<Carries> {
        // Who has room may have none when the app comes there: so often and no more.
        const MOST: usize = 4;
        let own = self.current();
        if own.as_ref().is_none_or(|carrier| !carrier.link.borrow().has_room())
            && moves < MOST
            && !self.drain.is_cancelled()
            && let Some(other) = self.shared.elsewhere(&self.own)
        {
            return Some(Carries::Other(other));
        }
        own.map(Carries::This)
    }

    /// Who carries an app that was accepted at `since`; waits for a link, unless too many wait already.
    async fn carries(&self, since: Instant, moves: usize) -> Result<Carries, NoLink> {
        if let Some(carries) = self.who_carries(moves) {
            return Ok(carries);
        }
        let shared = &self.shared;
        if shared.waiting.now.fetch_add(1, Relaxed) >= shared.waiting.at_most {
            shared.waiting.now.fetch_sub(1, Relaxed);
            self.seat.counters.limit_hit(Limit::WaitingApps);
            return Err(NoLink::TooManyWait);
        }
        let found = timeout(WAIT_FOR_LINK.saturating_sub(since.elapsed()), async {
            loop {
                let linked = shared.linked.notified();
                if let Some(carries) = self.who_carries(moves) {
                    return carries;
                }
                linked.await;
            }
        });
        let found = tokio::select! {
            biased;
            found = found => found.map_err(|_| NoLink::InTime),
            () = self.drain.cancelled() => Err(NoLink::Draining),
        };
        shared.waiting.now.fetch_sub(1, Relaxed);
        found
    }

    /// The peer did not serve a stream: its app was reset.
    fn refused(&self, code: Code, service: &Service) {
        let (reason, peer) = (code.label(), &self.shared.settings.peer);
        if !self.said.first(reason, &service.to_string()) {
            return;
        }
        if code == Code::UnknownService {
            tracing::warn!(
                event = "stream_refused",
                reason,
                %service,
                %peer,
                "the peer has no service {service}: an app's connection was reset. Give its --upstream as many addresses as --listen has here"
            );
        } else {
            tracing::warn!(
                event = "stream_refused",
                reason,
                %service,
                %peer,
                "the peer could not serve an app's connection, and it was reset; the log of the sidecar there says why"
            );
        }
    }

    fn refuse(&self, why: NoLink) {
        let (reason, peer) = (why.label(), &self.shared.settings.peer);
        if self.said.first(reason, "") {
            tracing::warn!(event = "app_refused", reason, %peer, "no link to the peer: an app's connection was reset");
        }
    }

    fn up(&self, carrier: Rc<Carrier>) {
        self.own.has_link(Some(carrier.status.share()));
        *self.current.borrow_mut() = Some(carrier);
        self.shared.linked.notify_waiters();
        self.shared.count(1, String::new);
    }

    fn down(&self) {
        self.own.has_link(None);
        *self.current.borrow_mut() = None;
        self.shared
            .count(-1, || format!("no link to {}", self.shared.settings.peer));
    }
}

/// Keeps one link that takes streams.
async fn keep_link(worker: Rc<Worker>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match timeout(ATTEMPT, connect(&worker))
            .await
            .unwrap_or(Err(InitiateError::Timeout(ATTEMPT)))
        {
            Ok((link, socket, status)) => {
                worker.said.forget();
                let carrier = Carrier::new(link, socket, Rc::clone(&worker.seat.buffers), status, None);
                worker.up(Rc::clone(&carrier));
                let counters = Arc::clone(&worker.seat.counters);
                counters.links_up.add(1);
                let ended = {
                    let counters = Arc::clone(&counters);
                    move || counters.links_up.add(-1)
                };
                worker.seat.links.drive(&carrier, counters, ended);
                let up = Instant::now();
                carrier.until_draining().await;
                worker.down();
                if up.elapsed() >= SETTLED {
                    pause = FIRST_PAUSE;
                    continue;
                }
            }
            Err(error) => worker.failed(&error),
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// So that workers and hosts that lost the same peer do not come back as one.
fn jittered(pause: Duration) -> Duration {
    let [a, b, ..] = entropy::bytes();
    pause.mul_f64(0.75 + 0.25 * f64::from(u16::from_be_bytes([a, b])) / f64::from(u16::MAX))
}

async fn connect(worker: &Worker) -> Result<(Link, Socket, LinkEntry), InitiateError> {
    let Uplink { sidecar, settings, .. } = &*worker.shared;
    let Some((grant, lease)) = sidecar.budget.admit(sidecar.max_streams) else {
        worker.seat.counters.limit_hit(Limit::Buffer);
        return Err(InitiateError::NoBuffer);
    };
    let mut socket = dial::peer(&settings.peer).await?;
    let began = Instant::now();
    let established = handshake::initiate(&mut socket, &sidecar.keyring, &sidecar.local, grant).await?;
    let took = began.elapsed();
    worker.seat.counters.handshake(HandshakeResult::Accepted);
    worker
        .seat
        .counters
        .handshake_durations
        .observe_us(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    let status = sidecar.status(&established, settings.peer.to_string());
    sidecar.registry.handshake_clock(established.clock_difference_ms);
    tracing::info!(
        event = "link_up",
        peer = %settings.peer,
        peer_name = %status.peer_name,
        suite = status.suite,
        clock_difference_ms = established.clock_difference_ms,
        handshake_us = took.as_micros() as u64,
        "sealed link to the peer"
    );
    sidecar.warn_of_few_streams(lease.wanting(), &status);
    let link = Link::new(
        established,
        lease,
        Arc::clone(&sidecar.keyring),
        Box::new(entropy::bytes),
        Arc::clone(&worker.seat.counters),
        clock::now(),
    );
    Ok((link, socket, sidecar.registry.register(status)))
}

impl Worker {
    fn failed(&self, error: &InitiateError) {
        let shared = &self.shared;
        let peer = &shared.settings.peer;
        self.seat.counters.handshake(error.result());
        if let Some(difference_ms) = error.clock_difference_ms() {
            shared.sidecar.registry.handshake_clock(difference_ms);
        }
        shared.count(0, || {
            format!("no link to {peer} ({}): {}", error.reason(), error.explanation())
        });
        let reason = error.reason();
        if self.said.first(reason, "") {
            tracing::warn!(event = "link_failed", reason, %peer, "no link; {}", error.explanation());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Flags, RoleName, Secrets, What};
    use crate::counters::Registry;

    /// A worker's attempt fails, or its link goes, while another's link comes up.
    #[test]
    fn what_readiness_says_last_is_true() {
        let env = Environment::from_iter([("WA_SECRET".to_owned(), b"a passphrase for a test".to_vec())]);
        let flags = [("listen", "127.0.0.1:1"), ("peer", "127.0.0.1:2")];
        let flags = Flags(flags.map(|(key, value)| (key, value.to_owned())).into());
        let config = Config::resolve(What::Role(RoleName::Webapp), &flags, &env).expect("a configuration");
        let secrets = Secrets::load(&env, &config.secret_files, false).expect("a secret");
        let registry = Registry::new(2);
        registry.readiness.ready();
        let sidecar = Sidecar::new(&config, &secrets, Arc::clone(&registry));
        let settings = Settings {
            peer: config.webapps[0].peer.clone(),
            peer_name: None,
        };
        let uplink = Uplink::new(sidecar, settings, Arc::new(Waiting::new(1)));
        let no_link = || "no link".to_owned();
        assert!(registry.readiness.get().is_err());
        for change in [0, -1].repeat(1000) {
            uplink.count(-change, no_link);
            std::thread::scope(|threads| {
                threads.spawn(|| uplink.count(change, no_link));
                threads.spawn(|| uplink.count(1, no_link));
            });
            assert_eq!(registry.readiness.get(), Ok(()));
            uplink.count(-1, no_link);
            assert!(registry.readiness.get().is_err());
        }
    }
}
