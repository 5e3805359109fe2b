//! A connection that never blocks, with the bytes that it could not take yet. It knows no HTTP.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// The largest read.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

pub(crate) struct Wire {
    stream: TcpStream,
    token: Token,
    waiting: Vec<u8>,
}

/// What a read found.
pub(crate) enum Found {
    Bytes(usize),
    Nothing,
    End,
}

impl Wire {
    pub(crate) fn new(mut stream: TcpStream, token: Token, registry: &Registry) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self { stream, token, waiting: Vec::new() })
    }

    /// Connects, and waits until it stands.
    pub(crate) fn connect(to: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(to)?;
        stream.set_nonblocking(true)?;
        Self::new(TcpStream::from_std(stream), token, registry)
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<Found> {
        match self.stream.read(into) {
            Ok(0) => Ok(Found::End),
            Ok(count) => Ok(Found::Bytes(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Found::Nothing),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Found::End),
            Err(error) => Err(error),
        }
    }

    /// Sends all of it, or keeps what the system does not take until it does.
    pub(crate) fn send(&mut self, parts: [&[u8]; 2], registry: &Registry) -> io::Result<()> {
        let taken = if self.waiting.is_empty() { self.write(parts)? } else { 0 };
        let mut skip = taken;
        for part in parts {
            let skipped = skip.min(part.len());
            self.waiting.extend_from_slice(&part[skipped..]);
            skip -= skipped;
        }
        if self.waiting.is_empty() { Ok(()) } else { self.want(true, registry) }
    }

    /// Sends what waited. To be called when the connection has become writable.
    pub(crate) fn flush(&mut self, registry: &Registry) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let taken = self.write([&waiting, &[]])?;
        self.waiting.extend_from_slice(&waiting[taken..]);
        if self.waiting.is_empty() { self.want(false, registry) } else { Ok(()) }
    }

    fn write(&mut self, parts: [&[u8]; 2]) -> io::Result<usize> {
        let length = parts[0].len() + parts[1].len();
        let mut taken = 0;
        while taken < length {
            let first = &parts[0][taken.min(parts[0].len())..];
            let second = &parts[1][taken.saturating_sub(parts[0].len())..];
            let written = match (first.is_empty(), second.is_empty()) {
                (true, _) => self.stream.write(second),
                (_, true) => self.stream.write(first),
                _ => self.stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
            };
            match written {
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    fn want(&mut self, writable: bool, registry: &Registry) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.reregister(&mut self.stream, self.token, if writable { both } else { Interest::READABLE })
    }
}
