//! Dialling: connections to apps and to peers, over TCP or to Unix sockets.

use super::app::AppSocket;
use super::socket::Socket;
use crate::config::Address;
use crate::wire::message::Code;
use socket2::{Domain, Protocol, SockRef, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
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
        match connect_tcp(candidate, &prepare).await {
            Ok(stream) => return Ok(Socket::Tcp(stream)),
            Err(error) => last = failed(error),
        }
    }
    Err(last)
}

/// connect(2) without blocking. Unlike tokio's it asks for the socket's error only if the readiness says that there is one: a
/// system call less for each connection.
async fn connect_tcp(address: SocketAddr, prepare: impl Fn(SockRef<'_>) -> io::Result<()>) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    prepare(SockRef::from(&socket))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
    if (ready.is_error() || ready.is_write_closed())
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    Ok(stream)
}

/// Connects to an app within `limit`. The socket resets its connection when dropped.
pub async fn app(address: &Address, limit: Duration) -> Result<AppSocket, DialError> {
    let connected = timeout(limit, connect(address, super::app::prepare)).await;
    connected
        .map_err(|_| DialError::Timeout(limit))?
        .map(AppSocket::dialled)
}

/// Connects to a peer.
pub async fn peer(address: &Address) -> Result<Socket, DialError> {
    connect(address, |socket| socket.set_tcp_nodelay(true)).await
}
