//! `/metrics`: the counters of every thread, summed when somebody asks.
//!
//! Promises: values are in seconds and bytes, counters end in `_total`, and every value of a label is there from the
//! start at 0, so that a rate sees the first one. Passes `promtool check metrics`.
//! Must not know: HTTP; and no path that moves data knows this module.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus::{
    Encoder, TextEncoder,
    core::{Collector, Desc},
    process_collector::ProcessCollector,
    proto::MetricFamily,
};

use super::{
    About,
    exposition::{Page, Sample, by, labels, one},
    status::{Started, unix_seconds},
};
use crate::{
    counters::{Counter, Counters, Gauge, HandshakeResult, Limit, LinkEnd, LinkStatus, Registry, StreamEnd},
    logs,
};

pub struct Metrics(prometheus::Registry);

impl Metrics {
    pub fn new(registry: Arc<Registry>, about: About, started: Started) -> Result<Self, prometheus::Error> {
        let collectors = prometheus::Registry::new();
        collectors.register(Box::new(ProcessCollector::for_self()))?;
        collectors.register(Box::new(Sum::new(registry, about, started)?))?;
        Ok(Self(collectors))
    }

    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut body = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut body)?;
        Ok(body)
    }
}

/// Sums [`Counters`] over all threads at each scrape.
struct Sum {
    registry: Arc<Registry>,
    about: About,
    started: Started,
    descriptions: Vec<Desc>,
}

impl Sum {
    fn new(registry: Arc<Registry>, about: About, started: Started) -> Result<Self, prometheus::Error> {
        let mut sum = Self {
            registry,
            about,
            started,
            descriptions: Vec::new(),
        };
        let describe = |family: &MetricFamily| {
            Desc::new(
                family.name().to_owned(),
                family.help().to_owned(),
                Vec::new(),
                HashMap::new(),
            )
        };
        sum.descriptions = sum.collect().iter().map(describe).collect::<Result<_, _>>()?;
        Ok(sum)
    }

    fn counter(&self, of: impl Fn(&Counters) -> &Counter) -> f64 {
        self.registry.all().map(|counters| of(counters).get()).sum::<u64>() as f64
    }

    fn gauge(&self, of: impl Fn(&Counters) -> &Gauge) -> f64 {
        self.registry.all().map(|counters| of(counters).get()).sum::<i64>() as f64
    }

    fn directions(&self, sent: fn(&Counters) -> &Counter, received: fn(&Counters) -> &Counter) -> Vec<Sample> {
        by(
            "direction",
            [("sent", self.counter(sent)), ("received", self.counter(received))],
        )
    }

    fn process(&self, page: &mut Page) {
        let About { role, aead_backend, .. } = self.about;
        let build = labels(&[
            ("version", env!("CARGO_PKG_VERSION")),
            ("aead_backend", aead_backend),
            ("role", role),
        ]);
        page.gauge("build_info", "What is running; the value is always 1.", [(build, 1.0)]);
        page.gauge(
            "start_time_seconds",
            "When it started, since 1970.",
            one(unix_seconds(self.started.wall)),
        );
        let ready = f64::from(u8::from(self.registry.readiness.get().is_ok()));
        page.gauge("ready", "Whether /readyz says so, 1 or 0.", one(ready));
        page.gauge(
            "workers",
            "Threads that move data.",
            one(self.registry.workers.len() as f64),
        );
        let dropped = logs::dropped_lines() as f64;
        page.counter(
            "log_lines_dropped_total",
            "Log lines lost because stderr did not take them.",
            one(dropped),
        );
    }

    fn limits(&self, page: &mut Page) {
        let hit = Limit::ALL
            .iter()
            .map(|&limit| (limit.label(), self.counter(|c| &c.limits_hit[limit as usize])));
        page.counter(
            "limits_hit_total",
            "Times that a limit refused something.",
            by("limit", hit),
        );
        let set = self
            .about
            .limits
            .iter()
            .map(|&(limit, value)| (limit.label(), value as f64));
        page.gauge("limit", "What a limit is set to.", by("limit", set));
        let budget = self.about.budget.total() as f64;
        page.gauge(
            "buffer_budget_bytes",
            "What may be held for apps that do not take it yet.",
            one(budget),
        );
        let (reserve, growth) = self.about.budget.free();
        page.gauge(
            "buffer_budget_free_bytes",
            "What of the budget no link holds: reserve for first windows, growth for larger ones.",
            by("half", [("reserve", reserve as f64), ("growth", growth as f64)]),
        );
    }

