//! A stand-in Coreapp: reads `version;length;json`, answers with as many bytes as it was asked for, ends the answer by closing.

use crate::tools::{hex, noise};
use sha2::{Digest, Sha256};
use socket2::SockRef;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const LARGEST: usize = 1 << 20;

/// It can be stopped and started again, at the same address.
pub struct Coreapp {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    stopping: AtomicBool,
    answered: AtomicU64,
    /// Answers that a stop cut short.
    cut: AtomicU64,
    /// Answers come in halves, with a pause between.
    slow: bool,
    pool: Vec<u8>,
}

impl Coreapp {
    pub fn start(at: SocketAddr, slow: bool) -> Self {
        let mut coreapp = Self {
            address: at,
            shared: Arc::new(Shared {
                stopping: AtomicBool::new(false),
                answered: AtomicU64::new(0),
                cut: AtomicU64::new(0),
                slow,
                pool: noise(0x5eed, LARGEST + 64 * 1024),
            }),
            accepting: None,
        };
        coreapp.go();
        coreapp
    }

    pub fn answered(&self) -> u64 {
        self.shared.answered.load(SeqCst)
    }

    pub fn cut(&self) -> u64 {
        self.shared.cut.load(SeqCst)
    }

    /// Listens again.
    pub fn go(&mut self) {
        self.shared.stopping.store(false, SeqCst);
        let listener = TcpListener::bind(self.address).expect("bound");
        self.address = listener.local_addr().expect("bound");
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(thread::spawn(move || {
            // Whatever ends a connection in mid-answer resets it, as a server that dies with unread input would.
            let _ = SockRef::from(&listener).set_linger(Some(Duration::ZERO));
            let mut serving: Vec<JoinHandle<()>> = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.stopping.load(SeqCst) {
                    break;
                }
                serving.retain(|thread| !thread.is_finished());
                let shared = Arc::clone(&shared);
                serving.push(thread::spawn(move || {
                    // An error is the client's: gone, or cut off by a test.
                    let _ = shared.serve(&stream);
                }));
            }
            drop(listener);
            for thread in serving {
                let _ = thread.join();
            }
        }));
    }

    /// Resets what is open, and refuses what comes.
    pub fn stop(&mut self) {
        self.shared.stopping.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.accepting.take() {
            thread.join().expect("accepting");
        }
    }
}

impl Drop for Coreapp {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut input = BufReader::new(stream);
        let mut version = Vec::new();
        input.read_until(b';', &mut version)?;
        let mut length = Vec::new();
        input.read_until(b';', &mut length)?;
        let length: usize = String::from_utf8_lossy(&length)
            .trim_end_matches(';')
            .parse()
            .map_err(|_| ErrorKind::InvalidData)?;
        let mut json = vec![0; length];
        input.read_exact(&mut json)?;
        let request: serde_json::Value = serde_json::from_slice(&json)?;
        let size = usize::try_from(request["size"].as_u64().unwrap_or(0))
            .unwrap_or(0)
            .min(LARGEST);
        let token = request["token"].as_str().unwrap_or_default();

        let from = length * 31 % (64 * 1024);
        let body = &self.pool[from..from + size];
        let mut answer = format!("1;{size};{};{token}\n", hex(&Sha256::digest(body))).into_bytes();
        answer.extend_from_slice(body);
        let (first, second) = answer.split_at(if self.slow { answer.len() / 2 } else { answer.len() });
        let mut output = stream;
        output.write_all(first)?;
        if self.slow {
            thread::sleep(Duration::from_millis(2));
            if self.stopping.load(SeqCst) {
                self.cut.fetch_add(1, SeqCst);
                return Ok(());
            }
        }
        output.write_all(second)?;
        self.answered.fetch_add(1, SeqCst);
        SockRef::from(stream).set_linger(None)
    }
}
