//! The rules about policies of keys and accounts, and accounts' own. Never: how a policy is kept to.

use crate::types::{Actor, AddressScope, Limit, LimitKind, ModelScope, Policy, RouteScope};

use super::access::administrators_only;
use super::{Registry, RegistryError};

/// The most models a policy names: their longest names, old and new, fit into one event.
const MODELS_MAX: usize = 1000;
/// The most networks a policy names: each is looked at for every request.
const NETWORKS_MAX: usize = 100;

impl Registry {
    /// Whether the actor may put `new` in the place of a key's `old` policy. Whoever owns a key limits it as he likes;
    /// only an administrator gives it more than the configuration does.
    pub(super) fn refuse_policy(
        &self,
        actor: Actor,
        old: &Policy,
        new: &Policy,
    ) -> Result<(), RegistryError> {
        refuse_crowded(new)?;
        let loosened = |kind: &LimitKind| {
            let (before, after) = (old.limits.get(*kind), new.limits.get(*kind));
            before != after && self.exceeds_default(*kind, after)
        };
        match LimitKind::ALL.into_iter().find(loosened) {
            Some(kind) if administrators_only(actor).is_err() => {
                let most = self.rules().key_limits.get(kind).map_or(0, std::num::NonZeroU64::get);
                Err(RegistryError::NotAllowed(format!(
                    "a key has {most} {} at most here; only an administrator gives it more",
                    kind.in_words()
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn exceeds_default(&self, kind: LimitKind, limit: Limit) -> bool {
        match (self.rules().key_limits.get(kind), limit) {
            (None, _) | (_, Limit::Default) => false,
            (Some(_), Limit::Unlimited) => true,
            (Some(default), Limit::Max(max)) => max > default,
        }
    }
}

/// Refuses lists that are too long to be kept, or empty by mistake.
pub(super) fn refuse_crowded(policy: &Policy) -> Result<(), RegistryError> {
    let refused = |sentence: String| Err(RegistryError::Invalid(sentence));
    match &policy.models {
        ModelScope::Only(models) if models.len() > MODELS_MAX => {
            return refused(format!(
                "{MODELS_MAX} models can be named at most, these are {}; allow all of them instead",
                models.len()
            ));
        }
        ModelScope::Only(_) | ModelScope::All => {}
    }
    match &policy.addresses {
        AddressScope::Only(networks) if networks.is_empty() => {
            return refused("name at least one address or network, or allow all".to_string());
        }
        AddressScope::Only(networks) if networks.len() > NETWORKS_MAX => {
            return refused(format!(
                "{NETWORKS_MAX} networks can be named at most, these are {}; put them together",
                networks.len()
            ));
        }
        AddressScope::Only(_) | AddressScope::All => {}
    }
    match &policy.routes {
        RouteScope::Only(routes) if routes.is_empty() => {
            refused("name at least one route, or allow all".to_string())
        }
        RouteScope::Only(_) | RouteScope::All => Ok(()),
    }
}
