//! Worker threads: one OS thread, one current-thread runtime, its links and their streams; nothing shared on the data path.

use super::links::Links;
use crate::counters::Counters;
use crate::link::buffers::Buffers;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
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
pub fn spawn<F, W>(name: &str, work: F) -> io::Result<oneshot::Receiver<io::Result<()>>>
where
    F: FnOnce() -> W + Send + 'static,
    W: Future<Output = io::Result<()>> + 'static,
{
    let (ended, wait) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let local = LocalSet::new();
        let result = local.block_on(&runtime, work());
        drop(local);
        drop(runtime);
        let _ = ended.send(result);
    })?;
    Ok(wait)
}
