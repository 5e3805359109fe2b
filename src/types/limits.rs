//! What may be used in which time, by a key or an account. Never: what was used.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::Period;

/// What a limit bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitKind {
    /// Requests in a minute; as many may come at once.
    RequestsPerMinute,
    /// Tokens in a minute, those read and those written together; as many may come at once.
    TokensPerMinute,
    /// Requests under way.
    ConcurrentRequests,
    /// Requests in a day, from midnight to midnight UTC.
    RequestsPerDay,
    /// Tokens in a day, from midnight to midnight UTC.
    TokensPerDay,
    /// Tokens in a week, from Monday to Monday UTC.
    TokensPerWeek,
    /// Tokens in a calendar month, UTC.
    TokensPerMonth,
    /// Tokens, once and for all.
    TokensTotal,
}

/// How a kind of limit is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// What is used comes back evenly within a minute.
    Rate(Unit),
    /// What is held counts.
    Open,
    /// What is used comes back when the period ends.
    Budget(Unit, Period),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
}

impl LimitKind {
    /// Every kind, in the order people list them.
    pub const ALL: [Self; 8] = [
        Self::RequestsPerMinute,
        Self::TokensPerMinute,
        Self::ConcurrentRequests,
        Self::RequestsPerDay,
        Self::TokensPerDay,
        Self::TokensPerWeek,
        Self::TokensPerMonth,
        Self::TokensTotal,
    ];

    /// The word used in JSON, forms and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::ConcurrentRequests => "concurrent_requests",
            Self::RequestsPerDay => "requests_per_day",
            Self::TokensPerDay => "tokens_per_day",
            Self::TokensPerWeek => "tokens_per_week",
            Self::TokensPerMonth => "tokens_per_month",
            Self::TokensTotal => "tokens_total",
        }
    }

    /// The same for people: `tokens per day`.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests per minute",
            Self::TokensPerMinute => "tokens per minute",
            Self::ConcurrentRequests => "requests at once",
            Self::RequestsPerDay => "requests per day",
            Self::TokensPerDay => "tokens per day",
            Self::TokensPerWeek => "tokens per week",
            Self::TokensPerMonth => "tokens per month",
            Self::TokensTotal => "tokens in all",
        }
    }

    /// How it is kept.
    #[must_use]
    pub const fn measure(self) -> Measure {
        match self {
            Self::RequestsPerMinute => Measure::Rate(Unit::Requests),
            Self::TokensPerMinute => Measure::Rate(Unit::Tokens),
            Self::ConcurrentRequests => Measure::Open,
            Self::RequestsPerDay => Measure::Budget(Unit::Requests, Period::Day),
            Self::TokensPerDay => Measure::Budget(Unit::Tokens, Period::Day),
            Self::TokensPerWeek => Measure::Budget(Unit::Tokens, Period::Week),
            Self::TokensPerMonth => Measure::Budget(Unit::Tokens, Period::Month),
            Self::TokensTotal => Measure::Budget(Unit::Tokens, Period::Ever),
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word names no kind of limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no limit; there are requests_per_minute, tokens_per_minute, concurrent_requests, requests_per_day, tokens_per_day, tokens_per_week, tokens_per_month and tokens_total"
)]
pub struct UnknownLimit(pub String);

impl FromStr for LimitKind {
    type Err = UnknownLimit;

    fn from_str(text: &str) -> Result<Self, UnknownLimit> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.as_str() == text).ok_or_else(|| UnknownLimit(text.to_string()))
    }
}

/// A limit as it was chosen for one key or account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Limit {
    /// The configuration's.
    #[default]
    Default,
    /// None, whatever the configuration says.
    Unlimited,
    /// So much, 1 to [`Limit::MAX`].
    Max(NonZeroU64),
}

impl Limit {
    /// The largest limit there is.
    pub const MAX: u64 = 1_000_000_000_000;

    /// What holds, by the configuration's own limit; none when nothing does.
    #[must_use]
    pub const fn or(self, default: Option<NonZeroU64>) -> Option<NonZeroU64> {
        match self {
            Self::Default => default,
            Self::Unlimited => None,
            Self::Max(max) => Some(max),
        }
    }

