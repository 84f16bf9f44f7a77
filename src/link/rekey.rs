//! REKEY: new keys for a link in place (SPEC section 11).
//!
//! ```text
//! initiator  idle --start--> asking --REKEY2 accepts--> confirming --REKEY3 sealed--> idle
//!              ^                '-----REKEY2 refuses (again in 60 s)-----'
//! responder  idle --REKEY1--> answering --REKEY2 sealed--> waiting --REKEY3 opened--> idle
//! ```

use super::error::Fatal;
use super::time::Instant;
use crate::crypto::Keyring;
use crate::crypto::keys::{Opener, Sealer, Split};
use crate::crypto::noise::{Initiator, Responder};
use crate::crypto::suite::Suite;
use crate::wire::message::REKEY_NOISE_LEN;
use core::time::Duration;
use std::sync::Arc;

/// An epoch is replaced at this age.
pub const REKEY_EVERY: Duration = Duration::from_secs(3600);
/// After a refusal.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Without the answer for this long the link is closed.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// An epoch older than this is ended by GOAWAY.
pub const MAX_EPOCH_AGE: Duration = Duration::from_secs(7200);

type Noise = [u8; REKEY_NOISE_LEN];

enum State {
    Idle,
    // Initiator.
    AskMarked {
        noise: Noise,
        initiator: Box<Initiator>,
    },
    Asking {
        since: Instant,
        initiator: Box<Initiator>,
    },
    ConfirmMarked {
        sealer: Box<Sealer>,
    },
    // Responder.
    AnswerMarked {
        noise: Noise,
        sealer: Box<Sealer>,
        opener: Box<Opener>,
    },
    RefusalMarked,
    Waiting {
        since: Instant,
        opener: Box<Opener>,
    },
}

