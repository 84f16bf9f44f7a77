//! The connection is cut at every byte, in each direction, by FIN and by RST: never an end in order at an app.

use crate::frames::{Way, with_call};
use crate::middlebox::{Cases, MESSAGE_LEN, Op, Plan};
use crate::{Attacked, Outcome, ended, handshakes};
use std::thread;
use std::time::Duration;

/// Passes `at` bytes and cuts.
fn cut_at(bytes: &[u8], at: usize, by: &Op) -> Vec<Op> {
    vec![Op::Send(bytes[..at].to_vec()), by.clone()]
}

#[test]
fn a_call_that_is_cut_at_any_byte_is_reset() {
    let lanes = [Way::Up, Way::Down].map(|way| (0..16).map(move |lane| thread::spawn(move || cut_calls(way, lane))));
    let lanes: Vec<_> = lanes.into_iter().flatten().collect();
    lanes.into_iter().for_each(|lane| lane.join().expect("a lane"));
}

fn cut_calls(way: Way, lane: usize) {
    // The smallest frame of a call.
    let cuts = (0..245).filter(move |at| at % 16 == lane);
    let cases = Cases::new(cuts.flat_map(|at| [(at, Op::Fin), (at, Op::Rst)]));
    let total = cases.left() as u32;
    let all = cases.clone();
    let pair = Attacked::planned_each(move || {
        let cases = all.clone();
        with_call(way, move |frame| match cases.next() {
            Some((at, by)) => cut_at(frame, at, &by),
            None => vec![Op::Send(frame.to_vec())],
        })
    });
    while cases.left() > 0 {
        let outcome = pair.call(1);
        assert_eq!(outcome, Outcome::Reset, "{way:?}, {} left", cases.left());
    }
    pair.recovers();
    for sidecar in [&pair.web, &pair.core] {
        assert_eq!(ended(sidecar, "disconnected"), total, "{way:?}");
    }
}

/// What is done with a unit.
pub type Act = Box<dyn Fn(&[u8]) -> Vec<Op> + Send>;

/// What is done with the unit at `place` of a direction.
pub struct Case {
    pub way: Way,
    pub place: usize,
    pub tamper: Act,
}

impl Case {
    fn cut(way: Way, place: usize, at: usize, by: Op) -> Self {
        let tamper = Box::new(move |unit: &[u8]| cut_at(unit, at.min(unit.len()), &by));
        Self { way, place, tamper }
    }
}

/// Each link is tampered with as the next case says, once it comes to that unit.
pub fn tamper_with_links(cases: &Cases<Case>) -> Attacked {
    let all = cases.clone();
    Attacked::planned_each(move || {
        let script = |way: Way| {
            let cases = all.clone();
            move |place: usize, bytes: &[u8]| match cases.next_if(|case| case.way == way && case.place == place) {
                Some(case) => (case.tamper)(bytes),
                None => vec![Op::Send(bytes.to_vec())],
            }
        };
        Plan {
            up: Box::new(script(Way::Up)),
            down: Box::new(script(Way::Down)),
        }
    })
}

/// The first frame of a direction is a PING or a PONG.
const FIRST_FRAME: usize = 53;

#[test]
fn a_link_that_is_cut_at_any_byte_of_its_first_frame_comes_back() {
    let ways = [
        (Way::Up, Op::Fin),
        (Way::Up, Op::Rst),
        (Way::Down, Op::Fin),
        (Way::Down, Op::Rst),
    ];
    let lanes = ways.map(|(way, by)| {
        (0..4).map(move |lane| {
            let by = by.clone();
            thread::spawn(move || cut_first_frames(way, &by, lane))
        })
    });
    let lanes: Vec<_> = lanes.into_iter().flatten().collect();
    lanes.into_iter().for_each(|lane| lane.join().expect("a lane"));
}

fn cut_first_frames(way: Way, by: &Op, lane: usize) {
    let cuts = (0..=FIRST_FRAME).filter(|at| at % 4 == lane);
    let partial = cuts.clone().filter(|&at| at < FIRST_FRAME).count() as u32;
    let cases = Cases::new(cuts.map(|at| Case::cut(way, 1, at, by.clone())));
    let total = cases.left() as u32;
    let pair = tamper_with_links(&cases);
    cases.until_taken();
    pair.recovers();
    assert_eq!(ended(&pair.web, "disconnected"), total);
    // Before frame 0 was whole there was no link at the responder.
    let (unconfirmed, lost) = (handshakes(&pair.core, "unconfirmed"), ended(&pair.core, "disconnected"));
    if way == Way::Up {
        assert!(unconfirmed >= partial, "{unconfirmed}");
    }
    assert!(unconfirmed + lost >= total, "{unconfirmed} and {lost} of {total}");
    assert_eq!(pair.upstream.connections(), 1, "no link but the last one had effects");
}

/// Whoever ends every link must not make the webapp dial in a loop: each handshake costs both ends work, log lines, and the
/// coreapp a place in its replay cache, which refuses everybody when it is full.
#[test]
fn links_that_are_cut_at_once_are_dialled_anew_with_a_pause() {
    let pair = Attacked::planned_each(|| {
        Plan::up(|place, bytes| match place {
            0 => vec![Op::Send(bytes.to_vec())],
            _ => vec![Op::Rst],
        })
    });
    let before = pair.middlebox.connections();
    thread::sleep(Duration::from_secs(2));
    let dialled = pair.middlebox.connections() - before;
    assert!((2..=30).contains(&dialled), "{dialled} in 2 s");
}

#[test]
fn a_handshake_that_is_cut_at_any_byte_gives_no_link() {
    let lanes: Vec<_> = (0..32)
        .map(|lane| thread::spawn(move || cut_handshakes(lane, 32)))
        .collect();
    lanes.into_iter().for_each(|lane| lane.join().expect("a lane"));
}

fn cut_handshakes(lane: usize, lanes: usize) {
    let cuts = (0..MESSAGE_LEN).filter(|at| at % lanes == lane).map(|at| {
        let turn = at / lanes;
        let way = if turn.is_multiple_of(2) { Way::Up } else { Way::Down };
        let by = if (turn / 2).is_multiple_of(2) { Op::Fin } else { Op::Rst };
        Case::cut(way, 0, at, by)
    });
    let cases = Cases::new(cuts);
    let cut = cases.left() as u32;
    // Every other one is of message 2, and every other one of those by FIN.
    let broken_off = cut / 4 - 1;
    let pair = tamper_with_links(&cases);
    cases.until_taken();
    pair.recovers();
    assert_eq!(handshakes(&pair.web, "accepted"), 1);
    let failed = handshakes(&pair.web, "unauthenticated") + handshakes(&pair.web, "disconnected");
    assert_eq!(failed, cut);
    // An answer that breaks off is not the silence that strangers get.
    assert!(handshakes(&pair.web, "disconnected") >= broken_off, "{broken_off}");
    assert_eq!(pair.upstream.connections(), 1, "no link but the last one had effects");
}
