//! Space kept back on the disk for denials: taking a right away must work when nothing else does.
//! Never: what is written into the space that it gives free.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

/// A file of really allocated space. Once given free it is taken back only when twice its size is free, so that
/// ordinary writes neither eat what denials need nor run into the end of the disk again at once.
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
    wait: Duration,
    state: State,
    /// Called in place of the disk's own slowness.
    #[cfg(test)]
    pub(super) at_disk: Option<Box<dyn Fn() + Send>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Kept,
    /// The disk is short; when it was last looked at.
    Released(Instant),
    /// None was asked for, or none can be had here.
    Without,
}

impl Ballast {
    /// Sees to it that the file is there. `wait` is the time between two looks at a full disk.
    pub(super) fn keep(path: PathBuf, bytes: u64, wait: Duration) -> Self {
        let mut ballast = Self { path, bytes, wait, ..Self::none() };
        if bytes > 0 {
            ballast.take();
        }
        ballast
    }

    /// For a store in which nothing is written.
    pub(super) fn none() -> Self {
        Self {
            path: PathBuf::new(),
            bytes: 0,
            wait: Duration::ZERO,
            state: State::Without,
            #[cfg(test)]
            at_disk: None,
        }
    }

    /// Gives the space free. Whether there was any to give.
    pub(super) fn release(&mut self) -> bool {
        if self.state != State::Kept {
            return false;
        }
        #[cfg(test)]
        self.at_disk.iter().for_each(|call| call());
        if let Err(error) = open(&self.path).and_then(|file| cut(&file, 0)) {
            tracing::error!(path = %self.path.display(), %error, "the ballast file can't be released");
        }
        self.state = State::Released(Instant::now());
        true
    }

    /// Whether only denials may be written now. Looks at the disk again when it is time to.
    pub(super) fn is_short(&mut self) -> bool {
        if let State::Released(looked) = self.state
            && looked.elapsed() >= self.wait
        {
            self.take();
        }
        matches!(self.state, State::Released(_))
    }

    fn take(&mut self) {
        #[cfg(test)]
        self.at_disk.iter().for_each(|call| call());
        self.state = self.after(fill(&self.path, self.bytes));
    }

    fn after(&self, filled: io::Result<()>) -> State {
        match filled {
            Ok(()) => State::Kept,
            Err(error) if is_full(&error) => {
                tracing::warn!(path = %self.path.display(), "the disk is short of space: only denials are written");
                State::Released(Instant::now())
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "no space can be kept back for denials");
                State::Without
            }
        }
    }
}

/// Whether an error says that there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let file = open(path)?;
    // A larger one stays: a command may not know how much the server was told to keep.
    let facts = file.metadata()?;
    if facts.len() >= bytes && facts.blocks() * 512 >= facts.len() {
        return Ok(());
    }
    let filled = allocate(&file, bytes.saturating_mul(2));
    cut(&file, if filled.is_ok() { bytes } else { 0 })?;
    filled
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, bytes),
        Err(error) => Err(error.into()),
    }
}

/// Where the file system can't give space without it.
fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    file.sync_all()
}

/// Synced, because some file systems give space free only then.
fn cut(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    file.sync_all()
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_space_is_not_given_zeros_are_written() {
        let file = tempfile::tempfile().unwrap();
        for bytes in [0, 1, 200_000] {
            write_zeros(&file, bytes).unwrap();
        }
        let facts = file.metadata().unwrap();
        assert_eq!(facts.len(), 200_001);
        assert!(facts.blocks() * 512 >= facts.len(), "not allocated: {} blocks", facts.blocks());
    }

    #[test]
    fn it_is_allocated_released_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        let mut ballast = Ballast::keep(path.clone(), 1 << 20, Duration::ZERO);
        let kept = path.metadata().unwrap();
        assert_eq!((kept.len(), kept.mode() & 0o777), (1 << 20, 0o600));
        assert!(kept.blocks() * 512 >= 1 << 20, "not allocated: {} blocks", kept.blocks());
        assert!(!ballast.is_short());
        assert!(ballast.release());
        assert_eq!(path.metadata().unwrap().len(), 0);
        assert!(!ballast.release(), "there was nothing left to release");
        assert!(!ballast.is_short(), "the space is there again");
        assert_eq!(path.metadata().unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_full_disk_is_not_looked_at_all_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut ballast = Ballast::keep(dir.path().join("ballast"), 4096, Duration::from_secs(3600));
        ballast.release();
        assert!(ballast.is_short());
        assert_eq!(dir.path().join("ballast").metadata().unwrap().len(), 0);
    }

    #[test]
    fn only_a_full_disk_is_looked_at_again() {
        let after = |kind: io::ErrorKind| Ballast::none().after(Err(kind.into()));
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert!(matches!(after(kind), State::Released(_)), "{kind}");
        }
        assert_eq!(after(io::ErrorKind::PermissionDenied), State::Without);
    }

    #[test]
    fn a_place_that_allows_none_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("ballast")).unwrap();
        let mut ballast = Ballast::keep(dir.path().join("ballast"), 4096, Duration::ZERO);
        assert!(!ballast.is_short() && !ballast.release());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn a_larger_one_stays_and_one_with_no_space_behind_it_is_filled() {
        let dir = tempfile::tempdir().unwrap();
        let (path, sparse) = (dir.path().join("ballast"), dir.path().join("sparse"));
        for bytes in [1 << 20, 1 << 16] {
            let mut ballast = Ballast::keep(path.clone(), bytes, Duration::ZERO);
            assert!(!ballast.is_short());
            assert_eq!(path.metadata().unwrap().len(), 1 << 20);
        }
        File::create(&sparse).unwrap().set_len(1 << 20).unwrap();
        Ballast::keep(sparse.clone(), 1 << 20, Duration::ZERO);
        let filled = sparse.metadata().unwrap();
        assert_eq!(filled.len(), 1 << 20);
        assert!(filled.blocks() * 512 >= 1 << 20, "not allocated: {} blocks", filled.blocks());
    }
}
