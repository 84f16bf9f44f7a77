//! Frame and read buffers: a worker's, lent to a link while it has bytes in them, so that an idle link holds none.

use crate::wire::frame::MAX_FRAME;

/// Bytes of every buffer: one whole frame of the largest size, or as much of the link as is read at once.
pub const BUFFER_LEN: usize = MAX_FRAME;
/// Free buffers that are kept; more are given back to the allocator.
const KEPT: usize = 4;

/// A buffer of [`BUFFER_LEN`] bytes.
pub type Buffer = Box<[u8]>;

/// The free buffers of a worker.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Buffer>,
}

impl Buffers {
    pub fn take(&mut self) -> Buffer {
        // A fresh one is zero pages that cost no memory until they are written.
        self.free
            .pop()
            .unwrap_or_else(|| vec![0; BUFFER_LEN].into_boxed_slice())
    }

    pub fn give_back(&mut self, buffer: Buffer) {
        if buffer.len() == BUFFER_LEN && self.free.len() < KEPT {
            self.free.push(buffer);
        }
    }
}
