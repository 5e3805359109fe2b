//! What one key or account has used of its limits. Never: others, the disk.

use std::num::NonZeroU64;
use std::sync::PoisonError;
use std::time::Duration;

use crate::meter::{Holder, RateUsed, Spent, Used};
use crate::types::sync::{Mutex, MutexGuard};
use crate::types::{Bounds, LimitKind, Timestamp, Unit};

use super::budget::{BUDGETS, Budget, Room, terms};
use super::rate::{NoRoom, Rate};
use super::{Allowance, Allowances, LimitStanding};

/// What a request takes: itself, and this many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) tokens: u64,
}

impl Need {
    const fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Requests => 1,
            Unit::Tokens => self.tokens,
        }
    }
}

/// Now, on the wall and on the stopwatch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    pub(super) ticks: u64,
}

/// Whether a request may pass, by one holder's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It may.
    Room,
    /// It may, once more of its budgets is written down.
    Uncovered,
    /// It may not: by which limit, and how long until it may; none, when waiting is of no use or nobody knows.
    NoRoom { kind: LimitKind, max: NonZeroU64, wait: Option<Duration>, fits: bool },
}

/// One holder's use.
pub(super) struct Tally {
    pub(super) holder: Holder,
    state: Mutex<State>,
    /// Held while something of it is on its way to the disk, so that the last written is the last there.
    pub(super) writing: tokio::sync::Mutex<()>,
}

/// The rates there are, by their numbers on disk.
const RATES: [(LimitKind, Unit); 2] =
    [(LimitKind::RequestsPerMinute, Unit::Requests), (LimitKind::TokensPerMinute, Unit::Tokens)];

#[derive(Default)]
pub(super) struct State {
    open: u64,
    rates: [Rate; RATES.len()],
    /// The limit that each was used under last.
    maxes: [Option<NonZeroU64>; RATES.len()],
    /// Those that there are; few have more than one or two.
    budgets: Vec<Kept>,
    is_dirty: bool,
}

/// A budget that is kept.
struct Kept {
    kind: LimitKind,
    budget: Budget,
    /// The limit, where there is one now.
    max: Option<NonZeroU64>,
}

/// Of what a request took: when it counts no more, of each rate; in which period it was taken, of each budget.
#[derive(Default)]
pub(super) struct Taken {
    ends: [u64; RATES.len()],
    /// The limits that `ends` were counted by.
    maxes: [Option<NonZeroU64>; RATES.len()],
    periods: [Timestamp; BUDGETS.len()],
}

