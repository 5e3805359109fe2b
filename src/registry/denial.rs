//! Taking rights away: denied in memory first, then committed, then acknowledged. Never: giving them.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::store::{Commit, CommitError, Urgency};
use crate::types::{AccountId, Actor, KeyDigest, KeyId, Origin};

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
    DropSecrets { actor: Actor, key: KeyId, secrets: Vec<KeyDigest>, detail: String },
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

    /// The id of the key or account that it takes a right from.
    const fn target(&self) -> &[u8; 16] {
        match self {
            Self::RevokeKey { key, .. } | Self::DisableKey { key, .. } | Self::DropSecrets { key, .. } => {
                key.as_bytes()
            }
            Self::DisableAccount { account, .. } | Self::DeleteAccount { account, .. } => account.as_bytes(),
        }
    }

    /// Whether both come to the same, whoever wants it and for whatever reason.
    fn is_same(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.target() == other.target()
            && self.denials() == other.denials()
    }
}

/// What is denied in memory only, and from where that was asked. Each entry has one `deny` at the door, lifted when it
/// is on disk.
#[derive(Default)]
pub(super) struct Owed {
    waiting: VecDeque<(Intent, Origin)>,
    underway: Option<(Intent, Origin)>,
}

impl Owed {
    /// False when the same waits already.
    fn add(&mut self, intent: &Intent, origin: Origin) -> bool {
        let is_new = !self.waiting.iter().any(|(known, _)| known.is_same(intent));
        if is_new {
            self.waiting.push_back((intent.clone(), origin));
        }
        is_new
    }

    /// How much waits, with what was being written down when that ended in a panic.
    fn due(&mut self) -> usize {
        self.waiting.extend(self.underway.take());
        self.waiting.len()
    }

    fn begin(&mut self) -> Option<(Intent, Origin)> {
        self.underway = self.waiting.pop_front();
        self.underway.clone()
    }

    fn all(&self) -> impl Iterator<Item = &Intent> {
        self.waiting.iter().chain(&self.underway).map(|(intent, _)| intent)
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
        self.deny_while(intent, || self.until_agreed(attempt))
    }

    /// The same for what takes more than one commit to write down.
    pub(super) fn deny_while<T>(
        &self,
        intent: &Intent,
        write_down: impl FnOnce() -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.deny(intent);
        match (write_down(), &self.door) {
            (Err(RegistryError::Store(reason) | RegistryError::NotDurable(reason)), Some(_)) => {
                self.owe(intent);
                Err(RegistryError::NotDurable(reason))
            }
            (outcome, _) => {
                self.lift(intent);
                outcome
            }
        }
    }

    /// The same for many: all are denied before the first is written down, and they are written down part by part.
    pub(super) fn deny_all_while(
        &self,
        intents: &[Intent],
        part_max: usize,
        write_down: impl Fn(&[Intent]) -> Result<u64, RegistryError>,
    ) -> Result<u64, RegistryError> {
        intents.iter().for_each(|intent| self.deny(intent));
        let mut count = 0;
        for (number, part) in intents.chunks(part_max).enumerate() {
            match (write_down(part), &self.door) {
                (Ok(more), _) => {
                    part.iter().for_each(|intent| self.lift(intent));
                    count += more;
                }
                (Err(RegistryError::Store(reason) | RegistryError::NotDurable(reason)), Some(_)) => {
                    intents[number * part_max..].iter().for_each(|intent| self.owe(intent));
                    return Err(RegistryError::NotDurable(reason));
                }
                (Err(error), _) => {
                    intents[number * part_max..].iter().for_each(|intent| self.lift(intent));
                    return Err(error);
                }
            }
        }
        Ok(count)
    }

    /// Keeps a denial until it is on disk. Where the same waits already, that one's will do.
    fn owe(&self, intent: &Intent) {
        if !self.owed().add(intent, self.origin) {
            self.lift(intent);
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
            match self.commit_linked(&commit) {
                Ok(writes) => {
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
        let _alone = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.owed().due();
        for _ in 0..due {
            let Some((intent, origin)) = self.owed().begin() else { break };
            let outcome = self.asked_from(origin).carry_out(&intent);
            // Carried out anew it was denied anew; when that failed it waits again, with that denial. Only after a
            // conflict nothing holds but the first one.
            let stays =
                matches!(outcome, Err(RegistryError::Conflict(_))) && self.owed().add(&intent, origin);
            self.owed().underway = None;
            if !stays {
                self.lift(&intent);
            }
            if outcome.is_ok() {
                tracing::info!(target: "audit", "a denial that was owed is on disk now");
            }
        }
        self.owed().all().count()
    }

    /// Whether something denied in memory is not on disk yet.
    #[must_use]
    pub fn owes_denials(&self) -> bool {
        self.owed().all().next().is_some()
    }

    /// Before a right is given back, what took it away must be on disk: else it would be taken away again later.
    pub(super) fn settle_first(&self, target: &[u8; 16]) -> Result<(), RegistryError> {
        let is_owed = || self.owed().all().any(|intent| intent.target() == target);
        if is_owed() {
            self.settle_denials();
        }
        if is_owed() {
            let sentence = "it is denied, but that is not on disk yet; nothing was changed, try again when the disk is well";
            return Err(RegistryError::Store(sentence.to_string()));
        }
        Ok(())
    }

    /// Why a key or secret is denied in memory although the disk does not say so yet.
    #[must_use]
    pub fn owed_denial(&self, targets: &[DenialTarget]) -> Option<DenialReason> {
        let owed = self.owed();
        let mut denials = owed.all().flat_map(Intent::denials);
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

    fn deny(&self, intent: &Intent) {
        self.each_door(intent, |door, denial| door.deny(denial));
    }

    fn lift(&self, intent: &Intent) {
        self.each_door(intent, |door, denial| door.lift(denial));
    }

    fn each_door(&self, intent: &Intent, tell: impl Fn(&Arc<dyn Door>, Denial)) {
        if let Some(door) = &self.door {
            intent.denials().into_iter().for_each(|denial| tell(door, denial));
        }
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
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
