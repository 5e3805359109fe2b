//! A connection to a model server as bytes, and a look at it in the kernel. Never: HTTP.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use rustix::net::{RecvFlags, recv};
use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::unconstrained;
use tokio_rustls::client::TlsStream;

/// What TLS says for itself between two answers is read in parts of so many bytes,
const SMALL_TALK_PART: usize = 4096;
/// and no more of them: a server that never stops is not kept.
const SMALL_TALK_PARTS_MAX: usize = 16;

/// A connection of any kind.
pub(super) enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    /// To the stand-in in this process.
    Echo(DuplexStream),
}

/// Who is asked whether anything came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The runtime, which hears of news a moment later than the kernel, and costs nothing.
    Runtime,
    Kernel,
}

impl Wire {
    /// Whether nothing has come and the other side is still there.
    pub(super) fn is_quiet(&mut self, look: Look) -> bool {
        match self {
            Self::Tcp(socket) => match look {
                Look::Kernel => would_block(peek(&*socket)),
                Look::Runtime => would_block(socket.try_io(Interest::READABLE, || peek(&*socket))),
            },
            Self::Unix(socket) => match look {
                Look::Kernel => would_block(peek(&*socket)),
                Look::Runtime => would_block(socket.try_io(Interest::READABLE, || peek(&*socket))),
            },
            Self::Tls(stream) => {
                let (socket, session) = stream.get_mut();
                match look {
                    Look::Runtime if would_block(socket.try_io(Interest::READABLE, || Ok(()))) => {
                        says_nothing(session)
                    }
                    Look::Runtime | Look::Kernel => is_quiet_by_tls(socket, session),
                }
            }
            // It has no kernel between: a read tells all.
            Self::Echo(pipe) => {
                let mut byte = [0; 1];
                let mut read = ReadBuf::new(&mut byte);
                let reading = poll_fn(|cx| Pin::new(&mut *pipe).poll_read(cx, &mut read));
                pin!(unconstrained(reading)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
            }
        }
    }

    /// Whether a write that failed has written nothing.
    pub(super) const fn fails_cleanly(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }
}

fn peek(socket: impl AsFd) -> io::Result<usize> {
    let mut byte = [0; 1];
    let (heard, _) = recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(heard)
}

fn would_block<T>(outcome: io::Result<T>) -> bool {
    outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// What TLS has to say for itself, as tickets for the next session and new keys, is heard here: it is neither an answer
/// nor an end.
fn is_quiet_by_tls(socket: &TcpStream, session: &mut ClientConnection) -> bool {
    let mut bytes = [0; SMALL_TALK_PART];
    for _ in 0..SMALL_TALK_PARTS_MAX {
        if !says_nothing(session) {
            return false;
        }
        let (heard, _) = match recv(socket, &mut bytes, RecvFlags::DONTWAIT) {
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

/// Whether there is nothing of an answer in what was heard, and no end.
fn says_nothing(session: &mut ClientConnection) -> bool {
    let state = session.process_new_packets();
    state.is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed())
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(wire) => Pin::new(wire).poll_read(cx, buffer),
            Self::Tls(wire) => Pin::new(wire).poll_read(cx, buffer),
            Self::Unix(wire) => Pin::new(wire).poll_read(cx, buffer),
            Self::Echo(wire) => Pin::new(wire).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(wire) => Pin::new(wire).poll_write_vectored(cx, slices),
            Self::Tls(wire) => Pin::new(wire).poll_write_vectored(cx, slices),
            Self::Unix(wire) => Pin::new(wire).poll_write_vectored(cx, slices),
            Self::Echo(wire) => Pin::new(wire).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // What the kernel took is on its way.
            Self::Tcp(_) | Self::Unix(_) | Self::Echo(_) => Poll::Ready(Ok(())),
            Self::Tls(wire) => Pin::new(wire).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(wire) => Pin::new(wire).poll_shutdown(cx),
            Self::Tls(wire) => Pin::new(wire).poll_shutdown(cx),
            Self::Unix(wire) => Pin::new(wire).poll_shutdown(cx),
            Self::Echo(wire) => Pin::new(wire).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
