//! A run: threads that work, phases that are measured, and the clock over both.
//!
//!     warm-up | measured                          request, connection, bulk
//!     warm-up | alone | warm-up with bulk | beside         mixed
//!
//! Promises: whatever ends a phase (its time, the last transfer, Ctrl-C), what was measured is reported. Must not know:
//! how results look.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    address::Target,
    cpu::{self, Watched},
    fault::{Fault, Faults, Kind},
    progress::Progress,
    schedule::Schedule,
    tally::{Shared, Tally},
    work::{self, Bench, Request, Transfer},
};

/// What runs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    pub timeout: Duration,
    pub threads: usize,
    pub small: Option<Small>,
    pub bulk: Option<Bulk>,
    pub phases: Vec<Phase>,
    pub watched: Vec<Watched>,
}

/// Short operations.
#[derive(Clone, Debug)]
pub struct Small {
    pub request: Request,
    /// How many at a time.
    pub connections: usize,
    pub connection_each: bool,
    /// A second, or as fast as the target goes.
    pub rate: Option<f64>,
}

/// Long transfers.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// One a stream.
    pub streams: Vec<Transfer>,
    /// Each once, or over and over.
    pub once: bool,
}

/// A part of a run.
#[derive(Clone, Debug)]
pub struct Phase {
    pub name: &'static str,
    /// Until the transfers are done if `None`.
    pub length: Option<Duration>,
    pub counted: bool,
    pub bulk: bool,
}

/// What a phase came to.
#[derive(Debug)]
pub struct Window {
    pub seconds: f64,
    pub small: Tally,
    pub bulk: Tally,
    /// By name of [`Watched`].
    pub cpu: BTreeMap<String, f64>,
    /// Of the generator itself.
    pub own_cpu: f64,
    pub seconds_series: Vec<Second>,
}

/// About a second of a phase.
#[derive(Debug)]
pub struct Second {
    /// Its end, seconds since the phase began.
    pub at: f64,
    pub length: f64,
    pub small: Tally,
    pub bulk: Tally,
}

/// All phases that were counted.
#[derive(Debug)]
pub struct Measured {
    pub windows: Vec<Window>,
    /// What failed outside of them.
    pub uncounted: Faults,
    /// Ended by Ctrl-C.
    pub interrupted: bool,
    /// What is wrong with the measurement itself.
    pub notes: Vec<String>,
}

/// Where a phase begins.
struct Start {
    at: Instant,
    cpu: BTreeMap<String, f64>,
    own_cpu: f64,
}

impl Start {
    fn now(watched: &[Watched]) -> Start {
        let (cpu, _) = cpu::sample(watched);
        Start {
            cpu,
            own_cpu: cpu::own(),
            at: Instant::now(),
        }
    }
}

struct Worker {
    small: Arc<Bench>,
    bulk: Arc<Bench>,
    thread: JoinHandle<io::Result<()>>,
}

/// Whether the target can be reached at all.
///
/// # Errors
/// Why it cannot.
pub async fn probe(target: &Target, timeout: Duration) -> Result<(), Fault> {
    match tokio::time::timeout(timeout, target.connect()).await {
        Ok(Ok(_socket)) => Ok(()),
        Ok(Err(error)) => Err(Fault::connect(&error)),
        Err(_) => Err(Fault::new(Kind::Timeout, format!("connect: nothing for {timeout:?}"))),
    }
}

/// Runs `plan` to its end.
///
/// # Errors
/// The system's: no thread, no timer.
pub async fn run(plan: &Plan, progress: &mut Progress) -> io::Result<Measured> {
    // The first phase begins before the threads do, so that what they do at once is in it.
    let mut start = Start::now(&plan.watched);
    let stop = CancellationToken::new();
    let bulk_on = CancellationToken::new();
    let (alive, mut all_done) = mpsc::channel::<()>(1);
    let workers = begin(plan, &stop, &bulk_on, &alive)?;
    drop(alive);

    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut measured = Measured {
        windows: Vec::new(),
        uncounted: Faults::default(),
        interrupted: false,
        notes: Vec::new(),
    };
    let (mut over, mut begun) = (false, false);
    for phase in &plan.phases {
        if over {
            break;
        }
        if phase.bulk {
            bulk_on.cancel();
        }
        if begun {
            let (small, bulk) = take(&workers);
            measured.uncounted.merge(small.faults);
            measured.uncounted.merge(bulk.faults);
            start = Start::now(&plan.watched);
        }
        begun = true;
        let begin = start.at;
        let end = phase.length.map(|length| begin + length);
        progress.phase(phase.name, phase.length);
        let mut window = Window {
            seconds: 0.0,
            small: Tally::default(),
            bulk: Tally::default(),
            cpu: BTreeMap::new(),
            own_cpu: 0.0,
            seconds_series: Vec::new(),
        };
        let mut ended = false;
        while !ended {
            let tick = begin + Duration::from_secs(window.seconds_series.len() as u64 + 1);
            // A tail of less than half a second belongs to the second before it.
            let until = end.map_or(tick, |end| {
                if tick + Duration::from_millis(500) > end {
                    end
                } else {
                    tick
                }
            });
            tokio::select! {
                () = tokio::time::sleep_until(until) => ended = end == Some(until),
                _ = all_done.recv() => (ended, over) = (true, true),
                _ = interrupt.recv() => (ended, over, measured.interrupted) = (true, true, true),
                _ = terminate.recv() => (ended, over, measured.interrupted) = (true, true, true),
            }
            if ended {
                // Threads that work until they are told to stop are measured until they have stopped.
                let last = plan.phases.last().is_some_and(|last| std::ptr::eq(last, phase));
                if over || last {
                    stop.cancel();
                    while all_done.recv().await.is_some() {}
                }
                window.seconds = begin.elapsed().as_secs_f64();
                window.own_cpu = cpu::own() - start.own_cpu;
                let (cpu_after, missing) = cpu::sample(&plan.watched);
                measured.notes.extend(missing);
                for (name, after) in cpu_after {
                    if let Some(before) = start.cpu.get(&name) {
                        window.cpu.insert(name, after - before);
                    }
                }
            }
            let (small, bulk) = take(&workers);
            let at = begin.elapsed().as_secs_f64();
            let length = at - window.seconds_series.last().map_or(0.0, |second| second.at);
            window.small.merge(small.clone());
            window.bulk.merge(bulk.clone());
            window.seconds_series.push(Second {
                at,
                length,
                small,
                bulk,
            });
            progress.second(&window);
        }
        if phase.counted {
            measured.windows.push(window);
        } else {
            measured.uncounted.merge(window.small.faults);
            measured.uncounted.merge(window.bulk.faults);
        }
    }
    for worker in workers {
        match worker.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::Error::other("a thread of the generator panicked")),
        }
    }
    progress.end();
    Ok(measured)
}

