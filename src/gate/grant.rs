//! What a digest opens, and where the gate learns it. Never: when to ask.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use crate::types::{
    Account, AccountId, AccountStatus, Environment, KeyDigest, KeyHint, KeyId, KeyName, KeyRecord,
    KeyStanding, ModelScope, Policy, Timestamp, Weight,
};

use super::Cut;

/// Finds what a digest opens. Must not be asked for a key already in memory.
pub trait KeySource: Send + Sync {
    /// The grant behind a digest; none when it was never issued.
    fn find<'a>(
        &'a self,
        digest: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>>;

    /// Takes note that something was met after its end; called once for what is in memory. Must not block.
    fn end_met(&self, end: EndMet);
}

/// What was met after its end, and when: it stays over, whatever the clock shows later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndMet {
    /// A key.
    Key(KeyId, Timestamp),
    /// The secret of a key that a rotation replaced.
    Secret(KeyId, KeyDigest, Timestamp),
}

/// The source could not answer; the words are for the operator's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceTrouble(pub String);

/// Whether the secret stands, apart from time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantStanding {
    /// It does.
    Active,
    /// It does not.
    Cut(Cut),
}

/// Why a secret that was issued may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Someone decided so.
    Cut(Cut),
    /// Its key is past its end.
    Expired,
}

/// What an account has to do with the keys it owns; kept apart, because it changes apart. By default it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Whether the account works.
    pub is_active: bool,
    /// What all its keys together may use.
    pub policy: Arc<Policy>,
}

impl Default for Owner {
    fn default() -> Self {
        Self { is_active: false, policy: shared(&Policy::default()) }
    }
}

/// Most keys and accounts have nothing of their own: they share one.
fn shared(policy: &Policy) -> Arc<Policy> {
    static USUAL: LazyLock<Arc<Policy>> = LazyLock::new(Arc::default);
    if *policy == **USUAL { Arc::clone(&USUAL) } else { Arc::new(policy.clone()) }
}

impl Owner {
    /// By the account's record.
    #[must_use]
    pub fn of(account: &Account) -> Self {
        Self { is_active: account.status == AccountStatus::Active, policy: shared(&account.policy) }
    }
}

/// What a key's holder may be told of it beside what it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// What it is called.
    pub name: KeyName,
    /// What it is for.
    pub environment: Environment,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last four characters of this secret; none when the key has it no more.
    pub hint: Option<KeyHint>,
}

/// What one secret of a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The key it belongs to.
    pub key: KeyId,
    /// What the key is called, and what it is for.
    pub about: Arc<About>,
    /// The account that owns the key.
    pub account: AccountId,
    /// What it may use, from where, and how much.
    pub policy: Arc<Policy>,
    /// The models that its own policy and its account's allow both.
    pub models: ModelScope,
    /// Whether requests of browsers may use it.
    pub allow_browser: bool,
    /// Its share where requests have to wait.
    pub weight: Weight,
    /// Whether it stands, apart from time.
    pub standing: GrantStanding,
    /// When it stops: the key's expiry.
    pub expires_at: Option<Timestamp>,
    /// Whether it was found past its end before.
    pub expiry_met: bool,
    /// When it stops although the key goes on: the end of a rotation's grace.
    pub replaced_at: Option<Timestamp>,
    /// What its account has to say.
    pub owner: Owner,
}

impl Grant {
    /// What the secret with this digest opens, by its key's record and its account.
    #[must_use]
    pub fn of(record: &KeyRecord, digest: &KeyDigest, owner: Owner) -> Self {
        let secret = record.secret(digest);
        let standing = match &record.standing {
            KeyStanding::Revoked { .. } => GrantStanding::Cut(Cut::Revoked),
            KeyStanding::Disabled => GrantStanding::Cut(Cut::Disabled),
            KeyStanding::Active if secret.is_none() => GrantStanding::Cut(Cut::Replaced),
            KeyStanding::Active => GrantStanding::Active,
        };
        Self {
            key: record.id,
            about: Arc::new(About {
                name: record.name.clone(),
                environment: record.environment,
                created_at: record.created_at,
                hint: secret.map(|secret| secret.hint),
            }),
            account: record.account,
            policy: shared(&record.policy),
            models: record.policy.models.and(&owner.policy.models),
            allow_browser: record.allow_browser,
            weight: record.weight,
            standing,
            expires_at: record.expires_at,
            expiry_met: record.expiry_met,
            replaced_at: secret.and_then(|secret| secret.valid_until),
            owner,
        }
    }

    /// The same under what its account says now.
    #[must_use]
    pub fn under(&self, owner: Owner) -> Self {
        Self { models: self.policy.models.and(&owner.policy.models), owner, ..self.clone() }
    }

    /// Why it may not be used at `now`; none, when it may. What was decided wins over what time did.
    #[must_use]
    pub fn stop(&self, now: Timestamp) -> Option<Stop> {
        if let Some(cut) = self.cut() {
            Some(Stop::Cut(cut))
        } else if self.is_expired(now) {
            Some(Stop::Expired)
        } else if self.is_replaced(now) {
            Some(Stop::Cut(Cut::Replaced))
        } else {
            None
        }
    }

    /// Whether its key is past its end at `now`.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expiry_met || self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether the grace of its secret is over at `now`.
    pub(super) fn is_replaced(&self, now: Timestamp) -> bool {
        self.replaced_at.is_some_and(|end| end <= now)
    }

    /// What is wrong with it, apart from time.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        match self.standing {
            GrantStanding::Cut(cut) => Some(cut),
            GrantStanding::Active if !self.owner.is_active => Some(Cut::AccountDisabled),
            GrantStanding::Active => None,
        }
    }
}
