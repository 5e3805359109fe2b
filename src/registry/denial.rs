//! Taking rights away: denied in memory first, then committed, then acknowledged. Never: giving them.

use std::sync::{Arc, PoisonError};

use crate::store::{Commit, CommitError, Urgency};
use crate::types::{AccountId, Actor, KeyDigest, KeyId};

use super::{Registry, RegistryError};

/// What is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialTarget {
    /// A key with all its secrets.
    Key(KeyId),
    /// One secret of a key.
    Secret(KeyDigest),
    /// All keys of an account.
    Account(AccountId),
}

/// Why it is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialReason {
    /// Revoked.
    Revoked,
    /// Switched off.
    Disabled,
    /// Rotated at once.
    Replaced,
    /// The account was switched off or deleted.
    AccountDisabled,
}

/// A right taken away in memory, before it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// What.
    pub target: DenialTarget,
    /// Why.
    pub because: DenialReason,
}

/// Whoever admits requests in this process. Both calls return at once.
pub trait Door: Send + Sync {
    /// From now on nothing passes on this, and what runs on it is cut.
    fn deny(&self, denial: Denial);

    /// One `deny` is over: the record on disk says what holds from now on.
    fn lift(&self, denial: Denial);
}

/// A denial that must come to be written down, however long the disk takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Intent {
    RevokeKey { actor: Actor, key: KeyId, reason: Option<String> },
    DisableKey { actor: Actor, key: KeyId },
    DropSecrets { actor: Actor, key: KeyId, secrets: Vec<KeyDigest> },
    DisableAccount { actor: Actor, account: AccountId },
    DeleteAccount { actor: Actor, account: AccountId },
}

impl Intent {
    fn denials(&self) -> Vec<Denial> {
        let one = |target, because| vec![Denial { target, because }];
        match self {
            Self::RevokeKey { key, .. } => one(DenialTarget::Key(*key), DenialReason::Revoked),
            Self::DisableKey { key, .. } => one(DenialTarget::Key(*key), DenialReason::Disabled),
            Self::DropSecrets { secrets, .. } => {
                let denial =
                    |secret| Denial { target: DenialTarget::Secret(secret), because: DenialReason::Replaced };
                secrets.iter().copied().map(denial).collect()
            }
            Self::DisableAccount { account, .. } | Self::DeleteAccount { account, .. } => {
                one(DenialTarget::Account(*account), DenialReason::AccountDisabled)
            }
        }
    }
}

/// How often a commit is built anew because someone else changed the record in between.
const ATTEMPTS_MAX: usize = 100;

impl Registry {
    /// Denies in memory, then has `attempt` build and commit it, then lifts the denial in memory, since the record
    /// says it from then on. When the disk fails the denial stays and is owed.
    pub(super) fn deny_then<T>(
        &self,
        intent: &Intent,
        attempt: impl FnMut() -> Result<Attempt<T>, RegistryError>,
    ) -> Result<T, RegistryError> {
        let denials = intent.denials();
        self.each_door(&denials, |door, denial| door.deny(denial));
        let outcome = self.until_agreed(attempt);
        match (&outcome, &self.door) {
            (Err(RegistryError::Store(reason)), Some(_)) => {
                self.owed.lock().unwrap_or_else(PoisonError::into_inner).push(intent.clone());
                Err(RegistryError::NotDurable(reason.clone()))
            }
            _ => {
                self.each_door(&denials, |door, denial| door.lift(denial));
                outcome
            }
        }
    }

    /// Builds and commits until nobody else changed the same thing in between.
    pub(super) fn until_agreed<T>(
        &self,
        mut attempt: impl FnMut() -> Result<Attempt<T>, RegistryError>,
    ) -> Result<T, RegistryError> {
        for _ in 0..ATTEMPTS_MAX {
            let (commit, result) = match attempt()? {
                Attempt::Nothing(result) => return Ok(result),
                Attempt::Commit(commit, result) => (commit, result),
            };
            let writes = commit.writes.clone();
            match self.store.commit(commit) {
                Ok(()) => {
                    Self::log_events(&writes);
                    return Ok(result);
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(refused @ (CommitError::Full | CommitError::TooLong { .. })) => {
                    return Err(RegistryError::Store(refused.to_string()));
                }
                Err(CommitError::Trouble(trouble)) => return Err(trouble.into()),
            }
        }
        Err(RegistryError::Conflict(
            "others keep changing the same thing; nothing was changed, try again".to_string(),
        ))
    }

    /// Tries again to write down what was denied in memory only. Returns how much is still owed.
    pub fn settle_denials(&self) -> usize {
        let owed = std::mem::take(&mut *self.owed.lock().unwrap_or_else(PoisonError::into_inner));
        for intent in owed {
            // A second deny and its lift happen inside; what is left is the first deny's lift.
            if !matches!(self.carry_out(&intent), Err(RegistryError::NotDurable(_))) {
                tracing::info!(target: "audit", "a denial that was owed is on disk now");
            }
            self.each_door(&intent.denials(), |door, denial| door.lift(denial));
        }
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether something denied in memory is not on disk yet.
    #[must_use]
    pub fn owes_denials(&self) -> bool {
        !self.owed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Why a key or secret is denied in memory although the disk does not say so yet.
    #[must_use]
    pub fn owed_denial(&self, targets: &[DenialTarget]) -> Option<DenialReason> {
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut denials = owed.iter().flat_map(Intent::denials);
        denials.find(|denial| targets.contains(&denial.target)).map(|denial| denial.because)
    }

    fn carry_out(&self, intent: &Intent) -> Result<(), RegistryError> {
        match intent {
            Intent::RevokeKey { .. } => self.revoke(intent).map(drop),
            Intent::DisableKey { .. } => self.disable(intent).map(drop),
            Intent::DropSecrets { .. } => self.drop_secrets(intent),
            Intent::DisableAccount { .. } | Intent::DeleteAccount { .. } => {
                self.stop_account(intent).map(drop)
            }
        }
    }

    fn each_door(&self, denials: &[Denial], tell: impl Fn(&Arc<dyn Door>, Denial)) {
        if let Some(door) = &self.door {
            for denial in denials {
                tell(door, *denial);
            }
        }
    }
}

/// One try at a change: what to commit and what to answer then, or that there is nothing to change.
pub(super) enum Attempt<T> {
    Nothing(T),
    Commit(Commit, T),
}

impl<T> Attempt<T> {
    /// A commit that may use the space kept back for denials.
    pub(super) fn denial(mut commit: Commit, result: T) -> Self {
        commit.urgency = Urgency::Denial;
        Self::Commit(commit, result)
    }
}
