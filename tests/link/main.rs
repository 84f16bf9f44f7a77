//! A pair of links on virtual time: every way a stream can end, credit, the clock rule, REKEY, a slow line.

#[path = "../simulation/mod.rs"]
mod simulation;

mod pace;
mod streams;
