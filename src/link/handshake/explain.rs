//! What a handshake that failed means, for operators: what is wrong, and what to type.
//!
//! Promises: a cause is named only where it is authenticated; what could be is listed as such.
//! Must not know: where it is printed.

use super::Peer;
use crate::link::Role;
use crate::wire::payload::Refusal;
use core::fmt;

/// All that can be said of a peer that closes without a word, or whose message does not authenticate (SPEC 3.4).
pub const CAUSES_OF_SILENCE: &str = "one of these: the secrets differ (WA_SECRET); the deployments differ (--deployment); the \
    versions of the protocol differ; what is there is not a wa-sidecar; something on the way altered the bytes";

/// One sentence of what is wrong, one of what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub what: String,
    pub advice: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.advice)
    }
}

/// A refusal as the side `role` sees it: the initiator got it, the responder gave it. `peer`: the other side, if it is known.
pub fn explain(role: Role, refusal: Refusal, figure: i64, peer: Option<&Peer>) -> Explanation {
    let initiator = role == Role::Initiator;
    let (what, advice) = match refusal {
        Refusal::ClockSkew => (clock_skew(role, figure), CLOCK_ADVICE.into()),
        Refusal::PeerName if initiator => {
            let named = match peer.and_then(|peer| peer.name) {
                Some(name) => format!("the peer's own --name is {name:?}"),
                None => "the peer has no --name".into(),
            };
            let advice =
                format!("{named}; correct --peer-name here, --name there, or --peer if it leads to the wrong host");
            ("the peer is not the one that --peer-name means".into(), advice)
        }
        Refusal::PeerName => (
            "the dialler means another sidecar than this one".into(),
            "give this one the --name that the dialler has as --peer-name, or correct the dialler's --peer".into(),
        ),
        Refusal::SelfDial => (
            "the link leads back to the very process that dialled it".into(),
            "correct --peer: it must lead to the other sidecar's --listen".into(),
        ),
        Refusal::Busy => {
            let holder = if initiator { "the peer" } else { "this sidecar" };
            (
                format!("{holder} has no room for one more link (it holds {figure})"),
                format!("raise --max-links or --buffer-budget of {holder}, or stop sidecars that do not belong to it"),
            )
        }
        Refusal::NoCommonSuite => (
            "no cipher is common to both sides".into(),
            "run the same version of wa-sidecar on both; every one offers chacha20poly1305".into(),
        ),
        Refusal::Malformed => (
            "the dialler's first message authenticates but is malformed".into(),
            "run the same version of wa-sidecar on both sides; if they are the same this is a bug, please report it"
                .into(),
        ),
        Refusal::Draining => (
            format!("{} is stopping", if initiator { "the peer" } else { "this sidecar" }),
            "nothing to do: the dialler tries again until the sidecar is back".into(),
        ),
        Refusal::Unknown(code) => (
            format!("the peer refuses with code {code}, which this version does not know"),
            "the peer is newer: update this sidecar, and read the peer's log".into(),
        ),
    };
    Explanation { what, advice }
}

const CLOCK_ADVICE: &str = "at most 10 s are allowed; check NTP on both hosts (`chronyc tracking` or `timedatectl`)";

/// `figure`: the responder's clock minus the initiator's, ms.
fn clock_skew(role: Role, figure: i64) -> String {
    let peer_is_ahead = (figure > 0) == (role == Role::Initiator);
    let (ahead, behind) = if peer_is_ahead {
        ("the peer's", "this host's")
    } else {
        ("this host's", "the peer's")
    };
    let ms = figure.unsigned_abs();
    let (seconds, tenths) = (ms / 1000, ms % 1000 / 100);
    format!("the clocks differ by {seconds}.{tenths} s: {ahead} is ahead of {behind}")
}
