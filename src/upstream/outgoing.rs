//! A request on its way into a connection: its head and the pieces of its body, written together. Never: what they say.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::pieces::Pieces;
use super::wire::Wire;

/// The most parts that are handed to the kernel at once: a head and a body with every splice there is.
const PARTS_MAX: usize = 8;
/// How many bytes are written before other requests have their turn: the kernel takes megabytes at once, and who waits for
/// the thread would wait for that.
const TURN_BYTES: usize = 128 * 1024;

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

    /// Ready when all of it has gone. Writes so much that it is a turn, and is polled again when others had theirs.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<io::Result<()>> {
        let turn_ends = self.written + TURN_BYTES;
        while self.written < self.length {
            if self.written == turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut parts = [IoSlice::new(&[]); PARTS_MAX];
            let count = self.rest(&mut parts, turn_ends - self.written);
            match ready!(Pin::new(&mut *wire).poll_write_vectored(cx, &parts[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        ready!(Pin::new(wire).poll_flush(cx))?;
        self.end();
        Poll::Ready(Ok(()))
    }

    /// The first parts of what is not written yet, together so many bytes at most, and how many parts there are.
    fn rest<'a>(&'a self, parts: &mut [IoSlice<'a>; PARTS_MAX], mut bytes_max: usize) -> usize {
        let mut skipped = self.written;
        let mut count = 0;
        for part in std::iter::once(self.head.as_slice()).chain(self.pieces.all().iter().map(|one| &one[..]))
        {
            match part.get(skipped..) {
                Some(rest) if !rest.is_empty() => {
                    let Some(place) = parts.get_mut(count).filter(|_| bytes_max > 0) else { break };
                    let rest = &rest[..rest.len().min(bytes_max)];
                    bytes_max -= rest.len();
                    *place = IoSlice::new(rest);
                    (skipped, count) = (0, count + 1);
                }
                Some(_) | None => skipped -= part.len(),
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn law_12_a_large_request_lets_others_have_their_turn() {
        let (ours, mut server) = duplex(4 * TURN_BYTES);
        let mut wire = Wire::Echo(ours);
        let body = Bytes::from((0..3 * TURN_BYTES).map(|at| at.to_le_bytes()[0]).collect::<Vec<_>>());
        let mut outgoing = Outgoing::new();
        let pieces = Pieces::Several(vec![body.slice(..10), body.slice(10..)]);
        outgoing.begin(|head| head.extend(b"head"), pieces);

        let mut turns = Vec::new();
        let written = poll_fn(|cx| {
            let polled = outgoing.poll(cx, &mut wire);
            turns.push(outgoing.written);
            polled
        });
        timeout(Duration::from_secs(10), written).await.expect("the next turn comes by itself").unwrap();
        // There is room for all of it.
        assert_eq!(
            turns,
            [1, 2, 3].map(|turn| turn * TURN_BYTES).into_iter().chain([4 + body.len()]).collect::<Vec<_>>()
        );
        let mut received = vec![0; 4 + body.len()];
        server.read_exact(&mut received).await.unwrap();
        assert!(received == [b"head", &body[..]].concat(), "not what was to be written");
    }
}
