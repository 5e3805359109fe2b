//! A connection to a model server as bytes, and a look at it in the kernel. Never: HTTP.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, recv};
use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// What TLS says for itself between two answers is read in parts of so many bytes,
const SMALL_TALK_PART: usize = 4096;
/// and no more of them: a server that never stops is not kept.
const SMALL_TALK_PARTS_MAX: usize = 16;

/// A connection of any kind.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// Whether nothing has come and the other side is still there, as far as the kernel knows. The runtime may not
    /// have heard of it yet.
    fn is_quiet(&mut self) -> bool;
}

impl Wire for TcpStream {
    fn is_quiet(&mut self) -> bool {
        would_block(self)
    }
}

impl Wire for UnixStream {
    fn is_quiet(&mut self) -> bool {
        would_block(self)
    }
}

impl Wire for DuplexStream {
    /// It has no kernel between: a read tells all.
    fn is_quiet(&mut self) -> bool {
        true
    }
}

impl Wire for TlsStream<TcpStream> {
    /// What TLS has to say for itself, as tickets for the next session and new keys, is heard here: it is neither an
    /// answer nor an end.
    fn is_quiet(&mut self) -> bool {
        let (socket, session) = self.get_mut();
        let mut bytes = [0; SMALL_TALK_PART];
        for _ in 0..SMALL_TALK_PARTS_MAX {
            if !says_nothing(session) {
                return false;
            }
            let (heard, _) = match recv(&*socket, &mut bytes, RecvFlags::DONTWAIT) {
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                Ok((0, _)) => return false,
                Ok(heard) => heard,
            };
            let mut part = bytes.get(..heard).unwrap_or_default();
            while !part.is_empty() {
                let taken = session.read_tls(&mut part);
                if !taken.is_ok_and(|count| count > 0) || !says_nothing(session) {
                    return false;
                }
            }
        }
        false
    }
}

/// Whether there is nothing of an answer in what was heard, and no end.
fn says_nothing(session: &mut ClientConnection) -> bool {
    let state = session.process_new_packets();
    state.is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed())
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
