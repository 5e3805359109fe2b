//! Keys that nobody uses: when such a key is to end. Never: when it was used (whoever asks says so).

use std::ops::Bound;
use std::time::Duration;

use crate::types::{Actor, KeyId, KeyRecord, KeyStatus, Timestamp};

use super::audit::Action;
use super::denial::Attempt;
use super::record::event::decode_event;
use super::table::{AUDIT, AUDIT_INDEX, audit_prefix, end_of};
use super::{Registry, RegistryError};

impl Registry {
    /// Lets a key expire that was not used for `unused_for`, nor touched by anyone: made, changed, rotated.
    /// Only time since `watched_since` counts, in which a use would have been noticed. A later end
    /// revives it, and then it has that time anew. Whether it did.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn expire_unused(
        &self,
        key: KeyId,
        last_used_at: Option<Timestamp>,
        watched_since: Timestamp,
        unused_for: Duration,
    ) -> Result<bool, RegistryError> {
        self.until_agreed(|| {
            let (old, bytes) = self.load_key(key)?;
            let now = self.clock.now();
            if old.status(now) != KeyStatus::Active {
                return Ok(Attempt::Nothing(false));
            }
            let idle_since = [last_used_at, self.last_event_at(key)?]
                .into_iter()
                .flatten()
                .fold(old.created_at.max(watched_since), Timestamp::max);
            if idle_since.after(unused_for) > now {
                return Ok(Attempt::Nothing(false));
            }
            let detail = format!("unused since {idle_since}; a later end revives it");
            let new = KeyRecord { expires_at: Some(now), expiry_met: true, ..old };
            let commit = self.key_replacement(Actor::Ember, Action::KeyExpired, &new, bytes, detail)?;
            Ok(Attempt::Commit(commit, true))
        })
    }

    /// When something was last done to a key. That its old secret was met after its end is nothing done to it; a
    /// rotation leaves one old secret, so that stands in the trail but once in a row.
    fn last_event_at(&self, key: KeyId) -> Result<Option<Timestamp>, RegistryError> {
        let prefix = audit_prefix(key.as_bytes());
        let end = end_of(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.store.scan_back(AUDIT_INDEX, Bound::Included(&prefix), to, 2)?;
        for (row, _) in &rows {
            let id = row.get(prefix.len()..).unwrap_or_default();
            let bytes = self.store.get(AUDIT, id)?;
            let event = bytes.map(|bytes| decode_event(id, &bytes)).transpose()?;
            if let Some(event) = event.filter(|event| event.action != Action::GraceMet) {
                return Ok(Some(event.at));
            }
        }
        Ok(None)
    }
}
