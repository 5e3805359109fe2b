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
    /// Where several things are wrong: each, in a sentence with its place.
    pub faults: Vec<String>,
}

impl AdminError {
    /// A refusal of what makes no sense.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Problem::Invalid, detail)
    }

    /// Trouble that is nobody's fault who asked.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Problem::Unavailable, detail)
    }

    /// A configuration with faults, which was not loaded.
    #[must_use]
    pub fn configuration(faults: Vec<String>) -> Self {
        let detail = "the configuration was refused, nothing was changed";
        Self { faults, ..Self::new(Problem::Configuration, detail) }
    }

    /// Trouble of a kind, in a sentence.
    #[must_use]
    pub fn new(problem: Problem, detail: impl Into<String>) -> Self {
        Self { problem, detail: detail.into(), wait: None, faults: Vec::new() }
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
        Self { wait: error.wait(), ..Self::new(error.problem(), error.to_string()) }
    }
}
