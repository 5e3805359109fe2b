//! The bodies of commands as JSON, both ways. Unknown members are refused. Never: what stands in a path or a query.

mod people;

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::admin::{AdminError, Command, UpstreamAsk};
use crate::registry::{KeyChanges, NewAccount, NewKey, Rotation};
use crate::types::{Environment, Key, ModelId, Secret, Timestamp, Weight};

use super::policy::{LimitsJson, PolicyChangesJson, PolicyJson};

pub use people::{account_update, invite_create, password, token_create};

use people::{AccountUpdateJson, InviteCreateJson, PasswordJson, TokenCreateJson, wanted_role};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountCreateJson {
    email: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyCreateJson {
    account: String,
    name: String,
    environment: String,
    #[serde(default)]
    models: Option<Vec<String>>,
    #[serde(default)]
    routes: Option<Vec<String>>,
    #[serde(default)]
    addresses: Option<Vec<String>>,
    #[serde(default)]
    limits: LimitsJson,
    #[serde(default)]
    allow_browser: bool,
    #[serde(default)]
    weight: Option<u64>,
    #[serde(default)]
    expires_at: Option<String>,
}

/// What is absent stays; null means all, or no end.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyUpdateJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    models: Option<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    routes: Option<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    addresses: Option<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "LimitsJson::is_empty")]
    limits: LimitsJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow_browser: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    expires_at: Option<Option<String>>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RevokeJson {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RevokeAllJson {
    #[serde(default)]
    environment: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<bool>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct UpstreamTestJson {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    stream: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyJson {
    key: String,
}

impl RevokeAllJson {
    fn of(environment: Option<Environment>, reason: Option<&str>) -> Self {
        Self {
            environment: environment.map(|environment| environment.to_string()),
            reason: reason.map(ToString::to_string),
        }
    }
}

impl UpstreamTestJson {
    fn of(ask: &UpstreamAsk) -> Option<Self> {
        match ask {
            UpstreamAsk::Test { model, stream, .. } => {
                Some(Self { model: model.as_ref().map(ToString::to_string), stream: *stream })
            }
            UpstreamAsk::List | UpstreamAsk::Drain { .. } | UpstreamAsk::Undrain { .. } => None,
        }
    }
}

impl KeyCreateJson {
    fn of(new: &NewKey) -> Self {
        let PolicyJson { models, routes, addresses, limits } = PolicyJson::of(&new.policy);
        Self {
            account: new.account.clone(),
            name: new.name.to_string(),
            environment: new.environment.to_string(),
            models,
            routes,
            addresses,
            limits,
            allow_browser: new.allow_browser,
            weight: Some(new.weight.get().into()),
            expires_at: new.expires_at.map(|end| end.to_string()),
        }
    }

    fn read(self) -> Result<NewKey, AdminError> {
        let Self { models, routes, addresses, limits, .. } = self;
        let weight = self.weight.map(Weight::new).transpose().map_err(invalid)?;
        Ok(NewKey {
            account: self.account,
            name: self.name.parse().map_err(invalid)?,
            environment: self.environment.parse().map_err(invalid)?,
            policy: PolicyJson { models, routes, addresses, limits }.read().map_err(invalid)?,
            allow_browser: self.allow_browser,
            weight: weight.unwrap_or_default(),
            expires_at: self.expires_at.as_deref().map(end).transpose()?,
        })
    }
}

impl KeyUpdateJson {
    fn of(changes: &KeyChanges) -> Self {
        let PolicyChangesJson { models, routes, addresses, limits } = PolicyChangesJson::of(&changes.policy);
        Self {
            name: changes.name.as_ref().map(ToString::to_string),
            models,
            routes,
            addresses,
            limits,
            allow_browser: changes.allow_browser,
            weight: changes.weight.map(|weight| weight.get().into()),
            expires_at: changes.expires_at.map(|end| end.map(|end| end.to_string())),
        }
    }

    fn read(self) -> Result<KeyChanges, AdminError> {
        let Self { models, routes, addresses, limits, .. } = self;
        Ok(KeyChanges {
            name: self.name.map(|name| name.parse()).transpose().map_err(invalid)?,
            policy: PolicyChangesJson { models, routes, addresses, limits }.read().map_err(invalid)?,
            allow_browser: self.allow_browser,
            weight: self.weight.map(Weight::new).transpose().map_err(invalid)?,
            expires_at: self.expires_at.map(|text| text.as_deref().map(end).transpose()).transpose()?,
        })
    }
}

/// The body that goes with a command; none when it has none.
///
/// # Errors
/// [`AdminError`]; plain data has no reason to fail.
pub fn body(command: &Command) -> Result<Option<Vec<u8>>, AdminError> {
    match command {
        Command::AccountCreate(new) => write(&AccountCreateJson {
            email: new.email.to_string(),
            name: new.name.as_ref().map(ToString::to_string),
            role: Some(new.role.as_str().to_string()),
            password: new.password.as_ref().map(|password| password.expose().to_string()),
        }),
        Command::AccountPassword { password, current, .. } => write(&PasswordJson {
            password: password.expose().to_string(),
            current: current.as_ref().map(|current| current.expose().to_string()),
        }),
        Command::AccountUpdate { changes, .. } => write(&AccountUpdateJson::of(changes)),
        Command::InviteCreate(new) => write(&InviteCreateJson {
            email: new.email.to_string(),
            role: Some(new.role.as_str().to_string()),
            lifetime_seconds: Some(new.lifetime.as_secs()),
        }),
        Command::TokenCreate(new) => write(&TokenCreateJson {
            name: new.name.to_string(),
            expires_at: new.expires_at.map(|end| end.to_string()),
        }),
        Command::KeyCreate(new) => write(&KeyCreateJson::of(new)),
        Command::KeyUpdate { changes, .. } => write(&KeyUpdateJson::of(changes)),
        Command::KeyRevoke { reason, .. } => write(&RevokeJson { reason: reason.clone() }),
        Command::KeyRevokeAll { environment, reason, .. } => {
            write(&RevokeAllJson::of(*environment, reason.as_deref()))
        }
        Command::KeyRotate { rotation, .. } => write(&match rotation {
            Rotation::Grace(grace) => RotateJson { grace_seconds: Some(grace.as_secs()), now: None },
            Rotation::Now => RotateJson { grace_seconds: None, now: Some(true) },
        }),
        Command::KeyVerify { key } => write(&VerifyJson { key: key.expose().to_string() }),
        Command::Upstream(ask) => UpstreamTestJson::of(ask).map_or(Ok(None), |body| write(&body)),
        Command::AccountList { .. }
        | Command::AccountShow { .. }
        | Command::AccountDisable { .. }
        | Command::AccountEnable { .. }
        | Command::AccountDelete { .. }
        | Command::KeyList { .. }
        | Command::KeyShow { .. }
        | Command::KeyDisable { .. }
        | Command::KeyEnable { .. }
        | Command::AccountReset { .. }
        | Command::InviteList
        | Command::InviteRevoke { .. }
        | Command::SessionList { .. }
        | Command::SessionEnd { .. }
        | Command::SessionsEnd { .. }
        | Command::TokenList
        | Command::TokenRevoke { .. }
        | Command::AuditList { .. }
        | Command::AuditNews { .. }
        | Command::AuditVerify { .. }
        | Command::Models
        | Command::Usage { .. }
        | Command::UsageReport(_)
        | Command::UsageVerify
        | Command::Reload
        | Command::Status => Ok(None),
    }
}

/// What an account is to be made of.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn account_create(json: &[u8]) -> Result<NewAccount, AdminError> {
    let read: AccountCreateJson = parse(json)?;
    Ok(NewAccount {
        email: read.email.parse().map_err(invalid)?,
        name: read.name.map(|name| name.parse()).transpose().map_err(invalid)?,
        role: wanted_role(read.role.as_deref())?,
        password: read.password.map(Secret::new),
    })
}

/// What a key is to be made of.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn key_create(json: &[u8]) -> Result<NewKey, AdminError> {
    parse::<KeyCreateJson>(json)?.read()
}

/// What is to change about a key.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn key_update(json: &[u8]) -> Result<KeyChanges, AdminError> {
    parse::<KeyUpdateJson>(json)?.read()
}

/// Why a key is revoked; nothing at all is no reason.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn key_revoke(json: &[u8]) -> Result<Option<String>, AdminError> {
    if json.is_empty() { Ok(None) } else { parse::<RevokeJson>(json).map(|read| read.reason) }
}

