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
}

impl Ending {
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
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
