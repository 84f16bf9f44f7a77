//! Apps at both ends that know every byte that may come: a wrong byte, and an end in order of what is not whole, is a fault.

use crate::harness::connect;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// How a call ended. Everything else is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Whole,
    Reset,
}

const HEAD: usize = 12;

fn byte(seed: u32, i: usize) -> u8 {
    (seed as usize).wrapping_mul(131).wrapping_add(i * 31 + i / 251) as u8
}

fn body(seed: u32, len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(move |i| byte(seed, i))
}

/// Sends a request of `up` bytes and reads the answer of `down` bytes until EOF, as the Webapp does.
pub fn call(address: SocketAddr, seed: u32, up: usize, down: usize) -> Outcome {
    let mut stream = connect(address);
    let mut request = Vec::with_capacity(HEAD + up);
    for field in [seed, up as u32, down as u32] {
        request.extend(field.to_be_bytes());
    }
    request.extend(body(seed, up));
    if stream.write_all(&request).is_err() || stream.shutdown(Shutdown::Write).is_err() {
        return Outcome::Reset;
    }
    match read_body(&mut stream, !seed, down) {
        Ok(()) => Outcome::Whole,
        Err(Failed::Reset) => Outcome::Reset,
        Err(Failed::Fault(fault)) => panic!("the client of call {seed}: {fault}"),
    }
}

enum Failed {
    Reset,
    Fault(String),
}

/// Reads `len` bytes that must be right and then the end, which must not come before.
fn read_body(stream: &mut TcpStream, seed: u32, len: usize) -> Result<(), Failed> {
    let mut at = 0;
    let mut room = [0; 16 * 1024];
    loop {
        match stream.read(&mut room) {
            Ok(0) if at == len => return Ok(()),
            Ok(0) => return Err(Failed::Fault(format!("ended in order at {at} of {len} bytes"))),
            Ok(n) => {
                if at + n > len {
                    return Err(Failed::Fault(format!("{} bytes instead of {len}", at + n)));
                }
                if let Some(i) = (0..n).find(|&i| room[i] != byte(seed, at + i)) {
                    return Err(Failed::Fault(format!("byte {} is wrong", at + i)));
                }
                at += n;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return Err(Failed::Reset);
            }
            Err(error) => return Err(Failed::Fault(format!("at {at} of {len} bytes: {error}"))),
        }
    }
}

/// The app behind the coreapp.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    whole: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

impl Upstream {
    pub fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let listener = TcpListener::bind((crate::loopback(), 0)).expect("bound");
        let address = listener.local_addr().expect("bound");
        let of_app = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&of_app);
                thread::spawn(move || {
                    seen.connections.fetch_add(1, SeqCst);
                    if let Err(Failed::Fault(fault)) = answer(stream, &seen) {
                        seen.faults.lock().expect("lock").push(fault);
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    /// Requests that arrived whole.
    pub fn whole(&self) -> usize {
        self.seen.whole.load(SeqCst)
    }

    pub fn saw_no_fault(&self) {
        let faults = self.seen.faults.lock().expect("lock");
        assert!(faults.is_empty(), "the upstream app: {faults:#?}");
    }
}

fn answer(mut stream: TcpStream, seen: &Seen) -> Result<(), Failed> {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).map_err(|error| match error.kind() {
        ErrorKind::ConnectionReset => Failed::Reset,
        _ => Failed::Fault(format!("before a whole head: {error}")),
    })?;
    let field = |i: usize| u32::from_be_bytes(head[4 * i..4 * i + 4].try_into().expect("4 bytes"));
    let (seed, up, down) = (field(0), field(1) as usize, field(2) as usize);
    read_body(&mut stream, seed, up)?;
    seen.whole.fetch_add(1, SeqCst);
    let answer: Vec<u8> = body(!seed, down).collect();
    stream.write_all(&answer).map_err(|_| Failed::Reset)
}
