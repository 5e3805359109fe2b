//! The life of an account. Never: its keys' lives, but for ending them with it.

use std::ops::Bound;

use crate::store::{Check, Commit, Trouble, Write};
use crate::types::{
    Account, AccountId, AccountStatus, Actor, DisplayName, Email, Key, Policy, PolicyChanges, Role, Secret,
};

use super::access::{administrators_only, may_touch, refuse_secret};
use super::audit::Action;
use super::denial::{Attempt, DenialTarget, Intent};
use super::policy::refuse_crowded;
use super::record::{decode_account, encode_account};
use super::table::{ACCOUNTS, EMAILS, PASSWORDS, email_row};
use super::{PAGE_MAX, Page, Registry, RegistryError};

/// What is to change about an account; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct AccountChanges {
    /// What to call the person, or no name.
    pub name: Option<Option<DisplayName>>,
    /// What all its keys together may use; only administrators change it.
    pub policy: PolicyChanges,
}

/// What an account is made of.
pub struct NewAccount {
    /// Its address.
    pub email: Email,
    /// What to call the person.
    pub name: Option<DisplayName>,
    /// What it may do.
    pub role: Role,
    /// Its password for the dashboard; without one it can't sign in.
    pub password: Option<Secret>,
}

impl Registry {
    /// Makes an account.
    ///
    /// # Errors
    /// [`RegistryError`]: the address is taken, the password too short, the actor no administrator, the store unwell.
    pub fn create_account(&self, actor: Actor, new: &NewAccount) -> Result<Account, RegistryError> {
        administrators_only(actor)?;
        refuse_secret(new.email.as_str())?;
        new.name.as_ref().map_or(Ok(()), |name| refuse_secret(name.as_str()))?;
        let hash = new.password.as_ref().map(|text| self.hash(text)).transpose()?;
        let now = self.clock.now();
        let account = Account {
            id: AccountId::generate(now, &*self.random)?,
            email: new.email.clone(),
            name: new.name.clone(),
            role: new.role,
            status: AccountStatus::Active,
            policy: Policy::default(),
            created_at: now,
        };
        self.until_agreed(|| {
            self.refuse_taken(&account.email)?;
            Ok(Attempt::Commit(self.creation(actor, &account, hash.as_deref())?, account.clone()))
        })
    }

    /// One account, by its address or id.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Store`].
    pub fn account(&self, actor: Actor, text: &str) -> Result<Account, RegistryError> {
        let id = match text.parse::<AccountId>() {
            Ok(id) => Some(id),
            Err(_) => self.id_of_email(text)?,
        };
        let account = match id {
            Some(id) => self.load_account(id)?.map(|(account, _)| account),
            None => None,
        };
        account
            .filter(|account| may_touch(actor, account.id) && account.status != AccountStatus::Deleted)
            .ok_or_else(|| no_account(text))
    }

    /// Accounts that are not deleted, in the order they were made.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`], [`RegistryError::Store`].
    pub fn accounts(
        &self,
        actor: Actor,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<Page<Account>, RegistryError> {
        administrators_only(actor)?;
        let limit = limit.clamp(1, PAGE_MAX);
        let mut entries = Vec::new();
        let mut last = after.map(|id| id.as_bytes().to_vec());
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let rows = self.store.scan(ACCOUNTS, from, Bound::Unbounded, PAGE_MAX)?;
            let done = rows.len() < PAGE_MAX;
            for (id, bytes) in &rows {
                let account = decode_account(id, bytes)?;
                if account.status != AccountStatus::Deleted {
                    entries.push(account);
                }
                if entries.len() > limit {
                    entries.truncate(limit);
                    return Ok(Page { entries, has_more: true });
                }
            }
            if done {
                return Ok(Page { entries, has_more: false });
            }
            last = rows.last().map(|(id, _)| id.clone());
        }
    }

