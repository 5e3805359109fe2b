//! Invitations, reset links, sessions and administrators' tokens as JSON. Never: anything else.

use serde::{Deserialize, Serialize};

use crate::admin::{AdminError, Reply};
use crate::types::{Account, AdminToken, Invite, Place, Secret, Session, Ticket, TicketKind, Timestamp};

use super::account::{AccountJson, actor, role};
use super::key::hint;
use super::{time, time_or_none, unreadable};

#[derive(Serialize, Deserialize)]
pub(super) struct InviteJson {
    pub(super) id: String,
    object: String,
    email: String,
    role: String,
    by: String,
    created_at: String,
    expires_at: String,
    /// The link, in the one answer that has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) link: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ResetJson {
    object: String,
    account: AccountJson,
    expires_at: String,
    /// The link, unless it is handed over in another way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) link: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SessionJson {
    pub(super) id: String,
    object: String,
    account_id: String,
    address: String,
    agent: String,
    created_at: String,
    seen_at: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TokenJson {
    pub(super) id: String,
    object: String,
    name: String,
    last4: String,
    by: String,
    created_at: String,
    expires_at: Option<String>,
    /// The token itself, in the one answer that has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) token: Option<String>,
}

impl InviteJson {
    pub(super) fn of(invite: &Invite) -> Self {
        Self {
            id: invite.id.to_string(),
            object: "invite".to_string(),
            email: invite.email.to_string(),
            role: invite.role.as_str().to_string(),
            by: invite.by.to_string(),
            created_at: invite.created_at.to_string(),
            expires_at: invite.expires_at.to_string(),
            link: None,
        }
    }

    pub(super) fn of_new(invite: &Invite, link: &Secret) -> Self {
        Self { link: Some(link.expose().to_string()), ..Self::of(invite) }
    }

    pub(super) fn read(&self) -> Result<Invite, AdminError> {
        Ok(Invite {
            id: self.id.parse().map_err(unreadable)?,
            email: self.email.parse().map_err(unreadable)?,
            role: role(&self.role).ok_or_else(|| unreadable("no such role"))?,
            by: actor(&self.by)?,
            created_at: time(&self.created_at)?,
            expires_at: time(&self.expires_at)?,
        })
    }

    pub(super) fn read_new(self) -> Result<Reply, AdminError> {
        let invite = self.read()?;
        let link = self.link.ok_or_else(|| unreadable("it has no link"))?;
        Ok(Reply::Invited { invite, link: Secret::new(link) })
    }
}

impl ResetJson {
    pub(super) fn of(account: &Account, expires_at: Timestamp, link: &Secret) -> Self {
        Self {
            object: "reset".to_string(),
            account: AccountJson::of(account),
            expires_at: expires_at.to_string(),
            link: Some(link.expose().to_string()),
        }
    }

    pub(super) fn read(self) -> Result<Reply, AdminError> {
        let (account, expires_at) = (self.account.read()?, time(&self.expires_at)?);
        let link = self.link.ok_or_else(|| unreadable("it has no link"))?;
        Ok(Reply::Reset { account, expires_at, link: Secret::new(link) })
    }
}

impl SessionJson {
    pub(super) fn of(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            object: "session".to_string(),
            account_id: session.account.to_string(),
            address: session.place.address.to_string(),
            agent: session.place.agent.clone(),
            created_at: session.created_at.to_string(),
            seen_at: session.seen_at.to_string(),
        }
    }

    pub(super) fn read(&self) -> Result<Session, AdminError> {
        Ok(Session {
            id: self.id.parse().map_err(unreadable)?,
            account: self.account_id.parse().map_err(unreadable)?,
            created_at: time(&self.created_at)?,
            seen_at: time(&self.seen_at)?,
            place: Place::new(self.address.parse().map_err(unreadable)?, &self.agent),
        })
    }
}

impl TokenJson {
    pub(super) fn of(token: &AdminToken) -> Self {
        Self {
            id: token.id.to_string(),
            object: "token".to_string(),
            name: token.name.to_string(),
            last4: token.hint.to_string(),
            by: token.by.to_string(),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.map(|end| end.to_string()),
            token: None,
        }
    }

    pub(super) fn of_issued(token: &AdminToken, secret: &Ticket) -> Self {
        Self { token: Some(secret.expose().to_string()), ..Self::of(token) }
    }

    pub(super) fn read(&self) -> Result<AdminToken, AdminError> {
        Ok(AdminToken {
            id: self.id.parse().map_err(unreadable)?,
            name: self.name.parse().map_err(unreadable)?,
            hint: hint(&self.last4)?,
            by: actor(&self.by)?,
            created_at: time(&self.created_at)?,
            expires_at: time_or_none(self.expires_at.as_deref())?,
        })
    }

    pub(super) fn read_issued(&self) -> Result<Reply, AdminError> {
        let text = self.token.as_deref().ok_or_else(|| unreadable("it has no token"))?;
        let secret = Ticket::parse(TicketKind::Admin, text.as_bytes());
        Ok(Reply::TokenIssued {
            token: self.read()?,
            secret: secret.ok_or_else(|| unreadable("this is no token"))?,
        })
    }
}
