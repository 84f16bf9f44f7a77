//! Dialling: connections to apps and to peers, over TCP or to Unix sockets.

use super::app::{AppSocket, Greeting};
use super::congestion;
use super::lookup;
use super::socket::Socket;
use crate::config::Address;
use crate::wire::message::Code;
use socket2::{Domain, Protocol, SockRef, Type};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

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

/// A candidate that has not answered for this long does not keep the next one from being tried (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);
/// Between attempts at a Unix socket whose backlog is full.
const FULL: Duration = Duration::from_millis(5);

/// Connects to the address that answers first; `prepare` sets each socket up before it connects.
async fn connect(address: &Address, prepare: impl Fn(SockRef<'_>) -> io::Result<()>) -> Result<Socket, DialError> {
    match address {
        Address::Unix(path) => unix(path).await.map(Socket::Unix).map_err(failed),
        Address::Ip(candidate) => connect_tcp(*candidate, prepare).await.map(Socket::Tcp).map_err(failed),
        Address::Name { .. } => {
            // Resolved anew each time.
            let candidates = lookup::resolve(address).await.map_err(DialError::Name)?;
            first(candidates, |candidate| connect_tcp(candidate, &prepare))
                .await
                .map(Socket::Tcp)
        }
    }
}

fn failed(error: io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused(error),
        _ => DialError::Failed(error),
    }
}

/// Tries one after the other: the next one as soon as one fails, or `STAGGER` after the last one began.
async fn first<T, A: Future<Output = io::Result<T>>>(
    candidates: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> A,
) -> Result<T, DialError> {
    let mut last = DialError::Name(io::ErrorKind::NotFound.into());
    let mut candidates = candidates.into_iter();
    let mut begun: Vec<Pin<Box<A>>> = Vec::new();
    loop {
        match candidates.next() {
            Some(candidate) => begun.push(Box::pin(attempt(candidate))),
            None if begun.is_empty() => return Err(last),
            None => {}
        }
        let any = poll_fn(|cx| {
            for i in 0..begun.len() {
                if let Poll::Ready(done) = begun[i].as_mut().poll(cx) {
                    drop(begun.swap_remove(i));
                    return Poll::Ready(done);
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            done = any => match done {
                Ok(connected) => return Ok(connected),
                Err(error) => last = failed(error),
            },
            () = sleep(STAGGER), if candidates.len() > 0 => {}
        }
    }
}

/// Linux does not queue a non-blocking connect where a backlog is full, as it does a blocking one.
async fn unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL).await,
            done => return done,
        }
    }
}

