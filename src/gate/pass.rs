//! The proof of admission, and what ends it early. Never: made anywhere but in the gate.

use std::net::IpAddr;
use std::sync::Arc;

use crate::meter::{Course, Meter, OpenUse};
use crate::types::{AccountId, Ending, KeyId, ModelId, ModelScope, Policy, RouteName, Timestamp, Tokens};

use super::cache::Entry;
use super::limiter::Hold;
use super::{Allowances, CutSignal, Grant, Refusal};

/// Why a key stopped working while or before it was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Revoked for good.
    Revoked,
    /// Switched off.
    Disabled,
    /// A rotation put a newer secret in its place.
    Replaced,
    /// Its account was switched off or deleted.
    AccountDisabled,
}

/// Someone whose key is known and stands; not yet let through to a model.
pub struct Caller {
    entry: Arc<Entry>,
    identified_at: Timestamp,
}

impl Caller {
    pub(super) fn new(entry: Arc<Entry>, now: Timestamp) -> Self {
        Self { entry, identified_at: now }
    }

    pub(super) const fn identified_at(&self) -> Timestamp {
        self.identified_at
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// What the key opens.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        self.entry.grant()
    }

    /// The key's public id.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.entry.grant().key
    }

    /// The account that owns the key.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.entry.grant().account
    }

    /// The models the key may use.
    #[must_use]
    pub fn models(&self) -> &ModelScope {
        &self.entry.grant().models
    }

    /// Whether requests may come from this address, by the key's policy and by its account's.
    ///
    /// # Errors
    /// [`Refusal::AddressNotAllowed`].
    pub fn may_come_from(&self, address: IpAddr) -> Result<(), Refusal> {
        let grant = self.entry.grant();
        let is_allowed = |policy: &Policy| policy.addresses.allows(address);
        match is_allowed(&grant.policy) && is_allowed(&grant.owner.policy) {
            true => Ok(()),
            false => Err(Refusal::AddressNotAllowed),
        }
    }

    /// Whether a route may be used, by the key's policy and by its account's.
    ///
    /// # Errors
    /// [`Refusal::RouteNotAllowed`].
    pub fn may_use(&self, route: RouteName) -> Result<(), Refusal> {
        let grant = self.entry.grant();
        let is_allowed = |policy: &Policy| policy.routes.allows(route);
        match is_allowed(&grant.policy) && is_allowed(&grant.owner.policy) {
            true => Ok(()),
            false => Err(Refusal::RouteNotAllowed),
        }
    }

    /// Its share where requests have to wait.
    #[must_use]
    pub fn weight(&self) -> u32 {
        u32::from(self.entry.grant().weight.get())
    }

    /// Tells when the key is cut.
    #[must_use]
    pub fn cut(&self) -> CutSignal {
        self.entry.cut_signal()
    }
}

/// The proof that the gate let a request through to a model; lives until the last byte of the answer.
pub struct Pass {
    caller: Caller,
    model: ModelId,
    open: OpenUse,
    settled: bool,
    hold: Hold,
}

impl Pass {
    /// `now`: when the request came, which may be a while ago.
    pub(super) fn new(
        caller: Caller,
        model: ModelId,
        meter: &Arc<Meter>,
        hold: Hold,
        now: Timestamp,
    ) -> Self {
        let open = meter.open(caller.key(), caller.account(), now);
        Self { caller, model, open, settled: false, hold }
    }

    /// Whose request it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The model it may use, by its public name.
    #[must_use]
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// What is left of the nearest limits beside this request.
    #[must_use]
    pub fn allowances(&self) -> Allowances {
        self.hold.allowances()
    }

    /// The request as the meter sees it: where its progress is told.
    #[must_use]
    pub fn open(&self) -> &OpenUse {
        &self.open
    }

    /// Says how the request went; before it is settled.
    pub fn went(&mut self, course: Course) {
        self.open.went(course);
    }

    /// Says what the request used and how it ended; only the first word counts.
    pub fn settle(&mut self, tokens: Option<Tokens>, ending: Ending) {
        if !std::mem::replace(&mut self.settled, true) {
            let Some(now) = self.open.settle(tokens, ending) else { return };
            // What Ember itself refused after all took nothing.
            let used = (ending != Ending::Refused).then(|| tokens.unwrap_or_default());
            self.hold.settle(used, now);
        }
    }
}

impl Drop for Pass {
    /// A request dropped without a word is one whose caller went away.
    fn drop(&mut self) {
        self.settle(None, Ending::ClientGone);
    }
}
