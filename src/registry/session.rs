//! Signing in and out: sessions, how they begin, last and end. Never: cookies, passwords' hashes.

use std::ops::Bound;
use std::time::Duration;

use crate::store::{Check, Commit, Trouble, Write};
use crate::types::{
    Account, AccountId, Actor, Email, Place, Role, Secret, Session, SessionId, Ticket, TicketKind, Timestamp,
};

use super::access::may_touch;
use super::audit::Action;
use super::denial::Attempt;
use super::record::people::{decode_session, encode_session};
use super::table::{ACCOUNTS, EPOCHS, SESSION_INDEX, SESSIONS, TICKETS, end_of, session_row, ticket_value};
use super::{Problem, Registry, RegistryError};

/// Someone who has just signed in.
pub struct SignedIn {
    /// Who.
    pub account: Account,
    /// The new session.
    pub session: Session,
    /// Its secret, which is nowhere else.
    pub ticket: Ticket,
}

/// A session with what tells whether it is still good.
pub(super) struct Kept {
    pub(super) session: Session,
    pub(super) epoch: u64,
    pub(super) digest: [u8; 32],
}

/// Sessions of one account; a new one ends the one that was unused for longest.
const SESSIONS_MAX: usize = 20;
/// How fine the last use of a session is kept, or a quarter of the time it may go unused.
const SEEN_STEP: Duration = Duration::from_secs(60);
/// A clock that is corrected by less ends no session.
const AHEAD_MAX: Duration = Duration::from_secs(60 * 60);

impl Registry {
    /// Signs a person in.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`] with one and the same sentence and after the same time for a wrong password and
    /// for an address without account; [`RegistryError::TooMany`]; [`RegistryError::Store`].
    pub fn sign_in(&self, email: &str, password: &Secret, place: &Place) -> Result<SignedIn, RegistryError> {
        let found = match email.parse::<Email>() {
            Ok(email) => self.account_of(&email)?,
            Err(_) => None,
        };
        let account = found.as_ref().map(|account| account.id);
        let epoch = account.map_or(Ok(0), |account| self.epoch(account))?;
        let attempt = self.begin_try(email, account, place);
        let attempt = attempt.inspect_err(|error| {
            if error.problem() == Problem::TooMany {
                self.note_refused_sign_in(email, place);
            }
        })?;
        let matches = self.tried(attempt, account, password)?;
        let Some(account) = found.filter(|_| matches) else {
            self.note_refused_sign_in(email, place);
            tracing::warn!(target: "audit", address = %place.address, "a sign-in was refused");
            return Err(RegistryError::NotAllowed("the address or the password is wrong".to_string()));
        };
        self.open_session(account.id, epoch, place)
    }

