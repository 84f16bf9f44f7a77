//! How streams end while the link goes on.

use super::apps::{self, answers, nobody, notes};
use super::*;
use crate::harness::{Pair, SOON, app, black_hole, echo, eventually, field};
use std::net::Shutdown;
use std::sync::{Barrier, Mutex, mpsc};
use std::time::Instant;

const SIZES: [usize; 3] = [0, 1_000, 3_000_000];
const MANY: usize = 40;

#[test]
fn half_close_by_the_near_app_is_the_end_of_its_request_only() {
    let pair = Pair::start(answers());
    for size in SIZES {
        whole_call(&pair, size);
        at_once(MANY, |_| whole_call(&pair, size.min(200_000)));
    }
    at_rest(&pair);
    assert_eq!(ended(&pair.web, "fin"), ended(&pair.core, "fin"));
}

#[test]
fn half_close_by_the_far_app_is_the_end_of_its_answer_only() {
    // It answers and ends, then reads the request to its end and says how long it was.
    let lengths = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = lengths.clone();
    let pair = Pair::start(app(move |mut stream| {
        write_all(&stream, &body(1_000));
        stream.shutdown(Shutdown::Write).expect("half-closed");
        let n = std::io::copy(&mut stream, &mut std::io::sink()).expect("a whole request");
        seen.lock().expect("lock").push(n as usize);
    }));
    for size in SIZES {
        for n in [1, MANY] {
            at_once(n, |_| {
                let stream = pair.connect();
                assert_eq!(read_answer(&stream, &body(1_000)), Ending::Whole);
                assert!(write_all(&stream, &body(size)));
                stream.shutdown(Shutdown::Write).expect("ended");
            });
            eventually("every request arrived whole", || {
                let mut lengths = lengths.lock().expect("lock");
                (lengths.len() == n).then(|| assert!(lengths.drain(..).all(|len| len == size)))
            });
        }
    }
    at_rest(&pair);
}

#[test]
fn a_server_may_speak_first() {
    // Nothing but the OPEN goes to the far side: it must not wait for the next second's PING.
    let pair = Pair::start(app(|stream| {
        write_all(&stream, &body(100));
    }));
    for _ in 0..60 {
        assert_eq!(read_answer(&pair.connect(), &body(100)), Ending::Whole);
    }
}

#[test]
fn an_early_answer_is_whole_though_the_request_is_not() {
    for (len, request) in [(1_000, 100_000), (1_000, 4_000_000), (1_000_000, 4_000_000)] {
        let (address, close) = apps::early(len);
        let pair = Pair::start(address);
        for n in [1, 10] {
            let all_have_it = Barrier::new(n);
            at_once(n, |_| {
                let stream = pair.connect();
                let output = stream.try_clone().expect("clone");
                let writer = thread::spawn(move || {
                    write_all(&output, &body(request));
                    let _ = output.shutdown(Shutdown::Write);
                });
                assert_eq!(read_answer(&stream, &body(len)), Ending::Whole);
                // A large answer is with the client before the server closes: a close over unread bytes would take it back.
                all_have_it.wait();
                close.send(()).expect("sent");
                writer.join().expect("it could write all, or was told");
            });
        }
        at_rest(&pair);
        if len == 1_000 && request > 1_000_000 {
            assert!(ended(&pair.core, "stopped") > 0.0, "{}", pair.core.page("/metrics"));
        }
    }
}

#[test]
fn a_client_that_closes_behind_its_request_is_heard() {
    let (address, seen) = notes(b"");
    let pair = Pair::start(address);
    for size in SIZES {
        for n in [1, MANY] {
            at_once(n, |_| assert!(write_all(&pair.connect(), &body(size))));
            eventually("every request ended in order", || {
                let mut seen = seen.lock().expect("lock");
                (seen.len() == n).then(|| assert!(seen.drain(..).all(|end| end == (size, Ok(())))))
            });
        }
    }
    at_rest(&pair);
}

#[test]
fn a_client_that_closes_is_heard_though_the_answer_finds_nobody() {
    // The answer meets a closed socket: what the client sent before is whole all the same.
    let (address, seen) = notes(b"an answer that nobody waits for, and more of it");
    let pair = Pair::start(address);
    let size = 3_000_000;
    at_once(MANY, |_| assert!(write_all(&pair.connect(), &body(size))));
    eventually("every request ended", || {
        let seen = seen.lock().expect("lock");
        (seen.len() == MANY).then_some(())
    });
    for (got, end) in seen.lock().expect("lock").iter() {
        assert!(end.is_err() || *got == size, "an end in order after {got} bytes");
    }
    at_rest(&pair);
}

#[test]
fn a_client_that_closes_in_mid_answer_ends_an_endless_one() {
    // The server says how much it could send until it was told.
    let (told, sent) = mpsc::channel();
    let told = Mutex::new(told);
    let pair = Pair::start(app(move |stream| {
        let chunk = body(64 * 1024);
        let mut sent = 0;
        while write_all(&stream, &chunk) {
            sent += chunk.len();
        }
        told.lock().expect("lock").send(sent).expect("heard");
    }));
    for n in [1, 10] {
        at_once(n, |_| {
            let stream = pair.connect();
            // The end of its output in order, and then an RST to whoever goes on writing.
            stream.shutdown(Shutdown::Write).expect("ended");
            read_part(&stream, &body(64 * 1024), 64 * 1024);
        });
        for _ in 0..n {
            // Windows, buffers of kernels, and what is read for the sake of clients that read slowly: not 30 s at full speed.
            let sent = sent.recv_timeout(SOON).expect("the server was told");
            assert!(sent < 128 << 20, "{sent} bytes for a client that is gone");
        }
        at_rest(&pair);
    }
}

