//! What the peers are given to do, and which of them.

use crate::{
    peers::{self, Peer},
    results::Metric,
};

#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub name: &'static str,
    pub says: &'static str,
    pub kind: Kind,
    pub columns: &'static [Metric],
    /// What CPU is for one of.
    pub unit: &'static str,
    /// Left out unless it is asked for.
    pub long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The load generator with these arguments.
    Load(&'static [&'static str]),
    /// The same, of builds that differ in what they seal.
    Sealing,
    FirstByte,
    Far,
    Growth,
    Memory,
}

/// What lies between the relays, and how many connections they must take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    Near,
    Delayed,
    Far,
    Crowded,
}

pub const BULK: &[&str] = &["bulk", "--streams", "1"];
/// Connections of the work `growth`.
pub const GROWTH: &[usize] = &[1, 10, 100, 1000, 5000];
/// What the path of `far-bulk` is compared with.
pub const IPERF3: &str = "iperf3";

#[rustfmt::skip] // one row a work
pub const ALL: &[Work] = &[
    Work { name: "bulk-1", says: "1 stream, received", kind: Kind::Load(BULK), columns: &[Metric::BytesPerSecond, Metric::Cpu], unit: "s/GB", long: false },
    Work { name: "bulk-8", says: "8 streams, received", kind: Kind::Load(&["bulk", "--streams", "8"]), columns: &[Metric::BytesPerSecond, Metric::Cpu], unit: "s/GB", long: false },
    Work { name: "request-64", says: "1 KiB requests on 64 connections that are kept", kind: Kind::Load(&["request", "--connections", "64"]), columns: &[Metric::PerSecond, Metric::P50, Metric::P99, Metric::Cpu], unit: "us/request", long: false },
    Work { name: "request-1", says: "1 KiB requests on one connection that is kept", kind: Kind::Load(&["request", "--connections", "1"]), columns: &[Metric::PerSecond, Metric::P50, Metric::P99, Metric::Cpu], unit: "us/request", long: false },
    Work { name: "connection-16", says: "a connection for each 1 KiB request, 16 at a time", kind: Kind::Load(&["connection", "--concurrency", "16"]), columns: &[Metric::PerSecond, Metric::P50, Metric::P99, Metric::Cpu], unit: "us/connection", long: false },
    Work { name: "fairness", says: "1 KiB requests on 63 connections, alone and beside one bulk stream", kind: Kind::Load(&["mixed", "--connections", "63", "--streams", "1"]), columns: &[Metric::Fairness, Metric::P99Alone, Metric::P99, Metric::PerSecond, Metric::BytesPerSecond], unit: "", long: false },
    Work { name: "first-byte", says: "a new connection over a path of 50 ms round trip: round trips until the first byte", kind: Kind::FirstByte, columns: &[Metric::RoundTrips, Metric::P50], unit: "", long: false },
    Work { name: "far-bulk", says: "1 stream over a path of 50 ms round trip and 400 Mbit/s; iperf3 over the same path", kind: Kind::Far, columns: &[Metric::BytesPerSecond], unit: "", long: true },
    Work { name: "growth", says: "1 KiB requests on so many connections that are kept: CPU of a request, us", kind: Kind::Growth, columns: &[Metric::CpuAt(1), Metric::CpuAt(10), Metric::CpuAt(100), Metric::CpuAt(1000), Metric::CpuAt(5000), Metric::GrowthTo1000, Metric::GrowthTo5000], unit: "us/request", long: true },
    Work { name: "sealing", says: "1 stream, received: what the AEAD costs (--program-without-aead)", kind: Kind::Sealing, columns: &[Metric::BytesPerSecond, Metric::Cpu], unit: "s/GB", long: true },
    Work { name: "memory", says: "of one relay, the larger: PSS when idle, with 1,000 busy streams, and of one of 10,000 idle ones", kind: Kind::Memory, columns: &[Metric::Idle, Metric::IdleResident, Metric::Busy, Metric::BusyPeak, Metric::PerStream, Metric::IdleStreams], unit: "", long: true },
];

pub fn find(name: &str) -> Option<&'static Work> {
    ALL.iter().find(|work| work.name == name)
}

impl Work {
    pub fn setting(&self) -> Setting {
        match self.kind {
            Kind::Load(_) | Kind::Sealing | Kind::Memory => Setting::Near,
            Kind::FirstByte => Setting::Delayed,
            Kind::Far => Setting::Far,
            Kind::Growth => Setting::Crowded,
        }
    }

    pub fn takes(&self, peer: &Peer) -> bool {
        let sidecar = peer.is_sidecar();
        match self.kind {
            _ if peer.without_aead => self.kind == Kind::Sealing,
            Kind::Load(_) | Kind::FirstByte => true,
            Kind::Sealing => sidecar,
            Kind::Far => sidecar || peer.name == peers::PLAIN || peer.name == "direct",
            Kind::Growth => sidecar || peer.name == peers::PLAIN,
            Kind::Memory => peer.name != "direct",
        }
    }

    /// Whether `metric` is the better the more of it there is.
    pub fn more_is_better(metric: Metric) -> bool {
        matches!(metric, Metric::BytesPerSecond | Metric::PerSecond | Metric::IdleStreams)
    }
}
