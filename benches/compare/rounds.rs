//! The order in which windows run: round after round, in a round work after work, in a work peer after peer.
//!
//! Those that are compared with each other follow each other, and who is first changes from round to round. Memory comes last, once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    flags::Options,
    memory,
    results::Results,
    stage::Stage,
    window,
    works::{Kind, Work},
};

/// Set by SIGINT or SIGTERM: what was measured until then is reported. A second one ends at once.
pub type Stop = Arc<AtomicBool>;

/// # Errors
/// The system's.
pub fn stop_on_signals() -> io::Result<Stop> {
    let stop = Stop::default();
    let stopped = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            for times in 0.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if times > 0 {
                    // Relays and generators end with this process.
                    std::process::exit(crate::FAILED.into());
                }
                eprintln!("compare: ends after this window, with what there is; once more: at once");
                stopped.store(true, Relaxed);
            }
        });
    })?;
    Ok(stop)
}

pub fn run(options: &Options, stage: &mut Stage, stop: &Stop) -> Results {
    let mut results = Results::default();
    let works: Vec<&Work> = options
        .works
        .iter()
        .copied()
        .filter(|work| work.kind != Kind::Memory)
        .collect();
    let length = |work: &Work| window::length(work, options.window, options.warmup);
    let round: Duration = works
        .iter()
        .map(|work| length(work) * stage.participants(work).len() as u32)
        .sum();
    let remembers = options.works.iter().find(|work| work.kind == Kind::Memory);
    let after = match remembers {
        Some(_) => memory::ABOUT * stage.cast.peers.len() as u32,
        None => Duration::ZERO,
    };
    let mut clock = Clock::new(round * options.rounds as u32);
    for index in 0..options.rounds {
        for work in &works {
            let mut names = stage.participants(work);
            let many = names.len().max(1);
            names.rotate_left(index % many);
            eprintln!(
                "compare: round {} of {}, {}: {} left",
                index + 1,
                options.rounds,
                work.name,
                clock.left(after)
            );
            for name in names {
                if stop.load(Relaxed) {
                    results.interrupted = true;
                    return results;
                }
                let sample = window::run(work, &name, stage, options.window, options.warmup);
                for error in &sample.errors {
                    eprintln!("compare: {name}: {error}");
                }
                results.add(work.name, &name, index, sample);
                clock.done(length(work));
            }
        }
    }
    if let Some(work) = remembers {
        stage.clear();
        let peers: Vec<_> = stage
            .cast
            .peers
            .iter()
            .filter(|peer| work.takes(peer))
            .cloned()
            .collect();
        for peer in peers {
            if stop.load(Relaxed) {
                results.interrupted = true;
                break;
            }
            eprintln!("compare: memory of {}", peer.name);
            results.add(work.name, &peer.name, 0, memory::measure(stage, &peer));
        }
    }
    results
}

/// How long it still takes: what was planned, at the pace that it goes.
struct Clock {
    begin: Instant,
    planned: Duration,
    done: Duration,
}

impl Clock {
    fn new(planned: Duration) -> Clock {
        Clock {
            begin: Instant::now(),
            planned,
            done: Duration::ZERO,
        }
    }

    fn done(&mut self, length: Duration) {
        self.done += length;
    }

    fn left(&self, after: Duration) -> String {
        let pace = match self.done.is_zero() {
            // Starting a generator takes its time too.
            true => 1.1,
            false => self.begin.elapsed().as_secs_f64() / self.done.as_secs_f64(),
        };
        let left = self.planned.saturating_sub(self.done).mul_f64(pace) + after;
        match left.as_secs() {
            seconds if seconds < 90 => format!("{seconds} s"),
            seconds => format!("{} min", seconds.div_ceil(60)),
        }
    }
}
