//! The commands about invitations, sessions and administrators' tokens. Never: anything else.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::cli::value::{Expiry, duration};
use crate::types::{Email, InviteId, KeyName};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum InviteVerb {
    /// Invite someone to make an account; the link is shown once
    #[command(after_help = "Example:\n  ember invite create ana@example.com --expires 3d")]
    Create(InviteCreate),
    /// List the invitations that wait
    #[command(after_help = "Example:\n  ember invite list")]
    List,
    /// Take an invitation back: its link stops working
    #[command(after_help = "Example:\n  ember invite revoke inv_01kaspw4g0000000000000000a")]
    Revoke {
        /// Its id
        #[arg(value_name = "ID")]
        invite: InviteId,
    },
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct InviteCreate {
    /// The address that the account will have
    pub(in crate::cli) email: Email,
    /// The account may act on everyone's accounts and keys
    #[arg(long)]
    pub(in crate::cli) admin: bool,
    /// How long the link works, 1m to 30d [default: 7d]
    #[arg(long, value_parser = duration, value_name = "TIME", allow_hyphen_values = true)]
    pub(in crate::cli) expires: Option<Duration>,
    /// Write the link to this new file (mode 0600) instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenVerb {
    /// Make an administrator's token; it is shown once
    #[command(after_help = "Example:\n  ember token create nightly-report --expires 90d --out report.token")]
    Create(TokenCreate),
    /// List the tokens
    #[command(after_help = "Example:\n  ember token list")]
    List,
    /// Revoke a token for good, now
    #[command(after_help = "Example:\n  ember token revoke nightly-report -y")]
    Revoke {
        /// Its id, its name or its last 4 characters; never the token itself
        token: String,
    },
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TokenCreate {
    /// What to call it: 1 to 64 characters
    pub(in crate::cli) name: KeyName,
    /// When it stops: a time from now such as 90d, a date (the end of that day in UTC), or never
    #[arg(long, default_value = "never", value_name = "WHEN", allow_hyphen_values = true)]
    pub(in crate::cli) expires: Expiry,
    /// Write the token to this new file (mode 0600) instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
}
