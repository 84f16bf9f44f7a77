//! The load generator's own tests: its modules, without the command line.

#![allow(dead_code)] // each test takes what it needs

mod answer;
mod fault;

#[path = "tests/answers.rs"]
mod answers;
