//! Many connections on one thread: who asks, and what came back. It checks every answer.

use std::io::ErrorKind;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

use crate::Failure;
use crate::answer::{Answer, Reader};
use crate::moment;
use crate::wire::{BUFFER_BYTES, Found, Wire};

use super::Common;
use super::script::Script;

/// The token of a timer beside the connections.
const TIMER: Token = Token(usize::MAX - 1);

/// Whoever wants to know what came back.
pub(super) trait Watcher {
    /// Bytes of a body on one of the connections.
    fn body(&mut self, number: usize, bytes: &[u8], asked_at: u64);

    /// A whole answer. Whether its connection is to ask again.
    ///
    /// # Errors
    /// An answer that must not be.
    fn whole(&mut self, number: usize, asked_at: u64) -> Result<bool, Failure>;
}

struct Member {
    wire: Wire,
    reader: Reader,
    /// When its open request was sent, or was to be sent.
    asked_at: Option<u64>,
}

pub(super) struct Crowd<'a> {
    common: &'a Common,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    members: Vec<Member>,
    script: Script,
    /// What answers have to be like: as the first one.
    length: Option<usize>,
    pub(super) reconnects: u64,
    deadline: u64,
}

impl<'a> Crowd<'a> {
    /// Opens all connections.
    pub(super) fn new(common: &'a Common, script: Script) -> Result<Self, Failure> {
        let mut crowd = Self::empty(common, script)?;
        (0..common.connections).try_for_each(|_| crowd.add())?;
        Ok(crowd)
    }

    /// Opens no connection yet.
    pub(super) fn empty(common: &'a Common, script: Script) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        Ok(Self {
            common,
            events: Events::with_capacity(1024),
            buffer: vec![0; BUFFER_BYTES],
            members: Vec::new(),
            script,
            length: None,
            reconnects: 0,
            deadline: moment::now() + super::seconds(common.patience + common.warm + common.seconds),
            poll,
        })
    }

    /// Opens another connection; its number is the count of those before it.
    pub(super) fn add(&mut self) -> Result<(), Failure> {
        let member = Member::new(self.common, self.members.len(), &self.poll)?;
        self.members.push(member);
        Ok(())
    }

    /// Bytes of every answer's body.
    pub(super) fn length(&self) -> Option<usize> {
        self.length
    }

    pub(super) fn add_timer(&self, timer: &mut impl Source) -> Result<(), Failure> {
        Ok(self.poll.registry().register(timer, TIMER, Interest::READABLE)?)
    }

    /// Sends the next request on a connection that has none open.
    pub(super) fn ask(&mut self, number: usize, at: u64) -> Result<(), Failure> {
        let member = &mut self.members[number];
        member.asked_at = Some(at);
        Ok(member.wire.send(self.script.next(), self.poll.registry())?)
    }

    /// Waits for something to happen and works it off. Whether the timer has run down.
    pub(super) fn turn(&mut self, wait: Duration, watcher: &mut dyn Watcher) -> Result<bool, Failure> {
        if let Err(error) = self.poll.poll(&mut self.events, Some(wait))
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        if moment::now() > self.deadline {
            return Err("it took too long".into());
        }
        let ready: Vec<_> = self.events.iter().map(|event| (event.token(), event.is_writable())).collect();
        for (token, is_writable) in &ready {
            if *token != TIMER {
                self.hear(token.0, *is_writable, watcher)?;
            }
        }
        Ok(ready.iter().any(|(token, _)| *token == TIMER))
    }

    /// Turns until a moment.
    pub(super) fn until(&mut self, moment: u64, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        loop {
            let left = moment.saturating_sub(moment::now());
            if left == 0 {
                return Ok(());
            }
            self.turn(Duration::from_nanos(left), watcher)?;
        }
    }

    fn hear(&mut self, number: usize, is_writable: bool, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        if is_writable {
            self.members[number].wire.flush(self.poll.registry())?;
        }
        loop {
            let member = &mut self.members[number];
            let count = match member.wire.read(&mut self.buffer)? {
                Found::Nothing => return Ok(()),
                Found::End => return self.lost(number),
                Found::Bytes(count) => count,
            };
            let Some(asked_at) = member.asked_at else {
                return Err("an answer that nobody asked for".into());
            };
            let body = |bytes: &[u8]| watcher.body(number, bytes, asked_at);
            if let Some(answer) = member.reader.take(&self.buffer[..count], body)? {
                self.check(answer)?;
                self.answered(number, asked_at, answer, watcher)?;
            }
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }

    fn answered(
        &mut self,
        number: usize,
        asked_at: u64,
        answer: Answer,
        watcher: &mut dyn Watcher,
    ) -> Result<(), Failure> {
        self.members[number].asked_at = None;
        if answer.closes {
            self.reconnect(number)?;
        }
        if watcher.whole(number, asked_at)? {
            self.ask(number, moment::now())?;
        }
        Ok(())
    }

    fn check(&mut self, answer: Answer) -> Result<(), Failure> {
        let length = *self.length.get_or_insert(answer.length);
        if answer.status != self.common.status {
            return Err(format!("status {} instead of {}", answer.status, self.common.status).into());
        }
        if answer.length != length {
            return Err(format!("{} bytes of body instead of {length}", answer.length).into());
        }
        Ok(())
    }

    /// The other side has closed. It may, between two answers; a request that it had not begun to answer is sent again.
    fn lost(&mut self, number: usize) -> Result<(), Failure> {
        if !self.members[number].reader.is_idle() {
            return Err("the connection ended in the middle of an answer".into());
        }
        let asked_at = self.members[number].asked_at;
        self.reconnect(number)?;
        asked_at.map_or(Ok(()), |at| self.ask(number, at))
    }

    fn reconnect(&mut self, number: usize) -> Result<(), Failure> {
        self.reconnects += 1;
        self.members[number] = Member::new(self.common, number, &self.poll)?;
        Ok(())
    }
}

impl Member {
    fn new(common: &Common, number: usize, poll: &Poll) -> Result<Self, Failure> {
        let wire = Wire::connect(common.target, Token(number), poll.registry())?;
        Ok(Self { wire, reader: Reader::new(), asked_at: None })
    }
}
