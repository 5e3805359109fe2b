//! Who may make an account for himself. Never: how he does it.

/// The operator's policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SignUp {
    /// Nobody; administrators make accounts.
    #[default]
    Closed,
    /// Whoever has an administrator's invitation.
    Invite,
    /// Anyone.
    Open {
        /// The domains that addresses must be of, in lower case; empty for any.
        domains: Vec<String>,
    },
}

impl SignUp {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Invite => "invite",
            Self::Open { .. } => "open",
        }
    }

    /// Whether invitations can be made and used.
    #[must_use]
    pub const fn takes_invites(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Invite | Self::Open { .. } => true,
        }
    }
}
