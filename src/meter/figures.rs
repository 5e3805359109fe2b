//! What is counted of requests, and one request's share of it. Never: whose they were, where the sums are kept.

use std::sync::Arc;
use std::time::Duration;

use crate::types::{AccountId, AnswerKind, Ending, KeyId, Tokens};

/// What one request used, told once, when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Whose request it was.
    pub key: KeyId,
    /// The account that owns the key.
    pub account: AccountId,
    /// The public name of the model that it was for; none when no such model is served.
    pub model: Option<Arc<str>>,
    /// The model server that it went to last; none when it was refused before.
    pub upstream: Option<Arc<str>>,
    /// What was used, if anything is known.
    pub tokens: Option<Tokens>,
    /// How it ended.
    pub ending: Ending,
    /// What else is known of it.
    pub course: Course,
}

/// How a request went, beside its ending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Course {
    /// Whether the tokens are an estimate of Ember's.
    pub estimated: bool,
    /// The model server's answer, if there was one.
    pub answer: Option<AnswerKind>,
    /// From the beginning of the relay to the first token, or to the first byte of an answer that does not stream.
    pub first_token: Option<Duration>,
    /// From the beginning of the relay to the end.
    pub duration: Duration,
}

/// Sums of requests. Every sum stops at the largest number there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests that were admitted and have ended.
    pub requests: u64,
    /// Tokens of all of them.
    pub tokens: Tokens,
    /// The requests whose tokens are an estimate.
    pub estimated: u64,
    /// The requests that failed: an answer of 4xx or 5xx, or an ending that [`Ending::is_error`].
    pub errors: u64,
    /// Of these, the ones that a model server answered with 4xx.
    pub client_errors: u64,
    /// Of these, the ones that a model server answered with 5xx.
    pub server_errors: u64,
    /// Requests by their ending, each at [`Ending::place`].
    pub endings: [u64; Ending::ALL.len()],
    /// The requests of which a first token was seen.
    pub first_tokens: u64,
    /// The times to their first tokens together, in milliseconds.
    pub first_token_ms: u64,
    /// The times of all requests together, in milliseconds.
    pub duration_ms: u64,
}

impl Figures {
    /// One request's.
    #[must_use]
    pub fn of(used: &Use) -> Self {
        let mut figures = Self::default();
        figures.count(used);
        figures
    }

    /// Adds one request.
    pub(super) fn count(&mut self, used: &Use) {
        let Course { estimated, answer, first_token, duration } = used.course;
        let (client, server) =
            (answer == Some(AnswerKind::ClientError), answer == Some(AnswerKind::ServerError));
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.requests, 1);
        if let Some(tokens) = used.tokens {
            self.tokens = self.tokens.plus(tokens);
            add(&mut self.estimated, estimated.into());
        }
        add(&mut self.errors, (client || server || used.ending.is_error()).into());
        add(&mut self.client_errors, client.into());
        add(&mut self.server_errors, server.into());
        add(&mut self.endings[used.ending.place()], 1);
        add(&mut self.first_tokens, first_token.is_some().into());
        add(&mut self.first_token_ms, first_token.map_or(0, millis));
        add(&mut self.duration_ms, millis(duration));
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut endings = self.endings;
        for (one, more) in endings.iter_mut().zip(other.endings) {
            *one = one.saturating_add(more);
        }
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.plus(other.tokens),
            estimated: self.estimated.saturating_add(other.estimated),
            errors: self.errors.saturating_add(other.errors),
            client_errors: self.client_errors.saturating_add(other.client_errors),
            server_errors: self.server_errors.saturating_add(other.server_errors),
            endings,
            first_tokens: self.first_tokens.saturating_add(other.first_tokens),
            first_token_ms: self.first_token_ms.saturating_add(other.first_token_ms),
            duration_ms: self.duration_ms.saturating_add(other.duration_ms),
        }
    }

    /// The requests that ended in that way.
    #[must_use]
    pub const fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending.place()]
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
