//! SPEC section 7's table, row by row, against a peer that holds the keys: what is taken, ignored, fatal.

use super::simulation::*;
use wa_sidecar::link::{Event, Fatal, Role};
use wa_sidecar::wire::message::{Code, GoAway, Message};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Live, the peer's direction open.
    Open,
    PeerFin,
    PeerReset,
    /// Both ended; the app still holds its side.
    Closed,
    /// Both ended and forgotten.
    Forgotten,
    NotOpened,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Taken,
    Ignored,
    Refused,
}

const ID: u32 = 1;

/// A link with stream 1 in `state`.
fn in_state(role: Role, state: State) -> Raw {
    let mut raw = match role {
        Role::Responder => against_responder(&Options::default()),
        Role::Initiator => against_initiator(&Options::default()),
    };
    if state == State::NotOpened {
        return raw;
    }
    if role == Role::Responder {
        raw.send(|w| w.open(ID, b"")).expect("opened");
    } else {
        let now = raw.clock.now(raw.t).instant;
        assert_eq!(raw.link.open(&mut raw.buffers, b"", now), Ok(ID));
        raw.receive();
    }
    match state {
        State::Open | State::NotOpened => {}
        State::PeerFin => assert_eq!(raw.send(|w| w.fin(ID, 0)), Ok(vec![Event::Fin { id: ID }])),
        // The answer is not yet sealed: still live.
        State::PeerReset => {
            raw.send(|w| w.reset(ID, Code::AppReset)).expect("taken");
        }
        State::Closed | State::Forgotten => {
            raw.send(|w| w.fin(ID, 0)).expect("taken");
            raw.link.fin(ID);
            assert!(raw.receive().contains(&Message::Fin { id: ID, offset: 0 }));
            assert_eq!(raw.link.live_streams(), 0);
            if state == State::Forgotten {
                raw.link.release(ID);
                assert_eq!(raw.link.streams(), 0);
            }
        }
    }
    raw
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Fin,
    Reset,
    Yield,
    Credit,
    Stop,
}

fn send(raw: &mut Raw, kind: Kind, id: u32) -> Result<Vec<Event>, Fatal> {
    match kind {
        Kind::Data => raw.data(id, 1),
        Kind::Fin => raw.send(|w| w.fin(id, 0)),
        Kind::Reset => raw.send(|w| w.reset(id, Code::AppReset)),
        Kind::Yield => raw.send(|w| w.yield_back(id, 1 << 20)),
        Kind::Credit => raw.send(|w| w.credit(id, 1 << 30)),
        Kind::Stop => raw.send(|w| w.stop(id, Code::AppReset)),
    }
}

#[test]
fn every_cell() {
    use Kind::*;
    use Outcome::*;
    use State::*;
    let states = [Open, PeerFin, PeerReset, State::Closed, Forgotten, NotOpened];
    let ends = [
        Taken,
        Outcome::Refused,
        Outcome::Refused,
        Outcome::Refused,
        Outcome::Refused,
        Outcome::Refused,
    ];
    let asks = [Taken, Taken, Outcome::Refused, Ignored, Ignored, Outcome::Refused];
    for role in [Role::Responder, Role::Initiator] {
        for (kind, outcomes) in [(Data, ends), (Fin, ends), (Reset, ends), (Credit, asks), (Stop, asks)] {
            for (state, outcome) in states.into_iter().zip(outcomes) {
                // SPEC 9.3: before the sender's FIN a STOP is fatal.
                let outcome = if (kind, state) == (Stop, Open) {
                    Outcome::Refused
                } else {
                    outcome
                };
                let mut raw = in_state(role, state);
                let result = send(&mut raw, kind, ID);
                let context = format!("{role:?}: {kind:?} on {state:?}: {result:?}");
                match outcome {
                    Outcome::Refused => assert!(matches!(result, Err(Fatal::Stream { id: ID, .. })), "{context}"),
                    Ignored => assert_eq!(result, Ok(vec![]), "{context}"),
                    // CREDIT wakes only who waits for it.
                    Taken => assert!(
                        result.is_ok_and(|events| (kind == Credit) == events.is_empty()),
                        "{context}"
                    ),
                }
            }
        }
        // YIELD where the peer's direction is over, or never was.
        for state in states.into_iter().skip(1) {
            let mut raw = in_state(role, state);
            assert!(send(&mut raw, Yield, ID).is_err(), "{state:?}");
        }
        for kind in [Data, Fin, Reset, Yield, Credit, Stop] {
            assert!(send(&mut in_state(role, Open), kind, 0).is_err(), "{kind:?} on id 0");
            assert!(send(&mut in_state(role, Open), kind, 2).is_err(), "{kind:?} on id 2");
            assert!(send(&mut in_state(role, Open), kind, u32::MAX).is_err());
        }
    }
}

