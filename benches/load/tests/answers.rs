//! HTTP answers: any cut gives the same, and what is none is refused.

use crate::{
    answer::{Answer, MAX_HEAD, Step},
    fault::Kind,
};

/// What an answer came to: status, body, whether the connection is kept, what is left.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    body: Vec<u8>,
    reusable: bool,
    rest: usize,
}

/// Reads `text` as it comes in pieces of `piece` bytes, then EOF.
fn read(text: &[u8], piece: usize) -> Result<Read, Kind> {
    let (mut answer, mut body) = (Answer::default(), Vec::new());
    let (mut start, mut filled) = (0, 0);
    loop {
        match answer.step(&text[start..filled]).map_err(|fault| fault.kind)? {
            Step::Framing(used) => start += used,
            Step::Body(used) => {
                body.extend_from_slice(&text[start..start + used]);
                start += used;
            }
            Step::Done => break,
            Step::More if filled == text.len() => {
                answer.eof(body.len() as u64).map_err(|fault| fault.kind)?;
                break;
            }
            Step::More => filled = text.len().min(filled + piece),
        }
    }
    Ok(Read {
        status: answer.status(),
        body,
        reusable: answer.reusable(),
        rest: text.len() - start,
    })
}

fn read_in_any_pieces(text: &[u8]) -> Result<Read, Kind> {
    let whole = read(text, text.len().max(1));
    for piece in 1..text.len() {
        assert_eq!(read(text, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn good(status: u16, body: &str, reusable: bool) -> Result<Read, Kind> {
    Ok(Read {
        status,
        body: body.into(),
        reusable,
        rest: 0,
    })
}

#[test]
fn whole_answers() {
    for (text, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            good(200, "hello", true),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
            good(200, "hello", false),
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            good(200, "hello", false),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", good(200, "", true)),
        ("HTTP/1.1 204 No Content\r\n\r\n", good(204, "", true)),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno",
            good(404, "no", true),
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            good(200, "until the end", false),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nhell\r\n1\r\no\r\n0\r\nTrailer: x\r\n\r\n",
            good(200, "hello", true),
        ),
    ] {
        assert_eq!(read_in_any_pieces(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn cut_answers() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        for cut in 0..text.len() {
            assert_eq!(
                read_in_any_pieces(&text.as_bytes()[..cut]),
                Err(Kind::Short),
                "{}",
                &text[..cut]
            );
        }
    }
}

#[test]
fn no_answers() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(65));
    let endless = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;{}",
        "x".repeat(5000)
    );
    for text in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\u{0}\u{0}\u{0}\u{0}",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
        &long,
        &many,
        &endless,
    ] {
        assert_eq!(read(text.as_bytes(), 100), Err(Kind::Malformed), "{text:.80}");
    }
}

#[test]
fn what_follows_an_answer_is_left() {
    let read = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP", 1000).unwrap();
    assert_eq!((read.body.as_slice(), read.rest), (b"hello".as_slice(), 4));
}
