//! The bytes of policies in the records of accounts and keys. Never: rules.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::types::{
    AddressScope, Gather, Limit, LimitKind, Limits, ModelId, ModelScope, Policy, RouteName, RouteScope,
    network,
};

/// A policy less its models, which the first version of a key had already.
#[derive(Serialize, Deserialize)]
pub(super) struct PolicyV1 {
    routes: Option<Vec<u8>>,
    /// As people write them.
    addresses: Option<Vec<String>>,
    /// Kind and limit, of those that are not the configuration's; 0 is none at all.
    limits: Vec<(u8, u64)>,
}

impl PolicyV1 {
    pub(super) fn of(policy: &Policy) -> Self {
        let routes = match &policy.routes {
            RouteScope::All => None,
            RouteScope::Only(routes) => Some(routes.iter().map(|route| route_number(*route)).collect()),
        };
        let limit = |(kind, limit): (LimitKind, Limit)| match limit {
            Limit::Default => None,
            Limit::Unlimited => Some((kind_number(kind), 0)),
            Limit::Max(max) => Some((kind_number(kind), max.get())),
        };
        Self {
            routes,
            addresses: policy.addresses.names(),
            limits: policy.limits.each().filter_map(limit).collect(),
        }
    }

    pub(super) fn read(self, models: ModelScope) -> Option<Policy> {
        let routes = match self.routes {
            None => RouteScope::All,
            Some(numbers) => RouteScope::Only(
                numbers.into_iter().map(|number| route_of(number).ok_or(())).try_gather().ok()?,
            ),
        };
        let addresses = match self.addresses {
            None => AddressScope::All,
            Some(texts) => AddressScope::Only(texts.iter().map(|text| network(text)).try_gather().ok()?),
        };
        let mut limits = Limits::default();
        for (kind, number) in self.limits {
            limits.set(kind_of(kind)?, NonZeroU64::new(number).map_or(Limit::Unlimited, Limit::Max));
        }
        Some(Policy { models, routes, addresses, limits })
    }
}

pub(super) fn read_models(models: Option<Vec<String>>) -> Option<ModelScope> {
    match models {
        None => Some(ModelScope::All),
        Some(models) => {
            let models = models.iter().map(|model| model.parse::<ModelId>());
            models.try_gather().ok().map(ModelScope::Only)
        }
    }
}

/// Numbers on disk never change.
const fn route_number(route: RouteName) -> u8 {
    match route {
        RouteName::Models => 0,
        RouteName::ChatCompletions => 1,
        RouteName::Completions => 2,
        RouteName::Embeddings => 3,
        RouteName::Responses => 4,
    }
}

fn route_of(number: u8) -> Option<RouteName> {
    RouteName::ALL.into_iter().find(|route| route_number(*route) == number)
}

/// Numbers on disk never change.
const fn kind_number(kind: LimitKind) -> u8 {
    match kind {
        LimitKind::RequestsPerMinute => 0,
        LimitKind::TokensPerMinute => 1,
        LimitKind::ConcurrentRequests => 2,
        LimitKind::RequestsPerDay => 3,
        LimitKind::TokensPerDay => 4,
        LimitKind::TokensPerWeek => 5,
        LimitKind::TokensPerMonth => 6,
        LimitKind::TokensTotal => 7,
    }
}

fn kind_of(number: u8) -> Option<LimitKind> {
    LimitKind::ALL.into_iter().find(|kind| kind_number(*kind) == number)
}
