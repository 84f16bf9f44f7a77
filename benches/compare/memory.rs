//! Memory of a relay: idle, with 1,000 busy streams, with 10,000 idle ones.
//!
//! Each peer has pairs of its own for this, while no other runs: pages that two processes share are counted by halves. Of the two
//! relays the larger counts.

use std::{thread, time::Duration};

use crate::{
    pair::Pair,
    peers::Peer,
    probe, processes,
    processes::Kib,
    results::{Metric, Sample},
    stage::Stage,
    works::Setting,
};

const BUSY: &[&str] = &["bulk", "--streams", "1000"];
const IDLE: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(10);
/// Some take longer the more they have: they are measured with those that they took.
const OPENING: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(1);
const BUSY_WARMUP: Duration = Duration::from_secs(2);
const BUSY_WINDOW: Duration = Duration::from_secs(3);
/// For the report: about what a peer takes.
pub const ABOUT: Duration = Duration::from_secs(20);

pub fn measure(stage: &Stage, peer: &Peer) -> Sample {
    let mut sample = Sample::default();
    if let Err(error) = idle_and_busy(stage, peer, &mut sample) {
        sample.errors.push(format!("with busy streams: {error}"));
    }
    if let Err(error) = idle_streams(stage, peer, &mut sample) {
        sample.errors.push(format!("with idle streams: {error}"));
    }
    sample
}

fn idle_and_busy(stage: &Stage, peer: &Peer, sample: &mut Sample) -> Result<(), String> {
    let pair = stage.start(peer, Setting::Near)?;
    thread::sleep(SETTLE);
    let idle = larger(&pair);
    sample.values.insert(Metric::Idle, idle.proportional);
    sample.values.insert(Metric::IdleResident, idle.resident);
    let load = stage.generator.begin(BUSY, &pair, BUSY_WINDOW, BUSY_WARMUP)?;
    thread::sleep(BUSY_WARMUP + BUSY_WINDOW / 2);
    let busy = larger(&pair);
    let said = load.end()?;
    if said["errors"].as_f64().is_none_or(|errors| errors > 0.0) {
        return Err(format!("{} errors: {}", said["errors"], said["error_classes"]));
    }
    sample.values.insert(Metric::Busy, busy.proportional);
    sample.values.insert(Metric::BusyPeak, larger(&pair).peak);
    Ok(())
}

fn idle_streams(stage: &Stage, peer: &Peer, sample: &mut Sample) -> Result<(), String> {
    let pair = stage.start(peer, Setting::Crowded)?;
    thread::sleep(SETTLE);
    let before = each(&pair);
    let wanted = IDLE.min(stage.crowd(peer).saturating_sub(100));
    let (streams, error) = probe::idle(pair.entry, wanted, OPENING, PATIENCE);
    thread::sleep(SETTLE);
    let after = each(&pair);
    let many = streams.len() as f64;
    sample.values.insert(Metric::IdleStreams, many);
    let grown = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after.proportional - before.proportional);
    if let Some(most) = grown.max_by(f64::total_cmp) {
        sample.values.insert(Metric::PerStream, most.max(0.0) / many.max(1.0));
    }
    match error {
        Some(error) => Err(format!("after {many} of {wanted}: {error}")),
        None => Ok(()),
    }
}

fn each(pair: &Pair) -> Vec<Kib> {
    let relays = pair.relays.iter();
    relays.map(|relay| processes::memory(&relay.ids())).collect()
}

fn larger(pair: &Pair) -> Kib {
    let most = |of: fn(&Kib) -> f64| each(pair).iter().map(of).fold(0.0, f64::max);
    Kib {
        resident: most(|kib| kib.resident),
        proportional: most(|kib| kib.proportional),
        peak: most(|kib| kib.peak),
    }
}
