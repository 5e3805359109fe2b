//! A budget: so much in a calendar period. Never: whose it is, what the time is.
//!
//! What stands on disk is always a little more than was spent, so that a crash forgets nothing: a request passes when
//! what it needs is covered there already.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::types::{LimitKind, Measure, Period, Timestamp, Unit};

/// The part of a budget that is written down in advance: a crash may cost its holder so much.
const PARTS_AHEAD: u64 = 100;
/// Where that is less than so many times what a request needs, so much more,
const NEEDS_AHEAD: u64 = 4;
/// but no more than this part.
const PARTS_AHEAD_MOST: u64 = 20;

/// So long after he looked at the clock one may come at most.
const LATE_MAX: Duration = Duration::from_secs(60 * 60);

/// What was spent of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// The period.
    pub(super) since: Timestamp,
    until: Timestamp,
    /// The latest period that was left for an earlier one, with what was spent of it: it is met again.
    ahead: (Timestamp, u64),
    /// Of the others the one that was left last: a clock that was wrong comes back to it.
    left: (Timestamp, u64),
    /// What was used, and what requests under way may still use.
    spent: u64,
    /// As much of it as is on disk.
    covered: u64,
}

/// The budgets there are, by their numbers on disk.
pub(super) const BUDGETS: [LimitKind; 5] = [
    LimitKind::RequestsPerDay,
    LimitKind::TokensPerDay,
    LimitKind::TokensPerWeek,
    LimitKind::TokensPerMonth,
    LimitKind::TokensTotal,
];

/// How a budget is kept.
pub(super) const fn terms(kind: LimitKind) -> (Unit, Period) {
    match kind.measure() {
        Measure::Budget(unit, period) => (unit, period),
        // A rate is no budget; a test sees that none is asked about.
        Measure::Rate(unit) => (unit, Period::Ever),
        Measure::Open => (Unit::Requests, Period::Ever),
    }
}

/// Whether there is room for what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Covered,
    /// There is, once more is written down.
    Uncovered,
    /// There is not.
    Spent,
}

impl Budget {
    /// A budget nothing was spent of.
    pub(super) fn new(period: Period, now: Timestamp) -> Self {
        let (since, until) = period.around(now);
        Self { since, until, ahead: (since, 0), left: (since, 0), spent: 0, covered: 0 }
    }

    /// As it was written down.
    pub(super) fn restored(period: Period, since: Timestamp, amount: u64) -> Self {
        Self { spent: amount, covered: amount, ..Self::new(period, since) }
    }

    /// Goes on to the period that `now` lies in. When the clock went back, what was spent stays spent; what was spent of
    /// a period that is met again is spent of it, whatever was spent of others. One who looked at the clock a while ago
    /// is no clock that went back.
    pub(super) fn roll(&mut self, period: Period, now: Timestamp) {
        let old = *self;
        if now >= self.until {
            *self = Self { ahead: old.ahead, left: (old.since, old.spent), ..Self::new(period, now) };
            // What is on disk is of another period, so nothing is covered.
            self.spent = old.known(self.since);
        } else if now < self.since && self.since.since(now) > LATE_MAX {
            (self.since, self.until) = period.around(now);
            self.spent = old.spent.max(old.known(self.since));
            let left = if old.since >= old.ahead.0 { &mut self.ahead } else { &mut self.left };
            *left = (old.since, old.spent);
        }
    }

    /// What is known to be spent of a period that was left.
    fn known(&self, since: Timestamp) -> u64 {
        let spent = |(left, spent)| if left == since { spent } else { 0 };
        spent(self.ahead).max(spent(self.left))
    }

    pub(super) fn room(&self, amount: u64, max: NonZeroU64) -> Room {
        match self.spent.checked_add(amount) {
            Some(sum) if sum <= max.get() && sum <= self.covered => Room::Covered,
            Some(sum) if sum <= max.get() => Room::Uncovered,
            Some(_) | None => Room::Spent,
        }
    }

    /// Takes so much, whether or not there is room.
    pub(super) fn take(&mut self, amount: u64) {
        self.spent = self.spent.saturating_add(amount);
    }

    /// Gives so much back, if it was taken in this period.
    pub(super) fn give_back(&mut self, amount: u64, taken_since: Timestamp) {
        if taken_since == self.since {
            self.spent = self.spent.saturating_sub(amount);
        }
    }

