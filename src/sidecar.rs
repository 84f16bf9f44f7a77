//! What both roles are made of: keys, who this sidecar is, the budget, the registry.

use crate::cgroup;
use crate::config::{Cipher, Config, Secrets};
use crate::counters::{LinkStatus, Registry};
use crate::crypto::Keyring;
use crate::crypto::suite::Suites;
use crate::link::budget::{Budget, Wanting, total_for};
use crate::link::handshake::{Established, Local};
use crate::net::entropy;
use crate::wire::Software;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Bytes, of a sidecar that shall live in 32 MiB.
const LEAST_BUDGET: u64 = 16 << 20;
/// A buffer budget over this is no advice.
const MOST_ADVISED: u64 = 1 << 30;

/// Shared by every thread of the process.
#[derive(Debug, Clone)]
pub struct Sidecar {
    pub keyring: Arc<Keyring>,
    pub local: Local,
    pub budget: Arc<Budget>,
    pub registry: Arc<Registry>,
    pub max_streams: u32,
    pub max_links: usize,
    /// That this side dials.
    pub own_links: u32,
    pub drain_timeout: Duration,
}

impl Sidecar {
    /// Stretches passphrases, which takes a moment.
    pub fn new(config: &Config, secrets: &Secrets, registry: Arc<Registry>) -> Self {
        let deployment = config.deployment.to_string();
        let [instance @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = entropy::bytes();
        let local = Local {
            instance,
            name: config.name,
            // Of each link that is dialled.
            peer_name: None,
            suites: match config.cipher {
                Cipher::Auto => Suites::auto(),
                Cipher::ChaCha20Poly1305 => Suites::chacha20_poly1305(),
            },
            software: Software::own(),
        };
        let keyring = Keyring {
            current: secrets.current.secret.psk(&deployment),
            previous: secrets
                .previous
                .as_ref()
                .map(|previous| previous.secret.psk(&deployment)),
            deployment,
        };
        let max_streams = u32::try_from(config.max_streams).unwrap_or(u32::MAX);
        let max_links = u32::try_from(config.max_links).unwrap_or(u32::MAX);
        let peers: HashSet<_> = config
            .webapps
            .iter()
            .map(|webapp| (&webapp.peer, webapp.peer_name))
            .collect();
        let links = |tables: usize| u32::try_from(tables * config.workers).unwrap_or(u32::MAX);
        // Of a coreapp it is as good a guess as any that its peers are such hosts as this one.
        let expected = links(peers.len()) + links(config.coreapps.len()).min(max_links);
        let total = match config.buffer_budget {
            Some(bytes) => bytes as u64,
            None => total_for(LEAST_BUDGET, max_streams, expected)
                .min(cgroup::memory_limit() / 2)
                .clamp(1 << 20, 64 << 30),
        };
        Self {
            keyring: Arc::new(keyring),
            local,
            budget: Budget::new(total),
            registry,
            max_streams,
            own_links: links(peers.len()),
            max_links: config.max_links,
            drain_timeout: config.drain_timeout,
        }
    }

    /// What the pages show of a link to `peer`.
    pub fn status(&self, established: &Established, peer: String) -> LinkStatus {
        let role = match established.role {
            crate::link::Role::Initiator => "webapp",
            crate::link::Role::Responder => "coreapp",
        };
        let suite = established.suite.label();
        let mut status = LinkStatus::new(peer, role, suite, SystemTime::now(), Instant::now());
        status.peer_name = established.peer.name.map(|name| name.to_string()).unwrap_or_default();
        status.peer_version = established.peer.software.to_string();
        status.max_streams = established.max_streams;
        status.first_window = established.window_local;
        status
            .clock_difference_ms
            .store(established.clock_difference_ms, std::sync::atomic::Ordering::Relaxed);
        status
    }

    /// Says so if the buffer budget made a new link much smaller than the peer would have it.
    pub fn warn_of_few_streams(&self, wanting: Option<Wanting>, status: &LinkStatus) {
        let Some(Wanting { granted, asked, links }) = wanting else {
            return;
        };
        // A link that drains still holds a little.
        let nearly_all = u64::from(granted) * 4 > u64::from(asked) * 3;
        if granted > status.max_streams || nearly_all {
            return;
        }
        let advice = match self.budget.total_for(asked, links.max(self.own_links)) {
            total @ ..=MOST_ADVISED => format!(
                "For all of them, on both hosts:  --buffer-budget {}MiB",
                total.div_ceil(1 << 20)
            ),
            _ => format!("Give each link fewer:  --max-streams {granted}"),
        };
        tracing::warn!(
            event = "few_streams",
            reason = "buffer_budget",
            peer = %status.peer,
            max_streams = granted,
            "of {asked} streams this link takes {granted} at a time: it got half of what others left of the buffer budget of {} MiB. {advice}",
            self.budget.total() >> 20,
        );
    }
}
