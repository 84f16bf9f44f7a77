//! A stand-in Coreapp, and a client that calls it the way the Webapp does.
//!
//! ```text
//! client  connects, writes  version;length;json
//! Coreapp                   version;length;json  and ends its answer by EOF
//! client                                         reads until EOF
//! ```
//!
//! Promises: an answer follows from its request alone, so that the client knows every byte it must get.
//! Must not know: that there are sidecars.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// The Webapp's own time-outs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(45);
/// Threads that serve, so that a connection that hangs does not stop the rest.
const SERVERS: usize = 4;
const VERSION: u32 = 1;
/// No request of the demo is longer.
const MOST: usize = 64 * 1024;

/// In every request and in every answer: what nobody must find on the wire.
pub const MARKER: &str = "meet me at nine by the old pier";

/// The bytes of call `n`.
pub fn request(n: u64) -> Vec<u8> {
    message(&format!(
        r#"{{"call":{n},"method":"send","to":"15550100","text":"{MARKER}"}}"#
    ))
}

/// What the stand-in answers call `n` with: 100 bytes to 4 KiB, of another length each time.
pub fn answer(n: u64) -> Vec<u8> {
    let history: String = (0..n.wrapping_mul(37) % 128)
        .map(|i| format!("{:08x}-{:08x}-{:08x}-", i, n, i ^ n))
        .collect();
    message(&format!(
        r#"{{"call":{n},"status":"sent","text":"{MARKER}","history":"{history}"}}"#
    ))
}

fn message(json: &str) -> Vec<u8> {
    format!("{VERSION};{};{json}", json.len()).into_bytes()
}

/// Serves on threads of its own until the process ends.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    for i in 0..SERVERS {
        let listener = listener.try_clone()?;
        thread::Builder::new().name(format!("coreapp-{i}")).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A caller that breaks off is not the server's trouble.
                let _ = converse(stream);
            }
        })?;
    }
    Ok(())
}

fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let json = read_message(&mut stream)?;
    let json: serde_json::Value = serde_json::from_slice(&json)?;
    let reply = match json["call"].as_u64() {
        Some(n) => answer(n),
        None => message(r#"{"error":"no such call"}"#),
    };
    stream.write_all(&reply)?;
    stream.shutdown(Shutdown::Write)?;
    // Until the caller has closed: closing with unread bytes would make a reset of the answer.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

/// The JSON of one `version;length;json`.
fn read_message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(json) = json_of(&bytes)? {
            return Ok(json.to_vec());
        }
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// `None`: there is more to come.
fn json_of(bytes: &[u8]) -> io::Result<Option<&[u8]>> {
    let mut parts = bytes.splitn(3, |&b| b == b';');
    let (Some(_version), Some(length), Some(json)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(None);
    };
    let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= MOST => Ok(json.get(..length)),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// What came of a call that did not end as it must.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("reset, with {got} of {of} bytes of the answer there: the client knows that it is not whole")]
    Reset { got: usize, of: usize },
    #[error("broke off after {got} bytes of the answer: {error}")]
    Broken { got: usize, error: io::Error },
    /// The one thing that must never happen.
    #[error("ENDED IN ORDER after {got} of {of} bytes: a cut answer that looks whole")]
    Cut { got: usize, of: usize },
    #[error("came back with other bytes than the stand-in sent")]
    Altered,
}

/// One call; returns how long it took, from connect to EOF.
pub fn call(to: SocketAddr, n: u64) -> Result<Duration, Wrong> {
    let (request, expected) = (request(n), answer(n));
    let mut got = Vec::with_capacity(expected.len() + 1);
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT).map_err(Wrong::Connect)?;
    let spoken = stream
        .set_read_timeout(Some(READ_TIMEOUT))
        .and_then(|()| stream.write_all(&request))
        .and_then(|()| stream.read_to_end(&mut got));
    let took = began.elapsed();
    match spoken {
        Ok(_) if got == expected => Ok(took),
        Ok(_) if got.len() < expected.len() => Err(Wrong::Cut {
            got: got.len(),
            of: expected.len(),
        }),
        Ok(_) => Err(Wrong::Altered),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Err(Wrong::Reset {
            got: got.len(),
            of: expected.len(),
        }),
        Err(error) => Err(Wrong::Broken { got: got.len(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    /// Answers one call with these bytes and an orderly end.
    fn answering(bytes: Vec<u8>) -> SocketAddr {
        let (listener, address) = listener();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a call");
            read_message(&mut stream).expect("a request");
            stream.write_all(&bytes).expect("sent");
        });
        address
    }

    #[test]
    fn calls_are_answered_and_lengths_vary() {
        let (listener, address) = listener();
        serve(listener).expect("serving");
        for n in [0, 1, 2, 99, 12_345] {
            call(address, n).expect("whole");
        }
        let lengths: Vec<_> = (0..1_000).map(|n| answer(n).len()).collect();
        assert!(lengths.iter().any(|&n| n < 150) && lengths.iter().any(|&n| n > 3_000));
        assert!(lengths.iter().all(|&n| n <= 4_096), "{:?}", lengths.iter().max());
    }

    #[test]
    fn an_answer_that_is_not_the_one_is_found_out() {
        let whole = answer(7);
        let cut = whole[..whole.len() - 1].to_vec();
        assert!(matches!(call(answering(cut), 7), Err(Wrong::Cut { .. })));
        assert!(matches!(call(answering(Vec::new()), 7), Err(Wrong::Cut { got: 0, .. })));
        let mut other = whole.clone();
        other[20] ^= 1;
        assert!(matches!(call(answering(other), 7), Err(Wrong::Altered)));
        let longer = [&whole[..], b"x"].concat();
        assert!(matches!(call(answering(longer), 7), Err(Wrong::Altered)));
        assert!(call(answering(whole), 7).is_ok());
    }
}
