//! The store in a redb file: opened, created, read, and handed to the one thread that writes. The only place that
//! names redb. Never: what the rows mean.

mod backend;
mod ballast;
mod compact;
mod create;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod group;
mod migration;
mod open;
mod pulse;
mod row;
mod shared;
mod snapshot;
mod writer;

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::redb::{
    AccessGuard, Database, Range, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata as _,
    StorageError, TableError,
};

pub use backend::{Fault, FaultKind, FaultOn, Faults};
pub use compact::{CompactStep, Compacted, compact};
pub use open::OpenError;
pub use row::{Birth, FORMAT};
pub use snapshot::{SnapshotError, TableCount, Verified, row_of, verify};

use crate::types::sync::mpsc::{SyncSender, sync_channel};
use crate::types::sync::{self, JoinHandle};

use super::{Commit, CommitError, Observer, Pending, Row, Store, Table, Trouble, nothing_between};
use ballast::Ballast;
use migration::{FORMATS, Formats};
use open::{Definition, Held, Source};
use row::unseal;
use shared::{BeginError, Shared};
use writer::{Job, QUEUE_MAX, Waiting, Writer};

/// Told how long a group of commits took to become durable, and whether it did.
pub type CommitWatch = Box<dyn Fn(Duration, bool) + Send + Sync>;

/// How a store uses the machine.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// Disk space kept back for denials, in a file `ballast` beside the store; 0 for none.
    pub ballast_bytes: u64,
    /// How long a full disk is left alone before it is looked at again.
    pub ballast_wait: Duration,
    /// The wait between the first two tries to reopen after an error of the disk; it doubles from try to try.
    pub reopen_wait: Duration,
    /// The longest wait between two such tries.
    pub reopen_wait_max: Duration,
    /// Up to this length a file is read and checked whole each time it is opened.
    pub checked_bytes_max: u64,
    /// Faults that a test puts into the disk.
    #[doc(hidden)]
    pub faults: Option<Faults>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 8 * 1024 * 1024,
            ballast_bytes: 4 * 1024 * 1024,
            ballast_wait: Duration::from_secs(1),
            reopen_wait: Duration::from_millis(50),
            reopen_wait_max: Duration::from_secs(5),
            checked_bytes_max: 16 * 1024 * 1024,
            faults: None,
        }
    }
}

/// A store in one redb file, which this process alone has open. Tables named `_ember` are its own.
pub struct RedbStore {
    shared: Arc<Shared>,
    birth: Birth,
    path: PathBuf,
    cache_bytes: usize,
    /// Nothing is committed; what reading it makes redb write stays in memory.
    reads_only: bool,
    /// None only while it is being dropped.
    jobs: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl RedbStore {
    /// Makes a new store, mode 0600, and opens it. A kill at any moment leaves none or a whole one.
    ///
    /// # Errors
    /// [`OpenError`]: `Exists` when something is there already, `Locked` while another process makes one there.
    pub fn create(path: &Path, birth: Birth, options: StoreOptions) -> Result<Self, OpenError> {
        let fill = |write: &::redb::WriteTransaction| create::put_sentinel(write, path, birth);
        create::create_file(path, &options, fill, |_| Ok(()))?;
        Self::open(path, options)
    }

    /// Opens a store that is there. Never makes one, and changes no byte of what is not an Ember store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        Self::open_file(path, options, FORMATS)
    }

