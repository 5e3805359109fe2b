//! Who asks for a change. Never: whether he may.

use std::fmt;

use super::{AccountId, KeyId, TokenId};

/// Whoever a change is written down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Someone on the machine, known by the operating system's user id.
    Machine {
        /// The numeric user id.
        uid: u32,
    },
    /// A person signed in to the dashboard.
    Person {
        /// His account.
        account: AccountId,
        /// Whether he may act on others' things.
        admin: bool,
    },
    /// A program with an administrator's token.
    Token {
        /// The token.
        token: TokenId,
    },
    /// Whoever holds a key, known by nothing else.
    Key {
        /// The key.
        key: KeyId,
    },
    /// Ember itself, doing what it was configured to do.
    Ember,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { uid } => write!(f, "uid:{uid}"),
            Self::Person { account, .. } => write!(f, "{account}"),
            Self::Token { token } => write!(f, "{token}"),
            Self::Key { key } => write!(f, "{key}"),
            Self::Ember => f.write_str("ember"),
        }
    }
}
