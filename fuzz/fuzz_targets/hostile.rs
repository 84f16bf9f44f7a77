//! A link against a peer that holds the keys and keeps no rule.
#![no_main]

#[path = "../../tests/simulation/mod.rs"]
mod simulation;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    simulation::hostile::run(&mut simulation::Choices::Bytes(bytes), 2_000);
});
