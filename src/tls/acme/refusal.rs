//! Why there is no new certificate, in words for the operator, and when the CA wants to be asked again. Never: trying.

use std::error::Error as StdError;
use std::time::{Duration, Instant};

use instant_acme::{Error, Problem};

use crate::types::is_control;

/// The most of a CA's words that are repeated, in characters.
const WORDS_MAX: usize = 600;

/// Why an order came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// A part of a sentence, short and without control characters.
    pub(super) said: String,
    /// How long the CA wants not to be asked.
    pub(super) asked: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(said: &str) -> Self {
        let safe = |c: char| if is_control(c) { '\u{fffd}' } else { c };
        Self { said: said.chars().take(WORDS_MAX).map(safe).collect(), asked: None }
    }

    /// With the wait that the CA named in a header, where the error itself names none.
    pub(super) fn with_wait(mut self, asked: Option<Duration>) -> Self {
        self.asked = self.asked.or(asked);
        self
    }

    /// A problem document of the CA's (RFC 7807).
    pub(super) fn by_ca(problem: &Problem) -> Self {
        Self::new(&format!("the CA says: {}", words(problem)))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if let Error::Api(problem) = &error {
            return Self::by_ca(problem);
        }
        if let Error::Timeout(next) = &error {
            let asked = next.map(|next| next.saturating_duration_since(Instant::now()));
            return Self::new("the CA has not come to an end with the order in time").with_wait(asked);
        }
        if let Error::Json(fault) = &error {
            return Self::new(&format!("the CA's answer can't be understood: {fault}"));
        }
        Self::new(&with_causes(&error))
    }
}

fn words(problem: &Problem) -> String {
    let detail = problem.detail.as_deref().unwrap_or("no reason is given");
    let kind = problem.r#type.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
    let parts: Vec<String> = problem.subproblems.iter().map(ToString::to_string).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{detail}{kind}{parts}")
}

/// An error and what is behind it, each once.
pub(super) fn with_causes(error: &dyn StdError) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(behind) = cause {
        let words = behind.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        cause = behind.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_is_quoted_with_its_kind_and_its_parts_and_without_controls() {
        let problem = r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"no\u001b[31m","subproblems":
            [{"type":"urn:x","detail":"policy","identifier":{"type":"dns","value":"a.test"}}]}"#;
        let problem: Problem = serde_json::from_str(problem).unwrap();
        let refusal = Refusal::from(Error::Api(problem));
        assert_eq!(
            refusal.said,
            "the CA says: no\u{fffd}[31m (urn:ietf:params:acme:error:rejectedIdentifier): for \"a.test\": policy (urn:x)"
        );
        assert_eq!(Refusal::new(&"x".repeat(10_000)).said.len(), WORDS_MAX);
    }

    #[test]
    fn a_wait_that_the_error_names_is_the_one_that_counts() {
        let next = Instant::now() + Duration::from_secs(1000);
        let refusal = Refusal::from(Error::Timeout(Some(next))).with_wait(Some(Duration::from_secs(1)));
        assert!(refusal.asked.unwrap() > Duration::from_secs(900));
        let refusal = Refusal::from(Error::Crypto).with_wait(Some(Duration::from_secs(1)));
        assert_eq!(refusal.asked, Some(Duration::from_secs(1)));
    }
}
