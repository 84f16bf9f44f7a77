//! Accepting connections: pauses where the host has no more files, so that a full table does not become a busy loop.

use super::listen::Listener;
use super::socket::{Socket, Source};
use crate::counters::{Counters, Limit};
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

const PAUSE: Duration = Duration::from_millis(100);

/// A listener on the runtime of this thread.
#[derive(Debug)]
pub enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    pub fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener, _) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    pub async fn accept(&self) -> io::Result<(Socket, Source)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (socket, from) = listener.accept().await?;
                (Socket::Tcp(socket), Source::Ip(from.ip()))
            }
            Self::Unix(listener) => (Socket::Unix(listener.accept().await?.0), Source::Unix),
        })
    }
}

/// The next connection. Errors of single connections are passed over.
pub async fn next(listener: &Accepting, counters: &Counters) -> (Socket, Source) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                // EMFILE and its kind come back at once as long as they last.
                counters.limit_hit(Limit::OpenFiles);
                tracing::debug!(event = "accept_failed", reason = %error, "trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
