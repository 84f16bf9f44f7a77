//! One process: its worker threads, and every table of its configuration on them, whichever role that has.
//!
//! ```text
//! control thread   accept links -> handshake -> frame 0 --.
//!                                                         '--> the worker with the fewest
//! worker thread    apps in (webapp) -> its links to peers;   links in -> apps (coreapp)
//! ```
//!
//! Promises: a worker has one link to a peer, however many listeners use it; there is one judge of handshakes, one budget and one limit
//! of each kind, however many tables there are.
//! Must not know: what a role does with its sockets.

use crate::coreapp;
use crate::counters::Counters;
use crate::net::accept::Accepting;
use crate::net::admission::{self, Admitted};
use crate::net::listen::Listener;
use crate::net::socket::Parked;
use crate::net::worker::{self, Seat};
use crate::sidecar::Sidecar;
use crate::signals::Stop;
use crate::webapp::{self, Door};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use tokio::sync::mpsc;

/// What the process serves, bound already.
#[derive(Debug, Default)]
pub struct Tables {
    pub webapps: Vec<(webapp::Settings, Vec<Door>)>,
    pub coreapps: Vec<(coreapp::Settings, Vec<Listener>)>,
    /// App connections that wait for a link at a time.
    pub max_waiting: usize,
}

/// A worker as the control thread sees it.
struct Hand {
    jobs: mpsc::UnboundedSender<(usize, coreapp::Job)>,
    links: Arc<AtomicUsize>,
}

/// Serves until `stop` has ended it. Errors: a listener cannot be used, or a worker not started.
pub async fn run(tables: Tables, sidecar: Sidecar, stop: Stop) -> io::Result<()> {
    let registry = Arc::clone(&sidecar.registry);
    let waiting = Arc::new(webapp::Waiting::new(tables.max_waiting));
    let mut uplinks: Vec<(Arc<webapp::Uplink>, Vec<Door>)> = Vec::new();
    for (settings, doors) in tables.webapps {
        match uplinks.iter_mut().find(|(uplink, _)| uplink.settings == settings) {
            Some((_, known)) => known.extend(doors),
            None => {
                let uplink = webapp::Uplink::new(sidecar.clone(), settings, Arc::clone(&waiting));
                uplinks.push((Arc::new(uplink), doors));
            }
        }
    }
    let mut listeners = Vec::new();
    let mut apps = Vec::new();
    for (table, (settings, bound)) in tables.coreapps.into_iter().enumerate() {
        for listener in bound {
            listeners.push((Accepting::new(listener)?, table));
        }
        apps.push(Arc::new(coreapp::Apps::new(sidecar.clone(), settings)));
    }
    let mut hands = Vec::new();
    let mut ended = Vec::new();
    for (i, counters) in registry.workers.iter().enumerate() {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let links = Arc::new(AtomicUsize::new(0));
        hands.push(Hand {
            jobs,
            links: Arc::clone(&links),
        });
        let work = Work {
            uplinks: duplicates(&uplinks)?,
            apps: apps.clone(),
            inbox,
            links,
        };
        let (sidecar, counters, stop) = (sidecar.clone(), Arc::clone(counters), stop.clone());
        let thread = thread::Builder::new().name(format!("worker-{i}"));
        ended.push(worker::spawn(thread, move || work.run(sidecar, counters, stop))?);
    }
    drop(uplinks);
    registry.readiness.ready();
    let give = move |admitted| hand_over(&hands, admitted);
    let serving = async {
        stop.drain.cancelled().await;
        registry.readiness.drain();
        let mut result = Ok(());
        for worker in ended {
            // One that panicked has ended the process.
            result = result.and(worker.await.unwrap_or(Ok(())));
        }
        result
    };
    tokio::select! {
        () = admission::admit_links(listeners, sidecar.clone(), give, &stop) => Ok(()),
        result = serving => result,
    }
}

/// Not SO_REUSEPORT: closing one of two reuseport listeners resets what waits in it.
fn duplicates(uplinks: &[(Arc<webapp::Uplink>, Vec<Door>)]) -> io::Result<Vec<(Arc<webapp::Uplink>, Vec<Door>)>> {
    let of_one = |(uplink, doors): &(Arc<webapp::Uplink>, Vec<Door>)| {
        let doors = doors.iter().map(Door::try_clone).collect::<io::Result<_>>()?;
        Ok((Arc::clone(uplink), doors))
    };
    uplinks.iter().map(of_one).collect()
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
        table,
    } = admitted;
    let socket: io::Result<Parked> = socket.park();
    match socket {
        Ok(socket) => {
            hand.links.fetch_add(1, Relaxed);
            let job = coreapp::Job {
                link,
                socket,
                status,
                slot,
            };
            // A worker that has ended drops it: the process is stopping.
            let _ = hand.jobs.send((table, job));
        }
        Err(error) => {
            tracing::warn!(
                event = "link_failed",
                reason = "socket",
                "the accepted socket cannot be moved: {error}"
            );
        }
    }
}

/// What one worker is to do.
struct Work {
    uplinks: Vec<(Arc<webapp::Uplink>, Vec<Door>)>,
    apps: Vec<Arc<coreapp::Apps>>,
    inbox: mpsc::UnboundedReceiver<(usize, coreapp::Job)>,
    /// Links that were handed over and have not ended.
    links: Arc<AtomicUsize>,
}

impl Work {
    /// Errors: a listener cannot be used; the process drains and ends for that.
    async fn run(mut self, sidecar: Sidecar, counters: Arc<Counters>, stop: Stop) -> io::Result<()> {
        let seat = Rc::new(Seat::new(counters));
        let mut accepting = Vec::new();
        let mut result = Ok(());
        for (uplink, doors) in self.uplinks {
            match webapp::start(&seat, uplink, doors, stop.drain.clone()) {
                Ok(tasks) => accepting.extend(tasks),
                Err(error) => {
                    result = Err(io::Error::new(
                        error.kind(),
                        format!("a listener cannot be used: {error}"),
                    ));
                    stop.drain.cancel();
                }
            }
        }
        let apps: Vec<_> = self
            .apps
            .into_iter()
            .map(|apps| coreapp::Worker::new(&seat, apps))
            .collect();
        loop {
            let job = tokio::select! {
                biased;
                () = stop.drain.cancelled() => break,
                job = self.inbox.recv() => job,
            };
            let Some((table, job)) = job else { break };
            if let Some(worker) = apps.get(table) {
                worker.take(job, Arc::clone(&self.links));
            }
        }
        // Links that were admitted when the drain began: they too are told, and their streams served.
        self.inbox.close();
        while let Ok((table, job)) = self.inbox.try_recv() {
            if let Some(worker) = apps.get(table) {
                worker.take(job, Arc::clone(&self.links));
            }
        }
        // The listeners close with the tasks that hold them.
        for task in &accepting {
            task.abort();
        }
        seat.links.drain(sidecar.drain_timeout, &stop.now).await;
        result
    }
}
