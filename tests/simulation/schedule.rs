//! Arbitrary schedules: the calls of two honest drivers in any order, and what must hold whatever it was.

use super::{App, Choices, Ending, MINUTE, MS, Options, Over, Pair, SECOND, Side, Taking, Time};
use wa_sidecar::wire::message::{Code, GoAway};

/// Streams of one schedule, so that its end can be waited for.
const MOST_STREAMS: usize = 60;

fn plan(choices: &mut Choices<'_>, from_initiator: bool) -> App {
    let sends = match choices.below(4) {
        0 => 0,
        1 => choices.size(10),
        _ => choices.size(18),
    };
    let ending = *choices.of(&[
        Ending::Fin,
        Ending::Fin,
        Ending::FinAfterInput,
        Ending::FinAfterInput,
        Ending::Open,
        Ending::Break,
        Ending::FinAndStop,
    ]);
    App::new(0, from_initiator)
        .sending(sends, ending)
        .taking(taking(choices))
}

fn taking(choices: &mut Choices<'_>) -> Taking {
    match choices.below(4) {
        0 => Taking::Allowance(choices.size(16)),
        1 => Taking::PerSecond(1 + choices.size(20)),
        _ => Taking::All,
    }
}

/// Runs `steps` calls, then lets everything come to its end and judges it.
pub fn run(choices: &mut Choices<'_>, steps: usize) {
    let options = Options {
        seed: choices.number(),
        budget: *choices.of(&[64 << 10, 1 << 20, 16 << 20]),
        max_streams: *choices.of(&[2, 8, 64]),
        skew_ms: choices.below(19_801) as i64 - 9_900,
        rate_ppm: choices.below(1001) as i64 - 500,
        delay: choices.below(60) * MS + choices.below(1000),
        ..Options::default()
    };
    let seed = options.seed;
    let mut pair = Pair::new(options);
    pair.ab.largest_piece = 100 + choices.size(17) as usize;
    pair.ba.largest_piece = 100 + choices.size(17) as usize;
    let mut plans = super::Random(seed);
    pair.b.serve = Box::new(move |id| {
        let mut choices = Choices::seeded(plans.next());
        Some(App {
            id,
            ..plan(&mut choices, false)
        })
    });
    for _ in 0..steps {
        if choices.is_over() {
            break;
        }
        step(&mut pair, choices);
        assert_honest(&pair);
    }
    finish(&mut pair, choices.chance(50));
}

#[track_caller]
fn assert_honest(pair: &Pair) {
    for side in [&pair.a, &pair.b] {
        assert!(
            matches!(side.over, None | Some(Over::Closed)),
            "between honest links: {:?}\na to b {}\nb to a {}\n{}",
            side.over,
            pair.ab.describe(),
            pair.ba.describe(),
            waiting(pair)
        );
    }
}

fn call<T>(side: &mut Side, result: Result<T, wa_sidecar::link::Fatal>, out: &mut super::Path) {
    if let Err(fatal) = result {
        side.end_by(Over::Fatal(fatal), out);
    }
}

fn step(pair: &mut Pair, choices: &mut Choices<'_>) {
    let t = pair.t;
    let at_a = choices.chance(50);
    let kind = choices.below(100);
    {
        let Pair {
            a, b, ab, ba, random, ..
        } = pair;
        let (side, input, out) = if at_a { (&mut *a, ba, ab) } else { (&mut *b, ab, ba) };
        if side.over.is_some() {
            return run_for(pair, SECOND);
        }
        match kind {
            0..=14 => {
                let streams = side.apps.len();
                if at_a && streams < MOST_STREAMS && !side.link.is_draining() {
                    let app = plan(choices, true);
                    if side.link.streams() < pair.options.max_streams as usize {
                        let _ = side.link_open(app, t);
                    }
                }
            }
            15..=29 => {
                let result = side.flush(t, out);
                call(side, result, out);
            }
            30..=44 => {
                input.pump(t);
                let result = side.read(t, input, random);
                call(side, result, out);
            }
            45..=59 => {
                side.apps_turn(t);
            }
            60..=64 => {
                let result = side.tick(t);
                call(side, result, out);
            }
            65..=74 => {
                // An app changes its mind.
                let ids: Vec<u32> = side.apps.keys().copied().collect();
                if !ids.is_empty() {
                    let app = side.apps.get_mut(choices.of(&ids)).expect("there");
                    if choices.chance(70) {
                        app.take(taking(choices));
                    } else if !app.output_ended {
                        app.ending = plan(choices, true).ending;
                        app.sends = app.sent + choices.size(16);
                        app.ready = true;
                    }
                }
            }
            75..=79 => out.largest_write = 200 + choices.size(18) as usize,
            80 => out.bytes_per_second = Some(32_000 + choices.size(24)),
            81 => out.bytes_per_second = None,
            82 if choices.chance(20) => side.link.goaway(GoAway::Shutdown),
            83 if at_a => side.link.rekey_now(side.clock.now(t).instant),
            84 => side.clock.wall_offset_ms += choices.below(7_200_000) as i64 - 3_600_000,
            // An app dies, and its task lets go at once.
            85 => {
                let ids: Vec<u32> = side
                    .apps
                    .iter()
                    .filter(|(_, app)| !app.done)
                    .map(|(&id, _)| id)
                    .collect();
                if !ids.is_empty() {
                    let id = *choices.of(&ids);
                    if choices.chance(50) {
                        side.link.abort(id, Code::AppReset);
                    }
                    side.link.release(id);
                    side.apps.get_mut(&id).expect("there").die();
                }
            }
            _ => {}
        }
    }
    match kind {
        86..=94 => run_for(pair, choices.below(20) * MS),
        95..=97 => run_for(pair, choices.below(2_000) * MS),
        // Nobody notices for a while.
        98 => {
            pair.ab.partitioned = true;
            pair.ba.partitioned = true;
            run_for(pair, choices.below(4_000) * MS);
            pair.ab.partitioned = false;
            pair.ba.partitioned = false;
            run_for(pair, 200 * MS);
        }
        _ => {}
    }
}

