//! Keys that nobody uses. Never: what becomes of them.

use std::time::Duration;

use crate::store::Trouble;
use crate::types::{AccountId, KeyId};

use super::Meter;

impl Meter {
    /// Whether a key was never used for a model, or not for so long.
    ///
    /// # Errors
    /// [`Trouble`] of the store.
    pub fn is_unused(&self, account: AccountId, key: KeyId, since: Duration) -> Result<bool, Trouble> {
        let last = self.last_used(account, key)?;
        Ok(last.is_none_or(|last| last.after(since) <= self.clock.now()))
    }
}
