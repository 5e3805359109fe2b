//! The tables, and how their keys are built. Never: what is in the values.

use std::net::IpAddr;

use crate::store::{Table, Trouble};
use crate::types::{AccountId, Email, EventId, KeyHint, KeyId, KeyName, SessionId, TicketKind};

/// Account id -> account.
pub(super) const ACCOUNTS: Table = Table("accounts");
/// E-mail address -> account id.
pub(super) const EMAILS: Table = Table("emails");
/// Account id -> password hash (PHC string).
pub(super) const PASSWORDS: Table = Table("passwords");
/// Key id -> key.
pub(super) const KEYS: Table = Table("keys");
/// Digest of a secret -> key id. Rows stay when a secret is replaced, so that its holder is told so.
pub(super) const DIGESTS: Table = Table("digests");
/// Kind, text and key id -> nothing: finds keys by account, name and last four characters.
pub(super) const KEY_INDEX: Table = Table("key_index");
/// Event id -> audit event.
pub(super) const AUDIT: Table = Table("audit");
/// Target id and event id -> nothing.
pub(super) const AUDIT_INDEX: Table = Table("audit_index");
/// Number of an event -> its id, and the hash over it and everything before it.
pub(super) const AUDIT_CHAIN: Table = Table("audit_chain");
/// `head`, `anchor`, `before` -> number and hash: where the chain ends, where it begins, and what came before it.
pub(super) const AUDIT_MARKS: Table = Table("audit_marks");
/// Digest of a ticket -> its kind and whose it is.
pub(super) const TICKETS: Table = Table("tickets");
/// Session id -> session.
pub(super) const SESSIONS: Table = Table("sessions");
/// Account id and session id -> nothing.
pub(super) const SESSION_INDEX: Table = Table("session_index");
/// Account id -> how often all its sessions were ended.
pub(super) const EPOCHS: Table = Table("epochs");
/// Account id and address -> when it last signed in from there.
pub(super) const KNOWN_PLACES: Table = Table("known_places");
/// Invitation id -> invitation.
pub(super) const INVITES: Table = Table("invites");
/// Account id -> the link that sets its password.
pub(super) const RESETS: Table = Table("resets");
/// Token id -> administrator's token.
pub(super) const TOKENS: Table = Table("tokens");

pub(super) fn by_account(account: AccountId) -> Vec<u8> {
    index(b'a', account.as_bytes())
}

pub(super) fn by_name(name: &KeyName) -> Vec<u8> {
    index(b'n', name.as_str().as_bytes())
}

pub(super) fn by_hint(hint: KeyHint) -> Vec<u8> {
    index(b'h', hint.as_bytes())
}

/// The row of one key under one of the prefixes above.
pub(super) fn index_row(mut prefix: Vec<u8>, key: KeyId) -> Vec<u8> {
    prefix.extend_from_slice(key.as_bytes());
    prefix
}

pub(super) fn audit_prefix(target: &[u8; 16]) -> Vec<u8> {
    target.to_vec()
}

pub(super) fn audit_row(target: &[u8; 16], event: EventId) -> Vec<u8> {
    let mut row = audit_prefix(target);
    row.extend_from_slice(event.as_bytes());
    row
}

pub(super) fn email_row(email: &Email) -> Vec<u8> {
    email.as_str().as_bytes().to_vec()
}

pub(super) fn session_row(account: AccountId, session: SessionId) -> Vec<u8> {
    [&account.as_bytes()[..], session.as_bytes()].concat()
}

pub(super) fn place_row(account: AccountId, address: IpAddr) -> Vec<u8> {
    let mut row = account.as_bytes().to_vec();
    match address {
        IpAddr::V4(address) => row.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => row.extend_from_slice(&address.octets()),
    }
    row
}

/// What a ticket is for, and the id of what it belongs to.
pub(super) fn ticket_value(kind: TicketKind, subject: &[u8; 16]) -> Vec<u8> {
    let mut value = vec![kind_byte(kind)];
    value.extend_from_slice(subject);
    value
}

/// The id in such a value, if it is of this kind.
pub(super) fn ticket_subject(kind: TicketKind, value: &[u8]) -> Result<Option<[u8; 16]>, Trouble> {
    let parts = value.split_first().and_then(|(first, subject)| Some((*first, subject.try_into().ok()?)));
    let (first, subject) = parts.ok_or(Trouble::Damaged { table: TICKETS.0 })?;
    Ok((first == kind_byte(kind)).then_some(subject))
}

const fn kind_byte(kind: TicketKind) -> u8 {
    match kind {
        TicketKind::Session => b's',
        TicketKind::Invite => b'i',
        TicketKind::Reset => b'r',
        TicketKind::Admin => b'a',
    }
}

/// The first row after every row that begins with `prefix`; none when there is no such bound.
pub(super) fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The length stands before the text, so that no text is a prefix of another's rows.
fn index(kind: u8, text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut row = vec![kind];
    row.extend_from_slice(&length);
    row.extend_from_slice(text);
    row
}
