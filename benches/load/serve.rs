//! The far end: as little HTTP/1.1 as measuring needs, at as little CPU as it can be, since it is in every measurement.
//!
//!     GET /          1 KiB            POST /         discards the body and says how many bytes came
//!     GET /bytes/N   N bytes          POST /verify   the same, and 422 if it is not the pattern
//!
//! Promises: keep-alive and `Connection: close`; a head of at most 16 KiB. Must not know: who measures what.

use std::{io, net::SocketAddr, os::unix::fs::FileTypeExt, path::PathBuf, thread, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};

use crate::{answer::MAX_HEAD, pattern};
use wa_sidecar::net::congestion::unpace_on_loopback;

const ROOM: usize = 256 * 1024;
/// Answers up to this are written together with their head.
const SMALL: u64 = 16 * 1024;

/// A bound address.
pub enum Door {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

/// # Errors
/// What is wrong with `listen`, as a sentence.
pub fn bind(listen: &str) -> Result<Door, String> {
    if let Some(path) = listen.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        let refused = |error: io::Error| format!("cannot listen on {listen}: {error}");
        let stale = std::fs::metadata(&path).is_ok_and(|file| file.file_type().is_socket())
            && std::os::unix::net::UnixStream::connect(&path).is_err();
        if stale {
            std::fs::remove_file(&path).map_err(refused)?;
        }
        let listener = std::os::unix::net::UnixListener::bind(&path).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        return Ok(Door::Unix(listener, path));
    }
    let address: SocketAddr = listen
        .parse()
        .map_err(|_| format!("--listen {listen:?} is no address: 127.0.0.1:8000, [::1]:8000 or unix:/path"))?;
    tcp(address)
        .map(Door::Tcp)
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}

