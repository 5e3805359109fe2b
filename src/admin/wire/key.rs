//! A key as JSON, and what a whole key is good for. Never: digests.

use serde::{Deserialize, Serialize};

use crate::admin::{AdminError, KeyDetail, KeyView, SecretView, Verdict};
use crate::gate::{Cut, Stop};
use crate::types::{Key, KeyHint, KeyStatus, Weight};

use super::account::EventJson;
use super::policy::PolicyJson;
use super::trace::TraceJson;
use super::{time, time_or_none, unreadable};

#[derive(Serialize, Deserialize)]
pub(super) struct KeyJson {
    pub(super) id: String,
    object: String,
    name: String,
    account: Option<String>,
    account_id: String,
    environment: String,
    #[serde(flatten)]
    policy: PolicyJson,
    #[serde(default)]
    allow_browser: bool,
    #[serde(default = "usual_weight")]
    weight: u8,
    last4: Option<String>,
    status: String,
    created_at: String,
    expires_at: Option<String>,
    #[serde(default)]
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    revoked_reason: Option<String>,
    secrets: Vec<SecretJson>,
    /// The key itself, in the one answer that has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    history: Option<Vec<EventJson>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    seen: Option<TraceJson>,
}

#[derive(Serialize, Deserialize)]
struct SecretJson {
    last4: String,
    created_at: String,
    valid_until: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct VerdictJson {
    object: String,
    admitted: bool,
    reason: Option<String>,
    record: KeyJson,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeysRevokedJson {
    object: String,
    pub(super) revoked: u64,
}

impl KeysRevokedJson {
    pub(super) fn of(revoked: u64) -> Self {
        Self { object: "keys_revoked".to_string(), revoked }
    }
}

impl KeyJson {
    pub(super) fn of(key: &KeyView) -> Self {
        Self {
            id: key.id.to_string(),
            object: "key".to_string(),
            name: key.name.to_string(),
            account: key.owner.as_ref().map(ToString::to_string),
            account_id: key.account.to_string(),
            environment: key.environment.to_string(),
            policy: PolicyJson::of(&key.policy),
            allow_browser: key.allow_browser,
            weight: key.weight.get(),
            last4: key.last4.map(|last4| last4.to_string()),
            status: key.status.as_str().to_string(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|time| time.to_string()),
            last_used_at: key.last_used_at.map(|time| time.to_string()),
            revoked_at: key.revoked_at.map(|time| time.to_string()),
            revoked_reason: key.revoked_reason.clone(),
            secrets: key.secrets.iter().map(SecretJson::of).collect(),
            key: None,
            history: None,
            seen: None,
        }
    }

    pub(super) fn of_detail(detail: &KeyDetail) -> Self {
        Self {
            history: Some(EventJson::all(&detail.history)),
            seen: Some(TraceJson::of(&detail.trace, detail.spread)),
            ..Self::of(&detail.key)
        }
    }

    /// The only document that has the key itself.
    pub(super) fn of_issued(key: &KeyView, secret: &Key) -> Self {
        Self { key: Some(secret.expose().to_string()), ..Self::of(key) }
    }

    pub(super) fn read(&self) -> Result<KeyView, AdminError> {
        Ok(KeyView {
            id: self.id.parse().map_err(unreadable)?,
            name: self.name.parse().map_err(unreadable)?,
            owner: self.account.as_deref().map(str::parse).transpose().map_err(unreadable)?,
            account: self.account_id.parse().map_err(unreadable)?,
            environment: self.environment.parse().map_err(unreadable)?,
            policy: self.policy.clone().read().map_err(unreadable)?,
            allow_browser: self.allow_browser,
            weight: Weight::new(self.weight.into()).map_err(unreadable)?,
            last4: self.last4.as_deref().map(hint).transpose()?,
            status: status(&self.status).ok_or_else(|| unreadable("no such status"))?,
            created_at: time(&self.created_at)?,
            expires_at: time_or_none(self.expires_at.as_deref())?,
            last_used_at: time_or_none(self.last_used_at.as_deref())?,
            revoked_at: time_or_none(self.revoked_at.as_deref())?,
            revoked_reason: self.revoked_reason.clone(),
            secrets: self.secrets.iter().map(SecretJson::read).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn read_detail(&self) -> Result<KeyDetail, AdminError> {
        let history = EventJson::read_all(self.history.as_deref().unwrap_or_default())?;
        let seen = self.seen.as_ref().map(TraceJson::read).transpose()?;
        let (trace, spread) = seen.unwrap_or_default();
        Ok(KeyDetail { key: self.read()?, history, trace, spread })
    }
}

impl SecretJson {
    fn of(secret: &SecretView) -> Self {
        Self {
            last4: secret.last4.to_string(),
            created_at: secret.created_at.to_string(),
            valid_until: secret.valid_until.map(|time| time.to_string()),
        }
    }

    fn read(&self) -> Result<SecretView, AdminError> {
        Ok(SecretView {
            last4: hint(&self.last4)?,
            created_at: time(&self.created_at)?,
            valid_until: time_or_none(self.valid_until.as_deref())?,
        })
    }
}

impl VerdictJson {
    pub(super) fn of(verdict: &Verdict) -> Self {
        Self {
            object: "verdict".to_string(),
            admitted: verdict.stop.is_none(),
            reason: verdict.stop.map(|stop| stop_word(stop).to_string()),
            record: KeyJson::of(&verdict.key),
        }
    }

    pub(super) fn read(&self) -> Result<Verdict, AdminError> {
        let stop = |word: &String| stop_of(word).ok_or_else(|| unreadable("no such reason"));
        Ok(Verdict { key: self.record.read()?, stop: self.reason.as_ref().map(stop).transpose()? })
    }
}

fn usual_weight() -> u8 {
    Weight::default().get()
}

/// The status a word names.
pub(super) fn status(word: &str) -> Option<KeyStatus> {
    KeyStatus::ALL.into_iter().find(|status| status.as_str() == word)
}

const STOPS: [Stop; 5] = [
    Stop::Cut(Cut::Revoked),
    Stop::Cut(Cut::Disabled),
    Stop::Cut(Cut::Replaced),
    Stop::Cut(Cut::AccountDisabled),
    Stop::Expired,
];

const fn stop_word(stop: Stop) -> &'static str {
    match stop {
        Stop::Cut(Cut::Revoked) => "revoked",
        Stop::Cut(Cut::Disabled) => "disabled",
        Stop::Cut(Cut::Replaced) => "replaced",
        Stop::Cut(Cut::AccountDisabled) => "account_disabled",
        Stop::Expired => "expired",
    }
}

fn stop_of(word: &str) -> Option<Stop> {
    STOPS.into_iter().find(|stop| stop_word(*stop) == word)
}

pub(super) fn hint(text: &str) -> Result<KeyHint, AdminError> {
    let bytes = text.as_bytes().try_into().ok();
    bytes.and_then(KeyHint::from_bytes).ok_or_else(|| unreadable("these are no last four characters"))
}
