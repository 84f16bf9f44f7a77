//! What was measured: a sample for each work, peer and round.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::figures::{self, Spread};

/// What a figure says. Times of an operation are microseconds, memory is KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    BytesPerSecond,
    PerSecond,
    P50,
    P99,
    /// Of both relays: microseconds an operation, in bulk seconds a GB.
    Cpu,
    /// p99 of small requests while nothing else runs.
    P99Alone,
    /// p99 beside bulk over p99 alone.
    Fairness,
    /// Until the first byte of a new connection.
    RoundTrips,
    /// Microseconds a request with so many connections.
    CpuAt(usize),
    /// The largest step of those from 1 to 1,000 connections.
    GrowthTo1000,
    /// CPU a request with 5,000 connections over that with 1,000.
    GrowthTo5000,
    Idle,
    IdleResident,
    Busy,
    BusyPeak,
    /// Of one of many idle streams.
    PerStream,
    IdleStreams,
}

impl Metric {
    pub fn name(self) -> String {
        let name = match self {
            Metric::BytesPerSecond => "throughput",
            Metric::PerSecond => "per second",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::Cpu => "CPU",
            Metric::P99Alone => "p99 alone",
            Metric::Fairness => "p99 beside bulk / alone",
            Metric::RoundTrips => "round trips",
            Metric::CpuAt(connections) => return format!("CPU at {connections}"),
            Metric::GrowthTo1000 => "largest step to 1000",
            Metric::GrowthTo5000 => "5000 / 1000",
            Metric::Idle => "idle",
            Metric::IdleResident => "idle, RSS",
            Metric::Busy => "busy",
            Metric::BusyPeak => "busy, peak RSS",
            Metric::PerStream => "an idle stream",
            Metric::IdleStreams => "idle streams",
        };
        name.to_owned()
    }
}

/// One window of one peer.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub values: BTreeMap<Metric, f64>,
    pub errors: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Results {
    rows: BTreeMap<(&'static str, String), BTreeMap<usize, Sample>>,
    pub rounds: usize,
    pub interrupted: bool,
}

impl Results {
    pub fn add(&mut self, work: &'static str, peer: &str, round: usize, sample: Sample) {
        self.rounds = self.rounds.max(round + 1);
        self.rows
            .entry((work, peer.to_owned()))
            .or_default()
            .insert(round, sample);
    }

    pub fn is_empty(&self) -> bool {
        self.rows
            .values()
            .flat_map(BTreeMap::values)
            .all(|sample| sample.values.is_empty())
    }

    /// By round.
    pub fn values(&self, work: &str, peer: &str, metric: Metric) -> Vec<Option<f64>> {
        let row = self
            .rows
            .iter()
            .find(|((its_work, its_peer), _)| *its_work == work && its_peer == peer);
        let value = |round| row?.1.get(&round)?.values.get(&metric).copied();
        (0..self.rounds).map(value).collect()
    }

    pub fn spread(&self, work: &str, peer: &str, metric: Metric) -> Option<Spread> {
        let values: Vec<f64> = self.values(work, peer, metric).into_iter().flatten().collect();
        figures::spread(&values)
    }

    /// `ours` over `theirs`, within each round.
    pub fn ratio(&self, work: &str, ours: &str, theirs: &str, metric: Metric) -> Option<Spread> {
        let (ours, theirs) = (self.values(work, ours, metric), self.values(work, theirs, metric));
        figures::spread(&figures::ratios(&ours, &theirs))
    }

    /// Whoever has a sample of this work.
    pub fn peers(&self, work: &str) -> Vec<&str> {
        let rows = self.rows.keys().filter(|(its_work, _)| *its_work == work);
        rows.map(|(_, peer)| peer.as_str()).collect()
    }

    pub fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        for ((work, peer), samples) in &self.rows {
            for (round, sample) in samples {
                let lines = sample.errors.iter();
                errors.extend(lines.map(|error| format!("round {}, {work}, {peer}: {error}", round + 1)));
            }
        }
        errors
    }

    /// Everything, for other programs: `{WORK: {PEER: [{FIGURE: NUMBER, "errors": []}]}}`.
    pub fn json(&self) -> Value {
        let mut works: Map<String, Value> = Map::new();
        for ((work, peer), samples) in &self.rows {
            let rounds: Vec<Value> = samples
                .iter()
                .map(|(round, sample)| {
                    let mut figures: Map<String, Value> = Map::new();
                    figures.insert("round".to_owned(), json!(round + 1));
                    figures.insert("errors".to_owned(), json!(sample.errors));
                    figures.extend(
                        sample
                            .values
                            .iter()
                            .map(|(metric, value)| (metric.name(), json!(value))),
                    );
                    Value::Object(figures)
                })
                .collect();
            let peers = works.entry((*work).to_owned()).or_insert_with(|| json!({}));
            peers[peer] = Value::Array(rounds);
        }
        Value::Object(works)
    }
}
