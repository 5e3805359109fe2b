//! Making an account for oneself: with an administrator's invitation, or openly where the operator lets anyone. Never:
//! what the links look like.

use std::ops::Bound;
use std::time::Duration;

use crate::store::{Check, Commit, Write};
use crate::types::{
    Account, AccountId, AccountStatus, Actor, DisplayName, Email, Invite, InviteId, Place, Policy, Role,
    Secret, SignUp, Ticket, TicketKind, Timestamp,
};

use super::access::{administrators_only, refuse_secret};
use super::audit::Action;
use super::denial::Attempt;
use super::record::people::{decode_invite, encode_invite};
use super::session::{SignedIn, from, person};
use super::table::{INVITES, TICKETS, ticket_value};
use super::{Registry, RegistryError};

/// What an invitation is made of.
#[derive(Debug, Clone)]
pub struct NewInvite {
    /// The address that the account will have.
    pub email: Email,
    /// What the account may do.
    pub role: Role,
    /// How long the link works: a minute to [`INVITE_MAX`].
    pub lifetime: Duration,
}

/// An invitation and the digest of its ticket.
pub(super) struct KeptInvite {
    pub(super) invite: Invite,
    pub(super) digest: [u8; 32],
}

/// What a new member says of himself.
pub struct Newcomer {
    /// What to call him.
    pub name: Option<DisplayName>,
    /// His password.
    pub password: Secret,
    /// Where he is.
    pub place: Place,
}

/// Why a link can't be used, whether it was never made, was used, revoked or is over.
pub const INVITE_GONE: &str = "this invitation no longer works; ask whoever sent it for a new one";
/// How long an invitation works when nobody says.
pub const INVITE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest an invitation works: 30 days.
pub const INVITE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const INVITE_MIN: Duration = Duration::from_secs(60);
/// Invitations that wait at once.
const INVITES_MAX: usize = 1000;

impl Registry {
    /// Invites someone. The second value is the link's secret; it is nowhere else. An earlier invitation to the same
    /// address ends.
    ///
    /// # Errors
    /// [`RegistryError`]: sign-up is closed, the address has an account, the lifetime is out of range.
    pub fn create_invite(&self, actor: Actor, new: &NewInvite) -> Result<(Invite, Ticket), RegistryError> {
        administrators_only(actor)?;
        refuse_secret(new.email.as_str())?;
        self.refuse_closed()?;
        if !(INVITE_MIN..=INVITE_MAX).contains(&new.lifetime) {
            let sentence = "an invitation works for a minute to 30 days; choose a time in between";
            return Err(RegistryError::Invalid(sentence.to_string()));
        }
        let now = self.clock.now();
        let ticket = Ticket::generate(TicketKind::Invite, &*self.random)?;
        let invite = Invite {
            id: InviteId::generate(now, &*self.random)?,
            email: new.email.clone(),
            role: new.role,
            by: actor,
            created_at: now,
            expires_at: now.after(new.lifetime),
        };
        let kept = KeptInvite { invite: invite.clone(), digest: *ticket.digest().as_bytes() };
        self.until_agreed(|| {
            self.refuse_taken(&new.email)?;
            let (waiting, over) = self.sorted_invites(&new.email, now)?;
            if waiting >= INVITES_MAX {
                let sentence = format!("{INVITES_MAX} invitations wait already; revoke some first");
                return Err(RegistryError::Conflict(sentence));
            }
            let id = kept.invite.id.as_bytes();
            let detail = format!("{} {} until {}", invite.role.as_str(), invite.email, invite.expires_at);
            let mut writes = self.event(actor, Action::InviteCreated, id, detail)?;
            writes.extend(over.iter().flat_map(removal));
            writes.push(Write::Put { table: INVITES, key: id.to_vec(), value: encode_invite(&kept) });
            let value = ticket_value(TicketKind::Invite, id);
            writes.push(Write::Put { table: TICKETS, key: kept.digest.to_vec(), value });
            let checks = vec![Check::Absent { table: INVITES, key: id.to_vec() }];
            Ok(Attempt::Commit(Commit { checks, writes, ..Commit::default() }, ()))
        })?;
        Ok((invite, ticket))
    }

