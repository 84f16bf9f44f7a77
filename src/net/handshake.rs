//! The handshake over a socket: the initiator's side whole, the responder's in the steps that its limits are about.

use super::socket::Socket;
use super::{clock, dial, entropy};
use crate::counters::HandshakeResult;
use crate::crypto::Keyring;
use crate::link::handshake::{Dial, DialError, Established, Explanation, Grant, Local, MESSAGE_LEN};
use crate::link::{Event, Fatal, Link};
use crate::wire::frame::{HEADER_LEN, Header, MAX_CONFIRMATION_LENGTH};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Why an attempt did not give a link.
#[derive(Debug, thiserror::Error)]
pub enum InitiateError {
    #[error("no link within {0:?}")]
    Timeout(Duration),
    #[error("cannot connect: {0}")]
    Dial(#[from] dial::DialError),
    #[error("{0}")]
    Handshake(#[from] DialError),
    #[error("the connection broke in the handshake: {0}")]
    Broken(io::Error),
    #[error("the buffer budget has no room for one more link")]
    NoBuffer,
}

impl InitiateError {
    /// The log's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Dial(dial) => dial.code().label(),
            Self::NoBuffer => "buffer_budget",
            _ => self.result().label(),
        }
    }

    pub fn result(&self) -> HandshakeResult {
        match self {
            Self::Timeout(_) => HandshakeResult::Timeout,
            Self::Dial(_) | Self::Broken(_) => HandshakeResult::Disconnected,
            Self::NoBuffer => HandshakeResult::Busy,
            // What a responder does with a message 1 that it cannot authenticate.
            Self::Handshake(DialError::Closed) => HandshakeResult::Unauthenticated,
            Self::Handshake(error) => error.result(),
        }
    }

    /// What is wrong, and what to type.
    pub fn explanation(&self) -> Explanation {
        let advice = match self {
            Self::Timeout(_) => {
                "is --peer the --listen of a coreapp's sidecar, not an app nor a webapp's sidecar, and does a firewall between \
                 the hosts let it pass? Try:  nc -vz HOST PORT"
            }
            Self::Dial(dial::DialError::Refused(_)) => {
                "is the peer's sidecar running, and is --peer its --listen address and port?"
            }
            Self::Dial(_) => "is --peer right? Try:  getent hosts HOST  and  nc -vz HOST PORT",
            Self::Broken(_) => {
                "is --peer the --listen of a coreapp's sidecar, not an app nor a webapp's sidecar, or does something between \
                 the hosts close connections?"
            }
            Self::NoBuffer => "raise --buffer-budget, or lower --max-streams",
            Self::Handshake(error) => return error.explanation(),
        };
        Explanation {
            what: self.to_string(),
            advice: advice.into(),
        }
    }

    /// The peer's clock minus the own one, where a refusal told.
    pub fn clock_difference_ms(&self) -> Option<i64> {
        match self {
            Self::Handshake(DialError::Refused {
                clock_difference_ms, ..
            }) => Some(*clock_difference_ms),
            _ => None,
        }
    }
}

/// Message 1, message 2 (SPEC section 3), as the initiator.
pub async fn initiate(
    socket: &mut Socket,
    keyring: &Keyring,
    local: &Local,
    grant: Grant,
) -> Result<Established, InitiateError> {
    let (mut dial, message1) = Dial::start(keyring, local, grant, clock::now(), entropy::bytes());
    dial.written(clock::instant());
    socket.write_all(&message1).await.map_err(InitiateError::Broken)?;
    let mut message2 = [0; MESSAGE_LEN];
    let mut got = 0;
    while got < MESSAGE_LEN {
        got += match socket.read(&mut message2[got..]).await {
            // Silence is what a stranger gets; an answer that breaks off is something else.
            Ok(0) if got == 0 => return Err(DialError::Closed.into()),
            Err(error) if got == 0 && error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(DialError::Closed.into());
            }
            Ok(0) => return Err(InitiateError::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => n,
            Err(error) => return Err(InitiateError::Broken(error)),
        };
    }
    Ok(dial.finish(&message2, clock::now())?)
}

/// Why a handshake that was accepted gave no link.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    #[error("the connection broke before frame 0: {0}")]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Reads frame 0 into a fixed small buffer: only then may a link have side effects (SPEC 3.6).
pub async fn confirm(socket: &mut Socket, link: &mut Link) -> Result<(), ConfirmError> {
    let mut frame = [0; HEADER_LEN + MAX_CONFIRMATION_LENGTH as usize];
    socket.read_exact(&mut frame[..HEADER_LEN]).await?;
    let (header, rest) = frame.split_at_mut(HEADER_LEN);
    let header = header
        .first_chunk()
        .map(Header::decode)
        .ok_or(Fatal::BadTag)?
        .map_err(Fatal::from)?;
    if header.length > MAX_CONFIRMATION_LENGTH {
        return Err(Fatal::Link {
            rule: "the initiator's frame 0 is longer than 512 bytes",
        }
        .into());
    }
    socket.read_exact(&mut rest[..header.length as usize]).await?;
    let now = clock::now();
    let frame = &mut frame[..header.frame_len()];
    link.accept(frame, now)?;
    while let Some(event) = link.event(frame, now)? {
        debug_assert_eq!(event, Event::Confirmed, "frame 0 is one PING");
    }
    Ok(())
}
