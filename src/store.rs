//! Durable tables of bytes: reads, scans, and commits that are data (checks and writes), all or nothing.
//! Never: accounts, keys, or what any of the bytes mean; which engine is behind it.

mod memory;
mod redb;

use std::ops::Bound;

use crate::types::sync::mpsc::Receiver;

pub use self::memory::MemoryStore;
#[cfg(any(test, fuzzing))]
pub use self::redb::fuzz;
pub use self::redb::{
    Birth, CommitWatch, CompactStep, Compacted, FORMAT, OpenError, RedbStore, SnapshotError, StoreOptions,
    TableCount, Verified, compact, row_of, verify,
};
#[doc(hidden)]
pub use self::redb::{Fault, FaultKind, FaultOn, Faults};

/// Names a table. Whoever owns the records owns the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table(pub &'static str);

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Something that must be so for a commit to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// No row has this key.
    Absent {
        /// Where.
        table: Table,
        /// Which row.
        key: Vec<u8>,
    },
    /// The row with this key has exactly this value.
    Equals {
        /// Where.
        table: Table,
        /// Which row.
        key: Vec<u8>,
        /// The value it must have.
        value: Vec<u8>,
    },
}

/// A change to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets the row, whether or not it was there.
    Put {
        /// Where.
        table: Table,
        /// Which row; at most [`KEY_BYTES_MAX`].
        key: Vec<u8>,
        /// Its new value; at most [`VALUE_BYTES_MAX`].
        value: Vec<u8>,
    },
    /// Takes the row away, if it is there.
    Delete {
        /// Where.
        table: Table,
        /// Which row.
        key: Vec<u8>,
    },
}

/// The longest key of a row, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The longest value of a row, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// How much a commit matters when space is short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Refused when the disk is full.
    #[default]
    Ordinary,
    /// May use the space kept back for it: taking a right away must work on a full disk.
    Denial,
}

/// What is to happen: if every check holds, every write; else nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Looked at together, against what is committed.
    pub checks: Vec<Check>,
    /// Done together, in this order.
    pub writes: Vec<Write>,
    /// How much it matters when space is short.
    pub urgency: Urgency,
}

/// The store can't answer now. A right is never denied because of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The engine failed to read or write; it is being reopened.
    #[error("the store can't be used right now: {0}; it is reopened as soon as the disk allows")]
    Unavailable(String),
    /// A record is not what was written.
    #[error("a record in table '{table}' is damaged; restore a backup (docs/operate.md)")]
    Damaged {
        /// Where it lies.
        table: &'static str,
    },
}

/// Why a commit did not happen, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A check did not hold; nothing was changed.
    #[error("check {check} did not hold; nothing was changed")]
    Conflict {
        /// Which of the commit's checks, counted from 0.
        check: usize,
    },
    /// A row is longer than [`KEY_BYTES_MAX`] and [`VALUE_BYTES_MAX`] allow; nothing was changed.
    #[error("a {part} for table '{table}' has {bytes} bytes, {bytes_max} is the most; nothing was changed")]
    TooLong {
        /// Where it was to go.
        table: &'static str,
        /// "key" or "value".
        part: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// No space; nothing was changed.
    #[error("the disk is full; nothing was changed, free some space and try again")]
    Full,
    /// Nothing was changed, or the engine could not find out whether it was: read again before relying on either.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

impl Commit {
    /// Refuses rows that are too long for any engine.
    fn measured(self) -> Result<Self, CommitError> {
        for write in &self.writes {
            match write {
                Write::Put { table, key, value } => {
                    measure(*table, "key", key, KEY_BYTES_MAX)?;
                    measure(*table, "value", value, VALUE_BYTES_MAX)?;
                }
                Write::Delete { table, key } => measure(*table, "key", key, KEY_BYTES_MAX)?,
            }
        }
        Ok(self)
    }
}

fn measure(table: Table, part: &'static str, text: &[u8], bytes_max: usize) -> Result<(), CommitError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(CommitError::TooLong { table: table.0, part, bytes: text.len(), bytes_max })
}

/// Whether no key at all lies within the bounds.
fn nothing_between(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from >= to
        }
    }
}

/// Told of each commit, in commit order, after it is durable and before it is acknowledged. Must not block or
/// call the store.
pub type Observer = Box<dyn Fn(&[Write]) + Send + Sync>;

/// A commit that was handed over.
pub struct Pending(Option<Receiver<Result<(), CommitError>>>);

impl Pending {
    /// Returns when the commit is durable, and not before.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn wait(self) -> Result<(), CommitError> {
        let closed = || Trouble::Unavailable("the store is closed".to_string());
        match self.0 {
            None => Ok(()),
            Some(answer) => answer.recv().map_err(|_| closed())?,
        }
    }
}

/// A store. All calls block; whoever may not block calls from a thread that may.
pub trait Store: Send + Sync {
    /// The value of one row.
    ///
    /// # Errors
    /// [`Trouble`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble>;

    /// Rows within the bounds, in order of their keys, `rows_max` at most. One call sees one state.
    ///
    /// # Errors
    /// [`Trouble`].
    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble>;

    /// As [`Store::scan`], but from the other end: the rows nearest to `to`, the last one first.
    ///
    /// # Errors
    /// [`Trouble`].
    fn scan_back(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble>;

    /// How many rows a table has.
    ///
    /// # Errors
    /// [`Trouble`].
    fn count(&self, table: Table) -> Result<u64, Trouble>;

    /// Returns when the commit is durable, and not before.
    ///
    /// # Errors
    /// [`CommitError`].
    fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// Hands a commit over and does not wait: it is decided after all that were handed over before it. An engine that
    /// has no line of commits carries it out at once.
    ///
    /// # Errors
    /// [`CommitError`], when it can't even be handed over.
    fn submit(&self, commit: Commit) -> Result<Pending, CommitError> {
        self.commit(commit).map(|()| Pending(None))
    }

    /// From now on, tells the observer of every commit.
    fn observe(&self, observer: Observer);
}

#[cfg(test)]
mod contract;
