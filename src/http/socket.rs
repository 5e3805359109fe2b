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

/// How many bytes are read before other connections have their turn: who sends as fast as it is read would hold the
/// thread up.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    /// For HTTP/1, where they are mostly of a body: an ordinary request is one turn.
    OfBodies = 64 * 1024,
    /// For HTTP/2, where they may be small frames that are dear to read.
    OfFrames = 4 * 1024,
}

/// Reads and writes a connection's transport.
pub(super) struct Socket {
    transport: Arc<Transport>,
    pulse: Arc<Pulse>,
    /// Bytes read before it was known which protocol is spoken.
    first: Bytes,
    turn: Turn,
    /// Bytes read in this turn.
    read: usize,
}

impl Socket {
    pub(super) fn new(transport: Arc<Transport>, pulse: Arc<Pulse>, first: Bytes, turn: Turn) -> Self {
        Self { transport, pulse, first, turn, read: 0 }
    }

    /// Whether its turn is over. The next one comes by itself.
    fn yields(&mut self, cx: &Context<'_>) -> bool {
        let is_over = self.read >= self.turn as usize;
        if is_over {
            self.read = 0;
            cx.waker().wake_by_ref();
        }
        is_over
    }

    /// Reads what there is, no more than is left of this turn.
    fn read_on(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.turn as usize - self.read;
        if buf.remaining() <= left {
            return self.transport.poll_read(cx, buf);
        }
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
            self.read = 0;
        }
        ready!(read)?;
        let read = &buf.filled()[before..];
        self.pulse.has_read(read);
        self.read += read.len();
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::time::timeout;

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    /// A connection on which all that was sent is there to be read.
    async fn sent(bytes: &[u8]) -> TcpStream {
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_recv_buffer_size(4 << 20).unwrap();
        listener.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = listener.listen(1).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        client.write_all(bytes).await.unwrap();
        let mut there = vec![0; bytes.len()];
        let all_there = async {
            while served.peek(&mut there).await.unwrap() < bytes.len() {
                tokio::task::yield_now().await;
            }
        };
        timeout(TIME, all_there).await.expect("there is room for all that was sent");
        served
    }

    #[tokio::test]
    async fn law_12_who_sends_much_lets_others_have_their_turn() {
        for (turn, bytes) in [(Turn::OfBodies, 64 * 1024), (Turn::OfFrames, 4 * 1024)] {
            let said: Vec<u8> = (0..2 * bytes + 1).map(|at: usize| at.to_le_bytes()[0]).collect();
            let transport = Arc::new(Transport::plain(sent(&said).await));
            let mut socket = Socket::new(transport, Arc::new(Pulse::new(None)), Bytes::new(), turn);
            let mut heard = vec![0; said.len()];
            let (mut buf, mut turns) = (ReadBuf::new(&mut heard), Vec::new());
            let all_read = poll_fn(|cx| {
                while buf.remaining() > 0 {
                    // As much room as a turn has not, and once less than is left of it.
                    let mut part = buf.take(bytes * 2 / 3);
                    let polled = Pin::new(&mut socket).poll_read(cx, &mut part);
                    let count = part.filled().len();
                    buf.advance(count);
                    if polled.is_pending() {
                        turns.push(buf.filled().len());
                        return polled;
                    }
                }
                Poll::Ready(Ok(()))
            });
            timeout(TIME, all_read).await.expect("the next turn comes by itself").unwrap();
            assert_eq!(turns, [bytes, 2 * bytes]);
            assert!(heard == said, "not what was sent");
        }
    }
}
