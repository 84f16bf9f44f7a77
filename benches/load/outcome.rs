//! What a run came to: the JSON form, and the table.
//!
//! Promises: the names in JSON stay as they are (benches/README.md). Must not know: how it was measured.

use std::{collections::BTreeMap, fmt::Write};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    quantity,
    run::{Measured, Window},
    tally::Tally,
};

/// One run. Rates and CPU are of its measured window; in mixed work, of the small requests beside bulk.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Outcome {
    pub work: String,
    pub label: String,
    pub target: String,
    pub seconds: f64,
    /// Requests, connections, or transfers that were done.
    pub operations: u64,
    /// Payload, both directions.
    pub bytes: u64,
    pub errors: u64,
    pub per_second: f64,
    pub bytes_per_second: f64,
    pub latency_us: Latency,
    pub cpu_seconds: BTreeMap<String, f64>,
    pub generator_cpu_seconds: f64,
    /// Class, how many, the first one.
    pub error_classes: Vec<ErrorClass>,
    /// In an open loop: begun over 1 ms after their time.
    pub late: u64,
    /// In an open loop: due and without an answer when the run ended; their latency counts as far as it went.
    pub unanswered: u64,
    pub connects: u64,
    pub interrupted: bool,
    pub notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Half>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Half>,
    /// p99 beside bulk over p99 alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness_p99: Option<f64>,
    /// Name and value, as one would want to see them beside the result.
    pub parameters: Vec<(String, String)>,
    pub machine: Vec<(String, String)>,
    pub series: Vec<Point>,
}

/// Microseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Latency {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    /// Percentile (0 to 100) and microseconds, denser towards 100.
    pub curve: Vec<(f64, f64)>,
}

/// A half of mixed work.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Half {
    pub seconds: f64,
    pub operations: u64,
    pub per_second: f64,
    pub latency_us: Latency,
    pub bulk_bytes: u64,
    pub bulk_bytes_per_second: f64,
    pub cpu_seconds: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ErrorClass {
    pub class: String,
    pub count: u64,
    pub first: String,
}

/// About a second of the run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Point {
    /// Its end, seconds since measuring began.
    pub at: f64,
    pub per_second: f64,
    pub bytes_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// What is known before the run.
#[derive(Clone, Debug)]
pub struct Heading {
    pub work: &'static str,
    pub label: String,
    pub target: String,
    pub rate: Option<f64>,
    pub parameters: Vec<(String, String)>,
    pub machine: Vec<(String, String)>,
}

impl Outcome {
    pub fn new(heading: Heading, measured: Measured) -> Outcome {
        let Measured {
            windows,
            uncounted,
            interrupted,
            mut notes,
        } = measured;
        let mixed = heading.work == "mixed";
        if uncounted.total() > 0 {
            let count = quantity::count(uncounted.total() as f64);
            notes.push(format!(
                "{count} of the errors came before or between what was measured"
            ));
        }
        let (mut faults, mut late, mut unanswered, mut connects) = (uncounted, 0, 0, 0);
        let mut series = Vec::new();
        let mut passed = 0.0;
        for window in &windows {
            for tally in [&window.small, &window.bulk] {
                faults.merge(tally.faults.clone());
                late += tally.late;
                unanswered += tally.unanswered;
                connects += tally.connects;
            }
            series.extend(points(window, passed, heading.work == "bulk"));
            passed += window.seconds;
        }
        let halves: Vec<Half> = if mixed {
            windows.iter().map(half).collect()
        } else {
            Vec::new()
        };
        let fairness_p99 = match &halves[..] {
            [alone, beside] if alone.latency_us.p99 > 0.0 && beside.bulk_bytes > 0 => {
                Some(beside.latency_us.p99 / alone.latency_us.p99)
            }
            _ => None,
        };
        let mut halves = halves.into_iter();
        let empty = Tally::default();
        let window = windows.last();
        let seconds = window.map_or(0.0, |window| window.seconds);
        let tally = window.map_or(&empty, |window| {
            if heading.work == "bulk" {
                &window.bulk
            } else {
                &window.small
            }
        });
        let bytes = window.map_or(0, |window| window.small.bytes + window.bulk.bytes);
        Outcome {
            work: heading.work.to_owned(),
            label: heading.label,
            target: heading.target,
            seconds,
            operations: tally.operations,
            bytes,
            errors: faults.total(),
            per_second: per(tally.operations as f64, seconds),
            bytes_per_second: per(bytes as f64, seconds),
            latency_us: latency(&tally.latencies),
            cpu_seconds: window.map(|window| window.cpu.clone()).unwrap_or_default(),
            generator_cpu_seconds: window.map_or(0.0, |window| window.own_cpu),
            error_classes: faults
                .rows()
                .map(|(kind, count, first)| ErrorClass {
                    class: kind.name().to_owned(),
                    count,
                    first: first.to_owned(),
                })
                .collect(),
            late,
            unanswered,
            connects,
            interrupted,
            notes,
            rate: heading.rate,
            alone: halves.next(),
            beside: halves.next(),
            fairness_p99,
            parameters: heading.parameters,
            machine: heading.machine,
            series,
        }
    }

    /// Whether the run may be believed: something was done, and nothing failed.
    pub fn is_good(&self) -> bool {
        self.errors == 0 && (self.operations > 0 || (self.work == "bulk" && self.bytes > 0))
    }

