//! The comparison's own tests: its figures on numbers that are given, and one short round of the real thing. Nothing is timed.

#![allow(dead_code)] // what only `main` calls

mod figures;
mod flags;
mod generator;
mod iperf3;
#[path = "../load/limits.rs"]
mod limits;
#[path = "../load/machine.rs"]
mod machine;
mod material;
mod memory;
#[path = "../load/output.rs"]
mod output;
mod pair;
mod path;
mod peers;
mod probe;
mod processes;
#[path = "../load/quantity.rs"]
mod quantity;
mod report;
mod results;
mod rounds;
mod stage;
mod table;
mod verdict;
mod window;
mod works;

#[path = "tests/judging.rs"]
mod judging;
#[path = "tests/process.rs"]
mod process;

/// As in main.rs.
const FAILED: u8 = 70;
