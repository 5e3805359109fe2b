//! The life of a key from issue to revocation. Never: rotation (`rotation.rs`), admission.

use crate::store::{Check, Commit, Trouble, Write};
use crate::types::{
    Account, AccountId, AccountStatus, Actor, Environment, Key, KeyDigest, KeyId, KeyName, KeyRecord,
    KeySecret, KeyStanding, KeyStatus, Policy, PolicyChanges, Timestamp, Weight, is_control,
};

use super::access::{administrators_only, refuse_secret, visible};
use super::audit::Action;
use super::denial::{Attempt, Intent};
use super::record::{decode_key, encode_key};
use super::table::{ACCOUNTS, DIGESTS, KEY_INDEX, KEYS, by_account, by_hint, by_name, index_row};
use super::{PAGE_MAX, Registry, RegistryError};

/// What a key is made of.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The owner's address or id.
    pub account: String,
    /// What it is called.
    pub name: KeyName,
    /// What it is for.
    pub environment: Environment,
    /// What it may use, from where, and how much.
    pub policy: Policy,
    /// Whether requests of browsers may use it.
    pub allow_browser: bool,
    /// Its share where requests have to wait; only administrators give another than the usual one.
    pub weight: Weight,
    /// When it stops working; never, without it.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// A key that works for ever, for everything, within the configuration's limits.
    #[must_use]
    pub fn new(account: &str, name: KeyName, environment: Environment) -> Self {
        Self {
            account: account.to_string(),
            name,
            environment,
            policy: Policy::default(),
            allow_browser: false,
            weight: Weight::default(),
            expires_at: None,
        }
    }
}

/// What is to change about a key; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct KeyChanges {
    /// A new name.
    pub name: Option<KeyName>,
    /// A new end, or no end.
    pub expires_at: Option<Option<Timestamp>>,
    /// Another policy.
    pub policy: PolicyChanges,
    /// Whether requests of browsers may use it.
    pub allow_browser: Option<bool>,
    /// Another share where requests have to wait; only administrators change it.
    pub weight: Option<Weight>,
}

/// Which keys a list shows; what is none filters nothing.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// The owner's address or id.
    pub account: Option<String>,
    /// What they are for.
    pub environment: Option<Environment>,
    /// What they are now.
    pub status: Option<KeyStatus>,
    /// A part of the name, in any case, or the last four characters, or the id or its beginning.
    pub search: Option<String>,
    /// Whether the list begins with the key made last.
    pub newest_first: bool,
}

/// The longest reason of a revocation, in characters.
const REASON_CHARS_MAX: usize = 200;

/// The most keys of a member that work at once.
const KEYS_MAX: usize = 1000;

