//! Lines on their way to stderr: gathered in memory and written by one thread, in the order in which they came. Whoever
//! has something to say does not wait for whoever reads, but for a moment where it must not be lost.
//! Never: what lines say.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// So much is written at once.
const FULL: usize = 32 * 1024;
/// What is kept for later at most while nothing is taken: some thousand lines. More are lost.
const GATHERED_MAX: usize = 4 * 1024 * 1024;
/// Place beyond that for what is said at once, so that the lines of requests do not leave none.
const SAID_MAX: usize = GATHERED_MAX + 256 * 1024;
/// How long somebody waits until what he said is written; nobody does while nothing is taken.
const SAY_WAIT: Duration = Duration::from_millis(100);
/// How long the end waits for what is left.
const END_WAIT: Duration = Duration::from_secs(3);
/// When what takes nothing at the moment, and says so, is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Is told of lines that were lost.
pub(super) type Tell = Box<dyn Fn(u64) + Send>;

/// Gathers lines.
pub(super) struct Spool {
    state: Mutex<State>,
    /// For the thread that writes.
    called: Condvar,
    /// For those who wait until something is written.
    written: Condvar,
    /// How long the first of some lines waits for more at most.
    gather: Duration,
}

struct State {
    lines: Vec<u8>,
    /// Somebody waits for them.
    is_urgent: bool,
    stage: Stage,
    /// How many times lines were taken, and how many of these times they are dealt with.
    taken: u64,
    done: u64,
    /// Somebody waited in vain, and nothing was written since.
    is_stuck: bool,
    /// Lines that nobody will see.
    lost: u64,
    writer: Option<ThreadId>,
}

/// What the thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waits for a line.
    Asleep,
    /// Waits for more lines, for a time.
    Gathering,
    /// It is called and will look, or it writes and will look after that.
    Busy,
}

impl Spool {
    /// A thread writes to `to` what comes. The first of some lines waits for `gather` at most. When lines were lost and
    /// others can be written again, `tell` is called with their number, on that thread.
    ///
    /// # Errors
    /// Those of the system, when there can be no thread.
    pub(super) fn start(
        to: impl Write + Send + 'static,
        gather: Duration,
        tell: Tell,
    ) -> io::Result<Arc<Self>> {
        let state = State {
            lines: Vec::with_capacity(FULL + FULL / 2),
            is_urgent: false,
            stage: Stage::Busy,
            taken: 0,
            done: 0,
            is_stuck: false,
            lost: 0,
            writer: None,
        };
        let (called, written) = (Condvar::new(), Condvar::new());
        let spool = Arc::new(Self { state: Mutex::new(state), called, written, gather });
        let own = Arc::clone(&spool);
        thread::Builder::new().name("log".to_string()).spawn(move || own.write(Paper::new(to), &tell))?;
        Ok(spool)
    }

    /// Takes a line that may wait for others.
    pub(super) fn gather(&self, line: &[u8]) {
        let mut state = self.state();
        if state.takes(line, GATHERED_MAX) {
            let is_due = state.stage == Stage::Asleep || state.lines.len() >= FULL;
            self.call(state, is_due);
        }
    }

    /// Takes a line and comes back when it is written, and all before it. When nothing is taken it does not wait for
    /// long, and then not again until something is.
    pub(super) fn say(&self, line: &[u8]) {
        let mut state = self.state();
        if state.takes(line, SAID_MAX) {
            let wait = if state.is_stuck { Duration::ZERO } else { SAY_WAIT };
            self.wait(state, wait);
        }
    }

    /// Comes back when everything is written, but does not wait for ever.
    pub(super) fn flush(&self) {
        self.wait(self.state(), END_WAIT);
    }

    /// The lines that could not be kept or written.
    pub(super) fn lost(&self) -> u64 {
        self.state().lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, mut state: MutexGuard<'_, State>, is_due: bool) {
        if is_due && state.stage != Stage::Busy {
            state.stage = Stage::Busy;
            drop(state);
            self.called.notify_one();
        }
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, wait: Duration) {
        let is_something = !state.lines.is_empty();
        let mine = state.taken + u64::from(is_something);
        state.is_urgent |= is_something;
        let is_writer = state.writer == Some(thread::current().id());
        self.call(state, is_something);
        if is_writer {
            return;
        }
        let waited = self.written.wait_timeout_while(self.state(), wait, |state| state.done < mine);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_stuck |= waited.timed_out();
    }

    /// Never ends.
    fn write(&self, mut paper: Paper<impl Write>, tell: &Tell) {
        let mut lines = Vec::with_capacity(FULL + FULL / 2);
        let mut told = 0;
        self.state().writer = Some(thread::current().id());
        loop {
            self.take(&mut lines);
            let lost = paper.put(&lines);
            lines.clear();
            lines.shrink_to(FULL * 2);
            let mut state = self.state();
            state.lost += lost;
            state.done = state.taken;
            state.is_stuck = false;
            let all_lost = state.lost;
            drop(state);
            self.written.notify_all();
            if lost == 0 && all_lost > told {
                tell(all_lost - told);
                told = all_lost;
            }
        }
    }

    /// Waits until lines are due, and takes them.
    fn take(&self, lines: &mut Vec<u8>) {
        let mut state = self.state();
        loop {
            state = self.more(state);
            if !state.lines.is_empty() {
                break;
            }
            state.stage = Stage::Asleep;
            let woken = self.called.wait_while(state, |state| state.lines.is_empty());
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.lines, lines);
        state.is_urgent = false;
        state.stage = Stage::Busy;
        state.taken += 1;
    }

    /// Waits for more lines, until there are many, somebody waits for them or time is up.
    fn more<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let until = Instant::now() + self.gather;
        while !state.is_urgent && state.lines.len() < FULL {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.stage = Stage::Gathering;
            let waited = self.called.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

impl State {
    /// Whether there was a place for the line.
    fn takes(&mut self, line: &[u8], max: usize) -> bool {
        if self.lines.len() + line.len() > max {
            self.lost += 1;
            return false;
        }
        self.lines.extend_from_slice(line);
        true
    }
}

/// What is written to.
struct Paper<W> {
    to: W,
    /// The last line broke off in its middle.
    is_torn: bool,
}

impl<W: Write> Paper<W> {
    const fn new(to: W) -> Self {
        Self { to, is_torn: false }
    }

    /// Writes lines, and gives the number of those that were not taken.
    fn put(&mut self, lines: &[u8]) -> u64 {
        if self.is_torn && self.put_some(b"\n").is_err() {
            return count(lines);
        }
        self.is_torn = false;
        let Err(left) = self.put_some(lines) else { return 0 };
        self.is_torn = left < lines.len() && lines[lines.len() - left - 1] != b'\n';
        count(&lines[lines.len() - left..])
    }

    /// Or how many bytes are left.
    fn put_some(&mut self, mut bytes: &[u8]) -> Result<(), usize> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(bytes.len()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody who has the same file open has made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_AFTER),
                Err(_) => return Err(bytes.len()),
            }
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests;
