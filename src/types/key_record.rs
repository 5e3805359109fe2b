//! What Ember knows of a key, and what follows from it at a given time. Never: the key in clear.

use std::collections::BTreeSet;

use super::{AccountId, Environment, KeyDigest, KeyHint, KeyId, KeyName, ModelId, Policy, Timestamp, Weight};

/// One secret of a key. A key has one, or two for the length of a rotation's grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySecret {
    /// SHA-256 of it.
    pub digest: KeyDigest,
    /// Its last four characters.
    pub hint: KeyHint,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it stops working although the key goes on: the end of a rotation's grace.
    pub valid_until: Option<Timestamp>,
}

impl KeySecret {
    /// The end of one that was met after its end: it stays over though the clock goes back.
    pub const OVER: Timestamp = Timestamp::from_millis(0);
}

/// The models a key may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelScope {
    /// Every model there is.
    All,
    /// These, by their public names.
    Only(BTreeSet<ModelId>),
}

impl ModelScope {
    /// Whether `model` is among them.
    #[must_use]
    pub fn allows(&self, model: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(models) => models.contains(model),
        }
    }
}

/// What was last decided about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStanding {
    /// It may be used.
    Active,
    /// It may not, until it is enabled again.
    Disabled,
    /// It may never be used again.
    Revoked {
        /// When.
        at: Timestamp,
        /// What the one who did it gave as the reason.
        reason: Option<String>,
    },
}

/// What a key is at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyStatus {
    /// Works.
    Active,
    /// Switched off.
    Disabled,
    /// Past its expiry.
    Expired,
    /// Gone for good.
    Revoked,
}

impl KeyStatus {
    /// Every status, in the order people list them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Disabled, Self::Expired, Self::Revoked];

    /// The word used on the command line and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A key as everyone above the registry sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its public id; survives rotation.
    pub id: KeyId,
    /// Who owns it.
    pub account: AccountId,
    /// What it is called.
    pub name: KeyName,
    /// What it is for.
    pub environment: Environment,
    /// What it may use, from where, and how much.
    pub policy: Policy,
    /// Whether requests of browsers may use it.
    pub allow_browser: bool,
    /// Its share where requests have to wait.
    pub weight: Weight,
    /// Its secrets, newest first: one or two; none where a disk failed in the middle of a rotation at once.
    pub secrets: Vec<KeySecret>,
    /// What was last decided.
    pub standing: KeyStanding,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working, whatever its secrets say.
    pub expires_at: Option<Timestamp>,
    /// Whether it was found past its end; then it stays expired though the clock goes back, until it gets another end.
    pub expiry_met: bool,
}

impl KeyRecord {
    /// What the key is at `now`. Revoked wins over disabled, disabled over expired.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        match &self.standing {
            KeyStanding::Revoked { .. } => KeyStatus::Revoked,
            KeyStanding::Disabled => KeyStatus::Disabled,
            KeyStanding::Active if self.is_past(now) => KeyStatus::Expired,
            KeyStanding::Active => KeyStatus::Active,
        }
    }

    /// Whether its end has passed at `now`, or was found to have passed before.
    #[must_use]
    pub fn is_past(&self, now: Timestamp) -> bool {
        self.expiry_met || self.expires_at.is_some_and(|end| end <= now)
    }

    /// The newest secret's last four characters.
    #[must_use]
    pub fn hint(&self) -> Option<KeyHint> {
        self.secrets.first().map(|secret| secret.hint)
    }

    /// The secret with this digest, if the key has it.
    #[must_use]
    pub fn secret(&self, digest: &KeyDigest) -> Option<&KeySecret> {
        self.secrets.iter().find(|secret| secret.digest == *digest)
    }
}