    /// Opens a store to be looked at: commits are refused, and no byte of it and nothing beside it is changed, whatever
    /// state it is in. Others can't open it to write meanwhile.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_to_read(path: &Path) -> Result<Self, OpenError> {
        let options = StoreOptions::default();
        let source = Source::file_to_read(path);
        let held = Held::open(&source, &options)?;
        let sentinel = held.sentinel(FORMATS.newest)?;
        Self::start(source, held.into_database(), sentinel.birth, options, Ballast::none())
    }

    fn open_file(path: &Path, options: StoreOptions, formats: Formats) -> Result<Self, OpenError> {
        let source = Source::file(path);
        let held = Held::open(&source, &options)?;
        let sentinel = held.sentinel(formats.newest)?;
        open::tighten(path)?;
        if formats.is_old(sentinel) {
            formats.keep_copy(path)?;
        }
        let ballast = path.with_file_name("ballast");
        let mut ballast = Ballast::keep(ballast, options.ballast_bytes, options.ballast_wait);
        let database = match held.let_through() {
            Err(error) if error.is_full() && ballast.release() => {
                Held::open(&source, &options)?.let_through()
            }
            opened => opened,
        }?;
        if formats.is_old(sentinel) {
            open::contained(path, || formats.migrate(&database, sentinel, path))?;
        }
        Self::start(source, database, sentinel.birth, options, ballast)
    }

    fn start(
        source: Source,
        database: Database,
        birth: Birth,
        options: StoreOptions,
        ballast: Ballast,
    ) -> Result<Self, OpenError> {
        let (path, cache_bytes, reads_only) = (source.path.clone(), options.cache_bytes, source.reads_only);
        let shared = Arc::new(Shared::new(database));
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let writer = Writer::new(queue, shared.clone(), source, options, ballast, birth);
        let writer =
            sync::spawn("store-writer", move || writer.run()).map_err(|error| OpenError::io(&path, error))?;
        let (jobs, writer) = (Some(jobs), Some(writer));
        Ok(Self { shared, birth, path, cache_bytes, reads_only, jobs, writer })
    }

    /// What was given when the store was created.
    #[must_use]
    pub fn birth(&self) -> Birth {
        self.birth
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has `watch` told how long each group of commits took to become durable, and whether it did. Only the first
    /// watch is told. It is called on the thread that writes.
    pub fn watch_commits(&self, watch: CommitWatch) {
        self.shared.watch_commits(watch);
    }

    /// Whether reads and commits can be answered now; the reason if not.
    ///
    /// # Errors
    /// [`Trouble::Unavailable`].
    pub fn health(&self) -> Result<(), Trouble> {
        self.shared.down().map_or(Ok(()), Err)
    }

    /// A number that moves on while the writer thread does. Asks it for one more turn, without waiting for that: seen
    /// again later, the same number means that it is stuck, unless [`Self::is_at_disk`].
    #[must_use]
    pub fn writer_turns(&self) -> u64 {
        let turns = self.shared.pulse.turns();
        if let Some(jobs) = &self.jobs {
            // A full queue has jobs enough that move the number on.
            drop(jobs.try_send(Job::Turn));
        }
        turns
    }

    /// Whether the writer thread is in a call to the disk, which may take as long as the disk does.
    #[must_use]
    pub fn is_at_disk(&self) -> bool {
        self.shared.pulse.is_at_disk()
    }

    fn begin_read(&self) -> Result<ReadTransaction, Trouble> {
        self.shared.begin_read().map_err(|error| match error {
            BeginError::Down(trouble) => trouble,
            BeginError::Engine(error) => self.ailing(error),
        })
    }

    /// A read met an error of the disk. redb answers nothing more until it is reopened, so the writer is told.
    fn ailing(&self, error: ::redb::Error) -> Trouble {
        if let Some(jobs) = &self.jobs {
            // When the queue is full, the commits in it will meet the same error.
            drop(jobs.try_send(Job::Ailing(self.shared.generation())));
        }
        Trouble::Unavailable(error.to_string())
    }

    /// Reads from one state of a table; `default` when there is no such table.
    fn read<T>(
        &self,
        table: Table,
        default: T,
        read: impl FnOnce(&ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, ReadError>,
    ) -> Result<T, Trouble> {
        let damaged = || Trouble::Damaged { table: table.0 };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let transaction = self.begin_read().map_err(ReadError::Trouble)?;
            match transaction.open_table(Definition::new(table.0)) {
                Ok(rows) => read(&rows),
                Err(TableError::TableDoesNotExist(_)) => Ok(default),
                Err(error) => Err(ReadError::Engine(error.into())),
            }
        }));
        outcome.unwrap_or(Err(ReadError::Damaged)).map_err(|error| match error {
            ReadError::Trouble(trouble) => trouble,
            ReadError::Damaged | ReadError::Engine(::redb::Error::Corrupted(_)) => damaged(),
            ReadError::Engine(error) => self.ailing(error),
        })
    }

    /// What `pick` takes of the rows within the bounds.
    fn range(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        pick: impl FnOnce(Rows) -> Result<Vec<Row>, ReadError>,
    ) -> Result<Vec<Row>, Trouble> {
        if nothing_between(from, to) {
            return self.health().map(|()| Vec::new());
        }
        self.read(table, Vec::new(), |rows| pick(rows.range::<&[u8]>((from, to))?))
    }
}

