//! A reader that stalls, while everybody else goes on.

use super::simulation::*;

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
