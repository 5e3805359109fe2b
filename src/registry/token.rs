//! Administrators' tokens: for programs that use the admin API. Never: how they are presented.

use std::ops::Bound;

use crate::store::{Check, Commit, Trouble, Write};
use crate::types::{Actor, AdminToken, KeyName, Role, Ticket, TicketKind, Timestamp, TokenId};

use super::access::{administrators_only, refuse_secret};
use super::audit::Action;
use super::denial::Attempt;
use super::keys::refuse_past;
use super::record::people::{decode_token, encode_token};
use super::table::{ACCOUNTS, TICKETS, TOKENS, ticket_value};
use super::{Registry, RegistryError};

/// What a token is made of.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is called.
    pub name: KeyName,
    /// When it stops working; never, without it.
    pub expires_at: Option<Timestamp>,
}

/// A token and the digest of its ticket.
pub(super) struct KeptToken {
    pub(super) token: AdminToken,
    pub(super) digest: [u8; 32],
}

/// Tokens at once.
const TOKENS_MAX: usize = 1000;

impl Registry {
    /// Makes an administrator's token. The second value is the secret; it is nowhere else. A token can't make tokens:
    /// a leaked one would outlive its own end.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn create_token(&self, actor: Actor, new: &NewToken) -> Result<(AdminToken, Ticket), RegistryError> {
        administrators_only(actor)?;
        if matches!(actor, Actor::Token { .. }) {
            let sentence = "a token can't make tokens; use `ember token create` on the machine";
            return Err(RegistryError::NotAllowed(sentence.to_string()));
        }
        refuse_secret(new.name.as_str())?;
        let now = self.clock.now();
        refuse_past(new.expires_at, now)?;
        let ticket = Ticket::generate(TicketKind::Admin, &*self.random)?;
        let hint = ticket.hint().ok_or_else(|| RegistryError::Store("a token has no end".to_string()))?;
        let id = TokenId::generate(now, &*self.random)?;
        let (name, expires_at) = (new.name.clone(), new.expires_at);
        let token = AdminToken { id, name, hint, by: actor, created_at: now, expires_at };
        let kept = KeptToken { token: token.clone(), digest: *ticket.digest().as_bytes() };
        self.until_agreed(|| {
            if self.store.count(TOKENS)? >= TOKENS_MAX as u64 {
                let sentence = format!("there are {TOKENS_MAX} tokens already; revoke some first");
                return Err(RegistryError::Conflict(sentence));
            }
            let detail = format!("{} ...{hint}", token.name);
            let mut writes = self.event(actor, Action::TokenCreated, id.as_bytes(), detail)?;
            writes.push(Write::Put {
                table: TOKENS,
                key: id.as_bytes().to_vec(),
                value: encode_token(&kept),
            });
            let value = ticket_value(TicketKind::Admin, id.as_bytes());
            writes.push(Write::Put { table: TICKETS, key: kept.digest.to_vec(), value });
            let checks = vec![Check::Absent { table: TOKENS, key: id.as_bytes().to_vec() }];
            Ok(Attempt::Commit(Commit { checks, writes, ..Commit::default() }, ()))
        })?;
        Ok((token, ticket))
    }

    /// All tokens, in the order they were made.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn tokens(&self, actor: Actor) -> Result<Vec<AdminToken>, RegistryError> {
        administrators_only(actor)?;
        let rows = self.store.scan(TOKENS, Bound::Unbounded, Bound::Unbounded, TOKENS_MAX)?;
        let kept = rows.iter().map(|(id, bytes)| decode_token(id, bytes));
        Ok(kept.map(|kept| kept.map(|kept| kept.token)).collect::<Result<_, _>>()?)
    }

    /// Revokes a token, named by its id, name or last four characters.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn revoke_token(&self, actor: Actor, text: &str) -> Result<AdminToken, RegistryError> {
        let id = self.token_named(actor, text)?;
        self.until_agreed(|| {
            let bytes = self.store.get(TOKENS, id.as_bytes())?.ok_or_else(no_token)?;
            let kept = decode_token(id.as_bytes(), &bytes)?;
            let detail = format!("{} ...{}", kept.token.name, kept.token.hint);
            let mut writes = self.event(actor, Action::TokenRevoked, id.as_bytes(), detail)?;
            writes.push(Write::Delete { table: TOKENS, key: id.as_bytes().to_vec() });
            writes.push(Write::Delete { table: TICKETS, key: kept.digest.to_vec() });
            let checks = vec![Check::Equals { table: TOKENS, key: id.as_bytes().to_vec(), value: bytes }];
            Ok(Attempt::denial(Commit { checks, writes, ..Commit::default() }, kept.token))
        })
    }

    /// Who asks with this token, while it is good: neither revoked nor past its end, and whoever made it still an
    /// administrator.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn token_actor(&self, ticket: &Ticket) -> Result<Option<Actor>, RegistryError> {
        let Some(id) = self.ticket_subject(ticket, TicketKind::Admin)? else { return Ok(None) };
        let Some(bytes) = self.store.get(TOKENS, &id)? else { return Ok(None) };
        let token = decode_token(&id, &bytes)?.token;
        Ok(self.is_good_token(&token)?.then_some(Actor::Token { token: token.id }))
    }

    /// Whether whoever made something for others may still do so: what he handed out ends with that.
    pub(super) fn still_administers(&self, by: Actor) -> Result<bool, RegistryError> {
        match by {
            Actor::Machine { .. } | Actor::Ember => Ok(true),
            Actor::Key { .. } => Ok(false),
            Actor::Person { account, .. } => {
                let (account, _) =
                    self.load_account(account)?.ok_or(Trouble::Damaged { table: ACCOUNTS.0 })?;
                Ok(self.is_open(&account) && account.role == Role::Admin)
            }
            Actor::Token { token } => match self.store.get(TOKENS, token.as_bytes())? {
                Some(bytes) => self.is_good_token(&decode_token(token.as_bytes(), &bytes)?.token),
                None => Ok(false),
            },
        }
    }

    fn is_good_token(&self, token: &AdminToken) -> Result<bool, RegistryError> {
        let is_over = token.expires_at.is_some_and(|end| end <= self.clock.now());
        // A token is never made by one.
        let is_made_by_token = matches!(token.by, Actor::Token { .. });
        Ok(!is_over && !is_made_by_token && self.still_administers(token.by)?)
    }

    fn token_named(&self, actor: Actor, text: &str) -> Result<TokenId, RegistryError> {
        let all = self.tokens(actor)?;
        if let Ok(id) = text.parse::<TokenId>() {
            return all.iter().find(|token| token.id == id).map(|token| token.id).ok_or_else(no_token);
        }
        let is_named = |token: &&AdminToken| token.name.as_str() == text || token.hint.to_string() == text;
        let mut named = all.iter().filter(is_named);
        match (named.next(), named.next()) {
            (None, _) => Err(no_token()),
            (Some(one), None) => Ok(one.id),
            (Some(_), Some(_)) => Err(RegistryError::Conflict(
                "several tokens are called so; name one by its id (`ember token list`)".to_string(),
            )),
        }
    }
}

fn no_token() -> RegistryError {
    RegistryError::NotFound("there is no such token; `ember token list` shows those there are".to_string())
}
