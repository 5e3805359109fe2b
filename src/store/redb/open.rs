//! Opening a file as a store, and telling why it can't be. Never: changes a file that has not proved to be ours.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::redb::backends::FileBackend;
use ::redb::{Builder, Database, ReadableDatabase as _, StorageBackend, TableDefinition, TableError};
use rustix::fs::{Mode, OFlags};

use super::StoreOptions;
use super::backend::Backend;
use super::ballast::is_full;
use super::row::{META, Reading, SENTINEL, Sentinel, unseal};

/// Why a file can't be created, opened or verified as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file.
    #[error("there is no store at {path}", path = .path.display())]
    NotFound {
        /// Where.
        path: PathBuf,
    },
    /// There is something already where a file was to be made.
    #[error("{path} is there already; it is not replaced", path = .path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("a server or a command has {path} open", path = .path.display())]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{path} is not an Ember store: {why}; nothing was changed", path = .path.display())]
    NotAnEmberStore {
        /// Where.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// A later version of Ember wrote it.
    #[error(
        "{path} has format {found}, this version of Ember knows formats up to {known}; use a later version",
        path = .path.display()
    )]
    Newer {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// It was a store once.
    #[error("{path} is damaged: {why}; restore a backup (docs/operate.md)", path = .path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The disk or the file system refused.
    #[error("{path} can't be used: {source}", path = .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.to_path_buf(), source: source.into() }
    }

    pub(super) fn foreign(path: &Path, why: &str) -> Self {
        Self::NotAnEmberStore { path: path.to_path_buf(), why: why.to_string() }
    }

    pub(super) fn damaged(path: &Path, why: impl ToString) -> Self {
        Self::Damaged { path: path.to_path_buf(), why: why.to_string() }
    }

    /// From an error of redb's own.
    pub(super) fn engine(path: &Path, error: ::redb::Error) -> Self {
        use ::redb::Error as E;
        if matches!(error, E::DatabaseAlreadyOpen | E::LockProtocolMismatch) {
            return Self::Locked { path: path.to_path_buf() };
        }
        if let E::Io(error) = error {
            return if short(&error) { Self::damaged(path, error) } else { Self::io(path, error) };
        }
        if matches!(
            error,
            E::PreviousIo | E::DatabaseClosed | E::LockPoisoned(_) | E::Unsupported | E::Backend(_)
        ) {
            return Self::io(path, io::Error::other(error.to_string()));
        }
        Self::damaged(path, error)
    }

    /// Whether the disk has no space.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

/// The file ends where it should not, or does not hold what it should.
fn short(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// The rows of a table, as redb has them.
pub(super) type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

type OpenDisk = dyn Fn() -> Result<Box<dyn StorageBackend>, OpenError> + Send + Sync;

/// Where a store lies, and how to get at it, as often as it takes.
pub(super) struct Source {
    pub(super) path: PathBuf,
    open: Box<OpenDisk>,
    pub(super) reads_only: bool,
}

impl Source {
    pub(super) fn file(path: &Path) -> Self {
        let place = path.to_path_buf();
        let open = move || open_file(&place, OFlags::RDWR);
        Self { path: path.to_path_buf(), open: Box::new(open), reads_only: false }
    }

    /// A file that nothing is let through to; this process need not be allowed to write it.
    pub(super) fn file_to_read(path: &Path) -> Self {
        let place = path.to_path_buf();
        let open = move || open_file(&place, OFlags::RDONLY);
        Self { path: path.to_path_buf(), open: Box::new(open), reads_only: true }
    }

    /// A disk of a test's own.
    #[cfg(test)]
    pub(super) fn disk<D: StorageBackend + Clone>(disk: D) -> Self {
        let open = move || Ok(Box::new(disk.clone()) as Box<dyn StorageBackend>);
        Self { path: PathBuf::from("(memory)"), open: Box::new(open), reads_only: false }
    }
}

fn open_file(path: &Path, access: OFlags) -> Result<Box<dyn StorageBackend>, OpenError> {
    let there = path.symlink_metadata().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return OpenError::NotFound { path: path.to_path_buf() };
        }
        OpenError::io(path, error)
    })?;
    if !there.is_file() {
        return Err(OpenError::foreign(path, "it is not a regular file"));
    }
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| OpenError::io(path, error))?);
    if !file.metadata().map_err(|error| OpenError::io(path, error))?.is_file() {
        return Err(OpenError::foreign(path, "it is not a regular file"));
    }
    let backend = FileBackend::new(file).map_err(|error| OpenError::engine(path, error.into()))?;
    Ok(Box::new(backend))
}

