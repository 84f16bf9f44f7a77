//! Role `coreapp`: accepts links, and dials the app for each stream.
//!
//! ```text
//! control thread   accept -> message 1, 2 -> frame 0 --.
//! workers                                              '--> the one with the fewest links: drive, dial apps
//! ```
//!
//! Promises: nothing is dialled or held for a link before frame 0 has opened; a dial that fails resets its stream at once.
//! Must not know: bytes of the wire, keys.

use crate::config::{Target, Targets};
use crate::counters::{Counters, Limit, LinkStatus, Registry};
use crate::link::Link;
use crate::link::buffers::Buffers;
use crate::net::accept::Accepting;
use crate::net::admission::{self, Admitted, LinkSlot};
use crate::net::dial::{self, DialError};
use crate::net::driver::Carrier;
use crate::net::listen::Listener;
use crate::net::socket::Parked;
use crate::net::stream::{self, App};
use crate::net::{links::Links, repeat::Repeat, worker};
use crate::panics;
use crate::sidecar::Sidecar;
use crate::signals::Stop;
use crate::wire::message::Code;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// What only this role has.
#[derive(Debug, Clone)]
pub struct Settings {
    pub targets: Targets,
    pub max_dials: usize,
    pub dial_timeout: Duration,
}

struct Shared {
    sidecar: Sidecar,
    settings: Settings,
    /// Dials in flight, of all workers.
    dials: Arc<Semaphore>,
    last_dial_failed: AtomicBool,
}

/// A link that was admitted, on its way to a worker.
struct Job {
    link: Link,
    socket: Parked,
    status: LinkStatus,
    slot: LinkSlot,
}

/// A worker as the control thread sees it.
struct Hand {
    jobs: mpsc::UnboundedSender<Job>,
    links: Arc<AtomicUsize>,
}

/// Serves until `stop` has ended it. Errors: the listener cannot be used, or a worker not started.
pub async fn run(listeners: Vec<Listener>, sidecar: Sidecar, settings: Settings, stop: Stop) -> io::Result<()> {
    let listeners: Vec<_> = listeners.into_iter().map(Accepting::new).collect::<io::Result<_>>()?;
    let registry = Arc::clone(&sidecar.registry);
    let shared = Arc::new(Shared {
        dials: Arc::new(Semaphore::new(settings.max_dials)),
        last_dial_failed: AtomicBool::new(false),
        sidecar,
        settings,
    });
    let mut hands = Vec::new();
    let mut ended = Vec::new();
    for (i, counters) in registry.workers.iter().enumerate() {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let links = Arc::new(AtomicUsize::new(0));
        hands.push(Hand {
            jobs,
            links: Arc::clone(&links),
        });
        let (shared, counters, stop) = (Arc::clone(&shared), Arc::clone(counters), stop.clone());
        ended.push(worker::spawn(&format!("worker-{i}"), move || {
            work(shared, inbox, links, counters, stop)
        })?);
    }
    registry.readiness.ready();
    let give = move |admitted: Admitted| hand_over(&hands, admitted);
    let serving = async {
        stop.drain.cancelled().await;
        registry.readiness.drain();
        for worker in ended {
            let _ = worker.await;
        }
    };
    tokio::select! {
        () = admission::admit_links(listeners, shared.sidecar.clone(), give, &stop) => {}
        () = serving => {}
    }
    Ok(())
}

/// Gives a link to the worker with the fewest.
fn hand_over(hands: &[Hand], admitted: Admitted) {
    let Some(hand) = hands.iter().min_by_key(|hand| hand.links.load(Relaxed)) else {
        return;
    };
    let Admitted {
        link,
        socket,
        status,
        slot,
    } = admitted;
    match socket.park() {
        Ok(socket) => {
            hand.links.fetch_add(1, Relaxed);
            // A worker that has ended drops it: the process is stopping.
            let _ = hand.jobs.send(Job {
                link,
                socket,
                status,
                slot,
            });
        }
        Err(error) => tracing::warn!(event = "link_failed", reason = %error, "the accepted socket cannot be moved"),
    }
}

struct Worker {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    buffers: Rc<RefCell<Buffers>>,
    links: Links,
    said: Repeat,
}

async fn work(
    shared: Arc<Shared>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    links: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    stop: Stop,
) {
    let drain_timeout = shared.sidecar.drain_timeout;
    let worker = Rc::new(Worker {
        shared,
        counters,
        buffers: Rc::default(),
        links: Links::default(),
        said: Repeat::default(),
    });
    loop {
        let job = tokio::select! {
            biased;
            () = stop.drain.cancelled() => break,
            job = jobs.recv() => job,
        };
        let Some(job) = job else { break };
        worker.take(job, Arc::clone(&links));
    }
    // Links that were admitted when the drain began: they too are told, and their streams served.
    jobs.close();
    while let Ok(job) = jobs.try_recv() {
        worker.take(job, Arc::clone(&links));
    }
    worker.links.drain(drain_timeout, &stop.now).await;
}

