//! Programs that nobody here wrote, talking through a real pair: PHP as the Webapp, nginx, databases, terminals and more.
//!
//! They come from the Debian packages in `.ci/packages`; one that is missing fails the tests. What takes longer than a
//! change should wait is in `long`, and run by `.ci/long`.

mod account;
mod coreapp;
#[path = "../harness/mod.rs"]
mod harness;
mod http;
mod http2;
mod iperf3;
mod long;
mod nginx;
mod php;
mod postgres;
mod redis;
mod ssh;
mod tools;
mod variants;
mod websocket;
