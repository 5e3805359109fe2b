//! What a connection's bytes go through: the socket as it is, or TLS on it. Never: what the bytes mean, when they are late.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::pulse::Pulse;

/// One connection's way to its client, shared by hyper's socket and the supervisor, which live in one task.
/// Never locked by two at once: whoever reads or writes is polled by the one task.
pub(super) enum Transport {
    Plain(Mutex<TcpStream>),
    Tls(Box<Mutex<TlsStream<Counted>>>),
}

/// The most that [`Transport::poll_part`] reads: an ordinary request, as much as hyper reads at once.
const PART_BYTES_MAX: usize = 8192;

/// Bytes on their way out, as hyper hands them over.
#[derive(Clone, Copy)]
pub(super) enum Outgoing<'a> {
    One(&'a [u8]),
    Several(&'a [IoSlice<'a>]),
}

impl Transport {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self::Plain(Mutex::new(stream))
    }

    pub(super) fn tls(stream: TlsStream<Counted>) -> Self {
        Self::Tls(Box::new(Mutex::new(stream)))
    }

    /// Reads what the client said; nothing when it said that nothing more comes.
    ///
    /// # Errors
    /// The connection is broken, which on TLS it also is when it ends without a goodbye (RFC 8446, 6.1).
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            // What reads less than there is room for has read all: it is not asked again before more has come.
            Self::Plain(stream) => Pin::new(&mut *lock(stream)).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut *lock(stream)).poll_read(cx, buf),
        }
    }

    /// Reads what comes next, at most [`PART_BYTES_MAX`]; nothing at the end. While nothing comes no memory is held.
    ///
    /// # Errors
    /// As [`Self::poll_read`].
    pub(super) fn poll_part(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut scratch = [const { MaybeUninit::uninit() }; PART_BYTES_MAX];
        let mut buf = ReadBuf::uninit(&mut scratch);
        ready!(self.poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buf.filled())))
    }

    /// Hands bytes over to be sent. `pulse` is told whether the kernel takes any.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bytes: Outgoing<'_>,
        pulse: &Pulse,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => {
                let mut stream = lock(stream);
                let stream = Pin::new(&mut *stream);
                let outcome = match bytes {
                    Outgoing::One(bytes) => stream.poll_write(cx, bytes),
                    Outgoing::Several(slices) => stream.poll_write_vectored(cx, slices),
                };
                pulse.has_written(outcome.is_pending());
                outcome
            }
            Self::Tls(stream) => watched(&mut lock(stream), pulse, |stream| match bytes {
                Outgoing::One(bytes) => stream.poll_write(cx, bytes),
                Outgoing::Several(slices) => stream.poll_write_vectored(cx, slices),
            }),
        }
    }

    /// Resolves when the kernel has everything that was handed over.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>, pulse: &Pulse) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => watched(&mut lock(stream), pulse, |stream| stream.poll_flush(cx)),
        }
    }

    /// Sends all of `bytes`.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => unlocked(stream).write_all(bytes).await,
            Self::Tls(stream) => {
                let stream = unlocked(stream);
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Says that nothing more comes, by a goodbye on TLS: without it a client knows that something is missing.
    pub(super) async fn say_goodbye(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => unlocked(stream).shutdown().await,
            Self::Tls(stream) => unlocked(stream).shutdown().await,
        }
    }

    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The socket below, on which no goodbye of TLS is said.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => unlocked(stream),
            Self::Tls(stream) => &mut unlocked(stream).get_mut().0.stream,
        }
    }

    /// The protocol that was agreed on in the handshake (RFC 7301).
    pub(super) fn protocol(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => lock(stream).get_ref().1.alpn_protocol().map(<[u8]>::to_vec),
        }
    }

    /// Reads some bytes; none at the end.
    pub(super) async fn read_some(&self, scratch: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(scratch);
        poll_fn(|cx| self.poll_read(cx, &mut buf)).await?;
        Ok(buf.filled().len())
    }
}

fn lock<T>(stream: &Mutex<T>) -> MutexGuard<'_, T> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unlocked<T>(stream: &mut Mutex<T>) -> &mut T {
    stream.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// TLS keeps some bytes that it took, so that only the kernel's count tells whether the client moves.
fn watched<T>(
    stream: &mut TlsStream<Counted>,
    pulse: &Pulse,
    act: impl FnOnce(Pin<&mut TlsStream<Counted>>) -> Poll<T>,
) -> Poll<T> {
    let before = stream.get_ref().0.taken;
    let outcome = act(Pin::new(stream));
    let moves = stream.get_ref().0.taken != before;
    if moves {
        pulse.has_written(false);
    }
    if outcome.is_pending() {
        pulse.has_written(true);
    }
    outcome
}

/// A socket that counts the bytes that the kernel took.
pub(super) struct Counted {
    stream: TcpStream,
    taken: u64,
}

impl Counted {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, taken: 0 }
    }

    fn count(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = outcome {
            self.taken += count as u64;
        }
        outcome
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
