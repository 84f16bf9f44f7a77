//! The links of a worker and the tasks on them: driven, counted, and drained when the process is asked to end.

use super::driver::{Carrier, Over};
use crate::counters::Counters;
use crate::link::Blame;
use crate::wire::message::{Code, GoAway};
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After the drain time, for the last RESETs and RSTs to leave.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The links of one worker, and everything that must have ended before the worker does.
#[derive(Default)]
pub struct Links {
    pub tasks: TaskTracker,
    carriers: RefCell<Vec<Weak<Carrier>>>,
}

impl Links {
    /// Starts driving a link; its end is counted and logged, then `ended` is told.
    pub fn drive(&self, carrier: &Rc<Carrier>, counters: Arc<Counters>, ended: impl FnOnce() + 'static) {
        let mut carriers = self.carriers.borrow_mut();
        carriers.retain(|carrier| carrier.strong_count() > 0);
        carriers.push(Rc::downgrade(carrier));
        let carrier = Rc::clone(carrier);
        self.tasks.spawn_local(async move {
            let over = Rc::clone(&carrier).drive().await;
            counters.link_ended(over.end());
            say(&carrier, &over);
            ended();
            carrier.farewell().await;
        });
    }

    /// Lets what is open end, for `at_most` or until `now`; then resets it.
    pub async fn drain(&self, at_most: Duration, now: &CancellationToken) {
        self.tasks.close();
        for carrier in self.live() {
            carrier.drain(GoAway::Shutdown);
        }
        tokio::select! {
            () = self.tasks.wait() => return,
            () = sleep(at_most) => {}
            () = now.cancelled() => {}
        }
        let carriers = self.live();
        let open: usize = carriers.iter().map(|carrier| carrier.link.borrow().streams()).sum();
        tracing::warn!(
            event = "drain_over",
            reason = "time_is_up",
            streams = open,
            "streams that are still open are reset"
        );
        for carrier in &carriers {
            carrier.reset_all(Code::Draining);
        }
        // The RESETs tell the peer at once; what the link does not take now is lost with it.
        let _ = timeout(LAST_WORDS, self.tasks.wait()).await;
        for carrier in carriers {
            carrier.shut_down();
        }
        let _ = timeout(LAST_WORDS, self.tasks.wait()).await;
    }

    fn live(&self) -> Vec<Rc<Carrier>> {
        self.carriers.borrow().iter().filter_map(Weak::upgrade).collect()
    }
}

fn say(carrier: &Carrier, over: &Over) {
    let (peer, peer_name, reason) = (&carrier.status.peer, &carrier.status.peer_name, over.end().label());
    match over {
        Over::Closed | Over::Shutdown => tracing::info!(event = "link_down", reason, %peer, %peer_name, "{over}"),
        Over::Fatal(fatal) if fatal.blame() == Blame::Peer => {
            tracing::error!(
                event = "link_down",
                reason,
                %peer,
                %peer_name,
                "the peer broke the protocol: {over}. Run the same version on both hosts"
            );
        }
        Over::Disconnected(_) | Over::Fatal(_) => {
            tracing::warn!(event = "link_down", reason, %peer, %peer_name, "{over}; open streams were reset");
        }
    }
}
