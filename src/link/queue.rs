//! What an app did not take at once: a ring that pins no more than it was allowed to, and nothing when it is empty.

use bytes::BytesMut;

const MIN_CAPACITY: usize = 1024;

/// A byte queue with a bound on its capacity. The ring lives in a `BytesMut` whose length is its capacity.
#[derive(Debug, Default)]
pub struct Queue {
    ring: BytesMut,
    head: usize,
    len: usize,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Bytes of memory that the queue pins.
    pub fn capacity(&self) -> usize {
        self.ring.len()
    }

    /// Appends `bytes`. The capacity doubles as needed but never passes `bound`, which the credit rule keeps at or above
    /// what is queued; `false`, with nothing appended, if it is not.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8], bound: usize) -> bool {
        let needed = self.len + bytes.len();
        if needed > self.capacity() {
            if needed > bound {
                return false;
            }
            self.move_to(needed.next_power_of_two().max(MIN_CAPACITY).min(bound));
        }
        let capacity = self.capacity();
        let tail = (self.head + self.len) % capacity.max(1);
        let first = bytes.len().min(capacity - tail);
        self.ring[tail..tail + first].copy_from_slice(&bytes[..first]);
        self.ring[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        self.len = needed;
        true
    }

    fn move_to(&mut self, capacity: usize) {
        let mut ring = BytesMut::zeroed(capacity);
        let [a, b] = self.slices();
        ring[..a.len()].copy_from_slice(a);
        ring[a.len()..a.len() + b.len()].copy_from_slice(b);
        self.ring = ring;
        self.head = 0;
    }

    /// The queued bytes in order; the second slice is empty unless the ring wraps.
    pub fn slices(&self) -> [&[u8]; 2] {
        let end = self.head + self.len;
        let capacity = self.capacity();
        if end <= capacity {
            [&self.ring[self.head..end], &[]]
        } else {
            [&self.ring[self.head..], &self.ring[..end - capacity]]
        }
    }

    /// Drops up to `n` bytes from the front. An emptied queue frees its memory; one that is under a quarter full halves it.
    pub fn pop(&mut self, n: usize) {
        let n = n.min(self.len);
        self.len -= n;
        if self.len == 0 {
            *self = Self::default();
            return;
        }
        self.head = (self.head + n) % self.capacity();
        if self.len <= self.capacity() / 4 && self.capacity() > MIN_CAPACITY {
            self.move_to((self.capacity() / 2).max(self.len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_queue_within_its_bound() {
        let mut queue = Queue::default();
        let mut model = std::collections::VecDeque::new();
        let mut next = 0_u8;
        let mut seed = 1_u32;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (seed >> 20) as usize % 700;
            if seed & 1 == 0 {
                let bytes: Vec<u8> = (0..n)
                    .map(|_| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .collect();
                let fits = model.len() + n <= 5000;
                assert_eq!(queue.push(&bytes, 5000), fits);
                if fits {
                    model.extend(bytes);
                } else {
                    next = next.wrapping_sub(n as u8);
                }
            } else {
                queue.pop(n);
                model.drain(..n.min(model.len()));
            }
            let [a, b] = queue.slices();
            assert!(a.iter().chain(b).eq(model.iter()));
            assert_eq!(queue.len(), model.len());
            assert!(queue.capacity() <= 5000);
            assert!(!queue.is_empty() || queue.capacity() == 0);
        }
    }
}
