//! The ephemeral keys of the messages 1 that were taken a short while ago (SPEC 3.4 steps 4 and 7).
//!
//! Promises: exact, no false hit and no miss; bounded; each entry is put in and taken out once. It is the same in every run:
//! an ordered set, because a hashed one would draw randomness.
//! Must not know: what a key is for.

use crate::link::time::Instant;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

type Key = [u8; 32];

pub(super) struct ReplayCache {
    most: usize,
    keep: Duration,
    known: BTreeSet<Key>,
    /// The same keys, the oldest first.
    order: VecDeque<(Instant, Key)>,
}

/// There is no room for one more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl ReplayCache {
    pub fn new(most: usize, keep: Duration) -> Self {
        Self {
            most,
            keep,
            known: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }

    pub fn contains(&mut self, key: &Key, now: Instant) -> bool {
        self.expire(now);
        self.known.contains(key)
    }

    pub fn enter(&mut self, key: Key, now: Instant) -> Result<(), Full> {
        self.expire(now);
        if self.known.len() >= self.most {
            return Err(Full);
        }
        if self.known.insert(key) {
            self.order.push_back((now, key));
        }
        Ok(())
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(entered, key)) = self.order.front() {
            if now.since(entered) < self.keep {
                break;
            }
            self.order.pop_front();
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(21);

    fn key(n: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn at_ms(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    #[test]
    fn a_key_is_known_for_its_time_and_no_longer() {
        let mut cache = ReplayCache::new(4, KEEP);
        assert!(!cache.contains(&key(1), at_ms(0)));
        assert_eq!(cache.enter(key(1), at_ms(0)), Ok(()));
        assert!(cache.contains(&key(1), at_ms(20_999)));
        assert!(!cache.contains(&key(2), at_ms(20_999)));
        assert!(!cache.contains(&key(1), at_ms(21_000)));
        assert!(cache.known.is_empty() && cache.order.is_empty());
    }

    #[test]
    fn it_is_bounded_and_makes_room_as_keys_expire() {
        let mut cache = ReplayCache::new(4096, KEEP);
        for n in 0..4096 {
            assert_eq!(cache.enter(key(n), at_ms(n as u64)), Ok(()));
        }
        assert_eq!(cache.enter(key(4096), at_ms(20_999)), Err(Full));
        assert!(
            !cache.contains(&key(4096), at_ms(20_999)),
            "what was refused is not kept"
        );
        assert!((0..4096).all(|n| cache.contains(&key(n), at_ms(20_999))));
        // Ten are over.
        for n in 0..10 {
            assert_eq!(cache.enter(key(5000 + n), at_ms(21_009)), Ok(()));
        }
        assert_eq!(cache.enter(key(6000), at_ms(21_009)), Err(Full));
        assert!(!cache.contains(&key(9), at_ms(21_009)) && cache.contains(&key(10), at_ms(21_009)));
        assert_eq!((cache.known.len(), cache.order.len()), (4096, 4096));
    }

    #[test]
    fn a_key_that_is_entered_twice_is_there_once() {
        let mut cache = ReplayCache::new(2, KEEP);
        assert_eq!(cache.enter(key(1), at_ms(0)), Ok(()));
        assert_eq!(cache.enter(key(1), at_ms(1)), Ok(()));
        assert_eq!(cache.order.len(), 1);
    }
}
