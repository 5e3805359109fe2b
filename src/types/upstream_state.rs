//! How a model server is, in one word. Never: how that is found out.

/// How a model server is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamState {
    /// It was not checked yet; requests are sent to it.
    Unknown,
    /// Requests are sent to it.
    Up,
    /// The last check failed: requests are sent to it when no other server is left.
    Down,
    /// Requests failed there: for a while they are sent to it when no other server is left.
    Open,
    /// An operator wants no new requests there.
    Draining,
}

impl UpstreamState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Up, Self::Down, Self::Open, Self::Draining];

    /// The one with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether the server is well and requests are sent to it.
    #[must_use]
    pub fn is_healthy(self) -> bool {
        self == Self::Up
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Open => "open",
            Self::Draining => "draining",
        }
    }
}
