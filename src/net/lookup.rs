//! Name look-ups. The system's resolver blocks for as long as it likes, so it runs on a few threads of its own.
//!
//! Promises: one look-up of an address at a time, however many ask for it, so a resolver that hangs holds one thread a name, and nothing
//! that a caller who gave up leaves behind outlives it; a thread that the host denies is an error, never a panic.
//! Must not know: what is dialled.

use crate::config::Address;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use tokio::sync::oneshot;

/// Names that are looked up at once; more wait.
const THREADS: usize = 8;

/// An error can be told to several only as its parts.
type Found = Result<Vec<SocketAddr>, (ErrorKind, String)>;

static LOOKUPS: Lookups = Lookups::new();

/// Every socket address of `address`, of a look-up that had not ended when it was asked for.
pub async fn resolve(address: &Address) -> io::Result<Vec<SocketAddr>> {
    let answer = LOOKUPS.ask(address, Address::resolve)?;
    let found = answer.await.map_err(io::Error::other)?;
    found.map_err(|(kind, text)| io::Error::new(kind, text))
}

struct Lookups {
    state: Mutex<State>,
    more: Condvar,
}

struct State {
    /// Who waits for which.
    asked: Option<HashMap<Address, Vec<oneshot::Sender<Found>>>>,
    /// Those of them that no thread has taken yet.
    queue: VecDeque<Address>,
    threads: usize,
    idle: usize,
}

impl Lookups {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                asked: None,
                queue: VecDeque::new(),
                threads: 0,
                idle: 0,
            }),
            more: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(
        &'static self,
        address: &Address,
        resolve: impl Fn(&Address) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<oneshot::Receiver<Found>> {
        let (answer, wait) = oneshot::channel();
        let mut state = self.lock();
        if let Some(waiting) = state.asked.get_or_insert_default().get_mut(address) {
            // A look-up can hang for longer than those wait who asked for it.
            waiting.retain(|answer| !answer.is_closed());
            waiting.push(answer);
            return Ok(wait);
        }
        if state.idle <= state.queue.len() && state.threads < THREADS {
            let thread = thread::Builder::new().name("lookup".to_owned());
            match thread.spawn(move || self.work(resolve)) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => return Err(error),
                // Those that there are will come to it.
                Err(_) => {}
            }
        }
        state
            .asked
            .get_or_insert_default()
            .insert(address.clone(), vec![answer]);
        state.queue.push_back(address.clone());
        drop(state);
        self.more.notify_one();
        Ok(wait)
    }

    fn work(&self, resolve: impl Fn(&Address) -> io::Result<Vec<SocketAddr>>) {
        let mut state = self.lock();
        loop {
            let Some(address) = state.queue.pop_front() else {
                state.idle += 1;
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            drop(state);
            let found = resolve(&address).map_err(|error| (error.kind(), error.to_string()));
            state = self.lock();
            let waiting = state.asked.as_mut().and_then(|asked| asked.remove(&address));
            for answer in waiting.into_iter().flatten() {
                let _ = answer.send(found.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    fn name(host: &str) -> Address {
        Address::parse(&format!("{host}:1")).expect("an address")
    }

    type Calls = Arc<AtomicUsize>;

    /// A resolver that counts its calls, and hangs for `stuck` until it is let go.
    fn hanging(
        calls: Calls,
    ) -> (
        impl Fn(&Address) -> io::Result<Vec<SocketAddr>> + Clone,
        mpsc::Sender<()>,
    ) {
        let (let_go, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let resolve = move |address: &Address| {
            calls.fetch_add(1, SeqCst);
            if *address == name("stuck") {
                let _ = held.lock().expect("one at a time").recv();
            }
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], address.port()))])
        };
        (resolve, let_go)
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_holds_one_thread_and_no_other_name() {
        static LOOKUPS: Lookups = Lookups::new();
        let calls = Calls::default();
        let (resolve, let_go) = hanging(Arc::clone(&calls));
        let ask = |host: &str| LOOKUPS.ask(&name(host), resolve.clone()).expect("asked");
        let waiting: Vec<_> = (0..1000).map(|_| ask("stuck")).collect();
        assert_eq!(ask("other").await.expect("answered").map(|found| found.len()), Ok(1));
        assert!(LOOKUPS.lock().threads <= 2);
        let_go.send(()).expect("hanging");
        for answer in waiting {
            assert_eq!(answer.await.expect("answered").map(|found| found.len()), Ok(1));
        }
        assert_eq!(calls.load(SeqCst), 2);
        let_go.send(()).expect("there is a next one");
        assert!(ask("stuck").await.is_ok(), "looked up anew");
        assert_eq!(calls.load(SeqCst), 3);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind() {
        static LOOKUPS: Lookups = Lookups::new();
        let (resolve, let_go) = hanging(Calls::default());
        for _ in 0..1000 {
            drop(LOOKUPS.ask(&name("stuck"), resolve.clone()).expect("asked"));
        }
        let last = LOOKUPS.ask(&name("stuck"), resolve).expect("asked");
        assert_eq!(
            LOOKUPS.lock().asked.as_ref().map(|asked| asked[&name("stuck")].len()),
            Some(1)
        );
        let_go.send(()).expect("hanging");
        assert!(last.await.is_ok());
    }

    #[tokio::test]
    async fn names_beyond_the_threads_wait_for_one() {
        static LOOKUPS: Lookups = Lookups::new();
        let resolve = |address: &Address| Ok(vec![SocketAddr::from(([127, 0, 0, 1], address.port()))]);
        let hosts = (0..100).map(|i| name(&format!("h{i}")));
        let asked: Vec<_> = hosts.map(|host| LOOKUPS.ask(&host, resolve).expect("asked")).collect();
        for answer in asked {
            assert!(answer.await.expect("answered").is_ok());
        }
        assert!(LOOKUPS.lock().threads <= THREADS);
    }
}
