//! A relay of raw bytes: what the kernel's part of any proxy costs. It knows no HTTP.

use std::io::ErrorKind;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Failure;
use crate::wire::{BUFFER_BYTES, Found, Wire};

const LISTENER: Token = Token(usize::MAX - 1);

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
}

struct Relay {
    poll: Poll,
    to: SocketAddr,
    /// Two neighbours are the two ends of one connection: the caller's is even.
    wires: Vec<Option<Wire>>,
    free: Vec<usize>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(options.listen)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay { poll, to: options.to, wires: Vec::new(), free: Vec::new() };
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if let Err(error) = relay.poll.poll(&mut events, None)
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        for event in &events {
            if event.token() == LISTENER {
                relay.accept(&listener)?;
            } else if relay.turn(event.token().0, event.is_writable(), &mut buffer).is_err() {
                relay.end(event.token().0);
            }
        }
    }
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> Result<(), Failure> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.begin(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn begin(&mut self, stream: TcpStream) -> Result<(), Failure> {
        let first = self.free.pop().unwrap_or(self.wires.len());
        if first == self.wires.len() {
            self.wires.extend([None, None]);
        }
        let there = TcpStream::connect(self.to)?;
        let registry = self.poll.registry();
        self.wires[first] = Some(Wire::new(stream, Token(first), registry)?);
        self.wires[first + 1] = Some(Wire::new(there, Token(first + 1), registry)?);
        Ok(())
    }

    fn turn(&mut self, token: usize, is_writable: bool, buffer: &mut [u8]) -> Result<(), Failure> {
        let other = token ^ 1;
        if is_writable && let Some(wire) = &mut self.wires[token] {
            wire.flush(self.poll.registry())?;
        }
        loop {
            let Some(wire) = &mut self.wires[token] else { return Ok(()) };
            let count = match wire.read(buffer)? {
                Found::End => return Err("gone".into()),
                Found::Nothing => return Ok(()),
                Found::Bytes(count) => count,
            };
            let Some(wire) = &mut self.wires[other] else { return Ok(()) };
            wire.send([&buffer[..count], &[]], self.poll.registry())?;
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn end(&mut self, token: usize) {
        let first = token & !1;
        if self.wires[first].take().is_some() {
            self.free.push(first);
        }
        self.wires[first + 1] = None;
    }
}
