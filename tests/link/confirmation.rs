//! Frame 0 (SPEC 3.6): before it the responder does nothing at all.

use super::simulation::*;
use wa_sidecar::link::{Event, Fatal};
use wa_sidecar::wire::message::{GoAway, Message};

#[test]
fn a_responder_is_silent_until_frame_0() {
    let mut raw = unconfirmed_responder(&Options::default());
    raw.link.goaway(GoAway::Shutdown);
    for _ in 0..100 {
        raw.advance(100 * MS).expect("the three seconds are the driver's");
        assert!(!raw.link.wants_transmit());
        assert_eq!(raw.receive(), []);
    }
    assert!(!raw.link.is_confirmed());
    assert_eq!(raw.send(|w| w.ping(1, 2)), Ok(vec![Event::Confirmed]));
    assert!(raw.link.is_confirmed());
    let said = raw.receive();
    assert!(matches!(said[0], Message::Pong { token: 1, .. }), "{said:?}");
    assert!(said.contains(&Message::GoAway { code: 0 }));
}

#[test]
fn a_wrong_frame_0_is_fatal() {
    let ping = |token: u64| {
        let mut bytes = vec![0x08];
        bytes.extend_from_slice(&token.to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes
    };
    let wrong: [(&str, Vec<u8>); 8] = [
        ("two PINGs", [ping(1), ping(2)].concat()),
        ("PONG", [vec![0x09], vec![0; 16]].concat()),
        ("OPEN", vec![0x01, 0, 0, 0, 1, 0]),
        ("PING and OPEN", [ping(1), vec![0x01, 0, 0, 0, 1, 0]].concat()),
        ("GOAWAY", vec![0x0d, 0]),
        ("unknown", vec![0x7f]),
        ("PING cut off", ping(1)[..16].to_vec()),
        ("too long", ping(1).into_iter().cycle().take(17 * 40).collect()),
    ];
    for (name, bytes) in wrong {
        let mut raw = unconfirmed_responder(&Options::default());
        let result = raw.send_bytes(&bytes);
        assert!(
            matches!(result, Err(Fatal::Link { .. } | Fatal::Malformed(_))),
            "{name}: {result:?}"
        );
        assert!(!raw.link.is_confirmed());
    }
}

#[test]
fn an_initiators_frame_0_is_one_ping_whatever_waits() {
    let mut pair = Pair::start();
    for _ in 0..5 {
        pair.open(App::new(0, true).sending(1000, Ending::Fin));
    }
    pair.a.link.goaway(GoAway::Shutdown);
    let now = pair.a.clock.now(pair.t);
    let first = pair
        .a
        .link
        .transmit(&mut pair.a.buffers, now)
        .expect("sealed")
        .expect("at once")
        .len();
    assert_eq!(first, 20 + 17 + 16);
    pair.run_for(SECOND);
    assert_eq!(pair.b.apps.len(), 5);
    pair.run_for(SECOND);
    assert_eq!((&pair.a.over, &pair.b.over), (&Some(Over::Closed), &Some(Over::Closed)));
}

/// Frame 0 byte by byte, and every other frame too.
#[test]
fn a_path_that_delivers_single_bytes_is_served() {
    let mut pair = Pair::start();
    pair.ab.largest_piece = 1;
    pair.ba.largest_piece = 1;
    pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(500, Ending::FinAfterInput)));
    pair.open(App::new(0, true).sending(2000, Ending::Fin));
    pair.run_for(2 * SECOND);
    pair.assert_at_rest();
}
