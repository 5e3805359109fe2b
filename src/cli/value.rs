//! Values as they are typed on the command line, and what they mean. Never: flags' names.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

use crate::admin::{lately, wire};
use crate::meter::{Group, Step};
use crate::types::{
    AddressScope, DisplayName, Gather, KeyStatus, ModelId, ModelScope, NameError, RouteName, RouteScope,
    Timestamp, network,
};

/// When a key is to end, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    /// This long from now.
    In(Duration),
    At(Timestamp),
}

const EXPIRY_MIN: Duration = Duration::from_secs(60);
const EXPIRY_MAX: Duration = Duration::from_secs(3653 * 24 * 60 * 60);

impl Expiry {
    /// The point in time it means, if any.
    pub(super) fn end(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::In(wait) => Some(now.after(wait)),
            Self::At(end) => Some(end),
        }
    }
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Ok(end) = Timestamp::parse_end_of(text) {
            return Ok(Self::At(end));
        }
        let wait = duration(text).map_err(|_| {
            "write a time from now such as 90d or 12h, a date such as 2027-01-31 (the end of that day in UTC), or never"
                .to_string()
        })?;
        if (EXPIRY_MIN..=EXPIRY_MAX).contains(&wait) {
            Ok(Self::In(wait))
        } else {
            Err("it is 1 minute at least and 10 years (3653d) at most; or write never".to_string())
        }
    }
}

/// How long from one look to the next: seconds, with a fraction or without.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write seconds, from 0.1 to 3600".to_string())
}

/// What the lines of a report are kept apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct By(pub(super) Option<Group>, pub(super) Option<Step>);

/// The words for that.
pub(super) fn by(text: &str) -> Result<By, String> {
    match wire::by(text) {
        Ok((None, None)) => Err("name at least one of key, account, model, upstream, day, hour".to_string()),
        Ok((group, step)) => Ok(By(group, step)),
        Err(error) => Err(error.detail.replace("'by' is", "write")),
    }
}

/// When a report is to begin, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// So long ago.
    Ago(Duration),
    At(Timestamp),
}

impl Beginning {
    /// The point in time it means.
    pub(super) fn point(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(since) => lately(now, since),
            Self::At(point) => point,
        }
    }
}

impl FromStr for Beginning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(point) = Timestamp::parse_start_of(text) {
            return Ok(Self::At(point));
        }
        let ago = duration(text).ok().filter(|ago| !ago.is_zero());
        ago.map(Self::Ago).ok_or_else(|| {
            "write a time ago such as 24h or 7d, or a date such as 2027-01-31 (the beginning of that day in UTC)"
                .to_string()
        })
    }
}

/// What a person is to be called from now on; empty means no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewName(pub(super) Option<DisplayName>);

impl FromStr for NewName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|name| Self(Some(name))) }
    }
}

/// A time such as 24h or 90d; a day has 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time such as 30m, 24h or 7d".to_string();
    let span: Span = text.parse().map_err(|_| wrong())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// Models parted by commas, or `all`.
pub(super) fn models(text: &str) -> Result<ModelScope, String> {
    if text == "all" {
        return Ok(ModelScope::All);
    }
    let models = text.split(',').map(|model| model.trim().parse::<ModelId>());
    let models: BTreeSet<_> = models.try_gather().map_err(|error| error.to_string())?;
    Ok(ModelScope::Only(models))
}

/// Routes parted by commas, or `all`.
pub(super) fn routes(text: &str) -> Result<RouteScope, String> {
    if text == "all" {
        return Ok(RouteScope::All);
    }
    let routes = text.split(',').map(|route| route.trim().parse::<RouteName>());
    let routes: BTreeSet<_> = routes.try_gather().map_err(|error| error.to_string())?;
    Ok(RouteScope::Only(routes))
}

/// Addresses and networks parted by commas, or `all`.
pub(super) fn addresses(text: &str) -> Result<AddressScope, String> {
    if text == "all" {
        return Ok(AddressScope::All);
    }
    let networks = text.split(',').map(|one| network(one.trim()));
    let networks: BTreeSet<_> = networks.try_gather().map_err(|error| error.to_string())?;
    Ok(AddressScope::Only(networks))
}

