//! The responder's side of the handshake: the steps of SPEC 3.4, in their order.

use super::answers::Answers;
use super::replay::ReplayCache;
use super::{
    Established, FEATURES, Grant, Local, MAX_CLOCK_SKEW_MS, MESSAGE_LEN, Message, Peer, difference, envelope, metric,
};
use crate::counters::HandshakeResult;
use crate::crypto::keys::Split;
use crate::crypto::noise::{NoiseError, Responder};
use crate::crypto::{Keyring, SecretUsed, VERSION};
use crate::link::Role;
use crate::link::time::Now;
use crate::wire::payload::{Answer, Message1, Message2, PAYLOAD_LEN, Refusal};
use core::fmt;
use core::time::Duration;
use std::sync::Arc;

/// Judges every message 1 of a process: the replay cache and the rate of answers are of the process (SPEC 3.4), so there is one,
/// however many listeners there are.
pub struct Acceptor {
    keyring: Arc<Keyring>,
    local: Local,
    replays: ReplayCache,
    answers: Answers,
}

/// The bounds of the replay cache.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub replay_entries: usize,
    /// At least twice the clock skew that is allowed, and what an NTP step or a slow message takes (SPEC 3.4 step 7).
    pub replay_keep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replay_entries: 4096,
            replay_keep: Duration::from_secs(21),
        }
    }
}

/// The state of the process that a verdict depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Links that it holds: the figure of `busy`.
    pub links: u64,
    pub draining: bool,
}

/// What to do about a message 1.
#[derive(Debug)]
pub enum Verdict {
    /// Send nothing and close.
    Close { reason: CloseReason },
    /// Send message 2 and close.
    Refuse {
        message2: Message,
        result: Refusal,
        /// What message 2 says (SPEC 3.5).
        figure: i64,
        /// `None`: message 1 is malformed.
        peer: Option<Peer>,
        /// The peer's wall clock minus the own one, ms.
        clock_difference_ms: Option<i64>,
        /// It is refused because no more handshakes can be remembered (SPEC 3.4 step 7).
        cache_full: bool,
    },
    /// Send message 2; then wait for frame 0 and do nothing else (SPEC 3.6).
    Accept {
        message2: Message,
        established: Box<Established>,
    },
}

/// Why nothing is said. The peer sees the same in every case (SPEC 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The first byte: another version, or not a wa-sidecar.
    Version(u8),
    Unauthenticated,
    /// This very message 1 was taken before.
    Replay,
    /// Authenticated, to be refused so, but more than 5 such answers a second are not given.
    TooManyAnswers(Refusal),
    /// Authenticated, but the ephemeral key is of low order (SPEC 3.2).
    LowOrderKey,
}

impl Verdict {
    /// The metric that counts it.
    pub fn result(&self) -> HandshakeResult {
        match self {
            Self::Close { reason } => match reason {
                CloseReason::Version(_) | CloseReason::Unauthenticated | CloseReason::LowOrderKey => {
                    HandshakeResult::Unauthenticated
                }
                CloseReason::Replay => HandshakeResult::Replay,
                CloseReason::TooManyAnswers(refusal) => metric(*refusal),
            },
            Self::Refuse { result, .. } => metric(*result),
            Self::Accept { .. } => HandshakeResult::Accepted,
        }
    }
}

impl CloseReason {
    /// The stable text of logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Unauthenticated => "unauthenticated",
            Self::Replay => "replay",
            Self::TooManyAnswers(_) => "too_many_answers",
            Self::LowOrderKey => "low_order_key",
        }
    }
}

/// A message 1 that authenticated.
struct Authenticated {
    responder: Responder,
    secret: SecretUsed,
    payload: [u8; PAYLOAD_LEN],
}

impl Acceptor {
    pub fn new(keyring: impl Into<Arc<Keyring>>, local: Local, limits: Limits) -> Self {
        Self {
            keyring: keyring.into(),
            local,
            replays: ReplayCache::new(limits.replay_entries, limits.replay_keep),
            answers: Answers::default(),
        }
    }

    /// The secrets changed.
    pub fn set_keyring(&mut self, keyring: impl Into<Arc<Keyring>>) {
        self.keyring = keyring.into();
    }

