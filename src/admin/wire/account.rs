//! An account and a line of history as JSON. Never: anything else.

use serde::{Deserialize, Serialize};

use crate::admin::{AccountDetail, AdminError, HistoryLine};
use crate::types::{Account, AccountStatus, Actor, Role};

use super::policy::PolicyJson;
use super::{time, unreadable};

#[derive(Serialize, Deserialize)]
pub(super) struct AccountJson {
    pub(super) id: String,
    object: String,
    email: String,
    name: Option<String>,
    role: String,
    status: String,
    #[serde(flatten)]
    policy: PolicyJson,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    history: Option<Vec<EventJson>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EventJson {
    pub(super) id: String,
    object: String,
    #[serde(default)]
    sequence: Option<u64>,
    at: String,
    #[serde(default)]
    origin: Option<String>,
    actor: String,
    #[serde(default)]
    actor_name: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    target_name: String,
    action: String,
    detail: String,
}

impl AccountJson {
    pub(super) fn of(account: &Account) -> Self {
        Self {
            id: account.id.to_string(),
            object: "account".to_string(),
            email: account.email.to_string(),
            name: account.name.as_ref().map(ToString::to_string),
            role: account.role.as_str().to_string(),
            status: account.status.as_str().to_string(),
            policy: PolicyJson::of(&account.policy),
            created_at: account.created_at.to_string(),
            history: None,
        }
    }

    pub(super) fn of_detail(detail: &AccountDetail) -> Self {
        Self { history: Some(EventJson::all(&detail.history)), ..Self::of(&detail.account) }
    }

    pub(super) fn read(&self) -> Result<Account, AdminError> {
        Ok(Account {
            id: self.id.parse().map_err(unreadable)?,
            email: self.email.parse().map_err(unreadable)?,
            name: self.name.as_deref().map(str::parse).transpose().map_err(unreadable)?,
            role: role(&self.role).ok_or_else(|| unreadable("no such role"))?,
            status: status(&self.status).ok_or_else(|| unreadable("no such status"))?,
            policy: self.policy.clone().read().map_err(unreadable)?,
            created_at: time(&self.created_at)?,
        })
    }

    pub(super) fn read_detail(&self) -> Result<AccountDetail, AdminError> {
        let history = EventJson::read_all(self.history.as_deref().unwrap_or_default())?;
        Ok(AccountDetail { account: self.read()?, history })
    }
}

impl EventJson {
    pub(super) fn all(lines: &[HistoryLine]) -> Vec<Self> {
        lines.iter().map(Self::of).collect()
    }

    pub(super) fn of(line: &HistoryLine) -> Self {
        Self {
            id: line.id.to_string(),
            object: "event".to_string(),
            sequence: line.sequence,
            at: line.at.to_string(),
            origin: Some(line.origin.to_string()).filter(|origin| !origin.is_empty()),
            actor: line.actor.clone(),
            actor_name: line.actor_name.clone(),
            target: line.target.clone(),
            target_name: line.target_name.clone(),
            action: line.action.clone(),
            detail: line.detail.clone(),
        }
    }

    pub(super) fn read_all(events: &[Self]) -> Result<Vec<HistoryLine>, AdminError> {
        let one = |event: &Self| {
            Ok(HistoryLine {
                id: event.id.parse().map_err(unreadable)?,
                sequence: event.sequence,
                at: time(&event.at)?,
                origin: event.origin.as_deref().unwrap_or_default().parse().map_err(unreadable)?,
                actor: event.actor.clone(),
                actor_name: event.actor_name.clone(),
                target: event.target.clone(),
                target_name: event.target_name.clone(),
                action: event.action.clone(),
                detail: event.detail.clone(),
            })
        };
        events.iter().map(one).collect()
    }
}

/// The actor that an id names. Whether a person was an administrator then is not told.
pub(super) fn actor(text: &str) -> Result<Actor, AdminError> {
    let uid = text.strip_prefix("uid:").and_then(|uid| uid.parse().ok());
    let account = text.parse().ok().map(|account| Actor::Person { account, admin: false });
    let token = text.parse().ok().map(|token| Actor::Token { token });
    let key = text.parse().ok().map(|key| Actor::Key { key });
    let ember = (text == "ember").then_some(Actor::Ember);
    let machine = uid.map(|uid| Actor::Machine { uid });
    machine.or(account).or(token).or(key).or(ember).ok_or_else(|| unreadable("no such actor"))
}

/// The role a word names.
pub(super) fn role(word: &str) -> Option<Role> {
    [Role::Member, Role::Admin].into_iter().find(|role| role.as_str() == word)
}

fn status(word: &str) -> Option<AccountStatus> {
    let all = [AccountStatus::Active, AccountStatus::Disabled, AccountStatus::Deleted];
    all.into_iter().find(|status| status.as_str() == word)
}
