//! The bytes of accounts, keys and events on disk: a version, then postcard (its wire format is specified and
//! frozen at 1.0). A changed record gets a new version and the old one stays readable here. Never: rules.

pub(super) mod people;

use serde::{Deserialize, Serialize};

use crate::store::{Table, Trouble};
use crate::types::{
    Account, AccountId, AccountStatus, Actor, Environment, EventId, KeyDigest, KeyHint, KeyId, KeyRecord,
    KeySecret, KeyStanding, ModelId, ModelScope, Role, Timestamp, TokenId,
};

use super::audit::{Action, Event};
use super::table::{ACCOUNTS, AUDIT, KEYS};

const VERSION_1: u8 = 1;

#[derive(Serialize, Deserialize)]
struct AccountV1 {
    email: String,
    name: Option<String>,
    admin: bool,
    status: u8,
    created_at: i64,
}

#[derive(Serialize, Deserialize)]
struct KeyV1 {
    account: [u8; 16],
    name: String,
    environment: u8,
    models: Option<Vec<String>>,
    secrets: Vec<SecretV1>,
    standing: StandingV1,
    created_at: i64,
    expires_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct SecretV1 {
    digest: [u8; 32],
    hint: [u8; 4],
    created_at: i64,
    valid_until: Option<i64>,
}

#[derive(Serialize, Deserialize)]
enum StandingV1 {
    Active,
    Disabled,
    Revoked { at: i64, reason: Option<String> },
}

#[derive(Serialize, Deserialize)]
struct EventV1 {
    at: i64,
    actor: ActorV1,
    action: String,
    target: [u8; 16],
    detail: String,
}

#[derive(Serialize, Deserialize)]
enum ActorV1 {
    Machine { uid: u32 },
    Person { account: [u8; 16], admin: bool },
    Ember,
    Token { token: [u8; 16] },
}

impl ActorV1 {
    fn of(actor: Actor) -> Self {
        match actor {
            Actor::Machine { uid } => Self::Machine { uid },
            Actor::Person { account, admin } => Self::Person { account: *account.as_bytes(), admin },
            Actor::Token { token } => Self::Token { token: *token.as_bytes() },
            Actor::Ember => Self::Ember,
        }
    }