    /// What should be on disk so that a request that needs so much, and some after it, can pass.
    pub(super) fn ahead(&self, need: u64, max: NonZeroU64) -> u64 {
        let needs = need.saturating_mul(NEEDS_AHEAD).min(max.get() / PARTS_AHEAD_MOST);
        let ahead = needs.max(max.get() / PARTS_AHEAD);
        let wanted = self.spent.saturating_add(need).saturating_add(ahead).min(max.get());
        wanted.max(self.covered).max(self.spent)
    }

    /// Whether less is left of what is on disk than half of what was written down in advance.
    pub(super) fn runs_short(&self, max: NonZeroU64) -> bool {
        let half = max.get() / PARTS_AHEAD / 2;
        self.covered < self.spent.saturating_add(half).min(max.get()).max(self.spent)
    }

    /// So much of it is on disk.
    pub(super) fn covered(&mut self, amount: u64, since: Timestamp) {
        if since == self.since {
            self.covered = self.covered.max(amount);
        }
    }

    pub(super) const fn on_disk(&self) -> u64 {
        self.covered
    }

    pub(super) const fn spent(&self) -> u64 {
        self.spent
    }

    pub(super) fn left(&self, max: NonZeroU64) -> u64 {
        max.get().saturating_sub(self.spent)
    }