fn take(workers: &[Worker]) -> (Tally, Tally) {
    let (mut small, mut bulk) = (Tally::default(), Tally::default());
    for worker in workers {
        small.merge(worker.small.tally.take(Tally::default()));
        bulk.merge(worker.bulk.tally.take(Tally::default()));
    }
    (small, bulk)
}

fn begin(
    plan: &Plan,
    stop: &CancellationToken,
    bulk_on: &CancellationToken,
    alive: &mpsc::Sender<()>,
) -> io::Result<Vec<Worker>> {
    // The first operations are due when all threads are there.
    let begin = Instant::now() + Duration::from_millis(10);
    let bench = |schedule| {
        Arc::new(Bench {
            target: plan.target.clone(),
            timeout: plan.timeout,
            schedule,
            tally: Shared::default(),
        })
    };
    (0..plan.threads)
        .map(|index| {
            let rate = plan.small.as_ref().and_then(|small| small.rate);
            // Threads take turns, so that their schedules interleave.
            let offset = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(index as f64 / rate));
            let small = bench(Schedule::new(
                rate.map(|rate| rate / plan.threads as f64),
                begin + offset,
            ));
            let bulk = bench(Schedule::new(None, begin));
            let share = Share {
                small: plan
                    .small
                    .as_ref()
                    .map(|work| (work.clone(), share_of(work.connections, plan.threads, index))),
                streams: plan
                    .bulk
                    .iter()
                    .flat_map(|work| work.streams.iter().skip(index).step_by(plan.threads))
                    .cloned()
                    .collect(),
                once: plan.bulk.as_ref().is_some_and(|bulk| bulk.once),
                stop: stop.clone(),
                bulk_on: bulk_on.clone(),
            };
            let (for_small, for_bulk, alive) = (Arc::clone(&small), Arc::clone(&bulk), alive.clone());
            let thread = thread::Builder::new().name(format!("load-{index}")).spawn(move || {
                let result = work(share, &for_small, &for_bulk);
                drop(alive);
                result
            })?;
            Ok(Worker { small, bulk, thread })
        })
        .collect()
}

fn share_of(total: usize, threads: usize, index: usize) -> usize {
    total * (index + 1) / threads - total * index / threads
}

/// What one thread does.
struct Share {
    small: Option<(Small, usize)>,
    streams: Vec<Transfer>,
    once: bool,
    stop: CancellationToken,
    bulk_on: CancellationToken,
}

fn work(share: Share, small: &Arc<Bench>, bulk: &Arc<Bench>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let endless = share.small.is_some();
        if let Some((work, connections)) = share.small {
            for _ in 0..connections {
                if work.connection_each {
                    tokio::spawn(work::connections(Arc::clone(small), work.request.clone()));
                } else {
                    tokio::spawn(work::requests(Arc::clone(small), work.request.clone()));
                }
            }
        }
        let streams = async {
            share.bulk_on.cancelled().await;
            let mut tasks = JoinSet::new();
            for transfer in share.streams {
                tasks.spawn(work::bulk(Arc::clone(bulk), transfer, share.once));
            }
            while tasks.join_next().await.is_some() {}
            if endless {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = share.stop.cancelled() => Ok(()),
            () = streams => Ok(()),
            result = small.schedule.run() => result,
        }
    });
    // What is under way ends here, and counts itself as unanswered.
    drop(runtime);
    if let Schedule::Open(open) = &small.schedule {
        let now = Instant::now();
        let mut tally = small.tally.lock();
        for due in open.left(now) {
            tally.unanswered += 1;
            tally.latency(now - due);
        }
    }
    outcome
}
