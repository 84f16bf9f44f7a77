//! The initiator's side of the handshake.

use super::explain::{CAUSES_OF_SILENCE, Explanation, explain};
use super::{Established, FEATURES, Grant, Local, MESSAGE_LEN, Message, Peer, difference, envelope, metric};
use crate::counters::HandshakeResult;
use crate::crypto::noise::Initiator;
use crate::crypto::suite::{Suite, Suites};
use crate::crypto::{Keyring, SecretUsed, VERSION};
use crate::link::Role;
use crate::link::time::{Instant, Now};
use crate::wire::Name;
use crate::wire::payload::{Answer, Malformed, Message1, Message2, Offer, PAYLOAD_LEN, Refusal};
use core::fmt;

/// A dial whose message 1 is made.
pub struct Dial {
    initiator: Initiator,
    prologue: Vec<u8>,
    peer_name: Option<Name>,
    suites: Suites,
    grant: Grant,
    base: Now,
    written: Instant,
}

/// Why there is no link. [`DialError::explanation`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// For the caller's use: the connection ended before message 2 was whole. The responder does so to who lacks the secret.
    #[error("the peer closed the connection without an answer")]
    Closed,
    #[error(
        "the answer is of version {0} of the protocol, this is version {VERSION}, or it is no answer of a wa-sidecar"
    )]
    Version(u8),
    #[error("the answer does not authenticate")]
    Unauthenticated,
    #[error("the answer authenticates but is malformed: {0}")]
    Malformed(Malformed),
    #[error("the peer refuses: {}", result.label())]
    Refused {
        result: Refusal,
        figure: i64,
        peer: Box<Peer>,
        /// The peer's wall clock minus the own one, ms.
        clock_difference_ms: i64,
    },
    #[error("the peer chose suite {0}, which was not offered")]
    SuiteNotOffered(u8),
    #[error("the peer is {}, and not {meant}", NameOrNone(&peer.name))]
    WrongName { meant: Name, peer: Box<Peer> },
}

struct NameOrNone<'a>(&'a Option<Name>);

impl fmt::Display for NameOrNone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => name.fmt(f),
            None => f.write_str("without a name"),
        }
    }
}

impl DialError {
    /// What is wrong and what to type.
    pub fn explanation(&self) -> Explanation {
        let advice = match self {
            Self::Closed | Self::Version(_) | Self::Unauthenticated => CAUSES_OF_SILENCE.into(),
            Self::Malformed(_) | Self::SuiteNotOffered(_) => {
                "run the same version of wa-sidecar on both sides; if they are the same this is a bug, please report it"
                    .into()
            }
            Self::Refused {
                result, figure, peer, ..
            } => return explain(Role::Initiator, *result, *figure, Some(peer)),
            Self::WrongName { .. } => {
                "correct --peer-name here, --name there, or --peer if it leads to the wrong host".into()
            }
        };
        let what = self.to_string();
        Explanation { what, advice }
    }

    /// The metric that counts it.
    pub fn result(&self) -> HandshakeResult {
        match self {
            Self::Closed => HandshakeResult::Disconnected,
            Self::Version(_) | Self::Unauthenticated => HandshakeResult::Unauthenticated,
            Self::Malformed(_) => HandshakeResult::Malformed,
            Self::Refused { result, .. } => metric(*result),
            Self::SuiteNotOffered(_) => HandshakeResult::NoCommonSuite,
            Self::WrongName { .. } => HandshakeResult::PeerName,
        }
    }
}

impl Dial {
    /// Makes message 1. `now`: both clocks at this moment; `entropy`: 32 random bytes, never used before.
    pub fn start(keyring: &Keyring, local: &Local, grant: Grant, now: Now, entropy: [u8; 32]) -> (Self, Message) {
        let prologue = keyring.prologue();
        let suites = local.suites;
        let payload = Message1 {
            clock_ms: now.clock_ms,
            instance: local.instance,
            features: FEATURES,
            suites: Offer::from(suites),
            window: grant.window,
            max_streams: grant.max_streams,
            software: local.software,
            name: local.name,
            peer_name: local.peer_name,
        }
        .encode();
        // SPEC 3.5: the current secret alone, whatever became of an earlier dial.
        let made = envelope(|out| Initiator::start(&keyring.current, &prologue, &payload, entropy, out));
        #[expect(
            clippy::expect_used,
            reason = "a constant pattern and constant lengths, nothing of a peer"
        )]
        let (initiator, message) = made.expect("message 1 has the length of its payload and 48 bytes");
        let dial = Self {
            initiator,
            prologue,
            peer_name: local.peer_name,
            suites,
            grant,
            base: now,
            written: now.instant,
        };
        (dial, message)
    }

    /// Message 1 is about to be written. It must not be later, or ages would be understated (SPEC 14.7); without this call it is
    /// when the message was made.
    pub fn written(&mut self, before: Instant) {
        self.written = before;
    }

    /// Concludes from message 2, which arrived `now`. With `Ok` the caller MUST send frame 0 at once (SPEC 3.6).
    pub fn finish(self, message: &[u8; MESSAGE_LEN], now: Now) -> Result<Established, DialError> {
        let [version, noise @ ..] = message;
        // SPEC 3.5: never again with another version.
        if *version != VERSION {
            return Err(DialError::Version(*version));
        }
        let mut payload = [0; PAYLOAD_LEN];
        let finished = self.initiator.finish(noise, &mut payload);
        let split = finished.map_err(|_| DialError::Unauthenticated)?;
        let message = Message2::decode(&payload).map_err(DialError::Malformed)?;
        let peer = Peer {
            name: message.name,
            software: message.software,
            instance: message.instance,
        };
        // The peer made its message between our two; take the middle.
        let round_trip_ms = now.instant.since(self.base.instant).as_millis() as u64;
        let middle_ms = self.base.clock_ms.saturating_add(round_trip_ms / 2);
        let clock_difference_ms = difference(message.clock_ms, middle_ms);
        let (suite, window_peer, max_streams) = match message.answer {
            Answer::Accepted {
                suite,
                window,
                max_streams,
            } => (suite, window, max_streams),
            Answer::Refused { refusal, figure } => {
                return Err(DialError::Refused {
                    result: refusal,
                    figure,
                    peer: Box::new(peer),
                    clock_difference_ms,
                });
            }
        };
        // SPEC 3.5: a suite that was offered, by the peer that was meant.
        let offered = Suite::from_byte(suite).filter(|&suite| self.suites.contains(suite));
        let suite = offered.ok_or(DialError::SuiteNotOffered(suite))?;
        if let Some(meant) = self.peer_name
            && peer.name != Some(meant)
        {
            return Err(DialError::WrongName {
                meant,
                peer: Box::new(peer),
            });
        }
        Ok(Established {
            role: Role::Initiator,
            split,
            suite,
            prologue: self.prologue,
            window_local: self.grant.window,
            window_peer,
            max_streams: max_streams.min(self.grant.max_streams),
            features: message.features & FEATURES,
            peer,
            clock_difference_ms,
            base: self.base,
            peer_stamp: Some(message.clock_ms),
            written: self.written,
            secret: SecretUsed::Current,
        })
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("peer_name", &self.peer_name)
            .finish_non_exhaustive()
    }
}
