//! Somebody on the path between two sidecars: knows where handshake messages and frames begin and end, and does with each what a
//! script says.

use socket2::SockRef;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub const MESSAGE_LEN: usize = 512;
pub const HEADER_LEN: usize = 20;
pub const TAG_LEN: usize = 16;

/// What is done instead of passing a message or frame on.
#[derive(Debug, Clone)]
pub enum Op {
    /// On, in this direction.
    Send(Vec<u8>),
    /// To who sent it.
    Back(Vec<u8>),
    /// Hold everything of this direction; the other one goes on.
    Wait(Duration),
    /// End both connections: FIN, or RST.
    Fin,
    Rst,
}

/// Asked for each unit of one direction: its place (0: the handshake message, n: frame n - 1) and its bytes.
pub type Script = Box<dyn FnMut(usize, &[u8]) -> Vec<Op> + Send>;

/// Passes everything on.
pub fn pass() -> Script {
    Box::new(|_, bytes| vec![Op::Send(bytes.to_vec())])
}

/// What is done with one link.
pub struct Plan {
    /// From the initiator.
    pub up: Script,
    /// From the responder.
    pub down: Script,
}

impl Plan {
    pub fn up(script: impl FnMut(usize, &[u8]) -> Vec<Op> + Send + 'static) -> Self {
        Self {
            up: Box::new(script),
            down: pass(),
        }
    }

    pub fn down(script: impl FnMut(usize, &[u8]) -> Vec<Op> + Send + 'static) -> Self {
        Self {
            up: pass(),
            down: Box::new(script),
        }
    }

    pub fn pass() -> Self {
        Self {
            up: pass(),
            down: pass(),
        }
    }
}

/// What passed on one connection, as it was sent.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    pub up: Vec<Vec<u8>>,
    pub down: Vec<Vec<u8>>,
}

/// Cases that links take one after the other, when it comes to them and not when they are dialled: a dial may come to nothing.
pub struct Cases<T>(Arc<Mutex<VecDeque<T>>>);

impl<T> Cases<T> {
    pub fn new(cases: impl IntoIterator<Item = T>) -> Self {
        Self(Arc::new(Mutex::new(cases.into_iter().collect())))
    }

    pub fn next(&self) -> Option<T> {
        self.next_if(|_| true)
    }

    pub fn next_if(&self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut cases = self.0.lock().expect("lock");
        if cases.front().is_some_and(wanted) {
            cases.pop_front()
        } else {
            None
        }
    }

    pub fn left(&self) -> usize {
        self.0.lock().expect("lock").len()
    }

    /// Until all are taken: after a while there is a second between two links.
    pub fn until_taken(&self) {
        let until = Instant::now() + Duration::from_secs(2 * self.left() as u64 + 20);
        while self.left() > 0 {
            assert!(Instant::now() < until, "{} cases left", self.left());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl<T> Clone for Cases<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Default)]
struct State {
    plans: VecDeque<Plan>,
    each: Option<Box<dyn FnMut() -> Plan + Send>>,
    recordings: Vec<Recording>,
    connections: usize,
    target: Option<SocketAddr>,
}

/// Runs as long as the test's process.
pub struct Middlebox {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    cut: Arc<Notify>,
}

impl Middlebox {
    /// In front of the coreapp at `target`.
    pub fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((crate::loopback(), 0)).expect("bound");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State {
            target: Some(target),
            ..State::default()
        }));
        let cut = Arc::new(Notify::new());
        let of_thread = (Arc::clone(&state), Arc::clone(&cut));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(carry(socket, Arc::clone(&of_thread.0), Arc::clone(&of_thread.1)));
                }
            });
        });
        Self { address, state, cut }
    }

    /// What is done with the next link that has no plan yet; links without one pass.
    pub fn plan(&self, plan: Plan) {
        self.state.lock().expect("lock").plans.push_back(plan);
    }

    /// What is done with every link that [`Self::plan`] says nothing of.
    pub fn plan_each(&self, plan: impl FnMut() -> Plan + Send + 'static) {
        self.state.lock().expect("lock").each = Some(Box::new(plan));
    }

    /// Ends every link that there is by RST.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// Whether every plan is taken by a link.
    pub fn is_idle(&self) -> bool {
        self.state.lock().expect("lock").plans.is_empty()
    }

    /// Links that were dialled so far.
    pub fn connections(&self) -> usize {
        self.state.lock().expect("lock").connections
    }

    /// The lengths of what passed on the last links, to be told when something is wrong.
    pub fn sizes(&self) -> String {
        let state = self.state.lock().expect("lock");
        let lengths = |units: &[Vec<u8>]| units.iter().map(Vec::len).collect::<Vec<_>>();
        let last = state.recordings.iter().enumerate().rev().take(3);
        let last = last.map(|(n, r)| format!("link {n}: up {:?}, down {:?}", lengths(&r.up), lengths(&r.down)));
        last.collect::<Vec<_>>().join("; ")
    }

    /// Leads new links elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.lock().expect("lock").target = Some(target);
    }

    /// What passed on the link that was dialled as the `n`th.
    pub fn recording(&self, n: usize) -> Recording {
        self.state.lock().expect("lock").recordings[n].clone()
    }
}

