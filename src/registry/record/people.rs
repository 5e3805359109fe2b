//! The bytes of sessions, invitations, reset links and administrators' tokens on disk. Never: rules.

use serde::{Deserialize, Serialize};

use crate::store::Trouble;
use crate::types::{
    AccountId, AdminToken, Invite, InviteId, KeyHint, Place, Role, Session, SessionId, Timestamp, TokenId,
};

use super::super::invite::KeptInvite;
use super::super::reset::KeptReset;
use super::super::session::Kept;
use super::super::table::{INVITES, RESETS, SESSIONS, TOKENS};
use super::super::token::KeptToken;
use super::{ActorV1, damaged, decode, encode};

#[derive(Serialize, Deserialize)]
struct SessionV1 {
    account: [u8; 16],
    digest: [u8; 32],
    epoch: u64,
    created_at: i64,
    seen_at: i64,
    /// As IPv6; an IPv4 address is mapped.
    address: [u8; 16],
    agent: String,
}

#[derive(Serialize, Deserialize)]
struct InviteV1 {
    digest: [u8; 32],
    email: String,
    admin: bool,
    by: ActorV1,
    created_at: i64,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
struct ResetV1 {
    digest: [u8; 32],
    expires_at: i64,
    by: ActorV1,
}

#[derive(Serialize, Deserialize)]
struct TokenV1 {
    digest: [u8; 32],
    name: String,
    hint: [u8; 4],
    by: ActorV1,
    created_at: i64,
    expires_at: Option<i64>,
}

pub(in crate::registry) fn encode_session(kept: &Kept) -> Vec<u8> {
    let session = &kept.session;
    encode(&SessionV1 {
        account: *session.account.as_bytes(),
        digest: kept.digest,
        epoch: kept.epoch,
        created_at: session.created_at.as_millis(),
        seen_at: session.seen_at.as_millis(),
        address: address_bytes(session.place.address),
        agent: session.place.agent.clone(),
    })
}

pub(in crate::registry) fn decode_session(id: &[u8], bytes: &[u8]) -> Result<Kept, Trouble> {
    let read = || {
        let record: SessionV1 = decode(bytes)?;
        let session = Session {
            id: SessionId::from_bytes(id)?,
            account: AccountId::from_bytes(&record.account)?,
            created_at: Timestamp::from_millis(record.created_at),
            seen_at: Timestamp::from_millis(record.seen_at),
            place: Place::new(std::net::IpAddr::from(record.address), &record.agent),
        };
        Some(Kept { session, epoch: record.epoch, digest: record.digest })
    };
    read().ok_or_else(|| damaged(SESSIONS))
}

pub(in crate::registry) fn encode_invite(kept: &KeptInvite) -> Vec<u8> {
    let invite = &kept.invite;
    encode(&InviteV1 {
        digest: kept.digest,
        email: invite.email.to_string(),
        admin: invite.role == Role::Admin,
        by: ActorV1::of(invite.by),
        created_at: invite.created_at.as_millis(),
        expires_at: invite.expires_at.as_millis(),
    })
}

pub(in crate::registry) fn decode_invite(id: &[u8], bytes: &[u8]) -> Result<KeptInvite, Trouble> {
    let read = || {
        let record: InviteV1 = decode(bytes)?;
        let invite = Invite {
            id: InviteId::from_bytes(id)?,
            email: record.email.parse().ok()?,
            role: if record.admin { Role::Admin } else { Role::Member },
            by: record.by.read()?,
            created_at: Timestamp::from_millis(record.created_at),
            expires_at: Timestamp::from_millis(record.expires_at),
        };
        Some(KeptInvite { invite, digest: record.digest })
    };
    read().ok_or_else(|| damaged(INVITES))
}

pub(in crate::registry) fn encode_reset(kept: &KeptReset) -> Vec<u8> {
    encode(&ResetV1 {
        digest: kept.digest,
        expires_at: kept.expires_at.as_millis(),
        by: ActorV1::of(kept.by),
    })
}

pub(in crate::registry) fn decode_reset(bytes: &[u8]) -> Result<KeptReset, Trouble> {
    let read = || {
        let record: ResetV1 = decode(bytes)?;
        let expires_at = Timestamp::from_millis(record.expires_at);
        Some(KeptReset { digest: record.digest, expires_at, by: record.by.read()? })
    };
    read().ok_or_else(|| damaged(RESETS))
}

pub(in crate::registry) fn encode_token(kept: &KeptToken) -> Vec<u8> {
    let token = &kept.token;
    encode(&TokenV1 {
        digest: kept.digest,
        name: token.name.to_string(),
        hint: *token.hint.as_bytes(),
        by: ActorV1::of(token.by),
        created_at: token.created_at.as_millis(),
        expires_at: token.expires_at.map(Timestamp::as_millis),
    })
}

pub(in crate::registry) fn decode_token(id: &[u8], bytes: &[u8]) -> Result<KeptToken, Trouble> {
    let read = || {
        let record: TokenV1 = decode(bytes)?;
        let token = AdminToken {
            id: TokenId::from_bytes(id)?,
            name: record.name.parse().ok()?,
            hint: KeyHint::from_bytes(record.hint)?,
            by: record.by.read()?,
            created_at: Timestamp::from_millis(record.created_at),
            expires_at: record.expires_at.map(Timestamp::from_millis),
        };
        Some(KeptToken { token, digest: record.digest })
    };
    read().ok_or_else(|| damaged(TOKENS))
}

fn address_bytes(address: std::net::IpAddr) -> [u8; 16] {
    match address {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(address) => address.octets(),
    }
}
