//! An account: a person or team that owns keys. Never: passwords in clear.

use super::{AccountId, DisplayName, Email, Policy, Timestamp};

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its own things.
    Member,
    /// Everyone's.
    Admin,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

/// Whether an account's keys and sign-in work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountStatus {
    /// They do.
    Active,
    /// They do not, until it is enabled again.
    Disabled,
    /// It is gone; the record stays so that audit and usage keep a name.
    Deleted,
}

impl AccountStatus {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

/// An account as everyone above the registry sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its address; unique among accounts that are not deleted.
    pub email: Email,
    /// What to call the person.
    pub name: Option<DisplayName>,
    /// What it may do.
    pub role: Role,
    /// Whether it works.
    pub status: AccountStatus,
    /// What all its keys together may use, from where, and how much.
    pub policy: Policy,
    /// When it was made.
    pub created_at: Timestamp,
}
