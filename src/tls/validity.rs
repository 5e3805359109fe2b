//! How a certificate stands to the time. Never: reads a clock, renews anything.

use std::time::Duration;

use crate::types::{Timestamp, counted};

use super::Certificate;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// From here on an end is near: whoever renews by himself has done it long before.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const VERY_SOON: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// How a certificate stands to a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// No client takes it yet.
    NotYet,
    /// For more than 14 days.
    Good,
    /// For 14 days at most.
    EndsSoon,
    /// For 3 days at most.
    EndsVerySoon,
    /// No client takes it any more.
    Expired,
}

impl Certificate {
    /// How it stands at `now`.
    #[must_use]
    pub fn validity(&self, now: Timestamp) -> Validity {
        validity(self.not_before(), self.not_after(), now)
    }

    /// A sentence about what is wrong, or soon will be, with its time; none while it is good.
    #[must_use]
    pub fn complaint(&self, now: Timestamp) -> Option<String> {
        let (begin, end) = (self.not_before(), self.not_after());
        match self.validity(now) {
            Validity::Good => None,
            Validity::NotYet => {
                Some(format!("it holds from {begin} on only, so clients refuse it until then"))
            }
            Validity::EndsSoon | Validity::EndsVerySoon => {
                let days = end.since(now).as_secs() / DAY.as_secs();
                Some(format!("it expires in {}, on {end}; replace it before", counted(days, "day")))
            }
            Validity::Expired => Some(format!("it expired on {end}, so clients refuse it; replace it")),
        }
    }
}

fn validity(begin: Timestamp, end: Timestamp, now: Timestamp) -> Validity {
    if now < begin {
        return Validity::NotYet;
    }
    if now >= end {
        return Validity::Expired;
    }
    match end.since(now) {
        left if left <= VERY_SOON => Validity::EndsVerySoon,
        left if left <= SOON => Validity::EndsSoon,
        _ => Validity::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_comes_nearer_in_steps() {
        let day = |day: i64| Timestamp::from_millis(day * 86_400_000);
        for (now, expected) in [
            (day(9), Validity::NotYet),
            (day(10), Validity::Good),
            (day(85), Validity::Good),
            (day(86), Validity::EndsSoon),
            (day(96), Validity::EndsSoon),
            (day(97), Validity::EndsVerySoon),
            (day(99), Validity::EndsVerySoon),
            (day(100), Validity::Expired),
            (day(101), Validity::Expired),
        ] {
            assert_eq!(validity(day(10), day(100), now), expected, "{now}");
        }
    }
}
