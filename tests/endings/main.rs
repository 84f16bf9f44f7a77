//! Every way in which a stream and a link can end, over real sockets. In each of them an answer is whole and then ends, or its reader
//! gets an error: never an end of an answer that is not whole.

#[path = "../harness/mod.rs"]
mod harness;

mod apps;
mod limits;
mod links;
mod load;
mod processes;
mod relay;
mod streams;

use harness::{Pair, connect};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// The n-th byte tells where it belongs.
pub fn body(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 251 % 241) as u8).collect()
}

/// How the reading of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The whole answer, then its end.
    Whole,
    /// An error, after this many bytes.
    Broken(ErrorKind, usize),
}

impl Ending {
    pub fn is_reset(self) -> bool {
        matches!(self, Ending::Broken(ErrorKind::ConnectionReset, _))
    }
}

/// Reads to the end. The promise of the sidecars is checked here: what came is the beginning of the answer, and if it ended in order,
/// all of it.
#[track_caller]
pub fn read_answer(mut stream: &TcpStream, answer: &[u8]) -> Ending {
    let mut got = 0;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => {
                assert_eq!(got, answer.len(), "an answer that is not whole ended in order");
                return Ending::Whole;
            }
            Ok(n) => {
                assert!(
                    answer.get(got..got + n).is_some_and(|part| part == &chunk[..n]),
                    "other bytes than were sent, in {n} at {got}"
                );
                got += n;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => panic!("neither an end nor an error after {got} bytes"),
            Err(e) => return Ending::Broken(e.kind(), got),
        }
    }
}

/// Reads exactly `n` bytes of `answer` from its start.
#[track_caller]
pub fn read_part(mut stream: &TcpStream, answer: &[u8], n: usize) {
    let mut part = vec![0; n];
    stream.read_exact(&mut part).expect("a part of the answer");
    assert!(part == answer[..n], "other bytes than were sent");
}

/// Resets the connection instead of ending it.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
}

/// Writes what it can; an error is the reader's business.
pub fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

/// `each` on `n` threads at once; the results in order.
pub fn at_once<T: Send>(n: usize, each: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let each = &each;
        let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || each(i))).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect()
    })
}

/// Nothing is left of the streams on either side, and the link is the first one still.
#[track_caller]
pub fn at_rest(pair: &Pair) {
    for sidecar in [&pair.web, &pair.core] {
        sidecar.until_metric("wa_sidecar_streams_open", |n| n == 0.0);
        sidecar.event("link_up");
        assert_eq!(sidecar.count("link_up"), 1, "{:#?}", sidecar.log());
        assert_eq!(sidecar.count("link_down"), 0, "{:#?}", sidecar.log());
    }
}

pub fn ended(sidecar: &harness::Sidecar, how: &str) -> f64 {
    sidecar.metric(&format!("wa_sidecar_streams_ended_total{{end=\"{how}\"}}"))
}

/// A call whose request is ended by half-close, answered with an answer of `len` bytes.
#[track_caller]
pub fn whole_call(pair: &Pair, len: usize) {
    let stream = connect(pair.web.listen);
    assert!(write_all(&stream, len.to_string().as_bytes()));
    stream.shutdown(std::net::Shutdown::Write).expect("half-closed");
    assert_eq!(read_answer(&stream, &body(len)), Ending::Whole);
}
