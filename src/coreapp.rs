//! Role `coreapp`: accepts links, and dials the app for each stream.
//!
//! ```text
//! control thread   accept -> message 1, 2 -> frame 0 --.
//! workers                                              '--> the one with the fewest links: drive, dial apps
//! ```
//!
//! Promises: nothing is dialled or held for a link before frame 0 has opened; a dial that fails resets its stream at once.
//! Must not know: bytes of the wire, keys.

use crate::config::{Address, Target, Targets};
use crate::counters::{Limit, LinkStatus, Registry};
use crate::link::Link;
use crate::net::admission::LinkSlot;
use crate::net::app::{AppSocket, Greeting};
use crate::net::dial::{self, DialError};
use crate::net::driver::Carrier;
use crate::net::socket::Parked;
use crate::net::stream::{self, App};
use crate::net::{repeat::Repeat, worker::Seat};
use crate::panics;
use crate::sidecar::Sidecar;
use crate::wire::message::Code;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Why a stream has no app.
enum NoApp {
    /// Its turn did not come.
    Busy,
    Dial(DialError),
}

impl From<DialError> for NoApp {
    fn from(error: DialError) -> Self {
        Self::Dial(error)
    }
}

/// For the dials of one target. As many wait as are under way, and no more: an app that does not accept holds so many streams of its
/// links, which others want too.
#[derive(Debug)]
struct Room {
    dials: Semaphore,
    /// For who dials and who waits.
    places: Semaphore,
}

/// What one table of this role has.
#[derive(Debug, Clone)]
pub struct Settings {
    pub targets: Targets,
    pub dial_timeout: Duration,
    /// Dials of one target under way at a time.
    pub max_dials: usize,
}

/// What the links of one table may reach, as all workers see it.
#[derive(Debug)]
pub struct Apps {
    sidecar: Sidecar,
    settings: Settings,
    rooms: HashMap<Address, Room>,
    /// Targets whose last dial failed, and how many there are.
    failing: Mutex<HashSet<Address>>,
    failing_now: AtomicUsize,
}

impl Apps {
    pub fn new(sidecar: Sidecar, settings: Settings) -> Self {
        let room = |target: &Target| {
            let room = Room {
                dials: Semaphore::new(settings.max_dials),
                places: Semaphore::new(settings.max_dials.saturating_mul(2)),
            };
            (target.address.clone(), room)
        };
        Self {
            rooms: settings.targets.all().into_iter().map(room).collect(),
            sidecar,
            settings,
            failing: Mutex::default(),
            failing_now: AtomicUsize::new(0),
        }
    }

    /// Whether that is news.
    fn dialled(&self, upstream: &Address, failed: Option<String>) -> bool {
        if failed.is_none() && self.failing_now.load(Relaxed) == 0 {
            return false;
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let news = match &failed {
            Some(_) => failing.insert(upstream.clone()),
            None => failing.remove(upstream),
        };
        self.failing_now.store(failing.len(), Relaxed);
        let part = format!("upstream {upstream}");
        self.sidecar.registry.readiness.part(&part, failed.map_or(Ok(()), Err));
        news
    }
}

/// A link that was admitted, on its way to a worker.
pub struct Job {
    pub link: Link,
    pub socket: Parked,
    pub status: LinkStatus,
    pub slot: LinkSlot,
}

/// The apps of one table on one worker.
pub struct Worker {
    shared: Arc<Apps>,
    seat: Rc<Seat>,
    said: Repeat,
    greetings: RefCell<HashMap<Address, Rc<Greeting>>>,
}

impl Worker {
    pub fn new(seat: &Rc<Seat>, shared: Arc<Apps>) -> Rc<Self> {
        Rc::new(Self {
            shared,
            seat: Rc::clone(seat),
            said: Repeat::default(),
            greetings: RefCell::default(),
        })
    }