    /// When what was spent comes back.
    pub(super) const fn until(&self) -> Timestamp {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn max(number: u64) -> NonZeroU64 {
        NonZeroU64::new(number).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn every_budget_is_one() {
        for kind in LimitKind::ALL {
            let is_budget = matches!(kind.measure(), Measure::Budget(..));
            assert_eq!(BUDGETS.contains(&kind), is_budget, "{kind}");
        }
    }

    #[test]
    fn what_is_needed_must_be_on_disk_first() {
        let mut budget = Budget::new(Period::Day, at("2026-11-25T12:00:00Z"));
        assert_eq!(budget.room(10, max(1000)), Room::Uncovered);
        let ahead = budget.ahead(10, max(1000));
        assert_eq!(ahead, 50, "four times what is needed more: that is more than a hundredth of it all");
        budget.covered(ahead, budget.since);
        for _ in 0..5 {
            assert_eq!(budget.room(10, max(1000)), Room::Covered);
            budget.take(10);
        }
        assert_eq!(budget.room(10, max(1000)), Room::Uncovered);
        assert_eq!((budget.room(951, max(1000)), budget.left(max(1000))), (Room::Spent, 950));
        budget.give_back(10, budget.since);
        assert_eq!(budget.room(10, max(1000)), Room::Covered);
        assert_eq!(budget.room(u64::MAX, max(1000)), Room::Spent);
        assert_eq!(budget.ahead(500, max(1000)), 590, "a twentieth more at most");
        assert_eq!(budget.ahead(960, max(1000)), 1000, "never more than there is");
    }

    #[test]
    fn what_was_used_beyond_what_was_held_is_written_down_too() {
        let mut budget = Budget::new(Period::Ever, at("2026-11-25T12:00:00Z"));
        budget.covered(1000, budget.since);
        budget.take(2000);
        assert!(budget.runs_short(max(1000)));
        assert_eq!(budget.ahead(0, max(1000)), 2000);
    }

    #[test]
    fn a_new_period_begins_anew_and_a_clock_set_back_gives_nothing_back() {
        let mut budget = Budget::new(Period::Day, at("2026-11-25T12:00:00Z"));
        budget.take(10);
        let old = budget.since;
        budget.roll(Period::Day, at("2026-11-25T23:59:59.999Z"));
        assert_eq!(budget.spent(), 10);
        budget.roll(Period::Day, at("2026-11-26T00:00:00Z"));
        assert_eq!((budget.spent(), budget.since), (0, at("2026-11-26T00:00:00Z")));
        budget.take(7);
        budget.give_back(10, old);
        assert_eq!(budget.spent(), 7, "what was taken yesterday is not given back today");
        budget.roll(Period::Day, at("2026-11-25T23:59:59.999Z"));
        assert_eq!(budget.since, at("2026-11-26T00:00:00Z"), "a straggler does not bring the old day back");
        budget.roll(Period::Day, at("2025-11-26T12:00:00Z"));
        assert_eq!((budget.spent(), budget.since), (7, at("2025-11-26T00:00:00Z")));
        budget.roll(Period::Day, at("2026-11-26T00:00:00Z"));
        assert_eq!((budget.spent(), budget.since), (7, at("2026-11-26T00:00:00Z")), "the same day again");
        assert_eq!(budget.room(1, max(100)), Room::Uncovered, "the disk knows of another day");
        budget.roll(Period::Day, at("2025-11-26T12:00:00Z"));
        budget.roll(Period::Day, at("2025-11-27T00:00:00Z"));
        assert_eq!(budget.spent(), 0, "and nothing sticks for a year");
        budget.take(3);
        budget.roll(Period::Day, at("2026-11-26T00:00:00Z"));
        assert_eq!(budget.spent(), 7, "nor is it given twice");
    }

    #[test]
    fn one_who_looked_at_the_clock_an_hour_ago_is_no_clock_that_went_back() {
        for (shown, since) in [
            ("2026-11-25T23:00:00Z", "2026-11-26T00:00:00Z"),
            ("2026-11-25T22:59:59.999Z", "2026-11-25T00:00:00Z"),
        ] {
            let mut budget = Budget::new(Period::Day, at("2026-11-26T12:00:00Z"));
            budget.roll(Period::Day, at(shown));
            assert_eq!(budget.since, at(since), "{shown}");
        }
    }

    #[test]
    fn what_was_written_down_runs_short_below_half_of_what_is_written_ahead() {
        let mut budget = Budget::restored(Period::Day, at("2026-11-25T00:00:00Z"), 50);
        assert_eq!((budget.spent(), budget.on_disk()), (50, 50));
        budget.covered(60, budget.since);
        budget.take(5);
        assert!(!budget.runs_short(max(1000)), "5 are left, the half of a hundredth");
        budget.take(1);
        assert!(budget.runs_short(max(1000)));
    }

    /// What a day's budget is spent of after each of the days that a clock shows, where so much is taken on it.
    fn spent_by_day(shown: &[(&str, u64)]) -> Vec<u64> {
        let mut budget = Budget::new(Period::Day, at(&format!("2026-{}:00:00Z", shown[0].0)));
        let show = |(day, amount): &(&str, u64)| {
            let year = if day.len() > 8 { "" } else { "2026-" };
            budget.roll(Period::Day, at(&format!("{year}{day}:00:00Z")));
            budget.take(*amount);
            budget.spent()
        };
        shown.iter().map(show).collect()
    }

    #[test]
    fn bug_a_period_that_is_met_again_is_neither_given_twice_nor_stuck() {
        for (case, shown, spent) in [
            (
                "a year ahead and back, nothing spent there",
                &[("11-25T12", 3), ("2027-11-25T12", 0), ("11-25T12", 0), ("11-26T12", 0)][..],
                &[3, 0, 3, 0][..],
            ),
            (
                "a year ahead and back, something spent there",
                &[("11-25T12", 3), ("2027-11-25T12", 1), ("11-25T12", 0), ("2027-11-25T12", 0)],
                &[3, 1, 3, 1],
            ),
            (
                "the day before and back",
                &[("11-25T12", 3), ("11-24T22", 0), ("11-25T12", 0), ("11-26T12", 0)],
                &[3, 3, 3, 0],
            ),
            (
                "two steps back, and back",
                &[("11-25T12", 3), ("11-22T12", 0), ("11-20T12", 0), ("11-25T12", 0), ("11-26T12", 0)],
                &[3, 3, 3, 3, 0],
            ),
            (
                "the day before that goes over into this one",
                &[("11-24T12", 3), ("11-25T12", 2), ("11-20T12", 0), ("11-24T12", 0), ("11-25T12", 0)],
                &[3, 2, 2, 3, 2],
            ),
            (
                "to and fro before the latest day",
                &[
                    ("11-25T12", 3),
                    ("2027-11-25T12", 3),
                    ("11-25T12", 0),
                    ("12-25T12", 2),
                    ("11-25T12", 0),
                    ("12-25T12", 1),
                ],
                &[3, 3, 3, 2, 3, 3],
            ),
            (
                "a minute of a day to come",
                &[("11-25T12", 1), ("11-28T12", 1), ("11-25T12", 2), ("11-26T12", 3), ("11-28T12", 0)],
                &[1, 1, 3, 3, 1],
            ),
        ] {
            assert_eq!(spent_by_day(shown), spent, "{case}");
        }
    }
}
