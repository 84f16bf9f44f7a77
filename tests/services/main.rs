//! Several services behind one pair: ranges, lists, and what is not served.

mod file;
#[path = "../harness/mod.rs"]
mod harness;
mod positions;
mod run;
mod unix;

use harness::app;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// An app that reads a line and answers with its own name and that line.
fn named(name: &'static str) -> SocketAddr {
    app(move |mut stream| answer(&mut stream, name))
}

fn answer(stream: &mut (impl Read + Write), name: &str) {
    let line = read_line(stream);
    let _ = stream.write_all(format!("{name}: {line}").as_bytes());
}

fn read_line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|n| n == 1) && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
}

/// Sends a line, and reads to the end of the answer.
fn call(stream: &mut (impl Read + Write), line: &str) -> String {
    writeln!(stream, "{line}").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a whole answer");
    answer
}

/// That the connection is reset, and not ended in order.
fn is_reset(mut stream: TcpStream) {
    // The RST may be there before the write, which then has the error; a read behind that would say 0.
    let error = match stream.write_all(b"x\n") {
        Ok(()) => stream.read(&mut [0]).expect_err("reset"),
        Err(error) => error,
    };
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&error.kind()), "{error}");
}

/// `n` ports of 127.0.0.1 in a row that are free now: `FIRST-LAST`, and the first.
fn free_range(n: u16) -> (String, u16) {
    for first in (20_000 + std::process::id() as u16 % 10_000..60_000).step_by(usize::from(n)) {
        let held: Vec<_> = (first..first + n)
            .map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok())
            .collect();
        if held.len() == usize::from(n) {
            return (format!("{first}-{}", first + n - 1), first);
        }
    }
    panic!("no {n} free ports in a row");
}