#[test]
fn ids_and_opens() {
    let mut raw = against_responder(&Options::default());
    assert!(raw.send(|w| w.open(2, b"")).is_err(), "the first id is 1");
    let mut raw = in_state(Role::Responder, State::Open);
    assert!(raw.send(|w| w.open(1, b"")).is_err(), "used");
    let mut raw = in_state(Role::Responder, State::Forgotten);
    assert!(raw.send(|w| w.open(1, b"")).is_err(), "used and closed");
    let mut raw = against_initiator(&Options::default());
    assert!(raw.send(|w| w.open(1, b"")).is_err(), "by the responder");
    let mut raw = against_responder(&Options {
        max_streams: 3,
        ..Options::default()
    });
    for id in 1..=3 {
        raw.send(|w| w.open(id, b"svc")).expect("room");
    }
    assert!(raw.send(|w| w.open(4, b"")).is_err(), "over the limit of the link");
    let mut raw = against_responder(&Options::default());
    assert!(raw.send(|w| w.goaway(GoAway::Shutdown)).is_ok());
    assert!(raw.send(|w| w.open(1, b"")).is_err(), "after the initiator's GOAWAY");
    let mut raw = against_responder(&Options::default());
    raw.send(|w| w.goaway(GoAway::Shutdown)).expect("first");
    assert!(raw.send(|w| w.goaway(GoAway::Shutdown)).is_err(), "a second GOAWAY");
    // OPEN that crosses the responder's GOAWAY.
    let mut raw = against_responder(&Options::default());
    raw.link.goaway(GoAway::Shutdown);
    assert_eq!(raw.receive(), [Message::GoAway { code: 0 }]);
    assert_eq!(raw.send(|w| w.open(1, b"")).map(|events| events.len()), Ok(1));
}

#[test]
fn offsets_and_limits() {
    for (fin, ok) in [(0, false), (9, false), (10, true), (11, false), (u64::MAX, false)] {
        let mut raw = in_state(Role::Responder, State::Open);
        raw.data(ID, 10).expect("within credit");
        assert_eq!(raw.send(|w| w.fin(ID, fin)).is_ok(), ok, "FIN at {fin} of 10");
    }
    let window = in_state(Role::Responder, State::Open).window_of_link;
    for (n, ok) in [(window, true), (window + 1, false)] {
        let mut raw = in_state(Role::Responder, State::Open);
        assert_eq!(
            raw.data(ID, n as usize).is_ok(),
            ok,
            "{n} bytes on a window of {window}"
        );
    }
    let first = u64::from(in_state(Role::Responder, State::Open).window_of_peer);
    for (limit, ok) in [
        (0, false),
        (first - 1, false),
        (first, false),
        (first + 1, true),
        ((1 << 62) - 1, true),
        (1 << 62, false),
        (u64::MAX, false),
    ] {
        let mut raw = in_state(Role::Responder, State::Open);
        assert_eq!(
            raw.send(|w| w.credit(ID, limit)).is_ok(),
            ok,
            "CREDIT {limit} over {first}"
        );
    }
    // CREDIT that goes back is fatal also while the own direction is about to end, and ignored once it has.
    let mut raw = in_state(Role::Responder, State::Open);
    raw.link.fin(ID);
    raw.receive();
    assert_eq!(raw.send(|w| w.credit(ID, first + 5)), Ok(vec![]));
}

#[test]
fn late_data_on_a_stream_that_was_reset_is_checked_and_dropped_until_the_answer() {
    for role in [Role::Responder, Role::Initiator] {
        let mut raw = in_state(role, State::Open);
        let window = raw.window_of_link as usize;
        assert_eq!(raw.data(ID, 1000).expect("taken").len(), 1);
        raw.link.abort(ID, Code::AppReset);
        raw.link.release(ID);
        assert!(raw.receive().contains(&Message::Reset { id: ID, code: 1 }));
        assert_eq!(raw.link.live_streams(), 1, "until the answer the id counts");
        assert_eq!(raw.data(ID, window - 1000), Ok(vec![]), "dropped, within credit");
        assert_eq!(raw.receive(), [], "no credit for it");
        let beyond = raw.data(ID, 1);
        assert!(beyond.is_err(), "beyond the credit: {beyond:?}");

        let mut raw = in_state(role, State::Open);
        raw.link.abort(ID, Code::AppReset);
        raw.link.release(ID);
        raw.receive();
        assert_eq!(raw.send(|w| w.reset(ID, Code::Answer)), Ok(vec![]));
        assert_eq!((raw.link.live_streams(), raw.link.streams()), (0, 0));
        assert!(raw.data(ID, 1).is_err(), "behind the answer");
    }
}