    /// Judges message 1, which arrived `now`, within the second that it has (SPEC 3.4 step 1). `entropy`: 32 random bytes, never
    /// used before.
    ///
    /// `room` is asked last, after every other cause to refuse, and reserves what it grants; `None` is no room. It is given back by
    /// the caller if the verdict is not [`Verdict::Accept`] all the same: an initiator with a key of low order gets that far.
    pub fn accept(
        &mut self,
        message: &[u8; MESSAGE_LEN],
        now: Now,
        load: Load,
        room: impl FnOnce(&Message1) -> Option<Grant>,
        entropy: [u8; 32],
    ) -> Verdict {
        let [version, noise @ ..] = message;
        // Step 2.
        if *version != VERSION {
            return close(CloseReason::Version(*version));
        }
        // Step 3. No X25519 before this: `Responder::read` computes none.
        let Some(authenticated) = self.authenticate(noise) else {
            return close(CloseReason::Unauthenticated);
        };
        let e = *authenticated.responder.remote_ephemeral();
        // Step 4.
        if self.replays.contains(&e, now.instant) {
            return close(CloseReason::Replay);
        }
        // Step 5.
        let Ok(message) = Message1::decode(&authenticated.payload) else {
            let answer = Refused::new(Refusal::Malformed, 0, None);
            return self.refuse_uncached(authenticated, answer, now, entropy);
        };
        let refused = |result, figure| Refused::new(result, figure, Some((&message, now)));
        // Step 6.
        if now.clock_ms.abs_diff(message.clock_ms) > MAX_CLOCK_SKEW_MS {
            let answer = refused(Refusal::ClockSkew, difference(now.clock_ms, message.clock_ms));
            return self.refuse_uncached(authenticated, answer, now, entropy);
        }
        let links = i64::try_from(load.links).unwrap_or(i64::MAX);
        // Step 7.
        let granted = if self.replays.enter(e, now.instant).is_err() {
            Err(Refused {
                cache_full: true,
                ..refused(Refusal::Busy, links)
            })
        // Step 8.
        } else if message.peer_name.is_some() && message.peer_name != self.local.name {
            Err(refused(Refusal::PeerName, 0))
        // Step 9.
        } else if message.instance == self.local.instance {
            Err(refused(Refusal::SelfDial, 0))
        // Step 10.
        } else if load.draining {
            Err(refused(Refusal::Draining, 0))
        } else if let Some(suite) = self.local.suites.choose(message.suites.as_bytes()) {
            room(&message)
                .map(|grant| (suite, grant))
                .ok_or(refused(Refusal::Busy, links))
        } else {
            Err(refused(Refusal::NoCommonSuite, 0))
        };
        let (suite, grant) = match granted {
            Ok(granted) => granted,
            Err(answer) => return self.refuse(authenticated, answer, now, entropy),
        };
        // Step 11.
        let secret = authenticated.secret;
        let answer = Answer::Accepted {
            suite: suite.byte(),
            window: grant.window,
            max_streams: grant.max_streams,
        };
        match self.answer(authenticated, answer, now, entropy) {
            Ok((split, message2)) => Verdict::Accept {
                message2,
                established: Box::new(Established {
                    role: Role::Responder,
                    split,
                    suite,
                    prologue: self.keyring.prologue(),
                    window_local: grant.window,
                    window_peer: message.window,
                    max_streams: message.max_streams.min(grant.max_streams),
                    features: message.features & FEATURES,
                    peer: peer(&message),
                    clock_difference_ms: difference(message.clock_ms, now.clock_ms),
                    base: now,
                    peer_stamp: None,
                    written: now.instant,
                    secret,
                }),
            },
            Err(reason) => close(reason),
        }
    }

    /// The current secret, then the previous one, each on a fresh Noise state.
    fn authenticate(&self, noise: &[u8]) -> Option<Authenticated> {
        let prologue = self.keyring.prologue();
        let current = (SecretUsed::Current, Some(&self.keyring.current));
        let previous = (SecretUsed::Previous, self.keyring.previous.as_ref());
        [current, previous].into_iter().find_map(|(secret, psk)| {
            let mut payload = [0; PAYLOAD_LEN];
            let responder = Responder::read(psk?, &prologue, noise, &mut payload).ok()?;
            Some(Authenticated {
                responder,
                secret,
                payload,
            })
        })
    }

    /// Steps 5 and 6 leave nothing in the cache, so that a replay would be answered again: at most 5 times a second.
    fn refuse_uncached(&mut self, to: Authenticated, answer: Refused, now: Now, entropy: [u8; 32]) -> Verdict {
        if !self.answers.take(now.instant) {
            return close(CloseReason::TooManyAnswers(answer.result));
        }
        self.refuse(to, answer, now, entropy)
    }

    fn refuse(&self, to: Authenticated, answer: Refused, now: Now, entropy: [u8; 32]) -> Verdict {
        let Refused {
            result,
            figure,
            peer,
            clock_difference_ms,
            cache_full,
        } = answer;
        let said = Answer::Refused {
            refusal: result,
            figure,
        };
        match self.answer(to, said, now, entropy) {
            Ok((_, message2)) => Verdict::Refuse {
                message2,
                result,
                figure,
                peer,
                clock_difference_ms,
                cache_full,
            },
            Err(reason) => close(reason),
        }
    }

    /// Message 2.
    fn answer(
        &self,
        to: Authenticated,
        answer: Answer,
        now: Now,
        entropy: [u8; 32],
    ) -> Result<(Split, Message), CloseReason> {
        let payload = Message2 {
            clock_ms: now.clock_ms,
            instance: self.local.instance,
            features: FEATURES,
            software: self.local.software,
            name: self.local.name,
            answer,
        }
        .encode();
        envelope(|out| to.responder.finish(&payload, entropy, out)).map_err(|error| match error {
            NoiseError::LowOrder => CloseReason::LowOrderKey,
            NoiseError::Unauthenticated | NoiseError::Length => CloseReason::Unauthenticated,
        })
    }
}

/// A refusal before it is sealed.
struct Refused {
    result: Refusal,
    figure: i64,
    peer: Option<Peer>,
    clock_difference_ms: Option<i64>,
    cache_full: bool,
}

impl Refused {
    fn new(result: Refusal, figure: i64, of: Option<(&Message1, Now)>) -> Self {
        Self {
            result,
            figure,
            peer: of.map(|(message, _)| peer(message)),
            clock_difference_ms: of.map(|(message, now)| difference(message.clock_ms, now.clock_ms)),
            cache_full: false,
        }
    }
}

fn peer(message: &Message1) -> Peer {
    Peer {
        name: message.name,
        software: message.software,
        instance: message.instance,
    }
}

fn close(reason: CloseReason) -> Verdict {
    Verdict::Close { reason }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}
