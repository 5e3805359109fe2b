//! What can go wrong between a caller's pass and a model's answer. Never: words or status codes for the caller.

use std::time::Duration;

use crate::gate::Cut;
use crate::types::Ending;

/// Why a request got no answer, or no whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayFault {
    /// No server has the model.
    UnknownModel,
    /// No known server has the model, but the list of one that might has never been read.
    ModelsNotRead,
    /// Every server that has the model is full, and there was no place in line, or no turn within its time.
    Overloaded {
        /// When those in line will have been served, as far as can be told: 1 s to 60 s.
        retry_after: Duration,
    },
    /// Every server that has the model is drained.
    Drained,
    /// No connection to the server.
    Unreachable,
    /// A connection, but no TLS over it: it is not shown to be the server, or does not speak TLS. The log has more.
    TlsFailed,
    /// The connection ended before the answer did.
    BrokeOff,
    /// What came is no answer: not HTTP, a redirect, an upgrade, compressed, or it shows the server's own key.
    Invalid,
    /// The server refuses the key that Ember has for it.
    AuthRefused,
    /// The server took longer than it may.
    Timeout,
    /// The server answered with an error of its own where a stream had been promised; it was passed on.
    Refused,
    /// The caller's key was cut.
    Cut(Cut),
    /// Ember stops, and the time to drain is over.
    Stopped,
}

impl RelayFault {
    /// How a request ends that has met this.
    #[must_use]
    pub const fn ending(self) -> Ending {
        match self {
            Self::UnknownModel | Self::ModelsNotRead | Self::Overloaded { .. } | Self::Drained => {
                Ending::Refused
            }
            Self::Unreachable | Self::TlsFailed | Self::BrokeOff | Self::Invalid | Self::AuthRefused => {
                Ending::ServerDied
            }
            Self::Timeout => Ending::Timeout,
            Self::Refused => Ending::Done,
            Self::Cut(_) => Ending::Cut,
            Self::Stopped => Ending::Drained,
        }
    }

    /// Fixed words for logs and health reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownModel => "unknown model",
            Self::ModelsNotRead => "model list never read",
            Self::Overloaded { .. } => "full",
            Self::Drained => "drained",
            Self::Unreachable => "unreachable",
            Self::TlsFailed => "no TLS; the log says why",
            Self::BrokeOff => "broke off",
            Self::Invalid => "invalid answer",
            Self::AuthRefused => "refuses the key that Ember has for it",
            Self::Timeout => "too slow",
            Self::Refused => "answered with an error",
            Self::Cut(_) => "the caller's key was cut",
            Self::Stopped => "Ember stopped",
        }
    }
}

impl std::fmt::Display for RelayFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