#[test]
fn a_reset_is_answered_once_and_not_after_the_own_end() {
    let mut raw = in_state(Role::Responder, State::Open);
    assert_eq!(
        raw.send(|w| w.reset(ID, Code::Draining)),
        Ok(vec![Event::Reset {
            id: ID,
            code: Code::Draining
        }])
    );
    assert_eq!(raw.receive(), [Message::Reset { id: ID, code: 8 }]);
    let mut raw = in_state(Role::Responder, State::Open);
    raw.link.fin(ID);
    raw.receive();
    raw.send(|w| w.reset(ID, Code::AppReset)).expect("taken");
    assert_eq!(raw.receive(), []);
    assert_eq!(raw.link.live_streams(), 0);
}

#[test]
fn stop_is_answered_by_reset_keeps_what_came_before_and_is_fatal_twice() {
    let mut raw = in_state(Role::Responder, State::Open);
    raw.data(ID, 3).expect("taken");
    raw.link.store(ID, b"ZZZ").expect("kept");
    raw.send(|w| w.fin(ID, 3)).expect("taken");
    assert_eq!(
        raw.send(|w| w.stop(ID, Code::AppReset)),
        Ok(vec![Event::Stop {
            id: ID,
            code: Code::AppReset
        }])
    );
    assert_eq!(raw.link.queued(ID)[0], b"ZZZ");
    assert!(raw.send(|w| w.stop(ID, Code::AppReset)).is_err());
    let mut raw = in_state(Role::Responder, State::PeerFin);
    raw.send(|w| w.stop(ID, Code::AppReset)).expect("taken");
    assert_eq!(raw.receive(), [Message::Reset { id: ID, code: 8 }]);
    assert_eq!(raw.send(|w| w.stop(ID, Code::AppReset)), Ok(vec![]), "closed: ignored");
}

#[test]
fn our_stop_follows_our_fin_and_is_not_sent_behind_the_peers_end() {
    let mut raw = in_state(Role::Responder, State::Open);
    raw.link.fin(ID);
    raw.link.abort(ID, Code::AppReset);
    raw.link.abort(ID, Code::AppReset);
    assert_eq!(
        raw.receive(),
        [Message::Fin { id: ID, offset: 0 }, Message::Stop { id: ID, code: 1 }]
    );
    assert_eq!(raw.data(ID, 5), Ok(vec![]), "dropped");
    let mut raw = in_state(Role::Responder, State::PeerFin);
    raw.link.fin(ID);
    raw.link.abort(ID, Code::AppReset);
    assert_eq!(raw.receive(), [Message::Fin { id: ID, offset: 0 }]);
}

#[test]
fn unknown_codes_are_code_0() {
    let mut raw = in_state(Role::Responder, State::Open);
    let mut reset = vec![0x06];
    reset.extend_from_slice(&ID.to_be_bytes());
    reset.push(200);
    assert_eq!(
        raw.send_bytes(&reset),
        Ok(vec![Event::Reset {
            id: ID,
            code: Code::Unspecified
        }])
    );
}

/// Streams that are opened and reset at a rate end the link (SPEC section 13).
#[test]
fn a_flood_of_resets_is_fatal_and_a_quick_client_is_not() {
    let mut raw = against_responder(&Options::default());
    let mut id = 0;
    let ended = loop {
        id += 1;
        let opened = raw.send(|w| w.open(id, b"") && w.reset(id, Code::AppReset));
        raw.link.release(id);
        match opened {
            Ok(_) => drop(raw.receive()),
            Err(fatal) => break fatal,
        }
    };
    assert!(matches!(ended, Fatal::Flood(_)), "{ended}");
    assert!(id > 4096, "{id}");
    let mut raw = against_responder(&Options::default());
    for id in 1..20_000 {
        raw.send(|w| w.open(id, b"") && w.reset(id, Code::AppReset))
            .expect("4,000 a second");
        raw.link.release(id);
        raw.t += SECOND / 4_000;
        raw.receive();
    }
}

/// A RESET that cannot be the answer to the link's own is the peer's doing, also on a stream that the link has refused.
#[test]
fn resets_of_streams_that_are_being_refused_count_as_a_flood() {
    let mut raw = against_responder(&Options {
        max_streams: 1,
        ..Options::default()
    });
    // Its app takes nothing, so the link is full though the wire holds no stream.
    raw.send(|w| w.open(1, b"") && w.fin(1, 0)).expect("taken");
    raw.link.fin(1);
    raw.receive();
    let ended = (2..20_000).find_map(|id| {
        let result = raw.send(|w| w.open(id, b"") && w.reset(id, Code::AppReset));
        raw.receive();
        result.err()
    });
    assert!(matches!(ended, Some(Fatal::Flood(_))), "{ended:?}");
}
