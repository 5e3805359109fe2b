//! What the registry refuses, in words that name the thing, the reason and the next step. Never: status or exit codes.

use std::time::Duration;

use crate::store::Trouble;
use crate::types::RandomUnavailable;

/// What kind of trouble a refusal is; doors turn it into their own codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// What was asked for makes no sense.
    Invalid,
    /// There is no such thing, or not for this actor.
    NotFound,
    /// It is there, and this actor may not.
    NotAllowed,
    /// It clashes with what is there.
    Conflict,
    /// Asked too often, or by too many at once.
    TooMany,
    /// The store can't do it now.
    Unavailable,
    /// It is denied from now on, but a restart could forget that until it is written down.
    NotDurable,
    /// The configuration has faults, so it was not loaded.
    Configuration,
}

/// Why the registry did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// A value is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// Several keys answer to the text.
    #[error("'{text}' fits {} keys; name one by its id:\n{}", .candidates.len(), .candidates.join("\n"))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// A line for each key it could be.
        candidates: Vec<String>,
    },
    /// Not this actor.
    #[error("{0}")]
    NotAllowed(String),
    /// It clashes with what is there.
    #[error("{0}")]
    Conflict(String),
    /// Asked too often, or by too many at once.
    #[error("{sentence}")]
    TooMany {
        /// What to do.
        sentence: String,
        /// How long to wait.
        wait: Duration,
    },
    /// The store can't do it now; nothing was changed.
    #[error("{0}")]
    Store(String),
    /// Denied in memory, not yet on disk.
    #[error(
        "denied now, not yet durable: {0}; Ember keeps trying, do not restart it before the disk is well"
    )]
    NotDurable(String),
}

impl RegistryError {
    /// What kind of trouble it is.
    #[must_use]
    pub const fn problem(&self) -> Problem {
        match self {
            Self::Invalid(_) => Problem::Invalid,
            Self::NotFound(_) => Problem::NotFound,
            Self::NotAllowed(_) => Problem::NotAllowed,
            Self::Ambiguous { .. } | Self::Conflict(_) => Problem::Conflict,
            Self::TooMany { .. } => Problem::TooMany,
            Self::Store(_) => Problem::Unavailable,
            Self::NotDurable(_) => Problem::NotDurable,
        }
    }
}

impl RegistryError {
    /// How long to wait before asking again, where that is known.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooMany { wait, .. } => Some(*wait),
            Self::Invalid(_)
            | Self::NotFound(_)
            | Self::Ambiguous { .. }
            | Self::NotAllowed(_)
            | Self::Conflict(_)
            | Self::Store(_)
            | Self::NotDurable(_) => None,
        }
    }
}

impl From<Trouble> for RegistryError {
    fn from(trouble: Trouble) -> Self {
        Self::Store(trouble.to_string())
    }
}

impl From<RandomUnavailable> for RegistryError {
    fn from(error: RandomUnavailable) -> Self {
        Self::Store(error.to_string())
    }
}
