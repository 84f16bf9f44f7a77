//! Apps that end in the ways that apps do.

use super::{body, reset, write_all};
use crate::harness::app;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};

/// Reads a number up to the end of its input, answers with a body of that length.
pub fn answers() -> SocketAddr {
    app(answer)
}

pub fn answer(mut stream: TcpStream) {
    let mut request = String::new();
    if stream.read_to_string(&mut request).is_ok() {
        write_all(&stream, &body(request.trim().parse().unwrap_or(0)));
    }
}

/// What the far app saw of each request: the bytes, and how they ended.
pub type Seen = Arc<Mutex<Vec<(usize, Result<(), std::io::ErrorKind>)>>>;

/// Reads to the end and notes how that came; before, it sends `greeting`, and after, nothing.
pub fn notes(greeting: &'static [u8]) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    let address = app(move |mut stream| {
        // An error is told once: to the write or to the read.
        let greeted = stream.write_all(greeting).map_err(|e| e.kind());
        let mut chunk = vec![0; 64 * 1024];
        let mut got = 0;
        let end = loop {
            if greeted.is_err() {
                break greeted;
            }
            match stream.read(&mut chunk) {
                Ok(0) => break Ok(()),
                Ok(n) => got += n,
                Err(e) => break Err(e.kind()),
            }
        };
        notes.lock().expect("lock").push((got, end));
    });
    (address, seen)
}

/// Answers at once with `len` bytes and ends; closes, whatever of the request is still to come, when it is told to, or at once if the
/// answer is so small that it cannot be on its way any more.
pub fn early(len: usize) -> (SocketAddr, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let address = app(move |mut stream| {
        let mut start = [0; 5];
        if stream.read_exact(&mut start).is_err() {
            return;
        }
        write_all(&stream, &body(len));
        let _ = stream.shutdown(Shutdown::Write);
        if len > 10_000 {
            let _ = wait.lock().expect("lock").recv();
        }
    });
    (address, go)
}

/// Sends `part` bytes of an answer, then resets the connection once told to.
pub fn resets_after(part: usize) -> (SocketAddr, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let address = app(move |stream| {
        write_all(&stream, &body(part));
        let _ = wait.lock().expect("lock").recv();
        reset(stream);
    });
    (address, go)
}

/// Streams an answer without end until the connection breaks.
pub fn endless() -> SocketAddr {
    app(|stream| while write_all(&stream, &body(251 * 241)) {})
}

/// A port where nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .expect("bound")
        .local_addr()
        .expect("bound")
}
