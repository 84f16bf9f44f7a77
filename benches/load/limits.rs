//! Open files: a connection is one, and one of 10,000 streams two in a relay. Children inherit what is raised here.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const WANTED: u64 = 65_536;

/// How many files a process may have open now.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(WANTED).max(WANTED);
    let raised = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    // Only root may raise the hard limit; anybody may raise the soft one to it.
    let soft = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        let _ = setrlimit(Resource::Nofile, soft);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
