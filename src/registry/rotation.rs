//! A key's new secret: same id, the old secret good until the end of a grace, or gone at once.

use std::time::Duration;

use crate::store::{Check, Commit, Write};
use crate::types::{Actor, Key, KeyDigest, KeyId, KeyRecord, KeySecret, KeyStanding, KeyStatus, Timestamp};

use super::audit::Action;
use super::denial::{Attempt, Intent};
use super::keys::refuse_revoked;
use super::table::{DIGESTS, KEY_INDEX, by_hint, index_row};
use super::{Registry, RegistryError};

/// What becomes of the old secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// It stays good for this long.
    Grace(Duration),
    /// It is denied at once, and what runs on it is cut.
    Now,
}

/// The longest grace: 90 days.
const GRACE_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

impl Registry {
    /// Gives a key a new secret. The second value is the new key itself; it is nowhere else.
    ///
    /// # Errors
    /// [`RegistryError`]; a key whose last rotation's grace is still running is refused unless `Now`.
    pub fn rotate_key(
        &self,
        actor: Actor,
        text: &str,
        rotation: Rotation,
    ) -> Result<(KeyRecord, Key), RegistryError> {
        let key = self.key(actor, text)?;
        self.pace(actor)?;
        refuse_long(rotation)?;
        let secret = Key::generate(key.environment, &*self.random)?;
        let record = match rotation {
            Rotation::Grace(grace) => self.until_agreed(|| {
                let (old, bytes) = self.load_key(key.id)?;
                let now = self.clock.now();
                self.refuse_unrotatable(&old, now)?;
                refuse_within_grace(&old, now)?;
                let kept = old.secrets.first().map(|first| ending(first, now.after(grace)));
                self.rotated(actor, old, bytes, &secret, kept.into_iter().collect())
            })?,
            Rotation::Now => {
                self.refuse_unrotatable(&key, self.clock.now())?;
                let secrets = key.secrets.iter().map(|old| old.digest).collect();
                let detail = "old secrets dropped".to_string();
                let intent = Intent::DropSecrets { actor, key: key.id, secrets, detail };
                self.deny_then(&intent, || {
                    let (old, bytes) = self.load_key(key.id)?;
                    self.refuse_unrotatable(&old, self.clock.now())?;
                    refuse_changed(&key, &old)?;
                    let attempt = self.rotated(actor, old, bytes, &secret, Vec::new())?;
                    Ok(match attempt {
                        Attempt::Commit(commit, record) => Attempt::denial(commit, record),
                        Attempt::Nothing(record) => Attempt::Nothing(record),
                    })
                })?
            }
        };
        Ok((record, secret))
    }

    /// Writes down that some secrets of a key are gone, when a rotation could not.
    pub(super) fn drop_secrets(&self, intent: &Intent) -> Result<(), RegistryError> {
        let Intent::DropSecrets { actor, key, secrets, detail } = intent else {
            return Err(RegistryError::Invalid("this does not drop secrets".to_string()));
        };
        self.deny_then(intent, || {
            let (old, bytes) = self.load_key(*key)?;
            let left = old.secrets.iter().filter(|secret| !secrets.contains(&secret.digest)).copied();
            let new = KeyRecord { secrets: left.collect(), ..old.clone() };
            if new == old {
                return Ok(Attempt::Nothing(()));
            }
            let commit = self.key_replacement(*actor, Action::KeyRotated, &new, bytes, detail.clone())?;
            Ok(Attempt::denial(commit, ()))
        })
    }

