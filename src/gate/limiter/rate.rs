//! A rate: so much in a minute, come as it may. Never: whose it is, what the time is.
//!
//! A leaky bucket as a meter (GCRA, ITU-T I.371): what was used runs out evenly, and as much as a whole minute's worth
//! may come at once. Times are nanoseconds of a stopwatch.

use std::num::NonZeroU64;
use std::time::Duration;

const WINDOW: u64 = 60_000_000_000;

/// A model that wrote far more than was held for it, or a far lower limit, delays a holder by this long at most.
const DEBT_MAX: u64 = 60 * WINDOW;

/// What was used of a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// When nobody has to wait for it any more.
    free_at: u64,
    /// When nothing of it would count any more if nobody were spared more than the longest wait: another limit goes by
    /// this, so that a limit that was wrong for a while spares nobody anything. Never before `free_at`.
    paid_at: u128,
}

/// Why there is no room now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// There will be, after this time.
    For(Duration),
    /// It is more than fits in a whole minute.
    Ever,
}

impl Rate {
    /// One that is free so long from now, and of which nothing counts any more after `owed`.
    pub(super) fn restored(debt: Duration, owed: Duration, now: u64) -> Self {
        let debt = u64::try_from(debt.as_nanos()).unwrap_or(u64::MAX).min(DEBT_MAX);
        let free_at = now.saturating_add(debt);
        Self { free_at, paid_at: u128::from(now).saturating_add(owed.as_nanos()).max(free_at.into()) }
    }

    /// Whether there is room for so much.
    pub(super) fn room(&self, amount: u64, max: NonZeroU64, now: u64) -> Result<(), NoRoom> {
        let cost = cost(amount, max);
        if cost > WINDOW {
            return Err(NoRoom::Ever);
        }
        let over = self.debt(now).saturating_add(cost).saturating_sub(WINDOW);
        if over == 0 { Ok(()) } else { Err(NoRoom::For(Duration::from_nanos(over))) }
    }

    /// Goes on under another limit: what was used stays used, in its own unit. Of 100 a minute and 50 of them used, 10
    /// a minute are used up, and come back at their own pace. Rounded up, so that nothing is forgiven. Nobody waits
    /// longer for it than an hour, but the next limit gets to know all of it.
    pub(super) fn scale(&mut self, old: NonZeroU64, new: NonZeroU64, now: u64) {
        let owed = self.owed(now).saturating_mul(u128::from(old.get())).div_ceil(u128::from(new.get()));
        self.paid_at = u128::from(now).saturating_add(owed);
        let debt = u64::try_from(owed).unwrap_or(u64::MAX).min(DEBT_MAX);
        self.free_at = now.saturating_add(debt);
    }

    /// Takes so much, whether or not there is room. When what was taken counts no more.
    pub(super) fn take(&mut self, amount: u64, max: NonZeroU64, now: u64) -> u64 {
        let cost = cost(amount, max);
        // What nobody waits for is not kept for the next limit either.
        let added = cost.min(DEBT_MAX.saturating_sub(self.debt(now)));
        self.paid_at = u128::from(now).saturating_add(self.owed(now)).saturating_add(added.into());
        self.free_at = now.saturating_add(self.debt(now).saturating_add(cost).min(DEBT_MAX));
        self.free_at
    }

    /// Gives so much back of what was taken until `end`. What time has given back already is not given back again.
    pub(super) fn give_back(&mut self, amount: u64, max: NonZeroU64, end: u64, now: u64) {
        let left = cost(amount, max).min(end.saturating_sub(now));
        self.free_at = self.free_at.saturating_sub(left);
        self.paid_at = self.paid_at.saturating_sub(left.into());
    }

    /// How much there is room for.
    pub(super) fn left(&self, max: NonZeroU64, now: u64) -> u64 {
        let free = WINDOW.saturating_sub(self.debt(now));
        if let Some(product) = free.checked_mul(max.get()) {
            return product / WINDOW;
        }
        u64::try_from(u128::from(free) * u128::from(max.get()) / u128::from(WINDOW)).unwrap_or(u64::MAX)
    }