    /// Whoever owns a key, even if he is deleted: for showing a name where there is only an id.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn owner(&self, id: AccountId) -> Result<Option<Account>, RegistryError> {
        Ok(self.load_account(id)?.map(|(account, _)| account))
    }

    /// How many accounts there are, deleted ones included.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn account_count(&self) -> Result<u64, RegistryError> {
        Ok(self.store.count(ACCOUNTS)?)
    }

    /// Whether there is any account at all.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn is_empty(&self) -> Result<bool, RegistryError> {
        Ok(self.store.count(ACCOUNTS)? == 0)
    }

    /// Switches an account off: its keys stop at once and what runs on them is cut.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn disable_account(&self, actor: Actor, text: &str) -> Result<Account, RegistryError> {
        administrators_only(actor)?;
        let account = self.account(actor, text)?.id;
        refuse_own(actor, account)?;
        self.stop_account(&Intent::DisableAccount { actor, account })
    }

    /// Deletes an account: its keys stop at once and are revoked; its address is free again.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn delete_account(&self, actor: Actor, text: &str) -> Result<Account, RegistryError> {
        administrators_only(actor)?;
        let account = self.account(actor, text)?.id;
        refuse_own(actor, account)?;
        self.stop_account(&Intent::DeleteAccount { actor, account })
    }

    /// Switches an account on again.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn enable_account(&self, actor: Actor, text: &str) -> Result<Account, RegistryError> {
        administrators_only(actor)?;
        let id = self.account(actor, text)?.id;
        self.settle_first(id.as_bytes())?;
        self.until_agreed(|| {
            let (account, bytes) = self.load_account(id)?.ok_or_else(|| no_account(text))?;
            match account.status {
                AccountStatus::Active => Ok(Attempt::Nothing(account)),
                AccountStatus::Deleted => Err(no_account(text)),
                AccountStatus::Disabled => {
                    let enabled = Account { status: AccountStatus::Active, ..account };
                    let commit = self.replacement(actor, Action::AccountEnabled, &enabled, bytes)?;
                    Ok(Attempt::Commit(commit, enabled))
                }
            }
        })
    }

    /// Changes what an account's owner is called, or what its keys together may use. Members change their own name.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn update_account(
        &self,
        actor: Actor,
        text: &str,
        changes: &AccountChanges,
    ) -> Result<Account, RegistryError> {
        changes.name.iter().flatten().try_for_each(|name| refuse_secret(name.as_str()))?;
        if !changes.policy.is_empty() {
            administrators_only(actor)?;
        }
        let id = self.account(actor, text)?.id;
        self.pace(actor)?;
        self.until_agreed(|| {
            let found = self.load_account(id)?;
            let there = found.filter(|(account, _)| account.status != AccountStatus::Deleted);
            let (account, bytes) = there.ok_or_else(|| no_account(text))?;
            let policy = changes.policy.applied_to(&account.policy);
            refuse_crowded(&policy)?;
            let mut difference = account.policy.difference(&policy);
            let name = changes.name.clone().unwrap_or_else(|| account.name.clone());
            let action = match difference.is_empty() {
                true => Action::AccountRenamed,
                false => Action::AccountUpdated,
            };
            if name != account.name {
                let told = |name: &Option<DisplayName>| {
                    name.as_ref().map_or("none".to_string(), ToString::to_string)
                };
                difference.insert(0, format!("name: {} -> {}", told(&account.name), told(&name)));
            }
            if difference.is_empty() {
                return Ok(Attempt::Nothing(account));
            }
            let detail = difference.join("; ");
            let changed = Account { name, policy, ..account };
            let commit = self.account_replacement(actor, action, &changed, bytes, detail)?;
            Ok(Attempt::Commit(commit, changed))
        })
    }

    /// Whether an account's owner is let in: it is active, and no denial of it waits to be written down.
    pub(super) fn is_open(&self, account: &Account) -> bool {
        let owed = self.owed_denial(&[DenialTarget::Account(account.id)]);
        account.status == AccountStatus::Active && owed.is_none()
    }

    /// The account with an address, unless it is deleted.
    pub(super) fn account_of(&self, email: &Email) -> Result<Option<Account>, RegistryError> {
        let Some(id) = self.id_with(email)? else { return Ok(None) };
        let (account, _) = self.load_account(id)?.ok_or(Trouble::Damaged { table: ACCOUNTS.0 })?;
        Ok(Some(account).filter(|account| account.status != AccountStatus::Deleted))
    }

    pub(super) fn stop_account(&self, intent: &Intent) -> Result<Account, RegistryError> {
        match *intent {
            Intent::DisableAccount { actor, account } => self.deny_then(intent, || {
                self.stopped(actor, Action::AccountDisabled, account, AccountStatus::Disabled)
            }),
            Intent::DeleteAccount { actor, account } => self.deny_while(intent, || {
                let deleted = self.until_agreed(|| {
                    self.stopped(actor, Action::AccountDeleted, account, AccountStatus::Deleted)
                })?;
                self.revoke_all_of(actor, account)?;
                Ok(deleted)
            }),
            Intent::RevokeKey { .. } | Intent::DisableKey { .. } | Intent::DropSecrets { .. } => {
                Err(RegistryError::Invalid("this does not stop an account".to_string()))
            }
        }
    }

    fn stopped(
        &self,
        actor: Actor,
        action: Action,
        id: AccountId,
        status: AccountStatus,
    ) -> Result<Attempt<Account>, RegistryError> {
        let (account, bytes) = self.load_account(id)?.ok_or_else(|| no_account(&id.to_string()))?;
        if account.status == status || account.status == AccountStatus::Deleted {
            return Ok(Attempt::Nothing(account));
        }
        let stopped = Account { status, ..account };
        let mut commit = self.replacement(actor, action, &stopped, bytes)?;
        let (_, same_epoch, end_of_sessions) = self.end_of_epoch(id)?;
        let (same_reset, end_of_reset) = self.reset_row(id)?;
        commit.checks.extend([same_epoch, same_reset]);
        commit.writes.push(end_of_sessions);
        commit.writes.extend(end_of_reset);
        if status == AccountStatus::Deleted {
            commit.writes.push(Write::Delete { table: EMAILS, key: email_row(&stopped.email) });
            commit.writes.push(Write::Delete { table: PASSWORDS, key: id.as_bytes().to_vec() });
            commit.writes.extend(self.known_nowhere(id)?);
        }
        Ok(Attempt::denial(commit, stopped))
    }

    /// An account and the bytes it was read from.
    pub(super) fn load_account(&self, id: AccountId) -> Result<Option<(Account, Vec<u8>)>, RegistryError> {
        let Some(bytes) = self.store.get(ACCOUNTS, id.as_bytes())? else { return Ok(None) };
        Ok(Some((decode_account(id.as_bytes(), &bytes)?, bytes)))
    }

    fn id_of_email(&self, text: &str) -> Result<Option<AccountId>, RegistryError> {
        if Key::may_be_in(text) {
            let sentence = "a key does not name an account; use the account's address or id";
            return Err(RegistryError::Invalid(sentence.to_string()));
        }
        let email: Email = text.parse().map_err(|error| RegistryError::Invalid(format!("{error}")))?;
        self.id_with(&email)
    }

    fn id_with(&self, email: &Email) -> Result<Option<AccountId>, RegistryError> {
        let Some(bytes) = self.store.get(EMAILS, &email_row(email))? else { return Ok(None) };
        Ok(Some(AccountId::from_bytes(&bytes).ok_or(Trouble::Damaged { table: EMAILS.0 })?))
    }

    pub(super) fn refuse_taken(&self, email: &Email) -> Result<(), RegistryError> {
        match self.store.get(EMAILS, &email_row(email))? {
            None => Ok(()),
            Some(_) => Err(RegistryError::Conflict(format!(
                "there is an account {email} already; see it with `ember account show {email}`"
            ))),
        }
    }

    pub(super) fn creation(
        &self,
        actor: Actor,
        account: &Account,
        hash: Option<&str>,
    ) -> Result<Commit, RegistryError> {
        let id = account.id.as_bytes();
        let email = email_row(&account.email);
        let detail = format!("{} {}", account.role.as_str(), account.email);
        let mut writes = self.event(actor, Action::AccountCreated, id, detail)?;
        writes.push(Write::Put { table: ACCOUNTS, key: id.to_vec(), value: encode_account(account) });
        writes.push(Write::Put { table: EMAILS, key: email.clone(), value: id.to_vec() });
        writes.extend(hash.map(|hash| password_row(account.id, hash)));
        let checks = vec![
            Check::Absent { table: EMAILS, key: email },
            Check::Absent { table: ACCOUNTS, key: id.to_vec() },
        ];
        Ok(Commit { checks, writes, ..Commit::default() })
    }

    fn replacement(
        &self,
        actor: Actor,
        action: Action,
        account: &Account,
        old: Vec<u8>,
    ) -> Result<Commit, RegistryError> {
        self.account_replacement(actor, action, account, old, account.email.to_string())
    }

    fn account_replacement(
        &self,
        actor: Actor,
        action: Action,
        account: &Account,
        old: Vec<u8>,
        detail: String,
    ) -> Result<Commit, RegistryError> {
        let key = account.id.as_bytes().to_vec();
        let mut writes = self.event(actor, action, account.id.as_bytes(), detail)?;
        writes.push(Write::Put { table: ACCOUNTS, key: key.clone(), value: encode_account(account) });
        Ok(Commit {
            checks: vec![Check::Equals { table: ACCOUNTS, key, value: old }],
            writes,
            ..Commit::default()
        })
    }
}

/// Whoever stops himself could not go back.
pub(super) fn refuse_own(actor: Actor, account: AccountId) -> Result<(), RegistryError> {
    match actor {
        Actor::Person { account: own, .. } if own == account => Err(RegistryError::Conflict(
            "this is your own account; ask another administrator, or use the command line on the machine"
                .to_string(),
        )),
        Actor::Person { .. }
        | Actor::Machine { .. }
        | Actor::Token { .. }
        | Actor::Key { .. }
        | Actor::Ember => Ok(()),
    }
}

pub(super) fn password_row(account: AccountId, hash: &str) -> Write {
    Write::Put { table: PASSWORDS, key: account.as_bytes().to_vec(), value: hash.as_bytes().to_vec() }
}

pub(super) fn no_account(text: &str) -> RegistryError {
    RegistryError::NotFound(format!("there is no account {text}; `ember account list` shows those there are"))
}
