//! Points in time for people: the day and minute in UTC, and how far away it is. Never: reading a clock.

use std::time::Duration;

use super::{Timestamp, counted};

/// `2026-11-23 20:01 UTC`.
#[must_use]
pub fn absolute(point: Timestamp) -> String {
    let text = point.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

/// `in 90 days`, `3 min ago`, `just now`.
#[must_use]
pub fn relative(point: Timestamp, now: Timestamp) -> String {
    if point > now {
        let text = rounded(point.since(now));
        if text.is_empty() { "in less than a minute".to_string() } else { format!("in {text}") }
    } else {
        let text = rounded(now.since(point));
        if text.is_empty() { "just now".to_string() } else { format!("{text} ago") }
    }
}

/// Both, the second in brackets.
#[must_use]
pub fn both(point: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", absolute(point), relative(point, now))
}

/// A length of time for people; in seconds below a minute.
#[must_use]
pub fn length(wait: Duration) -> String {
    let text = rounded(wait);
    if text.is_empty() { format!("{} s", wait.as_secs()) } else { text }
}

/// The largest unit of which there are two or more, or one whole, to the nearest; empty below a minute.
fn rounded(wait: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const YEAR: u64 = 365 * DAY;
    let seconds = wait.as_secs();
    let near = |unit: u64| (wait.as_millis() as u64 + unit * 500) / (unit * 1000);
    match seconds {
        0..MINUTE => String::new(),
        _ if near(MINUTE) < 60 => format!("{} min", near(MINUTE)),
        _ if near(HOUR) < 48 => counted(near(HOUR), "hour"),
        _ if near(DAY) < 730 => counted(near(DAY), "day"),
        _ => counted(near(YEAR), "year"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn the_minute_is_told_with_its_zone() {
        let point = "2026-11-23T20:01:59.999Z".parse().unwrap();
        assert_eq!(absolute(point), "2026-11-23 20:01 UTC");
    }

    #[test]
    fn distances_are_rounded_to_what_people_say() {
        let now = at(1_000_000_000);
        for (seconds, text) in [
            (0, "just now"),
            (-59, "just now"),
            (30, "in less than a minute"),
            (-180, "3 min ago"),
            (3600, "in 1 hour"),
            (-47 * 3600, "47 hours ago"),
            (90 * 86_400 - 1, "in 90 days"),
            (90 * 86_400, "in 90 days"),
            (10 * 365 * 86_400, "in 10 years"),
        ] {
            assert_eq!(relative(at(1_000_000_000 + seconds), now), text, "{seconds}");
        }
    }
}
