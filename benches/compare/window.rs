//! One window: a work, given to a pair for a short time.

use std::time::Duration;

use serde_json::Value;

use crate::{
    figures, probe,
    results::{Metric, Sample},
    stage::{ROUND_TRIP, Stage},
    works::{self, Kind, Setting, Work},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// On a path of 50 ms TCP, and credit, take a while to open up.
const FAR_WARMUP: Duration = Duration::from_secs(2);
const FAR_WINDOW: Duration = Duration::from_secs(4);

/// How long it takes, as far as that is known before.
pub fn length(work: &Work, window: Duration, warmup: Duration) -> Duration {
    match work.kind {
        Kind::Load(arguments) if arguments[0] == "mixed" => (window + warmup) * 2,
        Kind::Load(_) | Kind::Sealing => window + warmup,
        Kind::FirstByte => window,
        Kind::Far => window.max(FAR_WINDOW) + warmup.max(FAR_WARMUP),
        Kind::Growth => works::GROWTH
            .iter()
            .map(|&many| window + growth_warmup(warmup, many))
            .sum(),
        Kind::Memory => Duration::ZERO,
    }
}

pub fn run(work: &Work, peer: &str, stage: &mut Stage, window: Duration, warmup: Duration) -> Sample {
    let measured = match work.kind {
        Kind::Load(arguments) => load(stage, peer, Setting::Near, arguments, window, warmup),
        Kind::Sealing => load(stage, peer, Setting::Near, works::BULK, window, warmup),
        Kind::FirstByte => first_byte(stage, peer, window),
        Kind::Far => far(stage, peer, window.max(FAR_WINDOW), warmup.max(FAR_WARMUP)),
        Kind::Growth => growth(stage, peer, window, warmup),
        Kind::Memory => Ok(Sample::default()),
    };
    let mut sample = measured.unwrap_or_else(|error| Sample {
        errors: vec![error],
        ..Sample::default()
    });
    if let Some(pair) = stage.pair(peer, work.setting())
        && !pair.is_running()
    {
        sample.errors.push(format!("a relay has ended\n{}", pair.tails()));
    }
    sample
}

fn load(
    stage: &mut Stage,
    peer: &str,
    setting: Setting,
    arguments: &[&str],
    window: Duration,
    warmup: Duration,
) -> Result<Sample, String> {
    let generator = stage.generator.clone();
    let pair = stage.pair(peer, setting).ok_or("it does not run")?;
    Ok(sample(&generator.load(arguments, pair, window, warmup)?))
}

/// From what the load generator says (benches/README.md, "JSON").
fn sample(said: &Value) -> Sample {
    let mut sample = Sample::default();
    let number = |value: &Value| value.as_f64().filter(|&number| number > 0.0);
    let mut put = |metric, value: Option<f64>| {
        if let Some(value) = value {
            sample.values.insert(metric, value);
        }
    };
    let work = said["work"].as_str().unwrap_or_default();
    let (operations, bytes) = (number(&said["operations"]), number(&said["bytes"]));
    // No relays, no CPU.
    let relays = said["cpu_seconds"]
        .as_object()
        .into_iter()
        .flat_map(|names| names.values());
    let cpu = Some(relays.filter_map(Value::as_f64).sum()).filter(|&seconds: &f64| seconds > 0.0);
    if work == "bulk" {
        put(Metric::BytesPerSecond, number(&said["bytes_per_second"]));
        put(
            Metric::Cpu,
            cpu.zip(bytes).map(|(seconds, bytes)| seconds / bytes * 1e9),
        );
    } else {
        put(Metric::PerSecond, number(&said["per_second"]));
        put(Metric::P50, number(&said["latency_us"]["p50"]));
        put(Metric::P99, number(&said["latency_us"]["p99"]));
    }
    if work == "mixed" {
        put(Metric::BytesPerSecond, number(&said["beside"]["bulk_bytes_per_second"]));
        put(Metric::P99Alone, number(&said["alone"]["latency_us"]["p99"]));
        put(Metric::Fairness, number(&said["fairness_p99"]));
    } else if work != "bulk" {
        put(
            Metric::Cpu,
            cpu.zip(operations)
                .map(|(seconds, operations)| seconds / operations * 1e6),
        );
    }
    for class in said["error_classes"].as_array().into_iter().flatten() {
        let text = |name: &str| class[name].as_str().unwrap_or_default().to_owned();
        let line = format!(
            "{} times {}, the first: {}",
            class["count"],
            text("class"),
            text("first")
        );
        sample.errors.push(line);
    }
    if sample.values.is_empty() && sample.errors.is_empty() {
        sample.errors.push("nothing was answered".to_owned());
    }
    sample
}

fn first_byte(stage: &mut Stage, peer: &str, window: Duration) -> Result<Sample, String> {
    let pair = stage.pair(peer, Setting::Delayed).ok_or("it does not run")?;
    let seconds = probe::first_bytes(pair.entry, window, PATIENCE).map_err(|error| error.to_string())?;
    let median = figures::spread(&seconds).ok_or("nothing was answered")?.median;
    let mut sample = Sample::default();
    sample.values.insert(Metric::P50, median * 1e6);
    sample
        .values
        .insert(Metric::RoundTrips, median / ROUND_TRIP.as_secs_f64());
    Ok(sample)
}

fn far(stage: &mut Stage, peer: &str, window: Duration, warmup: Duration) -> Result<Sample, String> {
    if peer != works::IPERF3 {
        return load(stage, peer, Setting::Far, works::BULK, window, warmup);
    }
    let iperf3 = stage.iperf3.as_ref().ok_or("it does not run")?;
    let mut sample = Sample::default();
    sample
        .values
        .insert(Metric::BytesPerSecond, iperf3.run(window, warmup)?);
    Ok(sample)
}

/// All of them have connected, and have been answered, before anything counts.
fn growth_warmup(warmup: Duration, connections: usize) -> Duration {
    warmup + Duration::from_millis(connections as u64)
}

/// CPU of a request, from one connection to thousands.
fn growth(stage: &mut Stage, peer: &str, window: Duration, warmup: Duration) -> Result<Sample, String> {
    let mut whole = Sample::default();
    let mut cpu = Vec::new();
    let known = stage.cast.peers.iter().find(|known| known.name == peer);
    let most = known.map_or(0, |peer| stage.crowd(peer));
    for &connections in works::GROWTH.iter().filter(|&&connections| connections < most) {
        let many = connections.to_string();
        let arguments = ["request", "--connections", &many];
        let warmup = growth_warmup(warmup, connections);
        let mut sample = load(stage, peer, Setting::Crowded, &arguments, window, warmup)?;
        whole.errors.append(&mut sample.errors);
        if let Some(&value) = sample.values.get(&Metric::Cpu) {
            whole.values.insert(Metric::CpuAt(connections), value);
            cpu.push((connections, value));
        }
    }
    let steps = cpu.windows(2).map(|pair| (pair[1].0, pair[1].1 / pair[0].1));
    let (last, earlier): (Vec<_>, Vec<_>) = steps.partition(|&(connections, _)| connections > 1000);
    let largest = |steps: &[(usize, f64)]| steps.iter().map(|&(_, step)| step).max_by(f64::total_cmp);
    for (metric, steps) in [(Metric::GrowthTo1000, earlier), (Metric::GrowthTo5000, last)] {
        if let Some(step) = largest(&steps) {
            whole.values.insert(metric, step);
        }
    }
    Ok(whole)
}
