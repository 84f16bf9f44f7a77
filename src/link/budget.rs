//! The memory that a process may promise to its peers as credit (SPEC section 8, DESIGN section 8).
//!
//! ```text
//! total --+-- reserve: a link's first windows, leased when the link is admitted, returned when it ends
//!         '-- growth:  what streams have beyond their first window, leased by doubling, returned when idle
//! ```
//!
//! Promises: what is leased never exceeds the total; a lease returns what it holds when it is dropped.

use super::handshake::Grant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The largest first window of a stream, bytes.
const MAX_FIRST_WINDOW: u64 = 16 * 1024;
/// Rather than a first window under this, a link gets fewer streams.
const MIN_FIRST_WINDOW: u64 = 4 * 1024;

/// The free bytes of both halves; shared by every link of the process.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    reserve: AtomicU64,
    growth: AtomicU64,
    leases: AtomicU32,
}

/// What a budget lacks for all the streams of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanting {
    /// Streams that the link may have, and that were asked for.
    pub granted: u32,
    pub asked: u32,
    /// Links that there are, this one too.
    pub links: u32,
}

/// The first windows of a link out of `free` bytes of reserve: bytes a stream, and how many streams. `None`: not one.
fn first_windows(free: u64, asked: u64) -> Option<(u64, u64)> {
    let half = free / 2;
    let streams = asked.min(half / MIN_FIRST_WINDOW);
    let window = half.checked_div(streams)?.min(MAX_FIRST_WINDOW);
    Some((window, streams))
}

/// Whether `links` links would have as many streams as each asks for.
fn is_enough(total: u64, asked: u64, links: u32) -> bool {
    let mut free = total / 2;
    (0..links).all(|_| match first_windows(free, asked) {
        Some((window, streams)) if streams == asked => {
            free -= window * streams;
            true
        }
        _ => false,
    })
}

impl Budget {
    /// `total` bytes, half reserve, half growth.
    pub fn new(total: u64) -> Arc<Self> {
        let reserve = total / 2;
        Arc::new(Self {
            total,
            reserve: AtomicU64::new(reserve),
            growth: AtomicU64::new(total - reserve),
            leases: AtomicU32::new(0),
        })
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that no link holds: reserve, growth.
    pub fn free(&self) -> (u64, u64) {
        (self.reserve.load(Relaxed), self.growth.load(Relaxed))
    }

    /// Leases the first windows of a link with up to `asked` streams: of each stream min(16 KiB, half the free
    /// reserve / streams), of fewer streams where that would be under 4 KiB. `None`: there is no room for one stream.
    pub fn admit(self: &Arc<Self>, asked: u32) -> Option<(Grant, Lease)> {
        loop {
            let free = self.reserve.load(Relaxed);
            let (window, streams) = first_windows(free, u64::from(asked))?;
            let bytes = window * streams;
            if self
                .reserve
                .compare_exchange_weak(free, free - bytes, Relaxed, Relaxed)
                .is_ok()
            {
                let (Ok(window), Ok(max_streams)) = (u32::try_from(window), u32::try_from(streams)) else {
                    return None;
                };
                let others = self.leases.fetch_add(1, Relaxed);
                let lease = Lease {
                    budget: Arc::clone(self),
                    reserve: bytes,
                    growth: 0,
                    wanting: (max_streams < asked).then_some(Wanting {
                        granted: max_streams,
                        asked,
                        links: others + 1,
                    }),
                };
                return Some((Grant { window, max_streams }, lease));
            }
        }
    }

    /// The total of which `links` links would have `asked` streams each, whatever order they come in, where this one is too small: it is
    /// doubled as often as it takes.
    pub fn total_for(&self, asked: u32, links: u32) -> u64 {
        total_for(self.total.saturating_mul(2), asked, links)
    }
}

/// As [`Budget::total_for`], beginning at `least` bytes.
pub fn total_for(least: u64, asked: u32, links: u32) -> u64 {
    std::iter::successors(Some(least), |total| total.checked_mul(2))
        .find(|total| is_enough(*total, u64::from(asked), links))
        .unwrap_or(u64::MAX)
}

/// What one link holds of a [`Budget`].
#[derive(Debug)]
pub struct Lease {
    budget: Arc<Budget>,
    reserve: u64,
    growth: u64,
    wanting: Option<Wanting>,
}

impl Lease {
    /// Set if it has room for fewer streams than were asked for.
    pub fn wanting(&self) -> Option<Wanting> {
        self.wanting
    }