/// A key's status by its word.
pub(super) fn status(text: &str) -> Result<KeyStatus, String> {
    let found = KeyStatus::ALL.into_iter().find(|status| status.as_str() == text);
    found.ok_or_else(|| "use active, disabled, expired or revoked".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn an_expiry_is_a_time_from_now_a_date_or_never() {
        let now = Timestamp::from_millis(1_000);
        for (text, end) in [
            ("90d", Some(now.after(Duration::from_secs(90 * DAY)))),
            ("12h", Some(now.after(Duration::from_secs(12 * 3600)))),
            ("1m", Some(now.after(Duration::from_secs(60)))),
            ("2w", Some(now.after(Duration::from_secs(14 * DAY)))),
            ("10 days", Some(now.after(Duration::from_secs(10 * DAY)))),
            ("never", None),
            ("2027-01-31", Some("2027-01-31T23:59:59.999Z".parse().unwrap())),
            ("2027-01-31T12:00:00Z", Some("2027-01-31T12:00:00Z".parse().unwrap())),
        ] {
            assert_eq!(text.parse::<Expiry>().map(|expiry| expiry.end(now)), Ok(end), "{text}");
        }
    }

    #[test]
    fn what_is_no_expiry_is_refused() {
        for text in ["", "soon", "-5d", "5d ago", "59s", "3654d", "20y", "1mo", "0d", "90", "2027-13-01"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_report_begins_a_time_ago_or_with_a_day() {
        let now: Timestamp = "2027-01-31T12:34:56Z".parse().unwrap();
        for (text, point) in [
            ("24h", "2027-01-30T13:00:00Z"),
            ("7d", "2027-01-24T13:00:00Z"),
            ("2027-01-30", "2027-01-30T00:00:00Z"),
            ("2027-01-30T06:00:00Z", "2027-01-30T06:00:00Z"),
        ] {
            let beginning = text.parse::<Beginning>().map(|beginning| beginning.point(now));
            assert_eq!(beginning, Ok(point.parse().unwrap()), "{text}");
        }
        for text in ["", "0s", "-1d", "yesterday"] {
            assert!(text.parse::<Beginning>().is_err(), "{text}");
        }
        assert_eq!(by("day,key"), Ok(By(Some(Group::Key), Some(Step::Day))));
        assert!(by("").is_err() && by("week").is_err());
    }

    #[test]
    fn an_empty_name_is_none_and_a_space_is_no_name() {
        assert_eq!("".parse(), Ok(NewName(None)));
        assert_eq!("Ana".parse(), Ok(NewName("Ana".parse().ok())));
        assert!(" ".parse::<NewName>().is_err());
    }

    #[test]
    fn a_duration_is_never_negative_and_has_a_unit() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(DAY)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for text in ["", "24", "-1h", "1 month", "yesterday"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn routes_and_addresses_are_parted_by_commas() {
        assert!(routes("models, chat/completions").unwrap().allows(RouteName::ChatCompletions));
        assert_eq!((routes("all"), addresses("all")), (Ok(RouteScope::All), Ok(AddressScope::All)));
        let two = addresses("192.0.2.7, 10.0.0.0/8").unwrap();
        assert!(two.allows("10.1.1.1".parse().unwrap()) && !two.allows("192.0.2.8".parse().unwrap()));
        for text in ["", "chat", "models,,chat/completions"] {
            assert!(routes(text).is_err(), "{text}");
        }
        assert!(addresses("").is_err() && addresses("10.0.0.0/8,,").is_err());
    }

    #[test]
    fn models_are_parted_by_commas() {
        let two = models("b, a").unwrap();
        assert!(two.allows("a") && two.allows("b") && !two.allows("c"));
        assert_eq!(models("all"), Ok(ModelScope::All));
        assert!(models("").is_err() && models("a,,b").is_err());
    }
}
