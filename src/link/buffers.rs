//! Frame and read buffers: a worker's, lent to a link while it has bytes in them, so that an idle link holds none.

use crate::wire::frame::{HEADER_LEN, MAX_FRAME};
use core::ops::{Deref, DerefMut};

/// Bytes of every buffer: one whole frame of the largest size, or as much of the link as is read at once.
pub const BUFFER_LEN: usize = MAX_FRAME;
/// Free buffers that are kept; more are given back to the allocator.
const KEPT: usize = 4;
/// Bytes of a cache line, and of the widest registers.
const LINE: usize = 64;

/// [`BUFFER_LEN`] bytes. What is behind the header of a frame at its front begins a cache line: no load of the AEAD spans two.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        // Zero pages, which cost no memory until they are written.
        let bytes = vec![0; BUFFER_LEN + LINE].into_boxed_slice();
        let start = bytes[HEADER_LEN..].as_ptr().align_offset(LINE).min(LINE);
        Self { bytes, start }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + BUFFER_LEN]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + BUFFER_LEN]
    }
}

/// The free buffers of a worker.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Buffer>,
}

impl Buffers {
    pub fn take(&mut self) -> Buffer {
        self.free.pop().unwrap_or_else(Buffer::new)
    }

    pub fn give_back(&mut self, buffer: Buffer) {
        if self.free.len() < KEPT {
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plaintext_of_a_frame_begins_a_cache_line() {
        let mut buffers = Buffers::default();
        for _ in 0..8 {
            let mut buffer = Buffer::new();
            assert_eq!(buffer.len(), BUFFER_LEN);
            assert_eq!(buffer[HEADER_LEN..].as_ptr().align_offset(LINE), 0);
            buffer[BUFFER_LEN - 1] = 1;
            buffers.give_back(buffer);
        }
        assert_eq!(buffers.free.len(), KEPT);
    }
}
