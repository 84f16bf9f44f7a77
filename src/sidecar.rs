//! What both roles are made of: keys, who this sidecar is, the budget, the registry.

use crate::config::{Cipher, Config, Secrets};
use crate::counters::{LinkStatus, Registry};
use crate::crypto::Keyring;
use crate::crypto::suite::Suites;
use crate::link::budget::{Budget, Wanting};
use crate::link::handshake::{Established, Local};
use crate::net::entropy;
use crate::wire::Software;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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
        Self {
            keyring: Arc::new(keyring),
            local,
            budget: Budget::new(config.buffer_budget as u64),
            registry,
            max_streams: u32::try_from(config.max_streams).unwrap_or(u32::MAX),
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

    /// Says so if the buffer budget made a new link smaller than it was to be.
    pub fn warn_of_few_streams(&self, wanting: Option<Wanting>, peer: &str) {
        let Some(Wanting { granted, asked, total }) = wanting else {
            return;
        };
        let advice = match total {
            ..=MOST_ADVISED => format!("For all of them:  --buffer-budget {}MiB", total.div_ceil(1 << 20)),
            _ => format!("Give each link fewer:  --max-streams {granted}"),
        };
        tracing::warn!(
            event = "few_streams",
            reason = "buffer_budget",
            peer,
            max_streams = granted,
            "of {asked} streams this link takes {granted} at a time: each link gets half of what others left of the buffer budget of {} MiB. \
             {advice}",
            self.budget.total() >> 20,
        );
    }
}
