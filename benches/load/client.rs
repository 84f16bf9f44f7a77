//! One connection to the target: a request out, an answer in, within a deadline.
//!
//! Promises: one buffer, made once; a call allocates nothing unless it fails. Must not know: schedules, counts.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, Sleep},
};

use crate::{
    address::{Socket, Target},
    answer::{Answer, Step},
    fault::{Fault, Kind},
    pattern,
};

/// A limit that is pushed on with each call and costs a timer only when it seems to have passed.
pub struct Deadline {
    limit: Duration,
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    pub fn new(limit: Duration) -> Deadline {
        let at = Instant::now() + limit;
        Deadline {
            limit,
            at,
            timer: Box::pin(tokio::time::sleep_until(at)),
        }
    }

    /// From `now` on there is the whole limit again.
    pub fn restart(&mut self, now: Instant) {
        self.at = now + self.limit;
    }

    /// # Errors
    /// The limit has passed.
    async fn keep<F: Future>(&mut self, future: F) -> Result<F::Output, Fault> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            loop {
                ready!(self.timer.as_mut().poll(cx));
                if Instant::now() >= self.at {
                    return Poll::Ready(Err(Fault::new(Kind::Timeout, format!("nothing for {:?}", self.limit))));
                }
                let at = self.at;
                self.timer.as_mut().reset(at);
            }
        })
        .await
    }
}

/// What a whole answer was.
#[derive(Debug)]
pub struct Whole {
    /// Of the body.
    pub bytes: u64,
    pub reusable: bool,
}

/// A connection and its buffer.
pub struct Connection {
    socket: Option<Socket>,
    buffer: Box<[u8]>,
    filled: usize,
    pub deadline: Deadline,
}

impl Connection {
    /// Not connected yet. `room` is how many bytes are read at once; at least [`crate::answer::MAX_HEAD`].
    pub fn new(room: usize, timeout: Duration) -> Connection {
        let buffer = vec![0; room.max(crate::answer::MAX_HEAD)].into_boxed_slice();
        Connection {
            socket: None,
            buffer,
            filled: 0,
            deadline: Deadline::new(timeout),
        }
    }

    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    pub fn close(&mut self) {
        self.socket = None;
        self.filled = 0;
    }

    /// # Errors
    /// As [`Fault::connect`].
    pub async fn open(&mut self, target: &Target) -> Result<(), Fault> {
        self.close();
        let socket = self
            .deadline
            .keep(target.connect())
            .await?
            .map_err(|error| Fault::connect(&error))?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Sends `head`, then `body` bytes of the pattern; tells `sent` of each piece. Gives the answer's first fault if the
    /// target answers instead of reading.
    ///
    /// # Errors
    /// As [`Fault::transfer`], and a timeout.
    pub async fn send(&mut self, head: &[u8], body: u64, mut sent: impl FnMut(u64)) -> Result<(), Fault> {
        let Connection {
            socket: Some(socket),
            deadline,
            ..
        } = self
        else {
            return Err(not_open());
        };
        let failed = |error| Fault::transfer("write", &error);
        deadline.keep(socket.write_all(head)).await?.map_err(failed)?;
        let mut offset = 0;
        while offset < body {
            let slice = pattern::at(offset, body - offset);
            let written = deadline.keep(socket.write(slice)).await?.map_err(failed)? as u64;
            deadline.restart(Instant::now());
            offset += written;
            sent(written);
        }
        Ok(())
    }

    /// Reads one answer; `seen` is told of each piece of the body and its offset.
    ///
    /// # Errors
    /// What is wrong with the answer or the connection; the status is not judged before the body was read.
    pub async fn receive(
        &mut self,
        mut seen: impl FnMut(u64, &[u8]) -> Result<(), Fault>,
        patient: bool,
    ) -> Result<Whole, Fault> {
        let Connection {
            socket: Some(socket),
            buffer,
            filled,
            deadline,
        } = self
        else {
            return Err(not_open());
        };
        let mut answer = Answer::default();
        let (mut start, mut bytes) = (0, 0);
        loop {
            match answer.step(&buffer[start..*filled])? {
                Step::Framing(used) => start += used,
                Step::Body(used) => {
                    seen(bytes, &buffer[start..start + used])?;
                    bytes += used as u64;
                    start += used;
                }
                Step::Done => break,
                Step::More => {
                    buffer.copy_within(start..*filled, 0);
                    *filled -= start;
                    start = 0;
                    let read = deadline.keep(socket.read(&mut buffer[*filled..])).await?;
                    let read = read.map_err(|error| Fault::transfer("read", &error))?;
                    if read == 0 {
                        answer.eof(bytes)?;
                        break;
                    }
                    *filled += read;
                    if patient {
                        deadline.restart(Instant::now());
                    }
                }
            }
        }
        if start < *filled {
            return Err(Fault::new(
                Kind::Malformed,
                format!("{} bytes after the end of the answer", *filled - start),
            ));
        }
        *filled = 0;
        match answer.status() {
            200..=299 => Ok(Whole {
                bytes,
                reusable: answer.reusable(),
            }),
            status => Err(Fault::new(Kind::Status, format!("status {status}"))),
        }
    }

    /// Reads on until the far end closes, as an app does that reads until EOF.
    ///
    /// # Errors
    /// A reset, a timeout, or bytes after the answer.
    pub async fn until_eof(&mut self) -> Result<(), Fault> {
        let Connection {
            socket: Some(socket),
            buffer,
            deadline,
            ..
        } = self
        else {
            return Err(not_open());
        };
        match deadline.keep(socket.read(buffer)).await? {
            Ok(0) => Ok(()),
            Ok(more) => Err(Fault::new(
                Kind::Malformed,
                format!("{more} bytes after the end of the answer"),
            )),
            Err(error) => Err(Fault::transfer("read", &error)),
        }
    }
}

fn not_open() -> Fault {
    Fault::new(Kind::System, "not connected")
}
