//! The same failure is not said ten times a second.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The same failure again is logged this often.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// Failures that are told apart; while more than that go on, new ones are not said.
const REMEMBERED: usize = 256;

/// What was logged within the last `SAY_AGAIN`.
#[derive(Debug, Default)]
pub struct Repeat(RefCell<HashMap<(&'static str, String), Instant>>);

impl Repeat {
    /// Whether to log it: not said yet for this reason and subject, or long enough ago.
    pub fn first(&self, reason: &'static str, subject: &str) -> bool {
        let mut said = self.0.borrow_mut();
        let now = Instant::now();
        let key = (reason, subject.to_owned());
        if said.get(&key).is_some_and(|at| now.duration_since(*at) < SAY_AGAIN) {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.retain(|_, at| now.duration_since(*at) < SAY_AGAIN);
        }
        let room = said.len() < REMEMBERED;
        if room {
            said.insert(key, now);
        }
        room
    }

    /// What went wrong is mended: say it when it comes back.
    pub fn forget(&self) {
        self.0.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_once_and_a_bounded_number_of_them() {
        let said = Repeat::default();
        assert!(said.first("busy", "a") && said.first("busy", "b") && said.first("timeout", "a"));
        assert!(!said.first("busy", "a") && !said.first("busy", "b"));
        let many = (0..1000).filter(|i| said.first("replay", &i.to_string())).count();
        assert_eq!(many, REMEMBERED - 3);
        said.forget();
        assert!(said.first("busy", "a"));
    }
}
