//! The locks, atomics, channels and threads of what is tried in every order of its steps. Never: what they guard.
//!
//! They are std's, and a cell is tokio's. Tests that are built with the feature `races` get loom's in their place (the
//! cell has its order told), which tries every order in which threads can come at them, and every value that memory
//! allows a thread to see: `tests/races/run`.

#[cfg(all(test, feature = "races"))]
mod model;
#[cfg(all(test, feature = "races"))]
pub(crate) mod mpsc;
#[cfg(all(test, feature = "races"))]
mod once;

use std::io;

#[cfg(not(all(test, feature = "races")))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic, mpsc},
    thread::JoinHandle,
};

#[cfg(not(all(test, feature = "races")))]
pub(crate) use tokio::sync::OnceCell;

#[cfg(all(test, feature = "races"))]
pub(crate) use {
    loom::{
        sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
        thread::JoinHandle,
    },
    model::{Racer, block_on, every_order, preemptions},
    once::OnceCell,
};

/// Whether loom tries every order. Each try must go the same way but for the order, whatever the allocator gives out.
pub(crate) const IS_MODELLED: bool = cfg!(all(test, feature = "races"));

/// Begins a thread.
///
/// # Errors
/// The system's, when it has no more of them.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    #[cfg(all(test, feature = "races"))]
    use model::Builder;
    #[cfg(not(all(test, feature = "races")))]
    use std::thread::Builder;
    Builder::new().name(name.to_string()).spawn(run)
}
