//! What limits one request: its key's tally and its account's, taken from together or not at all. Never: where they
//! are kept.

use std::sync::Arc;

use crate::types::sync::MutexGuard;
use crate::types::{Bounds, LimitKind, Measure, Unit};

use super::tally::{Moment, Need, Ruling, State, Taken, Tally, heavier};
use super::{Allowances, LimitStanding, Limited, Whose};

/// A holder's limits, and what it has used.
#[derive(Clone)]
pub(super) struct Share {
    pub(super) tally: Arc<Tally>,
    pub(super) bounds: Bounds,
    pub(super) whose: Whose,
}

/// A key's and its account's.
pub(super) const SHARES_MAX: usize = 2;

/// The shares that limit one request: its key's, then its account's.
#[derive(Clone, Default)]
pub(super) struct Shares(pub(super) [Option<Share>; SHARES_MAX]);

/// What one request got of its shares.
#[derive(Default)]
pub(super) struct Got {
    /// Of each share.
    pub(super) taken: [Taken; SHARES_MAX],
    /// What is left beside it.
    pub(super) allowances: Allowances,
}

type States<'a> = [Option<MutexGuard<'a, State>>; SHARES_MAX];

impl Shares {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Share> {
        self.0.iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Takes what is needed of all of them, if there is room and all of it is covered, and notes what was `got`; says false when more has to be written down first. `list` is told of each tally that was clean before.
    pub(super) fn take(
        &self,
        need: Need,
        now: Moment,
        list: impl Fn(&Arc<Tally>),
        got: &mut Got,
    ) -> Result<bool, Box<Limited>> {
        // Always the key first, so nobody waits for somebody who waits for him.
        let mut states = self.0.each_ref().map(|share| share.as_ref().map(|share| share.tally.state()));
        let mut is_covered = true;
        let mut refused: Option<(Whose, Ruling)> = None;
        for (share, state) in self.iter().zip(states.iter_mut().flatten()) {
            match state.rule(&share.bounds, need, now) {
                Ruling::Room => {}
                Ruling::Uncovered => is_covered = false,
                ruling @ Ruling::NoRoom { .. } => refused = Some(longer(refused, (share.whose, ruling))),
            }
        }
        if let Some((whose, Ruling::NoRoom { kind, max, wait, fits })) = refused {
            let (left, allowances) = self.left(&states, (whose, kind), now);
            let needed = if unit_of(kind) == Unit::Tokens { need.tokens } else { 1 };
            let max = max.get();
            return Err(Box::new(Limited { kind, whose, max, wait, fits, needed, left, allowances }));
        }
        if !is_covered {
            return Ok(false);
        }
        for ((share, state), taken) in self.iter().zip(states.iter_mut().flatten()).zip(&mut got.taken) {
            if state.take(&share.bounds, need, now, taken) {
                list(&share.tally);
            }
            state.nearest(&share.bounds, now, &mut got.allowances);
        }
        Ok(true)
    }

    /// What is left of the limit of this kind and holder, and of those that are nearest, right after a ruling.
    fn left(&self, states: &States<'_>, (whose, kind): (Whose, LimitKind), now: Moment) -> (u64, Allowances) {
        let (mut allowances, mut left) = (Allowances::default(), 0);
        for (share, state) in self.iter().zip(states.iter().flatten()) {
            let this = |one: &LimitStanding| share.whose == whose && one.kind == kind;
            let this = state.standings_now(&share.bounds, now).find(this);
            left = this.map_or(left, |one| one.allowance.left);
            state.nearest(&share.bounds, now, &mut allowances);
        }
        (left, allowances)
    }
}

const fn unit_of(kind: LimitKind) -> Unit {
    match kind.measure() {
        Measure::Rate(unit) | Measure::Budget(unit, _) => unit,
        Measure::Open => Unit::Requests,
    }
}

/// Of two refusals the one that stands longer.
fn longer(one: Option<(Whose, Ruling)>, other: (Whose, Ruling)) -> (Whose, Ruling) {
    match one {
        Some(one) if heavier(one.1, other.1) == one.1 => one,
        Some(_) | None => other,
    }
}