    /// The session that a ticket belongs to and its account, while both are good. Counts as a use of it.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn session(&self, ticket: &Ticket) -> Result<Option<(Session, Account)>, RegistryError> {
        let Some(id) = self.ticket_subject(ticket, TicketKind::Session)? else { return Ok(None) };
        let Some(bytes) = self.store.get(SESSIONS, &id)? else { return Ok(None) };
        let kept = decode_session(&id, &bytes)?;
        let (account, _) =
            self.load_account(kept.session.account)?.ok_or(Trouble::Damaged { table: ACCOUNTS.0 })?;
        let now = self.clock.now();
        if !self.is_good(&kept, self.epoch(account.id)?, now) {
            self.remove_ended(&kept, bytes, now);
            return Ok(None);
        }
        if !self.is_open(&account) {
            return Ok(None);
        }
        let mut session = kept.session;
        if now.since(session.seen_at) >= SEEN_STEP.min(self.rules().session_idle / 4) {
            session.seen_at = now;
            self.note_use(&Kept { session: session.clone(), ..kept }, bytes);
        }
        Ok(Some((session, account)))
    }

    /// The sessions of an account that are good, the one used last first.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn sessions(&self, actor: Actor, text: &str) -> Result<Vec<Session>, RegistryError> {
        let account = self.account(actor, text)?.id;
        let (epoch, now) = (self.epoch(account)?, self.clock.now());
        let kept = self.kept_sessions(account)?.into_iter().filter(|kept| self.is_good(kept, epoch, now));
        let mut sessions: Vec<_> = kept.map(|kept| kept.session).collect();
        sessions.sort_by_key(|session| std::cmp::Reverse((session.seen_at, session.id)));
        Ok(sessions)
    }

    /// Ends a session. One that is not there, or someone else's, is not found.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn end_session(&self, actor: Actor, id: SessionId) -> Result<Session, RegistryError> {
        self.until_agreed(|| {
            let none = || RegistryError::NotFound(format!("there is no session {id}"));
            let bytes = self.store.get(SESSIONS, id.as_bytes())?.ok_or_else(none)?;
            let kept = decode_session(id.as_bytes(), &bytes)?;
            if !may_touch(actor, kept.session.account) {
                return Err(none());
            }
            let detail = format!("session of {}", kept.session.place.address);
            let mut writes = self.event(actor, Action::SignedOut, kept.session.account.as_bytes(), detail)?;
            writes.extend(removal(&kept));
            let checks = vec![Check::Equals { table: SESSIONS, key: id.as_bytes().to_vec(), value: bytes }];
            Ok(Attempt::denial(Commit { checks, writes, ..Commit::default() }, kept.session))
        })
    }

    /// Ends all sessions of an account, those that begin in this moment among them; with `keep`, all but that one.
    /// Returns those that were good.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn end_sessions(
        &self,
        actor: Actor,
        text: &str,
        keep: Option<SessionId>,
    ) -> Result<Vec<Session>, RegistryError> {
        let account = self.account(actor, text)?.id;
        let mut ended = self.sessions(actor, text)?;
        let Some(keep) = keep else { return self.end_all_sessions(actor, account, ended) };
        ended.retain(|session| session.id != keep);
        for session in &ended {
            match self.end_session(actor, session.id) {
                // It ended by itself meanwhile.
                Ok(_) | Err(RegistryError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }

    fn end_all_sessions(
        &self,
        actor: Actor,
        account: AccountId,
        ended: Vec<Session>,
    ) -> Result<Vec<Session>, RegistryError> {
        self.until_agreed(|| {
            let (_, same_epoch, ending) = self.end_of_epoch(account)?;
            let detail = "all sessions".to_string();
            let mut writes = self.event(actor, Action::SignedOut, account.as_bytes(), detail)?;
            writes.push(ending);
            let commit = Commit { checks: vec![same_epoch], writes, ..Commit::default() };
            Ok(Attempt::denial(commit, ended.clone()))
        })
    }

    /// Begins a session of an account whose password was checked while its epoch was `epoch`.
    pub(super) fn open_session(
        &self,
        id: AccountId,
        epoch: u64,
        place: &Place,
    ) -> Result<SignedIn, RegistryError> {
        let ticket = Ticket::generate(TicketKind::Session, &*self.random)?;
        let (account, session) = self.until_agreed(|| {
            let (account, bytes) = self.load_account(id)?.ok_or_else(stopped)?;
            if !self.is_open(&account) {
                return Err(stopped());
            }
            let (session, mut writes) = self.new_session(&account, epoch, place, &ticket)?;
            writes.extend(self.event(person(&account), Action::SignedIn, id.as_bytes(), from(place))?);
            writes.extend(self.superseded(id, epoch)?.iter().flat_map(removal));
            let checks = vec![
                self.epoch_is(id, epoch)?,
                Check::Equals { table: ACCOUNTS, key: id.as_bytes().to_vec(), value: bytes },
            ];
            Ok(Attempt::Commit(Commit { checks, writes, ..Commit::default() }, (account, session)))
        })?;
        Ok(SignedIn { account, session, ticket })
    }

    /// A session and the writes that keep it.
    pub(super) fn new_session(
        &self,
        account: &Account,
        epoch: u64,
        place: &Place,
        ticket: &Ticket,
    ) -> Result<(Session, Vec<Write>), RegistryError> {
        let now = self.clock.now();
        let id = SessionId::generate(now, &*self.random)?;
        let session =
            Session { id, account: account.id, created_at: now, seen_at: now, place: place.clone() };
        let digest = *ticket.digest().as_bytes();
        let kept = Kept { session: session.clone(), epoch, digest };
        let mut writes = vec![
            Write::Put { table: SESSIONS, key: id.as_bytes().to_vec(), value: encode_session(&kept) },
            Write::Put { table: SESSION_INDEX, key: session_row(account.id, id), value: Vec::new() },
            Write::Put {
                table: TICKETS,
                key: digest.to_vec(),
                value: ticket_value(TicketKind::Session, id.as_bytes()),
            },
        ];
        writes.extend(self.known_now(account.id, place, now)?);
        Ok((session, writes))
    }

    /// How often all sessions of an account were ended; one of an earlier epoch is over.
    pub(super) fn epoch(&self, account: AccountId) -> Result<u64, RegistryError> {
        let Some(bytes) = self.store.get(EPOCHS, account.as_bytes())? else { return Ok(0) };
        let bytes = bytes.try_into().map_err(|_| Trouble::Damaged { table: EPOCHS.0 })?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// The check that the epoch is still this one.
    pub(super) fn epoch_is(&self, account: AccountId, epoch: u64) -> Result<Check, RegistryError> {
        if self.epoch(account)? != epoch {
            let sentence = "the password was changed or the account stopped meanwhile; sign in again";
            return Err(RegistryError::Conflict(sentence.to_string()));
        }
        Ok(epoch_check(account, epoch))
    }

    /// The epoch that begins when all sessions of an account end, and the check and the write that end them.
    pub(super) fn end_of_epoch(&self, account: AccountId) -> Result<(u64, Check, Write), RegistryError> {
        let present = self.epoch(account)?;
        let value = (present + 1).to_be_bytes().to_vec();
        let write = Write::Put { table: EPOCHS, key: account.as_bytes().to_vec(), value };
        Ok((present + 1, epoch_check(account, present), write))
    }

    /// Counts a try at a password, before it is looked at.
    pub(super) fn begin_try(
        &self,
        typed: &str,
        account: Option<AccountId>,
        place: &Place,
    ) -> Result<super::throttle::Try<'_>, RegistryError> {
        const NOBODY: [u8; 16] = [0; 16];
        let of = account.or_else(|| AccountId::from_bytes(&NOBODY));
        let known = match of {
            Some(account) => self.is_known_at(account, place)?,
            None => false,
        };
        // What is longer is no address, and an address in another case is the same.
        let typed: String = typed.to_lowercase().chars().take(Email::BYTES_MAX).collect();
        self.throttle.begin(&typed, place, known, self.clock.now())
    }

    /// Whether this is the account's password. Only a wrong one counts as a try; what could not be looked at does not.
    pub(super) fn tried(
        &self,
        attempt: super::throttle::Try<'_>,
        account: Option<AccountId>,
        password: &Secret,
    ) -> Result<bool, RegistryError> {
        let matches = self.password_matches(account, password);
        if !matches!(matches, Ok(false)) {
            attempt.forgive();
        }
        matches
    }

    /// What a ticket of a kind belongs to.
    pub(super) fn ticket_subject(
        &self,
        ticket: &Ticket,
        kind: TicketKind,
    ) -> Result<Option<[u8; 16]>, RegistryError> {
        let Some(value) = self.store.get(TICKETS, ticket.digest().as_bytes())? else { return Ok(None) };
        Ok(super::table::ticket_subject(kind, &value)?)
    }

    fn kept_sessions(&self, account: AccountId) -> Result<Vec<Kept>, RegistryError> {
        let prefix = account.as_bytes().to_vec();
        let end = end_of(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.store.scan(SESSION_INDEX, Bound::Included(&prefix), to, super::PAGE_MAX)?;
        let mut kept = Vec::with_capacity(rows.len());
        for (row, _) in rows {
            let id = row.get(prefix.len()..).unwrap_or_default();
            if let Some(bytes) = self.store.get(SESSIONS, id)? {
                kept.push(decode_session(id, &bytes)?);
            }
        }
        Ok(kept)
    }

    /// The sessions that are over, and those that must make room for one more.
    fn superseded(&self, account: AccountId, epoch: u64) -> Result<Vec<Kept>, RegistryError> {
        let now = self.clock.now();
        let (mut good, mut over): (Vec<_>, Vec<_>) =
            self.kept_sessions(account)?.into_iter().partition(|kept| self.is_good(kept, epoch, now));
        good.sort_by_key(|kept| std::cmp::Reverse(kept.session.seen_at));
        over.extend(good.into_iter().skip(SESSIONS_MAX - 1));
        Ok(over)
    }

    fn is_good(&self, kept: &Kept, epoch: u64, now: Timestamp) -> bool {
        // One that was begun later than now was begun by a clock that went back since: it would last longer than it may.
        kept.epoch == epoch && kept.session.created_at <= now.after(AHEAD_MAX) && !self.has_ended(kept, now)
    }

    fn has_ended(&self, kept: &Kept, now: Timestamp) -> bool {
        now >= kept.session.created_at.after(self.rules().session_lifetime)
            || now >= kept.session.seen_at.after(self.rules().session_idle)
    }

    /// What was met after its end stays over though the clock goes back. Best effort, as in [`Registry::note_use`].
    fn remove_ended(&self, kept: &Kept, bytes: Vec<u8>, now: Timestamp) {
        if !self.has_ended(kept, now) {
            return;
        }
        let key = kept.session.id.as_bytes().to_vec();
        let checks = vec![Check::Equals { table: SESSIONS, key, value: bytes }];
        if let Err(error) = self.store.commit(Commit { checks, writes: removal(kept), ..Commit::default() }) {
            tracing::debug!(%error, "a session that is over was not removed");
        }
    }

    /// Best effort: a session is not refused because its use could not be written down.
    fn note_use(&self, kept: &Kept, old: Vec<u8>) {
        let key = kept.session.id.as_bytes().to_vec();
        let writes = vec![Write::Put { table: SESSIONS, key: key.clone(), value: encode_session(kept) }];
        let checks = vec![Check::Equals { table: SESSIONS, key, value: old }];
        if let Err(error) = self.store.commit(Commit { checks, writes, ..Commit::default() }) {
            tracing::debug!(%error, "the last use of a session was not written down");
        }
    }
}

/// A person acting for himself.
pub(super) fn person(account: &Account) -> Actor {
    Actor::Person { account: account.id, admin: account.role == Role::Admin }
}

fn epoch_check(account: AccountId, epoch: u64) -> Check {
    let key = account.as_bytes().to_vec();
    match epoch {
        0 => Check::Absent { table: EPOCHS, key },
        _ => Check::Equals { table: EPOCHS, key, value: epoch.to_be_bytes().to_vec() },
    }
}

/// For the audit trail.
pub(super) fn from(place: &Place) -> String {
    format!("from {}", place.address)
}

pub(super) fn removal(kept: &Kept) -> Vec<Write> {
    let id = kept.session.id;
    vec![
        Write::Delete { table: SESSIONS, key: id.as_bytes().to_vec() },
        Write::Delete { table: SESSION_INDEX, key: session_row(kept.session.account, id) },
        Write::Delete { table: TICKETS, key: kept.digest.to_vec() },
    ]
}

fn stopped() -> RegistryError {
    RegistryError::NotAllowed("this account is disabled; an administrator can enable it".to_string())
}
