//! Frames on their way out: one that is being filled, one that is sealed and not yet taken by the socket.
//!
//! ```text
//! slot/commit, control --> [ open frame ] --seal--> [ sealed frame ] --written--> buffer back to the worker
//! ```

use super::buffers::{Buffer, Buffers};
use crate::wire::frame::{HEADER_LEN, MAX_PLAINTEXT, TAG_LEN};
use crate::wire::message::{DATA_HEADER_LEN, Writer, data_header};

/// Kept free at the end of every frame for the REKEY message that must be its last.
pub(super) const REKEY_ROOM: usize = 64;

/// A slot with less room than this waits for the next frame, unless the stream's credit is as short.
pub(super) const MIN_SLOT: usize = 512;

/// The two frames of a link.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    open: Option<Buffer>,
    /// Plaintext bytes in the open frame.
    len: usize,
    sealed: Option<Buffer>,
    sealed_len: usize,
    written: usize,
}

impl Outbox {
    /// Plaintext bytes in the open frame.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Room for the bytes of a DATA message, its header already counted, in a frame of at most `bound` bytes of plaintext.
    pub fn room(&self, bound: usize) -> usize {
        bound
            .min(MAX_PLAINTEXT - REKEY_ROOM)
            .saturating_sub(self.len + DATA_HEADER_LEN)
    }

    /// The place for up to `n` bytes of DATA; `n` is at most [`Self::room`].
    pub fn data_slot(&mut self, buffers: &mut Buffers, n: usize) -> &mut [u8] {
        let start = HEADER_LEN + self.len + DATA_HEADER_LEN;
        &mut self.open.get_or_insert_with(|| buffers.take())[start..start + n]
    }

    /// `n` bytes were put into the slot: makes them a DATA message.
    pub fn commit(&mut self, id: u32, n: usize) {
        let (Some(open), Ok(n32)) = (&mut self.open, u32::try_from(n)) else {
            return;
        };
        let start = HEADER_LEN + self.len;
        open[start..start + DATA_HEADER_LEN].copy_from_slice(&data_header(id, n32));
        self.len += DATA_HEADER_LEN + n;
    }

    /// Writes control messages behind what is there. `last`: also into the room that is kept for REKEY.
    pub fn write(&mut self, buffers: &mut Buffers, last: bool, write: impl FnOnce(&mut Writer<'_>) -> bool) -> bool {
        let end = HEADER_LEN + MAX_PLAINTEXT - if last { 0 } else { REKEY_ROOM };
        let open = self.open.get_or_insert_with(|| buffers.take());
        let mut at = HEADER_LEN + self.len;
        let wrote = write(&mut Writer::new(&mut open[..end], &mut at));
        self.len = at - HEADER_LEN;
        wrote
    }

    /// Hands the open frame, header and tag room included, to `seal`, and makes it the sealed one.
    pub fn seal<E>(&mut self, seal: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        debug_assert!(self.sealed.is_none(), "sealed a frame over one that is not written");
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let len = HEADER_LEN + self.len + TAG_LEN;
        seal(&mut open[..len])?;
        self.sealed = Some(open);
        self.sealed_len = len;
        self.written = 0;
        self.len = 0;
        Ok(())
    }

    /// What of the sealed frame is not yet written.
    pub fn unwritten(&self) -> Option<&[u8]> {
        self.sealed
            .as_ref()
            .map(|sealed| &sealed[self.written..self.sealed_len])
    }

    /// `n` bytes were written. `true`: the sealed frame is done with.
    pub fn wrote(&mut self, buffers: &mut Buffers, n: usize) -> bool {
        self.written = (self.written + n).min(self.sealed_len);
        if self.written < self.sealed_len {
            return false;
        }
        if let Some(sealed) = self.sealed.take() {
            buffers.give_back(sealed);
        }
        true
    }

    /// Gives back an open frame that nothing was put into.
    pub fn give_back_empty(&mut self, buffers: &mut Buffers) {
        if self.len == 0
            && let Some(open) = self.open.take()
        {
            buffers.give_back(open);
        }
    }
}
