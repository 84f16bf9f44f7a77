//! Two honest links under arbitrary schedules: credit at rest, nobody waits for ever, what arrives is what was sent.
//!
//! `WA_PROPERTY_CASES=100000 cargo test --release --test property` runs for longer; `WA_PROPERTY_SEED=n` runs case n alone.

mod simulation;

use simulation::{Choices, schedule};
use std::panic::catch_unwind;

const STEPS: usize = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn honest_links_under_any_schedule() {
    let cases = match number("WA_PROPERTY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WA_PROPERTY_CASES").unwrap_or(1_000),
    };
    for case in cases {
        let fails = |steps| catch_unwind(|| schedule::run(&mut Choices::seeded(case), steps)).is_err();
        if fails(STEPS) {
            // The shortest schedule of the same seed that fails too.
            let shortest = (0..=STEPS).step_by(5).find(|&steps| fails(steps)).unwrap_or(STEPS);
            panic!("case {case} fails, after {shortest} steps already");
        }
    }
}
