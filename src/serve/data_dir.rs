//! The data directory: made, tightened or refused, and the owner of what is put into it. Never: what is in the files.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::gift;

/// A directory that only its owner can enter.
#[derive(Debug, Clone)]
pub(super) struct DataDir {
    path: PathBuf,
    uid: u32,
    gid: u32,
}

/// Why a directory can't hold Ember's data.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It is not there.
    #[error("there is no data directory {0}; `ember up` makes one, or choose another with --data")]
    Missing(PathBuf),
    /// It is a file or something else.
    #[error("{0} is not a directory; choose another place with --data")]
    NotADirectory(PathBuf),
    /// Others can read it, and it is not ours to change.
    #[error(
        "others can read {path} (mode {mode:o}), and it belongs to user {uid}; let its owner run `chmod 700 {path}`, or \
         give Ember a directory of its own inside: --data {path}/ember"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// It holds other things, which would be closed to whoever uses them.
    #[error(
        "{0} holds other things and others can read it; choose an empty directory, or one with mode 700, or one to be made \
         inside: --data {0}/ember"
    )]
    InUse(PathBuf),
    /// It belongs to someone else.
    #[error("{path} belongs to user {uid}, and this is user {me}; run ember as that user or as root")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Who asked.
        me: u32,
    },
    /// It belongs to someone else who lets us write in it, as in a volume that a group shares.
    #[error(
        "{path} belongs to user {uid}, and this is user {me}, who may write in it: give Ember a directory of its own \
         inside, which it makes and closes to others: --data {path}/ember"
    )]
    Shared {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Who asked.
        me: u32,
    },
    /// It is not there, and this user may not make it.
    #[error(
        "the data directory {path} can't be made: {above} belongs to user {uid} and group {gid} with mode {mode:o}, and \
         this is user {me}; make it as root and give it to user {me}, or choose another place with --data"
    )]
    NotOursToMake {
        /// The directory.
        path: PathBuf,
        /// The one above it that is there.
        above: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its permissions.
        mode: u32,
        /// Who asked.
        me: u32,
    },
    /// The system refused.
    #[error("the data directory {path} can't be used: {error}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl DataDir {
    /// The name of the database in it.
    pub(super) const DATABASE: &'static str = "ember.redb";
    /// The name of the socket in it on which a running server takes commands.
    pub(super) const SOCKET: &'static str = "ember.sock";
    /// The name of the file with the models that servers last said they have.
    pub(super) const MODELS: &'static str = "models.json";

    /// Takes a directory that is there; makes it when it is not there and `create` says so. One that others can read
    /// is tightened to 0700 when it is ours and a store is in it, or will be made in it and nothing else is there.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub(super) fn take(path: &Path, create: bool) -> Result<Self, DataDirError> {
        let failed = |error| DataDirError::Io { path: path.to_path_buf(), error };
        let me = rustix::process::geteuid().as_raw();
        if create && !path.exists() {
            make(path).map_err(|error| not_made(path, error))?;
        }
        let facts = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DataDirError::Missing(path.to_path_buf()));
            }
            facts => facts.map_err(failed)?,
        };
        if !facts.is_dir() {
            return Err(DataDirError::NotADirectory(path.to_path_buf()));
        }
        let (uid, mode) = (facts.uid(), facts.mode() & 0o7777);
        if me != 0 && me != uid {
            let path = path.to_path_buf();
            return Err(match access(&path, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => DataDirError::Shared { path, uid, me },
                Err(_) => DataDirError::Foreign { path, uid, me },
            });
        }
        let has_store = path.join(Self::DATABASE).exists();
        if mode & 0o077 != 0 && (create || has_store) {
            if !has_store && !is_empty(path).map_err(failed)? {
                return Err(DataDirError::InUse(path.to_path_buf()));
            }
            if me != uid {
                return Err(DataDirError::Open { path: path.to_path_buf(), mode, uid });
            }
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
            tracing::warn!(path = %path.display(), "others could read the data directory; it is 0700 now");
        }
        Ok(Self { path: path.to_path_buf(), uid, gid: facts.gid() })
    }

    /// The directory itself.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The user it belongs to.
    #[must_use]
    pub(super) fn owner(&self) -> u32 {
        self.uid
    }

    /// A file in it.
    #[must_use]
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Gives files that root made in it to the directory's owner, so that the server can still use them.
    pub(super) fn hand_over(&self) {
        if rustix::process::geteuid().is_root() && self.uid != 0 {
            gift::give(&self.path, self.uid, self.gid);
        }
    }
}

/// Makes a directory and those above it; none is forgotten when the power fails.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|above| !above.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let above = missing.iter().filter_map(|made| made.parent());
    above.filter(|above| !above.as_os_str().is_empty()).try_for_each(|above| File::open(above)?.sync_all())
}

/// Why a directory could not be made.
fn not_made(path: &Path, error: io::Error) -> DataDirError {
    let above = path.ancestors().find_map(|above| Some((above, fs::metadata(above).ok()?)));
    match above {
        Some((above, facts)) if error.kind() == io::ErrorKind::PermissionDenied => {
            DataDirError::NotOursToMake {
                path: path.to_path_buf(),
                above: above.to_path_buf(),
                uid: facts.uid(),
                gid: facts.gid(),
                mode: facts.mode() & 0o7777,
                me: rustix::process::geteuid().as_raw(),
            }
        }
        _ => DataDirError::Io { path: path.to_path_buf(), error },
    }
}

/// A file system's own folder for lost files does not count.
fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(path)?.flatten().all(|entry| entry.file_name() == "lost+found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_for_its_owner_only() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a/b");
        assert!(matches!(DataDir::take(&path, false), Err(DataDirError::Missing(_))));
        DataDir::take(&path, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_of_ours_that_others_can_read_is_tightened() {
        for (create, store) in [(true, false), (false, true), (true, true)] {
            let top = tempfile::tempdir().unwrap();
            fs::set_permissions(top.path(), Permissions::from_mode(0o755)).unwrap();
            if store {
                fs::write(top.path().join(DataDir::DATABASE), "").unwrap();
            }
            DataDir::take(top.path(), create).unwrap();
            assert_eq!(fs::metadata(top.path()).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn bug_a_directory_that_is_not_embers_keeps_its_permissions() {
        let top = tempfile::tempdir().unwrap();
        fs::set_permissions(top.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(top.path().join("somebody-elses"), "").unwrap();
        DataDir::take(top.path(), false).unwrap();
        assert!(matches!(DataDir::take(top.path(), true), Err(DataDirError::InUse(_))));
        assert_eq!(fs::metadata(top.path()).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(DataDir::take(file.path(), true), Err(DataDirError::NotADirectory(_))));
    }
}