/// What is to be the last message of the next frame.
pub(super) enum Pending<'a> {
    Rekey1(&'a Noise),
    /// `None` refuses.
    Rekey2(Option<&'a Noise>),
    Rekey3,
}

/// The state of the key exchange inside a link.
pub(super) struct Rekey {
    keyring: Arc<Keyring>,
    suite: Suite,
    is_initiator: bool,
    /// The link's prologue, and h of the epoch in force.
    link_prologue: Vec<u8>,
    h: [u8; 32],
    next_h: [u8; 32],
    /// The epoch in force began, the next attempt begins.
    epoch_began: Instant,
    next: Instant,
    state: State,
}

impl Rekey {
    pub fn new(
        keyring: Arc<Keyring>,
        suite: Suite,
        is_initiator: bool,
        link_prologue: Vec<u8>,
        h: [u8; 32],
        now: Instant,
    ) -> Self {
        let next = now + REKEY_EVERY;
        Self {
            keyring,
            suite,
            is_initiator,
            link_prologue,
            h,
            next_h: h,
            epoch_began: now,
            next,
            state: State::Idle,
        }
    }

    fn prologue(&self) -> Vec<u8> {
        [b"rekey".as_slice(), &self.link_prologue, &self.h].concat()
    }

    /// Initiator: when the next attempt is due; it can be brought forward, for a secret that changed.
    pub fn due(&self) -> Option<Instant> {
        (self.is_initiator && matches!(self.state, State::Idle)).then_some(self.next)
    }
    pub fn bring_forward(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }
    pub fn epoch_age(&self, now: Instant) -> Duration {
        now.since(self.epoch_began)
    }

    /// Initiator: begins an exchange if none is under way.
    pub fn start(&mut self, entropy: [u8; 32]) -> Result<(), Fatal> {
        if !self.is_initiator || !matches!(self.state, State::Idle) {
            return Ok(());
        }
        let mut noise = [0; REKEY_NOISE_LEN];
        let initiator = Initiator::start(&self.keyring.current, &self.prologue(), &[], entropy, &mut noise)
            .map_err(|_| Fatal::Rekey("REKEY1 could not be made"))?;
        self.state = State::AskMarked {
            noise,
            initiator: Box::new(initiator),
        };
        Ok(())
    }

    /// The message that has to go out.
    pub fn pending(&self) -> Option<Pending<'_>> {
        match &self.state {
            State::AskMarked { noise, .. } => Some(Pending::Rekey1(noise)),
            State::AnswerMarked { noise, .. } => Some(Pending::Rekey2(Some(noise))),
            State::RefusalMarked => Some(Pending::Rekey2(None)),
            State::ConfirmMarked { .. } => Some(Pending::Rekey3),
            State::Idle | State::Asking { .. } | State::Waiting { .. } => None,
        }
    }

    /// The frame with the pending message was sealed. Returns the sealer of the new epoch if it was the old one's last frame.
    pub fn sealed(&mut self, now: Instant) -> Option<Sealer> {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::AskMarked { initiator, .. } => {
                self.state = State::Asking { since: now, initiator };
                None
            }
            State::AnswerMarked { sealer, opener, .. } => {
                self.state = State::Waiting { since: now, opener };
                Some(*sealer)
            }
            State::ConfirmMarked { sealer } => {
                self.finished(now);
                Some(*sealer)
            }
            State::RefusalMarked => None,
            other => {
                self.state = other;
                None
            }
        }
    }

    fn finished(&mut self, now: Instant) {
        self.state = State::Idle;
        self.h = self.next_h;
        self.epoch_began = now;
        self.next = now + REKEY_EVERY;
    }

    /// Responder: REKEY1 arrived.
    pub fn rekey1(&mut self, noise1: &Noise, entropy: [u8; 32]) -> Result<(), Fatal> {
        if self.is_initiator || !matches!(self.state, State::Idle) {
            return Err(Fatal::Link {
                rule: "REKEY1 while a REKEY is under way, or by the responder",
            });
        }
        let prologue = self.prologue();
        let read = |psk| Responder::read(psk, &prologue, noise1, &mut []);
        let responder = read(&self.keyring.current).or_else(|e| match &self.keyring.previous {
            Some(previous) => read(previous),
            None => Err(e),
        });
        let Ok(responder) = responder else {
            self.state = State::RefusalMarked;
            return Ok(());
        };
        let mut noise = [0; REKEY_NOISE_LEN];
        let split = responder.finish(&[], entropy, &mut noise).map_err(|_| Fatal::Link {
            rule: "REKEY1 with a bad public key",
        })?;
        let (to_initiator, from_initiator) = self.next_epoch(&split);
        self.state = State::AnswerMarked {
            noise,
            sealer: Box::new(to_initiator),
            opener: Box::new(from_initiator),
        };
        Ok(())
    }

    /// The responder's sealer and opener of the epoch that `split` begins.
    fn next_epoch(&mut self, split: &Split) -> (Sealer, Opener) {
        self.next_h = split.h;
        (
            Sealer::new(self.suite, &split.k_r, &split.h),
            Opener::new(self.suite, &split.k_i, &split.h),
        )
    }

    /// Initiator: REKEY2 arrived. Returns the opener for the frames after this one, `None` if the responder refused.
    pub fn rekey2(&mut self, status: u8, noise2: &Noise, now: Instant) -> Result<Option<Opener>, Fatal> {
        let State::Asking { initiator, .. } = core::mem::replace(&mut self.state, State::Idle) else {
            return Err(Fatal::Link {
                rule: "REKEY2 that nobody asked for",
            });
        };
        if status != 0 {
            self.next = now + RETRY_AFTER;
            return Ok(None);
        }
        let split = initiator.finish(noise2, &mut []).map_err(|_| Fatal::Link {
            rule: "REKEY2 does not authenticate",
        })?;
        self.next_h = split.h;
        let sealer = Sealer::new(self.suite, &split.k_i, &split.h);
        self.state = State::ConfirmMarked {
            sealer: Box::new(sealer),
        };
        Ok(Some(Opener::new(self.suite, &split.k_r, &split.h)))
    }

    /// Responder: REKEY3 arrived. Returns the opener for the frames after this one.
    pub fn rekey3(&mut self, now: Instant) -> Result<Opener, Fatal> {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Waiting { opener, .. } => {
                self.finished(now);
                Ok(*opener)
            }
            _ => Err(Fatal::Link {
                rule: "REKEY3 that nobody asked for",
            }),
        }
    }

    /// The moment at which the answer is overdue.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Asking { since, .. } | State::Waiting { since, .. } => Some(since + ANSWER_WITHIN),
            _ => None,
        }
    }
}

impl core::fmt::Debug for Rekey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rekey")
            .field("epoch_began", &self.epoch_began)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
