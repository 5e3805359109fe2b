//! What readers and the writer thread share: the open database, or why there is none. Never: opens or closes it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{OnceLock, PoisonError};
use std::time::Duration;

use ::redb::{Database, ReadTransaction, ReadableDatabase as _};

use super::CommitWatch;
use super::pulse::Pulse;
use crate::store::{Observer, Trouble, Write};
use crate::types::sync::atomic::{AtomicU64, Ordering};
use crate::types::sync::{Mutex, RwLock};

pub(super) struct Shared {
    pub(super) state: RwLock<State>,
    /// Counts the times the database was opened.
    generation: AtomicU64,
    observers: Mutex<Vec<Observer>>,
    commit_watch: OnceLock<CommitWatch>,
    pub(super) pulse: Pulse,
}

pub(super) enum State {
    Open(Database),
    /// Why.
    Down(String),
}

impl Shared {
    pub(super) fn new(database: Database) -> Self {
        Self {
            state: RwLock::new(State::Open(database)),
            generation: AtomicU64::new(0),
            observers: Mutex::default(),
            commit_watch: OnceLock::new(),
            pulse: Pulse::default(),
        }
    }

    /// Begins a read, which then holds nothing that a reopening would have to wait for.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, BeginError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => database.begin_read().map_err(|error| BeginError::Engine(error.into())),
            State::Down(why) => Err(BeginError::Down(Trouble::Unavailable(why.clone()))),
        }
    }

    /// Why the database is not open, if it is not.
    pub(super) fn down(&self) -> Option<Trouble> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(_) => None,
            State::Down(why) => Some(Trouble::Unavailable(why.clone())),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A database was opened; everyone uses it from now on.
    pub(super) fn put_up(&self, database: Database) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::Release);
        *state = State::Open(database);
    }

    /// Nobody gets at the database from now on; it is handed out to be closed.
    pub(super) fn put_down(&self, why: &str) -> Option<Database> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Down(why.to_string())) {
            State::Open(database) => Some(database),
            State::Down(_) => None,
        }
    }

    pub(super) fn observe(&self, observer: Observer) {
        self.observers.lock().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    pub(super) fn watch_commits(&self, watch: CommitWatch) {
        // A second one is not wanted.
        drop(self.commit_watch.set(watch));
    }

    /// Tells the watch, if there is one, how long a group of commits took and whether it became durable.
    pub(super) fn commit_took(&self, took: Duration, is_durable: bool) {
        if let Some(watch) = self.commit_watch.get()
            && catch_unwind(AssertUnwindSafe(|| watch(took, is_durable))).is_err()
        {
            tracing::error!("the watch on the store's commits panicked");
        }
    }

    /// Tells all observers; one that panics keeps neither the others nor the commit's owner waiting.
    pub(super) fn tell(&self, writes: &[Write]) {
        for observer in self.observers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if catch_unwind(AssertUnwindSafe(|| observer(writes))).is_err() {
                tracing::error!("an observer of the store panicked");
            }
        }
    }
}

/// Why a read did not begin.
pub(super) enum BeginError {
    Engine(::redb::Error),
    Down(Trouble),
}
