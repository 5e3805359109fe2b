//! A model server that does no work: answers that were written before, and streams whose chunks come on a timer wheel.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Failure;
use crate::moment::{self, STAMP_DIGITS};
use crate::request::{self, Wanted};
use crate::wire::{BUFFER_BYTES, Found, Wire};

use text::Texts;
use wheel::Wheel;

mod text;
mod wheel;

/// Tokens from here on are listeners.
const LISTENERS: usize = 1 << 30;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to listen; may be given several times.
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    /// Models in the list: bench, bench-1, bench-2 ...
    #[arg(long, default_value_t = 1)]
    models: usize,
    /// Chunks of a stream that does not say how many.
    #[arg(long, default_value_t = 50)]
    chunks: u64,
    /// Milliseconds between two chunks.
    #[arg(long, default_value_t = 20)]
    gap_ms: u64,
}

struct Conversation {
    wire: Wire,
    inbox: Vec<u8>,
    stream: Option<Stream>,
    /// Tells a stream from the one before it on the same connection.
    generation: u64,
}

struct Stream {
    left: u64,
    gap_ms: u64,
    usage: bool,
}

struct Model<'a> {
    options: &'a Options,
    poll: Poll,
    listeners: Vec<TcpListener>,
    conversations: Vec<Option<Conversation>>,
    free: Vec<usize>,
    wheel: Wheel,
    texts: Texts,
    generation: u64,
    requests: u64,
    chunks: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let poll = Poll::new()?;
    let mut listeners = Vec::new();
    for (number, address) in options.listen.iter().enumerate() {
        let mut listener = TcpListener::bind(*address)?;
        poll.registry().register(&mut listener, Token(LISTENERS + number), Interest::READABLE)?;
        listeners.push(listener);
    }
    let mut model = Model {
        options,
        poll,
        listeners,
        conversations: Vec::new(),
        free: Vec::new(),
        wheel: Wheel::new(moment::now()),
        texts: Texts::new(options.models),
        generation: 0,
        requests: 0,
        chunks: 0,
    };
    model.serve()
}

impl Model<'_> {
    fn serve(&mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut due = Vec::new();
        loop {
            let timeout = if self.wheel.is_empty() { None } else { Some(Duration::from_millis(1)) };
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != ErrorKind::Interrupted
            {
                return Err(error.into());
            }
            for event in &events {
                let token = event.token().0;
                if token >= LISTENERS {
                    self.accept(token - LISTENERS)?;
                } else if self.turn(token, event.is_writable(), &mut buffer).is_err() {
                    self.end(token);
                }
            }
            self.work_off(&mut due);
        }
    }

    fn work_off(&mut self, due: &mut Vec<wheel::Due>) {
        loop {
            self.wheel.turn(moment::now(), due);
            if due.is_empty() {
                return;
            }
            for (token, generation) in due.drain(..) {
                if self.chunk(token, generation).is_err() {
                    self.end(token);
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) -> Result<(), Failure> {
        loop {
            match self.listeners[listener].accept() {
                Ok((stream, _)) => self.begin(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn begin(&mut self, stream: TcpStream) -> Result<(), Failure> {
        let token = self.free.pop().unwrap_or(self.conversations.len());
        let wire = Wire::new(stream, Token(token), self.poll.registry())?;
        let made = Some(Conversation { wire, inbox: Vec::new(), stream: None, generation: 0 });
        match self.conversations.get_mut(token) {
            Some(place) => *place = made,
            None => self.conversations.push(made),
        }
        Ok(())
    }

    fn end(&mut self, token: usize) {
        if self.conversations[token].take().is_some() {
            self.free.push(token);
        }
    }

    fn turn(&mut self, token: usize, is_writable: bool, buffer: &mut [u8]) -> Result<(), Failure> {
        let Some(conversation) = &mut self.conversations[token] else { return Ok(()) };
        if is_writable {
            conversation.wire.flush(self.poll.registry())?;
        }
        loop {
            match conversation.wire.read(buffer)? {
                Found::End => return Err("gone".into()),
                Found::Nothing => break,
                Found::Bytes(count) => {
                    conversation.inbox.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
            }
        }
        self.requests(token)
    }

    fn requests(&mut self, token: usize) -> Result<(), Failure> {
        loop {
            let Some(conversation) = &mut self.conversations[token] else { return Ok(()) };
            if conversation.inbox.is_empty() || conversation.stream.is_some() {
                return Ok(());
            }
            let asked = match request::parse(&conversation.inbox) {
                Ok(Some(asked)) => asked,
                Ok(None) => return Ok(()),
                Err(error) => {
                    writeln!(std::io::stderr(), "model: {error}")?;
                    return Err(error);
                }
            };
            conversation.inbox.drain(..asked.length);
            self.answer(token, &asked.answer)?;
        }
    }

    fn answer(&mut self, token: usize, wanted: &Wanted) -> Result<(), Failure> {
        let Some(conversation) = &mut self.conversations[token] else { return Ok(()) };
        let counts;
        let text = match wanted {
            Wanted::Json => &self.texts.json,
            Wanted::Long => &self.texts.long,
            Wanted::Models => &self.texts.models,
            Wanted::Health => &self.texts.health,
            Wanted::Counts => {
                counts = text::json(&format!(r#"{{"requests":{},"chunks":{}}}"#, self.requests, self.chunks));
                &counts
            }
            Wanted::Stream { chunks, gap_ms, usage } => {
                let (left, gap_ms) =
                    (chunks.unwrap_or(self.options.chunks), gap_ms.unwrap_or(self.options.gap_ms));
                self.requests += 1;
                self.generation += 1;
                conversation.generation = self.generation;
                conversation.stream = Some(Stream { left, gap_ms, usage: *usage });
                conversation.wire.send([&self.texts.stream, &[]], self.poll.registry())?;
                return self.chunk(token, self.generation);
            }
        };
        self.requests += u64::from(matches!(wanted, Wanted::Json | Wanted::Long));
        Ok(conversation.wire.send([text, &[]], self.poll.registry())?)
    }

    /// The next chunk of a stream, and the end of it behind the last one.
    fn chunk(&mut self, token: usize, generation: u64) -> Result<(), Failure> {
        let Some(conversation) = &mut self.conversations[token] else { return Ok(()) };
        let Some(stream) = &mut conversation.stream else { return Ok(()) };
        if conversation.generation != generation {
            return Ok(());
        }
        let (at, now) = (self.texts.stamp_at, moment::now());
        moment::stamp(now, &mut self.texts.chunk[at..at + STAMP_DIGITS]);
        stream.left = stream.left.saturating_sub(1);
        self.chunks += 1;
        if stream.left > 0 {
            self.wheel.put(now, stream.gap_ms, (token, generation));
            return Ok(conversation.wire.send([&self.texts.chunk, &[]], self.poll.registry())?);
        }
        let end = if stream.usage { &self.texts.end_with_usage } else { &self.texts.end };
        conversation.stream = None;
        conversation.wire.send([&self.texts.chunk, end], self.poll.registry())?;
        self.requests(token)
    }
}
