//! The metrics that requests of one kind touch, found with one look-up. Never: what is counted, in which buckets.

use std::hash::{Hash, Hasher};
use std::sync::{OnceLock, PoisonError, RwLock};

use hashbrown::HashTable;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use rustc_hash::FxHasher;

use super::names::Name;
use super::request::{Ended, GenAi, Model};
use crate::types::Ending;

/// What is kept of requests that have all labels in common.
#[derive(Debug)]
pub(super) struct Case {
    labels: Labels,
    pub(super) model: Name,
    pub(super) upstream: Name,
    pub(super) requests: Counter,
    pub(super) error: Option<Counter>,
    /// By kind, as reported and as estimated; each made when the first is counted.
    pub(super) tokens: [[OnceLock<Counter>; 3]; 2],
    pub(super) queue_wait: OnceLock<Histogram>,
    /// None of what no model server answers.
    pub(super) times: Option<Times>,
}

/// How long a model server's answers took.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) of: GenAi,
    pub(super) duration: Histogram,
    pub(super) first_token: OnceLock<Histogram>,
    pub(super) per_token: OnceLock<Histogram>,
}

/// All that decides which metrics a request touches.
#[derive(Debug)]
struct Labels {
    route: &'static str,
    operation: Option<&'static str>,
    model: Asked,
    upstream: Option<Box<str>>,
    status: Option<u16>,
    code: Option<&'static str>,
    ending: Ending,
}

/// A [`Model`] of one's own.
#[derive(Debug)]
enum Asked {
    None,
    Known(Box<str>),
    Unknown,
}

impl Labels {
    fn of(ended: &Ended<'_>) -> Self {
        let model = match ended.model {
            Model::None => Asked::None,
            Model::Known(name) => Asked::Known(name.into()),
            Model::Unknown => Asked::Unknown,
        };
        let Ended { route, operation, upstream, status, code, ending, .. } = *ended;
        Self { route, operation, model, upstream: upstream.map(Into::into), status, code, ending }
    }

    fn are_of(&self, ended: &Ended<'_>) -> bool {
        let is_model = match (&self.model, ended.model) {
            (Asked::None, Model::None) | (Asked::Unknown, Model::Unknown) => true,
            (Asked::Known(known), Model::Known(name)) => **known == *name,
            (Asked::None | Asked::Known(_) | Asked::Unknown, _) => false,
        };
        is_model
            && self.upstream.as_deref() == ended.upstream
            && self.status == ended.status
            && self.ending == ended.ending
            && self.code == ended.code
            && self.route == ended.route
            && self.operation == ended.operation
    }
}

/// None of it is a caller's to choose: names are the configuration's or a catalogue's, all else is Ember's own. So a hash
/// that is quick is good enough, and what it leaves out (`operation` follows from `route`) is compared.
fn hash(ended: &Ended<'_>) -> u64 {
    let mut hasher = FxHasher::default();
    match ended.model {
        Model::None => hasher.write_u8(0),
        Model::Known(name) => name.hash(&mut hasher),
        Model::Unknown => hasher.write_u8(1),
    }
    ended.upstream.hash(&mut hasher);
    ended.route.hash(&mut hasher);
    ended.code.hash(&mut hasher);
    hasher.write_u16(ended.status.unwrap_or_default());
    ended.ending.hash(&mut hasher);
    hasher.finish()
}

/// The cases that came, up to a bound.
#[derive(Debug)]
pub(super) struct Cases {
    known: RwLock<HashTable<(u64, Case)>>,
    cases_max: usize,
}

impl Cases {
    pub(super) fn new(cases_max: usize) -> Self {
        Self { known: RwLock::default(), cases_max }
    }

    /// Calls with the case of a request. One that came too late to be kept is made anew each time: what it leads to is
    /// the same.
    pub(super) fn with(&self, ended: &Ended<'_>, make: impl FnOnce() -> Case, call: impl FnOnce(&Case)) {
        let hash = hash(ended);
        let is_full = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, case)) = known.find(hash, |(_, case)| case.labels.are_of(ended)) {
                return call(case);
            }
            known.len() >= self.cases_max
        };
        let case = make();
        call(&case);
        if is_full {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = known.find(hash, |(_, case)| case.labels.are_of(ended)).is_none();
        if is_new && known.len() < self.cases_max {
            known.insert_unique(hash, (hash, case), |(hash, _)| *hash);
        }
    }
}

impl Case {
    pub(super) fn new(
        ended: &Ended<'_>,
        (model, upstream): (Name, Name),
        (requests, error): (Counter, Option<Counter>),
        times: Option<Times>,
    ) -> Self {
        let (tokens, queue_wait) = Default::default();
        Self { labels: Labels::of(ended), model, upstream, requests, error, tokens, queue_wait, times }
    }
}

#[cfg(test)]
impl Cases {
    pub(super) fn len(&self) -> usize {
        self.known.read().unwrap().len()
    }
}