impl Worker {
    fn take(self: &Rc<Self>, job: Job, links: Arc<AtomicUsize>) {
        let Job {
            mut link,
            socket,
            status,
            slot,
        } = job;
        let socket = match socket.unpark() {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(event = "link_failed", reason = %error, "the accepted socket cannot be used");
                links.fetch_sub(1, Relaxed);
                return;
            }
        };
        link.set_counters(Arc::clone(&self.counters));
        let registry: &Arc<Registry> = &self.shared.sidecar.registry;
        let on_open = {
            let worker = Rc::clone(self);
            Box::new(move |carrier: &Rc<Carrier>, id: u32, service: &[u8]| worker.open(carrier, id, service))
        };
        let carrier = Carrier::new(
            link,
            socket,
            Rc::clone(&self.buffers),
            registry.register(status),
            Some(on_open),
        );
        self.counters.links_up.add(1);
        let counters = Arc::clone(&self.counters);
        self.links.drive(&carrier, Arc::clone(&self.counters), move || {
            counters.links_up.add(-1);
            links.fetch_sub(1, Relaxed);
            drop(slot);
        });
    }

    /// OPEN arrived: dials the service, or says why not.
    fn open(self: &Rc<Self>, carrier: &Rc<Carrier>, id: u32, service: &[u8]) {
        let Some(target) = self.shared.settings.targets.find(service).cloned() else {
            self.unknown(carrier, service);
            carrier.refuse(id, Code::UnknownService);
            return;
        };
        let Ok(permit) = Arc::clone(&self.shared.dials).try_acquire_owned() else {
            self.counters.limit_hit(Limit::Dials);
            carrier.refuse(id, Code::Busy);
            return;
        };
        panics::injected_at_stream(id);
        let app = App::new(id, None);
        carrier.adopt(&app);
        let (worker, carrier) = (Rc::clone(self), Rc::clone(carrier));
        self.links.tasks.spawn_local(async move {
            let connected = worker.dial(&app, &target).await;
            drop(permit);
            match connected {
                Some(Ok(())) => drop(stream::run(carrier, app).await),
                Some(Err(code)) => carrier.refuse(id, code),
                None => carrier.forget(id),
            }
        });
    }

    /// `None`: the peer reset the stream meanwhile.
    async fn dial(&self, app: &App, target: &Target) -> Option<Result<(), Code>> {
        let (Target { service, address }, limit) = (target, self.shared.settings.dial_timeout);
        let began = Instant::now();
        let connected = tokio::select! {
            biased;
            _ = app.cancelled() => return None,
            connected = dial::app(address, limit) => connected,
        };
        match connected {
            Ok(socket) => {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.counters.dial_durations.observe_us(took);
                app.connected(socket);
                if self.shared.last_dial_failed.load(Relaxed) {
                    self.shared.last_dial_failed.store(false, Relaxed);
                    self.shared.sidecar.registry.readiness.ready();
                    tracing::info!(event = "dial_recovered", %service, upstream = %address, "the app answers again");
                }
                Some(Ok(()))
            }
            Err(error) => Some(Err(self.dial_failed(target, &error))),
        }
    }

    /// A peer asks for a service that is not listed here.
    fn unknown(&self, carrier: &Carrier, service: &[u8]) {
        // OPEN has the form of a name: ASCII.
        let service = String::from_utf8_lossy(service);
        let (peer, reason) = (&carrier.status.peer, Code::UnknownService.label());
        if self.said.first(reason, &service) {
            let listed = self.shared.settings.targets.all().len();
            tracing::warn!(
                event = "stream_refused",
                reason,
                %service,
                %peer,
                listed,
                "the peer asks for service {service}, which is not listed here, and its app was reset. Give --upstream as many addresses as the webapp's --listen has"
            );
        }
    }

    fn dial_failed(&self, target: &Target, error: &DialError) -> Code {
        let Target {
            service,
            address: upstream,
        } = target;
        let code = error.code();
        self.counters.dials_failed.inc();
        self.shared.last_dial_failed.store(true, Relaxed);
        let readiness = &self.shared.sidecar.registry.readiness;
        readiness.not_ready(format!("the last dial to {upstream} failed: {error}"));
        if self.said.first(code.label(), &format!("{upstream} {error}")) {
            tracing::warn!(
                event = "dial_failed",
                reason = code.label(),
                %service,
                %upstream,
                "cannot connect to the app: {error}. Is it running, and is --upstream its address?"
            );
        }
        code
    }
}
