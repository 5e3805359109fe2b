//! Finding keys: by id, the beginning of an id, name or last four characters, and in lists. Never: changing them.

use std::ops::Bound;

use crate::store::Row;
use crate::types::{AccountId, Actor, KeyHint, KeyId, KeyName, KeyRecord, KeyStatus, Timestamp};

use super::access::{administrators_only, visible};
use super::keys::KeyFilter;
use super::record::decode_key;
use super::table::{KEY_INDEX, KEYS, by_account, by_hint, by_name, end_of};
use super::{PAGE_MAX, Page, Registry, RegistryError};

/// The most keys listed for one ambiguous text.
const CANDIDATES_MAX: usize = 20;
/// The most keys looked at for one text; where more fit, none is taken for the only one.
const LOOKED_AT_MAX: usize = 10 * PAGE_MAX;

impl Registry {
    /// The one key that `text` names: an id, the beginning of an id, a name or the last four characters. Where
    /// several fit, the one that is not revoked.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Ambiguous`], [`RegistryError::Store`].
    pub fn key(&self, actor: Actor, text: &str) -> Result<KeyRecord, RegistryError> {
        let now = self.clock.now();
        let ids = self.ids_fitting(text)?;
        let all_seen = ids.len() <= LOOKED_AT_MAX;
        let mut found = self.candidates(actor, ids, now)?;
        match found.len() {
            0 => Err(RegistryError::NotFound(format!(
                "there is no key '{}'; `ember key list` shows those there are",
                shown(text)
            ))),
            1 if all_seen => Ok(found.swap_remove(0)),
            _ => Err(RegistryError::Ambiguous {
                text: shown(text),
                candidates: found.iter().map(|key| candidate_line(key, now)).collect(),
            }),
        }
    }

