//! Points in time as the command line shows them: for people, or for programs. Never: reading a clock.

use crate::types::Timestamp;

pub(super) use crate::types::moment::{absolute, both, length, relative};

/// How points in time stand in rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Times {
    /// For programs: RFC 3339, to the millisecond.
    Exact,
    /// For people who read it now.
    ReadAt(Timestamp),
}

impl Times {
    /// A point that is looked up: its day and minute.
    pub(super) fn absolute(self, point: Timestamp) -> String {
        match self {
            Self::Exact => point.to_string(),
            Self::ReadAt(_) => absolute(point),
        }
    }

    /// A point whose distance matters.
    pub(super) fn relative(self, point: Timestamp) -> String {
        match self {
            Self::Exact => point.to_string(),
            Self::ReadAt(now) => relative(point, now),
        }
    }

    /// The same, or that there is none.
    pub(super) fn relative_or_never(self, point: Option<Timestamp>) -> String {
        point.map_or_else(|| "never".to_string(), |point| self.relative(point))
    }
}

/// A point's day, minute and distance, or that there is none.
pub(super) fn both_or_never(point: Option<Timestamp>, now: Timestamp) -> String {
    point.map_or_else(|| "never".to_string(), |point| both(point, now))
}
