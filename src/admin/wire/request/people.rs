//! The bodies of commands about people. Never: what stands in a path or a query.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admin::AdminError;
use crate::registry::{AccountChanges, INVITE_DEFAULT, NewInvite, NewToken};
use crate::types::{Role, Secret};

use super::super::account::role;
use super::super::policy::{LimitsJson, PolicyChangesJson};
use super::{end, invalid, parse, present};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordJson {
    pub(super) password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
}

/// What is absent stays. Null takes the name away, or means all.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountUpdateJson {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    name: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    models: Option<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    routes: Option<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    addresses: Option<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "LimitsJson::is_empty")]
    limits: LimitsJson,
}

impl AccountUpdateJson {
    pub(super) fn of(changes: &AccountChanges) -> Self {
        let PolicyChangesJson { models, routes, addresses, limits } = PolicyChangesJson::of(&changes.policy);
        let name = changes.name.as_ref().map(|name| name.as_ref().map(ToString::to_string));
        Self { name, models, routes, addresses, limits }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InviteCreateJson {
    pub(super) email: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lifetime_seconds: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenCreateJson {
    pub(super) name: String,
    #[serde(default)]
    pub(super) expires_at: Option<String>,
}

/// A new password, and the old one where it is given.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn password(json: &[u8]) -> Result<(Secret, Option<Secret>), AdminError> {
    let read: PasswordJson = parse(json)?;
    Ok((Secret::new(read.password), read.current.map(Secret::new)))
}

/// What is to change about an account.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn account_update(json: &[u8]) -> Result<AccountChanges, AdminError> {
    let AccountUpdateJson { name, models, routes, addresses, limits } = parse(json)?;
    let name = name.map(|name| name.map(|name| name.parse()).transpose()).transpose().map_err(invalid)?;
    let policy = PolicyChangesJson { models, routes, addresses, limits }.read().map_err(invalid)?;
    Ok(AccountChanges { name, policy })
}

/// Who is to be invited.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn invite_create(json: &[u8]) -> Result<NewInvite, AdminError> {
    let read: InviteCreateJson = parse(json)?;
    Ok(NewInvite {
        email: read.email.parse().map_err(invalid)?,
        role: wanted_role(read.role.as_deref())?,
        lifetime: read.lifetime_seconds.map_or(INVITE_DEFAULT, Duration::from_secs),
    })
}

/// What a token is to be made of.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn token_create(json: &[u8]) -> Result<NewToken, AdminError> {
    let read: TokenCreateJson = parse(json)?;
    Ok(NewToken {
        name: read.name.parse().map_err(invalid)?,
        expires_at: read.expires_at.as_deref().map(end).transpose()?,
    })
}

pub(super) fn wanted_role(word: Option<&str>) -> Result<Role, AdminError> {
    match word {
        None => Ok(Role::Member),
        Some(word) => role(word).ok_or_else(|| invalid("'role' is neither member nor admin")),
    }
}
