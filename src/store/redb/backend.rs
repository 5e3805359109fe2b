//! What lies between redb and a file: writes held back until the file has proved to be ours, and faults put in by
//! tests. Never: what the bytes mean.

use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::{BackendError, StorageBackend};

/// Which calls to the disk fail.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultOn {
    /// Reads.
    Reads,
    /// Writes, syncs and changes of the length.
    Writes,
}

/// How they fail.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
}

/// A fault of the disk.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which calls.
    pub on: FaultOn,
    /// How.
    pub kind: FaultKind,
    /// How many of these calls work before.
    pub skip: u64,
    /// How many fail then.
    pub times: u64,
    /// When given, calls fail only while this file has content.
    pub while_filled: Option<PathBuf>,
}

/// A hook for tests: makes the disk under a store fail, and heals it.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    fault: Option<Fault>,
    met: bool,
}

impl Faults {
    /// From now on the disk has this fault.
    pub fn set(&self, fault: Fault) {
        *self.lock() = Plan { fault: Some(fault), met: false };
    }

    /// The disk is well again. Whether the fault was met at all.
    pub fn heal(&self) -> bool {
        std::mem::take(&mut *self.lock()).met
    }

    fn meet(&self, on: FaultOn) -> io::Result<()> {
        let mut plan = self.lock();
        let Plan { fault: Some(fault), met } = &mut *plan else { return Ok(()) };
        if fault.on != on || fault.times == 0 {
            return Ok(());
        }
        if fault.while_filled.as_ref().is_some_and(|path| path.metadata().map_or(0, |file| file.len()) == 0) {
            return Ok(());
        }
        if fault.skip > 0 {
            fault.skip -= 1;
            return Ok(());
        }
        fault.times -= 1;
        *met = true;
        let errno = match fault.kind {
            FaultKind::Io => rustix::io::Errno::IO,
            FaultKind::Full => rustix::io::Errno::NOSPC,
        };
        Err(errno.into())
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backend whose writes are held in memory until [`Backend::let_through`]. Clones are the same backend.
#[derive(Debug, Clone)]
pub(super) struct Backend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Box<dyn StorageBackend>,
    faults: Option<Faults>,
    /// Nothing is ever let through: others may read at the same time, and an exclusive lock is not to be had on a
    /// file that may not be written.
    reads_only: bool,
    /// What is held back, in order; none once everything goes through.
    held: Mutex<Option<Vec<Change>>>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl Backend {
    pub(super) fn held(disk: Box<dyn StorageBackend>, faults: Option<Faults>, reads_only: bool) -> Self {
        Self(Arc::new(Inner { disk, faults, reads_only, held: Mutex::new(Some(Vec::new())) }))
    }

    /// Does to the disk what was held back, in the same order with the same syncs, and holds nothing back from
    /// now on. After an error it goes on holding back: the disk is then as after a crash in the midst of it.
    pub(super) fn let_through(&self) -> io::Result<()> {
        let mut held = self.changes();
        for change in held.iter().flatten() {
            self.0.change(change)?;
        }
        *held = None;
        Ok(())
    }

    fn changes(&self) -> MutexGuard<'_, Option<Vec<Change>>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a change, or holds it back.
    fn change(&self, held: impl FnOnce() -> Change, done: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if let Some(changes) = self.changes().as_mut() {
            changes.push(held());
            return Ok(());
        }
        self.0.meet(FaultOn::Writes)?;
        done()
    }
}

impl Inner {
    fn change(&self, change: &Change) -> io::Result<()> {
        self.meet(FaultOn::Writes)?;
        match change {
            Change::Write(offset, bytes) => self.disk.write(*offset, bytes),
            Change::Length(length) => self.disk.set_len(*length),
            Change::Sync => self.disk.sync_data(),
        }
    }

    fn meet(&self, on: FaultOn) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.meet(on))
    }

    /// Reads what the disk would hold had the changes been made.
    fn read_with(&self, held: &[Change], offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > length_with(held, self.disk.len()?) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let on_disk = within(self.disk.len()?, offset, out.len());
        out.fill(0);
        self.disk.read(offset, &mut out[..on_disk])?;
        for change in held {
            match change {
                Change::Write(at, bytes) => overlay(out, offset, *at, bytes),
                Change::Length(length) => {
                    let kept = within(*length, offset, out.len());
                    out[kept..].fill(0);
                }
                Change::Sync => {}
            }
        }
        Ok(())
    }
}

fn length_with(held: &[Change], on_disk: u64) -> u64 {
    held.iter().fold(on_disk, |length, change| match change {
        Change::Write(at, bytes) => length.max(at + bytes.len() as u64),
        Change::Length(length) => *length,
        Change::Sync => length,
    })
}

/// How many of `bytes` bytes from `offset` on lie before `end`.
fn within(end: u64, offset: u64, bytes: usize) -> usize {
    usize::try_from(end.saturating_sub(offset)).map_or(bytes, |left| left.min(bytes))
}

/// Lays bytes that begin at `at` over a window that begins at `offset`.
fn overlay(window: &mut [u8], offset: u64, at: u64, bytes: &[u8]) {
    let into = within(at, offset, window.len());
    let skip = within(offset, at, bytes.len());
    for (target, byte) in window[into..].iter_mut().zip(&bytes[skip..]) {
        *target = *byte;
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let length = self.0.disk.len()?;
        Ok(self.changes().as_ref().map_or(length, |held| length_with(held, length)))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.meet(FaultOn::Reads)?;
        if let Some(held) = self.changes().as_ref() {
            return self.0.read_with(held, offset, out);
        }
        self.0.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|| Change::Length(len), || self.0.disk.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|| Change::Sync, || self.0.disk.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|| Change::Write(offset, data.to_vec()), || self.0.disk.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.0.disk.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match self.0.reads_only {
            true => self.0.disk.try_lock_shared_range(start, end),
            false => self.0.disk.try_lock_range(start, end),
        }
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.disk.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match self.0.reads_only {
            true => self.0.disk.lock_shared_range(start, end),
            false => self.0.disk.lock_range(start, end),
        }
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.disk.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.disk.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.disk.query_lock_range(start, end)
    }
}
