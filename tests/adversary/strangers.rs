//! Who does not have the secret: one silent close, whatever they send, and both logs say what it may be.

use crate::handshakes::causes_are_listed;
use crate::harness::SOON;
use crate::{Attacked, Upstream, handshakes, start_core, start_web};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub bytes: usize,
    /// Ended by RST: bytes that were sent were not read.
    pub reset: bool,
    pub took: Duration,
}

/// Sends `bytes` and reads until the other side closes.
pub fn send(to: SocketAddr, bytes: &[u8]) -> Answer {
    send_in(to, &[bytes], Duration::ZERO)
}

/// The same in parts, with a pause behind each.
fn send_in(to: SocketAddr, parts: &[&[u8]], pause: Duration) -> Answer {
    let mut stream = TcpStream::connect(to).expect("connected");
    let start = Instant::now();
    stream.set_read_timeout(Some(SOON)).expect("time-out");
    stream.set_nodelay(true).expect("no delay");
    for part in parts {
        if stream.write_all(part).is_err() {
            break;
        }
        thread::sleep(pause);
    }
    let mut got = Vec::new();
    let reset = match stream.read_to_end(&mut got) {
        Ok(_) => false,
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => true,
        Err(error) => panic!("not closed: {error}"),
    };
    Answer {
        bytes: got.len(),
        reset,
        took: start.elapsed(),
    }
}

/// Bytes without a pattern, the same in every run.
pub fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The start of a TLS 1.3 ClientHello; nobody reads further than its first byte.
fn client_hello() -> Vec<u8> {
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend(noise(506, 5));
    hello
}

#[test]
fn every_stranger_gets_the_same_silence() {
    let upstream = Upstream::start();
    let core = start_core(&upstream, &[]).spawn();
    let listen = core.listen;
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let mut version_2 = noise(512, 9);
    version_2[0] = 2;
    let mut version_1 = noise(512, 9);
    version_1[0] = 1;
    let strangers: [(&str, Vec<u8>); 9] = [
        ("nothing", Vec::new()),
        ("one byte", vec![1]),
        ("HTTP", get),
        ("511 bytes", noise(511, 3)),
        ("512 zero bytes", vec![0; 512]),
        ("another version", version_2),
        ("this version", version_1),
        ("TLS", client_hello()),
        ("much", noise(1 << 20, 7)),
    ];
    let mut asking: Vec<_> = strangers
        .into_iter()
        .map(|(who, bytes)| thread::spawn(move || (who, bytes.len(), send(listen, &bytes))))
        .collect();
    asking.push(thread::spawn(move || {
        let bytes = noise(512, 11);
        let parts: Vec<&[u8]> = bytes.chunks(1).take(30).collect();
        ("a slow one", 30, send_in(listen, &parts, Duration::from_millis(100)))
    }));
    for asked in asking {
        let (who, sent, answer) = asked.join().expect("closed");
        assert_eq!(answer.bytes, 0, "{who}");
        let at_most = if sent < 512 { 1900 } else { 900 };
        let slow = who == "a slow one";
        assert!(slow || answer.took.as_millis() < at_most, "{who}: {answer:?}");
        let in_order = !answer.reset;
        assert!(
            slow || in_order == (sent <= 512),
            "{who}: what is read is closed in order: {answer:?}"
        );
    }
    assert_eq!(handshakes(&core, "unauthenticated"), 5);
    assert_eq!(handshakes(&core, "timeout"), 5);
    causes_are_listed(&core.event_with_reason("handshake_failed", "unauthenticated"));
    core.event_with_reason("handshake_failed", "timeout");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn another_secret_and_another_deployment_look_alike() {
    let upstream = Upstream::start();
    for (flags, secret) in [
        (&[][..], "another horse battery staple"),
        (&["--deployment", "other"], crate::harness::SECRET),
    ] {
        let core = start_core(&upstream, &[]).spawn();
        let web = start_web(core.listen, flags).env("WA_SECRET", secret).spawn();
        causes_are_listed(&core.event_with_reason("handshake_failed", "unauthenticated"));
        causes_are_listed(&web.event_with_reason("link_failed", "unauthenticated"));
        core.until_metric("wa_sidecar_handshakes_total{result=\"unauthenticated\"}", |n| n >= 1.0);
        web.until_metric("wa_sidecar_handshakes_total{result=\"unauthenticated\"}", |n| n >= 1.0);
        assert!(web.page("/readyz").starts_with("HTTP/1.1 503"));
        assert_eq!(handshakes(&core, "accepted"), 0);
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn strangers_that_alternate_do_not_fill_the_log() {
    let pair = Attacked::start();
    pair.recovers();
    let bytes = noise(512, 13);
    for _ in 0..200 {
        assert_eq!(send(pair.core.listen, &bytes).bytes, 0);
        // Closed at once: another reason than the one before.
        drop(TcpStream::connect(pair.core.listen).expect("connected"));
    }
    pair.core
        .until_metric("wa_sidecar_handshakes_total{result=\"disconnected\"}", |n| n == 200.0);
    let lines = pair.core.count("handshake_failed");
    assert!(lines <= 10, "{lines} lines");
    pair.recovers();
}
