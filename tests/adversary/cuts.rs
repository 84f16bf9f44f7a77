//! The connection is cut at every byte, in each direction, by FIN and by RST: never an end in order at an app.

use crate::frames::{Way, with_call};
use crate::harness::eventually;
use crate::middlebox::{Cases, MESSAGE_LEN, Op, Plan};
use crate::{Attacked, Outcome, ended, handshakes};
use std::thread;

/// Passes `at` bytes and cuts.
fn cut_at(bytes: &[u8], at: usize, by: &Op) -> Vec<Op> {
    vec![Op::Send(bytes[..at].to_vec()), by.clone()]
}

#[test]
fn a_call_that_is_cut_at_any_byte_is_reset() {
    let lanes = [Way::Up, Way::Down].map(|way| (0..3).map(move |lane| thread::spawn(move || cut_calls(way, lane))));
    let lanes: Vec<_> = lanes.into_iter().flatten().collect();
    lanes.into_iter().for_each(|lane| lane.join().expect("a lane"));
}

fn cut_calls(way: Way, lane: usize) {
    // The smallest frame of a call.
    let cuts = (0..245).filter(move |at| at % 3 == lane);
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

/// Where the unit at `place` of a direction is cut.
#[derive(Debug)]
struct Cut {
    way: Way,
    place: usize,
    at: usize,
    by: Op,
}

/// Each link is cut as the next case says, once it comes to that unit.
fn cut_links(cases: &Cases<Cut>) -> Attacked {
    let all = cases.clone();
    Attacked::planned_each(move || {
        let script = |way: Way| {
            let cases = all.clone();
            move |place: usize, bytes: &[u8]| match cases.next_if(|cut| cut.way == way && cut.place == place) {
                Some(cut) => cut_at(bytes, cut.at.min(bytes.len()), &cut.by),
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
    let cases = (0..=FIRST_FRAME).flat_map(|at| {
        [
            (Way::Up, Op::Fin),
            (Way::Up, Op::Rst),
            (Way::Down, Op::Fin),
            (Way::Down, Op::Rst),
        ]
        .map(|(way, by)| Cut { way, place: 1, at, by })
    });
    let cases = Cases::new(cases);
    let total = cases.left() as u32;
    let pair = cut_links(&cases);
    eventually("all are cut", || (cases.left() == 0).then_some(()));
    pair.recovers();
    assert_eq!(ended(&pair.web, "disconnected"), total);
    // Before frame 0 was whole there was no link at the responder.
    let (unconfirmed, lost) = (handshakes(&pair.core, "unconfirmed"), ended(&pair.core, "disconnected"));
    assert!(unconfirmed >= 2 * FIRST_FRAME as u32, "{unconfirmed}");
    assert!(unconfirmed + lost >= total, "{unconfirmed} and {lost} of {total}");
    assert_eq!(pair.upstream.connections(), 1, "no link but the last one had effects");
}

#[test]
fn a_handshake_that_is_cut_at_any_byte_gives_no_link() {
    let lanes: Vec<_> = (0..8)
        .map(|lane| thread::spawn(move || cut_handshakes(lane, 8)))
        .collect();
    lanes.into_iter().for_each(|lane| lane.join().expect("a lane"));
}

fn cut_handshakes(lane: usize, lanes: usize) {
    // A link between two cuts keeps the pause short after which the next one is dialled.
    let short = || Cut {
        way: Way::Down,
        place: 1,
        at: FIRST_FRAME,
        by: Op::Rst,
    };
    let cuts = (0..MESSAGE_LEN).filter(|at| at % lanes == lane).flat_map(|at| {
        let turn = at / lanes;
        let way = if turn.is_multiple_of(2) { Way::Up } else { Way::Down };
        let by = if (turn / 2).is_multiple_of(2) { Op::Fin } else { Op::Rst };
        [Cut { way, place: 0, at, by }, short()]
    });
    let cases = Cases::new(cuts);
    let cut = cases.left() as u32 / 2;
    let pair = cut_links(&cases);
    eventually("all are cut", || (cases.left() == 0).then_some(()));
    pair.recovers();
    assert_eq!(handshakes(&pair.web, "accepted"), cut + 1);
    let failed = handshakes(&pair.web, "unauthenticated") + handshakes(&pair.web, "disconnected");
    assert_eq!(failed, cut);
    assert_eq!(pair.upstream.connections(), 1, "no link but the last one had effects");
}
