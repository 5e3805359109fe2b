//! Hours since 1970-01-01 UTC: which one a moment lies in, which ones a time has. Never: what was used in them.

use std::time::Duration;

use crate::types::Timestamp;

const HOUR_MILLIS: i64 = 60 * 60 * 1000;
const DAY_HOURS: u32 = 24;

/// An hour, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hour(u32);

impl Hour {
    pub(super) const FIRST: Self = Self(0);

    pub(super) fn of(at: Timestamp) -> Self {
        // A timestamp's years end with 9999.
        Self(u32::try_from(at.as_millis() / HOUR_MILLIS).unwrap_or(u32::MAX))
    }

    /// The first hour that is still kept when this one begins.
    pub(super) fn first_kept(self, retention: Duration) -> Self {
        let kept = u32::try_from(retention.as_secs() / (60 * 60)).unwrap_or(u32::MAX);
        Self(self.0.saturating_sub(kept))
    }

    /// When it began.
    pub(super) const fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0 as i64 * HOUR_MILLIS)
    }

    /// When its day began.
    pub(super) const fn day(self) -> Timestamp {
        Self(self.0 - self.0 % DAY_HOURS).start()
    }

    /// The one before; the first has none and stands for itself.
    pub(super) const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub(super) const fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    pub(super) const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }
}

/// Hours in a row, the last one included; none when the first comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hours {
    pub(super) first: Hour,
    pub(super) last: Hour,
}

impl Hours {
    pub(super) const NONE: Self = Self { first: Hour(1), last: Hour(0) };

    /// Those that began later than `since` ago, up to `now`.
    pub(super) fn within(now: Timestamp, since: Duration) -> Self {
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let first = match now.as_millis().saturating_sub(since) {
            before @ 0.. => Hour(Hour::of(Timestamp::from_millis(before)).0 + 1),
            _ => Hour(0),
        };
        Self { first, last: Hour::of(now) }
    }

    /// Those that `from` and every later moment before `until` lie in.
    pub(super) fn between(from: Timestamp, until: Timestamp) -> Self {
        match until.as_millis() - 1 {
            last @ 0.. if until > from => {
                Self { first: Hour::of(from), last: Hour::of(Timestamp::from_millis(last)) }
            }
            _ => Self::NONE,
        }
    }

    /// Those that both have.
    pub(super) fn and(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), last: self.last.min(other.last) }
    }

    pub(super) fn has(self, hour: Hour) -> bool {
        (self.first..=self.last).contains(&hour)
    }

    pub(super) fn each(self) -> impl Iterator<Item = Hour> {
        (self.first.0..=self.last.0).map(Hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn numbers(hours: Hours) -> Vec<u32> {
        hours.each().map(|hour| hour.0).collect()
    }

    fn within(millis: i64, since: Duration) -> Vec<u32> {
        numbers(Hours::within(Timestamp::from_millis(millis), since))
    }

    #[test]
    fn so_many_hours_are_so_many_sums_at_any_minute() {
        for millis in [0, 1, HOUR_MILLIS / 2, HOUR_MILLIS - 1] {
            assert_eq!(within(1000 * HOUR_MILLIS + millis, 3 * HOUR), [998, 999, 1000], "{millis}");
        }
        assert_eq!(within(1000 * HOUR_MILLIS, 720 * HOUR).len(), 30 * 24);
    }

    #[test]
    fn the_edges_of_time_are_no_trouble() {
        assert_eq!(within(2 * HOUR_MILLIS, Duration::MAX), [0, 1, 2]);
        assert_eq!(within(2 * HOUR_MILLIS + 5, Duration::ZERO), [0; 0]);
        assert_eq!(within(2 * HOUR_MILLIS + 5, Duration::from_millis(6)), [2]);
        assert_eq!(Hour(5).first_kept(6 * HOUR), Hour(0));
        assert_eq!((Hour(30).day(), Hour(24).day()), (Hour(24).start(), Hour(24).start()));
    }

    #[test]
    fn a_time_has_the_hours_that_it_touches() {
        let hours = |from: i64, until: i64| {
            numbers(Hours::between(Timestamp::from_millis(from), Timestamp::from_millis(until)))
        };
        assert_eq!(hours(HOUR_MILLIS, 3 * HOUR_MILLIS), [1, 2]);
        assert_eq!(hours(HOUR_MILLIS + 5, 3 * HOUR_MILLIS + 1), [1, 2, 3]);
        assert_eq!((hours(5, 5), hours(5, 4), hours(0, 0), hours(0, 1)), (vec![], vec![], vec![], vec![0]));
    }
}
