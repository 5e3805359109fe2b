//! Refusals of the admin door as RFC 9457 problem+json, both ways. Never: the reasons; those are the registry's words.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::admin::AdminError;
use crate::registry::Problem;

/// The media type of a refusal.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A refusal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ProblemJson {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    pub(super) detail: String,
    pub(super) code: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

const ALL: [Problem; 8] = [
    Problem::Invalid,
    Problem::NotFound,
    Problem::NotAllowed,
    Problem::Conflict,
    Problem::TooMany,
    Problem::Unavailable,
    Problem::NotDurable,
    Problem::Configuration,
];

const fn words(problem: Problem) -> (StatusCode, &'static str, &'static str) {
    match problem {
        Problem::Invalid => (StatusCode::BAD_REQUEST, "invalid", "This makes no sense"),
        Problem::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is no such thing"),
        Problem::NotAllowed => (StatusCode::FORBIDDEN, "not_allowed", "This is not allowed"),
        Problem::Conflict => (StatusCode::CONFLICT, "conflict", "This clashes with what is there"),
        Problem::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many", "This is asked too often"),
        Problem::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This can't be done now"),
        Problem::NotDurable => {
            (StatusCode::SERVICE_UNAVAILABLE, "not_durable", "Denied now, not yet durable")
        }
        Problem::Configuration => {
            (StatusCode::UNPROCESSABLE_ENTITY, "configuration", "The configuration has faults")
        }
    }
}

/// The status that goes with a kind of trouble.
pub(in crate::http) const fn status_of(problem: Problem) -> StatusCode {
    words(problem).0
}

impl ProblemJson {
    pub(super) fn of(error: &AdminError) -> (StatusCode, Self) {
        let (status, code, title) = words(error.problem);
        (status, Self { faults: error.faults.clone(), ..Self::new(status, code, title, &error.detail) })
    }

    pub(super) fn new(status: StatusCode, code: &str, title: &str, detail: &str) -> Self {
        Self {
            kind: "about:blank".to_string(),
            title: title.to_string(),
            status: status.as_u16(),
            detail: detail.to_string(),
            code: code.to_string(),
            faults: Vec::new(),
        }
    }

    /// The error this tells of; an unknown code is trouble of the server's.
    pub(super) fn into_error(self) -> AdminError {
        let known = ALL.into_iter().find(|problem| words(*problem).1 == self.code);
        let error = AdminError::new(known.unwrap_or(Problem::Unavailable), self.detail);
        AdminError { faults: self.faults, ..error }
    }
}
