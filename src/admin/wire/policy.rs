//! A policy as JSON: what may be used, from where, and how much. Never: whose it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::types::{
    AddressScope, Gather, Limit, LimitKind, ModelId, ModelScope, Policy, PolicyChanges, RouteName,
    RouteScope, network,
};

/// A limit: a number, the word `unlimited`, or null for the configuration's.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum LimitJson {
    Max(u64),
    Word(String),
}

/// By kind. In answers only those that are not the configuration's.
pub(super) type LimitsJson = BTreeMap<String, Option<LimitJson>>;

/// The members of a policy, in the documents of keys and accounts. Null is all.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PolicyJson {
    #[serde(default)]
    pub(super) models: Option<Vec<String>>,
    #[serde(default)]
    pub(super) routes: Option<Vec<String>>,
    #[serde(default)]
    pub(super) addresses: Option<Vec<String>>,
    #[serde(default)]
    pub(super) limits: LimitsJson,
}

/// What is absent stays; null is all.
#[derive(Default)]
pub(super) struct PolicyChangesJson {
    pub(super) models: Option<Option<Vec<String>>>,
    pub(super) routes: Option<Option<Vec<String>>>,
    pub(super) addresses: Option<Option<Vec<String>>>,
    pub(super) limits: LimitsJson,
}

impl PolicyJson {
    pub(super) fn of(policy: &Policy) -> Self {
        let chosen = policy.limits.each().filter(|(_, limit)| *limit != Limit::Default);
        Self {
            models: policy.models.names(),
            routes: policy.routes.names(),
            addresses: policy.addresses.names(),
            limits: chosen.map(limit_member).gather(),
        }
    }

    pub(super) fn read(self) -> Result<Policy, String> {
        let changes = PolicyChangesJson {
            models: Some(self.models),
            routes: Some(self.routes),
            addresses: Some(self.addresses),
            limits: self.limits,
        };
        Ok(changes.read()?.applied_to(&Policy::default()))
    }
}

impl PolicyChangesJson {
    pub(super) fn of(changes: &PolicyChanges) -> Self {
        Self {
            models: changes.models.as_ref().map(ModelScope::names),
            routes: changes.routes.as_ref().map(RouteScope::names),
            addresses: changes.addresses.as_ref().map(AddressScope::names),
            limits: changes.limits.iter().copied().map(limit_member).gather(),
        }
    }

    /// # Errors
    /// A sentence that names the member at fault.
    pub(super) fn read(self) -> Result<PolicyChanges, String> {
        Ok(PolicyChanges {
            models: self.models.map(models).transpose()?,
            routes: self.routes.map(routes).transpose()?,
            addresses: self.addresses.map(addresses).transpose()?,
            limits: self.limits.into_iter().map(limit).try_gather()?,
        })
    }
}

fn limit_member((kind, limit): (LimitKind, Limit)) -> (String, Option<LimitJson>) {
    let json = match limit {
        Limit::Default => None,
        Limit::Unlimited => Some(LimitJson::Word(limit.to_string())),
        Limit::Max(max) => Some(LimitJson::Max(max.get())),
    };
    (kind.to_string(), json)
}

fn limit((kind, limit): (String, Option<LimitJson>)) -> Result<(LimitKind, Limit), String> {
    let kind: LimitKind = kind.parse().map_err(|error| format!("in 'limits': {error}"))?;
    let limit = match limit {
        None => Ok(Limit::Default),
        Some(LimitJson::Max(number)) => Limit::max(number),
        // In JSON a number is a number.
        Some(LimitJson::Word(word)) => word.parse().and_then(|limit| match limit {
            Limit::Max(_) => Err(crate::types::LimitError),
            Limit::Default | Limit::Unlimited => Ok(limit),
        }),
    };
    Ok((kind, limit.map_err(|error| format!("'limits.{kind}': {error}"))?))
}

fn models(names: Option<Vec<String>>) -> Result<ModelScope, String> {
    let Some(names) = names else { return Ok(ModelScope::All) };
    let read = names.iter().map(|name| name.parse::<ModelId>()).try_gather();
    read.map(ModelScope::Only).map_err(|error: crate::types::ModelIdError| format!("in 'models': {error}"))
}

fn routes(names: Option<Vec<String>>) -> Result<RouteScope, String> {
    let Some(names) = names else { return Ok(RouteScope::All) };
    let read = names.iter().map(|name| name.parse::<RouteName>()).try_gather();
    read.map(RouteScope::Only).map_err(|error: crate::types::UnknownRoute| format!("in 'routes': {error}"))
}

fn addresses(texts: Option<Vec<String>>) -> Result<AddressScope, String> {
    let Some(texts) = texts else { return Ok(AddressScope::All) };
    let read = texts.iter().map(|text| network(text)).try_gather();
    read.map(AddressScope::Only).map_err(|error| format!("in 'addresses': {error}"))
}