    fn read(self) -> Option<Actor> {
        Some(match self {
            Self::Machine { uid } => Actor::Machine { uid },
            Self::Person { account, admin } => {
                Actor::Person { account: AccountId::from_bytes(&account)?, admin }
            }
            Self::Token { token } => Actor::Token { token: TokenId::from_bytes(&token)? },
            Self::Ember => Actor::Ember,
        })
    }
}

pub(super) fn encode_account(account: &Account) -> Vec<u8> {
    encode(&AccountV1 {
        email: account.email.as_str().to_string(),
        name: account.name.as_ref().map(|name| name.as_str().to_string()),
        admin: account.role == Role::Admin,
        status: match account.status {
            AccountStatus::Active => 0,
            AccountStatus::Disabled => 1,
            AccountStatus::Deleted => 2,
        },
        created_at: account.created_at.as_millis(),
    })
}

pub(super) fn decode_account(id: &[u8], bytes: &[u8]) -> Result<Account, Trouble> {
    let read = || {
        let record: AccountV1 = decode(bytes)?;
        Some(Account {
            id: AccountId::from_bytes(id)?,
            email: record.email.parse().ok()?,
            name: record.name.map(|name| name.parse()).transpose().ok()?,
            role: if record.admin { Role::Admin } else { Role::Member },
            status: match record.status {
                0 => AccountStatus::Active,
                1 => AccountStatus::Disabled,
                2 => AccountStatus::Deleted,
                _ => return None,
            },
            created_at: Timestamp::from_millis(record.created_at),
        })
    };
    read().ok_or_else(|| damaged(ACCOUNTS))
}

pub(super) fn encode_key(key: &KeyRecord) -> Vec<u8> {
    encode(&KeyV1 {
        account: *key.account.as_bytes(),
        name: key.name.as_str().to_string(),
        environment: match key.environment {
            Environment::Dev => 0,
            Environment::Staging => 1,
            Environment::Prod => 2,
        },
        models: match &key.models {
            ModelScope::All => None,
            ModelScope::Only(models) => Some(models.iter().map(|model| model.as_str().to_string()).collect()),
        },
        secrets: key.secrets.iter().map(encode_secret).collect(),
        standing: match &key.standing {
            KeyStanding::Active => StandingV1::Active,
            KeyStanding::Disabled => StandingV1::Disabled,
            KeyStanding::Revoked { at, reason } => {
                StandingV1::Revoked { at: at.as_millis(), reason: reason.clone() }
            }
        },
        created_at: key.created_at.as_millis(),
        expires_at: key.expires_at.map(Timestamp::as_millis),
    })
}

pub(super) fn decode_key(id: &[u8], bytes: &[u8]) -> Result<KeyRecord, Trouble> {
    let read = || {
        let record: KeyV1 = decode(bytes)?;
        Some(KeyRecord {
            id: KeyId::from_bytes(id)?,
            account: AccountId::from_bytes(&record.account)?,
            name: record.name.parse().ok()?,
            environment: *Environment::ALL.get(usize::from(record.environment))?,
            models: decode_scope(record.models)?,
            secrets: record.secrets.into_iter().map(decode_secret).collect::<Option<_>>()?,
            standing: match record.standing {
                StandingV1::Active => KeyStanding::Active,
                StandingV1::Disabled => KeyStanding::Disabled,
                StandingV1::Revoked { at, reason } => {
                    KeyStanding::Revoked { at: Timestamp::from_millis(at), reason }
                }
            },
            created_at: Timestamp::from_millis(record.created_at),
            expires_at: record.expires_at.map(Timestamp::from_millis),
        })
    };
    read().ok_or_else(|| damaged(KEYS))
}

pub(super) fn encode_event(event: &Event) -> Vec<u8> {
    encode(&EventV1 {
        at: event.at.as_millis(),
        actor: ActorV1::of(event.actor),
        action: event.action.as_str().to_string(),
        target: event.target,
        detail: event.detail.clone(),
    })
}

pub(super) fn decode_event(id: &[u8], bytes: &[u8]) -> Result<Event, Trouble> {
    let read = || {
        let record: EventV1 = decode(bytes)?;
        Some(Event {
            id: EventId::from_bytes(id)?,
            at: Timestamp::from_millis(record.at),
            actor: record.actor.read()?,
            action: Action::from_word(&record.action)?,
            target: record.target,
            detail: record.detail,
        })
    };
    read().ok_or_else(|| damaged(AUDIT))
}

fn encode_secret(secret: &KeySecret) -> SecretV1 {
    SecretV1 {
        digest: *secret.digest.as_bytes(),
        hint: *secret.hint.as_bytes(),
        created_at: secret.created_at.as_millis(),
        valid_until: secret.valid_until.map(Timestamp::as_millis),
    }
}

fn decode_secret(secret: SecretV1) -> Option<KeySecret> {
    Some(KeySecret {
        digest: KeyDigest::from_bytes(secret.digest),
        hint: KeyHint::from_bytes(secret.hint)?,
        created_at: Timestamp::from_millis(secret.created_at),
        valid_until: secret.valid_until.map(Timestamp::from_millis),
    })
}

fn decode_scope(models: Option<Vec<String>>) -> Option<ModelScope> {
    match models {
        None => Some(ModelScope::All),
        Some(models) => {
            let models = models.iter().map(|model| model.parse::<ModelId>().ok());
            models.collect::<Option<_>>().map(ModelScope::Only)
        }
    }
}

fn encode(record: &impl Serialize) -> Vec<u8> {
    // Serialising plain data into memory has no way to fail; an empty record would be found as damaged.
    postcard::to_extend(record, vec![VERSION_1]).unwrap_or_default()
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match bytes.split_first()? {
        (&VERSION_1, body) => match postcard::take_from_bytes(body).ok()? {
            (record, []) => Some(record),
            _ => None,
        },
        _ => None,
    }
}

fn damaged(table: Table) -> Trouble {
    Trouble::Damaged { table: table.0 }
}
