//! What a connection does over and over: keep-alive requests, a connection for each, or bulk.
//!
//! Promises: each works until it is dropped; failures are counted and then tried again, not at full speed.
//! Must not know: threads, phases, what is done with the counts.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    address::Target,
    client::Connection,
    fault::{Fault, Kind},
    pattern,
    schedule::{LATE, Schedule, Start},
    tally::Shared,
};

/// After a failure a connection waits this long, or a dead target would be a busy loop.
const PAUSE: Duration = Duration::from_millis(10);

/// A request as it is sent, and what must come back.
#[derive(Clone, Debug)]
pub struct Request {
    pub bytes: Arc<[u8]>,
    /// The length of the answer's body, where it is known.
    pub answer: Option<u64>,
}

impl Request {
    /// A GET of `path`.
    pub fn get(target: &Target, path: &str, answer: Option<u64>, close: bool) -> Request {
        let close = if close { "Connection: close\r\n" } else { "" };
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: wa-sidecar-load\r\n{close}\r\n",
            target.host()
        );
        Request {
            bytes: text.into_bytes().into(),
            answer,
        }
    }

    /// The head of a POST of `length` bytes.
    pub fn post(target: &Target, path: &str, length: u64) -> Request {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: wa-sidecar-load\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n",
            target.host()
        );
        Request {
            bytes: text.into_bytes().into(),
            answer: None,
        }
    }

    fn judge(&self, bytes: u64) -> Result<(), Fault> {
        match self.answer {
            Some(expected) if expected != bytes => Err(Fault::new(
                Kind::Content,
                format!("{bytes} bytes instead of {expected}"),
            )),
            _ => Ok(()),
        }
    }
}

/// What all connections of a thread have in common.
#[derive(Debug)]
pub struct Bench {
    pub target: Target,
    pub timeout: Duration,
    pub schedule: Schedule,
    pub tally: Shared,
}

/// An operation of an open loop that has begun. Dropped without an answer, it is counted with the time that it has waited.
struct Begun<'a> {
    bench: &'a Bench,
    start: Start,
    answered: bool,
}

impl<'a> Begun<'a> {
    async fn next(bench: &'a Bench) -> Begun<'a> {
        let start = bench.schedule.start().await;
        if start.now.saturating_duration_since(start.due) > LATE {
            bench.tally.lock().late += 1;
        }
        Begun {
            bench,
            start,
            answered: false,
        }
    }

    fn done(mut self, outcome: Result<u64, Fault>) {
        self.answered = true;
        let latency = self.start.due.elapsed();
        let mut tally = self.bench.tally.lock();
        match outcome {
            Ok(bytes) => {
                tally.operations += 1;
                tally.bytes += bytes;
                tally.latency(latency);
            }
            Err(fault) => tally.faults.add(fault),
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.answered && self.bench.schedule.is_open() {
            let latency = self.start.due.elapsed();
            let mut tally = self.bench.tally.lock();
            tally.unanswered += 1;
            tally.latency(latency);
        }
    }
}

/// Requests on one connection, which is kept as long as the target keeps it.
pub async fn requests(bench: Arc<Bench>, request: Request) {
    let mut connection = Connection::new(64 * 1024, bench.timeout);
    loop {
        let begun = Begun::next(&bench).await;
        connection.deadline.restart(begun.start.now);
        let outcome = one_request(&mut connection, &bench, &request).await;
        let failed = outcome.is_err();
        begun.done(outcome);
        if failed {
            connection.close();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn one_request(connection: &mut Connection, bench: &Bench, request: &Request) -> Result<u64, Fault> {
    if !connection.is_open() {
        connection.open(&bench.target).await?;
        bench.tally.lock().connects += 1;
    }
    connection.send(&request.bytes, 0, |_| {}).await?;
    let whole = connection.receive(|_, _| Ok(()), false).await?;
    if !whole.reusable {
        connection.close();
    }
    request.judge(whole.bytes)?;
    Ok(whole.bytes)
}

/// A connection for each request, read until EOF.
pub async fn connections(bench: Arc<Bench>, request: Request) {
    let mut connection = Connection::new(64 * 1024, bench.timeout);
    loop {
        let begun = Begun::next(&bench).await;
        connection.deadline.restart(begun.start.now);
        let outcome = one_connection(&mut connection, &bench, &request).await;
        let failed = outcome.is_err();
        connection.close();
        begun.done(outcome);
        if failed {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn one_connection(connection: &mut Connection, bench: &Bench, request: &Request) -> Result<u64, Fault> {
    connection.open(&bench.target).await?;
    bench.tally.lock().connects += 1;
    connection.send(&request.bytes, 0, |_| {}).await?;
    let whole = connection.receive(|_, _| Ok(()), false).await?;
    connection.until_eof().await?;
    request.judge(whole.bytes)?;
    Ok(whole.bytes)
}

/// One transfer of a bulk stream.
#[derive(Clone, Debug)]
pub enum Transfer {
    Receive { request: Request, verify: bool },
    Send { request: Request, length: u64 },
}

/// Transfers on one connection: one, or one after the other. One that failed is not made up for.
pub async fn bulk(bench: Arc<Bench>, transfer: Transfer, once: bool) {
    let mut connection = Connection::new(256 * 1024, bench.timeout);
    loop {
        let begin = Instant::now();
        connection.deadline.restart(begin);
        match one_transfer(&mut connection, &bench, &transfer).await {
            Ok(()) => {
                let mut tally = bench.tally.lock();
                tally.operations += 1;
                tally.latency(begin.elapsed());
            }
            Err(fault) => {
                bench.tally.fail(fault);
                connection.close();
                tokio::time::sleep(PAUSE).await;
            }
        }
        if once {
            break;
        }
    }
}

async fn one_transfer(connection: &mut Connection, bench: &Bench, transfer: &Transfer) -> Result<(), Fault> {
    if !connection.is_open() {
        connection.open(&bench.target).await?;
        bench.tally.lock().connects += 1;
    }
    let whole = match transfer {
        Transfer::Receive { request, verify } => {
            connection.send(&request.bytes, 0, |_| {}).await?;
            let seen = |offset, bytes: &[u8]| {
                bench.tally.lock().bytes += bytes.len() as u64;
                match pattern::first_wrong(offset, if *verify { bytes } else { &[] }) {
                    Some(wrong) => Err(Fault::new(
                        Kind::Content,
                        format!("the byte at offset {wrong} is wrong"),
                    )),
                    None => Ok(()),
                }
            };
            let whole = connection.receive(seen, true).await?;
            request.judge(whole.bytes)?;
            whole
        }
        Transfer::Send { request, length } => {
            let sent = connection
                .send(&request.bytes, *length, |bytes| bench.tally.lock().bytes += bytes)
                .await;
            match (sent, connection.receive(|_, _| Ok(()), true).await) {
                (Ok(()), answer) => answer?,
                // A target that refuses a body answers and closes: the answer says more than the broken write.
                (Err(_), Err(fault)) if fault.kind == Kind::Status => return Err(fault),
                (Err(fault), _) => return Err(fault),
            }
        }
    };
    if !whole.reusable {
        connection.close();
    }
    Ok(())
}
