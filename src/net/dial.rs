//! Dialling: connections to apps and to peers, over TCP or to Unix sockets.

use super::app::AppSocket;
use super::socket::Socket;
use crate::config::Address;
use crate::wire::message::Code;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;

/// Why nothing was connected.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Refused(io::Error),
    #[error("{0}")]
    Failed(io::Error),
    #[error("its name does not resolve: {0}")]
    Name(io::Error),
}

impl DialError {
    /// What the peer is told.
    pub fn code(&self) -> Code {
        match self {
            Self::Timeout(_) => Code::DialTimeout,
            Self::Refused(_) => Code::DialRefused,
            Self::Failed(_) | Self::Name(_) => Code::DialFailed,
        }
    }
}

/// Every socket address of `address`, resolved anew.
async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, DialError> {
    if let Address::Ip(address) = address {
        return Ok(vec![*address]);
    }
    let address = address.clone();
    let found = tokio::task::spawn_blocking(move || address.resolve())
        .await
        .map_err(io::Error::other);
    match found.and_then(|found| found) {
        Ok(found) if found.is_empty() => Err(DialError::Name(io::ErrorKind::NotFound.into())),
        Ok(found) => Ok(found),
        Err(error) => Err(DialError::Name(error)),
    }
}

/// Connects to the first address that answers; `prepare` sets each socket up before it connects.
async fn connect(address: &Address, prepare: impl Fn(SockRef<'_>) -> io::Result<()>) -> Result<Socket, DialError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused(error),
        _ => DialError::Failed(error),
    };
    if let Address::Unix(path) = address {
        return UnixStream::connect(path).await.map(Socket::Unix).map_err(failed);
    }
    let mut last = DialError::Name(io::ErrorKind::NotFound.into());
    for candidate in resolve(address).await? {
        let attempt = async {
            let socket = if candidate.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }?;
            prepare(SockRef::from(&socket))?;
            socket.connect(candidate).await
        };
        match attempt.await {
            Ok(stream) => return Ok(Socket::Tcp(stream)),
            Err(error) => last = failed(error),
        }
    }
    Err(last)
}

/// Connects to an app within `limit`. The socket resets its connection when dropped.
pub async fn app(address: &Address, limit: Duration) -> Result<AppSocket, DialError> {
    let connected = timeout(limit, connect(address, super::app::prepare)).await;
    connected.map_err(|_| DialError::Timeout(limit))?.map(AppSocket::new)
}

/// Connects to a peer.
pub async fn peer(address: &Address) -> Result<Socket, DialError> {
    connect(address, |socket| socket.set_tcp_nodelay(true)).await
}
