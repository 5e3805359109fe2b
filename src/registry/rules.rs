//! What the operator chose: who may sign up, how long a session lasts, what a key has at most. Never: how it is enforced.

use std::time::Duration;

use crate::types::{Bounds, SignUp};

/// The operator's choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who may make an account for himself.
    pub sign_up: SignUp,
    /// How long a session may go unused.
    pub session_idle: Duration,
    /// How long a session lasts at most.
    pub session_lifetime: Duration,
    /// What a key may use that has no limits of its own.
    pub key_limits: Bounds,
    /// What an account may use that has no limits of its own.
    pub account_limits: Bounds,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            sign_up: SignUp::Closed,
            session_idle: Duration::from_secs(30 * 60),
            session_lifetime: Duration::from_secs(12 * 60 * 60),
            key_limits: Bounds::default(),
            account_limits: Bounds::default(),
        }
    }
}