#[test]
fn a_server_that_closes_over_unread_bytes_resets_as_it_would_without_sidecars() {
    let serve = |mut stream: TcpStream| {
        stream.read_exact(&mut [0; 4]).expect("a request begins");
        // The rest of it has arrived and stays unread: the kernel makes the close a reset.
        eventually("more to read", || {
            let n = stream.peek(&mut [0; 64]).expect("peeked");
            (n > 0).then_some(())
        });
    };
    let call = |stream: TcpStream| {
        assert!(write_all(&stream, b"head"));
        thread::sleep(Duration::from_millis(20));
        write_all(&stream, b"and more of it");
        match read_answer(&stream, b"no answer can be whole") {
            Ending::Broken(kind, 0) => kind,
            other => panic!("{other:?}"),
        }
    };
    let direct = call(connect(app(serve)));
    let pair = Pair::start(app(serve));
    for n in [1, MANY] {
        for kind in at_once(n, |_| call(pair.connect())) {
            assert_eq!(kind, direct);
        }
    }
    at_rest(&pair);
}

#[test]
fn a_far_app_that_refuses_is_a_reset_within_a_second() {
    let pair = Pair::start(nobody());
    for say in [&b""[..], b"a request"] {
        for n in [1, MANY] {
            let started = Instant::now();
            for ending in at_once(n, |_| {
                let stream = pair.connect();
                // The RST may be there before the write, which then has the error; a read behind that would say 0.
                match (&stream).write_all(say) {
                    Ok(()) => read_answer(&stream, b"?"),
                    Err(error) => Ending::Broken(error.kind(), 0),
                }
            }) {
                assert!(ending.is_reset(), "{ending:?}");
            }
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
    }
    at_rest(&pair);
    let all = 2.0 * (1 + MANY) as f64;
    assert_eq!(ended(&pair.web, "refused"), all);
    assert_eq!(ended(&pair.core, "refused"), all);
    let line = pair.core.event_with_reason("dial_failed", "dial_refused");
    assert!(field(&line, "upstream").is_some());
    assert_eq!(
        pair.core.count("dial_failed"),
        1,
        "the same failure again and again is one line"
    );
    assert!(pair.core.page("/readyz").starts_with("HTTP/1.1 503"));
}

#[test]
fn a_far_app_that_resets_in_mid_answer_resets_the_near_one() {
    for part in [10, 100_000] {
        let (address, go) = apps::resets_after(part);
        let pair = Pair::start(address);
        for n in [1, MANY] {
            let clients: Vec<_> = (0..n).map(|_| pair.connect()).collect();
            for client in &clients {
                read_part(client, &body(part + 1), part);
            }
            for _ in &clients {
                go.send(()).expect("sent");
            }
            for client in &clients {
                assert!(read_answer(client, b"more").is_reset());
            }
        }
        at_rest(&pair);
        assert_eq!(ended(&pair.web, "reset"), (1 + MANY) as f64);
    }
}

#[test]
fn a_near_app_that_resets_is_never_an_end_in_order_for_the_far_one() {
    let (address, seen) = notes(&[7; 1000]);
    let pair = Pair::start(address);
    let mut told = 0;
    for size in SIZES {
        for (n, reads) in [(1, false), (1, true), (MANY, false), (MANY, true)] {
            at_once(n, |_| {
                let stream = pair.connect();
                assert!(write_all(&stream, &body(size)));
                if reads {
                    // In mid-answer: it has come, and is not over. Else the far app may not even be dialled yet.
                    read_part(&stream, &[7; 1000], 1000);
                }
                reset(stream);
            });
            told += if reads { n } else { 0 };
        }
    }
    at_rest(&pair);
    eventually("every far app that was dialled was told", || {
        let seen = seen.lock().expect("lock");
        (seen.len() >= told).then_some(())
    });
    for (_, end) in seen.lock().expect("lock").iter() {
        assert_eq!(*end, Err(ErrorKind::ConnectionReset));
    }
}

#[test]
fn a_dial_that_is_not_answered_ends_at_its_time() {
    let (address, _held) = black_hole();
    let pair = Pair::start_with(address, &[], &["--dial-timeout", "400ms"]);
    for ending in at_once(MANY, |_| read_answer(&pair.connect(), b"?")) {
        assert!(ending.is_reset(), "{ending:?}");
    }
    pair.core.event_with_reason("dial_failed", "dial_timeout");
    at_rest(&pair);
    assert_eq!(ended(&pair.core, "refused"), MANY as f64);
}

#[test]
fn a_near_app_that_resets_cancels_the_dial() {
    let (address, _held) = black_hole();
    let flags = ["--dial-timeout", "5m", "--max-dials", "1"];
    let pair = Pair::start_with(address, &[], &flags);
    for _ in 0..20 {
        let stream = pair.connect();
        write_all(&stream, b"a request");
        pair.core.until_metric("wa_sidecar_streams_open", |n| n == 1.0);
        reset(stream);
        // Only a dial that was given up makes room for the next.
        at_rest(&pair);
    }
    assert_eq!(ended(&pair.core, "reset"), 20.0);
    assert_eq!(ended(&pair.core, "refused"), 0.0);
}

#[test]
fn many_bytes_both_ways_at_once_on_many_streams() {
    let pair = Pair::start(echo());
    at_once(20, |i| {
        let sent = body(2_000_000 + i);
        let stream = pair.connect();
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(write_all(&stream, &sent));
                stream.shutdown(Shutdown::Write).expect("ended");
            });
            assert_eq!(read_answer(&stream, &sent), Ending::Whole);
        });
    });
    at_rest(&pair);
}
