//! Accounts, keys and their audit trail: the only writer of them, and every rule about them, once.
//! Never: how a request is admitted, how a command arrived, what time it is.

mod access;
mod accounts;
mod audit;
mod chain;
mod change;
mod denial;
mod error;
mod find;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod idle;
mod invite;
mod keys;
mod known_places;
mod notice;
mod password;
mod policy;
mod record;
mod refused;
mod reload;
mod reset;
mod restore;
mod retention;
mod revoke_all;
mod rotation;
mod rules;
mod session;
mod surrender;
mod table;
mod throttle;
mod token;
mod turnstile;
mod verify;

use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex};

use crate::store::Store;
use crate::types::{Actor, Clock, Current, Origin, Random};

pub use accounts::{AccountChanges, NewAccount};
pub use audit::{Action, AuditFilter, Event, HISTORY_MAX, News, Trail};
pub use chain::HEAD_ROW;
pub use change::{Change, changes};
pub use denial::{Denial, DenialReason, DenialTarget, Door};
pub use error::{Problem, RegistryError};
pub use invite::{INVITE_DEFAULT, INVITE_GONE, INVITE_MAX, NewInvite, Newcomer};
pub use keys::{KeyChanges, KeyFilter, NewKey};
pub use reset::{RESET_GONE, RESET_LIFETIME, Reset};
pub use restore::Carried;
pub use rotation::Rotation;
pub use rules::Rules;
pub use session::SignedIn;
pub use surrender::Held;
pub use token::NewToken;
pub use verify::{TrailCursor, TrailCursorError, TrailFault, Verification};

use chain::Chain;
use denial::Owed;
use refused::Refused;
use throttle::Throttle;
use turnstile::Turnstile;

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

/// Where every rule about accounts and keys lives. All calls may block on the disk. A clone is the same registry.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Whoever admits requests in this process; none where nobody does.
    door: Option<Arc<dyn Door>>,
    /// What was denied in memory but could not be committed yet.
    owed: Arc<Mutex<Owed>>,
    /// Held while what is owed is written down.
    settling: Arc<Mutex<()>>,
    rules: Arc<Current<Rules>>,
    throttle: Arc<Throttle>,
    turnstile: Arc<Turnstile>,
    /// Gives the events of one millisecond their order.
    events_made: Arc<AtomicU16>,
    chain: Arc<Chain>,
    refused: Arc<Refused>,
    /// From where the changes come that are made through this clone.
    origin: Origin,
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
        Self {
            store,
            clock,
            random,
            door,
            owed: Arc::default(),
            settling: Arc::default(),
            rules: Arc::default(),
            throttle: Arc::default(),
            turnstile: Arc::default(),
            events_made: Arc::default(),
            chain: Arc::default(),
            refused: Arc::default(),
            origin: Origin::default(),
        }
    }

    /// The same registry; what is changed through it is written down as coming from there.
    #[must_use]
    pub fn asked_from(&self, origin: Origin) -> Self {
        Self { origin, ..self.clone() }
    }

    /// The same by the operator's choices.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules: Arc::new(Current::new(rules)), ..self }
    }

    /// Goes by other choices from now on, and all clones with it.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.set(rules);
    }

    /// Refuses what only administrators and the machine may do.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`].
    pub fn administrators_only(&self, actor: Actor) -> Result<(), RegistryError> {
        access::administrators_only(actor)
    }

    /// What the operator chose.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.get()
    }
}

#[cfg(test)]
mod tests;
