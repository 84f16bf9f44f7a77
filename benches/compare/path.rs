//! A path that takes time: a TCP relay that hands bytes on after half a round trip, at a rate, as a long line would.
//!
//! A real connect takes a round trip, but a connect to this relay none. So what a client sends counts as sent when its connect
//! would have been done, and the far end is dialled when the last packet of the handshake would have come.
//!
//! Promises: at most some milliseconds wait for the line, so that it is TCP that is slowed and not a buffer that grows.

use std::{
    cell::Cell,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::LocalSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

const READ: usize = 64 * 1024;
/// What may wait for the line.
const BACKLOG: Duration = Duration::from_millis(5);
/// The kernel's own buffer before the line: small, or it would be a second queue.
const RECEIVE: u32 = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    pub round_trip: Duration,
    /// Bytes a second, each way.
    pub rate: Option<f64>,
}

#[derive(Debug)]
pub struct Path {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Path {
    /// A path to `far`.
    ///
    /// # Errors
    /// The system's.
    pub fn start(far: SocketAddr, way: Way) -> io::Result<Path> {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        listener.set_recv_buffer_size(RECEIVE as usize)?;
        listener.set_tcp_nodelay(true)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(4096)?;
        listener.set_nonblocking(true)?;
        let listener = std::net::TcpListener::from(listener);
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("path".to_owned()).spawn(move || {
            let tasks = LocalSet::new();
            runtime.block_on(tasks.run_until(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    _ = accept(listener, far, way) => {}
                }
            }));
        })?;
        Ok(Path {
            address,
            stop,
            thread: Some(thread),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One direction of the line, which all connections share.
#[derive(Debug)]
struct Line {
    way: Way,
    /// When what was sent so far has left.
    free: Cell<Instant>,
}

impl Line {
    fn new(way: Way) -> Rc<Line> {
        Rc::new(Line {
            way,
            free: Cell::new(Instant::now()),
        })
    }

    /// Waits until little waits before.
    async fn room(&self) {
        let free = self.free.get();
        if free > Instant::now() + BACKLOG {
            sleep_until(free - BACKLOG).await;
        }
    }

    /// When `bytes` that are sent at `sent` are there.
    fn arrival(&self, sent: Instant, bytes: usize) -> Instant {
        let lasts = self
            .way
            .rate
            .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate));
        let left = sent.max(self.free.get()) + lasts;
        self.free.set(left);
        left + self.way.round_trip / 2
    }
}

async fn accept(listener: std::net::TcpListener, far: SocketAddr, way: Way) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let (there, back) = (Line::new(way), Line::new(way));
    loop {
        let (near, _) = listener.accept().await?;
        tokio::task::spawn_local(carry(near, far, Rc::clone(&there), Rc::clone(&back)));
    }
}

/// What is on a line: when it is there, and the bytes; none are the end.
type Sent = (Instant, Vec<u8>);

/// An error on either side ends both abruptly, as it would on one connection.
async fn carry(mut near: TcpStream, far: SocketAddr, there: Rc<Line>, back: Rc<Line>) -> io::Result<()> {
    let connected = Instant::now() + there.way.round_trip;
    abruptly(&near, true)?;
    let (near_read, near_write) = near.split();
    let (send, receive) = mpsc::unbounded_channel();
    let beyond = async {
        sleep_until(connected + there.way.round_trip / 2).await;
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE)?;
        socket.set_nodelay(true)?;
        let mut far = socket.connect(far).await?;
        abruptly(&far, true)?;
        let (far_read, far_write) = far.split();
        let (send, receive_back) = mpsc::unbounded_channel();
        tokio::try_join!(
            write(far_write, receive),
            read(far_read, send, &back, connected),
            write(near_write, receive_back)
        )?;
        abruptly(&far, false)
    };
    tokio::try_join!(read(near_read, send, &there, connected), beyond)?;
    abruptly(&near, false)
}

fn abruptly(socket: &TcpStream, so: bool) -> io::Result<()> {
    socket2::SockRef::from(socket).set_linger(so.then_some(Duration::ZERO))
}

async fn read(mut from: ReadHalf<'_>, send: UnboundedSender<Sent>, line: &Line, not_before: Instant) -> io::Result<()> {
    loop {
        line.room().await;
        let mut bytes = Vec::with_capacity(READ);
        let read = from.read_buf(&mut bytes).await?;
        let due = line.arrival(Instant::now().max(not_before), read);
        let _ = send.send((due, bytes));
        if read == 0 {
            return Ok(());
        }
    }
}

async fn write(mut to: WriteHalf<'_>, mut receive: UnboundedReceiver<Sent>) -> io::Result<()> {
    while let Some((due, bytes)) = receive.recv().await {
        sleep_until(due).await;
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(&bytes).await?;
    }
    Ok(())
}
