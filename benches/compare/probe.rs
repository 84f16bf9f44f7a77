//! Requests that the comparison makes itself: is a pair there, when does the first byte come, and connections that are idle.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const REQUEST: &str = "GET /bytes/1024 HTTP/1.1\r\nHost: compare\r\n\r\n";
const BODY: usize = 1024;

/// A connection and a request on it, answered in full; the time from before the connect to the first byte.
///
/// # Errors
/// The socket's, or an answer that is none.
pub fn request(at: SocketAddr, patience: Duration) -> io::Result<(TcpStream, Duration)> {
    let begin = Instant::now();
    let mut socket = TcpStream::connect_timeout(&at, patience)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    socket.write_all(REQUEST.as_bytes())?;
    let mut answer = vec![0; 4096];
    let mut filled = 0;
    let mut first = None;
    loop {
        let read = socket.read(&mut answer[filled..])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut"));
        }
        first.get_or_insert_with(|| begin.elapsed());
        filled += read;
        let head = answer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| filled >= head + 4 + BODY) {
            break;
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no 200"));
    }
    Ok((socket, first.unwrap_or_default()))
}

/// The time to the first byte of one connection after the other, for as long as `window`.
///
/// # Errors
/// Of the first that failed.
pub fn first_bytes(at: SocketAddr, window: Duration, patience: Duration) -> io::Result<Vec<f64>> {
    let until = Instant::now() + window;
    let mut seconds = Vec::new();
    while seconds.is_empty() || Instant::now() < until {
        let (_, first) = request(at, patience)?;
        seconds.push(first.as_secs_f64());
    }
    Ok(seconds)
}

/// Opens `many` connections that have each had an answer and then stay idle: as many as there are after `window`, or when one
/// fails, and then why.
pub fn idle(at: SocketAddr, many: usize, window: Duration, patience: Duration) -> (Vec<TcpStream>, Option<io::Error>) {
    let until = Instant::now() + window;
    let mut sockets = Vec::with_capacity(many);
    while sockets.len() < many && Instant::now() < until {
        match request(at, patience) {
            Ok((socket, _)) => sockets.push(socket),
            Err(error) => return (sockets, Some(error)),
        }
    }
    (sockets, None)
}
