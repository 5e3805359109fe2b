//! What can be asked. Never: who asks, or how it is carried out.

use crate::registry::{KeyChanges, KeyFilter, NewAccount, NewKey, Rotation};
use crate::types::{AccountId, Key, KeyId, Secret};

/// One thing an operator can ask. Where a key is named, the text is an id, the beginning of one, a name or the last
/// four characters; where an account is named, its address or id.
pub enum Command {
    /// Make an account.
    AccountCreate(NewAccount),
    /// Accounts in the order they were made.
    AccountList {
        /// The last one already seen.
        after: Option<AccountId>,
        /// How many, 1 to [`crate::registry::PAGE_MAX`].
        limit: usize,
    },
    /// One account and its history.
    AccountShow {
        /// Which.
        account: String,
    },
    /// Switch an account off.
    AccountDisable {
        /// Which.
        account: String,
    },
    /// Switch an account on again.
    AccountEnable {
        /// Which.
        account: String,
    },
    /// Delete an account and revoke its keys.
    AccountDelete {
        /// Which.
        account: String,
    },
    /// Set an account's password.
    AccountPassword {
        /// Which.
        account: String,
        /// The new password.
        password: Secret,
    },
    /// Issue a key.
    KeyCreate(NewKey),
    /// Keys in the order they were made.
    KeyList {
        /// Which of them.
        filter: KeyFilter,
        /// The last one already seen.
        after: Option<KeyId>,
        /// How many, 1 to [`crate::registry::PAGE_MAX`].
        limit: usize,
    },
    /// One key and its history.
    KeyShow {
        /// Which.
        key: String,
    },
    /// Change a key's name, models or end.
    KeyUpdate {
        /// Which.
        key: String,
        /// What is to change.
        changes: KeyChanges,
    },
    /// Switch a key off.
    KeyDisable {
        /// Which.
        key: String,
    },
    /// Switch a key on again.
    KeyEnable {
        /// Which.
        key: String,
    },
    /// Revoke a key for good.
    KeyRevoke {
        /// Which.
        key: String,
        /// Why; for the audit trail.
        reason: Option<String>,
    },
    /// Give a key a new secret.
    KeyRotate {
        /// Which.
        key: String,
        /// What becomes of the old secret.
        rotation: Rotation,
    },
    /// Whose key this is and whether it would be admitted.
    KeyVerify {
        /// The whole key.
        key: Key,
    },
    /// How Ember is.
    Status,
}

impl Command {
    /// Whether it only looks; then asking it twice does no harm.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::AccountList { .. }
            | Self::AccountShow { .. }
            | Self::KeyList { .. }
            | Self::KeyShow { .. }
            | Self::KeyVerify { .. }
            | Self::Status => true,
            Self::AccountCreate(_)
            | Self::AccountDisable { .. }
            | Self::AccountEnable { .. }
            | Self::AccountDelete { .. }
            | Self::AccountPassword { .. }
            | Self::KeyCreate(_)
            | Self::KeyUpdate { .. }
            | Self::KeyDisable { .. }
            | Self::KeyEnable { .. }
            | Self::KeyRevoke { .. }
            | Self::KeyRotate { .. } => false,
        }
    }
}