fn tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    // A paced sender's timers run in whoever has the CPU: relays would pay for this end.
    unpace_on_loopback(SockRef::from(&socket), address.ip());
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Door {
    /// As `--target` takes it.
    pub fn address(&self) -> String {
        match self {
            Door::Tcp(listener) => listener
                .local_addr()
                .map(|address| address.to_string())
                .unwrap_or_default(),
            Door::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// Serves on `threads` threads until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// The system's.
    pub fn serve(self, threads: usize) -> io::Result<()> {
        for index in 1..threads {
            let door = self.again()?;
            thread::Builder::new()
                .name(format!("serve-{index}"))
                .spawn(move || runtime()?.block_on(door.accept()))?;
        }
        runtime()?.block_on(async {
            let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                result = self.again()?.accept() => result,
                _ = interrupt.recv() => Ok(()),
                _ = terminate.recv() => Ok(()),
            }
        })?;
        if let Door::Unix(_, path) = self {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    fn again(&self) -> io::Result<Door> {
        Ok(match self {
            Door::Tcp(listener) => Door::Tcp(listener.try_clone()?),
            Door::Unix(listener, path) => Door::Unix(listener.try_clone()?, path.clone()),
        })
    }

    async fn accept(self) -> io::Result<()> {
        match self {
            Door::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    match listener.accept().await {
                        Ok((socket, _)) => drop(tokio::spawn(converse(socket))),
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
            }
            Door::Unix(listener, _) => {
                let listener = UnixListener::from_std(listener)?;
                loop {
                    match listener.accept().await {
                        Ok((socket, _)) => drop(tokio::spawn(converse(socket))),
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
            }
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    what: What,
    head: usize,
    body: u64,
    close: bool,
    /// HTTP/1.0 wants to be told that the connection is kept.
    told: bool,
    expects: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Bytes(u64),
    Discard,
    Verify,
    Wrong(&'static str),
}

/// Answers requests until the client goes.
async fn converse(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; MAX_HEAD];
    let mut out = Vec::with_capacity(512);
    let mut filled = 0;
    loop {
        let asked = loop {
            if let Some(asked) = asked(&buffer[..filled]) {
                break asked;
            }
            let read = socket.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
        };
        let have = usize::try_from(asked.body)
            .unwrap_or(usize::MAX)
            .min(filled - asked.head);
        if asked.body > 0 && asked.expects {
            socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut right = true;
        if asked.body > 0 {
            let verify = asked.what == What::Verify;
            right &= !verify || pattern::first_wrong(0, &buffer[asked.head..asked.head + have]).is_none();
            right &= swallow(&mut socket, have as u64, asked.body, verify).await?;
        }
        buffer.copy_within(asked.head + have..filled, 0);
        filled -= asked.head + have;
        answer(&mut socket, &mut out, &asked, right).await?;
        if asked.close {
            return socket.shutdown().await;
        }
    }
}

/// Reads a body from `offset` to `length`; whether it was the pattern, if that is asked.
async fn swallow(
    socket: &mut (impl AsyncRead + Unpin),
    mut offset: u64,
    length: u64,
    verify: bool,
) -> io::Result<bool> {
    if offset == length {
        return Ok(true);
    }
    let mut room = vec![0; usize::try_from(length - offset).unwrap_or(ROOM).min(ROOM)];
    let mut right = true;
    while offset < length {
        let most = usize::try_from(length - offset).unwrap_or(ROOM).min(room.len());
        let read = socket.read(&mut room[..most]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        right &= !verify || pattern::first_wrong(offset, &room[..read]).is_none();
        offset += read as u64;
    }
    Ok(right)
}

async fn answer(
    socket: &mut (impl AsyncWrite + Unpin),
    out: &mut Vec<u8>,
    asked: &Asked,
    right: bool,
) -> io::Result<()> {
    use io::Write;
    let connection = match (asked.close, asked.told) {
        (true, _) => "Connection: close\r\n",
        (false, true) => "Connection: keep-alive\r\n",
        (false, false) => "",
    };
    out.clear();
    match asked.what {
        What::Bytes(length) => {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{connection}\r\n")?;
            if length <= SMALL {
                out.extend_from_slice(pattern::at(0, length));
                return socket.write_all(out).await;
            }
            socket.write_all(out).await?;
            let mut offset = 0;
            while offset < length {
                offset += socket.write(pattern::at(offset, length - offset)).await? as u64;
            }
            Ok(())
        }
        What::Discard | What::Verify => {
            let status = if right { "200 OK" } else { "422 Not The Pattern" };
            let text = format!("{} bytes\n", asked.body);
            write!(
                out,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{connection}\r\n{text}",
                text.len()
            )?;
            socket.write_all(out).await
        }
        What::Wrong(status) => {
            write!(out, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n{connection}\r\n")?;
            socket.write_all(out).await
        }
    }
}

/// The request at the front of `input`, once its head is whole.
fn asked(input: &[u8]) -> Option<Asked> {
    let wrong = |status| Asked {
        what: What::Wrong(status),
        head: input.len(),
        body: 0,
        close: true,
        told: false,
        expects: false,
    };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => return None,
        Ok(httparse::Status::Partial) => return Some(wrong("431 Request Header Fields Too Large")),
        Err(_) => return Some(wrong("400 Bad Request")),
    };
    let old = request.version == Some(0);
    let (mut body, mut close, mut expects) = (0, old, false);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("connection") {
            if header.value.eq_ignore_ascii_case(b"close") {
                close = true;
            } else if header.value.eq_ignore_ascii_case(b"keep-alive") {
                close = false;
            }
        } else if header.name.eq_ignore_ascii_case("content-length") {
            match std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.trim().parse().ok())
            {
                Some(length) => body = length,
                None => return Some(wrong("400 Bad Request")),
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Some(wrong("411 Length Required"));
        } else if header.name.eq_ignore_ascii_case("expect") {
            expects = true;
        }
    }
    let what = match (request.method, request.path) {
        (Some("GET"), Some("/")) => What::Bytes(1024),
        (Some("GET"), Some(path)) => match path.strip_prefix("/bytes/").map(str::parse) {
            Some(Ok(length)) => What::Bytes(length),
            _ => What::Wrong("404 Not Found"),
        },
        (Some("POST"), Some("/")) => What::Discard,
        (Some("POST"), Some("/verify")) => What::Verify,
        _ => What::Wrong("404 Not Found"),
    };
    Some(Asked {
        what,
        head,
        body,
        close,
        told: old && !close,
        expects,
    })
}
