//! Admitting links: accept, handshake, confirmation, within the limits that keep strangers cheap (SPEC 3.4, 3.6, 13).
//!
//! ```text
//! accepted --message 1--> authenticated --message 2--> unconfirmed --frame 0--> admitted
//!   256, 1 s                                            64, 3 s                   64 links
//! ```
//!
//! Promises: a stranger gets a fixed small buffer and one close; a link is handed on only after frame 0.
//! Must not know: what a link is for.

use super::accept::Accepting;
use super::handshake::{ConfirmError, confirm};
use super::repeat::Repeat;
use super::socket::{Socket, Source};
use super::{accept, clock, entropy};
use crate::counters::{Counters, HandshakeResult, Limit, LinkStatus};
use crate::link::Link;
use crate::link::Role;
use crate::link::budget::Lease;
use crate::link::handshake::{
    Acceptor, CAUSES_OF_SILENCE, CloseReason, Established, Grant, Limits, Load, MESSAGE_LEN, Verdict, explain,
};
use crate::sidecar::Sidecar;
use crate::signals::Stop;
use rustix::process::{Resource, getrlimit};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{AbortHandle, LocalSet};
use tokio::time::{Instant, timeout_at};

const MESSAGE_1_WITHIN: Duration = Duration::from_secs(1);
const FRAME_0_WITHIN: Duration = Duration::from_secs(3);
/// Fewer where the process may open few files: the apps need them.
const MAX_UNAUTHENTICATED: usize = 256;
const MAX_UNCONFIRMED: usize = 64;

/// A link that may have effects.
pub struct Admitted {
    pub link: Link,
    pub socket: Socket,
    pub status: LinkStatus,
    pub slot: LinkSlot,
    /// Whose listener took it.
    pub table: usize,
}

/// One of the links that the process may hold; free again when dropped.
#[derive(Debug)]
pub struct LinkSlot(Arc<AtomicUsize>);

impl LinkSlot {
    fn take(held: &Arc<AtomicUsize>, at_most: usize) -> Option<Self> {
        let more = |n| (n < at_most).then_some(n + 1);
        held.fetch_update(Relaxed, Relaxed, more)
            .ok()
            .map(|_| Self(Arc::clone(held)))
    }
}

impl Drop for LinkSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

struct Admission {
    sidecar: Sidecar,
    acceptor: RefCell<Acceptor>,
    links: Arc<AtomicUsize>,
    unconfirmed: Arc<AtomicUsize>,
    give: Box<dyn Fn(Admitted)>,
    stop: Stop,
    said: Repeat,
    max_strangers: usize,
    /// Of all listeners.
    strangers: RefCell<VecDeque<Stranger>>,
}

/// Accepts, and hands each confirmed link to `give`. Does not end: a peer that dials while `stop` drains is told so.
pub async fn admit_links(
    listeners: Vec<(Accepting, usize)>,
    sidecar: Sidecar,
    give: impl Fn(Admitted) + 'static,
    stop: &Stop,
) {
    let acceptor = Acceptor::new(Arc::clone(&sidecar.keyring), sidecar.local.clone(), Limits::default());
    let admission = Rc::new(Admission {
        sidecar,
        acceptor: RefCell::new(acceptor),
        links: Arc::default(),
        unconfirmed: Arc::default(),
        give: Box::new(give),
        stop: stop.clone(),
        said: Repeat::default(),
        max_strangers: max_strangers(getrlimit(Resource::Nofile).current),
        strangers: RefCell::default(),
    });
    let tasks = LocalSet::new();
    for (listener, table) in listeners {
        let admission = Rc::clone(&admission);
        tasks.spawn_local(async move {
            loop {
                let (socket, source) = accept::next(&listener, admission.counters()).await;
                admission.accepted(socket, source, table);
            }
        });
    }
    tasks.run_until(std::future::pending::<()>()).await;
}

/// A quarter of the files that the process may open.
fn max_strangers(open_files: Option<u64>) -> usize {
    let quarter = open_files.map_or(u64::MAX, |files| files / 4);
    usize::try_from(quarter)
        .unwrap_or(usize::MAX)
        .clamp(8, MAX_UNAUTHENTICATED)
}