impl Tally {
    /// As it was written down, if it was.
    pub(super) fn new(holder: Holder, used: Option<&Used>, now: Moment) -> Self {
        let mut state = State::default();
        if let Some(used) = used {
            let passed = now.wall.since(used.at);
            for (number, one) in used.rates.iter().enumerate() {
                let (debt, owed) = (one.debt.saturating_sub(passed), one.owed.saturating_sub(passed));
                state.rates[number] = Rate::restored(debt, owed, now.ticks);
                state.maxes[number] = one.max;
            }
            for spent in &used.budgets {
                if let Some(kind) = BUDGETS.get(usize::from(spent.budget)).copied() {
                    let budget = Budget::restored(terms(kind).1, spent.since, spent.amount);
                    state.budgets.push(Kept { kind, budget, max: None });
                }
            }
        }
        Self { holder, state: Mutex::new(state), writing: tokio::sync::Mutex::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a request may pass. When several limits stand in its way, the one that takes longest is told.
    pub(super) fn rule(&mut self, bounds: &Bounds, need: Need, now: Moment) -> Ruling {
        self.roll(bounds, now);
        let mut ruling = Ruling::Room;
        for (kind, max) in bounds.each() {
            match self.rule_one(kind, max, need, now) {
                Ruling::Room => {}
                one @ (Ruling::Uncovered | Ruling::NoRoom { .. }) => ruling = heavier(ruling, one),
            }
        }
        ruling
    }

    fn rule_one(&self, kind: LimitKind, max: NonZeroU64, need: Need, now: Moment) -> Ruling {
        let no_room = |wait, fits| Ruling::NoRoom { kind, max, wait, fits };
        if kind == LimitKind::ConcurrentRequests {
            return if self.open < max.get() { Ruling::Room } else { no_room(None, true) };
        }
        if let Some(number) = rate_number(kind) {
            let amount = need.of(RATES[number].1);
            return match self.rates[number].room(amount, max, now.ticks) {
                Ok(()) => Ruling::Room,
                Err(NoRoom::For(wait)) => no_room(Some(wait), true),
                Err(NoRoom::Ever) => no_room(None, false),
            };
        }
        let Some((unit, budget)) = self.budget(kind) else { return Ruling::Room };
        let amount = need.of(unit);
        match budget.room(amount, max) {
            Room::Covered => Ruling::Room,
            Room::Uncovered => Ruling::Uncovered,
            Room::Spent => {
                let fits = amount <= max.get();
                let comes_back = fits && kind != LimitKind::TokensTotal;
                no_room(comes_back.then(|| budget.until().since(now.wall)), fits)
            }
        }
    }

    /// Takes what a request needs, and notes it in `taken`. Says whether it was clean before.
    pub(super) fn take(&mut self, bounds: &Bounds, need: Need, now: Moment, taken: &mut Taken) -> bool {
        self.open += 1;
        for (kind, max) in bounds.each() {
            if let Some(number) = rate_number(kind) {
                taken.ends[number] = self.rates[number].take(need.of(RATES[number].1), max, now.ticks);
                taken.maxes[number] = Some(max);
            } else if let Some((number, budget)) = self.budget_mut(kind) {
                budget.take(need.of(terms(kind).0));
                taken.periods[number] = budget.since;
            }
        }
        self.is_changed(bounds)
    }

    /// Puts what a request really used in the place of what was taken for it. Says whether it was clean before. Where
    /// the limit of a rate was changed meanwhile, time alone gives back what was taken and not used.
    pub(super) fn settle(
        &mut self,
        bounds: &Bounds,
        held: Need,
        used: Option<Need>,
        taken: &Taken,
        now: Moment,
    ) -> bool {
        self.roll_budgets(bounds, now.wall);
        for (kind, max) in bounds.each() {
            let amount = |unit| (held.of(unit), used.map_or(0, |used| used.of(unit)));
            if let Some(number) = rate_number(kind) {
                let (held, used) = amount(RATES[number].1);
                let (rate, max_now) = (&mut self.rates[number], self.maxes[number].unwrap_or(max));
                match used.checked_sub(held) {
                    Some(more) => drop(rate.take(more, max_now, now.ticks)),
                    None if taken.maxes[number] == Some(max_now) => {
                        rate.give_back(held - used, max_now, taken.ends[number], now.ticks);
                    }
                    None => {}
                }
            } else if let Some((number, budget)) = self.budget_mut(kind) {
                let (held, used) = amount(terms(kind).0);
                match used.checked_sub(held) {
                    Some(more) => budget.take(more),
                    None => budget.give_back(held - used, taken.periods[number]),
                }
            }
        }
        self.is_changed(bounds)
    }

    /// Says whether it was clean before. What is held only while a request runs is not written down.
    fn is_changed(&mut self, bounds: &Bounds) -> bool {
        let outlives = |kind| kind != LimitKind::ConcurrentRequests;
        bounds.each().any(|(kind, _)| outlives(kind)) && !std::mem::replace(&mut self.is_dirty, true)
    }

    /// The request is over.
    pub(super) fn close(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// What is to be written down so that a request can pass.
    pub(super) fn ahead(&mut self, bounds: &Bounds, need: Need, now: Moment) -> Used {
        self.roll(bounds, now);
        self.used(now, |kind, budget, max| budget.ahead(need.of(terms(kind).0), max))
    }

    /// What is to be written down from time to time; it is clean then.
    pub(super) fn written(&mut self, now: Moment) -> Used {
        self.is_dirty = false;
        self.used(now, |_, budget, max| match budget.runs_short(max) {
            true => budget.ahead(0, max),
            false => budget.on_disk(),
        })
    }

    /// What was used, no more and no less: for a clean end.
    pub(super) fn exactly(&mut self, now: Moment) -> Used {
        self.is_dirty = false;
        self.used(now, |_, budget, _| budget.spent())
    }

    fn used(&self, now: Moment, amount: impl Fn(LimitKind, &Budget, NonZeroU64) -> u64) -> Used {
        let spent = |Kept { kind, budget, max }: &Kept| {
            let amount = match max {
                Some(max) => amount(*kind, budget, *max),
                None => budget.on_disk().max(budget.spent()),
            };
            Some(Spent { budget: u8::try_from(budget_number(*kind)?).ok()?, since: budget.since, amount })
        };
        let rate = |number: usize| RateUsed {
            debt: Duration::from_nanos(self.rates[number].debt(now.ticks)),
            owed: duration(self.rates[number].owed(now.ticks)),
            max: self.maxes[number],
        };
        Used {
            rates: [rate(0), rate(1)],
            at: now.wall,
            budgets: self.budgets.iter().filter_map(spent).collect(),
        }
    }

    /// So much is on disk now.
    pub(super) fn covered(&mut self, used: &Used) {
        for spent in &used.budgets {
            let kind = BUDGETS.get(usize::from(spent.budget)).copied();
            if let Some((_, budget)) = kind.and_then(|kind| self.budget_mut(kind)) {
                budget.covered(spent.amount, spent.since);
            }
        }
    }

    /// It was not written down; says whether it was clean before.
    pub(super) fn is_owed(&mut self) -> bool {
        !std::mem::replace(&mut self.is_dirty, true)
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.open == 0 && !self.is_dirty
    }

    /// What is left of each limit.
    pub(super) fn standings(
        &mut self,
        bounds: &Bounds,
        now: Moment,
    ) -> impl Iterator<Item = LimitStanding> + use<'_> {
        self.roll(bounds, now);
        self.standings_now(bounds, now)
    }

    /// The same right after a ruling, by the same limits and at the same moment.
    pub(super) fn standings_now(
        &self,
        bounds: &Bounds,
        now: Moment,
    ) -> impl Iterator<Item = LimitStanding> + use<'_> {
        let bounds = *bounds;
        LimitKind::ALL.into_iter().filter_map(move |kind| {
            Some(LimitStanding { kind, allowance: self.allowance(kind, bounds.get(kind)?, now) })
        })
    }

    /// Shows what is left of each limit, as [`State::standings_now`] has it.
    pub(super) fn nearest(&self, bounds: &Bounds, now: Moment, allowances: &mut Allowances) {
        for (kind, max) in bounds.each() {
            allowances.see(kind, self.allowance(kind, max, now));
        }
    }

    fn allowance(&self, kind: LimitKind, max: NonZeroU64, now: Moment) -> Allowance {
        let (left, reset) = if let Some(number) = rate_number(kind) {
            let rate = self.rates[number];
            (rate.left(max, now.ticks), Some(Duration::from_nanos(rate.debt(now.ticks))))
        } else if let Some((_, budget)) = self.budget(kind) {
            let reset = (kind != LimitKind::TokensTotal).then(|| budget.until().since(now.wall));
            (budget.left(max), reset)
        } else {
            (max.get().saturating_sub(self.open), None)
        };
        Allowance { max: max.get(), left, reset }
    }

    fn budget(&self, kind: LimitKind) -> Option<(Unit, &Budget)> {
        let kept = self.budgets.iter().find(|kept| kept.kind == kind)?;
        Some((terms(kind).0, &kept.budget))
    }

    fn budget_mut(&mut self, kind: LimitKind) -> Option<(usize, &mut Budget)> {
        let kept = self.budgets.iter_mut().find(|kept| kept.kind == kind)?;
        Some((budget_number(kind)?, &mut kept.budget))
    }

    /// Goes on to the limits and the periods that hold now.
    fn roll(&mut self, bounds: &Bounds, now: Moment) {
        for ((kind, _), (rate, kept)) in RATES.iter().zip(self.rates.iter_mut().zip(&mut self.maxes)) {
            let Some(max) = bounds.get(*kind) else { continue };
            if let Some(old) = kept.replace(max).filter(|old| *old != max) {
                rate.scale(old, max, now.ticks);
            }
        }
        self.roll_budgets(bounds, now.wall);
    }

    fn roll_budgets(&mut self, bounds: &Bounds, now: Timestamp) {
        let mut kept = 0;
        for Kept { kind, budget, max } in &mut self.budgets {
            budget.roll(terms(*kind).1, now);
            *max = bounds.get(*kind);
            kept += usize::from(max.is_some());
        }
        if kept == BUDGETS.iter().filter(|kind| bounds.get(**kind).is_some()).count() {
            return;
        }
        let new = |kind: &LimitKind| bounds.get(*kind).is_some() && self.budget(*kind).is_none();
        self.budgets.reserve_exact(BUDGETS.iter().filter(|kind| new(kind)).count());
        for kind in BUDGETS {
            if bounds.get(kind).is_some() && self.budget(kind).is_none() {
                let budget = Budget::new(terms(kind).1, now);
                self.budgets.push(Kept { kind, budget, max: bounds.get(kind) });
            }
        }
    }
}

/// So many nanoseconds.
fn duration(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(nanos / SECOND).unwrap_or(u64::MAX);
    // What is left of a second is less than 2^32.
    Duration::new(seconds, u32::try_from(nanos % SECOND).unwrap_or_default())
}

const fn rate_number(kind: LimitKind) -> Option<usize> {
    const NUMBERS: [Option<usize>; LimitKind::ALL.len()] = numbers([RATES[0].0, RATES[1].0]);
    NUMBERS[kind as usize]
}

const fn budget_number(kind: LimitKind) -> Option<usize> {
    const NUMBERS: [Option<usize>; LimitKind::ALL.len()] = numbers(BUDGETS);
    NUMBERS[kind as usize]
}

/// Each kind's place in a list, at compile time.
const fn numbers<const N: usize>(list: [LimitKind; N]) -> [Option<usize>; LimitKind::ALL.len()] {
    let mut numbers = [None; LimitKind::ALL.len()];
    let mut place = 0;
    while place < N {
        numbers[list[place] as usize] = Some(place);
        place += 1;
    }
    numbers
}

/// Of two rulings the one that stands longer.
pub(super) fn heavier(one: Ruling, other: Ruling) -> Ruling {
    let weight = |ruling: &Ruling| match ruling {
        Ruling::Room => (0, Duration::ZERO),
        Ruling::Uncovered => (1, Duration::ZERO),
        Ruling::NoRoom { kind: LimitKind::ConcurrentRequests, .. } => (2, Duration::ZERO),
        Ruling::NoRoom { wait: Some(wait), .. } => (3, *wait),
        Ruling::NoRoom { wait: None, .. } => (4, Duration::ZERO),
    };
    if weight(&other) > weight(&one) { other } else { one }
}
