//! Passwords and their change: by an administrator, by the owner who knows the old one, by whoever has a one-time link.
//! Every change ends all sessions. Never: hashing (`password.rs`).

use std::time::Duration;

use crate::store::{Check, Commit, Trouble, Write};
use crate::types::{
    Account, AccountId, AccountStatus, Actor, Place, Secret, Session, Ticket, TicketKind, Timestamp,
};

use super::access::administrators_only;
use super::accounts::{no_account, password_row, refuse_own};
use super::audit::Action;
use super::denial::Attempt;
use super::record::people::{decode_reset, encode_reset};
use super::session::{SignedIn, from, person};
use super::table::{ACCOUNTS, PASSWORDS, RESETS, TICKETS, ticket_value};
use super::{Registry, RegistryError, password};

/// A link that sets an account's password, once.
pub struct Reset {
    /// Whose password.
    pub account: Account,
    /// When the link ends.
    pub expires_at: Timestamp,
    /// The link's secret, which is nowhere else.
    pub ticket: Ticket,
}

/// What is kept of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeptReset {
    pub(super) digest: [u8; 32],
    pub(super) expires_at: Timestamp,
    /// Who made it.
    pub(super) by: Actor,
}

/// Why a link can't be used, whether it was never made, was used or is over.
pub const RESET_GONE: &str = "this link no longer works; ask an administrator for a new one";
/// How long a link works.
pub const RESET_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

