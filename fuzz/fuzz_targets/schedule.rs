//! Two honest links under any order of calls.
#![no_main]

#[path = "../../tests/simulation/mod.rs"]
mod simulation;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    simulation::schedule::run(&mut simulation::Choices::Bytes(bytes), 1_000);
});