type Rows = Range<'static, &'static [u8], &'static [u8]>;
type Bytes<'a> = AccessGuard<'a, &'static [u8]>;

/// The rows as they were written.
fn unsealed<'a>(
    table: Table,
    rows: impl Iterator<Item = Result<(Bytes<'a>, Bytes<'a>), StorageError>>,
) -> Result<Vec<Row>, ReadError> {
    rows.map(|row| {
        let (key, stored) = row?;
        let value = unseal(table.0, key.value(), stored.value()).ok_or(ReadError::Damaged)?;
        Ok((key.value().to_vec(), value.to_vec()))
    })
    .collect()
}

/// That there is no such row is believed when those beside its place are what was written: a row whose key changed on
/// the disk lies there still.
fn missing(
    table: Table,
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<(), ReadError> {
    let before = rows.range::<&[u8]>((Bound::Unbounded, Bound::Excluded(key)))?.next_back();
    let after = rows.range::<&[u8]>((Bound::Excluded(key), Bound::Unbounded))?.next();
    for row in before.into_iter().chain(after) {
        let (key, stored) = row?;
        unseal(table.0, key.value(), stored.value()).ok_or(ReadError::Damaged)?;
    }
    Ok(())
}

enum ReadError {
    Trouble(Trouble),
    Damaged,
    Engine(::redb::Error),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        Self::Engine(error.into())
    }
}

impl Store for RedbStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        self.read(table, None, |rows| {
            let Some(stored) = rows.get(key)? else { return missing(table, rows, key).map(|()| None) };
            let value = unseal(table.0, key, stored.value()).ok_or(ReadError::Damaged)?;
            Ok(Some(value.to_vec()))
        })
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        self.range(table, from, to, |rows| unsealed(table, rows.take(rows_max)))
    }

    fn scan_back(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        self.range(table, from, to, |rows| unsealed(table, rows.rev().take(rows_max)))
    }

    fn count(&self, table: Table) -> Result<u64, Trouble> {
        self.read(table, 0, |rows| Ok(rows.len()?))
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.submit(commit)?.wait()
    }

    fn submit(&self, commit: Commit) -> Result<Pending, CommitError> {
        let commit = commit.measured()?;
        if self.reads_only {
            return Err(Trouble::Unavailable("the store was opened to be looked at only".to_string()).into());
        }
        self.health()?;
        let closed = || Trouble::Unavailable("the store is closed".to_string());
        let (reply, answer) = sync_channel(1);
        let job = Job::Commit(Waiting { commit, reply });
        self.jobs.as_ref().ok_or_else(closed)?.send(job).map_err(|_| closed())?;
        Ok(Pending(Some(answer)))
    }

    fn observe(&self, observer: Observer) {
        self.shared.observe(observer);
    }
}

impl Drop for RedbStore {
    /// Commits that wait are finished, then the file is closed.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

#[cfg(test)]
mod tests;
