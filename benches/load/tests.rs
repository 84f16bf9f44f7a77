//! The load generator's own tests: all of it but `main`, against servers that misbehave.

#![allow(dead_code)] // what only `main` calls

mod address;
mod answer;
mod client;
mod cpu;
mod fault;
mod figures;
mod flags;
mod limits;
mod machine;
mod outcome;
mod output;
mod page;
mod pattern;
mod plan;
mod plot;
mod progress;
mod quantity;
mod run;
mod schedule;
mod serve;
mod tally;
mod work;

#[path = "tests/answers.rs"]
mod answers;
#[path = "tests/failures.rs"]
mod failures;
#[path = "tests/open_loop.rs"]
mod open_loop;
#[path = "tests/results.rs"]
mod results;

use std::{ffi::OsString, net::TcpListener, thread};

use flags::Invocation;
use outcome::{Heading, Outcome};
use run::Measured;

/// Runs what a command line says, without progress.
fn measure(arguments: &str) -> (Heading, Measured) {
    let typed = ["load"]
        .into_iter()
        .chain(arguments.split(' '))
        .chain(["--quiet"])
        .map(OsString::from);
    let Invocation::Run(options) = flags::parse(typed).unwrap() else {
        panic!("{arguments} measures nothing")
    };
    let (plan, heading) = plan::make(&options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let measured = runtime
        .block_on(run::run(&plan, &mut progress::Progress::new(true)))
        .unwrap();
    (heading, measured)
}

fn outcome(arguments: &str) -> Outcome {
    let (heading, measured) = measure(arguments);
    Outcome::new(heading, measured)
}

/// The far end that comes with the generator, on a port of its own.
fn far_end() -> String {
    let door = serve::bind("127.0.0.1:0").unwrap();
    let address = door.address();
    thread::spawn(move || door.serve(1));
    address
}

/// A server that treats each connection as `each` does, on a thread of its own.
fn server(each: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let each = std::sync::Arc::new(each);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let each = std::sync::Arc::clone(&each);
            thread::spawn(move || each(socket.unwrap()));
        }
    });
    address
}
