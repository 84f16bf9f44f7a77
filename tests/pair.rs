//! The thinnest pair: bytes through real sockets, sealed, both ways, to a trusted end.

mod harness;

use harness::{Pair, app, echo};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn bytes_come_back_as_they_were_sent_and_end_where_they_ended() {
    let pair = Pair::start(echo());
    for size in [0, 1, 1_000, 5_000, 70_000, 5_000_000] {
        let sent: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let mut stream = pair.connect();
        let mut output = stream.try_clone().expect("clone");
        let writer = {
            let sent = sent.clone();
            thread::spawn(move || {
                output.write_all(&sent).expect("sent");
                output.shutdown(Shutdown::Write).expect("ended");
            })
        };
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("a whole answer ends in order");
        writer.join().expect("writer");
        assert!(got == sent, "{size} bytes came back as {} others", got.len());
    }
    pair.web
        .until_metric("wa_sidecar_streams_ended_total{end=\"fin\"}", |n| n == 6.0);
    pair.core
        .until_metric("wa_sidecar_streams_ended_total{end=\"fin\"}", |n| n == 6.0);
    assert_eq!(pair.core.metric("wa_sidecar_streams_open"), 0.0);
}

#[test]
fn an_app_that_waits_for_the_other_to_speak_first_does_not_wait_long() {
    let pair = Pair::start(app(|mut stream| {
        let _ = stream.write_all(b"220 ready");
        let _ = stream.read(&mut [0]);
    }));
    let wait = || {
        // Until nothing of the last one is left to be said.
        thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        pair.connect().read_exact(&mut [0; 9]).expect("a greeting");
        began.elapsed()
    };
    wait();
    // With nothing else to say the link says something every second: right behind that, the next time is a second away.
    let fastest = (0..3).map(|_| wait()).min().expect("three");
    assert!(fastest < Duration::from_millis(500), "{fastest:?}");
}
