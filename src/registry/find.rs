//! Finding keys: by id, the beginning of an id, name or last four characters, and in lists. Never: changing them.

use std::ops::Bound;

use crate::store::Row;
use crate::types::{AccountId, Actor, Key, KeyHint, KeyId, KeyName, KeyRecord, KeyStanding, Timestamp};

use super::access::visible;
use super::keys::KeyFilter;
use super::record::decode_key;
use super::table::{KEY_INDEX, KEYS, by_account, by_hint, by_name, end_of};
use super::{PAGE_MAX, Page, Registry, RegistryError};

/// The most keys listed for one ambiguous text.
const CANDIDATES_MAX: usize = 20;

impl Registry {
    /// The one key that `text` names: an id, the beginning of an id, a name or the last four characters. Where
    /// several fit, the one that is not revoked.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Ambiguous`], [`RegistryError::Store`].
    pub fn key(&self, actor: Actor, text: &str) -> Result<KeyRecord, RegistryError> {
        let mut found = self.shortlist(actor, text)?.into_keys();
        let now = self.clock.now();
        match found.len() {
            0 => Err(RegistryError::NotFound(format!(
                "there is no key '{}'; `ember key list` shows those there are",
                shown(text)
            ))),
            1 => Ok(found.swap_remove(0)),
            _ => Err(RegistryError::Ambiguous {
                text: shown(text),
                candidates: found.iter().map(|key| candidate_line(key, now)).collect(),
            }),
        }
    }

    /// Keys that pass a filter, in the order they were made or the other way round.
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
        let account = match (&filter.account, actor) {
            (Some(text), _) => Some(self.account(actor, text)?.id),
            (None, Actor::Person { account, admin: false }) => Some(account),
            (None, _) => None,
        };
        let mut entries = Vec::new();
        let mut last = after;
        loop {
            let page = self.page_of_keys(account, last, filter.newest_first)?;
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
        newest_first: bool,
    ) -> Result<Vec<KeyRecord>, RegistryError> {
        let prefix = account.map(by_account);
        let table = if prefix.is_some() { KEY_INDEX } else { KEYS };
        let prefix = prefix.unwrap_or_default();
        let seen = after.map(|id| [&prefix[..], id.as_bytes()].concat());
        let (start, end) = (Some(prefix.clone()).filter(|prefix| !prefix.is_empty()), end_of(&prefix));
        let (mut from, mut to) = (included(start.as_deref()), excluded(end.as_deref()));
        let rows = if newest_first {
            to = seen.as_deref().map_or(to, Bound::Excluded);
            self.store.scan_back(table, from, to, PAGE_MAX)?
        } else {
            from = seen.as_deref().map_or(from, Bound::Excluded);
            self.store.scan(table, from, to, PAGE_MAX)?
        };
        if account.is_none() {
            return rows.iter().map(decoded).collect();
        }
        let id = |(row, _): &Row| KeyId::from_bytes(row.get(prefix.len()..)?);
        self.load_all(rows.iter().filter_map(id).collect())
    }

