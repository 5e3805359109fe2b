//! What a key or an account may use, from where, and how much. Never: who decides it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Gather, Limit, LimitKind, Limits, ModelScope};

/// A group of routes under /v1, by what a caller does with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteName {
    /// `GET /v1/models` and one of them.
    Models,
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/responses`.
    Responses,
}

impl RouteName {
    /// Every group, in the order people list them.
    pub const ALL: [Self; 5] =
        [Self::Models, Self::ChatCompletions, Self::Completions, Self::Embeddings, Self::Responses];

    /// The word: the path without its beginning.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::ChatCompletions => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
        }
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word names no routes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no route; there are models, chat/completions, completions, embeddings and responses")]
pub struct UnknownRoute(pub String);

impl FromStr for RouteName {
    type Err = UnknownRoute;

    fn from_str(text: &str) -> Result<Self, UnknownRoute> {
        let mut all = Self::ALL.into_iter();
        all.find(|route| route.as_str() == text).ok_or_else(|| UnknownRoute(text.to_string()))
    }
}

/// The routes that may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RouteScope {
    /// Every route there is.
    #[default]
    All,
    /// These; one at least.
    Only(BTreeSet<RouteName>),
}

impl RouteScope {
    /// Whether `route` is among them.
    #[must_use]
    pub fn allows(&self, route: RouteName) -> bool {
        match self {
            Self::All => true,
            Self::Only(routes) => routes.contains(&route),
        }
    }
}

/// The addresses that requests may come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AddressScope {
    /// Any.
    #[default]
    All,
    /// Those in these networks; one at least.
    Only(BTreeSet<IpNet>),
}

impl AddressScope {
    /// Whether `address` is among them. An IPv4 address in IPv6's dress counts as what it is.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Only(networks) => {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address or network; write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")]
pub struct NetworkError(pub String);

/// An address or a network (RFC 4632, RFC 4291 2.3); bits behind the network's length are dropped, and an IPv4 network in
/// IPv6's dress counts as what it is.
///
/// # Errors
/// [`NetworkError`] with the text.
pub fn network(text: &str) -> Result<IpNet, NetworkError> {
    let single = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    let found = single().or_else(|| text.parse::<IpNet>().ok().map(|network| unmapped(network.trunc())));
    found.ok_or_else(|| NetworkError(text.to_string()))
}

fn unmapped(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpAddr::V4(plain) = network.addr().to_canonical() else { return network };
    let bits = match network {
        IpNet::V4(_) => return network,
        IpNet::V6(mapped) => mapped.prefix_len(),
    };
    let plain = bits.checked_sub(MAPPED_BITS).and_then(|bits| IpNet::new(plain.into(), bits).ok());
    plain.unwrap_or(network)
}

/// How much of a queue's turns a key gets beside others: one of weight 2 is served twice as often as one of weight 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight(u8);

/// The number is no weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a weight is a number from 1 to 100")]
pub struct WeightError;

impl Weight {
    /// A weight of 1 to 100.
    ///
    /// # Errors
    /// [`WeightError`] outside of that.
    pub fn new(number: u64) -> Result<Self, WeightError> {
        u8::try_from(number).ok().filter(|number| (1..=100).contains(number)).map(Self).ok_or(WeightError)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Weight {
    /// That of most keys: 1.
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Self, WeightError> {
        text.parse::<u64>().map_err(|_| WeightError).and_then(Self::new)
    }
}

/// What may be used, from where, and how much. A request must keep to its key's policy and to its account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The models that may be used.
    pub models: ModelScope,
    /// The routes that may be used.
    pub routes: RouteScope,
    /// Where requests may come from.
    pub addresses: AddressScope,
    /// How much may be used.
    pub limits: Limits,
}

impl Default for Policy {
    /// Everything, from anywhere, within the configuration's limits.
    fn default() -> Self {
        Self {
            models: ModelScope::All,
            routes: RouteScope::All,
            addresses: AddressScope::All,
            limits: Limits::default(),
        }
    }
}

impl From<ModelScope> for Policy {
    /// These models, and nothing else that is not the default.
    fn from(models: ModelScope) -> Self {
        Self { models, ..Self::default() }
    }
}

/// What is to change about a policy; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyChanges {
    /// Other models.
    pub models: Option<ModelScope>,
    /// Other routes.
    pub routes: Option<RouteScope>,
    /// Other addresses.
    pub addresses: Option<AddressScope>,
    /// Other limits, by kind; of one kind the last counts.
    pub limits: Vec<(LimitKind, Limit)>,
}

impl From<ModelScope> for PolicyChanges {
    /// Other models, and nothing else.
    fn from(models: ModelScope) -> Self {
        Self { models: Some(models), ..Self::default() }
    }
}

impl PolicyChanges {
    /// Whether nothing is to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The policy with these changes.
    #[must_use]
    pub fn applied_to(&self, old: &Policy) -> Policy {
        let mut limits = old.limits;
        self.limits.iter().for_each(|(kind, limit)| limits.set(*kind, *limit));
        Policy {
            models: self.models.clone().unwrap_or_else(|| old.models.clone()),
            routes: self.routes.clone().unwrap_or_else(|| old.routes.clone()),
            addresses: self.addresses.clone().unwrap_or_else(|| old.addresses.clone()),
            limits,
        }
    }
}

impl Policy {
    /// What another policy has otherwise, in words: `models: all -> a,b; tokens_per_day: default -> 1000`.
    #[must_use]
    pub fn difference(&self, new: &Self) -> Vec<String> {
        let mut parts = Vec::new();
        let mut lists = |what: &str, old: Option<Vec<String>>, new: Option<Vec<String>>| {
            if old != new {
                parts.push(format!("{what}: {} -> {}", listed(old), listed(new)));
            }
        };
        lists("models", self.models.names(), new.models.names());
        lists("routes", self.routes.names(), new.routes.names());
        lists("addresses", self.addresses.names(), new.addresses.names());
        for (kind, limit) in self.limits.each() {
            let new = new.limits.get(kind);
            if limit != new {
                parts.push(format!("{kind}: {limit} -> {new}"));
            }
        }
        parts
    }
}

/// Longer lists are told by their number: the trail is kept for good.
const LISTED_BYTES_MAX: usize = 2000;

fn listed(names: Option<Vec<String>>) -> String {
    let Some(names) = names else { return "all".to_string() };
    let list = names.join(",");
    if list.len() <= LISTED_BYTES_MAX { list } else { format!("{} of them", names.len()) }
}

impl ModelScope {
    /// The names, if it is not all.
    #[must_use]
    pub fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(models) => Some(models.iter().map(ToString::to_string).collect()),
        }
    }

    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, both) | (both, Self::All) => both.clone(),
            (Self::Only(one), Self::Only(two)) => Self::Only(one.intersection(two).cloned().gather()),
        }
    }
}

impl RouteScope {
    /// The names, if it is not all.
    #[must_use]
    pub fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(routes) => Some(routes.iter().map(ToString::to_string).collect()),
        }
    }
}

impl AddressScope {
    /// The networks, if it is not all; a single address without its length.
    #[must_use]
    pub fn names(&self) -> Option<Vec<String>> {
        let text = |network: &IpNet| match network.prefix_len() == network.max_prefix_len() {
            true => network.addr().to_string(),
            false => network.to_string(),
        };
        match self {
            Self::All => None,
            Self::Only(networks) => Some(networks.iter().map(text).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(networks: &[&str]) -> AddressScope {
        AddressScope::Only(networks.iter().map(|text| network(text).unwrap()).collect())
    }

    #[test]
    fn an_address_is_what_it_is_in_any_dress() {
        let scope = only(&["10.1.2.3/8", "192.0.2.7", "2001:db8::1/32", "::ffff:198.51.100.0/120"]);
        assert_eq!(
            scope.names().unwrap(),
            ["10.0.0.0/8", "192.0.2.7", "198.51.100.0/24", "2001:db8::/32"],
            "what stands in it is what is meant"
        );
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("::ffff:10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("198.51.100.9", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(scope.allows(address.parse().unwrap()), is_in, "{address}");
        }
        assert!(AddressScope::All.allows("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0", "localhost", "2001:db8::/129", "10.0.0.1-10.0.0.9"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn changes_are_told_before_and_after() {
        let old = Policy::default();
        let changes = PolicyChanges {
            addresses: Some(only(&["10.0.0.0/8"])),
            limits: vec![(LimitKind::TokensPerDay, Limit::max(1000).unwrap())],
            ..PolicyChanges::default()
        };
        let new = changes.applied_to(&old);
        assert_eq!(old.difference(&new), ["addresses: all -> 10.0.0.0/8", "tokens_per_day: default -> 1000"]);
        assert!(old.difference(&old).is_empty());
        let many = |last: usize| {
            let names = (0..500).chain([last]).map(|n| format!("model-{n}").parse().unwrap());
            Policy::from(ModelScope::Only(names.collect()))
        };
        assert_eq!(many(501).difference(&many(502)), ["models: 501 of them -> 501 of them"]);
        assert_eq!(PolicyChanges::default().applied_to(&new), new);
    }

    #[test]
    fn both_must_allow_a_model() {
        let some =
            |names: &[&str]| ModelScope::Only(names.iter().map(|name| name.parse().unwrap()).collect());
        assert_eq!(some(&["a", "b"]).and(&some(&["b", "c"])), some(&["b"]));
        assert_eq!(some(&["a"]).and(&ModelScope::All), some(&["a"]));
        assert_eq!(ModelScope::All.and(&some(&["a"])), some(&["a"]));
        assert!(!some(&["a"]).and(&some(&["b"])).allows("a"));
    }
}
