//! Floods of strangers, while calls go on.

use crate::strangers::noise;
use crate::{Attacked, Outcome};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const A_SECOND: u32 = 1000;
const SECONDS: u32 = 5;

#[test]
fn a_flood_of_strangers_stops_no_call() {
    let pair = Attacked::start();
    pair.recovers();
    let before = pair.core.metric("process_resident_memory_bytes");
    let (over, attempts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let calls = thread::scope(|scope| {
        for attacker in 0..4 {
            let (over, attempts, listen) = (&over, &attempts, pair.core.listen);
            scope.spawn(move || {
                // Three that send something wrong for each that holds its connection open.
                let bytes = noise(512, 17 + attacker);
                let mut held = std::collections::VecDeque::new();
                let start = Instant::now();
                for i in 0..A_SECOND * SECONDS / 4 {
                    let due = Duration::from_secs(1) * i / (A_SECOND / 4);
                    thread::sleep(due.saturating_sub(start.elapsed()));
                    if let Ok(mut stream) = TcpStream::connect(listen) {
                        let len = if i % 4 == 0 { 7 } else { 512 };
                        let _ = stream.write_all(&bytes[..len]);
                        held.push_back(stream);
                        attempts.fetch_add(1, SeqCst);
                    }
                    if held.len() > 300 {
                        held.pop_front();
                    }
                    if start.elapsed() > 2 * Duration::from_secs(u64::from(SECONDS)) {
                        break;
                    }
                }
                over.store(true, SeqCst);
            });
        }
        let mut calls = 0;
        while !over.load(SeqCst) {
            let start = Instant::now();
            assert_eq!(pair.call(calls), Outcome::Whole);
            assert!(
                start.elapsed() < Duration::from_secs(3),
                "call {calls} took {:?}",
                start.elapsed()
            );
            calls += 1;
        }
        calls
    });
    let attempts = attempts.load(SeqCst);
    assert!(calls >= 20, "{calls} calls beside {attempts} strangers");
    assert!(attempts >= 2_500, "{attempts} strangers");
    assert_eq!(pair.middlebox.connections(), 1, "the link lives");
    let grown = pair.core.metric("process_resident_memory_bytes") - before;
    assert!(grown < 16e6, "{grown} bytes more than before");
    let lines = pair.core.count("handshake_failed");
    assert!(lines <= 20, "{lines} lines");
    // A new link finds its way through what the flood has left.
    pair.middlebox.cut();
    pair.recovers();
}
