//! The account commands. Never: anything else.

use clap::Subcommand;

use crate::types::{DisplayName, Email};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AccountVerb {
    /// Make an account
    #[command(after_help = "Example:\n  ember account create ana@example.com --name \"Ana\"")]
    Create(AccountCreate),
    /// List the accounts
    #[command(after_help = "Example:\n  ember account list")]
    List,
    /// Show an account and what was done to it
    #[command(after_help = "Example:\n  ember account show ana@example.com")]
    Show {
        /// Its address or id
        account: String,
    },
    /// Switch an account off: its keys stop at once
    #[command(after_help = "Example:\n  ember account disable ana@example.com")]
    Disable {
        /// Its address or id
        account: String,
    },
    /// Switch an account on again
    #[command(after_help = "Example:\n  ember account enable ana@example.com")]
    Enable {
        /// Its address or id
        account: String,
    },
    /// Delete an account and revoke its keys for good
    #[command(after_help = "Example:\n  ember account delete ana@example.com -y")]
    Delete {
        /// Its address or id
        account: String,
    },
    /// Set an account's password, read from stdin
    #[command(after_help = "Example:\n  ember account passwd ana@example.com < password.txt")]
    Passwd {
        /// Its address or id
        account: String,
    },
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct AccountCreate {
    /// The address; names the account
    pub(in crate::cli) email: Email,
    /// May act on everyone's accounts and keys; the first one makes the store, too
    #[arg(long)]
    pub(in crate::cli) admin: bool,
    /// What to call the person
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<DisplayName>,
    /// Read a password for the dashboard from stdin
    #[arg(long)]
    pub(in crate::cli) password_stdin: bool,
}