/// How a connection is ended by a script or by an end.
enum Cut {
    Fin,
    Rst,
}

async fn carry(mut web: TcpStream, state: Arc<Mutex<State>>, all: Arc<Notify>) {
    let (number, plan, target) = {
        let mut state = state.lock().expect("lock");
        state.connections += 1;
        state.recordings.push(Recording::default());
        let planned = state.plans.pop_front();
        let plan = planned.or_else(|| state.each.as_mut().map(|each| each()));
        let plan = plan.unwrap_or_else(Plan::pass);
        (state.connections - 1, plan, state.target.expect("a target"))
    };
    let Ok(mut core) = TcpStream::connect(target).await else {
        return;
    };
    let _ = (web.set_nodelay(true), core.set_nodelay(true));
    let cut = {
        let (from_web, to_web) = web.split();
        let (from_core, to_core) = core.split();
        let (to_web, to_core) = (tokio::sync::Mutex::new(to_web), tokio::sync::Mutex::new(to_core));
        let up = direction(from_web, &to_core, &to_web, plan.up, |unit| {
            state.lock().expect("lock").recordings[number].up.push(unit.to_vec());
        });
        let down = direction(from_core, &to_web, &to_core, plan.down, |unit| {
            state.lock().expect("lock").recordings[number].down.push(unit.to_vec());
        });
        let both = async { tokio::try_join!(up, down) };
        tokio::select! {
            over = both => over.err(),
            () = all.notified() => Some(Cut::Rst),
        }
    };
    if let Some(Cut::Rst) = cut {
        for socket in [&web, &core] {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    } else {
        let _ = tokio::join!(web.shutdown(), core.shutdown());
    }
}

/// Until the end of `from` (`Ok`), or the end of the link.
async fn direction(
    mut from: ReadHalf<'_>,
    to: &tokio::sync::Mutex<WriteHalf<'_>>,
    back: &tokio::sync::Mutex<WriteHalf<'_>>,
    mut script: Script,
    record: impl Fn(&[u8]),
) -> Result<(), Cut> {
    let mut bytes = Vec::new();
    for place in 0.. {
        loop {
            if let Some(len) = unit_len(place, &bytes)
                && bytes.len() >= len
            {
                break;
            }
            match from.read_buf(&mut bytes).await {
                Ok(0) => {
                    let mut to = to.lock().await;
                    let _ = to.write_all(&bytes).await;
                    let _ = to.shutdown().await;
                    return Ok(());
                }
                Ok(_) => {}
                Err(_) => return Err(Cut::Rst),
            }
        }
        let len = unit_len(place, &bytes).expect("it is there");
        let unit: Vec<u8> = bytes.drain(..len).collect();
        record(&unit);
        for op in script(place, &unit) {
            let sent = match op {
                Op::Send(bytes) => to.lock().await.write_all(&bytes).await,
                Op::Back(bytes) => back.lock().await.write_all(&bytes).await,
                Op::Wait(time) => {
                    tokio::time::sleep(time).await;
                    Ok(())
                }
                Op::Fin => return Err(Cut::Fin),
                Op::Rst => return Err(Cut::Rst),
            };
            sent.map_err(|_| Cut::Rst)?;
        }
    }
    Ok(())
}

/// The length of the unit at the front, once it is known.
fn unit_len(place: usize, bytes: &[u8]) -> Option<usize> {
    if place == 0 {
        return Some(MESSAGE_LEN);
    }
    let length = bytes.first_chunk()?;
    Some(HEADER_LEN + u32::from_be_bytes(*length) as usize)
}
