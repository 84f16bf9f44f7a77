//! Every class of failure, by a server that does just that; and command lines that are refused.

use std::{
    ffi::OsString,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use crate::{
    address::{Error, Target},
    flags, outcome,
    outcome::Outcome,
    output, pattern, server,
};

/// `work` with two connections; what `more` says of them or of the time-out comes first.
fn run(work: &str, target: &str, more: &str) -> Outcome {
    let many = match work {
        "request" => "--connections 2",
        "connection" => "--concurrency 2",
        _ => "--streams 2",
    };
    let time = if more.contains("--timeout") { "" } else { "--timeout 5s" };
    let line = format!("{work} --target {target} --duration 500ms --warmup 0 {many} {time} {more}");
    outcome(&line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Nothing but failures of this class, and the run is not believed.
fn assert_only(outcome: &Outcome, class: &str, says: &str) {
    let classes: Vec<&str> = outcome.error_classes.iter().map(|row| row.class.as_str()).collect();
    assert_eq!(classes, [class], "{:?}", outcome.error_classes);
    let row = &outcome.error_classes[0];
    assert!(row.first.contains(says), "{row:?}");
    assert_eq!((outcome.operations, outcome.errors), (0, row.count));
    assert!(!outcome.is_good());
}

fn read_request(socket: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
}

/// Answers the first request with `text` and closes in order.
fn says(text: impl Into<Vec<u8>>) -> String {
    let text = text.into();
    server(move |mut socket| {
        read_request(&mut socket);
        let _ = socket.write_all(&text);
    })
}

#[test]
fn refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap().to_string();
    drop(listener);
    for work in ["request", "connection", "bulk"] {
        assert_only(&run(work, &nobody, ""), "refused", "connect");
    }
}

#[test]
fn reset() {
    let target = server(|mut socket| {
        read_request(&mut socket);
        socket2::SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    for work in ["request", "connection", "bulk"] {
        assert_only(&run(work, &target, ""), "reset", "read");
    }
}

#[test]
fn an_answer_that_ends_early() {
    let target = says("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\nshort");
    for work in ["request", "connection", "bulk"] {
        assert_only(&run(work, &target, ""), "short_answer", "closed after 5 of 1024 bytes");
    }
}

#[test]
fn another_status() {
    let target = says("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy");
    for work in ["request", "connection", "bulk"] {
        assert_only(&run(work, &target, ""), "wrong_status", "503");
    }
}

#[test]
fn no_http() {
    assert_only(
        &run("request", &says("SSH-2.0-OpenSSH_9.2\r\n"), ""),
        "malformed",
        "SSH-2.0",
    );
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
    assert_only(
        &run("request", &says(endless), ""),
        "malformed",
        "longer than 16384 bytes",
    );
}

#[test]
fn more_than_the_answer() {
    let target = says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nokay");
    assert_only(&run("connection", &target, "--path /"), "malformed", "after the end");
}

#[test]
fn another_length_than_was_asked_for() {
    let target = says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    assert_only(&run("request", &target, ""), "wrong_content", "2 bytes instead of 1024");
    assert_only(
        &run("connection", &target, ""),
        "wrong_content",
        "2 bytes instead of 1024",
    );
}

#[test]
fn one_byte_that_is_wrong() {
    let mut body = pattern::at(0, 100_000).to_vec();
    body[70_000] ^= 1;
    let mut text = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec();
    text.extend_from_slice(&body);
    let target = says(text);
    assert_only(
        &run("bulk", &target, "--path /x --verify"),
        "wrong_content",
        "offset 70000",
    );
    assert!(
        run("bulk", &target, "--path /x").operations > 0,
        "without --verify nobody looks"
    );
}

#[test]
fn silence() {
    let target = server(|mut socket| {
        let _ = socket.read_to_end(&mut Vec::new());
    });
    for work in ["request", "connection", "bulk"] {
        assert_only(&run(work, &target, "--timeout 100ms"), "timeout", "100ms");
    }
    let hung = run("request", &target, "--rate 50");
    assert_eq!((hung.operations, hung.errors), (0, 0));
    assert!(hung.unanswered > 0 && !hung.is_good(), "{hung:?}");
}

#[test]
fn a_body_that_is_refused() {
    let target = server(|mut socket| {
        read_request(&mut socket);
        let _ = socket.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = socket.shutdown(std::net::Shutdown::Write);
        // Read some on, or the answer is lost to the reset that unread bytes make.
        let _ = socket.read(&mut vec![0; 1 << 20]);
        std::thread::sleep(Duration::from_millis(20));
    });
    let refused = run("bulk", &target, "--direction send");
    assert!(
        refused
            .error_classes
            .iter()
            .any(|row| row.class == "wrong_status" && row.first.contains("413")),
        "{refused:?}"
    );
}

#[test]
fn command_lines_that_are_refused() {
    for (arguments, says) in [
        ("request", "--target"),
        ("request --target 127.0.0.1:1 --rate 0", "no rate"),
        ("request --target 127.0.0.1:1 --rate 1e99", "no rate"),
        ("request --target 127.0.0.1:1 --duration 10h", "no time"),
        ("request --target 127.0.0.1:1 --duration 0", "more than 0"),
        ("request --target 127.0.0.1:1 --connections 0", "at least 1"),
        (
            "request --target 127.0.0.1:1 --report /no/such/directory/r.html",
            "--report /no/such/directory/r.html",
        ),
        ("bulk --target 127.0.0.1:1 --json /", "--json /"),
        ("bulk --target 127.0.0.1:1 --json both --report both", "the same file"),
        ("request --target 127.0.0.1:1 --size 1k --path /", "--path"),
        ("request --target 127.0.0.1:1 --path nowhere", "begin with /"),
        ("request --target 127.0.0.1:1 --path /a\r\nb", "begin with /"),
        ("request --target 127.0.0.1:1 --cpu-of 1", "NAME=PID"),
        ("request --target 127.0.0.1:1 --cpu-of a=b", "no process id"),
        ("request --target 127.0.0.1:1 --cpu-of a=4194305", "no process 4194305"),
        ("bulk --target 127.0.0.1:1 --bytes 99999999999GiB", "no size"),
        ("bulk --target 127.0.0.1:1 --bytes 1GiB --duration 1", "--duration"),
        ("bulk --target 127.0.0.1:1 --direction up", "--direction"),
        ("report", "FILE"),
        ("stress", "stress"),
    ] {
        let typed = ["load"].into_iter().chain(arguments.split(' ')).map(OsString::from);
        let error = flags::parse(typed).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(says), "{arguments}: {error}");
        assert!(error.use_stderr(), "{arguments}");
    }
}

#[test]
fn targets_that_are_none() {
    for (target, says) in [
        ("http://127.0.0.1:80/", "without a scheme"),
        ("127.0.0.1", "HOST:PORT"),
        (":80", "HOST:PORT"),
        ("127.0.0.1:99999", "HOST:PORT"),
        ("unix:", "wants a path"),
    ] {
        match Target::parse(target) {
            Err(Error::Form(message)) => assert!(message.contains(says), "{target}: {message}"),
            other => panic!("{target}: {other:?}"),
        }
    }
}

/// The first answers fail, and then none.
#[test]
fn errors_of_the_warm_up_count() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let target = server(move |mut socket| {
        read_request(&mut socket);
        let status = if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 3 {
            "503 Busy"
        } else {
            "200 OK"
        };
        let _ = write!(
            socket,
            "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        );
    });
    let line = format!("connection --target {target} --path / --duration 300ms --warmup 300ms --concurrency 1");
    let outcome = outcome(&line);
    assert_eq!((outcome.errors, outcome.is_good()), (3, false), "{outcome:?}");
    assert!(outcome.operations > 0);
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note == "3 of the errors came before or between what was measured"),
        "{:?}",
        outcome.notes
    );
}

#[test]
fn a_path_is_judged_and_left_as_it_was() {
    let path = std::env::temp_dir().join(format!("wa-sidecar-load-{}", std::process::id()));
    assert_eq!(output::judge("json", Some(&path)), Ok(()));
    assert!(!path.exists());
    std::fs::write(&path, "before").unwrap();
    assert_eq!(output::judge("json", Some(&path)), Ok(()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    std::fs::remove_file(&path).unwrap();
}
