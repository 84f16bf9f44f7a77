//! A pair of links on virtual time: every way a stream can end, credit, the clock rule, REKEY, a slow line.

#[path = "../simulation/mod.rs"]
mod simulation;

mod clock;
mod confirmation;
mod credit;
mod pace;
mod rekey;
mod stall;
mod streams;
mod table;
