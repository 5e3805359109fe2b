//! What a restored backup must not bring back: rights that were taken away after it was made.
//! Never: files, or what else a backup changes.

use std::ops::Bound;

use crate::store::Table;
use crate::types::{Account, AccountStatus, Actor, KeyRecord, KeySecret, KeyStanding, Timestamp};

use super::audit::Action;
use super::denial::{Attempt, Intent};
use super::record::{decode_account, decode_key};
use super::table::{ACCOUNTS, KEYS};
use super::{PAGE_MAX, Registry, RegistryError};

/// A right that is gone in the present store and alive in the backup; it stays gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// An account was disabled or deleted since; in the backup it works.
    Account(Account),
    /// A key was revoked, disabled or given an earlier end since, or lost secrets.
    Key {
        /// The key as the restored store has it now.
        key: KeyRecord,
        /// What was carried over, in words.
        what: String,
    },
}

impl Registry {
    /// Takes away in this registry, a restored backup, every right that was taken away in `present` since the
    /// backup was made. Calling it again changes nothing more.
    ///
    /// # Errors
    /// [`RegistryError::Store`] when one of the two can't be read or this one not written.
    pub fn carry_over(&self, actor: Actor, present: &Self) -> Result<Vec<Carried>, RegistryError> {
        let mut carried = Vec::new();
        present.each_row(ACCOUNTS, |id, bytes| {
            let account = decode_account(id, bytes)?;
            carried.extend(self.carry_account(actor, &account)?.map(Carried::Account));
            Ok(())
        })?;
        present.each_row(KEYS, |id, bytes| {
            let key = decode_key(id, bytes)?;
            carried.extend(self.carry_key(actor, &key)?);
            Ok(())
        })?;
        Ok(carried)
    }

    fn each_row(
        &self,
        table: Table,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let rows = self.store.scan(table, from, Bound::Unbounded, PAGE_MAX)?;
            for (key, value) in &rows {
                look(key, value)?;
            }
            if rows.len() < PAGE_MAX {
                return Ok(());
            }
            last = rows.into_iter().next_back().map(|(key, _)| key);
        }
    }

    fn carry_account(&self, actor: Actor, present: &Account) -> Result<Option<Account>, RegistryError> {
        let Some((restored, _)) = self.load_account(present.id)? else { return Ok(None) };
        let account = present.id;
        let intent = match (present.status, restored.status) {
            (AccountStatus::Deleted, AccountStatus::Active | AccountStatus::Disabled) => {
                Intent::DeleteAccount { actor, account }
            }
            (AccountStatus::Disabled, AccountStatus::Active) => Intent::DisableAccount { actor, account },
            (AccountStatus::Active, _)
            | (AccountStatus::Disabled, AccountStatus::Disabled | AccountStatus::Deleted)
            | (AccountStatus::Deleted, AccountStatus::Deleted) => return Ok(None),
        };
        let stopped = self.stop_account(&intent)?;
        if stopped.status == AccountStatus::Deleted {
            self.revoke_all_of(actor, account)?;
        }
        Ok(Some(stopped))
    }

    fn carry_key(&self, actor: Actor, present: &KeyRecord) -> Result<Option<Carried>, RegistryError> {
        if self.store.get(KEYS, present.id.as_bytes())?.is_none() {
            return Ok(None);
        }
        self.until_agreed(|| {
            let (restored, bytes) = self.load_key(present.id)?;
            let new = without_what_was_taken(&restored, present);
            let what = taken(&restored, &new);
            if what.is_empty() {
                return Ok(Attempt::Nothing(None));
            }
            let detail = format!("carried over at a restore: {what}");
            let commit = self.key_replacement(actor, action(&restored, &new), &new, bytes, detail)?;
            Ok(Attempt::denial(commit, Some(Carried::Key { key: new, what })))
        })
    }
}

/// The restored key, less every right that the present one has not.
fn without_what_was_taken(restored: &KeyRecord, present: &KeyRecord) -> KeyRecord {
    let standing = match (&present.standing, &restored.standing) {
        (_, KeyStanding::Revoked { .. }) | (KeyStanding::Active, _) => restored.standing.clone(),
        (KeyStanding::Revoked { .. } | KeyStanding::Disabled, _) => present.standing.clone(),
    };
    let secrets = restored.secrets.iter().filter_map(|secret| still_good(secret, present)).collect();
    let expires_at = earlier(restored.expires_at, present.expires_at);
    KeyRecord { standing, secrets, expires_at, ..restored.clone() }
}

/// A secret that a rotation replaced stays replaced, or keeps the end that its grace was given.
fn still_good(secret: &KeySecret, present: &KeyRecord) -> Option<KeySecret> {
    let now = present.secret(&secret.digest)?;
    Some(KeySecret { valid_until: earlier(secret.valid_until, now.valid_until), ..*secret })
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

fn taken(restored: &KeyRecord, new: &KeyRecord) -> String {
    let mut parts = Vec::new();
    if restored.standing != new.standing {
        parts.push(match new.standing {
            KeyStanding::Revoked { .. } => "revoked".to_string(),
            KeyStanding::Disabled => "disabled".to_string(),
            KeyStanding::Active => "active".to_string(),
        });
    }
    if restored.secrets != new.secrets {
        parts.push(match new.secrets.is_empty() {
            true => "rotated; its present secret is not in the backup, rotate it again".to_string(),
            false => "a secret that was rotated away".to_string(),
        });
    }
    if let (true, Some(end)) = (restored.expires_at != new.expires_at, new.expires_at) {
        parts.push(format!("ends {end}"));
    }
    parts.join("; ")
}

fn action(restored: &KeyRecord, new: &KeyRecord) -> Action {
    match &new.standing {
        standing if *standing == restored.standing => Action::KeyUpdated,
        KeyStanding::Revoked { .. } => Action::KeyRevoked,
        KeyStanding::Disabled => Action::KeyDisabled,
        KeyStanding::Active => Action::KeyUpdated,
    }
}