    /// One operation of this work.
    pub fn unit(&self) -> &'static str {
        match self.work.as_str() {
            "connection" => "connection",
            "bulk" => "transfer",
            _ => "request",
        }
    }

    /// CPU by name, per unit: microseconds an operation, or for bulk seconds a GB. The generator's own comes last.
    pub fn cpu_per_unit(&self) -> (Vec<(&str, f64)>, &'static str) {
        let names = self.cpu_seconds.iter().map(|(name, &seconds)| (name.as_str(), seconds));
        let all = names.chain([("load itself", self.generator_cpu_seconds)]);
        match self.work.as_str() {
            "bulk" | "mixed" => (
                all.map(|(name, seconds)| (name, per(seconds, self.bytes as f64 / 1e9)))
                    .collect(),
                "s/GB",
            ),
            "connection" => (
                all.map(|(name, seconds)| (name, per(seconds * 1e6, self.operations as f64)))
                    .collect(),
                "us/connection",
            ),
            _ => (
                all.map(|(name, seconds)| (name, per(seconds * 1e6, self.operations as f64)))
                    .collect(),
                "us/request",
            ),
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<16}{value}");
        };
        row("work", format!("{}, {}", self.work, self.target));
        row(
            "measured",
            format!(
                "{:.2} s{}",
                self.seconds,
                if self.interrupted { ", then interrupted" } else { "" }
            ),
        );
        row(
            &format!("{}s", self.unit()),
            match (self.unit(), self.operations) {
                ("transfer", 0) => "none came to its end; what it moved is below".to_owned(),
                _ => format!(
                    "{} ({}/s)",
                    quantity::count(self.operations as f64),
                    quantity::count(self.per_second)
                ),
            },
        );
        row(
            "payload",
            format!(
                "{} ({}/s)",
                quantity::bytes(self.bytes as f64),
                quantity::bytes(self.bytes_per_second)
            ),
        );
        if let (Some(alone), Some(beside)) = (&self.alone, &self.beside) {
            row(
                "bulk beside",
                format!("{}/s", quantity::bytes(beside.bulk_bytes_per_second)),
            );
            row("latency alone", alone.latency_us.line());
            row("latency beside", beside.latency_us.line());
            row(
                "fairness",
                self.fairness_p99.map_or("-".to_owned(), |ratio| {
                    format!("{ratio:.2} (p99 beside bulk / p99 alone)")
                }),
            );
        } else if self.latency_us.max > 0.0 {
            row("latency", self.latency_us.line());
        }
        if let Some(rate) = self.rate {
            let late = quantity::count(self.late as f64);
            let unanswered = quantity::count(self.unanswered as f64);
            row(
                "open loop",
                format!(
                    "{}/s wanted; {late} began over 1 ms late, {unanswered} unanswered at the end",
                    quantity::count(rate)
                ),
            );
        }
        if self.connects > 0 {
            row("connects", quantity::count(self.connects as f64));
        }
        let (units, unit) = self.cpu_per_unit();
        for (name, value) in units {
            let seconds = self
                .cpu_seconds
                .get(name)
                .copied()
                .unwrap_or(self.generator_cpu_seconds);
            row(
                &format!("cpu {name}"),
                format!("{seconds:.3} s, {} {unit}", quantity::three_digits(value)),
            );
        }
        row("errors", quantity::count(self.errors as f64));
        for class in &self.error_classes {
            row(
                &format!("  {}", class.class),
                format!("{}, the first: {}", quantity::count(class.count as f64), class.first),
            );
        }
        for note in &self.notes {
            row("note", note.clone());
        }
        text
    }
}

impl Latency {
    fn line(&self) -> String {
        let parts = [
            ("min", self.min),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("max", self.max),
        ];
        parts
            .map(|(name, value)| format!("{name} {}", quantity::micros(value)))
            .join("  ")
    }
}

fn half(window: &Window) -> Half {
    Half {
        seconds: window.seconds,
        operations: window.small.operations,
        per_second: per(window.small.operations as f64, window.seconds),
        latency_us: latency(&window.small.latencies),
        bulk_bytes: window.bulk.bytes,
        bulk_bytes_per_second: per(window.bulk.bytes as f64, window.seconds),
        cpu_seconds: window.cpu.clone(),
    }
}

fn points(window: &Window, offset: f64, bulk: bool) -> impl Iterator<Item = Point> {
    window
        .seconds_series
        .iter()
        .filter(|second| second.length > 0.0)
        .map(move |second| {
            let tally = if bulk { &second.bulk } else { &second.small };
            let at = |quantile| tally.latencies.value_at_quantile(quantile) as f64 / 1e3;
            Point {
                at: offset + second.at,
                per_second: per(tally.operations as f64, second.length),
                bytes_per_second: per((second.small.bytes + second.bulk.bytes) as f64, second.length),
                p50_us: at(0.5),
                p99_us: at(0.99),
                max_us: tally.latencies.max() as f64 / 1e3,
            }
        })
}

/// All zero when nothing was recorded.
fn latency(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    // The upper end of a bucket may lie past the largest value that was seen.
    let at = |quantile| histogram.value_at_quantile(quantile).min(histogram.max()) as f64 / 1e3;
    let mut curve = vec![(0.0, histogram.min() as f64 / 1e3)];
    // Ten points to each halving of what is left, as far as there are values to tell apart.
    let mut step = 1;
    loop {
        let rest = 0.5_f64.powf(f64::from(step) / 10.0);
        curve.push(((1.0 - rest) * 100.0, at(1.0 - rest)));
        if rest * (histogram.len() as f64) < 1.0 {
            break;
        }
        step += 1;
    }
    Latency {
        min: histogram.min() as f64 / 1e3,
        mean: histogram.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max() as f64 / 1e3,
        curve,
    }
}

fn per(value: f64, unit: f64) -> f64 {
    if unit > 0.0 { value / unit } else { 0.0 }
}