    /// How long it takes until there is room for everything.
    pub(super) fn debt(&self, now: u64) -> u64 {
        self.free_at.saturating_sub(now)
    }

    /// The same if nobody were spared more than the longest wait.
    pub(super) fn owed(&self, now: u64) -> u128 {
        self.paid_at.saturating_sub(now.into())
    }
}

/// How long it takes until so much counts no more. Rounded down, so that a whole minute's worth fits into a minute.
fn cost(amount: u64, max: NonZeroU64) -> u64 {
    // Most numbers are small, and a division of small numbers is quick.
    if let Some(product) = amount.checked_mul(WINDOW) {
        return product / max;
    }
    let cost = u128::from(amount) * u128::from(WINDOW) / u128::from(max.get());
    u64::try_from(cost).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bug_what_nobody_waits_for_is_no_debt_of_the_next_limit() {
        const HOUR: u64 = 60 * WINDOW;
        let mut rate = Rate::default();
        rate.take(12_000, max(100), 0);
        assert_eq!(rate.room(1, max(100), HOUR), Ok(()), "an hour at most");
        rate.take(1, max(100), HOUR);
        rate.scale(max(100), max(110), HOUR + WINDOW);
        assert_eq!(rate.room(1, max(110), HOUR + WINDOW), Ok(()), "more is allowed now, not less");
    }

    #[test]
    fn what_costs_more_than_a_word_holds_is_divided_exactly_too() {
        for (amount, limit) in [(307_445_734, 1), (307_445_735, 1), (1 << 40, 1 << 39), (u64::MAX, u64::MAX)]
        {
            let exact = u128::from(amount) * u128::from(WINDOW) / u128::from(limit);
            assert_eq!(
                u128::from(cost(amount, max(limit))),
                exact.min(u64::MAX.into()),
                "{amount} of {limit}"
            );
            assert_eq!(Rate::default().left(max(amount), 0), amount);
        }
    }

    fn max(number: u64) -> NonZeroU64 {
        NonZeroU64::new(number).unwrap()
    }

    #[test]
    fn a_minutes_worth_comes_at_once_and_then_evenly() {
        for limit in [1, 3, 7, 60, 1000] {
            let (mut rate, now, limit) = (Rate::default(), 5, max(limit));
            for taken in 0..limit.get() {
                assert_eq!(rate.left(limit, now), limit.get() - taken);
                assert_eq!(rate.room(1, limit, now), Ok(()));
                rate.take(1, limit, now);
            }
            assert_eq!(rate.left(limit, now), 0);
            let Err(NoRoom::For(wait)) = rate.room(1, limit, now) else { panic!("{limit}") };
            let wait = u64::try_from(wait.as_nanos()).unwrap();
            assert!(wait.abs_diff(WINDOW / limit) <= limit.get(), "{limit}: {wait}");
            assert_eq!(rate.room(1, limit, now + wait), Ok(()));
            assert!(rate.room(1, limit, now + wait - 1).is_err());
            assert!(rate.room(limit.get(), limit, now + WINDOW).is_ok(), "all of it, a minute later");
        }
    }

    #[test]
    fn what_never_fits_is_told_apart_and_what_is_given_back_is_free() {
        let mut rate = Rate::default();
        assert_eq!(rate.room(11, max(10), 0), Err(NoRoom::Ever));
        let end = rate.take(10, max(10), 0);
        assert_eq!(rate.left(max(10), 0), 0);
        rate.give_back(4, max(10), end, 0);
        assert_eq!(rate.left(max(10), 0), 4);
        rate.give_back(u64::MAX, max(1), end, 0);
        assert_eq!(rate.left(max(10), 0), 10);
        rate.take(u64::MAX, max(1), 0);
        assert_eq!(rate.debt(0), DEBT_MAX);
    }

    #[test]
    fn law_10_another_limit_forgives_nothing_that_was_used() {
        let mut rate = Rate::default();
        rate.take(50, max(100), 0);
        rate.scale(max(100), max(10), 0);
        assert_eq!(rate.left(max(10), 0), 0);
        assert!(rate.room(1, max(10), WINDOW).is_err(), "50 are used up in five minutes");
        assert!(rate.room(1, max(10), 5 * WINDOW).is_ok());
        rate.scale(max(10), max(100), 0);
        assert_eq!(rate.left(max(100), 0), 50, "there and back");
        rate.scale(max(100), max(200), 0);
        assert_eq!(rate.left(max(200), 0), 150);
        rate.scale(max(200), max(1), 0);
        assert_eq!(rate.debt(0), 50 * WINDOW);
        rate.take(50, max(1), 0);
        rate.scale(max(2), max(1), 0);
        assert_eq!(rate.debt(0), DEBT_MAX, "an hour at most");
    }

    #[test]
    fn law_10_a_limit_that_was_wrong_for_a_while_forgives_nothing() {
        let mut rate = Rate::default();
        rate.take(1000, max(1000), 0);
        rate.scale(max(1000), max(1), 0);
        assert_eq!(rate.room(1, max(1), 0), Err(NoRoom::For(Duration::from_nanos(DEBT_MAX))));
        rate.scale(max(1), max(1000), 0);
        assert_eq!((rate.left(max(1000), 0), rate.debt(0)), (0, WINDOW), "corrected at once");
        rate.scale(max(1000), max(1), 0);
        let kept = Rate::restored(
            Duration::from_nanos(rate.debt(0)),
            Duration::from_secs((rate.owed(0) / 1_000_000_000).try_into().unwrap()),
            7,
        );
        assert_eq!((kept.debt(7), kept.owed(7)), (rate.debt(0), rate.owed(0)), "over a restart");
        let mut huge = Rate::default();
        huge.take(u64::MAX, max(u64::MAX), 0);
        for limit in [1, u64::MAX] {
            let old = if limit == 1 { u64::MAX } else { 1 };
            huge.scale(max(old), max(limit), 0);
        }
        assert_eq!(huge.left(max(u64::MAX), 0), 0);
        assert!(
            rate.room(1, max(1), DEBT_MAX).is_ok(),
            "an hour later it goes on though nobody corrected it"
        );
        rate.take(1, max(1), DEBT_MAX);
        rate.give_back(1, max(1), DEBT_MAX + WINDOW, DEBT_MAX);
        assert_eq!((rate.debt(DEBT_MAX), rate.owed(DEBT_MAX)), (0, 940 * u128::from(WINDOW)));
    }

    /// Ten that held a minute's worth each, a minute apart, end unused at one moment: nine of them have been given back
    /// by time.
    #[test]
    fn law_10_what_time_has_given_back_is_not_given_back_again() {
        let (mut rate, limit) = (Rate::default(), max(1000));
        let ends: Vec<_> = (0..10).map(|minute| rate.take(1000, limit, minute * WINDOW)).collect();
        let (now, mut admitted) = (9 * WINDOW, 0);
        for end in ends {
            rate.give_back(1000, limit, end, now);
            if rate.room(1000, limit, now).is_ok() {
                rate.take(1000, limit, now);
                admitted += 1000;
            }
        }
        assert_eq!(admitted, 1000);
    }

    proptest! {
        /// Law 10: in any window no more than rate + burst, here the same number.
        #[test]
        fn no_window_sees_more_than_rate_and_burst(
            limit in 1_u64..200, steps in proptest::collection::vec((0_u64..5_000_000_000, 1_u64..20), 1..300)
        ) {
            let (mut rate, mut now, mut admitted) = (Rate::default(), 0, Vec::new());
            for (pause, amount) in steps {
                now += pause;
                if rate.room(amount, max(limit), now).is_ok() {
                    rate.take(amount, max(limit), now);
                    admitted.push((now, amount));
                }
            }
            for (index, (first, _)) in admitted.iter().enumerate() {
                let mut sum = 0;
                for (at, amount) in &admitted[index..] {
                    sum += amount;
                    let allowed = limit + 1 + (at - first) * limit / WINDOW;
                    prop_assert!(sum <= allowed, "{sum} in {} ns", at - first);
                }
            }
        }
    }
}