fn run_for(pair: &mut Pair, time: Time) {
    pair.run_for(time);
}

/// `quietly`: everybody stops sending before the end.
fn finish(pair: &mut Pair, quietly: bool) {
    heal(pair);
    pair.run_for(SECOND);
    if quietly {
        at_rest(pair);
    }
    for side in [&mut pair.a, &mut pair.b] {
        for app in side.apps.values_mut() {
            app.take(Taking::All);
            if app.ending == Ending::Open || app.ending == Ending::FinAfterInput {
                app.ending = Ending::Fin;
            }
        }
    }
    let done = |side: &Side| side.link.streams() == 0 && side.apps.values().all(|app| app.done);
    let ended = pair.run_while_not(5 * MINUTE, |p| done(&p.a) && done(&p.b));
    assert_honest(pair);
    assert!(ended, "somebody waits for ever:\n{}", waiting(pair));
    whole(pair);
    for side in [&pair.a, &pair.b] {
        assert_eq!((side.link.streams(), side.link.live_streams()), (0, 0));
        assert_eq!(side.counters.streams_open.get(), 0);
        let ends: u64 = side.counters.streams_ended.iter().map(|c| c.get()).sum();
        assert_eq!(ends, side.counters.streams_opened.get());
        assert_eq!(side.budget.free().1, side.budget.total() / 2, "growth came back");
    }
    pair.a.link.goaway(GoAway::Shutdown);
    pair.run_for(3 * SECOND);
    assert_eq!((&pair.a.over, &pair.b.over), (&Some(Over::Closed), &Some(Over::Closed)));
}

fn heal(pair: &mut Pair) {
    for path in [&mut pair.ab, &mut pair.ba] {
        path.bytes_per_second = None;
        path.largest_write = 0;
    }
}

/// Nobody sends, everybody takes: then what was granted is what was consumed and the window, and both ends agree.
fn at_rest(pair: &mut Pair) {
    for side in [&mut pair.a, &mut pair.b] {
        for app in side.apps.values_mut() {
            app.sends = app.sends.min(app.sent);
            app.take(Taking::All);
            if !app.output_ended {
                app.ending = Ending::Open;
            }
        }
    }
    pair.run_for(6 * SECOND);
    assert_honest(pair);
    for (side, other) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for (&id, app) in &side.apps {
            let Some(peer) = other.apps.get(&id) else { continue };
            let over = |app: &App| app.done || app.output_ended || app.reset.is_some();
            if over(app) || over(peer) || app.fin_arrived || peer.fin_arrived {
                continue;
            }
            let (mine, theirs) = (
                side.link.credit(id).expect("open"),
                other.link.credit(id).expect("open"),
            );
            assert_eq!(mine.granted, mine.consumed + mine.window, "stream {id}: {mine:?}");
            assert_eq!(
                (mine.received, mine.consumed),
                (theirs.sent, theirs.sent),
                "stream {id}"
            );
            assert_eq!(theirs.limit, mine.granted, "stream {id}");
        }
    }
}

/// Input that ended in order was whole.
fn whole(pair: &Pair) {
    for (side, other) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for (&id, app) in &side.apps {
            let sent = other.apps.get(&id).map_or(0, |peer| peer.sent);
            assert!(app.received <= sent);
            if app.input_ended {
                assert_eq!(app.received, sent, "stream {id} ended in order and is not whole");
                assert!(other.apps[&id].output_ended);
            } else {
                let gone = app.reset.is_some() || app.died;
                let left = matches!(app.ending, Ending::Break | Ending::FinAndStop);
                assert!(gone || left, "stream {id} has no end: {app:?}");
            }
        }
    }
}

fn waiting(pair: &Pair) -> String {
    let mut out = format!("t = {} ms, a {:?}, b {:?}\n", pair.t / MS, pair.a.over, pair.b.over);
    for (name, side) in [("a", &pair.a), ("b", &pair.b)] {
        for (id, app) in side.apps.iter().filter(|(_, app)| !app.done) {
            out += &format!("{name} {id}: {app:?} {:?}\n", side.link.credit(*id));
        }
    }
    out
}
