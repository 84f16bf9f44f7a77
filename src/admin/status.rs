//! `/status`: the state of this process as JSON, for people and scripts.
//!
//! Promises: keys keep their meaning; new ones may come. Durations are in seconds.
//! Must not know: HTTP.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

use super::Pages;
use crate::{
    counters::{LinkStatus, Readiness},
    logs,
};

/// When this process started, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    pub wall: SystemTime,
    monotonic: Instant,
}

impl Started {
    pub fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }
}

/// Seconds since 1970.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    role: &'static str,
    deployment: &'a str,
    name: Option<&'a str>,
    aead_backend: &'static str,
    started_unix_seconds: f64,
    uptime_seconds: f64,
    ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    workers: usize,
    streams_open: i64,
    log_lines_dropped: u64,
    buffer_budget_bytes: u64,
    limits: Vec<Limit>,
    links: Vec<Link<'a>>,
}

#[derive(Serialize)]
struct Limit {
    limit: &'static str,
    value: u64,
    hit: u64,
}

#[derive(Serialize)]
struct Link<'a> {
    peer: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    peer_name: &'a str,
    peer_version: &'a str,
    role: &'static str,
    suite: &'static str,
    established_unix_seconds: f64,
    age_seconds: f64,
    epoch: u64,
    epoch_age_seconds: f64,
    streams: u64,
    max_streams: u32,
    first_window_bytes: u32,
    clock_difference_seconds: f64,
    /// Absent until it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_seconds: Option<f64>,
}

impl<'a> Link<'a> {
    fn of(link: &'a LinkStatus, now: Instant) -> Self {
        let rtt_us = link.rtt_us.load(Relaxed);
        Self {
            peer: &link.peer,
            peer_name: &link.peer_name,
            peer_version: &link.peer_version,
            role: link.role,
            suite: link.suite,
            established_unix_seconds: unix_seconds(link.established),
            age_seconds: now.saturating_duration_since(link.since).as_secs_f64(),
            epoch: link.epoch.load(Relaxed),
            epoch_age_seconds: link.epoch_age(now).as_secs_f64(),
            streams: link.streams.load(Relaxed),
            max_streams: link.max_streams,
            first_window_bytes: link.first_window,
            clock_difference_seconds: link.clock_difference_ms.load(Relaxed) as f64 / 1e3,
            round_trip_seconds: (rtt_us > 0).then_some(rtt_us as f64 / 1e6),
        }
    }
}

pub fn encode(pages: &Pages) -> Result<Vec<u8>, serde_json::Error> {
    let Pages {
        registry,
        about,
        started,
        ..
    } = pages;
    let now = Instant::now();
    let links = registry.links();
    let ready = Readiness::get(&registry.readiness);
    let hit = |limit| {
        registry
            .all()
            .map(|counters| counters.limits_hit[limit as usize].get())
            .sum()
    };
    let mut body = serde_json::to_vec_pretty(&Status {
        version: env!("CARGO_PKG_VERSION"),
        role: about.role,
        deployment: &about.deployment,
        name: about.name.as_deref(),
        aead_backend: about.aead_backend,
        started_unix_seconds: unix_seconds(started.wall),
        uptime_seconds: now.saturating_duration_since(started.monotonic).as_secs_f64(),
        ready: ready.is_ok(),
        reason: ready.err(),
        workers: registry.workers.len(),
        streams_open: registry.all().map(|counters| counters.streams_open.get()).sum(),
        log_lines_dropped: logs::dropped_lines(),
        buffer_budget_bytes: about.budget.total(),
        limits: about
            .limits
            .iter()
            .map(|&(limit, value)| Limit {
                limit: limit.label(),
                value,
                hit: hit(limit),
            })
            .collect(),
        links: links.iter().map(|link| Link::of(link, now)).collect(),
    })?;
    body.push(b'\n');
    Ok(body)
}
