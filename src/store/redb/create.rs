//! Making a store's file so that a kill at any moment leaves either none or a whole one. Never: replaces a file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ::redb::backends::FileBackend;
use ::redb::{Builder, Database, Durability, StorageBackend, WriteTransaction};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::StoreOptions;
use super::backend::Backend;
use super::open::{Definition, OpenError};
use super::row::{Birth, FORMAT, META, SENTINEL, Sentinel, seal};

/// Makes a store's file: `fill` says what is in it, `check` looks at the finished file before it gets its name.
///
/// The file is built under another name in the same directory, synced, renamed, and the directory synced. The
/// directory is locked meanwhile, so what is found under that other name was left by someone killed.
pub(super) fn create_file<T, E: From<OpenError>>(
    path: &Path,
    options: &StoreOptions,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), E>,
    check: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let directory = Directory::lock(path)?;
    refuse_present(path)?;
    discard(&draft_of(path))?;
    make(&directory, path, options, fill, check)
}

/// The same for a copy, whose name nobody else uses: the directory is not locked, and a draft that is there is left.
pub(super) fn copy_file<T, E: From<OpenError>>(
    path: &Path,
    options: &StoreOptions,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), E>,
    check: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let directory = Directory::open(path)?;
    refuse_present(path)?;
    make(&directory, path, options, fill, check)
}

fn refuse_present(path: &Path) -> Result<(), OpenError> {
    match path.symlink_metadata() {
        Ok(_) => Err(OpenError::Exists { path: path.to_path_buf() }),
        Err(_) => Ok(()),
    }
}

fn make<T, E: From<OpenError>>(
    directory: &Directory,
    path: &Path,
    options: &StoreOptions,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), E>,
    check: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let draft = draft_of(path);
    let file = new_file(&draft)?;
    let made = build(file, &draft, options, fill).and_then(|()| check(&draft)).and_then(|checked| {
        name(&draft, path)?;
        directory.sync(path)?;
        Ok(checked)
    });
    if made.is_err() {
        // What can't be removed now is removed by the next try.
        drop(std::fs::remove_file(&draft));
    }
    made
}

/// Puts a new store's sentinel on a disk that is empty.
#[cfg(test)]
pub(super) fn create_on(disk: Box<dyn StorageBackend>, path: &Path, birth: Birth) -> Result<(), OpenError> {
    build_on(disk, path, &StoreOptions::default(), |write| put_sentinel(write, path, birth))
}

/// Writes the row that says that this is an Ember store of the present format.
pub(super) fn put_sentinel(write: &WriteTransaction, path: &Path, birth: Birth) -> Result<(), OpenError> {
    put_sentinel_of(write, FORMAT, birth).map_err(|error| OpenError::engine(path, error))
}

pub(super) fn put_sentinel_of(
    write: &WriteTransaction,
    format: u32,
    birth: Birth,
) -> Result<(), ::redb::Error> {
    let value = Sentinel { format, birth }.to_bytes();
    write.open_table(Definition::new(META))?.insert(SENTINEL, seal(META, SENTINEL, &value).as_slice())?;
    Ok(())
}

/// A write as every write is: durable when it returns, in two phases because names come from outside.
pub(super) fn begin_write(database: &Database) -> Result<WriteTransaction, ::redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    write.set_two_phase_commit(true);
    Ok(write)
}

/// The name that a file has while it is being made.
pub(super) fn draft_of(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_os_string();
    draft.push(".new");
    draft.into()
}

/// A new, empty file that only its owner may read.
pub(super) fn new_file(path: &Path) -> Result<File, OpenError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    file.map(File::from).map_err(|error| OpenError::io(path, error))
}

/// Removes what a killed process left under a draft's name.
pub(super) fn discard(draft: &Path) -> Result<(), OpenError> {
    match std::fs::remove_file(draft) {
        Ok(()) => {
            tracing::warn!(path = %draft.display(), "removed what an interrupted start left behind");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io(draft, error)),
    }
}

/// The directory that a file lies in; locked against others who would make a store in it, but for copies.
pub(super) struct Directory(File);

impl Directory {
    fn open(path: &Path) -> Result<Self, OpenError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).map(Self).map_err(|error| OpenError::io(parent, error))
    }

    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let directory = Self::open(path)?;
        match rustix::fs::flock(&directory.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(directory),
            Err(Errno::WOULDBLOCK) => Err(OpenError::Locked { path: path.to_path_buf() }),
            Err(error) => Err(OpenError::io(path, error)),
        }
    }

    pub(super) fn sync(&self, path: &Path) -> Result<(), OpenError> {
        self.0.sync_all().map_err(|error| OpenError::io(path, error))
    }
}

fn build<E: From<OpenError>>(
    file: File,
    draft: &Path,
    options: &StoreOptions,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), E>,
) -> Result<(), E> {
    let synced = file.try_clone().map_err(|error| OpenError::io(draft, error))?;
    let disk = FileBackend::new(file).map_err(|error| OpenError::engine(draft, error.into()))?;
    build_on(Box::new(disk), draft, options, fill)?;
    Ok(synced.sync_all().map_err(|error| OpenError::io(draft, error))?)
}

fn build_on<E: From<OpenError>>(
    disk: Box<dyn StorageBackend>,
    path: &Path,
    options: &StoreOptions,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), E>,
) -> Result<(), E> {
    let broken = |error: ::redb::Error| OpenError::engine(path, error);
    let backend = Backend::held(disk, options.faults.clone(), false);
    backend.let_through().map_err(|error| OpenError::io(path, error))?;
    let database = Builder::new()
        .set_cache_size(options.cache_bytes)
        .create_with_backend(backend)
        .map_err(|error| broken(error.into()))?;
    let write = begin_write(&database).map_err(broken)?;
    fill(&write)?;
    write.commit().map_err(|error| broken(error.into()))?;
    Ok(database.close().map_err(|error| broken(error.into()))?)
}

/// Gives the draft its name, unless the name is taken.
fn name(draft: &Path, path: &Path) -> Result<(), OpenError> {
    let renamed = match rustix::fs::renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE) {
        // A file system that can't rename without replacing can still link.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::link(draft, path).and_then(|()| rustix::fs::unlink(draft))
        }
        renamed => renamed,
    };
    renamed.map_err(|error| match error {
        Errno::EXIST => OpenError::Exists { path: path.to_path_buf() },
        error => OpenError::io(path, error),
    })
}
