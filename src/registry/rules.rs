//! What the operator chose about people: who may sign up, how long a session lasts. Never: how it is enforced.

use std::time::Duration;

use crate::types::SignUp;

/// The operator's choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who may make an account for himself.
    pub sign_up: SignUp,
    /// How long a session may go unused.
    pub session_idle: Duration,
    /// How long a session lasts at most.
    pub session_lifetime: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            sign_up: SignUp::Closed,
            session_idle: Duration::from_secs(30 * 60),
            session_lifetime: Duration::from_secs(12 * 60 * 60),
        }
    }
}
