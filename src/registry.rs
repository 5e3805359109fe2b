//! Accounts, keys and their audit trail: the only writer of them, and every rule about them, once.
//! Never: how a request is admitted, how a command arrived, what time it is.

mod access;
mod accounts;
mod audit;
mod change;
mod denial;
mod error;
mod find;
mod keys;
mod password;
mod record;
mod restore;
mod rotation;
mod table;

use std::sync::{Arc, Mutex};

use crate::store::Store;
use crate::types::{Clock, Random};

pub use accounts::NewAccount;
pub use audit::{Action, Event, HISTORY_MAX};
pub use change::{Change, changes};
pub use denial::{Denial, DenialReason, DenialTarget, Door};
pub use error::{Problem, RegistryError};
pub use keys::{KeyChanges, KeyFilter, NewKey};
pub use restore::Carried;
pub use rotation::Rotation;

use denial::Owed;

/// A part of a list, and where the next part begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, in order.
    pub entries: Vec<T>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

/// The longest list given in one page.
pub const PAGE_MAX: usize = 1000;

/// Where every rule about accounts and keys lives. All calls may block on the disk.
pub struct Registry {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Whoever admits requests in this process; none where nobody does.
    door: Option<Arc<dyn Door>>,
    /// What was denied in memory but could not be committed yet.
    owed: Mutex<Owed>,
    /// Held while what is owed is written down.
    settling: Mutex<()>,
}

impl Registry {
    /// A registry over a store. `door` is told of denials before they are committed.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        door: Option<Arc<dyn Door>>,
    ) -> Self {
        Self { store, clock, random, door, owed: Mutex::default(), settling: Mutex::default() }
    }
}

#[cfg(test)]
mod tests;
