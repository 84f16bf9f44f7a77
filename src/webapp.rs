//! Role `webapp`: accepts apps, dials links to the peer, opens a stream for each app.
//!
//! Promises: an app that cannot be carried is reset, never left to wait longer than [`WAIT_FOR_LINK`]; a lost link is dialled
//! anew at once, unless it had hardly been up, and then with growing pauses.
//! Must not know: bytes of the wire, keys.

use crate::config::{Address, Service};
use crate::counters::{Counters, HandshakeResult, Limit, LinkEntry};
use crate::link::buffers::Buffers;
use crate::link::{Link, OpenError};
use crate::net::accept::Accepting;
use crate::net::driver::Carrier;
use crate::net::handshake::{self, InitiateError};
use crate::net::listen::Listener;
use crate::net::socket::Socket;
use crate::net::stream::{self, App};
use crate::net::{accept, app::AppSocket, clock, dial, entropy, links::Links, repeat::Repeat, worker};
use crate::panics;
use crate::sidecar::Sidecar;
use crate::signals::Stop;
use crate::wire::message::Code;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
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

/// What only this role has.
#[derive(Debug, Clone)]
pub struct Settings {
    pub peer: Address,
    pub max_waiting: usize,
}

/// Where apps are accepted, and what for.
#[derive(Debug)]
pub struct Door {
    pub listener: Listener,
    pub service: Service,
}

struct Shared {
    sidecar: Sidecar,
    settings: Settings,
    /// Links that take streams, of all workers.
    links_up: AtomicUsize,
    waiting: AtomicUsize,
}

/// Serves until `stop` has ended it. Errors: a worker could not be started.
pub async fn run(doors: Vec<Door>, sidecar: Sidecar, settings: Settings, stop: Stop) -> io::Result<()> {
    let readiness = &sidecar.registry.readiness;
    readiness.not_ready(format!("no link to {} yet", settings.peer));
    let shared = Arc::new(Shared {
        sidecar,
        settings,
        links_up: AtomicUsize::new(0),
        waiting: AtomicUsize::new(0),
    });
    let mut ended = Vec::new();
    for (i, counters) in shared.sidecar.registry.workers.iter().enumerate() {
        let (shared, counters, stop) = (Arc::clone(&shared), Arc::clone(counters), stop.clone());
        // Duplicates, not SO_REUSEPORT: closing one of two reuseport listeners resets what waits in it.
        let duplicate = |door: &Door| {
            Ok(Door {
                listener: door.listener.try_clone()?,
                service: door.service.clone(),
            })
        };
        let doors = doors.iter().map(duplicate).collect::<io::Result<Vec<_>>>()?;
        ended.push(worker::spawn(&format!("worker-{i}"), move || {
            work(shared, doors, counters, stop)
        })?);
    }
    drop(doors);
    stop.drain.cancelled().await;
    shared.sidecar.registry.readiness.drain();
    for worker in ended {
        let _ = worker.await;
    }
    Ok(())
}

struct Worker {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    buffers: Rc<RefCell<Buffers>>,
    /// The link that takes new streams.
    current: RefCell<Option<Rc<Carrier>>>,
    changed: Notify,
    links: Links,
    said: Repeat,
    drain: CancellationToken,
}

async fn work(shared: Arc<Shared>, doors: Vec<Door>, counters: Arc<Counters>, stop: Stop) {
    let drain_timeout = shared.sidecar.drain_timeout;
    let worker = Rc::new(Worker {
        shared,
        counters,
        buffers: Rc::default(),
        current: RefCell::default(),
        changed: Notify::new(),
        links: Links::default(),
        said: Repeat::default(),
        drain: stop.drain.clone(),
    });
    let mut tasks = vec![tokio::task::spawn_local(keep_link(Rc::clone(&worker)))];
    for Door { listener, service } in doors {
        match Accepting::new(listener) {
            Ok(listener) => tasks.push(tokio::task::spawn_local(accept(Rc::clone(&worker), listener, service))),
            Err(error) => {
                tracing::error!(event = "worker_failed", reason = %error, "a listener cannot be used");
                stop.drain.cancel();
            }
        }
    }
    stop.drain.cancelled().await;
    // The listeners close with the tasks that hold them.
    for task in &tasks {
        task.abort();
    }
    worker.links.drain(drain_timeout, &stop.now).await;
}

/// The apps of one listener, for as long as it lives.
async fn accept(worker: Rc<Worker>, listener: Accepting, service: Service) {
    let service = Rc::new(service);
    loop {
        let (socket, _) = accept::next(&listener, &worker.counters).await;
        let served = serve(Rc::clone(&worker), socket, Rc::clone(&service));
        worker.links.tasks.spawn_local(served);
    }
}

