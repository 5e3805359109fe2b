//! What is answered: plain data, and a new key once. Never: how it is written down or shown.

use crate::gate::Stop;
use crate::registry::{Event, Page};
use crate::types::{
    Account, AccountId, Email, Environment, EventId, Key, KeyHint, KeyId, KeyName, KeySecret, KeyStatus,
    ModelScope, Timestamp,
};

use super::Status;

/// The answer to a command.
pub enum Reply {
    /// An account as it is now.
    Account(Account),
    /// A page of accounts.
    Accounts(Page<Account>),
    /// An account with its history.
    AccountDetail(AccountDetail),
    /// A key as it is now.
    Key(KeyView),
    /// A page of keys.
    Keys(Page<KeyView>),
    /// A key with its history.
    KeyDetail(KeyDetail),
    /// A key with its new secret, which is nowhere else.
    Issued {
        /// The key as it is now.
        key: KeyView,
        /// The secret; to be shown once.
        secret: Key,
    },
    /// What a whole key is good for.
    Verdict(Verdict),
    /// How Ember is.
    Status(Status),
}

/// An account and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountDetail {
    /// The account.
    pub account: Account,
    /// Oldest first.
    pub history: Vec<HistoryLine>,
}

/// A key and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDetail {
    /// The key.
    pub key: KeyView,
    /// Oldest first.
    pub history: Vec<HistoryLine>,
}

/// A key as it is shown: no digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// What it is called.
    pub name: KeyName,
    /// Its owner's address.
    pub owner: Option<Email>,
    /// Its owner.
    pub account: AccountId,
    /// What it is for.
    pub environment: Environment,
    /// What it may use.
    pub models: ModelScope,
    /// The newest secret's last four characters.
    pub last4: Option<KeyHint>,
    /// What it is now.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    pub revoked_reason: Option<String>,
    /// Its secrets, newest first.
    pub secrets: Vec<SecretView>,
}

/// A secret of a key as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretView {
    /// Its last four characters.
    pub last4: KeyHint,
    /// When it was issued.
    pub created_at: Timestamp,
    /// The end of its grace.
    pub valid_until: Option<Timestamp>,
}

/// A line of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The event's id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// What changed, in words.
    pub detail: String,
}

/// What a whole key is good for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The key it belongs to.
    pub key: KeyView,
    /// Why it would be refused; none when it would be admitted.
    pub stop: Option<Stop>,
}

impl SecretView {
    pub(super) fn of(secret: &KeySecret) -> Self {
        Self { last4: secret.hint, created_at: secret.created_at, valid_until: secret.valid_until }
    }
}

impl HistoryLine {
    pub(super) fn of(event: Event) -> Self {
        Self {
            id: event.id,
            at: event.at,
            actor: event.actor.to_string(),
            action: event.action.as_str().to_string(),
            detail: event.detail,
        }
    }
}
