//! The way in of a link: reads its socket into a worker's buffer and takes the frames in place.
//!
//! Promises: a buffer is held only while there are bytes in it; what a frame does not fill waits at its front.
//! Must not know: what a message means.

use super::clock;
use super::driver::{Carrier, Over};
use crate::link::buffers::{Buffer, Buffers};
use std::cell::RefCell;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Context;
use tokio::io::Interest;

/// The bytes of the link that are read and not yet a whole frame.
#[derive(Default)]
pub(super) struct Inlet {
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
}

impl Inlet {
    /// One read, and the frames that it completed. `Break`: the socket has no more now.
    pub fn read(&mut self, carrier: &Rc<Carrier>, cx: &mut Context<'_>) -> Result<ControlFlow<()>, Over> {
        let socket = carrier.socket.borrow();
        let Some(socket) = &*socket else {
            return Ok(ControlFlow::Break(()));
        };
        if self.buffer.is_none() && socket.poll_read_ready(cx).is_pending() {
            return Ok(ControlFlow::Break(()));
        }
        let buffer = self.buffer.get_or_insert_with(|| carrier.buffers.borrow_mut().take());
        let mut got = 0;
        let room = &mut buffer[self.end..];
        let result = socket.try_io(Interest::READABLE, || {
            got = rustix::io::read(socket, &mut *room)?;
            if 0 < got && got < room.len() {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        });
        let more = match result {
            Ok(()) if got == 0 => return Err(end_of(carrier, "end of file")),
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(e) if e.kind() == ErrorKind::Interrupted => true,
            Err(e) => return Err(end_of(carrier, &e.to_string())),
        };
        self.end += got;
        if got > 0 {
            self.take_frames(carrier)?;
        }
        if self.end == 0 {
            self.give_back(&carrier.buffers);
        }
        if more || socket.poll_read_ready(cx).is_ready() {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(ControlFlow::Break(()))
    }

    fn take_frames(&mut self, carrier: &Rc<Carrier>) -> Result<(), Over> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        let now = clock::now();
        while self.start < self.end {
            let bytes = &mut buffer[self.start..self.end];
            let Some(len) = carrier.link.borrow_mut().accept(bytes, now)? else {
                break;
            };
            carrier.events(bytes, now)?;
            self.start += len;
        }
        // A buffer holds the largest frame, so what is left fits once it stands at the front.
        if self.start > 0 {
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        Ok(())
    }

    /// The buffer goes back to the worker: it is empty, or the link is over.
    pub fn give_back(&mut self, buffers: &RefCell<Buffers>) {
        if let Some(buffer) = self.buffer.take() {
            buffers.borrow_mut().give_back(buffer);
        }
    }
}

fn end_of(carrier: &Carrier, why: &str) -> Over {
    if carrier.link.borrow().may_end() {
        Over::Closed
    } else {
        Over::Disconnected(why.to_owned())
    }
}