/// Takes from others what they may do with a file that is ours and lies in a directory of ours.
pub(super) fn tighten(path: &Path) -> Result<(), OpenError> {
    let facts = path.symlink_metadata().map_err(|error| OpenError::io(path, error))?;
    let me = rustix::process::geteuid().as_raw();
    // Elsewhere somebody else could put a link to another file of ours in its place.
    let is_ours = facts.is_file()
        && facts.uid() == me
        && path.parent().and_then(|parent| parent.metadata().ok()).is_some_and(|parent| parent.uid() == me);
    if !is_ours || facts.mode() & 0o177 == 0 {
        return Ok(());
    }
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(|error| OpenError::io(path, error))?;
    let mode = format!("{:o}", facts.mode() & 0o777);
    tracing::warn!(path = %path.display(), mode, "others could use the store's file; it is 0600 now");
    Ok(())
}

/// A database that is open and locked; nothing has been written to its disk, and nothing is until
/// [`Held::let_through`].
pub(super) struct Held {
    database: Database,
    backend: Backend,
    path: PathBuf,
}

impl Held {
    /// After a stop that was not clean redb verifies every page while it opens. After a clean one it does so where that
    /// takes no time to speak of; in a larger file records' own checksums speak when they are read.
    pub(super) fn open(source: &Source, options: &StoreOptions) -> Result<Self, OpenError> {
        let path = &source.path;
        let disk = (source.open)()?;
        let is_checked = look_at_start(path, disk.as_ref())? <= options.checked_bytes_max;
        let backend = Backend::held(disk, options.faults.clone(), source.reads_only);
        let database = contained(path, || {
            let opened = Builder::new()
                .set_cache_size(options.cache_bytes)
                .set_check_integrity_on_open(is_checked)
                .create_with_backend(backend.clone());
            opened.map_err(|error| OpenError::engine(path, error.into()))
        })?;
        Ok(Self { database, backend, path: path.clone() })
    }

    /// The sentinel row: proof that the file is ours, of a format up to `known`.
    pub(super) fn sentinel(&self, known: u32) -> Result<Sentinel, OpenError> {
        let path = &self.path;
        let stored = contained(path, || sentinel_row(&self.database, path))?;
        let value = unseal(META, SENTINEL, &stored)
            .ok_or_else(|| OpenError::damaged(path, "its sentinel row is not what was written"))?;
        match Sentinel::read(value, known) {
            Reading::Ours(sentinel) => Ok(sentinel),
            Reading::Newer(found) => Err(OpenError::Newer { path: path.clone(), found, known }),
            Reading::Foreign => Err(OpenError::foreign(path, "its sentinel row is another program's")),
        }
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// The database, which never writes to its disk: what it changes stays in memory.
    pub(super) fn into_database(self) -> Database {
        self.database
    }

    /// The file has proved to be ours: from now on it may be written.
    pub(super) fn let_through(self) -> Result<Database, OpenError> {
        self.backend.let_through().map_err(|error| OpenError::io(&self.path, error))?;
        Ok(self.database)
    }
}

/// Runs a call into redb; a panic in there is damage that redb did not expect.
pub(super) fn contained<T>(path: &Path, call: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(OpenError::damaged(path, "what it says about itself can't be")))
}

/// The file's length. redb would make a new database out of an empty file; an empty file was never a store.
fn look_at_start(path: &Path, disk: &dyn StorageBackend) -> Result<u64, OpenError> {
    const REDB: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
    let length = disk.len().map_err(|error| OpenError::io(path, error))?;
    if length == 0 {
        return Err(OpenError::foreign(path, "it is empty"));
    }
    let mut start = [0; REDB.len()];
    if length >= start.len() as u64 {
        disk.read(0, &mut start).map_err(|error| OpenError::io(path, error))?;
    }
    if &start == REDB { Ok(length) } else { Err(OpenError::foreign(path, "another program wrote it")) }
}

fn sentinel_row(database: &Database, path: &Path) -> Result<Vec<u8>, OpenError> {
    let broken = |error: ::redb::Error| OpenError::engine(path, error);
    let without = || OpenError::foreign(path, "it has no sentinel row");
    let read = database.begin_read().map_err(|error| broken(error.into()))?;
    let table = match read.open_table(Definition::new(META)) {
        Ok(table) => table,
        Err(TableError::Storage(error)) => return Err(broken(error.into())),
        Err(_) => return Err(without()),
    };
    let row = ::redb::ReadableTable::get(&table, SENTINEL).map_err(|error| broken(error.into()))?;
    row.map(|row| row.value().to_vec()).ok_or_else(without)
}