    /// Writes down that a secret was met after the end of its grace at `met_at`, so that it stays over whatever the
    /// clock shows later. Nothing changes where that stands already, or where the key is revoked.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn grace_met(&self, key: KeyId, digest: &KeyDigest, met_at: Timestamp) -> Result<(), RegistryError> {
        self.until_agreed(|| {
            let (mut new, bytes) = self.load_key(key)?;
            if matches!(new.standing, KeyStanding::Revoked { .. }) {
                return Ok(Attempt::Nothing(()));
            }
            let is_past = |end: Timestamp| end <= met_at && end != KeySecret::OVER;
            let is_met =
                |secret: &&mut KeySecret| secret.digest == *digest && secret.valid_until.is_some_and(is_past);
            let Some(secret) = new.secrets.iter_mut().find(is_met) else { return Ok(Attempt::Nothing(())) };
            let detail = format!("the grace of the old secret ...{} is over", secret.hint);
            secret.valid_until = Some(KeySecret::OVER);
            let commit = self.key_replacement(Actor::Ember, Action::GraceMet, &new, bytes, detail)?;
            Ok(Attempt::Commit(commit, ()))
        })
    }

    fn rotated(
        &self,
        actor: Actor,
        old: KeyRecord,
        bytes: Vec<u8>,
        key: &Key,
        kept: Vec<KeySecret>,
    ) -> Result<Attempt<KeyRecord>, RegistryError> {
        let fresh = KeySecret {
            digest: key.digest(),
            hint: key.hint(),
            created_at: self.clock.now(),
            valid_until: None,
        };
        let detail = rotation_text(&old, &fresh, kept.first());
        let mut secrets = vec![fresh];
        secrets.extend(kept);
        let new = KeyRecord { secrets, ..old };
        let mut commit = self.key_replacement(actor, Action::KeyRotated, &new, bytes, detail)?;
        self.add_secret(&mut commit, &new, key.digest());
        Ok(Attempt::Commit(commit, new))
    }

    fn add_secret(&self, commit: &mut Commit, record: &KeyRecord, digest: KeyDigest) {
        let row = digest.as_bytes().to_vec();
        commit.checks.push(Check::Absent { table: DIGESTS, key: row.clone() });
        commit.writes.push(Write::Put { table: DIGESTS, key: row, value: record.id.as_bytes().to_vec() });
        if let Some(hint) = record.hint() {
            let key = index_row(by_hint(hint), record.id);
            commit.writes.push(Write::Put { table: KEY_INDEX, key, value: Vec::new() });
        }
    }

    fn refuse_unrotatable(&self, key: &KeyRecord, now: Timestamp) -> Result<(), RegistryError> {
        refuse_revoked(key)?;
        let sentence = match key.status(now) {
            KeyStatus::Active | KeyStatus::Revoked => return Ok(()),
            KeyStatus::Disabled => {
                format!("key {} ({}) is disabled; `ember key enable {}` first", key.id, key.name, key.id)
            }
            KeyStatus::Expired => format!(
                "key {} ({}) has expired; give it a later end with `ember key update {} --expires` first",
                key.id, key.name, key.id
            ),
        };
        Err(RegistryError::Conflict(sentence))
    }
}

/// The old secret, good until the end of the grace.
fn ending(old: &KeySecret, end: Timestamp) -> KeySecret {
    KeySecret { valid_until: Some(end), ..*old }
}

fn refuse_long(rotation: Rotation) -> Result<(), RegistryError> {
    match rotation {
        Rotation::Grace(grace) if grace > GRACE_MAX => Err(RegistryError::Invalid(
            "a grace lasts 90 days at most; choose a shorter one or --now".to_string(),
        )),
        Rotation::Grace(_) | Rotation::Now => Ok(()),
    }
}

fn refuse_within_grace(key: &KeyRecord, now: Timestamp) -> Result<(), RegistryError> {
    let running = key.secrets.iter().filter_map(|secret| secret.valid_until).find(|end| *end > now);
    match running {
        None => Ok(()),
        Some(end) => Err(RegistryError::Conflict(format!(
            "key {} ({}) was rotated before and its old secret works until {end}; wait, or use --now, which ends both old secrets at once",
            key.id, key.name
        ))),
    }
}

/// Only what was denied in memory may be dropped.
fn refuse_changed(denied: &KeyRecord, now: &KeyRecord) -> Result<(), RegistryError> {
    if denied.secrets == now.secrets {
        Ok(())
    } else {
        Err(RegistryError::Conflict(
            "the key was rotated by someone else meanwhile; look at it and try again".to_string(),
        ))
    }
}

fn rotation_text(old: &KeyRecord, fresh: &KeySecret, kept: Option<&KeySecret>) -> String {
    let before = old.hint().map_or_else(String::new, |hint| format!("...{hint}"));
    match kept.and_then(|kept| kept.valid_until) {
        Some(end) => format!("{before} -> ...{}, the old one works until {end}", fresh.hint),
        None => format!("{before} -> ...{}, the old one is gone", fresh.hint),
    }
}
