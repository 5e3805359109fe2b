//! The bytes of accounts, keys and events on disk: a version, then postcard (its wire format is specified and
//! frozen at 1.0). A changed record gets a new version and the old one stays readable here. Never: rules.

pub(super) mod event;
pub(super) mod people;
mod policy;

use serde::{Deserialize, Serialize};

use crate::store::{Table, Trouble};
use crate::types::{
    Account, AccountId, AccountStatus, Actor, Environment, KeyDigest, KeyHint, KeyId, KeyRecord, KeySecret,
    KeyStanding, Policy, Role, Timestamp, TokenId, Weight,
};

use super::table::{ACCOUNTS, KEYS};

use policy::{PolicyV1, read_models};

const VERSION_1: u8 = 1;
const VERSION_2: u8 = 2;

#[derive(Serialize, Deserialize)]
struct AccountV1 {
    email: String,
    name: Option<String>,
    admin: bool,
    status: u8,
    created_at: i64,
}

/// Since accounts have a policy.
#[derive(Serialize, Deserialize)]
struct AccountV2 {
    first: AccountV1,
    models: Option<Vec<String>>,
    policy: PolicyV1,
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

/// Since keys have more of a policy than their models.
#[derive(Serialize, Deserialize)]
struct KeyV2 {
    first: KeyV1,
    policy: PolicyV1,
    allow_browser: bool,
    weight: u8,
    expiry_met: bool,
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
enum ActorV1 {
    Machine { uid: u32 },
    Person { account: [u8; 16], admin: bool },
    Ember,
    Token { token: [u8; 16] },
    Key { key: [u8; 16] },
}

impl ActorV1 {
    fn of(actor: Actor) -> Self {
        match actor {
            Actor::Machine { uid } => Self::Machine { uid },
            Actor::Person { account, admin } => Self::Person { account: *account.as_bytes(), admin },
            Actor::Token { token } => Self::Token { token: *token.as_bytes() },
            Actor::Key { key } => Self::Key { key: *key.as_bytes() },
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
            Self::Key { key } => Actor::Key { key: KeyId::from_bytes(&key)? },
            Self::Ember => Actor::Ember,
        })
    }
}

pub(super) fn encode_account(account: &Account) -> Vec<u8> {
    let first = AccountV1 {
        email: account.email.as_str().to_string(),
        name: account.name.as_ref().map(|name| name.as_str().to_string()),
        admin: account.role == Role::Admin,
        status: match account.status {
            AccountStatus::Active => 0,
            AccountStatus::Disabled => 1,
            AccountStatus::Deleted => 2,
        },
        created_at: account.created_at.as_millis(),
    };
    let policy = PolicyV1::of(&account.policy);
    encode_as(VERSION_2, &AccountV2 { first, models: account.policy.models.names(), policy })
}

pub(super) fn decode_account(id: &[u8], bytes: &[u8]) -> Result<Account, Trouble> {
    let read = || {
        let (record, policy) = match version(bytes)? {
            VERSION_1 => (decode(bytes)?, Policy::default()),
            _ => {
                let record: AccountV2 = decode_as(VERSION_2, bytes)?;
                (record.first, record.policy.read(read_models(record.models)?)?)
            }
        };
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
            policy,
            created_at: Timestamp::from_millis(record.created_at),
        })
    };
    read().ok_or_else(|| damaged(ACCOUNTS))
}

pub(super) fn encode_key(key: &KeyRecord) -> Vec<u8> {
    let first = KeyV1 {
        account: *key.account.as_bytes(),
        name: key.name.as_str().to_string(),
        environment: match key.environment {
            Environment::Dev => 0,
            Environment::Staging => 1,
            Environment::Prod => 2,
        },
        models: key.policy.models.names(),
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
    };
    let record = KeyV2 {
        first,
        policy: PolicyV1::of(&key.policy),
        allow_browser: key.allow_browser,
        weight: key.weight.get(),
        expiry_met: key.expiry_met,
    };
    encode_as(VERSION_2, &record)
}

pub(super) fn decode_key(id: &[u8], bytes: &[u8]) -> Result<KeyRecord, Trouble> {
    let read = || match version(bytes)? {
        VERSION_1 => {
            let mut first: KeyV1 = decode(bytes)?;
            let policy = Policy { models: read_models(first.models.take())?, ..Policy::default() };
            read_key(id, first, policy)
        }
        _ => {
            let KeyV2 { mut first, policy, allow_browser, weight, expiry_met } = decode_as(VERSION_2, bytes)?;
            let policy = policy.read(read_models(first.models.take())?)?;
            let weight = Weight::new(u64::from(weight)).ok()?;
            Some(KeyRecord { allow_browser, weight, expiry_met, ..read_key(id, first, policy)? })
        }
    };
    read().ok_or_else(|| damaged(KEYS))
}

fn read_key(id: &[u8], record: KeyV1, policy: Policy) -> Option<KeyRecord> {
    Some(KeyRecord {
        id: KeyId::from_bytes(id)?,
        account: AccountId::from_bytes(&record.account)?,
        name: record.name.parse().ok()?,
        environment: *Environment::ALL.get(usize::from(record.environment))?,
        policy,
        allow_browser: false,
        weight: Weight::default(),
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
        expiry_met: false,
    })
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

fn encode(record: &impl Serialize) -> Vec<u8> {
    encode_as(VERSION_1, record)
}

fn encode_as(version: u8, record: &impl Serialize) -> Vec<u8> {
    // Serialising plain data into memory has no way to fail; an empty record would be found as damaged.
    postcard::to_extend(record, vec![version]).unwrap_or_default()
}

fn version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    decode_as(VERSION_1, bytes)
}

fn decode_as<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Option<T> {
    match bytes.split_first()? {
        (found, body) if *found == version => match postcard::take_from_bytes(body).ok()? {
            (record, []) => Some(record),
            _ => None,
        },
        _ => None,
    }
}

fn damaged(table: Table) -> Trouble {
    Trouble::Damaged { table: table.0 }
}