    /// The invitations that wait, in the order they were made.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn invites(&self, actor: Actor) -> Result<Vec<Invite>, RegistryError> {
        administrators_only(actor)?;
        let now = self.clock.now();
        let kept = self.kept_invites()?.into_iter().filter(|kept| now < kept.invite.expires_at);
        Ok(kept.map(|kept| kept.invite).collect())
    }

    /// Ends an invitation before it is used.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn revoke_invite(&self, actor: Actor, id: InviteId) -> Result<Invite, RegistryError> {
        administrators_only(actor)?;
        self.until_agreed(|| {
            let none =
                || RegistryError::NotFound(format!("there is no invitation {id}; it may be used already"));
            let bytes = self.store.get(INVITES, id.as_bytes())?.ok_or_else(none)?;
            let kept = decode_invite(id.as_bytes(), &bytes)?;
            let detail = kept.invite.email.to_string();
            let mut writes = self.event(actor, Action::InviteRevoked, id.as_bytes(), detail)?;
            writes.extend(removal(&kept));
            let checks = vec![Check::Equals { table: INVITES, key: id.as_bytes().to_vec(), value: bytes }];
            Ok(Attempt::denial(Commit { checks, writes, ..Commit::default() }, kept.invite))
        })
    }

    /// The invitation behind a link, while it can be used.
    ///
    /// # Errors
    /// [`RegistryError`]; one and the same whether it was never made, was used, revoked or is over.
    pub fn invite(&self, ticket: &Ticket) -> Result<Invite, RegistryError> {
        self.open_invite(ticket).map(|(kept, _)| kept.invite)
    }

    /// Makes the account that an invitation is for, and signs its owner in.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn accept_invite(&self, ticket: &Ticket, newcomer: &Newcomer) -> Result<SignedIn, RegistryError> {
        let invite = self.invite(ticket)?;
        let hash = self.hash(&newcomer.password)?;
        let account = self.newcomer_account(invite.email, newcomer.name.clone(), invite.role)?;
        let secret = Ticket::generate(TicketKind::Session, &*self.random)?;
        let session = self.until_agreed(|| {
            if self.account_of(&account.email)?.is_some() {
                let sentence = "this address has an account already; sign in with it";
                return Err(RegistryError::Conflict(sentence.to_string()));
            }
            let (kept, bytes) = self.open_invite(ticket)?;
            let mut commit = self.creation(person(&account), &account, Some(&hash))?;
            let (session, writes) = self.new_session(&account, 0, &newcomer.place, &secret)?;
            commit.writes.extend(writes);
            commit.writes.extend(removal(&kept));
            let id = kept.invite.id.as_bytes();
            let detail = format!("{} {}", account.email, from(&newcomer.place));
            commit.writes.extend(self.event(person(&account), Action::InviteUsed, id, detail)?);
            let place = from(&newcomer.place);
            commit.writes.extend(self.event(
                person(&account),
                Action::SignedIn,
                account.id.as_bytes(),
                place,
            )?);
            commit.checks.push(Check::Equals { table: INVITES, key: id.to_vec(), value: bytes });
            Ok(Attempt::Commit(commit, session))
        })?;
        Ok(SignedIn { account, session, ticket: secret })
    }

    /// Makes an account where anyone may. The answer does not tell whether the address had one already: then nothing
    /// is made or changed.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn sign_up(&self, email: &Email, newcomer: &Newcomer) -> Result<(), RegistryError> {
        self.refuse_unwelcome(email)?;
        // Every sign-up counts: hashing is dear, and accounts stay.
        let _counted = self.begin_try(&format!("sign-up {email}"), None, &newcomer.place)?;
        let hash = self.hash(&newcomer.password)?;
        let account = self.newcomer_account(email.clone(), newcomer.name.clone(), Role::Member)?;
        self.until_agreed(|| {
            if self.account_of(email)?.is_some() {
                return Ok(Attempt::Nothing(()));
            }
            Ok(Attempt::Commit(self.creation(person(&account), &account, Some(&hash))?, ()))
        })
    }

    fn newcomer_account(
        &self,
        email: Email,
        name: Option<DisplayName>,
        role: Role,
    ) -> Result<Account, RegistryError> {
        refuse_secret(email.as_str())?;
        name.as_ref().map_or(Ok(()), |name| refuse_secret(name.as_str()))?;
        let now = self.clock.now();
        let id = AccountId::generate(now, &*self.random)?;
        let policy = Policy::default();
        Ok(Account { id, email, name, role, status: AccountStatus::Active, policy, created_at: now })
    }

    /// Why nobody makes an account without an invitation; none where anyone may.
    #[must_use]
    pub fn sign_up_refusal(&self) -> Option<&'static str> {
        match self.rules().sign_up {
            SignUp::Open { .. } => None,
            SignUp::Invite => Some("accounts are made by invitation here; ask an administrator for a link"),
            SignUp::Closed => Some("accounts are made by an administrator here; ask one for yours"),
        }
    }

    fn refuse_closed(&self) -> Result<(), RegistryError> {
        if self.rules().sign_up.takes_invites() {
            return Ok(());
        }
        let sentence = "sign-up is closed, so nobody can be invited; set dashboard.sign_up = \"invite\", or make the \
                        account and give its owner a reset link";
        Err(RegistryError::NotAllowed(sentence.to_string()))
    }

    fn refuse_unwelcome(&self, email: &Email) -> Result<(), RegistryError> {
        let rules = self.rules();
        let SignUp::Open { domains } = &rules.sign_up else {
            let sentence = self.sign_up_refusal().unwrap_or_default();
            return Err(RegistryError::NotAllowed(sentence.to_string()));
        };
        let domain = email.as_str().rsplit('@').next().unwrap_or_default();
        if domains.is_empty() || domains.iter().any(|known| known == domain) {
            return Ok(());
        }
        let sentence = format!("sign-up is for addresses at {} only; use one of these", domains.join(", "));
        Err(RegistryError::NotAllowed(sentence))
    }

    fn open_invite(&self, ticket: &Ticket) -> Result<(KeptInvite, Vec<u8>), RegistryError> {
        let gone = || RegistryError::NotFound(INVITE_GONE.to_string());
        self.refuse_closed().map_err(|_| gone())?;
        let id = self.ticket_subject(ticket, TicketKind::Invite)?.ok_or_else(gone)?;
        let bytes = self.store.get(INVITES, &id)?.ok_or_else(gone)?;
        let kept = decode_invite(&id, &bytes)?;
        let is_over = kept.invite.expires_at <= self.clock.now();
        if is_over || !self.still_administers(kept.invite.by)? {
            return Err(gone());
        }
        Ok((kept, bytes))
    }

    /// How many wait for others, and those that are over or that a new one to `email` takes the place of.
    fn sorted_invites(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<(usize, Vec<KeptInvite>), RegistryError> {
        let is_over = |kept: &KeptInvite| kept.invite.expires_at <= now || kept.invite.email == *email;
        let (over, waiting): (Vec<_>, Vec<_>) = self.kept_invites()?.into_iter().partition(is_over);
        Ok((waiting.len(), over))
    }

    fn kept_invites(&self) -> Result<Vec<KeptInvite>, RegistryError> {
        let rows = self.store.scan(INVITES, Bound::Unbounded, Bound::Unbounded, 2 * INVITES_MAX)?;
        Ok(rows.iter().map(|(id, bytes)| decode_invite(id, bytes)).collect::<Result<_, _>>()?)
    }
}

pub(super) fn removal(kept: &KeptInvite) -> Vec<Write> {
    vec![
        Write::Delete { table: INVITES, key: kept.invite.id.as_bytes().to_vec() },
        Write::Delete { table: TICKETS, key: kept.digest.to_vec() },
    ]
}