    /// Takes `bytes` of growth, all or nothing.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let taken = self
            .budget
            .growth
            .fetch_update(Relaxed, Relaxed, |free| free.checked_sub(bytes))
            .is_ok();
        if taken {
            self.growth += bytes;
        }
        taken
    }

    /// Returns `bytes` of growth.
    pub fn shrink(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.growth, "a link returned more growth than it took");
        let bytes = bytes.min(self.growth);
        self.growth -= bytes;
        self.budget.growth.fetch_add(bytes, Relaxed);
    }

    /// Returns the reserve but for `bytes`: no new streams will want it.
    pub fn keep(&mut self, bytes: u64) {
        let returned = self.reserve.saturating_sub(bytes);
        self.reserve -= returned;
        self.budget.reserve.fetch_add(returned, Relaxed);
    }

    /// Bytes of the whole budget: no link has more credit out at one time.
    pub fn total(&self) -> u64 {
        self.budget.total
    }

    /// Bytes of growth that this link holds.
    pub fn growth(&self) -> u64 {
        self.growth
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.reserve.fetch_add(self.reserve, Relaxed);
        self.budget.growth.fetch_add(self.growth, Relaxed);
        self.budget.leases.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_get_fewer_streams_rather_than_tiny_windows_and_then_none() {
        let budget = Budget::new(16 << 20);
        let mut leases = Vec::new();
        let mut grants = Vec::new();
        while let Some((grant, lease)) = budget.admit(1024) {
            assert!(u64::from(grant.window) >= MIN_FIRST_WINDOW);
            grants.push(grant);
            leases.push(lease);
            assert!(leases.len() < 100, "admission must come to an end");
        }
        let of = |max_streams| Grant {
            window: 4096,
            max_streams,
        };
        assert_eq!(grants[..3], [of(1024), of(512), of(256)]);
        let wanting = |link: usize| {
            let wanting = leases[link].wanting()?;
            Some(budget.total_for(wanting.asked, wanting.links) >> 20)
        };
        assert_eq!([wanting(0), wanting(1), wanting(2)], [None, Some(32), Some(64)]);
        let from_16 = |streams, links| total_for(16 << 20, streams, links) >> 20;
        assert_eq!([from_16(1024, 1), from_16(1024, 4), from_16(4096, 1)], [16, 128, 64]);
        assert_eq!(leases.len(), 11, "the 12th link is refused");
        let small = Budget::new(16 << 20);
        let nine: Vec<_> = (0..9).filter_map(|_| small.admit(64)).collect();
        assert!(nine.iter().all(|(grant, _)| grant.max_streams == 64));
        assert_eq!(small.admit(64).map(|(grant, _)| grant.max_streams), Some(32));
        let promised: u64 = grants
            .iter()
            .map(|g| u64::from(g.window) * u64::from(g.max_streams))
            .sum();
        assert!(promised <= 8 << 20);
        drop(leases);
        assert_eq!(budget.free(), (8 << 20, 8 << 20));
    }

    #[test]
    fn what_is_said_to_be_wanting_is_enough() {
        // One of the first two has left since.
        let after = |total, links| {
            let budget = Budget::new(total);
            let mut leases = vec![budget.admit(1000).expect("room").1, budget.admit(1000).expect("room").1];
            leases.remove(0);
            leases.extend((0..links).map(|_| budget.admit(1000).expect("room").1));
            leases.last().expect("one").wanting()
        };
        for links in 1..8 {
            let wanting = after(16 << 20, links).expect("too little");
            assert_eq!(wanting.links, links + 1);
            let total = total_for(16 << 20, wanting.asked, wanting.links);
            // The same links after a restart.
            let last_of = |total| {
                let budget = Budget::new(total);
                let mut leases: Vec<_> = (0..=links).map(|_| budget.admit(1000).expect("room").1).collect();
                leases.pop().expect("one").wanting()
            };
            assert_eq!(last_of(total), None, "{links} links, {total}");
            assert!(last_of(total / 2).is_some(), "{links} links need no more than half");
        }
    }

    #[test]
    fn growth_is_all_or_nothing_and_comes_back() {
        let budget = Budget::new(1 << 20);
        let (grant, mut lease) = budget.admit(4).expect("room");
        assert_eq!(grant.window, 16 * 1024);
        assert!(lease.grow(512 << 10));
        assert!(!lease.grow(1));
        lease.shrink(1);
        assert!(lease.grow(1));
        drop(lease);
        assert_eq!(budget.free(), (512 << 10, 512 << 10));
    }
}
