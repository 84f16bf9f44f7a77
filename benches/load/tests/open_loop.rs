//! A server that stalls for a second: an open loop sees all that it delayed, a closed one next to nothing.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Mutex,
    time::Duration,
};

use tokio::time::Instant;

use crate::{measure, outcome::Outcome, run::Measured, schedule::Schedule, server};

const CONNECTIONS: u64 = 4;

/// Answers at once, but for a second from the 50th request on.
fn stalls_once() -> String {
    let state = Mutex::new((0, None));
    server(move |mut socket: TcpStream| {
        let mut request = [0; 4096];
        while socket.read(&mut request).is_ok_and(|read| read > 0) {
            let until = {
                let mut state = state.lock().unwrap();
                state.0 += 1;
                if state.0 == 50 {
                    state.1 = Some(std::time::Instant::now() + Duration::from_secs(1));
                }
                state.1
            };
            if let Some(until) = until {
                std::thread::sleep(until.saturating_duration_since(std::time::Instant::now()));
            }
            socket
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .unwrap();
        }
    })
}

/// Operations that took half a second or more.
fn slow(measured: &Measured) -> u64 {
    measured.windows[0].small.latencies.count_between(500_000_000, u64::MAX)
}

#[test]
fn a_stall_is_seen_in_full() {
    let run = format!(
        "request --target {} --path / --connections {CONNECTIONS} --duration 2 --warmup 0 --rate 200",
        stalls_once()
    );
    let (heading, measured) = measure(&run);
    // Of the 200 that were due in that second half waited for half a second or more.
    assert!(slow(&measured) >= 60, "{}", slow(&measured));
    let outcome = Outcome::new(heading, measured);
    assert!(outcome.late >= 60, "{}", outcome.late);
    assert!(outcome.latency_us.p99 > 500_000.0, "{:?}", outcome.latency_us);
}

#[test]
fn a_closed_loop_hides_it() {
    let run = format!(
        "request --target {} --path / --connections {CONNECTIONS} --duration 2 --warmup 0",
        stalls_once()
    );
    let (_, measured) = measure(&run);
    assert!((1..=CONNECTIONS).contains(&slow(&measured)), "{}", slow(&measured));
}

#[tokio::test]
async fn due_times_are_fixed_whenever_the_schedule_is_run() {
    const HOUR: Duration = Duration::from_secs(3600);
    let begin = Instant::now() - 10 * HOUR;
    let schedule = Schedule::new(Some(1.0 / 3600.0), begin);
    let starts = async {
        let mut starts = Vec::new();
        for _ in 0..11 {
            starts.push(schedule.start().await.due);
        }
        starts
    };
    let starts = tokio::select! {
        starts = starts => starts,
        _ = schedule.run() => unreachable!("it never ends"),
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("what is overdue waits"),
    };
    assert_eq!(starts, (0..11).map(|index| begin + index * HOUR).collect::<Vec<_>>());
    let Schedule::Open(open) = &schedule else {
        unreachable!()
    };
    assert_eq!(
        open.left(begin + 12 * HOUR).collect::<Vec<_>>(),
        [begin + 11 * HOUR, begin + 12 * HOUR]
    );
}
