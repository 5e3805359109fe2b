//! Why a command was not carried out: a kind for doors and exit codes, a sentence for people. Never: status codes.

use std::time::Duration;

use crate::registry::{Problem, RegistryError};

/// A command that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct AdminError {
    /// What kind of trouble it is.
    pub problem: Problem,
    /// The thing, the reason and the next step.
    pub detail: String,
    /// How long to wait before asking again, where that is known.
    pub wait: Option<Duration>,
}

impl AdminError {
    /// A refusal of what makes no sense.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self { problem: Problem::Invalid, detail: detail.into(), wait: None }
    }

    /// Trouble that is nobody's fault who asked.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { problem: Problem::Unavailable, detail: detail.into(), wait: None }
    }
}

impl AdminError {
    /// The wait in whole seconds, for `Retry-After` (RFC 9110, 10.2.3).
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }
}

impl From<RegistryError> for AdminError {
    fn from(error: RegistryError) -> Self {
        Self { problem: error.problem(), detail: error.to_string(), wait: error.wait() }
    }
}