    fn links(&self, page: &mut Page) {
        page.gauge("links_up", "Links that are up.", one(self.gauge(|c| &c.links_up)));
        let ended = |end: LinkEnd| (end.label(), self.counter(|c| &c.links_ended[end as usize]));
        let ends = LinkEnd::ALL.iter().map(|&end| ended(end));
        page.counter("links_ended_total", "Links that ended, by reason.", by("reason", ends));
        let refused = LinkEnd::ALL
            .iter()
            .filter(|end| end.refused_frame())
            .map(|&end| ended(end));
        let help = "Frames that were refused, by reason; each one ended its link.";
        page.counter("frames_refused_total", help, by("reason", refused));
        page.counter(
            "rekeys_total",
            "Times that a link took new keys.",
            one(self.counter(|c| &c.rekeys)),
        );
        let links = self.registry.links();
        let clock = |link: &LinkStatus| Some(link.clock_difference_ms.load(Relaxed) as f64 / 1e3);
        let help = "The peer's wall clock minus ours, on the link to it where that is largest.";
        page.gauge("link_clock_difference_seconds", help, by_peer(&links, clock));
        let round_trip = |link: &LinkStatus| {
            let us = link.rtt_us.load(Relaxed);
            (us > 0).then_some(us as f64 / 1e6)
        };
        let help = "Round trip, on the link to the peer where it is longest.";
        page.gauge("link_round_trip_seconds", help, by_peer(&links, round_trip));
    }

    fn handshakes(&self, page: &mut Page) {
        let results = HandshakeResult::ALL.iter();
        let results = results.map(|&result| (result.label(), self.counter(|c| &c.handshakes[result as usize])));
        page.counter("handshakes_total", "Handshakes, by result.", by("result", results));
        let durations = self.registry.all().map(|c| &c.handshake_durations);
        page.histogram("handshake_duration_seconds", "How long handshakes took.", durations);
        let clock = self
            .registry
            .last_handshake_clock()
            .map(|ms| (Vec::new(), ms as f64 / 1e3));
        let help = "The peer's wall clock minus ours in the last handshake, accepted or refused.";
        page.gauge("handshake_clock_difference_seconds", help, clock);
    }

    fn streams(&self, page: &mut Page) {
        page.gauge(
            "streams_open",
            "App connections that are open.",
            one(self.gauge(|c| &c.streams_open)),
        );
        let opened = self.counter(|c| &c.streams_opened);
        page.counter("streams_opened_total", "App connections that were opened.", one(opened));
        let ends = StreamEnd::ALL
            .iter()
            .map(|&end| (end.label(), self.counter(|c| &c.streams_ended[end as usize])));
        page.counter(
            "streams_ended_total",
            "App connections that ended, by how.",
            by("end", ends),
        );
        let durations = self.registry.all().map(|c| &c.dial_durations);
        page.histogram("dial_duration_seconds", "How long dials of the app took.", durations);
        page.counter(
            "dials_failed_total",
            "Dials that no app answered.",
            one(self.counter(|c| &c.dials_failed)),
        );
        let help = "Times that a connection had bytes to send and its peer no room.";
        page.counter("credit_stalls_total", help, one(self.counter(|c| &c.credit_stalls)));
    }

    fn traffic(&self, page: &mut Page) {
        let plaintext = self.directions(|c| &c.plaintext_sent, |c| &c.plaintext_received);
        page.counter(
            "plaintext_bytes_total",
            "Apps' bytes, sent on links and received from them.",
            plaintext,
        );
        let sealed = self.directions(|c| &c.sealed_sent, |c| &c.sealed_received);
        page.counter(
            "sealed_bytes_total",
            "Bytes of frames, headers and tags included.",
            sealed,
        );
        let frames = self.directions(|c| &c.frames_sent, |c| &c.frames_received);
        page.counter("frames_total", "Frames on links.", frames);
    }
}

impl Collector for Sum {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut page = Page::default();
        self.process(&mut page);
        self.limits(&mut page);
        self.links(&mut page);
        self.handshakes(&mut page);
        self.streams(&mut page);
        self.traffic(&mut page);
        page.0
    }
}

/// One sample a peer, that of its worst link: two samples with the same labels would spoil the page.
fn by_peer(links: &[Arc<LinkStatus>], measured: impl Fn(&LinkStatus) -> Option<f64>) -> Vec<Sample> {
    let mut worst = HashMap::<(&str, &str), f64>::new();
    for link in links {
        if let Some(value) = measured(link) {
            let known = worst.entry((&link.peer, &link.peer_name)).or_insert(value);
            if value.abs() > known.abs() {
                *known = value;
            }
        }
    }
    let sample = |((peer, name), value)| (labels(&[("peer", peer), ("peer_name", name)]), value);
    worst.into_iter().map(sample).collect()
}
