//! Which actor may touch whose things. Never: what he does with them.

use crate::types::{AccountId, Actor, KeyRecord};

use super::RegistryError;

/// Whether the actor may act on things of `owner`.
pub(super) fn may_touch(actor: Actor, owner: AccountId) -> bool {
    match actor {
        Actor::Machine { .. } | Actor::Token { .. } | Actor::Ember | Actor::Person { admin: true, .. } => {
            true
        }
        Actor::Person { account, admin: false } => account == owner,
    }
}

/// Refuses what only administrators and the machine may do.
pub(super) fn administrators_only(actor: Actor) -> Result<(), RegistryError> {
    match actor {
        Actor::Machine { .. } | Actor::Token { .. } | Actor::Ember | Actor::Person { admin: true, .. } => {
            Ok(())
        }
        Actor::Person { admin: false, .. } => {
            Err(RegistryError::NotAllowed("only an administrator may do this; ask one".to_string()))
        }
    }
}

/// Someone else's key looks like no key.
pub(super) fn visible(actor: Actor, key: &KeyRecord) -> bool {
    may_touch(actor, key.account)
}