/// A connection that has not authenticated.
struct Stranger {
    known: Rc<std::cell::Cell<bool>>,
    task: AbortHandle,
}

impl Stranger {
    fn is_known(&self) -> bool {
        self.known.get() || self.task.is_finished()
    }
}

/// What room was found for a link: its slots and its first windows.
struct Room {
    slot: LinkSlot,
    unconfirmed: LinkSlot,
    lease: Lease,
}

impl Admission {
    fn counters(&self) -> &Counters {
        &self.sidecar.registry.control
    }

    /// The oldest stranger makes room for a new one.
    fn accepted(self: &Rc<Self>, socket: Socket, source: Source, table: usize) {
        let mut strangers = self.strangers.borrow_mut();
        strangers.retain(|stranger| !stranger.is_known());
        if strangers.len() >= self.max_strangers
            && let Some(oldest) = strangers.pop_front()
        {
            self.counters().limit_hit(Limit::Unauthenticated);
            oldest.task.abort();
        }
        let known = Rc::new(std::cell::Cell::new(false));
        let task = tokio::task::spawn_local(Rc::clone(self).admit(socket, source, table, Rc::clone(&known)));
        strangers.push_back(Stranger {
            known,
            task: task.abort_handle(),
        });
    }

    async fn admit(self: Rc<Self>, mut socket: Socket, source: Source, table: usize, known: Rc<std::cell::Cell<bool>>) {
        let accepted = Instant::now();
        let mut message1 = [0; MESSAGE_LEN];
        match timeout_at(accepted + MESSAGE_1_WITHIN, socket.read_exact(&mut message1)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return self.failed(source, HandshakeResult::Disconnected),
            Err(_) => return self.failed(source, HandshakeResult::Timeout),
        }
        let mut room = None;
        let load = Load {
            links: self.links.load(Relaxed) as u64,
            draining: self.stop.drain.is_cancelled(),
        };
        let verdict = self.acceptor.borrow_mut().accept(
            &message1,
            clock::now(),
            load,
            |message| {
                let (found, grant) = self.room(message.max_streams)?;
                room = Some(found);
                Some(grant)
            },
            entropy::bytes(),
        );
        let result = verdict.result();
        match verdict {
            Verdict::Close { reason } => {
                if matches!(reason, CloseReason::TooManyAnswers(_)) {
                    self.counters().limit_hit(Limit::SkewAnswers);
                }
                self.failed(source, result);
            }
            Verdict::Refuse {
                message2,
                result: refusal,
                figure,
                peer,
                clock_difference_ms,
                cache_full,
            } => {
                known.set(true);
                self.counters().handshake(result);
                if cache_full {
                    self.counters().limit_hit(Limit::ReplayCache);
                }
                if let Some(difference_ms) = clock_difference_ms {
                    self.sidecar.registry.handshake_clock(difference_ms);
                }
                if self.said.first(result.label(), &source.to_string()) {
                    let peer_name = peer
                        .and_then(|peer| peer.name)
                        .map(|name| name.to_string())
                        .unwrap_or_default();
                    let explanation = explain(Role::Responder, refusal, figure, peer.as_ref());
                    tracing::warn!(
                        event = "handshake_refused",
                        reason = result.label(),
                        peer = %source,
                        peer_name,
                        "{explanation}"
                    );
                }
                let _ = timeout_at(accepted + FRAME_0_WITHIN, socket.write_all(&message2)).await;
            }
            Verdict::Accept { message2, established } => {
                known.set(true);
                let Some(room) = room else { return };
                let done = self.confirm(socket, source, table, message2, *established, room);
                match timeout_at(accepted + FRAME_0_WITHIN, done).await {
                    Ok(Ok(())) => {
                        let took = accepted.elapsed().as_micros();
                        self.counters().handshake(HandshakeResult::Accepted);
                        self.counters()
                            .handshake_durations
                            .observe_us(u64::try_from(took).unwrap_or(u64::MAX));
                    }
                    Ok(Err(error)) => self.unconfirmed(source, &error.to_string()),
                    Err(_) => self.unconfirmed(source, "no frame 0 within 3 s of the accept"),
                }
            }
        }
    }