    /// Drives a link that was counted in `links`.
    pub fn take(self: &Rc<Self>, job: Job, links: Arc<AtomicUsize>) {
        let Job {
            mut link,
            socket,
            status,
            slot,
        } = job;
        let socket = match socket.unpark() {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(
                    event = "link_failed",
                    reason = "socket",
                    "the accepted socket cannot be used: {error}"
                );
                links.fetch_sub(1, Relaxed);
                return;
            }
        };
        link.set_counters(Arc::clone(&self.seat.counters));
        let registry: &Arc<Registry> = &self.shared.sidecar.registry;
        let on_open = {
            let worker = Rc::clone(self);
            Box::new(move |carrier: &Rc<Carrier>, id: u32, service: &[u8]| worker.open(carrier, id, service))
        };
        let carrier = Carrier::new(
            link,
            socket,
            Rc::clone(&self.seat.buffers),
            registry.register(status),
            Some(on_open),
        );
        self.seat.counters.links_up.add(1);
        let counters = Arc::clone(&self.seat.counters);
        self.seat
            .links
            .drive(&carrier, Arc::clone(&self.seat.counters), move || {
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
        panics::injected_at_stream(id);
        let app = App::new(id, None);
        carrier.adopt(&app);
        let (worker, carrier) = (Rc::clone(self), Rc::clone(carrier));
        self.seat.links.tasks.spawn_local(async move {
            match worker.dial(&app, &target).await {
                Some(Ok(())) => drop(stream::run(carrier, app).await),
                Some(Err(code)) => carrier.refuse(id, code),
                None => carrier.forget(id),
            }
        });
    }

    /// `None`: the peer reset the stream meanwhile.
    async fn dial(&self, app: &App, target: &Target) -> Option<Result<(), Code>> {
        let Target { service, address } = target;
        let connected = tokio::select! {
            biased;
            _ = app.cancelled() => return None,
            connected = self.connect(address) => connected,
        };
        match connected {
            Err(NoApp::Busy) => Some(Err(Code::Busy)),
            Ok(socket) => {
                app.connected(socket);
                if self.shared.dialled(address, None) {
                    tracing::info!(event = "dial_recovered", %service, upstream = %address, "the app answers again");
                }
                Some(Ok(()))
            }
            Err(NoApp::Dial(error)) => Some(Err(self.dial_failed(target, &error))),
        }
    }

    async fn connect(&self, address: &Address) -> Result<AppSocket, NoApp> {
        let _turn = self.turn(address).await?;
        let began = Instant::now();
        let limit = self.shared.settings.dial_timeout;
        let socket = dial::app(address, limit, &self.greeting(address)).await?;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.seat.counters.dial_durations.observe_us(took);
        Ok(socket)
    }

    /// Room for a dial: a burst of connections waits for it, as it would in the app's backlog.
    async fn turn(&self, address: &Address) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), NoApp> {
        // Each target has its own.
        let Room { dials, places } = self.shared.rooms.get(address).ok_or(NoApp::Busy)?;
        let hit = |_| {
            self.seat.counters.limit_hit(Limit::Dials);
            NoApp::Busy
        };
        let place = places.try_acquire().map_err(hit)?;
        if let Ok(turn) = dials.try_acquire().map_err(hit) {
            return Ok((place, turn));
        }
        match timeout(self.shared.settings.dial_timeout, dials.acquire()).await {
            Ok(Ok(turn)) => Ok((place, turn)),
            _ => Err(NoApp::Busy),
        }
    }

    /// That of the app at `address`, which is one of the targets.
    fn greeting(&self, address: &Address) -> Rc<Greeting> {
        let mut greetings = self.greetings.borrow_mut();
        if let Some(greeting) = greetings.get(address) {
            return Rc::clone(greeting);
        }
        Rc::clone(greetings.entry(address.clone()).or_default())
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
        self.seat.counters.dials_failed.inc();
        let why = format!("the last dial to {upstream} failed: {error}");
        self.shared.dialled(upstream, Some(why));
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
