//! Counts what requests used. Never: refuses anyone, knows what a key may do.

use std::sync::Mutex;

use crate::types::{Ending, KeyId, Tokens};

/// What one request used, told once, when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Whose request it was.
    pub key: KeyId,
    /// What was used, if anything is known.
    pub tokens: Option<Tokens>,
    /// How it ended.
    pub ending: Ending,
}

/// Sums since this process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were admitted and have ended.
    pub requests: u64,
    /// Of these, the ones that did not end with [`Ending::Done`].
    pub unfinished: u64,
    /// Tokens of all of them.
    pub tokens: Tokens,
}

/// Takes each use once and keeps the sums.
#[derive(Debug, Default)]
pub struct Meter {
    totals: Mutex<Totals>,
}

impl Meter {
    /// Adds one request.
    pub fn record(&self, used: &Use) {
        let mut totals = self.totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        totals.requests += 1;
        totals.unfinished += u64::from(used.ending != Ending::Done);
        if let Some(tokens) = used.tokens {
            // The numbers are a model server's word.
            let sum = &mut totals.tokens;
            sum.prompt = sum.prompt.saturating_add(tokens.prompt);
            sum.completion = sum.completion.saturating_add(tokens.completion);
            sum.cached = sum.cached.saturating_add(tokens.cached);
        }
    }

    /// The sums so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