    /// Keys that pass a filter, in the order they were made.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn keys(
        &self,
        actor: Actor,
        filter: &KeyFilter,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Page<KeyRecord>, RegistryError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let account = match &filter.account {
            Some(text) => Some(self.account(actor, text)?.id),
            None => None,
        };
        if account.is_none() {
            administrators_only(actor)?;
        }
        let mut entries = Vec::new();
        let mut last = after;
        loop {
            let page = self.page_of_keys(account, last)?;
            let done = page.len() < PAGE_MAX;
            last = page.last().map(|key| key.id);
            let now = self.clock.now();
            entries.extend(
                page.into_iter().filter(|key| passes(filter, key, now)).take(limit + 1 - entries.len()),
            );
            if entries.len() > limit {
                entries.truncate(limit);
                return Ok(Page { entries, has_more: true });
            }
            if done {
                return Ok(Page { entries, has_more: false });
            }
        }
    }

    /// How many keys there are, revoked ones included.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn key_count(&self) -> Result<u64, RegistryError> {
        Ok(self.store.count(KEYS)?)
    }

    pub(super) fn key_ids_of(
        &self,
        account: AccountId,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyId>, RegistryError> {
        self.indexed(by_account(account), after, limit)
    }

    fn page_of_keys(
        &self,
        account: Option<AccountId>,
        after: Option<KeyId>,
    ) -> Result<Vec<KeyRecord>, RegistryError> {
        match account {
            Some(account) => self.load_all(self.key_ids_of(account, after, PAGE_MAX)?),
            None => {
                let after = after.map(|id| id.as_bytes().to_vec());
                let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let rows = self.store.scan(KEYS, from, Bound::Unbounded, PAGE_MAX)?;
                rows.iter().map(decoded).collect()
            }
        }
    }

    /// Ids that the text fits; a few more than [`LOOKED_AT_MAX`] when there are that many.
    fn ids_fitting(&self, text: &str) -> Result<Vec<KeyId>, RegistryError> {
        if let Ok(id) = text.parse::<KeyId>() {
            return Ok(vec![id]);
        }
        if let Some((first, last)) = KeyId::range_of_prefix(text) {
            let ids = self.ids_between(first, last)?;
            if !ids.is_empty() {
                return Ok(ids);
            }
        }
        let mut ids = Vec::new();
        if let Ok(name) = text.parse::<KeyName>() {
            ids.extend(self.indexed(by_name(&name), None, LOOKED_AT_MAX + 1)?);
        }
        if let Some(hint) = text.as_bytes().try_into().ok().and_then(KeyHint::from_bytes) {
            ids.extend(self.indexed(by_hint(hint), None, LOOKED_AT_MAX + 1)?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn ids_between(&self, first: KeyId, last: KeyId) -> Result<Vec<KeyId>, RegistryError> {
        let mut ids: Vec<KeyId> = Vec::new();
        loop {
            let after = ids.last().map(|id| id.as_bytes().to_vec());
            let from = after.as_deref().map_or(Bound::Included(&first.as_bytes()[..]), Bound::Excluded);
            let rows = self.store.scan(KEYS, from, Bound::Included(last.as_bytes()), PAGE_MAX)?;
            ids.extend(rows.iter().filter_map(|(id, _)| KeyId::from_bytes(id)));
            if rows.len() < PAGE_MAX || ids.len() > LOOKED_AT_MAX {
                return Ok(ids);
            }
        }
    }

    /// Of these keys, those that are not revoked; where there are none, the revoked ones. Not all of very many.
    fn candidates(
        &self,
        actor: Actor,
        ids: Vec<KeyId>,
        now: Timestamp,
    ) -> Result<Vec<KeyRecord>, RegistryError> {
        let (mut live, mut revoked) = (Vec::new(), Vec::new());
        for id in ids {
            let keys = self.load_all(vec![id])?.into_iter().filter(|key| visible(actor, key));
            let (gone, there): (Vec<_>, Vec<_>) = keys.partition(|key| key.status(now) == KeyStatus::Revoked);
            live.extend(there);
            revoked.extend(gone);
            revoked.truncate(CANDIDATES_MAX);
            if live.len() == CANDIDATES_MAX {
                break;
            }
        }
        Ok(if live.is_empty() { revoked } else { live })
    }

    fn indexed(
        &self,
        prefix: Vec<u8>,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyId>, RegistryError> {
        let start = match after {
            Some(id) => [&prefix[..], id.as_bytes()].concat(),
            None => prefix.clone(),
        };
        let from = if after.is_some() { Bound::Excluded(&start[..]) } else { Bound::Included(&start[..]) };
        let end = end_of(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.store.scan(KEY_INDEX, from, to, limit)?;
        Ok(rows.iter().filter_map(|(row, _)| KeyId::from_bytes(row.get(prefix.len()..)?)).collect())
    }

    fn load_all(&self, ids: Vec<KeyId>) -> Result<Vec<KeyRecord>, RegistryError> {
        let mut keys = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(bytes) = self.store.get(KEYS, id.as_bytes())? {
                keys.push(decode_key(id.as_bytes(), &bytes)?);
            }
        }
        Ok(keys)
    }
}

fn decoded((id, bytes): &Row) -> Result<KeyRecord, RegistryError> {
    Ok(decode_key(id, bytes)?)
}

fn passes(filter: &KeyFilter, key: &KeyRecord, now: Timestamp) -> bool {
    filter.environment.is_none_or(|environment| environment == key.environment)
        && filter.status.is_none_or(|status| status == key.status(now))
}

fn candidate_line(key: &KeyRecord, now: Timestamp) -> String {
    let hint = key.hint().map_or_else(String::new, |hint| hint.to_string());
    format!("  {}  {}  {}  ...{hint}  {}", key.id, key.name, key.environment, key.status(now).as_str())
}

/// What was typed may be a whole key by mistake: never given back.
fn shown(text: &str) -> String {
    if crate::types::Key::parse(text.as_bytes()).is_ok() {
        return "(a whole key; name it by its id, its name or its last 4 characters)".to_string();
    }
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
