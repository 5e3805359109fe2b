//! Revoking many keys of an account: all denied in memory first, then written down in parts. Never: keys of others.

use crate::store::Commit;
use crate::types::{AccountId, Actor, Environment, KeyId, KeyRecord, KeyStanding};

use super::audit::Action;
use super::denial::{Attempt, Intent};
use super::keys::checked_reason;
use super::{PAGE_MAX, Registry, RegistryError};

/// Whoever makes keys faster than they are revoked has to be stopped himself.
const ROUNDS_MAX: usize = 10;

/// Keys of one commit. Each has its own event.
const COMMIT_KEYS_MAX: usize = 100;

impl Registry {
    /// Revokes every key of an account, or of one of its environments, and says how many that were. From the first
    /// write on, none of them is admitted.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryError::NotDurable`] when all are denied and some are not on disk yet.
    pub fn revoke_keys(
        &self,
        actor: Actor,
        account: &str,
        environment: Option<Environment>,
        reason: Option<&str>,
    ) -> Result<u64, RegistryError> {
        let reason = reason.map(checked_reason).transpose()?;
        let account = self.account(actor, account)?.id;
        let mut revoked = 0;
        // Until there are none: some may be made meanwhile.
        for _ in 0..ROUNDS_MAX {
            let keys = self.live_keys(account, environment)?;
            if keys.is_empty() {
                break;
            }
            let intent = |key| Intent::RevokeKey { actor, key, reason: reason.clone() };
            let intents: Vec<_> = keys.into_iter().map(intent).collect();
            revoked += self.deny_all_while(&intents, COMMIT_KEYS_MAX, |part| self.revoke_part(part))?;
        }
        Ok(revoked)
    }

    fn live_keys(
        &self,
        account: AccountId,
        environment: Option<Environment>,
    ) -> Result<Vec<KeyId>, RegistryError> {
        let (mut live, mut after) = (Vec::new(), None);
        loop {
            let ids = self.key_ids_of(account, after, PAGE_MAX)?;
            after = ids.last().copied();
            let is_last = ids.len() < PAGE_MAX;
            for id in ids {
                // One that can't be read is denied all the same: what it is shows when it is written down.
                let is_wanted = self.load_key(id).map_or(true, |(key, _)| {
                    is_live(&key) && environment.is_none_or(|wanted| wanted == key.environment)
                });
                if is_wanted {
                    live.push(id);
                }
            }
            if is_last {
                return Ok(live);
            }
        }
    }

    /// Writes a part down in one commit; how many keys it revoked.
    fn revoke_part(&self, part: &[Intent]) -> Result<u64, RegistryError> {
        self.until_agreed(|| {
            let (mut whole, mut count) = (Commit::default(), 0);
            for intent in part {
                let Intent::RevokeKey { actor, key, reason } = intent else { continue };
                let (old, bytes) = self.load_key(*key)?;
                if !is_live(&old) {
                    continue;
                }
                let standing = KeyStanding::Revoked { at: self.clock.now(), reason: reason.clone() };
                let new = KeyRecord { standing, ..old };
                let detail = reason.clone().unwrap_or_default();
                let one = self.key_replacement(*actor, Action::KeyRevoked, &new, bytes, detail)?;
                whole.checks.extend(one.checks);
                whole.writes.extend(one.writes);
                count += 1;
            }
            Ok(if count == 0 { Attempt::Nothing(0) } else { Attempt::denial(whole, count) })
        })
    }
}

const fn is_live(key: &KeyRecord) -> bool {
    match key.standing {
        KeyStanding::Active | KeyStanding::Disabled => true,
        KeyStanding::Revoked { .. } => false,
    }
}
