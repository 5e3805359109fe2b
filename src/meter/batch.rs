//! Uses that are not written down yet, within bounds. Never: the store, the clock.

use std::collections::BTreeMap;

use crate::types::{AccountId, KeyId, Timestamp};

use super::Sums;
use super::hour::{Hour, Hours};

// A batch holds what came in since the last flush. Only while the disk fails for long does it reach these bounds, and
// then the oldest detail goes: when a key that rests was last used, what an account used in hours gone by. The whole
// server's sums are the last to go, and `Totals` never do.
pub(super) const KEYS_MAX: usize = 100_000;
pub(super) const SUMS_MAX: usize = 100_000;

/// An account, or the whole server.
pub(super) type Subject = Option<AccountId>;

/// The last use of each key, and sums by hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Batch {
    last_used: BTreeMap<KeyId, Timestamp>,
    sums: BTreeMap<(Hour, Subject), Sums>,
}

impl Batch {
    /// A use of a key, later than all before.
    pub(super) fn note(&mut self, key: KeyId, at: Timestamp) {
        if self.last_used.len() >= KEYS_MAX && !self.last_used.contains_key(&key) {
            self.forget_the_older_half();
        }
        self.last_used.insert(key, at);
    }

    pub(super) fn add(&mut self, hour: Hour, subject: Subject, sums: Sums) {
        if self.sums.len() >= SUMS_MAX && !self.sums.contains_key(&(hour, subject)) {
            self.forget_the_oldest_sums();
        }
        let sum = self.sums.entry((hour, subject)).or_default();
        *sum = sum.plus(sums);
    }

    /// Takes up to `rows_max` rows out, the oldest hours first.
    pub(super) fn take(&mut self, rows_max: usize) -> Self {
        let mut taken = Self::default();
        while taken.rows() < rows_max {
            if let Some((row, sums)) = self.sums.pop_first() {
                taken.sums.insert(row, sums);
            } else if let Some((key, at)) = self.last_used.pop_first() {
                taken.last_used.insert(key, at);
            } else {
                break;
            }
        }
        taken
    }

    /// Adds what was taken out before; what came in since then is newer.
    pub(super) fn put_back(&mut self, taken: &Self) {
        for ((hour, subject), sums) in &taken.sums {
            self.add(*hour, *subject, *sums);
        }
        for (key, at) in &taken.last_used {
            if self.last_used.len() < KEYS_MAX {
                self.last_used.entry(*key).or_insert(*at);
            }
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.last_used.len() + self.sums.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    pub(super) fn last_used(&self, key: KeyId) -> Option<Timestamp> {
        self.last_used.get(&key).copied()
    }

    pub(super) fn sums(&self, subject: Subject, hours: Hours) -> Sums {
        let found = hours.each().filter_map(|hour| self.sums.get(&(hour, subject)));
        found.fold(Sums::default(), |sum, sums| sum.plus(*sums))
    }

    pub(super) fn all_last_used(&self) -> impl Iterator<Item = (KeyId, Timestamp)> {
        self.last_used.iter().map(|(key, at)| (*key, *at))
    }

    pub(super) fn all_sums(&self) -> impl Iterator<Item = (Hour, Subject, Sums)> {
        self.sums.iter().map(|((hour, subject), sums)| (*hour, *subject, *sums))
    }

    /// Half of them at once, so that the search for the oldest is paid for by many uses.
    fn forget_the_older_half(&mut self) {
        let mut times: Vec<_> = self.last_used.values().copied().collect();
        let middle = times.len() / 2;
        let (_, &mut middle, _) = times.select_nth_unstable(middle);
        self.last_used.retain(|_, at| *at > middle);
    }

    fn forget_the_oldest_sums(&mut self) {
        let mut rows = self.sums.keys();
        let oldest = rows.find(|(_, subject)| subject.is_some()).or_else(|| self.sums.keys().next());
        if let Some(oldest) = oldest.copied() {
            self.sums.remove(&oldest);
        }
    }
}