    /// For a link on which the peer takes up to `max_streams` streams.
    fn room(&self, max_streams: u32) -> Option<(Room, Grant)> {
        let counted = |limit| {
            self.counters().limit_hit(limit);
            None
        };
        let Some(slot) = LinkSlot::take(&self.links, self.sidecar.max_links) else {
            return counted(Limit::Links);
        };
        let Some(unconfirmed) = LinkSlot::take(&self.unconfirmed, MAX_UNCONFIRMED) else {
            return counted(Limit::Unconfirmed);
        };
        let Some((grant, lease)) = self.sidecar.budget.admit(max_streams.min(self.sidecar.max_streams)) else {
            return counted(Limit::Buffer);
        };
        Some((
            Room {
                slot,
                unconfirmed,
                lease,
            },
            grant,
        ))
    }

    async fn confirm(
        &self,
        mut socket: Socket,
        source: Source,
        table: usize,
        message2: [u8; MESSAGE_LEN],
        mut established: Established,
        room: Room,
    ) -> Result<(), ConfirmError> {
        let _ = socket.set_nodelay();
        established.written(clock::instant());
        socket.write_all(&message2).await?;
        let Room {
            slot,
            unconfirmed,
            lease,
        } = room;
        let status = self.sidecar.status(&established, source.to_string());
        let clock_difference_ms = established.clock_difference_ms;
        let secret_used = established.secret;
        let wanting = lease.wanting();
        let counters = Arc::clone(&self.sidecar.registry.control);
        let keyring = Arc::clone(&self.sidecar.keyring);
        let mut link = Link::new(
            established,
            lease,
            keyring,
            Box::new(entropy::bytes),
            counters,
            clock::now(),
        );
        if let Err(error) = confirm(&mut socket, &mut link).await {
            if matches!(error, ConfirmError::Fatal(_)) {
                // SPEC section 1, *Fatal*: ended by RST.
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            return Err(error);
        }
        drop(unconfirmed);
        self.sidecar.registry.handshake_clock(clock_difference_ms);
        tracing::info!(
            event = "link_up",
            peer = %source,
            peer_name = %status.peer_name,
            suite = status.suite,
            secret = secret_used.label(),
            clock_difference_ms,
            "sealed link from a peer"
        );
        self.sidecar.warn_of_few_streams(wanting, &status);
        (self.give)(Admitted {
            link,
            socket,
            status,
            slot,
            table,
        });
        Ok(())
    }

    fn unconfirmed(&self, source: Source, why: &str) {
        self.counters().handshake(HandshakeResult::Unconfirmed);
        if self
            .said
            .first(HandshakeResult::Unconfirmed.label(), &source.to_string())
        {
            tracing::warn!(
                event = "handshake_failed",
                reason = HandshakeResult::Unconfirmed.label(),
                peer = %source,
                "authenticated, but the link was never confirmed ({why}): a replayed handshake, or the connection broke"
            );
        }
    }

    /// Closed without an answer. A source that does it again and again is logged every 10 s.
    fn failed(&self, source: Source, result: HandshakeResult) {
        self.counters().handshake(result);
        if !self.said.first(result.label(), &source.to_string()) {
            self.counters().limit_hit(Limit::FailureRate);
            return;
        }
        let text = match result {
            HandshakeResult::Timeout => {
                "connected, but sent no handshake within 1 s: not a wa-sidecar, or a very slow path"
            }
            HandshakeResult::Disconnected => {
                "connected and closed without a whole handshake: a port scan or health probe, or not a wa-sidecar"
            }
            HandshakeResult::Replay => "sent a handshake that was used before: somebody replays recorded traffic",
            HandshakeResult::ClockSkew => {
                "its clock is more than 10 s from this one's, and at most 5 a second are told so: check NTP on both hosts"
            }
            HandshakeResult::Malformed => {
                "its first message authenticates but is malformed, and at most 5 a second are told so: run the same version on both"
            }
            _ => CAUSES_OF_SILENCE,
        };
        tracing::warn!(event = "handshake_failed", reason = result.label(), peer = %source, "a connection was closed without an answer: {text}");
    }
}