    /// A limit of so much.
    ///
    /// # Errors
    /// [`LimitError`] when it is outside 1 to [`Limit::MAX`].
    pub fn max(number: u64) -> Result<Self, LimitError> {
        NonZeroU64::new(number).filter(|max| max.get() <= Self::MAX).map(Self::Max).ok_or(LimitError)
    }
}

/// The text is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a limit is a number from 1 to 1000000000000 (1k, 5M and 2G are understood), 'unlimited', or 'default' for the configuration's; to let nothing through, disable the key"
)]
pub struct LimitError;

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        match text {
            "default" => return Ok(Self::Default),
            "unlimited" => return Ok(Self::Unlimited),
            _ => {}
        }
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 1_000),
            Some(b'M') => (&text[..text.len() - 1], 1_000_000),
            Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(LimitError);
        }
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        Self::max(number.ok_or(LimitError)?)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::Unlimited => f.pad("unlimited"),
            Self::Max(max) => f.pad(&max.to_string()),
        }
    }
}

/// One limit of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits([Limit; LimitKind::ALL.len()]);

impl Limits {
    /// The limit of a kind.
    #[must_use]
    pub const fn get(&self, kind: LimitKind) -> Limit {
        self.0[kind as usize]
    }

    /// Puts another limit in the place of a kind's.
    pub const fn set(&mut self, kind: LimitKind, limit: Limit) {
        self.0[kind as usize] = limit;
    }

    /// Every kind with its limit.
    pub fn each(&self) -> impl Iterator<Item = (LimitKind, Limit)> {
        LimitKind::ALL.into_iter().map(|kind| (kind, self.get(kind)))
    }
}

/// The limits that hold in the end; none of a kind limits nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds([Option<NonZeroU64>; LimitKind::ALL.len()]);

impl Bounds {
    /// The bound of a kind.
    #[must_use]
    pub const fn get(&self, kind: LimitKind) -> Option<NonZeroU64> {
        self.0[kind as usize]
    }

    /// Puts another bound in the place of a kind's.
    pub const fn set(&mut self, kind: LimitKind, bound: Option<NonZeroU64>) {
        self.0[kind as usize] = bound;
    }

    /// What follows from someone's own limits and these, the configuration's.
    #[must_use]
    pub fn under(&self, own: &Limits) -> Self {
        let mut held = *self;
        held.0.iter_mut().zip(&own.0).for_each(|(bound, limit)| *bound = limit.or(*bound));
        held
    }

    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The kinds that are bounded.
    pub fn each(&self) -> impl Iterator<Item = (LimitKind, NonZeroU64)> {
        LimitKind::ALL.iter().zip(&self.0).filter_map(|(kind, bound)| Some((*kind, (*bound)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_a_word() {
        for (text, limit) in [
            ("default", Ok(Limit::Default)),
            ("unlimited", Ok(Limit::Unlimited)),
            ("1", Limit::max(1)),
            ("60k", Limit::max(60_000)),
            ("5M", Limit::max(5_000_000)),
            ("1000G", Limit::max(Limit::MAX)),
        ] {
            assert_eq!(text.parse(), limit, "{text}");
            assert!(limit.is_ok());
        }
        for text in ["", "0", "-1", "+1", "1.5", "k", "1 k", "1K", "1000000000001", "99999999999999999999G"] {
            assert_eq!(text.parse::<Limit>(), Err(LimitError), "{text}");
        }
    }

    #[test]
    fn what_someone_has_of_his_own_wins_over_the_configuration() {
        let (mut defaults, mut own) = (Bounds::default(), Limits::default());
        let number = NonZeroU64::new;
        for kind in [LimitKind::RequestsPerMinute, LimitKind::TokensPerDay, LimitKind::TokensTotal] {
            defaults.set(kind, number(10));
        }
        own.set(LimitKind::TokensPerDay, Limit::Max(number(20).unwrap()));
        own.set(LimitKind::TokensTotal, Limit::Unlimited);
        let held = defaults.under(&own);
        let expected = [
            (LimitKind::RequestsPerMinute, number(10).unwrap()),
            (LimitKind::TokensPerDay, number(20).unwrap()),
        ];
        assert_eq!(held.each().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn words_go_both_ways() {
        for kind in LimitKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("tokens".parse::<LimitKind>().is_err());
    }
}
