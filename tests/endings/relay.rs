//! A TCP relay between the sidecars: it records, holds back, slows down and cuts what passes.

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const TURN: Duration = Duration::from_millis(5);

/// What both directions of one connection carried: initiator to responder, responder to initiator.
pub type Recorded = [Vec<u8>; 2];

#[derive(Default)]
struct State {
    holding: AtomicBool,
    /// How the connections below `cut_below` are cut: a [`Cut`].
    cut: AtomicUsize,
    cut_below: AtomicUsize,
    accepted: AtomicUsize,
    /// Bytes a second, 0: no bound.
    rate: AtomicU64,
    /// A connection is reset once this many bytes passed from the responder; 0: never.
    bytes: AtomicU64,
    records: AtomicBool,
    recorded: Mutex<Vec<Recorded>>,
}

pub struct Relay {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Clone, Copy)]
pub enum Cut {
    Fin = 1,
    Rst = 2,
}

impl Relay {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let relay = Self {
            address,
            state: Arc::clone(&state),
        };
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let index = state.accepted.fetch_add(1, SeqCst);
                state.recorded.lock().expect("lock").push(Recorded::default());
                let Ok(far) = narrow(target) else { continue };
                for socket in [&near, &far] {
                    socket.set_read_timeout(Some(TURN)).expect("time-out");
                    socket.set_write_timeout(Some(TURN)).expect("time-out");
                    socket.set_nodelay(true).expect("nodelay");
                }
                let connection = Arc::new(Connection {
                    state: Arc::clone(&state),
                    index,
                    ends: [near, far],
                    is_reset: AtomicBool::new(false),
                });
                for way in [0, 1] {
                    let connection = Arc::clone(&connection);
                    thread::spawn(move || connection.pump(way));
                }
            }
        });
        relay
    }

    pub fn hold(&self, hold: bool) {
        self.state.holding.store(hold, SeqCst);
    }
    pub fn throttle(&self, bytes_a_second: u64) {
        self.state.rate.store(bytes_a_second, SeqCst);
    }
    /// From now on each connection is reset once it has carried this much to the initiator.
    pub fn cut_each_after(&self, bytes: u64) {
        self.state.bytes.store(bytes, SeqCst);
    }
    pub fn record(&self) {
        self.state.records.store(true, SeqCst);
    }
    pub fn recorded(&self) -> Vec<Recorded> {
        self.state.recorded.lock().expect("lock").clone()
    }
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(SeqCst)
    }

    /// Ends every connection that is open now, on both sides.
    pub fn cut(&self, how: Cut) {
        self.state.cut.store(how as usize, SeqCst);
        self.state.cut_below.store(self.accepted(), SeqCst);
    }
}

struct Connection {
    state: Arc<State>,
    index: usize,
    /// Closed when both threads have let go.
    ends: [TcpStream; 2],
    is_reset: AtomicBool,
}

impl Connection {
    /// Whether to go on; waits while the relay holds.
    fn goes_on(&self) -> bool {
        loop {
            if self.is_reset.load(SeqCst) {
                return false;
            }
            if self.index < self.state.cut_below.load(SeqCst) {
                if self.state.cut.load(SeqCst) == Cut::Fin as usize {
                    for end in &self.ends {
                        let _ = end.shutdown(Shutdown::Both);
                    }
                } else {
                    self.reset();
                }
                return false;
            }
            if !self.state.holding.load(SeqCst) {
                return true;
            }
            thread::sleep(TURN);
        }
    }

    /// Both ends are reset once the other thread sees it, at its next turn.
    fn reset(&self) {
        self.is_reset.store(true, SeqCst);
        for end in &self.ends {
            let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
        }
    }

    fn pump(&self, way: usize) {
        let (mut from, mut to) = (&self.ends[way], &self.ends[1 - way]);
        let mut passed = 0;
        let mut chunk = vec![0; 64 * 1024];
        while self.goes_on() {
            let rate = self.state.rate.load(SeqCst);
            let at_most = if rate == 0 { chunk.len() } else { 4096 };
            let n = match from.read(&mut chunk[..at_most]) {
                Ok(0) => {
                    if self.goes_on() {
                        let _ = to.shutdown(Shutdown::Write);
                    }
                    return;
                }
                Ok(n) => n,
                Err(e) if is_timeout(&e) => continue,
                Err(_) => {
                    if self.goes_on() {
                        self.reset();
                    }
                    return;
                }
            };
            if self.state.records.load(SeqCst) {
                self.state.recorded.lock().expect("lock")[self.index][way].extend_from_slice(&chunk[..n]);
            }
            let mut rest = &chunk[..n];
            while !rest.is_empty() {
                if !self.goes_on() {
                    return;
                }
                match to.write(rest) {
                    Ok(n) => rest = &rest[n..],
                    Err(e) if is_timeout(&e) => {}
                    Err(_) => return self.reset(),
                }
            }
            if rate > 0 {
                thread::sleep(Duration::from_secs_f64(n as f64 / rate as f64));
            }
            passed += n as u64;
            let bytes = self.state.bytes.load(SeqCst);
            if way == 1 && bytes > 0 && passed >= bytes {
                return self.reset();
            }
        }
    }
}

/// Little fits into its kernel buffers: what the relay holds back stays with the sidecars.
fn narrow(target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_recv_buffer_size(16 * 1024)?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
