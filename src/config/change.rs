//! What changed between two configurations, by the names of settings. Never: values, and what is done about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ring::digest::{SHA256, digest};

use super::{Config, Setting, table};
use crate::types::{Gather, Secret};

/// What a configuration said, to be compared with a later one. Of a key of a model server it has the digest.
#[derive(Default)]
pub struct Said {
    settings: BTreeMap<Name, String>,
    /// In the order written.
    upstreams: Vec<String>,
}

/// What a setting is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Plain(String),
    /// The model server, and the setting of it.
    Upstream(String, String),
}

impl Name {
    fn needs_restart(&self) -> bool {
        matches!(self, Self::Plain(path) if table::needs_restart(path))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(path) => f.write_str(path),
            Self::Upstream(server, setting) => write!(f, "upstream.{server}.{setting}"),
        }
    }
}

/// The settings that differ, by name: `server.listen`, `upstream.NAME.url`; `upstream.NAME` where a model server came or
/// went, `upstream` when only their order changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that can hold from now on.
    pub live: Vec<String>,
    /// Those that hold after a restart.
    pub restart: Vec<String>,
}

impl Said {
    pub(super) fn by(settings: &[Setting], config: &Config) -> Self {
        let keys: BTreeMap<_, _> = config
            .upstreams
            .iter()
            .filter_map(|upstream| Some((upstream.name.as_str(), fingerprint(upstream.api_key.as_ref()?))))
            .gather();
        let mut servers = BTreeMap::new();
        for setting in settings {
            if let Some((number, "name")) = numbered(&setting.path) {
                servers.insert(number, setting.value.trim().trim_matches('"'));
            }
        }
        let line = |setting: &Setting| {
            let own = numbered(&setting.path);
            let own = own.and_then(|(number, rest)| Some((*servers.get(number)?, rest)));
            let value = match own {
                Some((server, "api_key")) => keys.get(server).cloned().unwrap_or_default(),
                Some(_) | None => setting.value.clone(),
            };
            let plain = || Name::Plain(setting.path.clone());
            let named = |(server, rest): (&str, &str)| Name::Upstream(server.to_string(), rest.to_string());
            (own.map_or_else(plain, named), value)
        };
        let upstreams = config.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        Self { settings: settings.iter().map(line).gather(), upstreams }
    }

    /// What is different now.
    #[must_use]
    pub fn changes(&self, now: &Self) -> Changes {
        let mut live = BTreeSet::new();
        let (before, after) = (self.shared(now), now.shared(self));
        if before != after {
            live.insert("upstream".to_string());
        }
        let came_or_went = |name: &&String| !before.contains(name);
        let moved = self.upstreams.iter().chain(&now.upstreams).filter(came_or_went);
        live.extend(moved.map(|name| format!("upstream.{name}")));
        let stays = |name: &&&Name| match name {
            Name::Plain(_) => true,
            Name::Upstream(server, _) => before.contains(&server),
        };
        let all: BTreeSet<&Name> = self.settings.keys().chain(now.settings.keys()).gather();
        let differ = all.iter().filter(|name| self.settings.get(**name) != now.settings.get(**name));
        let (restart, rest): (Vec<&Name>, Vec<&Name>) =
            differ.filter(stays).copied().partition(|name| name.needs_restart());
        live.extend(rest.iter().map(ToString::to_string));
        Changes {
            live: live.into_iter().collect(),
            restart: restart.iter().map(ToString::to_string).collect(),
        }
    }

    /// The model servers that are in the other, too, in the order they have here.
    fn shared<'a>(&'a self, other: &Self) -> Vec<&'a String> {
        self.upstreams.iter().filter(|name| other.upstreams.contains(name)).collect()
    }

    /// What holds once this took the place of `old` without a restart.
    #[must_use]
    pub fn over(mut self, old: &Self) -> Self {
        for (name, value) in old.settings.iter().filter(|(name, _)| name.needs_restart()) {
            self.settings.insert(name.clone(), value.clone());
        }
        self
    }
}

/// The number of a model server and what is said of it, in a path like `upstream.0.url`.
fn numbered(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("upstream.")?.split_once('.')
}

fn fingerprint(key: &Secret) -> String {
    digest(&SHA256, key.expose().as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
