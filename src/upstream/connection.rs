//! HTTP/1.1 over one connection to a model server: one request, its answer, then the next. Never: which server, what is
//! sent, how long one waits.
//!
//! A connection has no task of its own: whoever has it drives it, so dropping it closes the socket there and then.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::AsyncReadExt;

use super::framing::{Body, Broken};
use super::head::Head;
use super::outgoing::Outgoing;
use super::pieces::Pieces;
use super::watch::Alarm;
use super::wire::{Look, Wire};

/// Room for so many bytes is made for a read,
const READ_BYTES: usize = 8 << 10;
/// up to so many where more are to come.
const READ_BYTES_MAX: usize = 64 << 10;
/// With less room than this more is made.
const ROOM_BYTES_MIN: usize = 2 << 10;

/// A connection, with what it keeps from one request to the next.
pub(super) struct Connection {
    wire: Wire,
    outgoing: Outgoing,
    /// What was read and is not dealt with.
    read: BytesMut,
    /// How many bytes the next read makes room for.
    reads: usize,
    head: Head,
    body: Body,
    /// It may be used again after this answer.
    stays_open: bool,
    /// The answer began before all of the request was written.
    is_early: bool,
    /// For whoever waits for something from it.
    pub(super) alarm: Alarm,
}

/// Why no head of an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Not a byte of the request was written.
    Unsent,
    /// The connection ended.
    BrokeOff,
    /// What came is no answer.
    Invalid,
}

impl Connection {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            outgoing: Outgoing::new(),
            read: BytesMut::new(),
            reads: READ_BYTES,
            head: Head::default(),
            body: Body::Over,
            stays_open: true,
            is_early: false,
            alarm: Alarm::default(),
        }
    }

    /// Takes the next request, to be written by whoever asks for the head of its answer. `head` writes its head.
    pub(super) fn begin(&mut self, head: impl FnOnce(&mut Vec<u8>), pieces: Pieces) {
        self.outgoing.begin(head, pieces);
        self.head.clear();
        self.is_early = false;
    }

    /// Ready when the head of the answer is there.
    ///
    /// An answer may come before all of the request was written; then the rest is written while the body is read.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unanswered>> {
        let mut fails = false;
        loop {
            fails |= self.poll_write(cx).is_err();
            if fails && self.outgoing.is_untouched() && self.wire.fails_cleanly() {
                return Poll::Ready(Err(Unanswered::Unsent));
            }
            match self.poll_read(cx) {
                // What it said before it stopped listening would be here.
                Poll::Pending if fails => return Poll::Ready(Err(Unanswered::BrokeOff)),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(true)) => self.is_early |= !self.outgoing.is_written(),
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(Err(self.end_without_head())),
            }
            match self.head.read(&mut self.read) {
                Ok(None) => {}
                Ok(Some(framing)) => {
                    self.stays_open = framing.stays_open && self.outgoing.is_written();
                    self.body = framing.body;
                    return Poll::Ready(Ok(()));
                }
                Err(_) => return Poll::Ready(Err(Unanswered::Invalid)),
            }
        }
    }

    /// The next bytes of the answer's body, never empty; none at its end. Trailers are dropped.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match self.body.take(&mut self.read) {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Ok(None) if self.body.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
            // It may have had enough of the request; what it says counts.
            let _ = self.poll_write(cx);
            match ready!(self.poll_read(cx)) {
                Ok(true) => {}
                Ok(false) if self.body == Body::UntilClose => self.body = Body::Over,
                Ok(false) | Err(_) => return Poll::Ready(Some(Err(Broken))),
            }
        }
    }

    /// The head of the answer, once it is there.
    pub(super) const fn head(&self) -> &Head {
        &self.head
    }

    /// Whether nothing of the answer is still to come.
    pub(super) const fn is_whole(&self) -> bool {
        self.body.is_over()
    }

    /// How many bytes of the answer's body are to come, as far as the server said.
    pub(super) const fn length(&self) -> Option<u64> {
        self.body.length()
    }

    /// Whether the next request may be sent over it, after an answer that was read whole.
    pub(super) fn is_reusable(&self) -> bool {
        self.stays_open && self.is_whole() && self.read.is_empty() && self.outgoing.is_written()
    }

    /// Whether a server that gave this answer has surely read all of the request. One that refuses may not have, and may
    /// take the rest of it for the next one, which it answers, too.
    pub(super) fn has_heard_all(&self) -> bool {
        let status = self.head.status();
        let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
        !self.is_early && status.is_success() && !is_empty
    }

    /// Lets go of what is not needed while nothing is asked.
    pub(super) fn rest(&mut self) {
        self.head.clear();
        if std::mem::replace(&mut self.reads, READ_BYTES) > READ_BYTES {
            self.read = BytesMut::new();
        }
    }

    /// Whether nothing has come and the other side is still there.
    pub(super) fn is_quiet(&mut self, look: Look) -> bool {
        self.wire.is_quiet(look)
    }

    /// Writes on, as far as it goes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.outgoing.is_done() {
            return Ok(());
        }
        match self.outgoing.poll(cx, &mut self.wire) {
            Poll::Ready(Err(error)) => {
                self.outgoing.give_up();
                self.stays_open = false;
                Err(error)
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Whether there is more; it is read then.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let wanted = match self.body {
            Body::Length(left) => {
                usize::try_from(left).unwrap_or(usize::MAX).clamp(ROOM_BYTES_MIN, READ_BYTES_MAX)
            }
            Body::Chunked(_) | Body::UntilClose | Body::Over => ROOM_BYTES_MIN,
        };
        if self.read.capacity() - self.read.len() < wanted {
            self.reads = self.reads.max(wanted);
            self.read.reserve(self.reads);
        }
        let room = self.read.capacity() - self.read.len();
        let count = ready!(pin!(self.wire.read_buf(&mut self.read)).poll(cx))?;
        if count == room && self.reads < READ_BYTES_MAX {
            self.reads *= 2;
        }
        Poll::Ready(Ok(count > 0))
    }

    fn end_without_head(&mut self) -> Unanswered {
        if self.outgoing.is_untouched() && self.wire.fails_cleanly() {
            Unanswered::Unsent
        } else if self.head.is_hopeless(&self.read) {
            Unanswered::Invalid
        } else {
            Unanswered::BrokeOff
        }
    }
}

#[cfg(test)]
mod tests;
