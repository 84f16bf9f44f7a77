//! Worker threads: one OS thread, one current-thread runtime, its links and their streams; nothing shared on the data path.

use super::links::Links;
use crate::counters::Counters;
use crate::link::buffers::Buffers;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// What all roles on one worker share.
pub struct Seat {
    pub counters: Arc<Counters>,
    pub buffers: Rc<RefCell<Buffers>>,
    pub links: Links,
}

impl Seat {
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            buffers: Rc::default(),
            links: Links::default(),
        }
    }
}

/// Runs what `work` makes on a thread of its own. The receiver resolves to what came of it when it has ended.
pub fn spawn<F, W>(thread: thread::Builder, work: F) -> io::Result<oneshot::Receiver<io::Result<()>>>
where
    F: FnOnce() -> W + Send + 'static,
    W: Future<Output = io::Result<()>> + 'static,
{
    let (ended, wait) = oneshot::channel();
    // The runtime follows the thread: one that a thread which the host denies should have owned would be dropped here, within the
    // caller's runtime, and tokio panics at that.
    let (give, runtime) = mpsc::channel::<tokio::runtime::Runtime>();
    let spawned = thread.spawn(move || {
        let Ok(runtime) = runtime.recv() else { return };
        let local = LocalSet::new();
        let result = local.block_on(&runtime, work());
        drop(local);
        drop(runtime);
        let _ = ended.send(result);
    });
    spawned.map_err(|error| io::Error::new(error.kind(), format!("cannot start a thread: {error}")))?;
    let _ = give.send(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_the_host_denies_is_an_error() {
        // More than any address space.
        let thread = thread::Builder::new().stack_size(1 << 47);
        let error = spawn(thread, async || Ok(())).expect_err("denied");
        assert!(error.to_string().starts_with("cannot start a thread: "), "{error}");
        let ended = spawn(thread::Builder::new(), async || Ok(())).expect("started");
        assert!(matches!(ended.await, Ok(Ok(()))));
    }
}
