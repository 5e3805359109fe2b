//! Hours since 1970-01-01 UTC: which one a moment lies in, which ones began lately. Never: what was used in them.

use std::time::Duration;

use crate::types::Timestamp;

use super::KEPT;

const HOUR_MILLIS: i64 = 60 * 60 * 1000;

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
    pub(super) fn first_kept(self) -> Self {
        let kept = u32::try_from(KEPT.as_secs() / (60 * 60)).unwrap_or(u32::MAX);
        Self(self.0.saturating_sub(kept))
    }

    pub(super) const fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

/// Hours in a row, the last one included; none when the first comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hours {
    pub(super) first: Hour,
    pub(super) last: Hour,
}

impl Hours {
    /// Those that began later than `since` ago ([`KEPT`] at most), up to `now`.
    pub(super) fn within(now: Timestamp, since: Duration) -> Self {
        let since = i64::try_from(since.min(KEPT).as_millis()).unwrap_or(i64::MAX);
        let first = match now.as_millis() - since {
            before @ 0.. => Hour(Hour::of(Timestamp::from_millis(before)).0 + 1),
            _ => Hour(0),
        };
        Self { first, last: Hour::of(now) }
    }

    pub(super) fn count(self) -> usize {
        self.each().count()
    }

    pub(super) fn each(self) -> impl Iterator<Item = Hour> {
        (self.first.0..=self.last.0).map(Hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn numbers(millis: i64, since: Duration) -> Vec<u32> {
        Hours::within(Timestamp::from_millis(millis), since).each().map(|hour| hour.0).collect()
    }

    #[test]
    fn so_many_hours_are_so_many_sums_at_any_minute() {
        for millis in [0, 1, HOUR_MILLIS / 2, HOUR_MILLIS - 1] {
            assert_eq!(numbers(1000 * HOUR_MILLIS + millis, 3 * HOUR), [998, 999, 1000], "{millis}");
        }
        assert_eq!(numbers(1000 * HOUR_MILLIS, KEPT).len(), 30 * 24);
    }

    #[test]
    fn the_edges_of_time_are_no_trouble() {
        assert_eq!(numbers(2 * HOUR_MILLIS, Duration::MAX), [0, 1, 2]);
        assert_eq!(numbers(2 * HOUR_MILLIS + 5, Duration::ZERO), [0; 0]);
        assert_eq!(numbers(2 * HOUR_MILLIS + 5, Duration::from_millis(6)), [2]);
        assert_eq!(numbers(Timestamp::MAX.as_millis(), Duration::MAX).len(), 30 * 24);
        assert_eq!(Hour(5).first_kept(), Hour(0));
    }
}
