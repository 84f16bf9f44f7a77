//! The slowest line that is supported, 256 kbit/s (SPEC section 5): its own bulk must not turn stale on it.

use super::simulation::*;

const LINE: u64 = 256_000 / 8;

fn slow(options: Options) -> Pair {
    let mut pair = Pair::new(options);
    for path in [&mut pair.ab, &mut pair.ba] {
        path.bytes_per_second = Some(LINE);
    }
    pair
}

#[test]
fn bulk_both_ways_from_the_first_moment() {
    for delay in [5 * MS, 100 * MS] {
        let mut pair = slow(Options {
            delay,
            ..Options::default()
        });
        pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(u64::MAX / 4, Ending::Open)));
        for _ in 0..20 {
            pair.open(App::new(0, true).sending(u64::MAX / 4, Ending::Open));
        }
        pair.run_for(2 * MINUTE);
        pair.assert_alive();
        for side in [&pair.a, &pair.b] {
            let taken: u64 = side.apps.values().map(|app| app.received).sum();
            let line = 120 * LINE;
            assert!(taken > line * 8 / 10, "{taken} of {line}: the line is used");
        }
    }
}

/// PINGs that go through at once say nothing about the line.
#[test]
fn bulk_after_the_link_has_been_idle() {
    for streams in [1, 100] {
        let mut pair = slow(Options {
            delay: 20 * MS,
            ..Options::default()
        });
        pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(u64::MAX / 4, Ending::Open)));
        for round in 0..3 {
            pair.run_for((30 + round) * SECOND);
            let ids: Vec<u32> = (0..streams)
                .map(|_| pair.open(App::new(0, true).sending(u64::MAX / 4, Ending::Open)))
                .collect();
            pair.run_for(30 * SECOND);
            pair.assert_alive();
            for id in ids {
                let app = pair.a.apps.get_mut(&id).expect("there");
                app.sends = 0;
                app.ending = Ending::Break;
                app.ready = true;
            }
        }
        pair.run_for(10 * SECOND);
        pair.assert_at_rest();
    }
}

#[test]
fn the_measured_round_trip_stays_short_of_what_makes_a_mapping() {
    let mut pair = slow(Options {
        delay: 20 * MS,
        ..Options::default()
    });
    pair.b.serve = Box::new(|id| Some(App::new(id, false).sending(u64::MAX / 4, Ending::Open)));
    pair.run_for(10 * SECOND);
    for _ in 0..5 {
        pair.open(App::new(0, true).sending(u64::MAX / 4, Ending::Open));
    }
    pair.run_for(MINUTE);
    for side in [&pair.a, &pair.b] {
        let round_trip = side.link.round_trip().expect("measured");
        assert!(round_trip < seconds(1), "{round_trip:?}");
    }
}
