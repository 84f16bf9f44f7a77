//! Binding, before any thread starts and any privilege is given up.
//!
//! Promises: a socket listens when `bind` returns; what accepted sockets must be from birth they inherit from it. An
//! error says which address, why, who may hold it and what to type. The file of a Unix socket is unlinked if the start fails after it.
//! Must not know: runtimes (the sockets are non-blocking and std's), roles.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::congestion;
use super::unix::{self, SocketFiles, UnixError};
use crate::config::Address;

/// What an accepted connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Zero linger: if this process dies, an app must see RST, never an EOF that reads as a complete answer.
    Apps,
    /// The usual close: what was written before it, such as a refusal, arrives.
    Links,
    /// The usual close, for pages.
    Admin,
}

impl For {
    const fn flag(self) -> &'static str {
        match self {
            For::Apps | For::Links => "--listen",
            For::Admin => "--admin",
        }
    }
}

const BACKLOG: i32 = 4096;
/// An app whose host is gone says nothing: after 2 minutes without an answer from its kernel its connection is reset. The app behind
/// the other sidecar cannot find that out, for its own keepalive ends at the sidecar beside it.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// A bound, listening, non-blocking socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// With its path.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// The same socket again, for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener, path) => Self::Unix(listener.try_clone()?, path.clone()),
        })
    }

    /// What it is bound to: the port that the system chose, where it did.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Ip(listener.local_addr()?),
            Self::Unix(_, path) => Address::Unix(path.clone()),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}\n  {advice}")]
pub struct BindError {
    pub address: Address,
    cause: String,
    advice: String,
}

impl BindError {
    fn new(address: &Address, purpose: For, source: io::Error) -> Self {
        let flag = purpose.flag();
        let port = address.port();
        let advice = match source.kind() {
            ErrorKind::AddrInUse => format!(
                "Another program has it: the app itself, or a sidecar that still runs. To see which:  \
                 ss -ltnp 'sport = :{port}'\n  Stop that one, or listen elsewhere, for example:  {flag} 127.0.0.1:{}",
                port.checked_add(1000).unwrap_or(7250)
            ),
            ErrorKind::AddrNotAvailable => format!(
                "No interface of this host has it. To see which there are:  ip address\n  \
                 Every interface is:  {flag} 0.0.0.0:{port}"
            ),
            ErrorKind::PermissionDenied => format!(
                "Ports under 1024 need the capability CAP_NET_BIND_SERVICE; or take a higher one, for example:  \
                 {flag} 127.0.0.1:{}",
                port.saturating_add(6000)
            ),
            _ => format!(
                "If it is a name, it must resolve here; or write an IP address, for example:  {flag} 0.0.0.0:{port}"
            ),
        };
        Self {
            address: address.clone(),
            cause: source.to_string(),
            advice,
        }
    }

    fn unix(address: &Address, path: &Path, error: &UnixError) -> Self {
        let shown = path.display();
        let directory = path.parent().unwrap_or(path).display();
        let advice = match error {
            UnixError::NoDirectory => format!("Make it, writable for the user of this sidecar:  mkdir -p {directory}"),
            UnixError::Alive => format!(
                "It is the app itself, or a sidecar that still runs. To see which:  ss -lxp | grep {shown}\n  \
                 Stop that one, or listen elsewhere."
            ),
            UnixError::NotASocket => {
                format!("It is left alone. See what it is:  ls -l {shown}\n  Move it away, or listen elsewhere.")
            }
            UnixError::Stale(_) => format!("Remove it:  rm {shown}"),
            UnixError::Io(_) => {
                format!("The user of this sidecar must be allowed to write to the directory:  ls -ld {directory}")
            }
        };
        Self {
            address: address.clone(),
            cause: error.to_string(),
            advice,
        }
    }
}

/// Binds what a process listens on, and remembers the files that it made.
#[derive(Debug)]
pub struct Binder {
    /// The mode of a Unix socket's file.
    pub socket_mode: u32,
    pub files: SocketFiles,
}

impl Binder {
    /// Listens on all of them, or on none.
    pub fn bind_all(&mut self, addresses: &[Address], purpose: For) -> Result<Vec<Listener>, BindError> {
        addresses.iter().map(|address| self.bind(address, purpose)).collect()
    }

    pub fn bind(&mut self, address: &Address, purpose: For) -> Result<Listener, BindError> {
        let Address::Unix(path) = address else {
            return bind(address, purpose).map(Listener::Tcp);
        };
        let (listener, file) =
            unix::bind(path, self.socket_mode, BACKLOG).map_err(|error| BindError::unix(address, path, &error))?;
        self.files.add(file);
        Ok(Listener::Unix(listener, path.clone()))
    }
}

/// Listens on the first of the address's socket addresses that can be had.
fn bind(address: &Address, purpose: For) -> Result<TcpListener, BindError> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for candidate in address
        .resolve()
        .map_err(|error| BindError::new(address, purpose, error))?
    {
        match listen(candidate, purpose) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(BindError::new(address, purpose, last))
}

fn listen(address: SocketAddr, purpose: For) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // [::] means every interface, IPv4 too, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for old connections in TIME_WAIT; Linux still refuses a second listener.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    congestion::unpace_on_loopback(SockRef::from(&socket), address.ip());
    if purpose == For::Apps {
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_tcp_keepalive(&KEEPALIVE)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    #[test]
    fn accepted_sockets_inherit_what_they_need() {
        for (purpose, linger) in [(For::Apps, Some(Duration::ZERO)), (For::Links, None)] {
            let listener = bind(&address("127.0.0.1:0"), purpose).expect("bound");
            let _client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
            let (accepted, _) = listener.accept().expect("one is waiting");
            assert_eq!(SockRef::from(&accepted).linger().expect("linger"), linger);
            assert!(accepted.nodelay().expect("nodelay"));
            let accepted = SockRef::from(&accepted);
            assert_eq!(accepted.keepalive().expect("keepalive"), purpose == For::Apps);
            if purpose == For::Apps {
                assert_eq!(accepted.tcp_keepalive_time().expect("time"), Duration::from_secs(60));
            }
        }
    }

    #[test]
    fn the_ipv6_wildcard_takes_ipv4_too() {
        let listener = bind(&address("[::]:0"), For::Links).expect("bound");
        let port = listener.local_addr().expect("bound").port();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn a_name_is_looked_up() {
        assert!(bind(&address("localhost:0"), For::Apps).is_ok());
    }

    #[test]
    fn an_error_says_what_to_type() {
        let held = bind(&address("127.0.0.1:0"), For::Apps).expect("bound");
        let taken = held.local_addr().expect("bound");
        let message = |text: &str| bind(&address(text), For::Apps).expect_err("refused").to_string();
        let in_use = message(&taken.to_string());
        assert!(in_use.contains(&format!("listen on {taken}")), "{in_use}");
        assert!(
            in_use.contains(&format!("ss -ltnp 'sport = :{}'", taken.port())),
            "{in_use}"
        );
        assert!(message("192.0.2.1:6250").contains("--listen 0.0.0.0:6250"));
        assert!(message("no-such-host.invalid:6250").contains("must resolve"));
    }
}
