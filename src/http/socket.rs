//! One connection as hyper reads and writes it: bytes pass unchanged, and what passes is noted in the
//! connection's pulse. Never: what the bytes mean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;
use super::transport::{Outgoing, Transport};

/// How many bytes are read before other connections have their turn. The parser of HTTP/2 reads on as long as
/// something is there, and a client that sends small frames as fast as they are read would hold the thread
/// up.
const TURN_BYTES: usize = 4 * 1024;

/// Reads and writes a connection's transport.
pub(super) struct Socket {
    transport: Arc<Transport>,
    pulse: Arc<Pulse>,
    /// Bytes read before it was known which protocol is spoken.
    first: Bytes,
    /// Bytes read in this turn, where turns are taken.
    turn: Option<usize>,
}

impl Socket {
    pub(super) fn new(transport: Arc<Transport>, pulse: Arc<Pulse>, first: Bytes) -> Self {
        Self { transport, pulse, first, turn: None }
    }

    /// Lets other connections have their turn, however much its client sends.
    pub(super) fn in_turns(self) -> Self {
        Self { turn: Some(0), ..self }
    }

    /// Whether its turn is over. The next one comes by itself.
    fn yields(&mut self, cx: &Context<'_>) -> bool {
        let over = self.turn.as_mut().filter(|read| **read >= TURN_BYTES);
        let is_over = over.map(|read| *read = 0).is_some();
        if is_over {
            cx.waker().wake_by_ref();
        }
        is_over
    }

    /// Reads what there is, where turns are taken no more than is left of this one.
    fn read_on(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(read) = self.turn else { return self.transport.poll_read(cx, buf) };
        let left = buf.remaining().min(TURN_BYTES - read.min(TURN_BYTES - 1));
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(left));
        ready!(self.transport.poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            self.pulse.awaits_bytes(false);
            let count = self.first.len().min(buf.remaining());
            let taken = self.first.split_to(count);
            self.pulse.has_read(&taken);
            buf.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        if self.yields(cx) {
            self.pulse.awaits_bytes(false);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = self.read_on(cx, buf);
        self.pulse.awaits_bytes(read.is_pending());
        if read.is_pending() {
            // Others have their turn now.
            self.turn = self.turn.map(|_| 0);
        }
        ready!(read)?;
        let read = &buf.filled()[before..];
        self.pulse.has_read(read);
        self.turn = self.turn.map(|bytes| bytes + read.len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.pulse.takes_unasked(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.transport.poll_write(cx, Outgoing::One(bytes), &self.pulse)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && self.pulse.takes_unasked(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        self.transport.poll_write(cx, Outgoing::Several(slices), &self.pulse)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called when everything before it was written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.transport.poll_flush(cx, &self.pulse))?;
        self.pulse.has_flushed();
        Poll::Ready(Ok(()))
    }

    /// The connection's end is decided where it is served, after whatever the client still sends.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_flush(cx, &self.pulse)
    }
}
