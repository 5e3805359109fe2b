//! What sums are kept apart by, and those that are not written down yet, within bounds. Never: the store, the clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::types::{AccountId, KeyId, Timestamp};

use super::figures::{Figures, Use};
use super::hour::Hour;

/// Only while the disk fails for long does so much wait to be written down. Then the oldest detail goes: the requests
/// stay counted, but no longer for a key, a model and a server.
pub(super) const LINES_MAX: usize = 100_000;

/// Whose requests are counted together: a key of an account, as bytes that sort by account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Owner([u8; 32]);

impl Owner {
    /// The whole server. No id is all zeros: an id has its version in it.
    pub(super) const WHOLE: Self = Self([0; 32]);
    /// Whoever is no longer known.
    pub(super) const NOBODY: Self = Self([0xff; 32]);

    pub(super) fn of(account: AccountId, key: KeyId) -> Self {
        Self::from_parts(account.as_bytes(), key.as_bytes())
    }

    /// An account's requests of which no key is known.
    pub(super) fn keyless(account: AccountId) -> Self {
        Self::from_parts(account.as_bytes(), &[0; 16])
    }

    fn from_parts(account: &[u8; 16], key: &[u8; 16]) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(account);
        bytes[16..].copy_from_slice(key);
        Self(bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first half: zeros for the whole server.
    pub(super) fn account_bytes(&self) -> [u8; 16] {
        let mut account = [0; 16];
        account.copy_from_slice(&self.0[..16]);
        account
    }

    /// The account with whatever key.
    pub(super) fn keyless_too(self) -> Self {
        if self == Self::NOBODY { self } else { Self::from_parts(&self.account_bytes(), &[0; 16]) }
    }

    pub(super) fn account(self) -> Option<AccountId> {
        AccountId::from_bytes(&self.0[..16]).filter(|_| self != Self::WHOLE && self != Self::NOBODY)
    }

    pub(super) fn key(self) -> Option<KeyId> {
        KeyId::from_bytes(&self.0[16..]).filter(|_| self.0[16..] != [0; 16] && self != Self::NOBODY)
    }
}

/// A model's or a model server's name; none when there was none.
pub(super) type Name = Option<Arc<str>>;

/// What one row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) hour: Hour,
    pub(super) owner: Owner,
    pub(super) model: Name,
    pub(super) upstream: Name,
}

/// What is to be added to a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) figures: Figures,
    /// When the last of the requests ended.
    pub(super) at: Timestamp,
    /// The requests that may stand in the store as open and are counted here.
    pub(super) closes: Vec<u64>,
}

impl Share {
    fn add(&mut self, other: Self) {
        self.figures = self.figures.plus(other.figures);
        self.at = self.at.max(other.at);
        self.closes.extend(other.closes);
    }
}

/// Lines that wait, and when the requests of each owner among them last ended.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: BTreeMap<Line, Share>,
    /// Ids come from the random source: nobody can choose them to collide.
    last_used: FxHashMap<Owner, Timestamp>,
}

impl Lines {
    /// Counts a request that ended `at` that time; `closes` is its number, if it may stand in the store as open.
    pub(super) fn count(&mut self, line: Line, used: &Use, at: Timestamp, closes: Option<u64>) {
        if self.lines.len() >= LINES_MAX && !self.lines.contains_key(&line) {
            self.forget_the_oldest();
        }
        let last = self.last_used.entry(line.owner).or_default();
        *last = at.max(*last);
        let share = self.lines.entry(line).or_default();
        share.figures.count(used);
        share.at = share.at.max(at);
        share.closes.extend(closes);
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The oldest hours first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Line, &Share)> {
        self.lines.iter()
    }

    pub(super) fn oldest(&self) -> Option<Hour> {
        self.lines.keys().next().map(|line| line.hour)
    }

    pub(super) fn last_used(&self, owner: Owner) -> Option<Timestamp> {
        self.last_used.get(&owner).copied()
    }

    /// The oldest line of somebody known is counted for nobody; where there is none, the oldest hour is counted in
    /// the next one.
    fn forget_the_oldest(&mut self) {
        let known = self.lines.keys().find(|line| line.owner != Owner::NOBODY).cloned();
        let Some(oldest) = known.clone().or_else(|| self.lines.keys().next().cloned()) else { return };
        let Some(share) = self.lines.remove(&oldest) else { return };
        self.last_used.remove(&oldest.owner);
        let hour = match (known, self.oldest()) {
            (None, Some(next)) => next,
            (Some(_), _) | (None, None) => oldest.hour,
        };
        let blank = Line { hour, owner: Owner::NOBODY, model: None, upstream: None };
        self.lines.entry(blank).or_default().add(share);
    }
}
