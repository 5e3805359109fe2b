//! One accepted connection as the HTTP machinery sees it: bytes pass unchanged, and what passes is noted for timers,
//! framing and hang-ups. Never: what the bytes mean.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::framing::{Framing, FramingFault};

/// What is known about a connection; shared by its socket, its requests and its supervisor.
pub(super) struct Pulse {
    born: Instant,
    /// Requests that have a handler or an answer under way.
    open: AtomicU32,
    requests: AtomicU64,
    /// Milliseconds after `born` when the last answer ended.
    idle_since_ms: AtomicU64,
    /// Milliseconds after `born` when the head under way began; 0 when there is none.
    head_since_ms: AtomicU64,
    /// Milliseconds after `born` since when the client takes nothing; 0 when it does.
    blocked_since_ms: AtomicU64,
    /// The body of the request under way has come whole, so whatever comes now is no part of it.
    body_done: AtomicBool,
    flushes: AtomicU64,
    flushed: Notify,
    /// None on HTTP/2, whose frames need no watching.
    framing: Option<Mutex<Framing>>,
}

impl Pulse {
    pub(super) fn new(framing: Option<Framing>) -> Self {
        Self {
            born: Instant::now(),
            open: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            idle_since_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(0),
            blocked_since_ms: AtomicU64::new(0),
            body_done: AtomicBool::new(false),
            flushes: AtomicU64::new(0),
            flushed: Notify::new(),
            framing: framing.map(Mutex::new),
        }
    }

    /// A request has come; it is open until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, Ordering::SeqCst);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since_ms.store(0, Ordering::Relaxed);
        OpenRequest(Arc::clone(self))
    }

    /// The request's body has come whole: what comes before the answer is over can only be a hang-up.
    pub(super) fn body_done(&self) {
        self.body_done.store(true, Ordering::SeqCst);
    }

    /// Whether a hang-up, and nothing else, is expected from the client.
    pub(super) fn is_answering(&self) -> bool {
        self.framing.is_some()
            && self.open.load(Ordering::SeqCst) > 0
            && self.body_done.load(Ordering::SeqCst)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
    }

    pub(super) fn framing_fault(&self) -> Option<FramingFault> {
        self.framing().and_then(|framing| framing.fault())
    }

    /// Whether no further request may be read from this connection.
    pub(super) fn must_close(&self) -> bool {
        self.framing().is_some_and(|framing| framing.must_close())
    }

    /// A mark to wait from with [`Pulse::flushed_since`].
    pub(super) fn flush_mark(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// Resolves once everything written up to the mark has gone to the kernel.
    pub(super) async fn flushed_since(self: Arc<Self>, mark: u64) {
        loop {
            let notified = self.flushed.notified();
            if self.flushes.load(Ordering::SeqCst) > mark {
                return;
            }
            notified.await;
        }
    }

    /// When this connection has to go if nothing happens on it until then; none while only the handler is at work.
    pub(super) fn deadline(&self, header: Duration, idle: Duration, write: Duration) -> Option<Instant> {
        let at = |ms: &AtomicU64| self.born + Duration::from_millis(ms.load(Ordering::Relaxed));
        if self.blocked_since_ms.load(Ordering::Relaxed) > 0 {
            return Some(at(&self.blocked_since_ms) + write);
        }
        if !self.is_idle() {
            return None;
        }
        if self.head_since_ms.load(Ordering::Relaxed) > 0 {
            return Some(at(&self.head_since_ms) + header);
        }
        let patience = if self.requests.load(Ordering::Relaxed) == 0 { header } else { idle };
        Some(at(&self.idle_since_ms) + patience)
    }

    fn framing(&self) -> Option<MutexGuard<'_, Framing>> {
        self.framing.as_ref().map(|framing| framing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// At least 1, since 0 means that nothing is under way.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Takes note of bytes that came from the client.
    pub(super) fn has_read(&self, bytes: &[u8]) {
        if let Some(mut framing) = self.framing() {
            framing.read(bytes);
            if framing.is_in_head() && self.head_since_ms.load(Ordering::Relaxed) == 0 {
                self.head_since_ms.store(self.now_ms(), Ordering::Relaxed);
            }
        }
    }

    fn has_written(&self, blocked: bool) {
        let since = self.blocked_since_ms.load(Ordering::Relaxed);
        match (blocked, since) {
            (true, 0) => self.blocked_since_ms.store(self.now_ms(), Ordering::Relaxed),
            (false, 1..) => self.blocked_since_ms.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    fn has_flushed(&self) {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.flushed.notify_waiters();
    }
}

/// Held from a request's head until the last byte of its answer was handed over.
pub(super) struct OpenRequest(Arc<Pulse>);

impl OpenRequest {
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.0
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.idle_since_ms.store(self.0.now_ms(), Ordering::Relaxed);
        self.0.body_done.store(false, Ordering::SeqCst);
        if let Some(mut framing) = self.0.framing() {
            framing.answered();
        }
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The socket as hyper reads and writes it.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    pulse: Arc<Pulse>,
    /// Bytes read before it was known which protocol is spoken.
    first: Bytes,
}

impl Socket {
    pub(super) fn new(stream: Arc<TcpStream>, pulse: Arc<Pulse>, first: Bytes) -> Self {
        Self { stream, pulse, first }
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.stream.poll_write_ready(cx)?.is_pending() {
                self.pulse.has_written(true);
                return Poll::Pending;
            }
            match send(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    self.pulse.has_written(false);
                    return Poll::Ready(outcome);
                }
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let count = self.first.len().min(buf.remaining());
            let taken = self.first.split_to(count);
            self.pulse.has_read(&taken);
            buf.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let before = buf.filled().len();
            match self.stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) => {
                    self.pulse.has_read(&buf.filled()[before..]);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called when everything before it was written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pulse.has_flushed();
        Poll::Ready(Ok(()))
    }

    /// The supervisor ends the stream, after whatever the client still sends.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
