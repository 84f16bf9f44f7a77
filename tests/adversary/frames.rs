//! Frames that are altered, dropped, repeated, swapped, reflected, inserted, truncated: each ends its link for the right reason.

use crate::harness::Sidecar;
use crate::middlebox::{Cases, HEADER_LEN, Op, Plan, TAG_LEN};
use crate::{Attacked, Outcome, ended, refused};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;

/// What is done with a frame, and the reason that its receiver must give.
type Tamper = Box<dyn Fn(&[u8]) -> (&'static str, Vec<Op>) + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// A frame that carries the bytes of a call, and not only signs of life.
pub fn is_call(frame: &[u8]) -> bool {
    frame.len() > 200
}

/// Does `tamper` once, with the first frame of a call; what else there is passes.
pub fn with_call(way: Way, mut tamper: impl FnMut(&[u8]) -> Vec<Op> + Send + 'static) -> Plan {
    let mut done = false;
    let script = move |place: usize, bytes: &[u8]| {
        if place > 0 && !done && is_call(bytes) {
            done = true;
            return tamper(bytes);
        }
        vec![Op::Send(bytes.to_vec())]
    };
    match way {
        Way::Up => Plan::up(script),
        Way::Down => Plan::down(script),
    }
}

impl Attacked {
    pub fn receiver(&self, way: Way) -> &Sidecar {
        match way {
            Way::Up => &self.core,
            Way::Down => &self.web,
        }
    }

    pub fn sender(&self, way: Way) -> &Sidecar {
        match way {
            Way::Up => &self.web,
            Way::Down => &self.core,
        }
    }
}

/// Runs each case on a link of its own, in `lanes` pairs at once. Every call is reset, every link is refused for its reason,
/// and each pair is whole afterwards.
fn sweep(way: Way, cases: Vec<Tamper>, lanes: usize) {
    let mut parts: Vec<Vec<Tamper>> = (0..lanes).map(|_| Vec::new()).collect();
    for (i, case) in cases.into_iter().enumerate() {
        parts[i % lanes].push(case);
    }
    let lanes: Vec<_> = parts
        .into_iter()
        .map(|cases| thread::spawn(move || lane(way, cases)))
        .collect();
    for lane in lanes {
        lane.join().expect("a lane");
    }
}

fn lane(way: Way, cases: Vec<Tamper>) {
    let total = cases.len() as u32;
    let expected: Arc<Mutex<BTreeMap<&str, u32>>> = Arc::default();
    let cases = Cases::new(cases);
    let (all, reasons) = (cases.clone(), Arc::clone(&expected));
    let pair = Attacked::planned_each(move || {
        let (cases, expected) = (all.clone(), Arc::clone(&reasons));
        with_call(way, move |frame| {
            let Some(tamper) = cases.next() else {
                return vec![Op::Send(frame.to_vec())];
            };
            let (reason, ops) = tamper(frame);
            *expected.lock().expect("lock").entry(reason).or_insert(0) += 1;
            ops
        })
    });
    while cases.left() > 0 {
        let outcome = pair.call(1);
        let left = cases.left();
        assert_eq!(outcome, Outcome::Reset, "{left} cases left: {}", pair.middlebox.sizes());
    }
    pair.recovers();
    let (receiver, sender) = (pair.receiver(way), pair.sender(way));
    let reasons = ["bad_length", "bad_counter", "stale", "bad_tag", "protocol"];
    let got: BTreeMap<&str, u32> = reasons.map(|reason| (reason, refused(receiver, reason))).into();
    let got: BTreeMap<&str, u32> = got.into_iter().filter(|(_, n)| *n > 0).collect();
    assert_eq!(got, *expected.lock().expect("lock"), "frames refused by the receiver");
    assert_eq!(ended(sender, "disconnected"), total, "links lost at the sender");
    let delivered = if way == Way::Up { 1 } else { total + 1 };
    assert_eq!(
        pair.upstream.whole(),
        delivered as usize,
        "requests that the upstream app saw whole"
    );
}

/// Where a bit is.
#[derive(Debug, Clone, Copy)]
enum At {
    Header(usize),
    Ciphertext(usize),
    Tag(usize),
}

/// Flips one bit, and follows it with what a receiver that believes a longer length waits for.
fn flip(at: At, bit: usize) -> Tamper {
    Box::new(move |frame| {
        let mut altered = frame.to_vec();
        let byte = match at {
            At::Header(i) => i,
            At::Ciphertext(i) => HEADER_LEN + i % (frame.len() - HEADER_LEN - TAG_LEN),
            At::Tag(i) => frame.len() - TAG_LEN + i,
        };
        altered[byte] ^= 1 << bit;
        let length = u32::from_be_bytes(*altered.first_chunk().expect("a header"));
        let reason = match byte {
            0..4 if !(17..=262_160).contains(&length) => "bad_length",
            4..12 => "bad_counter",
            // 2^14 ms and more.
            12..18 => "stale",
            18 if bit >= 6 => "stale",
            _ => "bad_tag",
        };
        if byte < 4 {
            altered.extend([0; 300_000]);
        }
        (reason, vec![Op::Send(altered)])
    })
}

/// Every bit of header and tag, one bit of each byte of ciphertext.
fn every_flip() -> Vec<Tamper> {
    let mut cases = Vec::new();
    for bit in 0..8 {
        cases.extend((0..HEADER_LEN).map(|i| flip(At::Header(i), bit)));
        cases.extend((0..TAG_LEN).map(|i| flip(At::Tag(i), bit)));
    }
    cases.extend((0..260).map(|i| flip(At::Ciphertext(i), i % 8)));
    cases
}

#[test]
fn every_flipped_bit_of_a_request_ends_the_link() {
    sweep(Way::Up, every_flip(), 32);
}

#[test]
fn every_flipped_bit_of_an_answer_ends_the_link() {
    sweep(Way::Down, every_flip(), 32);
}

/// A frame of the length and counter that are due, sealed by nobody.
fn forged(frame: &[u8]) -> Vec<u8> {
    let mut forged = frame.to_vec();
    forged[HEADER_LEN..].fill(0x5a);
    forged
}

/// Does `tamper` once with the first frame of a call and again with each frame behind it.
fn from_call_on(way: Way, mut tamper: impl FnMut(usize, &[u8]) -> Vec<Op> + Send + 'static) -> Plan {
    let mut since = None;
    let script = move |place: usize, bytes: &[u8]| {
        if place > 0 && (since.is_some() || is_call(bytes)) {
            let first = *since.get_or_insert(place);
            return tamper(place - first, bytes);
        }
        vec![Op::Send(bytes.to_vec())]
    };
    match way {
        Way::Up => Plan::up(script),
        Way::Down => Plan::down(script),
    }
}

/// The link ends at the receiver for `reason`, the call is reset, the pair recovers.
fn ends(way: Way, reason: &str, pair: &Attacked, plan: Plan) {
    let before = refused(pair.receiver(way), reason);
    let lost = ended(pair.sender(way), "disconnected");
    pair.middlebox.plan(plan);
    pair.middlebox.cut();
    let outcome = pair.call_on_a_new_link();
    assert_eq!(outcome, Outcome::Reset, "{way:?} {reason}");
    pair.recovers();
    assert_eq!(refused(pair.receiver(way), reason), before + 1, "{way:?} {reason}");
    // One for the cut that made room for the plan.
    assert_eq!(ended(pair.sender(way), "disconnected"), lost + 2, "{way:?} {reason}");
}

#[test]
fn what_is_dropped_swapped_inserted_or_truncated_ends_the_link() {
    let pair = Attacked::start();
    pair.recovers();
    for way in [Way::Up, Way::Down] {
        ends(way, "bad_counter", &pair, with_call(way, |_| Vec::new()));
        let mut held = Vec::new();
        let swap = from_call_on(way, move |since, frame| match since {
            0 => {
                held = frame.to_vec();
                Vec::new()
            }
            1 => vec![Op::Send(frame.to_vec()), Op::Send(held.clone())],
            _ => Vec::new(),
        });
        ends(way, "bad_counter", &pair, swap);
        let insert = with_call(way, |frame| vec![Op::Send(forged(frame)), Op::Send(frame.to_vec())]);
        ends(way, "bad_tag", &pair, insert);
        let truncate = with_call(way, |frame| vec![Op::Send(frame[..frame.len() - 1].to_vec())]);
        ends(way, "bad_tag", &pair, truncate);
        let shorten = with_call(way, |frame| {
            let mut short = frame[..frame.len() - 1].to_vec();
            let length = (short.len() - HEADER_LEN) as u32;
            short[..4].copy_from_slice(&length.to_be_bytes());
            vec![Op::Send(short)]
        });
        ends(way, "bad_tag", &pair, shorten);
        let empty = with_call(way, |frame| {
            let mut empty = frame[..HEADER_LEN + TAG_LEN].to_vec();
            empty[..4].copy_from_slice(&16_u32.to_be_bytes());
            vec![Op::Send(empty)]
        });
        ends(way, "bad_length", &pair, empty);
    }
}

#[test]
fn a_frame_of_another_link_or_of_the_other_direction_does_not_open() {
    let pair = Attacked::start();
    // Frames enough: the call of a later link may come behind some signs of life.
    (0..10).for_each(|_| pair.recovers());
    let recorded = pair.middlebox.recording(0);
    for way in [Way::Up, Way::Down] {
        // Counters start at 0 on every link, and the stamp is a moment old: all that is wrong is the key.
        let (own, other) = match way {
            Way::Up => (recorded.up.clone(), recorded.down.clone()),
            Way::Down => (recorded.down.clone(), recorded.up.clone()),
        };
        for units in [own, other] {
            let plan = from_call_on(way, move |_, frame| {
                let counter = &frame[4..12];
                let same = units[1..].iter().find(|unit| &unit[4..12] == counter);
                vec![Op::Send(same.expect("a frame of this counter").clone())]
            });
            ends(way, "bad_tag", &pair, plan);
        }
    }
}

#[test]
fn a_reflected_frame_ends_the_link_at_its_sender() {
    let pair = Attacked::start();
    pair.recovers();
    // The counters of both directions are the same now: none has passed but the handshake.
    let plan = Plan::up(|place, bytes| match place {
        1 => vec![Op::Back(bytes.to_vec())],
        _ => vec![Op::Send(bytes.to_vec())],
    });
    pair.middlebox.plan(plan);
    pair.middlebox.cut();
    pair.web
        .until_metric("wa_sidecar_frames_refused_total{reason=\"bad_tag\"}", |n| n == 1.0);
    pair.recovers();
    for way in [Way::Up, Way::Down] {
        let reflect = from_call_on(way, |since, frame| match since {
            0 => vec![Op::Back(frame.to_vec())],
            _ => Vec::new(),
        });
        pair.middlebox.plan(reflect);
        pair.middlebox.cut();
        assert_eq!(pair.call_on_a_new_link(), Outcome::Reset);
        pair.recovers();
        let sender = pair.sender(way);
        let whole = refused(sender, "bad_tag") + refused(sender, "bad_counter");
        assert_eq!(whole, if way == Way::Up { 2 } else { 1 }, "{way:?}");
    }
}

#[test]
fn a_repeated_frame_is_taken_once() {
    let pair = Attacked::start();
    pair.recovers();
    for way in [Way::Up, Way::Down] {
        pair.middlebox
            .plan(with_call(way, |frame| vec![Op::Send([frame, frame].concat())]));
        pair.middlebox.cut();
        // What came before the repetition may have been all of it.
        let _ = pair.call_on_a_new_link();
        pair.receiver(way)
            .until_metric("wa_sidecar_frames_refused_total{reason=\"bad_counter\"}", |n| n == 1.0);
        pair.recovers();
    }
}
