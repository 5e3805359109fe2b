//! A request on its way into a connection: its head and the pieces of its body, written together. Never: what they say.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::pieces::Pieces;
use super::wire::Wire;

/// The most parts that are handed to the kernel at once: a head and a body with every splice there is.
const PARTS_MAX: usize = 8;

/// What is written, and how much of it is.
pub(super) struct Outgoing {
    /// Kept from request to request.
    head: Vec<u8>,
    pieces: Pieces,
    written: usize,
    length: usize,
    /// No more of it is written.
    done: bool,
    given_up: bool,
}

impl Outgoing {
    pub(super) const fn new() -> Self {
        Self { head: Vec::new(), pieces: Pieces::None, written: 0, length: 0, done: true, given_up: false }
    }

    /// Takes the next request; `head` puts its head behind nothing.
    pub(super) fn begin(&mut self, head: impl FnOnce(&mut Vec<u8>), pieces: Pieces) {
        self.head.clear();
        head(&mut self.head);
        self.length = self.head.len() + pieces.len();
        self.pieces = pieces;
        (self.written, self.done, self.given_up) = (0, false, false);
    }

    /// Whether not a byte of it was written.
    pub(super) const fn is_untouched(&self) -> bool {
        self.written == 0
    }

    /// Whether all of it was written, or will never be.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether all of it was written.
    pub(super) const fn is_written(&self) -> bool {
        self.done && !self.given_up
    }

    /// The rest of it is not wanted any more.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
        self.end();
    }

    fn end(&mut self) {
        self.done = true;
        self.pieces = Pieces::None;
    }

    /// Ready when all of it has gone.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<io::Result<()>> {
        while self.written < self.length {
            let mut parts = [IoSlice::new(&[]); PARTS_MAX];
            let count = self.rest(&mut parts);
            match ready!(Pin::new(&mut *wire).poll_write_vectored(cx, &parts[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        ready!(Pin::new(wire).poll_flush(cx))?;
        self.end();
        Poll::Ready(Ok(()))
    }

    /// The first parts of what is not written yet, and how many there are.
    fn rest<'a>(&'a self, parts: &mut [IoSlice<'a>; PARTS_MAX]) -> usize {
        let mut skipped = self.written;
        let mut count = 0;
        for part in std::iter::once(self.head.as_slice()).chain(self.pieces.all().iter().map(|one| &one[..]))
        {
            match part.get(skipped..) {
                Some(rest) if !rest.is_empty() => {
                    let Some(place) = parts.get_mut(count) else { break };
                    *place = IoSlice::new(rest);
                    (skipped, count) = (0, count + 1);
                }
                Some(_) | None => skipped -= part.len(),
            }
        }
        count
    }
}