impl Registry {
    /// Issues a key. The second value is the key itself; it is nowhere else.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn create_key(&self, actor: Actor, new: &NewKey) -> Result<(KeyRecord, Key), RegistryError> {
        refuse_secret(new.name.as_str())?;
        let account = self.account(actor, &new.account)?;
        self.pace(actor)?;
        self.refuse_full(actor, account.id)?;
        if account.status != AccountStatus::Active {
            let sentence = format!(
                "account {} is disabled; enable it with `ember account enable {}` first",
                account.email, account.email
            );
            return Err(RegistryError::Conflict(sentence));
        }
        let now = self.clock.now();
        refuse_past(new.expires_at, now)?;
        self.refuse_policy(actor, &Policy::default(), &new.policy)?;
        refuse_weight(actor, Weight::default(), new.weight)?;
        let key = Key::generate(new.environment, &*self.random)?;
        let record = KeyRecord {
            id: KeyId::generate(now, &*self.random)?,
            account: account.id,
            name: new.name.clone(),
            environment: new.environment,
            policy: new.policy.clone(),
            allow_browser: new.allow_browser,
            weight: new.weight,
            secrets: vec![KeySecret {
                digest: key.digest(),
                hint: key.hint(),
                created_at: now,
                valid_until: None,
            }],
            standing: KeyStanding::Active,
            created_at: now,
            expires_at: new.expires_at,
            expiry_met: false,
        };
        let record = self.until_agreed(|| {
            let owner = self.refuse_stopped(account.id)?;
            Ok(Attempt::Commit(self.issue(actor, &record, key.digest(), owner)?, record.clone()))
        })?;
        Ok((record, key))
    }

    /// Changes a key's name, end, policy, or what else is chosen about it. A new end revives an expired key.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn update_key(
        &self,
        actor: Actor,
        text: &str,
        changes: &KeyChanges,
    ) -> Result<KeyRecord, RegistryError> {
        changes.name.as_ref().map_or(Ok(()), |name| refuse_secret(name.as_str()))?;
        let id = self.key(actor, text)?.id;
        self.pace(actor)?;
        refuse_past(changes.expires_at.flatten(), self.clock.now())?;
        self.until_agreed(|| {
            let (old, bytes) = self.load_key(id)?;
            refuse_revoked(&old)?;
            let mut new = old.clone();
            new.name = changes.name.clone().unwrap_or(new.name);
            new.policy = changes.policy.applied_to(&old.policy);
            new.allow_browser = changes.allow_browser.unwrap_or(new.allow_browser);
            new.weight = changes.weight.unwrap_or(new.weight);
            if let Some(end) = changes.expires_at {
                (new.expires_at, new.expiry_met) = (end, false);
            }
            self.refuse_policy(actor, &old.policy, &new.policy)?;
            refuse_weight(actor, old.weight, new.weight)?;
            if new == old {
                return Ok(Attempt::Nothing(old));
            }
            let mut commit =
                self.key_replacement(actor, Action::KeyUpdated, &new, bytes, difference(&old, &new))?;
            if new.name != old.name {
                let row = |name| index_row(by_name(name), id);
                commit.writes.push(Write::Delete { table: KEY_INDEX, key: row(&old.name) });
                commit.writes.push(Write::Put { table: KEY_INDEX, key: row(&new.name), value: Vec::new() });
            }
            Ok(Attempt::Commit(commit, new))
        })
    }

    /// Switches a key off; what runs on it is cut.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn disable_key(&self, actor: Actor, text: &str) -> Result<KeyRecord, RegistryError> {
        let key = self.key(actor, text)?;
        refuse_revoked(&key)?;
        self.disable(&Intent::DisableKey { actor, key: key.id })
    }

    /// Switches a key on again.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn enable_key(&self, actor: Actor, text: &str) -> Result<KeyRecord, RegistryError> {
        let id = self.key(actor, text)?.id;
        self.pace(actor)?;
        self.settle_first(id.as_bytes())?;
        self.until_agreed(|| {
            let (old, bytes) = self.load_key(id)?;
            refuse_revoked(&old)?;
            if old.standing == KeyStanding::Active {
                return Ok(Attempt::Nothing(old));
            }
            let new = KeyRecord { standing: KeyStanding::Active, ..old };
            let commit = self.key_replacement(actor, Action::KeyEnabled, &new, bytes, String::new())?;
            Ok(Attempt::Commit(commit, new))
        })
    }

    /// Revokes a key for good; what runs on it is cut. Revoking a revoked key changes nothing.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryError::NotDurable`] when it is denied but not on disk yet.
    pub fn revoke_key(
        &self,
        actor: Actor,
        text: &str,
        reason: Option<&str>,
    ) -> Result<KeyRecord, RegistryError> {
        let reason = reason.map(checked_reason).transpose()?;
        let key = self.key_to_deny(actor, text)?;
        self.revoke(&Intent::RevokeKey { actor, key, reason })
    }

    /// The key that `text` names. A whole id of an administrator's needs no look-up: a key must be denied although
    /// the store can't be read.
    fn key_to_deny(&self, actor: Actor, text: &str) -> Result<KeyId, RegistryError> {
        match text.parse::<KeyId>() {
            Ok(id) if administrators_only(actor).is_ok() => Ok(id),
            _ => Ok(self.key(actor, text)?.id),
        }
    }

    /// Whose key this is, and what it is now. A member learns of his own.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when it was never issued.
    pub fn verify_key(&self, actor: Actor, key: &Key) -> Result<(KeyRecord, KeyDigest), RegistryError> {
        let digest = key.digest();
        let found = self.by_digest(&digest)?.filter(|(record, _)| visible(actor, record));
        match found {
            Some((record, _)) => Ok((record, digest)),
            None => Err(RegistryError::NotFound("this key was never issued here".to_string())),
        }
    }

    /// The key behind a digest, and its account; none when it was never issued.
    ///
    /// # Errors
    /// [`RegistryError::Store`]; also when the digest is known and what it leads to is lost, for then the key was good.
    pub fn by_digest(&self, digest: &KeyDigest) -> Result<Option<(KeyRecord, Account)>, RegistryError> {
        let Some(id) = self.store.get(DIGESTS, digest.as_bytes())? else { return Ok(None) };
        let bytes = self.store.get(KEYS, &id)?.ok_or(Trouble::Damaged { table: KEYS.0 })?;
        let record = decode_key(&id, &bytes)?;
        let (account, _) =
            self.load_account(record.account)?.ok_or(Trouble::Damaged { table: ACCOUNTS.0 })?;
        Ok(Some((record, account)))
    }

    /// Writes down that a key was met after its end at `met_at`, so that it stays expired whatever the clock shows later.
    /// Nothing changes where that stands already, or where its end was moved behind that meanwhile.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn expiry_met(&self, key: KeyId, met_at: Timestamp) -> Result<(), RegistryError> {
        self.until_agreed(|| {
            let (old, bytes) = self.load_key(key)?;
            let is_past = old.expires_at.is_some_and(|end| end <= met_at);
            if old.expiry_met || !is_past || matches!(old.standing, KeyStanding::Revoked { .. }) {
                return Ok(Attempt::Nothing(()));
            }
            let new = KeyRecord { expiry_met: true, ..old };
            let commit = self.key_replacement(
                Actor::Ember,
                Action::KeyExpired,
                &new,
                bytes,
                end_text(new.expires_at),
            )?;
            Ok(Attempt::Commit(commit, ()))
        })
    }

    pub(super) fn revoke(&self, intent: &Intent) -> Result<KeyRecord, RegistryError> {
        let Intent::RevokeKey { actor, key, reason } = intent else {
            return Err(RegistryError::Invalid("this does not revoke a key".to_string()));
        };
        self.deny_then(intent, || {
            let (old, bytes) = self.load_key(*key)?;
            if matches!(old.standing, KeyStanding::Revoked { .. }) {
                return Ok(Attempt::Nothing(old));
            }
            let standing = KeyStanding::Revoked { at: self.clock.now(), reason: reason.clone() };
            let new = KeyRecord { standing, ..old };
            let detail = reason.clone().unwrap_or_default();
            let commit = self.key_replacement(*actor, Action::KeyRevoked, &new, bytes, detail)?;
            Ok(Attempt::denial(commit, new))
        })
    }

    pub(super) fn disable(&self, intent: &Intent) -> Result<KeyRecord, RegistryError> {
        let Intent::DisableKey { actor, key } = *intent else {
            return Err(RegistryError::Invalid("this does not disable a key".to_string()));
        };
        self.deny_then(intent, || {
            let (old, bytes) = self.load_key(key)?;
            if old.standing != KeyStanding::Active {
                return Ok(Attempt::Nothing(old));
            }
            let new = KeyRecord { standing: KeyStanding::Disabled, ..old };
            let commit = self.key_replacement(actor, Action::KeyDisabled, &new, bytes, String::new())?;
            Ok(Attempt::denial(commit, new))
        })
    }

    /// Revokes every key of an account that is stopped already.
    pub(super) fn revoke_all_of(&self, actor: Actor, account: AccountId) -> Result<(), RegistryError> {
        let reason = Some("its account was deleted".to_string());
        let mut after = None;
        loop {
            let ids = self.key_ids_of(account, after, PAGE_MAX)?;
            for key in &ids {
                self.revoke(&Intent::RevokeKey { actor, key: *key, reason: reason.clone() })?;
            }
            match ids.last() {
                Some(last) if ids.len() == PAGE_MAX => after = Some(*last),
                _ => return Ok(()),
            }
        }
    }

    /// A key and the bytes it was read from.
    pub(super) fn load_key(&self, id: KeyId) -> Result<(KeyRecord, Vec<u8>), RegistryError> {
        match self.store.get(KEYS, id.as_bytes())? {
            Some(bytes) => Ok((decode_key(id.as_bytes(), &bytes)?, bytes)),
            None => Err(RegistryError::NotFound(format!("there is no key {id}"))),
        }
    }

    pub(super) fn key_replacement(
        &self,
        actor: Actor,
        action: Action,
        new: &KeyRecord,
        old: Vec<u8>,
        detail: String,
    ) -> Result<Commit, RegistryError> {
        let key = new.id.as_bytes().to_vec();
        let mut writes = self.event(actor, action, new.id.as_bytes(), detail)?;
        writes.push(Write::Put { table: KEYS, key: key.clone(), value: encode_key(new) });
        Ok(Commit {
            checks: vec![Check::Equals { table: KEYS, key, value: old }],
            writes,
            ..Commit::default()
        })
    }

    /// An account may be stopped between being looked at and the key being committed: the commit checks that it still
    /// has the bytes given here.
    fn refuse_stopped(&self, id: AccountId) -> Result<Vec<u8>, RegistryError> {
        match self.load_account(id)? {
            Some((account, bytes)) if account.status == AccountStatus::Active => Ok(bytes),
            Some(_) | None => Err(RegistryError::Conflict(format!(
                "account {id} was disabled or deleted meanwhile; nothing was issued"
            ))),
        }
    }

    /// Members have so many keys at once; the machine and administrators decide for themselves.
    fn refuse_full(&self, actor: Actor, account: AccountId) -> Result<(), RegistryError> {
        if administrators_only(actor).is_ok() {
            return Ok(());
        }
        let filter = KeyFilter { status: Some(KeyStatus::Active), ..KeyFilter::default() };
        let keys = self.keys(actor, &filter, None, KEYS_MAX)?.entries.len();
        if keys < KEYS_MAX {
            return Ok(());
        }
        Err(RegistryError::Conflict(format!(
            "account {account} has {KEYS_MAX} keys that work, and that is the most; delete some first"
        )))
    }

    fn issue(
        &self,
        actor: Actor,
        key: &KeyRecord,
        digest: KeyDigest,
        owner: Vec<u8>,
    ) -> Result<Commit, RegistryError> {
        let id = key.id.as_bytes().to_vec();
        let detail = format!("{} {} ...{}", key.environment, key.name, key.secrets[0].hint);
        let mut writes = self.event(actor, Action::KeyCreated, key.id.as_bytes(), detail)?;
        writes.push(Write::Put { table: KEYS, key: id.clone(), value: encode_key(key) });
        writes.push(Write::Put { table: DIGESTS, key: digest.as_bytes().to_vec(), value: id.clone() });
        for prefix in [by_account(key.account), by_name(&key.name), by_hint(key.secrets[0].hint)] {
            writes.push(Write::Put { table: KEY_INDEX, key: index_row(prefix, key.id), value: Vec::new() });
        }
        let checks = vec![
            Check::Absent { table: DIGESTS, key: digest.as_bytes().to_vec() },
            Check::Absent { table: KEYS, key: id },
            Check::Equals { table: ACCOUNTS, key: key.account.as_bytes().to_vec(), value: owner },
        ];
        Ok(Commit { checks, writes, ..Commit::default() })
    }
}

