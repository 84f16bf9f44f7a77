//! The container probe: is the sidecar beside it ready?
//!
//! Promises: an answer within two seconds whatever the other end does, with no runtime and no thread.
//! Must not know: what makes a sidecar ready.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Address;

const TIMEOUT: Duration = Duration::from_secs(2);
const MOST: usize = 64 * 1024;

/// What `/readyz` said: whether it is ready, and the body.
pub fn probe(admin: &Address) -> io::Result<(bool, String)> {
    fetch(admin, "/readyz")
}

/// A page of an admin endpoint: whether its status is 200, and the body.
pub fn fetch(admin: &Address, path: &str) -> io::Result<(bool, String)> {
    let deadline = Instant::now() + TIMEOUT;
    let mut stream = connect(admin, deadline)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) if answer.len() + n <= MOST => answer.extend_from_slice(&chunk[..n]),
            Ok(_) => return Err(io::Error::other("the answer is too long")),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(not_ours)?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .ok_or_else(not_ours)?;
    Ok((status == "200", body.to_owned()))
}

fn connect(admin: &Address, deadline: Instant) -> io::Result<TcpStream> {
    if let Address::Unix(path) = admin {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Connecting waits while the backlog is full, and this bounds it.
        socket.set_write_timeout(Some(left(deadline)?))?;
        match socket.connect(&SockAddr::unix(path)?) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            done => done?,
        }
        // The calls that follow are the same for every kind of stream socket.
        return Ok(TcpStream::from(OwnedFd::from(socket)));
    }
    let address = admin.resolve()?.into_iter().next().map(reachable);
    let address = address.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the name has no address"))?;
    TcpStream::connect_timeout(&address, left(deadline)?)
}

fn not_ours() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "the answer is not HTTP/1.1: another program listens there",
    )
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// Who listens on every interface is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    fn answering(answer: &'static [u8], hold: Duration) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            if let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer);
                thread::sleep(hold);
            }
        });
        Address::Ip(address)
    }

    #[test]
    fn answers() {
        let probe = |answer| probe(&answering(answer, Duration::ZERO));
        assert_eq!(probe(b"HTTP/1.1 200 OK\r\n\r\nok\n").ok(), Some((true, "ok\n".into())));
        assert_eq!(
            probe(b"HTTP/1.1 503 Service Unavailable\r\n\r\nno link").ok(),
            Some((false, "no link".into()))
        );
        assert!(probe(b"SSH-2.0-x\r\n").is_err());
        assert!(probe(b"").is_err());
    }

    #[test]
    fn one_that_never_answers_is_not_waited_for() {
        let started = Instant::now();
        let result = probe(&answering(b"HTTP/1.1 200 OK\r\n", Duration::from_secs(30)));
        assert_eq!(result.expect_err("no whole answer").kind(), ErrorKind::TimedOut);
        assert!(started.elapsed() < TIMEOUT + Duration::from_secs(1));
    }

    #[test]
    fn a_full_backlog_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("wa-sidecar-health-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let at = SockAddr::unix(&path).expect("a path");
        let unix = || Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let listener = unix();
        listener.bind(&at).expect("bound");
        listener.listen(0).expect("listening");
        let mut fillers = Vec::new();
        loop {
            let filler = unix();
            filler.set_nonblocking(true).expect("non-blocking");
            if filler.connect(&at).is_err() {
                break;
            }
            fillers.push(filler);
        }
        let result = probe(&Address::Unix(path.clone()));
        assert_eq!(result.expect_err("nobody accepts").kind(), ErrorKind::TimedOut);
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn every_interface_is_asked_on_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(reachable(listens.parse().expect("an address")).to_string(), asked);
        }
    }
}
