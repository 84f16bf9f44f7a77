//! Frames that are held back on the way, in real time: 9 s pass, 11 s are never delivered.

use crate::frames::{Way, is_call};
use crate::middlebox::{Op, Plan};
use crate::{Attacked, Outcome, ended, refused};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long until a frame is `age` old. Both ends and this test share a clock, so its stamp says when it was made.
fn until_old(frame: &[u8], age: Duration) -> Duration {
    let stamp = u64::from_be_bytes(frame[12..20].try_into().expect("8 bytes"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    (Duration::from_millis(stamp) + age).saturating_sub(now)
}

/// Lets frames through later and later, so that the receiver never hears nothing for long, until that of a call is `age` old.
fn slow(way: Way, age: Duration, begun: &Arc<AtomicBool>) -> Plan {
    let begun = Arc::clone(begun);
    let mut called = false;
    let script = move |place: usize, frame: &[u8]| {
        let wait = match place {
            0..3 => Duration::ZERO,
            _ if called => Duration::ZERO,
            _ if is_call(frame) => {
                called = true;
                until_old(frame, age)
            }
            // A sign of life: later ones wait behind it, and so does the call.
            _ if !begun.swap(true, SeqCst) => age / 2,
            _ => Duration::ZERO,
        };
        vec![Op::Wait(wait), Op::Send(frame.to_vec())]
    };
    match way {
        Way::Up => Plan::up(script),
        Way::Down => Plan::down(script),
    }
}

/// A call whose request or answer is `age` old when it arrives, and how long it took.
fn held(way: Way, age: Duration) -> (Attacked, Outcome, Duration) {
    let begun = Arc::default();
    let pair = Attacked::planned(slow(way, age, &begun));
    crate::harness::eventually("a sign of life is held back", || begun.load(SeqCst).then_some(()));
    let start = Instant::now();
    let outcome = pair.call(1);
    (pair, outcome, start.elapsed())
}

fn nine_seconds(way: Way) {
    let (pair, outcome, took) = held(way, Duration::from_secs(9));
    assert_eq!(outcome, Outcome::Whole, "{way:?}");
    assert!(took >= Duration::from_millis(8900), "{way:?}: {took:?}");
    assert_eq!(refused(pair.receiver(way), "stale"), 0);
    assert_eq!(pair.middlebox.connections(), 1, "{way:?}: the link lives");
    pair.recovers();
}

fn eleven_seconds(way: Way) {
    let (pair, outcome, took) = held(way, Duration::from_secs(11));
    assert_eq!(outcome, Outcome::Reset, "{way:?}");
    assert!(took >= Duration::from_millis(10_900), "{way:?}: {took:?}");
    let receiver = pair.receiver(way);
    receiver.event_with_reason("link_down", "stale");
    assert_eq!(refused(receiver, "stale"), 1, "{way:?}: {:#?}", receiver.log());
    let delivered = if way == Way::Up { 0 } else { 1 };
    assert_eq!(pair.upstream.whole(), delivered, "{way:?}");
    pair.recovers();
    assert_eq!(pair.middlebox.connections(), 2);
}

/// From the first frame of a call on nothing passes any more, though the connection stays.
fn nothing_passes(way: Way) {
    let mut over = false;
    let script = move |_: usize, frame: &[u8]| {
        over |= is_call(frame) && frame.len() != crate::middlebox::MESSAGE_LEN;
        if over {
            Vec::new()
        } else {
            vec![Op::Send(frame.to_vec())]
        }
    };
    let plan = match way {
        Way::Up => Plan::up(script),
        Way::Down => Plan::down(script),
    };
    let pair = Attacked::planned(plan);
    let start = Instant::now();
    assert_eq!(pair.call(1), Outcome::Reset, "{way:?}");
    let took = start.elapsed();
    assert!((10_000..13_000).contains(&took.as_millis()), "{way:?}: {took:?}");
    pair.receiver(way).event_with_reason("link_down", "dead");
    assert_eq!(ended(pair.receiver(way), "dead"), 1, "{way:?}");
    pair.recovers();
}

/// A header that promises 256 KiB which never come must not keep a link, nor what comes behind it, alive.
fn a_length_that_is_never_filled(way: Way) {
    let tamper = |frame: &[u8]| {
        let mut long = frame.to_vec();
        long[..4].copy_from_slice(&262_160_u32.to_be_bytes());
        vec![Op::Send(long)]
    };
    let pair = Attacked::planned(crate::frames::with_call(way, tamper));
    assert_eq!(pair.call(1), Outcome::Reset, "{way:?}");
    pair.receiver(way).event_with_reason("link_down", "dead");
    assert_eq!(ended(pair.receiver(way), "dead"), 1, "{way:?}");
    pair.recovers();
}

#[test]
fn in_real_time() {
    let cases: [fn(Way); 4] = [
        nine_seconds,
        eleven_seconds,
        nothing_passes,
        a_length_that_is_never_filled,
    ];
    let running: Vec<_> = cases
        .into_iter()
        .flat_map(|case| [Way::Up, Way::Down].map(|way| thread::spawn(move || case(way))))
        .collect();
    let failed = running.into_iter().filter_map(|case| case.join().err()).count();
    assert_eq!(failed, 0, "cases that failed");
}