impl Registry {
    /// Sets an account's password and ends its sessions. Whoever is signed in and changes his own must give the
    /// `current` one.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn set_password(
        &self,
        actor: Actor,
        text: &str,
        new: &Secret,
        current: Option<&Secret>,
    ) -> Result<Account, RegistryError> {
        let account = self.account(actor, text)?;
        let mut proved_in = None;
        if let Actor::Person { account: own, .. } = actor
            && own == account.id
        {
            let current = current.ok_or_else(|| {
                let sentence = "whoever changes his own password must give the current one, too";
                RegistryError::NotAllowed(sentence.to_string())
            })?;
            proved_in = Some(self.prove(&account, current)?);
        }
        let hash = self.hash(new)?;
        self.until_agreed(|| {
            let (account, mut commit, _) = self.replaced_password(actor, account.id, &hash)?;
            proved_in.map(|epoch| self.epoch_is(account.id, epoch)).transpose()?;
            commit.urgency = crate::store::Urgency::Denial;
            Ok(Attempt::Commit(commit, account))
        })
    }

    /// Changes the password of whoever is signed in. All his sessions end; the answer is a new one.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`] when `current` is wrong.
    pub fn change_password(
        &self,
        session: &Session,
        current: &Secret,
        new: &Secret,
        place: &Place,
    ) -> Result<SignedIn, RegistryError> {
        let (account, _) =
            self.load_account(session.account)?.ok_or_else(|| no_account(&session.account.to_string()))?;
        let epoch = self.prove(&account, current)?;
        let hash = self.hash(new)?;
        self.with_new_password(person(&account), account.id, &hash, place, |registry| {
            registry.epoch_is(account.id, epoch).map(drop)
        })
    }

    /// Makes a link that sets an account's password, once. An earlier one ends.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn issue_reset(&self, actor: Actor, text: &str) -> Result<Reset, RegistryError> {
        administrators_only(actor)?;
        // Whoever is signed in must know his password to change it: a link would be a way around that.
        refuse_own(actor, self.account(actor, text)?.id)?;
        let id = self.account(actor, text)?.id;
        let ticket = Ticket::generate(TicketKind::Reset, &*self.random)?;
        let expires_at = self.clock.now().after(RESET_LIFETIME);
        let kept = KeptReset { digest: *ticket.digest().as_bytes(), expires_at, by: actor };
        let account = self.until_agreed(|| {
            let found = self.load_account(id)?;
            let there = found.filter(|(account, _)| account.status != AccountStatus::Deleted);
            let (account, bytes) = there.ok_or_else(|| no_account(text))?;
            if !self.is_open(&account) {
                return Err(disabled(&account));
            }
            let same = Check::Equals { table: ACCOUNTS, key: id.as_bytes().to_vec(), value: bytes };
            let detail = format!("{} until {expires_at}", account.email);
            let mut writes = self.event(actor, Action::ResetIssued, id.as_bytes(), detail)?;
            let (check, removal) = self.reset_row(id)?;
            writes.extend(removal);
            writes.push(Write::Put {
                table: RESETS,
                key: id.as_bytes().to_vec(),
                value: encode_reset(&kept),
            });
            let value = ticket_value(TicketKind::Reset, id.as_bytes());
            writes.push(Write::Put { table: TICKETS, key: kept.digest.to_vec(), value });
            Ok(Attempt::Commit(Commit { checks: vec![check, same], writes, ..Commit::default() }, account))
        })?;
        Ok(Reset { account, expires_at, ticket })
    }

    /// Whose password a link sets, while it can be used.
    ///
    /// # Errors
    /// [`RegistryError`]; one and the same whether it was never made, was used or is over.
    pub fn reset_account(&self, ticket: &Ticket) -> Result<Account, RegistryError> {
        let gone = || RegistryError::NotFound(RESET_GONE.to_string());
        let id = self.ticket_subject(ticket, TicketKind::Reset)?.ok_or_else(gone)?;
        let bytes = self.store.get(RESETS, &id)?.ok_or_else(gone)?;
        let kept = decode_reset(&bytes)?;
        let is_over = kept.digest != *ticket.digest().as_bytes() || kept.expires_at <= self.clock.now();
        if is_over || !self.still_administers(kept.by)? {
            return Err(gone());
        }
        let id = AccountId::from_bytes(&id).ok_or_else(gone)?;
        let account = self.load_account(id)?.map(|(account, _)| account);
        account.filter(|account| self.is_open(account)).ok_or_else(gone)
    }

    /// Sets the password that a link is for, and signs its owner in.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn redeem_reset(
        &self,
        ticket: &Ticket,
        new: &Secret,
        place: &Place,
    ) -> Result<SignedIn, RegistryError> {
        let account = self.reset_account(ticket)?;
        let hash = self.hash(new)?;
        self.with_new_password(person(&account), account.id, &hash, place, |registry| {
            registry.reset_account(ticket).map(drop)
        })
    }

    /// Whether this is the account's password. Takes as long for an account without one, and for none at all.
    ///
    /// # Errors
    /// [`RegistryError::Store`], [`RegistryError::TooMany`].
    pub(super) fn password_matches(
        &self,
        account: Option<AccountId>,
        given: &Secret,
    ) -> Result<bool, RegistryError> {
        // Nobody's password: keeps the answer's time the same where there is none.
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let row = account.map_or([0; 16], |account| *account.as_bytes());
        let kept = self.store.get(PASSWORDS, &row)?;
        let text = kept.as_deref().map_or(Ok(NOBODY), std::str::from_utf8);
        let _turn = self.turnstile.enter()?;
        let matches = text.ok().and_then(|text| password::matches(given, text));
        Ok(matches.ok_or(Trouble::Damaged { table: PASSWORDS.0 })? && kept.is_some())
    }

    /// The PHC string of a new password.
    pub(super) fn hash(&self, new: &Secret) -> Result<String, RegistryError> {
        password::check(new)?;
        let _turn = self.turnstile.enter()?;
        password::hash(new, &*self.random)
    }

    /// Counts a try at the password of whoever is signed in, apart from strangers' tries, and refuses a wrong one. The answer is the epoch it was right in.
    fn prove(&self, account: &Account, current: &Secret) -> Result<u64, RegistryError> {
        let epoch = self.epoch(account.id)?;
        let attempt = self.throttle.begin_own(account.id, self.clock.now())?;
        if !self.tried(attempt, Some(account.id), current)? {
            return Err(RegistryError::NotAllowed("the current password is wrong".to_string()));
        }
        Ok(epoch)
    }

    /// A new password and a new session in one commit, while `still` holds.
    fn with_new_password(
        &self,
        actor: Actor,
        id: AccountId,
        hash: &str,
        place: &Place,
        still: impl Fn(&Self) -> Result<(), RegistryError>,
    ) -> Result<SignedIn, RegistryError> {
        let ticket = Ticket::generate(TicketKind::Session, &*self.random)?;
        let (account, session) = self.until_agreed(|| {
            let (account, mut commit, epoch) = self.replaced_password(actor, id, hash)?;
            // After what the commit checks was read: what holds now holds in that state, too.
            still(self)?;
            if !self.is_open(&account) {
                return Err(disabled(&account));
            }
            let (session, writes) = self.new_session(&account, epoch, place, &ticket)?;
            commit.writes.extend(writes);
            commit.writes.extend(self.event(actor, Action::SignedIn, id.as_bytes(), from(place))?);
            Ok(Attempt::Commit(commit, (account, session)))
        })?;
        Ok(SignedIn { account, session, ticket })
    }

    /// The commit that replaces a password, and the epoch that begins with it.
    fn replaced_password(
        &self,
        actor: Actor,
        id: AccountId,
        hash: &str,
    ) -> Result<(Account, Commit, u64), RegistryError> {
        let found = self.load_account(id)?;
        let there = found.filter(|(account, _)| account.status != AccountStatus::Deleted);
        let (account, bytes) = there.ok_or_else(|| no_account(&id.to_string()))?;
        let (epoch, same_epoch, ending) = self.end_of_epoch(id)?;
        let (same_reset, removal) = self.reset_row(id)?;
        let mut writes = self.event(actor, Action::PasswordSet, id.as_bytes(), account.email.to_string())?;
        writes.extend(removal);
        // Whoever knew the old password may have been anywhere.
        writes.extend(self.known_nowhere(id)?);
        writes.extend([ending, password_row(id, hash)]);
        let same = Check::Equals { table: ACCOUNTS, key: id.as_bytes().to_vec(), value: bytes };
        let checks = vec![same, same_reset, same_epoch];
        Ok((account, Commit { checks, writes, ..Commit::default() }, epoch))
    }

    /// The check that an account's link is as it is, and the writes that end it.
    pub(super) fn reset_row(&self, id: AccountId) -> Result<(Check, Vec<Write>), RegistryError> {
        let key = id.as_bytes().to_vec();
        let Some(value) = self.store.get(RESETS, &key)? else {
            return Ok((Check::Absent { table: RESETS, key }, Vec::new()));
        };
        let digest = decode_reset(&value)?.digest.to_vec();
        let writes = vec![
            Write::Delete { table: RESETS, key: key.clone() },
            Write::Delete { table: TICKETS, key: digest },
        ];
        Ok((Check::Equals { table: RESETS, key, value }, writes))
    }
}

fn disabled(account: &Account) -> RegistryError {
    RegistryError::Conflict(format!("account {} is disabled; enable it first", account.email))
}
