//! What a digest opens, and where the gate learns it. Never: when to ask.

use std::future::Future;
use std::pin::Pin;

use crate::types::{AccountId, KeyDigest, KeyId, KeyRecord, KeyStanding, ModelScope, Timestamp};

use super::Cut;

/// Finds what a digest opens. Must not be asked for a key already in memory.
pub trait KeySource: Send + Sync {
    /// The grant behind a digest; none when it was never issued.
    fn find<'a>(
        &'a self,
        digest: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>>;
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

/// What one secret of a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The key it belongs to.
    pub key: KeyId,
    /// The account that owns the key.
    pub account: AccountId,
    /// What it may use.
    pub models: ModelScope,
    /// Whether it stands, apart from time.
    pub standing: GrantStanding,
    /// When it stops: the key's expiry.
    pub expires_at: Option<Timestamp>,
    /// When it stops although the key goes on: the end of a rotation's grace.
    pub replaced_at: Option<Timestamp>,
    /// Whether the account works; kept apart, because it changes apart.
    pub account_active: bool,
}

impl Grant {
    /// What the secret with this digest opens, by its key's record and its account's state.
    #[must_use]
    pub fn of(record: &KeyRecord, digest: &KeyDigest, account_active: bool) -> Self {
        let secret = record.secret(digest);
        let standing = match &record.standing {
            KeyStanding::Revoked { .. } => GrantStanding::Cut(Cut::Revoked),
            KeyStanding::Disabled => GrantStanding::Cut(Cut::Disabled),
            KeyStanding::Active if secret.is_none() => GrantStanding::Cut(Cut::Replaced),
            KeyStanding::Active => GrantStanding::Active,
        };
        Self {
            key: record.id,
            account: record.account,
            models: record.models.clone(),
            standing,
            expires_at: record.expires_at,
            replaced_at: secret.and_then(|secret| secret.valid_until),
            account_active,
        }
    }

    /// Why it may not be used at `now`; none, when it may. What was decided wins over what time did.
    #[must_use]
    pub fn stop(&self, now: Timestamp) -> Option<Stop> {
        let past = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
        if let Some(cut) = self.cut() {
            Some(Stop::Cut(cut))
        } else if past(self.expires_at) {
            Some(Stop::Expired)
        } else if past(self.replaced_at) {
            Some(Stop::Cut(Cut::Replaced))
        } else {
            None
        }
    }

    /// What is wrong with it, apart from time.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        match self.standing {
            GrantStanding::Cut(cut) => Some(cut),
            GrantStanding::Active if !self.account_active => Some(Cut::AccountDisabled),
            GrantStanding::Active => None,
        }
    }
}
