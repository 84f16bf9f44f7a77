//! The thinnest pair: bytes through real sockets, sealed, both ways, to a trusted end.

mod harness;

use harness::{Pair, echo};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

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
