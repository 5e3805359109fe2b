//! Points in time. Never: reading a clock; that is `serve`'s, everyone else is told the time.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, time};
use jiff::tz::TimeZone;

/// Tells the time of day; the real one is the system's, tests bring their own.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Now, in microseconds since 1970-01-01 UTC. Log lines have them.
    fn now_micros(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or_default().saturating_mul(1000)
    }
}

/// Tells how time passes, whatever is done to the clock on the wall.
pub trait Stopwatch: Send + Sync {
    /// The time since some moment that never changes while this process runs; never less than before.
    fn elapsed(&self) -> std::time::Duration;
}

/// A point in time: milliseconds since 1970-01-01 UTC, which is the default. Shown in RFC 3339.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is neither a date nor a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a date; write 2027-01-31 or 2027-01-31T12:00:00Z")]
pub struct DateError(pub String);

impl Timestamp {
    /// The latest point that RFC 3339 can show: the end of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// `millis` since 1970-01-01 UTC, brought into the years 1970 to 9999.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < 0 {
            Self(0)
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 UTC, as OpenAI's `created` fields have them.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0 / 1000
    }

    /// This long after; at most [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, wait: std::time::Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// The point so long before.
    #[must_use]
    pub fn before(self, wait: std::time::Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_sub(millis))
    }

    /// How long from `earlier` until this; zero when it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// A point in time in RFC 3339, or a bare date, which means the first millisecond of that day in UTC.
    ///
    /// # Errors
    /// [`DateError`] with the text, when it is neither.
    pub fn parse_start_of(text: &str) -> Result<Self, DateError> {
        text.parse().or_else(|_| {
            let date: Date = bare_date(text).ok_or_else(|| DateError(text.to_string()))?;
            date.to_zoned(TimeZone::UTC)
                .map(|start| Self::from_millis(start.timestamp().as_millisecond()))
                .map_err(|_| DateError(text.to_string()))
        })
    }

    /// A point in time in RFC 3339, or a bare date, which means the last millisecond of that day in UTC.
    ///
    /// # Errors
    /// [`DateError`] with the text, when it is neither.
    pub fn parse_end_of(text: &str) -> Result<Self, DateError> {
        text.parse().or_else(|_| {
            let date: Date = bare_date(text).ok_or_else(|| DateError(text.to_string()))?;
            date.to_datetime(time(23, 59, 59, 999_000_000))
                .to_zoned(TimeZone::UTC)
                .map(|end| Self::from_millis(end.timestamp().as_millisecond()))
                .map_err(|_| DateError(text.to_string()))
        })
    }
}

/// jiff would also take the date out of a longer text.
fn bare_date(text: &str) -> Option<Date> {
    if text.len() == "2027-01-31".len() { text.parse().ok() } else { None }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(point) => f.pad(&format!("{point:.3}")),
            Err(_) => f.pad("?"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let point: jiff::Timestamp = text.parse().map_err(|_| DateError(text.to_string()))?;
        Ok(Self::from_millis(point.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_date_is_the_end_of_that_day_in_utc() {
        let end = Timestamp::parse_end_of("2027-01-31").unwrap();
        assert_eq!(end.to_string(), "2027-01-31T23:59:59.999Z");
        let start = Timestamp::parse_start_of("2027-01-31").unwrap();
        assert_eq!(start.to_string(), "2027-01-31T00:00:00.000Z");
    }

    #[test]
    fn rfc_3339_goes_both_ways() {
        let point = Timestamp::parse_end_of("2027-01-31T12:00:00+02:00").unwrap();
        assert_eq!(point.to_string(), "2027-01-31T10:00:00.000Z");
        assert_eq!(point.to_string().parse::<Timestamp>().unwrap(), point);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["", "soon", "2027-02-30", "90d", "2027-01-31T12:00:00"] {
            assert!(Timestamp::parse_end_of(text).is_err(), "{text}");
        }
    }
}
