//! A reader that stalls, while everybody else goes on.

use super::simulation::*;
use wa_sidecar::link::Slot;
use wa_sidecar::wire::message::Code;

#[test]
fn one_reader_stalls_for_minutes_and_a_hundred_streams_go_on() {
    let mut pair = Pair::new(Options {
        delay: 10 * MS,
        ..Options::default()
    });
    pair.ab.bytes_per_second = Some(20_000_000);
    pair.ba.bytes_per_second = Some(20_000_000);
    // Both ways: the first two streams' readers stall, one at each end.
    pair.b.serve = Box::new(|id| {
        let app = App::new(id, false);
        Some(match id {
            1 => app.sending(10, Ending::FinAfterInput).taking(Taking::Allowance(5_000)),
            2 => app.sending(3_000_000, Ending::FinAfterInput),
            _ => app.sending(30_000, Ending::FinAfterInput),
        })
    });
    pair.open(App::new(0, true).sending(3_000_000, Ending::Fin));
    pair.open(
        App::new(0, true)
            .sending(10, Ending::Fin)
            .taking(Taking::Allowance(5_000)),
    );
    let mut finished = 0;
    // For three minutes there are always a hundred others.
    for _ in 0..60 {
        while pair.a.link.streams() < 102 {
            pair.open(App::new(0, true).sending(20_000, Ending::Fin));
        }
        pair.run_for(3 * SECOND);
        pair.assert_alive();
        for side in [&mut pair.a, &mut pair.b] {
            side.apps.retain(|&id, app| {
                if app.done {
                    assert!(app.input_ended && app.reset.is_none(), "stream {id}");
                    finished += 1;
                }
                !app.done
            });
            let (reserve, growth) = side.budget.free();
            assert!(reserve >= 4 << 20 && growth <= 8 << 20);
        }
    }
    assert!(finished > 2 * 60 * 99, "{finished}");
    assert_eq!((pair.b.apps[&1].received, pair.a.apps[&2].received), (5_000, 5_000));
    for (side, id) in [(&mut pair.b, 1), (&mut pair.a, 2)] {
        side.apps.get_mut(&id).expect("stalled").take(Taking::All);
    }
    pair.run_for(10 * SECOND);
    assert_eq!(
        (pair.b.apps[&1].received, pair.a.apps[&2].received),
        (3_000_000, 3_000_000)
    );
    assert!(pair.b.apps[&1].input_ended && pair.a.apps[&2].input_ended);
    pair.assert_at_rest();
}

/// Only who can use the room is woken for it: a turn given to one that has ended would be lost, and the next would wait for a tick.
#[test]
fn room_is_not_offered_to_streams_that_have_ended() {
    let mut raw = against_initiator(&Options::default());
    let now = raw.clock.now(raw.t).instant;
    let ids: Vec<u32> = (0..40)
        .map(|_| raw.link.open(&mut raw.buffers, b"", now).expect("room"))
        .collect();
    // One fills the frame, the others wait.
    let fill = |raw: &mut Raw, id| match raw.link.slot(&mut raw.buffers, id) {
        Slot::Room(room) => {
            let n = room.len();
            raw.link.commit(&mut raw.buffers, id, n);
            true
        }
        _ => false,
    };
    while fill(&mut raw, ids[0]) {}
    for &id in &ids[1..] {
        assert!(!fill(&mut raw, id), "the frame is full");
    }
    // All but three break: some have been let go, some are still to be.
    for &id in &ids[1..38] {
        raw.link.abort(id, Code::AppReset);
        if id % 2 == 0 {
            raw.link.release(id);
        }
    }
    raw.receive();
    let woken: Vec<u32> = std::iter::from_fn(|| raw.link.unpark()).collect();
    assert_eq!(woken, [1, 39, 40]);
}
