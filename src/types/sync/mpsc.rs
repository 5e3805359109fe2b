//! std's bounded channel, as far as it is used, of loom's lock: loom has none that is bounded. Never: real time.

#![allow(clippy::unwrap_used, reason = "it is a test")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

pub(crate) use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TrySendError};

struct Line<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    waiting_max: usize,
    senders: usize,
    has_receiver: bool,
}

pub(crate) struct SyncSender<T>(Arc<Line<T>>);

pub(crate) struct Receiver<T>(Arc<Line<T>>);

pub(crate) fn sync_channel<T>(waiting_max: usize) -> (SyncSender<T>, Receiver<T>) {
    let state = State { waiting: VecDeque::new(), waiting_max, senders: 1, has_receiver: true };
    let line = Arc::new(Line { state: Mutex::new(state), changed: Condvar::new() });
    (SyncSender(Arc::clone(&line)), Receiver(line))
}

impl<T> SyncSender<T> {
    pub(crate) fn send(&self, one: T) -> Result<(), SendError<T>> {
        let mut state = self.0.state.lock().unwrap();
        while state.has_receiver && state.waiting.len() == state.waiting_max {
            state = self.0.changed.wait(state).unwrap();
        }
        if !state.has_receiver {
            return Err(SendError(one));
        }
        state.waiting.push_back(one);
        self.0.changed.notify_all();
        Ok(())
    }

    pub(crate) fn try_send(&self, one: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.state.lock().unwrap();
        if !state.has_receiver {
            return Err(TrySendError::Disconnected(one));
        }
        if state.waiting.len() == state.waiting_max {
            return Err(TrySendError::Full(one));
        }
        state.waiting.push_back(one);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Drop for SyncSender<T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Receiver<T> {
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.0.state.lock().unwrap();
        loop {
            if let Some(one) = state.waiting.pop_front() {
                self.0.changed.notify_all();
                return Ok(one);
            }
            if state.senders == 0 {
                return Err(RecvError);
            }
            state = self.0.changed.wait(state).unwrap();
        }
    }

    /// However long it may wait, nothing comes in time that is not there when it begins to: that every moment is tried
    /// for the beginning makes good for it.
    pub(crate) fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        let mut state = self.0.state.lock().unwrap();
        match state.waiting.pop_front() {
            Some(one) => {
                self.0.changed.notify_all();
                Ok(one)
            }
            None if state.senders == 0 => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    pub(crate) fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv_timeout(Duration::ZERO).ok())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().has_receiver = false;
        self.0.changed.notify_all();
    }
}
