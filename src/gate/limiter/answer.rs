//! What is said of limits: what is left, and which one stands in the way. Never: how that is found out.

use std::time::Duration;

use crate::types::{LimitKind, Measure, Unit};

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The key's own.
    Key,
    /// The account's: all its keys together.
    Account,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The limit.
    pub max: u64,
    /// What is left of it.
    pub left: u64,
    /// How long until all of it is there again; none when that takes more than time.
    pub reset: Option<Duration>,
}

/// What is left of one kind of limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStanding {
    /// Which.
    pub kind: LimitKind,
    /// How it stands.
    pub allowance: Allowance,
}

/// What is left of the limit that is nearest, for requests and for tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Of requests.
    pub requests: Option<Allowance>,
    /// Of tokens.
    pub tokens: Option<Allowance>,
}

/// A limit that stands in a request's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// Which.
    pub kind: LimitKind,
    /// Whose.
    pub whose: Whose,
    /// The limit.
    pub max: u64,
    /// How long until the request may pass; none when nobody knows, or when waiting is of no use.
    pub wait: Option<Duration>,
    /// Whether the request would fit if nothing had been used.
    pub fits: bool,
    /// What it asked for, in the limit's units.
    pub needed: u64,
    /// What is left of this one.
    pub left: u64,
    /// What is left.
    pub allowances: Allowances,
}

impl Allowances {
    /// Takes the limit of this kind for the nearest one if less of it is left than of those before. What holds for
    /// requests under way only is left out: no header could say it.
    pub(super) fn see(&mut self, kind: LimitKind, allowance: Allowance) {
        let place = match kind.measure() {
            Measure::Open => return,
            Measure::Rate(Unit::Requests) | Measure::Budget(Unit::Requests, _) => &mut self.requests,
            Measure::Rate(Unit::Tokens) | Measure::Budget(Unit::Tokens, _) => &mut self.tokens,
        };
        if place.is_none_or(|known| allowance.left < known.left) {
            *place = Some(allowance);
        }
    }
}
