//! What lies between redb and a disk: what is held back reads as if it were done, all else reaches the disk.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::redb::{BackendError, StorageBackend};

use super::super::backend::Backend;
use super::*;

/// A disk in memory that notes who locks it, syncs it and closes it, and panics when it is told to.
#[derive(Debug, Clone, Default)]
pub(super) struct Spy {
    disk: Memory,
    calls: Arc<Mutex<Vec<&'static str>>>,
    /// Which sync from now on panics; 0 for none.
    panics_at: Arc<AtomicUsize>,
}

/// The start of the only range that somebody else has locked.
const TAKEN: Bound<u64> = Bound::Included(7);

impl Spy {
    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    /// What was called since this was last asked.
    pub(super) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Has that sync panic, counted from 1 on, or none; gives back how many of those before were left.
    pub(super) fn panic_at(&self, sync: usize) -> usize {
        self.panics_at.swap(sync, Ordering::SeqCst)
    }
}

impl StorageBackend for Spy {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note("sync");
        if self.panics_at.load(Ordering::SeqCst) > 0 && self.panics_at.fetch_sub(1, Ordering::SeqCst) == 1 {
            panic!("a sync that panics");
        }
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.note("close");
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        self.note("try alone");
        Ok(start != TAKEN)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        self.note("try shared");
        Ok(start != TAKEN)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        self.note("alone");
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        self.note("shared");
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        self.note("unlock");
        Ok(())
    }

    fn query_lock_range(&self, start: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        self.note("query");
        Ok(start == TAKEN)
    }
}

#[test]
fn locks_reach_the_disk_and_are_shared_where_nothing_is_written() {
    for (reads_only, tried, waited) in [(false, "try alone", "alone"), (true, "try shared", "shared")] {
        let spy = Spy::default();
        let backend = Backend::held(Box::new(spy.clone()), None, reads_only);
        for (start, is_free) in [(Bound::Included(1), true), (TAKEN, false)] {
            let end = Bound::Unbounded;
            assert_eq!(backend.try_lock_range(start, end).unwrap(), is_free);
            assert_eq!(backend.try_lock_shared_range(start, end).unwrap(), is_free);
            backend.lock_range(start, end).unwrap();
            backend.lock_shared_range(start, end).unwrap();
            backend.unlock_range(start, end).unwrap();
            assert_eq!(backend.query_lock_range(start, end).unwrap(), !is_free);
            assert_eq!(spy.calls(), [tried, "try shared", waited, "shared", "unlock", "query"]);
        }
        backend.close().unwrap();
        assert_eq!(spy.calls(), ["close"]);
    }
}

fn bytes(disk: &impl StorageBackend, offset: u64, many: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![b'?'; many];
    disk.read(offset, &mut out).map(|()| out)
}

#[test]
fn what_is_held_back_reads_as_if_it_were_done() {
    let disk = Memory::default();
    disk.set_len(8).unwrap();
    disk.write(0, b"abcdefgh").unwrap();
    let backend = Backend::held(Box::new(disk.clone()), None, false);
    assert_eq!(bytes(&backend, 0, 8).unwrap(), b"abcdefgh");
    assert_eq!(bytes(&backend, 5, 3).unwrap(), b"fgh");
    assert_eq!(bytes(&backend, 6, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    backend.write(4, b"WXYZ").unwrap();
    assert_eq!(backend.len().unwrap(), 8);
    assert_eq!(bytes(&backend, 0, 8).unwrap(), b"abcdWXYZ");
    for (offset, many, seen) in [(0, 4, &b"abcd"[..]), (3, 2, b"dW"), (6, 1, b"Y"), (5, 3, b"XYZ")] {
        assert_eq!(bytes(&backend, offset, many).unwrap(), seen);
    }
    backend.set_len(6).unwrap();
    assert_eq!(backend.len().unwrap(), 6);
    assert_eq!(bytes(&backend, 0, 6).unwrap(), b"abcdWX");
    assert_eq!(bytes(&backend, 0, 7).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    backend.set_len(10).unwrap();
    backend.write(9, b"!").unwrap();
    backend.write(0, b"A").unwrap();
    assert_eq!(backend.len().unwrap(), 10);
    assert_eq!(bytes(&backend, 0, 10).unwrap(), b"AbcdWX\0\0\0!");
    assert_eq!((disk.len().unwrap(), bytes(&disk, 0, 8).unwrap()), (8, b"abcdefgh".to_vec()));
    backend.let_through().unwrap();
    assert_eq!((disk.len().unwrap(), bytes(&disk, 0, 10).unwrap()), (10, b"AbcdWX\0\0\0!".to_vec()));
    backend.write(1, b"B").unwrap();
    assert_eq!(bytes(&disk, 0, 3).unwrap(), b"ABc");
}

#[test]
fn a_sync_is_held_back_with_the_writes_around_it() {
    let spy = Spy::default();
    let backend = Backend::held(Box::new(spy.clone()), None, false);
    backend.set_len(1).unwrap();
    backend.sync_data().unwrap();
    backend.write(0, b"a").unwrap();
    assert!(spy.calls().is_empty(), "the disk was synced before it was known to be ours");
    backend.let_through().unwrap();
    assert_eq!((spy.calls(), bytes(&spy, 0, 1).unwrap()), (vec!["sync"], b"a".to_vec()));
    backend.sync_data().unwrap();
    assert_eq!(spy.calls(), ["sync"]);
}
