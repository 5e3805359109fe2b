//! Calendar periods in UTC. Never: what is counted in them.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

use super::Timestamp;

/// A stretch of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
    /// All time.
    Ever,
}

impl Period {
    /// The first moment of the period that `at` lies in, and the first moment after it.
    #[must_use]
    pub fn around(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let bounds = || {
            let day = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?.to_zoned(TimeZone::UTC).date();
            let (first, span) = match self {
                Self::Day => (day, 1.day()),
                Self::Week => (monday(day)?, 7.days()),
                Self::Month => (day.first_of_month(), 1.month()),
                Self::Ever => return None,
            };
            let end = first.checked_add(span).ok().and_then(midnight).unwrap_or(Timestamp::MAX);
            Some((midnight(first)?, end))
        };
        bounds().unwrap_or((Timestamp::from_millis(0), Timestamp::MAX))
    }
}

/// 1970 began on a Thursday: the Monday before it is brought to that day.
fn monday(day: Date) -> Option<Date> {
    if day.weekday() == Weekday::Monday { Some(day) } else { day.nth_weekday(-1, Weekday::Monday).ok() }
}

fn midnight(day: Date) -> Option<Timestamp> {
    let start: Zoned = day.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(start.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_the_calendars_in_utc() {
        for (period, at, first, end) in [
            (Period::Day, "2026-11-25T23:59:59.999Z", "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"),
            (Period::Day, "2026-11-26T00:00:00Z", "2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"),
            (Period::Week, "2026-11-25T12:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Week, "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Week, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-05T00:00:00Z"),
            (Period::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2026-12-31T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            let (first, end): (Timestamp, Timestamp) = (first.parse().unwrap(), end.parse().unwrap());
            assert_eq!(period.around(at.parse().unwrap()), (first, end), "{period:?} {at}");
        }
    }

    #[test]
    fn the_edges_of_time_are_no_trouble() {
        for period in [Period::Day, Period::Week, Period::Month, Period::Ever] {
            for at in [Timestamp::from_millis(0), Timestamp::MAX] {
                let (first, end) = period.around(at);
                assert!(first <= at && at <= end, "{period:?}");
            }
        }
    }
}
