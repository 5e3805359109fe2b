//! Which keys a list has where it asks for those that nobody uses: the registry knows the keys, the meter their use.
//! Never: what becomes of them.

use std::time::Duration;

use crate::registry::{KeyFilter, PAGE_MAX, Page, RegistryError};
use crate::types::{Actor, KeyId, KeyRecord, KeyStanding};

use super::{AdminError, Desk};

impl Desk<'_> {
    pub(super) fn page_of_keys(
        &self,
        actor: Actor,
        filter: &KeyFilter,
        unused: Option<Duration>,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Page<KeyRecord>, AdminError> {
        let Some(since) = unused else { return Ok(self.registry.keys(actor, filter, after, limit)?) };
        let limit = limit.clamp(1, PAGE_MAX);
        let (mut entries, mut after) = (Vec::new(), after);
        loop {
            let page = self.registry.keys(actor, filter, after, PAGE_MAX)?;
            after = page.entries.last().map(|key| key.id).or(after);
            for key in page.entries {
                if self.is_unused(&key, filter, since)? {
                    entries.push(key);
                }
                if entries.len() > limit {
                    entries.truncate(limit);
                    return Ok(Page { entries, has_more: true });
                }
            }
            if !page.has_more {
                return Ok(Page { entries, has_more: false });
            }
        }
    }

    /// That a revoked key is not used says nothing; it is listed only where such keys are asked for.
    fn is_unused(&self, key: &KeyRecord, filter: &KeyFilter, since: Duration) -> Result<bool, AdminError> {
        let is_revoked = matches!(key.standing, KeyStanding::Revoked { .. });
        if is_revoked && filter.status.is_none() {
            return Ok(false);
        }
        Ok(self.meter.is_unused(key.account, key.id, since).map_err(RegistryError::from)?)
    }
}
