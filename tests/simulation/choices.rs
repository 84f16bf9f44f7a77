//! Where a random test takes its decisions from: a seed, or the bytes that a fuzzer makes.

use super::Random;

/// Decisions; a fuzzer's come to an end.
#[derive(Debug, Clone)]
pub enum Choices<'a> {
    Seeded(Random),
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Random(seed))
    }

    /// Nothing is left to decide from.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Bytes([]))
    }

    fn take(&mut self, width: usize) -> u64 {
        match self {
            Self::Seeded(random) => random.next(),
            Self::Bytes(bytes) => {
                let n = width.min(bytes.len());
                let (head, tail) = bytes.split_at(n);
                *bytes = tail;
                head.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
            }
        }
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        let width = match n {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            0x1_0001..=0x1_0000_0000 => 4,
            _ => 8,
        };
        self.take(width) % n.max(1)
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    /// Small and large are as likely.
    pub fn size(&mut self, bits: u64) -> u64 {
        let bits = self.below(bits + 1);
        if bits == 0 { 0 } else { self.below(1 << bits) }
    }
    pub fn number(&mut self) -> u64 {
        self.take(8)
    }
    pub fn of<'b, T>(&mut self, these: &'b [T]) -> &'b T {
        &these[self.below(these.len() as u64) as usize]
    }
}
