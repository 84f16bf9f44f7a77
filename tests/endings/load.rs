//! Many streams at once: nothing is lost, nothing leaks, nothing grows without bound.

use super::apps::answers;
use super::*;
use crate::harness::{Sidecar, app, eventually};
use std::net::Shutdown;
use std::time::Instant;

fn files(sidecar: &Sidecar) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid()))
        .expect("fds")
        .count()
}

/// Resident bytes.
fn memory(sidecar: &Sidecar) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", sidecar.pid())).expect("statm");
    statm
        .split(' ')
        .nth(1)
        .expect("resident")
        .parse::<u64>()
        .expect("pages")
        * 4096
}

/// What must be as it was when nothing is open.
fn at_rest_as(pair: &Pair, files_before: [usize; 2], free_before: &[String; 2]) {
    at_rest(pair);
    for (i, sidecar) in [&pair.web, &pair.core].into_iter().enumerate() {
        eventually("files as before", || (files(sidecar) <= files_before[i]).then_some(()));
        eventually("the budget as before", || {
            (free(sidecar) == free_before[i]).then_some(())
        });
        eventually("no stream on the link's own count", || {
            let page = sidecar.page("/status");
            let status: serde_json::Value = serde_json::from_str(page.split("\r\n\r\n").nth(1)?).ok()?;
            (status["links"][0]["streams"] == 0).then_some(())
        });
    }
}

/// The samples of the buffer budget.
fn free(sidecar: &Sidecar) -> String {
    let page = sidecar.page("/metrics");
    let lines: Vec<_> = page
        .lines()
        .filter(|line| line.contains("budget") && !line.starts_with('#') && !line.contains("limits_hit"))
        .collect();
    assert!(!lines.is_empty(), "{page}");
    lines.join("\n")
}

fn before(pair: &Pair) -> ([usize; 2], [String; 2]) {
    whole_call(pair, 1_000);
    at_rest(pair);
    let both = [&pair.web, &pair.core];
    (both.map(files), both.map(free))
}

#[test]
fn a_burst_of_two_thousand_short_connections() {
    let pair = Pair::start(answers());
    let (files, free) = before(&pair);
    at_once(40, |i| {
        for k in 0..50 {
            whole_call(&pair, i * 10 + k);
        }
    });
    at_rest_as(&pair, files, &free);
    assert_eq!(ended(&pair.web, "fin"), 2_001.0);
    assert_eq!(ended(&pair.core, "fin"), 2_001.0);
}

#[test]
fn churn_with_resets_leaves_nothing_behind() {
    let pair = Pair::start(app(|mut stream| {
        // The request says how this one ends.
        let mut how = [0; 1];
        if stream.read_exact(&mut how).is_err() {
            return;
        }
        write_all(&stream, &body(usize::from(how[0]) * 500));
        match how[0] % 5 {
            0 => reset(stream),
            1 => drop(stream),
            2 => {
                let _ = stream.shutdown(Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
            _ => {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        }
    }));
    let (files, free) = {
        at_rest(&pair);
        let both = [&pair.web, &pair.core];
        (both.map(files), both.map(free))
    };
    at_once(16, |seed| {
        let mut random = seed as u32 + 1;
        for _ in 0..60 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bytes = random.to_be_bytes();
            let stream = pair.connect();
            let answer = body(usize::from(bytes[0]) * 500);
            if !write_all(&stream, &bytes[..1]) {
                continue;
            }
            // A reset is told once: to the write, or to the read after it.
            let wrote = write_all(&stream, &body(usize::from(bytes[1]) * 300));
            match bytes[2] % 4 {
                _ if !wrote => {}
                0 => reset(stream),
                1 => drop(stream),
                2 => {
                    let _ = stream.shutdown(Shutdown::Write);
                    read_answer(&stream, &answer);
                }
                _ => {
                    let _ = (&stream).read(&mut [0; 100]);
                    reset(stream);
                }
            }
        }
    });
    at_rest_as(&pair, files, &free);
}

#[test]
fn a_reader_that_stalls_holds_up_nobody() {
    let pair = Pair::start(answers());
    let stalled_len = 12_000_000;
    whole_call(&pair, 1_000_000);
    let baseline = [&pair.web, &pair.core].map(memory);
    let stalled = pair.connect();
    assert!(write_all(&stalled, stalled_len.to_string().as_bytes()));
    stalled.shutdown(Shutdown::Write).expect("half-closed");
    let began = Instant::now();
    let calls: usize = at_once(100, |_| {
        let mut calls = 0;
        while began.elapsed() < Duration::from_secs(15) {
            whole_call(&pair, 20_000);
            calls += 1;
            thread::sleep(Duration::from_millis(100));
        }
        calls
    })
    .into_iter()
    .sum();
    assert!(calls >= 200, "only {calls} calls in 15 s");
    for (sidecar, baseline) in [&pair.web, &pair.core].into_iter().zip(baseline) {
        let grown = memory(sidecar).saturating_sub(baseline);
        // The budget, and what is not in it: frame buffers, tasks, the allocator's own.
        assert!(grown < 24 << 20, "{grown} bytes more than before");
    }
    assert_eq!(read_answer(&stalled, &body(stalled_len)), Ending::Whole);
    drop(stalled);
    at_rest(&pair);
}
