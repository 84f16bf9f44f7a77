//! Reads HTTP/1.1 answers (RFC 9112) without a socket: bytes in, what they were out.
//!
//!     Head --(Content-Length)--> Length(n) --> Done
//!       |----(chunked)---------> ChunkSize <-> ChunkData, ChunkEnd; Trailer --> Done
//!       '----(neither)---------> UntilEof, ended by the caller
//!
//! Promises: keeps no bytes, so a hostile server cannot make it grow; any cut of the input gives the same answer.
//! Must not know: sockets, clocks.

use crate::fault::{Fault, Kind};

/// The longest head that is taken, bytes; and the longest line of a chunked body.
pub const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const MAX_LINE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    UntilEof,
    Done,
}

/// What the bytes at the front of the input were.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Not enough to say: call again with these and more. Nothing is consumed.
    More,
    /// So many bytes of framing; drop them.
    Framing(usize),
    /// So many bytes of the body.
    Body(usize),
    /// The answer is whole.
    Done,
}

/// One answer being read.
#[derive(Debug)]
pub struct Answer {
    state: State,
    status: u16,
    reusable: bool,
    length: Option<u64>,
}

impl Default for Answer {
    fn default() -> Answer {
        Answer {
            state: State::Head,
            status: 0,
            reusable: true,
            length: None,
        }
    }
}

impl Answer {
    /// 0 before the head was read.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the connection takes another request after this answer.
    pub fn reusable(&self) -> bool {
        self.reusable && self.state == State::Done
    }

    /// Looks at the front of `input`.
    ///
    /// # Errors
    /// What is no HTTP/1.1 answer.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Fault> {
        match self.state {
            State::Head => self.head(input),
            State::Length(left) => Ok(match self.body(input, left) {
                (step, 0) => {
                    self.state = State::Done;
                    step
                }
                (step, left) => {
                    self.state = State::Length(left);
                    step
                }
            }),
            State::ChunkSize => self.chunk_size(input),
            State::ChunkData(left) => Ok(match self.body(input, left) {
                (step, 0) => {
                    self.state = State::ChunkEnd;
                    step
                }
                (step, left) => {
                    self.state = State::ChunkData(left);
                    step
                }
            }),
            State::ChunkEnd => match line(input)? {
                None => Ok(Step::More),
                Some((b"", used)) => {
                    self.state = State::ChunkSize;
                    Ok(Step::Framing(used))
                }
                Some(_) => Err(malformed("a chunk is longer than it said")),
            },
            State::Trailer => match line(input)? {
                None => Ok(Step::More),
                Some((text, used)) => {
                    if text.is_empty() {
                        self.state = State::Done;
                    }
                    Ok(Step::Framing(used))
                }
            },
            State::UntilEof => Ok(if input.is_empty() {
                Step::More
            } else {
                Step::Body(input.len())
            }),
            State::Done => Ok(Step::Done),
        }
    }

    /// The far end has closed.
    ///
    /// # Errors
    /// The answer was cut short.
    pub fn eof(&mut self, body: u64) -> Result<(), Fault> {
        self.reusable = false;
        match self.state {
            State::Done => Ok(()),
            State::UntilEof => {
                self.state = State::Done;
                Ok(())
            }
            State::Head => Err(Fault::new(
                Kind::Short,
                "closed before the head of the answer was whole",
            )),
            _ => Err(Fault::new(
                Kind::Short,
                match self.length {
                    Some(length) => format!("closed after {body} of {length} bytes"),
                    None => format!("closed after {body} bytes, within a chunked body"),
                },
            )),
        }
    }

    fn body(&self, input: &[u8], left: u64) -> (Step, u64) {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if taken == 0 && left > 0 {
            return (Step::More, left);
        }
        (Step::Body(taken), left - taken as u64)
    }

    fn head(&mut self, input: &[u8]) -> Result<Step, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let used = match response.parse(input) {
            Ok(httparse::Status::Complete(used)) => used,
            Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => return Ok(Step::More),
            Ok(httparse::Status::Partial) => {
                return Err(malformed(format!("the head is longer than {MAX_HEAD} bytes")));
            }
            Err(error) => return Err(malformed(format!("{error}, in {:?}", start_of(input)))),
        };
        let status = response.code.unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            return Ok(Step::Framing(used));
        }
        self.status = status;
        self.reusable = response.version == Some(1);
        let mut chunked = false;
        for header in response.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = std::str::from_utf8(header.value)
                    .ok()
                    .map(str::trim)
                    .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let length = length.and_then(|text| text.parse::<u64>().ok());
                let length =
                    length.ok_or_else(|| malformed(format!("Content-Length is {:?}", start_of(header.value))))?;
                if self.length.is_some_and(|other| other != length) {
                    return Err(malformed("two values of Content-Length"));
                }
                self.length = Some(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(malformed(format!("Transfer-Encoding is {:?}", start_of(header.value))));
                }
                chunked = true;
            } else if header.name.eq_ignore_ascii_case("connection") {
                if header.value.eq_ignore_ascii_case(b"close") {
                    self.reusable = false;
                } else if header.value.eq_ignore_ascii_case(b"keep-alive") {
                    self.reusable = true;
                }
            }
        }
        self.state = if status == 204 || status == 304 {
            State::Done
        } else if chunked {
            self.length = None;
            State::ChunkSize
        } else {
            match self.length {
                Some(0) => State::Done,
                Some(length) => State::Length(length),
                None => State::UntilEof,
            }
        };
        Ok(Step::Framing(used))
    }

    fn chunk_size(&mut self, input: &[u8]) -> Result<Step, Fault> {
        let Some((text, used)) = line(input)? else {
            return Ok(Step::More);
        };
        let digits = text.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or_else(|| malformed(format!("the size of a chunk is {:?}", start_of(text))))?;
        self.state = if size == 0 {
            State::Trailer
        } else {
            State::ChunkData(size)
        };
        Ok(Step::Framing(used))
    }
}

/// The first line of `input` without its end, and its length with it.
fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, Fault> {
    match input.iter().take(MAX_LINE).position(|&byte| byte == b'\n') {
        Some(end) => Ok(Some((
            input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]),
            end + 1,
        ))),
        None if input.len() >= MAX_LINE => Err(malformed("a line of a chunked body does not end")),
        None => Ok(None),
    }
}

fn malformed(what: impl Into<String>) -> Fault {
    Fault::new(Kind::Malformed, what)
}

fn start_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned()
}
