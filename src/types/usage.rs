//! What a request used and how it ended. Never: limits, prices.

use std::fmt;

/// Tokens of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens read.
    pub prompt: u64,
    /// Tokens written.
    pub completion: u64,
    /// The part of `prompt` that the server had cached.
    pub cached: u64,
}

impl Tokens {
    /// Both together. The numbers are a model server's word, so the sum stops at the largest number there is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            prompt: self.prompt.saturating_add(other.prompt),
            completion: self.completion.saturating_add(other.completion),
            cached: self.cached.saturating_add(other.cached),
        }
    }
}

/// Where the numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokensSource {
    /// The model server said so.
    Reported,
    /// The server said nothing; counted from what passed by.
    Estimated,
}

impl TokensSource {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
        }
    }
}

/// What kind of answer a model server gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// 2xx.
    Success,
    /// 4xx: it says that the request is at fault.
    ClientError,
    /// 5xx: it says that it is itself.
    ServerError,
}

/// How a request ended. Its word stands in access lines and usage records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Answered whole.
    Done,
    /// Refused by Ember before a model server saw it.
    Refused,
    /// The caller hung up.
    ClientGone,
    /// The model server could not be reached, broke off or sent garbage.
    ServerDied,
    /// The model server was too slow.
    Timeout,
    /// The key was revoked, disabled or rotated while the answer ran.
    Cut,
    /// Ember was told to stop and the time to drain was over.
    Drained,
    /// Ember was killed or lost power in the middle of it; found at the next start.
    EmberDied,
}

impl Ending {
    /// All of them, each at the place that [`Ending::place`] says.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Refused,
        Self::ClientGone,
        Self::ServerDied,
        Self::Timeout,
        Self::Cut,
        Self::Drained,
        Self::EmberDied,
    ];

    /// Its place in [`Ending::ALL`] and in usage records, for good: a new ending gets the next one.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::ClientGone => 2,
            Self::ServerDied => 3,
            Self::Timeout => 4,
            Self::Cut => 5,
            Self::Drained => 6,
            Self::EmberDied => 7,
        }
    }

    /// Whether the caller did not get what he asked for and neither he nor an operator ended it.
    #[must_use]
    pub const fn is_error(self) -> bool {
        match self {
            Self::Refused | Self::ServerDied | Self::Timeout | Self::EmberDied => true,
            Self::Done | Self::ClientGone | Self::Cut | Self::Drained => false,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::ClientGone => "client_gone",
            Self::ServerDied => "server_died",
            Self::Timeout => "timeout",
            Self::Cut => "cut",
            Self::Drained => "drained",
            Self::EmberDied => "ember_died",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_is_at_its_place() {
        for (place, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending.place(), place, "{ending}");
        }
    }
}
