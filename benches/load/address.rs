//! Where the far end is: `HOST:PORT` or `unix:/path`, and sockets to it.
//!
//! Promises: a name is resolved once, before anything is measured. Must not know: what is sent.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, UnixStream},
};
use wa_sidecar::net::congestion::unpace_on_loopback;

/// A target as typed, and what it came to.
#[derive(Clone, Debug)]
pub struct Target {
    typed: String,
    place: Place,
}

/// What is wrong with a target, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is no address.
    Form(String),
    /// A name that nobody knows.
    Unknown(String),
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// Resolves `text`; the first address of a name is taken.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Target, Error> {
        let place = if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(Error::Form(
                    "--target unix: wants a path, as in unix:/run/wa/message_socket".to_owned(),
                ));
            }
            Place::Unix(PathBuf::from(path))
        } else {
            let has_port = text
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if text.contains('/') || !has_port {
                return Err(Error::Form(format!(
                    "--target {text:?} is no address: HOST:PORT or unix:/path, without a scheme and a path"
                )));
            }
            let unknown = |why: &dyn fmt::Display| Error::Unknown(format!("--target {text:?}: {why}"));
            let mut addresses = text.to_socket_addrs().map_err(|error| unknown(&error))?;
            Place::Tcp(addresses.next().ok_or_else(|| unknown(&"the name has no address"))?)
        };
        Ok(Target {
            typed: text.to_owned(),
            place,
        })
    }

    /// What `Host` says in requests.
    pub fn host(&self) -> &str {
        match self.place {
            Place::Tcp(_) => &self.typed,
            Place::Unix(_) => "localhost",
        }
    }

    /// # Errors
    /// The system's.
    pub async fn connect(&self) -> io::Result<Socket> {
        match &self.place {
            Place::Tcp(address) => {
                let socket = match address {
                    SocketAddr::V4(_) => TcpSocket::new_v4()?,
                    SocketAddr::V6(_) => TcpSocket::new_v6()?,
                };
                // As the far end: serve.rs.
                unpace_on_loopback(SockRef::from(&socket), address.ip());
                let stream = socket.connect(*address).await?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            Place::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// What one would type to see why nobody is there.
    pub fn advice(&self) -> String {
        match &self.place {
            Place::Tcp(address) => {
                format!(
                    "is it running? see `ss -ltn 'sport = :{}'` on that host; a far end comes with `cargo load serve`",
                    address.port()
                )
            }
            Place::Unix(path) => format!("is it running? see `ss -lx src {}`", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

/// A connection to a [`Target`].
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
