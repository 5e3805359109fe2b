//! A connection to a model server as bytes, and a look at it in the kernel. Never: HTTP.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection of any kind.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// Whether nothing has come and the other side is still there, as far as the kernel knows. The runtime may not
    /// have heard of it yet.
    fn is_quiet(&self) -> bool;
}

impl Wire for TcpStream {
    fn is_quiet(&self) -> bool {
        would_block(self)
    }
}

impl Wire for UnixStream {
    fn is_quiet(&self) -> bool {
        would_block(self)
    }
}

impl Wire for DuplexStream {
    /// It has no kernel between: a read tells all.
    fn is_quiet(&self) -> bool {
        true
    }
}

fn would_block(socket: impl AsFd) -> bool {
    let mut byte = [0; 1];
    matches!(
        recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock
    )
}

/// A wire that can be told to look before it reads: one that is not quiet then reads as ended.
pub(super) struct Probed {
    wire: Box<dyn Wire>,
    probe: Probe,
}

/// Makes a [`Probed`] wire look, from outside the HTTP connection that owns it.
#[derive(Clone, Default)]
pub(super) struct Probe(Arc<AtomicBool>);

impl Probe {
    pub(super) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Probed {
    pub(super) fn new(wire: Box<dyn Wire>) -> (Self, Probe) {
        let probe = Probe::default();
        (Self { wire, probe: probe.clone() }, probe)
    }
}

impl AsyncRead for Probed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.probe.is_set() && !self.wire.is_quiet() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.wire).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Probed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.wire).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.wire).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }
}
