//! What stands behind a ticket: a session, an invitation, an administrator's token. Never: the ticket itself.

use super::{
    AccountId, Actor, Email, InviteId, KeyHint, KeyName, Place, Role, SessionId, Timestamp, TokenId,
};

/// A browser that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub seen_at: Timestamp,
    /// Where it began.
    pub place: Place,
}

/// An invitation to make an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Its id.
    pub id: InviteId,
    /// The address that the account will have.
    pub email: Email,
    /// What the account may do.
    pub role: Role,
    /// Who invites.
    pub by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// An administrator's token, for programs that use the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Its id.
    pub id: TokenId,
    /// What it is called.
    pub name: KeyName,
    /// The last four characters of its secret.
    pub hint: KeyHint,
    /// Who made it.
    pub by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; never, without it.
    pub expires_at: Option<Timestamp>,
}
