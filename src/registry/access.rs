//! Which actor may touch whose things. Never: what he does with them.

use crate::types::{AccountId, Actor, Key, KeyRecord};

use super::{Registry, RegistryError};

/// Whether the actor may act on things of `owner`.
pub(super) fn may_touch(actor: Actor, owner: AccountId) -> bool {
    match actor {
        Actor::Machine { .. } | Actor::Token { .. } | Actor::Ember | Actor::Person { admin: true, .. } => {
            true
        }
        Actor::Person { account, admin: false } => account == owner,
        // A key is touched by its holder in one way only: he gives it up.
        Actor::Key { .. } => false,
    }
}

impl Registry {
    /// Keeps a person from filling the disk: what he makes or changes has a pace. Taking rights away has none.
    pub(super) fn pace(&self, actor: Actor) -> Result<(), RegistryError> {
        match actor {
            Actor::Person { account, .. } => self.throttle.write(account, self.clock.now()),
            Actor::Machine { .. } | Actor::Token { .. } | Actor::Key { .. } | Actor::Ember => Ok(()),
        }
    }
}

/// Refuses a name that holds a key or another of Ember's secrets: names are shown, logged and kept.
pub(super) fn refuse_secret(name: &str) -> Result<(), RegistryError> {
    if Key::may_be_in(name) {
        let sentence = "a name is shown and kept, and must not hold a key, a link or a token; choose another";
        return Err(RegistryError::Invalid(sentence.to_string()));
    }
    Ok(())
}

/// Refuses what only administrators and the machine may do.
pub(super) fn administrators_only(actor: Actor) -> Result<(), RegistryError> {
    match actor {
        Actor::Machine { .. } | Actor::Token { .. } | Actor::Ember | Actor::Person { admin: true, .. } => {
            Ok(())
        }
        Actor::Person { admin: false, .. } | Actor::Key { .. } => {
            Err(RegistryError::NotAllowed("only an administrator may do this; ask one".to_string()))
        }
    }
}

/// Someone else's key looks like no key.
pub(super) fn visible(actor: Actor, key: &KeyRecord) -> bool {
    may_touch(actor, key.account)
}
