//! SIGTERM and SIGINT as two requests: drain, then end at once.
//!
//! Promises: the first signal cancels [`Stop::drain`], a second one [`Stop::now`]; neither is ever un-said.
//! Must not know: what draining is.

use std::{io, os::fd::AsFd};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How this process is asked to end. Clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Accept nothing new, let what is open end.
    pub drain: CancellationToken,
    /// Reset what is open.
    pub now: CancellationToken,
}

/// What tokio opens for a runtime that knows signals, and a few more.
const FILES: usize = 8;

/// A runtime to [`watch`] in, for this thread. The first one of a process makes a pair of sockets for signals, and tokio panics where
/// there are no more files for it: so whether there are is found out before.
pub fn runtime() -> io::Result<Runtime> {
    let files = (0..FILES).map(|_| io::stderr().as_fd().try_clone_to_owned());
    drop(files.collect::<io::Result<Vec<_>>>()?);
    Builder::new_current_thread().enable_all().build()
}

/// Listens from now on, in a task of the current runtime.
pub fn watch() -> io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = Stop::default();
    let asked = stop.clone();
    tokio::spawn(async move {
        for (event, token) in [("draining", &asked.drain), ("stopping", &asked.now)] {
            let signal = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            info!(event, signal, "asked to end");
            token.cancel();
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[tokio::test]
    async fn the_first_drains_and_the_second_ends() {
        let stop = watch().expect("handlers");
        kill_process(getpid(), Signal::TERM).expect("sent");
        stop.drain.cancelled().await;
        assert!(!stop.now.is_cancelled());
        kill_process(getpid(), Signal::INT).expect("sent");
        stop.now.cancelled().await;
    }
}