    /// What a key is called, even if it is revoked: for showing a name where there is only an id.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn key_name(&self, id: KeyId) -> Result<Option<KeyName>, RegistryError> {
        let Some(bytes) = self.store.get(KEYS, id.as_bytes())? else { return Ok(None) };
        Ok(Some(decode_key(id.as_bytes(), &bytes)?.name))
    }

    fn shortlist(&self, actor: Actor, text: &str) -> Result<Shortlist, RegistryError> {
        let mut list = Shortlist::new(actor);
        if let Ok(id) = text.parse::<KeyId>() {
            list.offer(self.load_all(vec![id])?);
            return Ok(list);
        }
        if let Actor::Person { account, admin: false } = actor {
            self.offer_own(&mut list, account, text)?;
            return Ok(list);
        }
        if let Some((first, last)) = KeyId::range_of_prefix(text) {
            self.offer_range(&mut list, first, last)?;
            if !list.is_empty() {
                return Ok(list);
            }
        }
        if let Ok(name) = text.parse::<KeyName>() {
            self.offer_indexed(&mut list, &by_name(&name))?;
        }
        if let Some(hint) = text.as_bytes().try_into().ok().and_then(KeyHint::from_bytes) {
            self.offer_indexed(&mut list, &by_hint(hint))?;
        }
        Ok(list)
    }

    /// A member's text is looked for among his own keys only: whatever others have takes him no time.
    fn offer_own(&self, list: &mut Shortlist, account: AccountId, text: &str) -> Result<(), RegistryError> {
        let by_id = KeyId::range_of_prefix(text).is_some();
        let fits = |key: &KeyRecord| {
            key.name.as_str() == text
                || key.secrets.iter().any(|secret| secret.hint.as_bytes() == text.as_bytes())
                || (by_id && key.id.to_string().starts_with(text))
        };
        let mut last = None;
        loop {
            let page = self.page_of_keys(Some(account), last, false)?;
            last = page.last().map(|key| key.id);
            let is_last = page.len() < PAGE_MAX;
            if !list.offer(page.into_iter().filter(fits).collect()) || is_last {
                return Ok(());
            }
        }
    }

    fn offer_range(&self, list: &mut Shortlist, first: KeyId, last: KeyId) -> Result<(), RegistryError> {
        let to = Bound::Included(&last.as_bytes()[..]);
        let mut seen: Option<KeyId> = None;
        loop {
            let from = seen.as_ref().map_or(Bound::Included(&first), Bound::Excluded);
            let rows = self.store.scan(KEYS, from.map(|id| &id.as_bytes()[..]), to, PAGE_MAX)?;
            let keys: Vec<_> = rows.iter().map(decoded).collect::<Result<_, _>>()?;
            seen = keys.last().map(|key| key.id);
            if !list.offer(keys) || rows.len() < PAGE_MAX {
                return Ok(());
            }
        }
    }

    fn offer_indexed(&self, list: &mut Shortlist, prefix: &[u8]) -> Result<(), RegistryError> {
        let mut seen = None;
        loop {
            let ids = self.indexed(prefix.to_vec(), seen, PAGE_MAX)?;
            seen = ids.last().copied();
            let is_last = ids.len() < PAGE_MAX;
            if !list.offer(self.load_all(ids)?) || is_last {
                return Ok(());
            }
        }
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

/// The keys that fit a text and that the actor may see, the revoked ones apart.
struct Shortlist {
    actor: Actor,
    live: Vec<KeyRecord>,
    revoked: Vec<KeyRecord>,
}

impl Shortlist {
    const fn new(actor: Actor) -> Self {
        Self { actor, live: Vec::new(), revoked: Vec::new() }
    }

    /// Whether more would make a difference.
    fn offer(&mut self, keys: Vec<KeyRecord>) -> bool {
        for key in keys {
            let list = match key.standing {
                KeyStanding::Active | KeyStanding::Disabled => &mut self.live,
                KeyStanding::Revoked { .. } => &mut self.revoked,
            };
            let is_new = list.iter().all(|known| known.id != key.id);
            if is_new && list.len() < CANDIDATES_MAX && visible(self.actor, &key) {
                list.push(key);
            }
        }
        self.live.len() < CANDIDATES_MAX
    }

    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.revoked.is_empty()
    }

    fn into_keys(self) -> Vec<KeyRecord> {
        let mut keys = if self.live.is_empty() { self.revoked } else { self.live };
        keys.sort_unstable_by_key(|key| key.id);
        keys
    }
}

fn included(row: Option<&[u8]>) -> Bound<&[u8]> {
    row.map_or(Bound::Unbounded, Bound::Included)
}

fn excluded(row: Option<&[u8]>) -> Bound<&[u8]> {
    row.map_or(Bound::Unbounded, Bound::Excluded)
}

fn decoded((id, bytes): &Row) -> Result<KeyRecord, RegistryError> {
    Ok(decode_key(id, bytes)?)
}

fn passes(filter: &KeyFilter, key: &KeyRecord, now: Timestamp) -> bool {
    filter.environment.is_none_or(|environment| environment == key.environment)
        && filter.status.is_none_or(|status| status == key.status(now))
        && filter.search.as_deref().is_none_or(|text| answers_to(key, text))
}

fn answers_to(key: &KeyRecord, text: &str) -> bool {
    key.name.as_str().to_lowercase().contains(&text.to_lowercase())
        || key.secrets.iter().any(|secret| secret.hint.as_bytes() == text.as_bytes())
        || (text.starts_with(KeyId::PREFIX) && key.id.to_string().starts_with(text))
}

fn candidate_line(key: &KeyRecord, now: Timestamp) -> String {
    let hint = key.hint().map_or_else(String::new, |hint| hint.to_string());
    format!("  {}  {}  {}  ...{hint}  {}", key.id, key.name, key.environment, key.status(now).as_str())
}

/// What was typed may be a key by mistake, with something around it or cut short: never given back.
fn shown(text: &str) -> String {
    if Key::may_be_in(text) {
        return "(a whole key; name it by its id, its name or its last 4 characters)".to_string();
    }
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
