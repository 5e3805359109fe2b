//! The names that may be labels: few enough to be kept, never what a caller made up. Never: what they name.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::{Family, MetricConstructor};

/// What stands for all names beyond the bound, and for those that are not in the catalogue.
pub(super) const OTHER: &str = "other";

/// A name as a label's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name(Arc<str>);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&&*self.0, encoder)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The first names that came; all later ones are [`OTHER`].
#[derive(Debug)]
pub(super) struct Names {
    known: RwLock<HashSet<Name>>,
    names_max: usize,
    other: Name,
    none: Name,
}

impl Names {
    pub(super) fn new(names_max: usize) -> Self {
        let name = |text: &str| Name(text.into());
        Self { known: RwLock::default(), names_max, other: name(OTHER), none: name("") }
    }

    /// The label's value for a name.
    pub(super) fn of(&self, name: &str) -> Name {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(name) {
            return name.clone();
        }
        if known.len() >= self.names_max {
            return self.other.clone();
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.names_max && !known.contains(name) {
            return self.other.clone();
        }
        let name = Name(name.into());
        known.insert(name.clone());
        name
    }

    pub(super) fn other(&self) -> Name {
        self.other.clone()
    }

    /// Where there is no name.
    pub(super) fn none(&self) -> Name {
        self.none.clone()
    }
}

/// A family of metrics with a bound on its label sets.
#[derive(Debug)]
pub(super) struct Bounded<S, M, C = fn() -> M> {
    pub(super) family: Family<S, M, C>,
    /// The label sets there are.
    sets: Mutex<Vec<S>>,
    sets_max: usize,
}

impl<S: Clone + Hash + Eq + EncodeLabelSet, M: Clone, C: MetricConstructor<M>> Bounded<S, M, C> {
    pub(super) fn new(family: Family<S, M, C>, sets_max: usize) -> Self {
        Self { family, sets: Mutex::default(), sets_max }
    }

    /// The metric of a label set, or that of the set which stands for it when there are too many.
    pub(super) fn of(&self, set: &S, instead: impl FnOnce() -> S) -> M {
        if let Some(metric) = self.family.get(set) {
            return metric.clone();
        }
        let set = if self.sets().len() < self.sets_max { set.clone() } else { instead() };
        if self.family.get(&set).is_none() {
            let mut sets = self.sets();
            if !sets.contains(&set) {
                sets.push(set.clone());
            }
        }
        self.family.get_or_create_owned(&set)
    }

    /// Every label set with its metric.
    pub(super) fn each(&self) -> Vec<(S, M)> {
        let sets = self.sets().clone();
        sets.into_iter().map(|set| (set.clone(), self.family.get_or_create_owned(&set))).collect()
    }

    fn sets(&self) -> MutexGuard<'_, Vec<S>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    type Set = [(&'static str, String); 1];

    #[test]
    fn the_first_names_are_kept_and_all_later_ones_are_other() {
        let names = Names::new(2);
        let texts: Vec<_> = ["a", "b", "c", "a", "d"].map(|name| names.of(name).0.to_string()).into();
        assert_eq!(texts, ["a", "b", OTHER, "a", OTHER]);
    }

    #[test]
    fn label_sets_are_bounded_and_nothing_is_lost() {
        let bounded: Bounded<Set, Counter> = Bounded::new(Family::default(), 3);
        let set = |name: &str| [("name", name.to_string())];
        for number in 0..100 {
            bounded.of(&set(&number.to_string()), || set(OTHER)).inc();
        }
        let all = bounded.each();
        assert_eq!(all.len(), 4);
        assert_eq!(all.iter().map(|(_, counter)| counter.get()).sum::<u64>(), 100);
        assert_eq!(all.iter().find(|(found, _)| *found == set(OTHER)).unwrap().1.get(), 97);
    }
}
