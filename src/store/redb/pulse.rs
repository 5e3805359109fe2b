//! Signs of life of the writer thread, for whoever watches that it goes on. Never: judges them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What the writer thread shows of itself.
#[derive(Default)]
pub(super) struct Pulse {
    /// How many jobs are done.
    turns: AtomicU64,
    /// How many calls into the engine are under way; they last as long as the disk takes.
    at_disk: AtomicUsize,
}

impl Pulse {
    /// A job is done, with everyone told who has to be.
    pub(super) fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Release);
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    pub(super) fn is_at_disk(&self) -> bool {
        self.at_disk.load(Ordering::Acquire) > 0
    }

    /// Makes a call that may wait for the disk.
    pub(super) fn at_disk<T>(&self, call: impl FnOnce() -> T) -> T {
        self.at_disk.fetch_add(1, Ordering::AcqRel);
        let _left = Left(&self.at_disk);
        call()
    }
}

struct Left<'a>(&'a AtomicUsize);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