/// One app, from accept to end.
async fn serve(worker: Rc<Worker>, socket: Socket, service: Rc<Service>) {
    let socket = AppSocket::new(socket);
    let Some(carrier) = worker.link().await else { return };
    let opened =
        carrier
            .link
            .borrow_mut()
            .open(&mut carrier.buffers.borrow_mut(), service.as_bytes(), clock::instant());
    let id = match opened {
        Ok(id) => id,
        Err(error) => {
            if error == OpenError::TooManyStreams {
                worker.counters.limit_hit(Limit::Streams);
            }
            if worker.said.first("open", &worker.shared.settings.peer.to_string()) {
                tracing::warn!(event = "app_refused", reason = %error, "an app's connection was reset");
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

    /// A link that takes streams; waits for one, unless too many wait already.
    async fn link(&self) -> Option<Rc<Carrier>> {
        if let Some(carrier) = self.current() {
            return Some(carrier);
        }
        let shared = &self.shared;
        if shared.waiting.fetch_add(1, Relaxed) >= shared.settings.max_waiting {
            shared.waiting.fetch_sub(1, Relaxed);
            self.counters.limit_hit(Limit::WaitingApps);
            self.refuse("too_many_wait");
            return None;
        }
        let found = timeout(WAIT_FOR_LINK, async {
            loop {
                let changed = self.changed.notified();
                if let Some(carrier) = self.current() {
                    return carrier;
                }
                changed.await;
            }
        });
        let found = tokio::select! {
            biased;
            found = found => found.map_err(|_| "no_link"),
            () = self.drain.cancelled() => Err("draining"),
        };
        shared.waiting.fetch_sub(1, Relaxed);
        found.map_err(|reason| self.refuse(reason)).ok()
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

    fn refuse(&self, reason: &'static str) {
        let peer = &self.shared.settings.peer;
        if self.said.first(reason, "") {
            tracing::warn!(event = "app_refused", reason, %peer, "no link to the peer: an app's connection was reset");
        }
    }

    fn up(&self, carrier: Rc<Carrier>) {
        *self.current.borrow_mut() = Some(carrier);
        self.changed.notify_waiters();
        self.shared.links_up.fetch_add(1, Relaxed);
        self.shared.sidecar.registry.readiness.ready();
    }

    fn down(&self) {
        *self.current.borrow_mut() = None;
        if self.shared.links_up.fetch_sub(1, Relaxed) == 1 {
            let why = format!("no link to {}", self.shared.settings.peer);
            self.shared.sidecar.registry.readiness.not_ready(why);
        }
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
                let carrier = Carrier::new(link, socket, Rc::clone(&worker.buffers), status, None);
                worker.up(Rc::clone(&carrier));
                let counters = Arc::clone(&worker.counters);
                counters.links_up.add(1);
                let ended = {
                    let counters = Arc::clone(&counters);
                    move || counters.links_up.add(-1)
                };
                worker.links.drive(&carrier, counters, ended);
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
    let Shared { sidecar, settings, .. } = &*worker.shared;
    let Some((first, lease)) = sidecar.budget.admit(sidecar.max_streams) else {
        worker.counters.limit_hit(Limit::Buffer);
        return Err(InitiateError::NoBuffer);
    };
    let mut socket = dial::peer(&settings.peer).await?;
    let began = Instant::now();
    let established = handshake::initiate(&mut socket, &sidecar.keyring, &sidecar.local, first).await?;
    let took = began.elapsed();
    worker.counters.handshake(HandshakeResult::Accepted);
    worker
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
    let link = Link::new(
        established,
        lease,
        Arc::clone(&sidecar.keyring),
        Box::new(entropy::bytes),
        Arc::clone(&worker.counters),
        clock::now(),
    );
    Ok((link, socket, sidecar.registry.register(status)))
}

impl Worker {
    fn failed(&self, error: &InitiateError) {
        let shared = &self.shared;
        let peer = &shared.settings.peer;
        self.counters.handshake(error.result());
        if let Some(difference_ms) = error.clock_difference_ms() {
            shared.sidecar.registry.handshake_clock(difference_ms);
        }
        if shared.links_up.load(Relaxed) == 0 {
            shared
                .sidecar
                .registry
                .readiness
                .not_ready(format!("no link to {peer}: {error}"));
        }
        let reason = error.reason();
        if self.said.first(reason, "") {
            tracing::warn!(event = "link_failed", reason, %peer, "no link; {}", error.explanation());
        }
    }
}