/// connect(2) without blocking. Between programs of one host the handshake is mostly over when the call returns, which getpeername(2)
/// knows: then there is no event to wait for. Unlike tokio's it asks for the socket's error only if the readiness says that there is one.
async fn connect_tcp(address: SocketAddr, prepare: impl Fn(SockRef<'_>) -> io::Result<()>) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    congestion::unpace_on_loopback(SockRef::from(&socket), address.ip());
    prepare(SockRef::from(&socket))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let is_connected = socket.peer_addr().is_ok();
    let stream = TcpStream::from_std(socket.into())?;
    if !is_connected {
        let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
        if (ready.is_error() || ready.is_write_closed())
            && let Some(error) = stream.take_error()?
        {
            return Err(error);
        }
    }
    // Where nobody listens at a port of this host, Linux may give the socket that very port, and connects it to itself: an app would
    // have its own request for an answer.
    let own = stream.local_addr()?;
    if own.port() == address.port() && own == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Connects to an app within `limit`. The socket resets its connection when dropped.
pub async fn app(address: &Address, limit: Duration, greeting: &Rc<Greeting>) -> Result<AppSocket, DialError> {
    let connected = timeout(limit, connect(address, |socket| super::app::prepare(socket, greeting))).await;
    connected
        .map_err(|_| DialError::Timeout(limit))?
        .map(|socket| AppSocket::dialled(socket, Rc::clone(greeting)))
}

/// Connects to a peer.
pub async fn peer(address: &Address) -> Result<Socket, DialError> {
    connect(address, |socket| socket.set_tcp_nodelay(true)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::app::Read;
    use socket2::{SockAddr, Socket as Raw};
    use std::io::IoSlice;
    use std::os::unix::net::UnixListener;

    /// The second one answers, the first one never does.
    #[tokio::test]
    async fn an_address_that_never_answers_does_not_hide_the_next() {
        let candidates = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let answers = async |candidate: SocketAddr| match candidate.port() {
            1 => std::future::pending().await,
            port => Ok(port),
        };
        assert_eq!(first(candidates.to_vec(), answers).await.expect("the second"), 2);
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken_and_the_last_error_told() {
        let candidates = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let tried = std::cell::RefCell::new(Vec::new());
        let second = async |candidate: SocketAddr| {
            tried.borrow_mut().push(candidate.port());
            match candidate.port() {
                1 => Err(io::ErrorKind::HostUnreachable.into()),
                port => Ok(port),
            }
        };
        assert_eq!(first(candidates.to_vec(), second).await.expect("the second"), 2);
        assert_eq!(*tried.borrow(), [1, 2]);
        let none = async |_| Err::<u16, _>(io::ErrorKind::ConnectionRefused.into());
        let refused = first(candidates.to_vec(), none).await;
        assert!(matches!(refused, Err(DialError::Refused(_))), "{refused:?}");
        assert!(matches!(first(vec![], none).await, Err(DialError::Name(_))));
    }

    /// Of the port that the kernel chooses in one of some ten thousand dials.
    #[tokio::test]
    async fn a_port_where_nobody_listens_does_not_answer_itself() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = free.local_addr().expect("bound");
        drop(free);
        let done = connect_tcp(address, |socket| socket.bind(&address.into())).await;
        assert_eq!(
            done.expect_err("nobody listens").kind(),
            io::ErrorKind::ConnectionRefused
        );
    }

    /// Dials, and says whether its handshake was confirmed at once; then something is written.
    async fn dialled_and_confirmed(listener: &std::net::TcpListener, greeting: &Rc<Greeting>) -> bool {
        let address = Address::Ip(listener.local_addr().expect("bound"));
        let socket = app(&address, Duration::from_secs(60), greeting)
            .await
            .expect("connected");
        listener.set_nonblocking(true).expect("set");
        // What can be accepted is confirmed.
        let confirmed = listener.accept().is_ok();
        socket.write(&[IoSlice::new(b"request")], false).expect("written");
        if !confirmed {
            listener.set_nonblocking(false).expect("set");
            listener.accept().expect("confirmed by the request");
        }
        confirmed
    }

    // A kernel may take a packet later, and confirms by itself after a fifth of a second: once in so many tries is enough.
    const TRIES: usize = 20;

    #[tokio::test]
    async fn where_requests_have_long_come_first_they_confirm_the_handshake() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let greeting = Rc::default();
        let mut at_once = 0;
        for _ in 0..16 {
            at_once += usize::from(dialled_and_confirmed(&listener, &greeting).await);
        }
        assert!(at_once > 0, "nobody knows yet who speaks first");
        let mut held_back = 0;
        for _ in 0..TRIES {
            held_back += usize::from(!dialled_and_confirmed(&listener, &greeting).await);
        }
        assert!(held_back > 0);

        // The app's end counts as its word.
        let address = Address::Ip(listener.local_addr().expect("bound"));
        let socket = app(&address, Duration::from_secs(60), &greeting)
            .await
            .expect("connected");
        listener.set_nonblocking(false).expect("set");
        drop(listener.accept().expect("confirmed by the kernel"));
        poll_fn(|cx| socket.poll_readable(cx)).await;
        assert_eq!(socket.read(&mut [0; 64]), Ok(Read::End));
        let mut at_once = 0;
        for _ in 0..15 {
            at_once += usize::from(dialled_and_confirmed(&listener, &greeting).await);
        }
        assert!(at_once > 0, "the app speaks first");
    }

    #[tokio::test]
    async fn of_many_callers_who_stay_silent_only_a_few_are_held_back() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let greeting = Rc::default();
        for _ in 0..16 {
            dialled_and_confirmed(&listener, &greeting).await;
        }
        let address = Address::Ip(listener.local_addr().expect("bound"));
        let mut silent = Vec::new();
        for _ in 0..TRIES {
            silent.push(
                app(&address, Duration::from_secs(60), &greeting)
                    .await
                    .expect("connected"),
            );
        }
        listener.set_nonblocking(true).expect("set");
        listener.accept().expect("one that was not held back");
    }

    /// A blocking program waits there too.
    #[tokio::test]
    async fn room_in_a_full_backlog_of_a_unix_socket_is_waited_for() {
        let path = std::env::temp_dir().join(format!("wa-sidecar-dial-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let unix = || {
            let socket = Raw::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("non-blocking");
            (socket, SockAddr::unix(&path).expect("a path"))
        };
        let (listener, at) = unix();
        listener.bind(&at).expect("bound");
        listener.listen(0).expect("listening");
        let listener = UnixListener::from(listener);
        let mut fillers = Vec::new();
        loop {
            let (filler, at) = unix();
            if filler.connect(&at).is_err() {
                break;
            }
            fillers.push(filler);
        }
        let address = Address::Unix(path.clone());
        let greeting = Rc::default();
        let dialling = app(&address, Duration::from_secs(60), &greeting);
        tokio::pin!(dialling);
        tokio::select! {
            biased;
            done = &mut dialling => panic!("there is no room: {done:?}"),
            () = tokio::task::yield_now() => {}
        }
        for _ in &fillers {
            listener.accept().expect("a filler");
        }
        dialling.await.expect("there is room");
        let _ = std::fs::remove_file(&path);
    }
}