/// Refuses to change what can't come back.
pub(super) fn refuse_revoked(key: &KeyRecord) -> Result<(), RegistryError> {
    match &key.standing {
        KeyStanding::Active | KeyStanding::Disabled => Ok(()),
        KeyStanding::Revoked { at, .. } => Err(RegistryError::Conflict(format!(
            "key {} ({}) was revoked at {at} and can't come back; create a new one",
            key.id, key.name
        ))),
    }
}

pub(super) fn refuse_past(end: Option<Timestamp>, now: Timestamp) -> Result<(), RegistryError> {
    match end {
        Some(end) if end <= now => Err(RegistryError::Invalid(format!(
            "the expiry {end} has passed; it is {now} now, choose a later one"
        ))),
        _ => Ok(()),
    }
}

pub(super) fn checked_reason(text: &str) -> Result<String, RegistryError> {
    if Key::may_be_in(text) {
        let sentence =
            "a reason is kept for good and must not hold a key; name the key by its last 4 characters";
        return Err(RegistryError::Invalid(sentence.to_string()));
    }
    if text.chars().count() > REASON_CHARS_MAX || text.chars().any(is_control) {
        let sentence =
            format!("a reason has {REASON_CHARS_MAX} characters at most and no control characters");
        return Err(RegistryError::Invalid(sentence));
    }
    Ok(text.to_string())
}

/// A share of another's turn is not one's own to take.
fn refuse_weight(actor: Actor, old: Weight, new: Weight) -> Result<(), RegistryError> {
    if old == new { Ok(()) } else { administrators_only(actor) }
}

/// What an update changed, before and after.
fn difference(old: &KeyRecord, new: &KeyRecord) -> String {
    let mut parts = Vec::new();
    let mut told = |what: &str, old: String, new: String| {
        if old != new {
            parts.push(format!("{what}: {old} -> {new}"));
        }
    };
    told("name", old.name.to_string(), new.name.to_string());
    told("expires", end_text(old.expires_at), end_text(new.expires_at));
    told("browsers", allowed(old.allow_browser), allowed(new.allow_browser));
    told("weight", old.weight.to_string(), new.weight.to_string());
    parts.extend(old.policy.difference(&new.policy));
    parts.join("; ")
}

fn allowed(is_allowed: bool) -> String {
    if is_allowed { "allowed" } else { "refused" }.to_string()
}

fn end_text(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "never".to_string(), |end| end.to_string())
}