/// With which model a model server is tried, and whether as a stream; nothing at all is without one.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn upstream_test(json: &[u8]) -> Result<(Option<ModelId>, bool), AdminError> {
    let read: UpstreamTestJson = if json.is_empty() { UpstreamTestJson::default() } else { parse(json)? };
    Ok((read.model.map(|model| model.parse()).transpose().map_err(invalid)?, read.stream))
}

/// Which keys of an account are revoked and why; nothing at all is every key and no reason.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn keys_revoke(json: &[u8]) -> Result<(Option<Environment>, Option<String>), AdminError> {
    let read: RevokeAllJson = if json.is_empty() { RevokeAllJson::default() } else { parse(json)? };
    Ok((read.environment.map(|word| word.parse()).transpose().map_err(invalid)?, read.reason))
}

/// What becomes of a key's old secret.
///
/// # Errors
/// [`AdminError`] names the member at fault.
pub fn key_rotate(json: &[u8]) -> Result<Rotation, AdminError> {
    let read: RotateJson = parse(json)?;
    match (read.grace_seconds, read.now.unwrap_or(false)) {
        (Some(seconds), false) => Ok(Rotation::Grace(Duration::from_secs(seconds))),
        (None, true) => Ok(Rotation::Now),
        (Some(_), true) | (None, false) => Err(invalid("give either 'grace_seconds' or 'now': true")),
    }
}

/// The key to look at.
///
/// # Errors
/// [`AdminError`], without the text.
pub fn key_verify(json: &[u8]) -> Result<Key, AdminError> {
    Key::parse(parse::<VerifyJson>(json)?.key.as_bytes()).map_err(invalid)
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn end(text: &str) -> Result<Timestamp, AdminError> {
    text.parse().map_err(invalid)
}

fn write(json: &impl Serialize) -> Result<Option<Vec<u8>>, AdminError> {
    serde_json::to_vec(json).map(Some).map_err(super::unwritable)
}

/// serde's sentences quote values, and a value may be a secret: only structure is told. serde would also take a list of
/// the members' values.
fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, AdminError> {
    if json.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        return Err(AdminError::invalid(
            "the body was refused: it is no JSON object; docs/api.md lists the members",
        ));
    }
    serde_json::from_slice(json).map_err(|error| {
        let sentence = error.to_string();
        let told = ["unknown field", "missing field", "duplicate field"];
        let reason = match told.iter().any(|start| sentence.starts_with(start)) {
            true => sentence,
            false => format!("it is not the JSON that is expected, near column {}", error.column()),
        };
        AdminError::invalid(format!("the body was refused: {reason}; docs/api.md lists the members"))
    })
}

fn invalid(error: impl std::fmt::Display) -> AdminError {
    AdminError::invalid(error.to_string())
}
