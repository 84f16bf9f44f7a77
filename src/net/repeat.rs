//! The same failure is not said ten times a second.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// The same failure again is logged this often.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What was logged last, and when.
#[derive(Debug, Default)]
pub struct Repeat(RefCell<Option<(&'static str, String, Instant)>>);

impl Repeat {
    /// Whether to log it: another reason or text than the last, or long enough since.
    pub fn first(&self, reason: &'static str, text: &str) -> bool {
        let mut last = self.0.borrow_mut();
        let again = last
            .as_ref()
            .is_some_and(|(r, t, at)| *r == reason && t == text && at.elapsed() < SAY_AGAIN);
        if !again {
            *last = Some((reason, text.to_owned(), Instant::now()));
        }
        !again
    }

    pub fn forget(&self) {
        *self.0.borrow_mut() = None;
    }
}
