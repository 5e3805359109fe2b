//! The account commands. Never: anything else.

use std::path::PathBuf;

use clap::{ArgGroup, Subcommand};

use crate::cli::value::NewName;
use crate::types::{DisplayName, Email, SessionId};

use super::policy::PolicyArgs;

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
    /// Change what an account's owner is called, or what all its keys together may use
    #[command(
        after_help = "Example:\n  ember account update ana@example.com --tokens-per-month 20M --concurrent 8"
    )]
    Update(Box<AccountUpdate>),
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
    /// Make a link that sets an account's password, once, within 24 hours
    #[command(after_help = "Example:\n  ember account reset ana@example.com --out link.txt")]
    Reset {
        /// Its address or id
        account: String,
        /// Write the link to this new file (mode 0600) instead of stdout
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List where an account is signed in
    #[command(after_help = "Example:\n  ember account sessions ana@example.com")]
    Sessions {
        /// Its address or id
        account: String,
    },
    /// End an account's sessions, or one of them
    #[command(after_help = "Example:\n  ember account sign-out ana@example.com")]
    SignOut {
        /// Its address or id
        account: String,
        /// Only this one
        #[arg(long, value_name = "ID")]
        session: Option<SessionId>,
    },
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["name"]).args(PolicyArgs::NAMES)))]
pub(in crate::cli) struct AccountUpdate {
    /// Its address or id
    pub(in crate::cli) account: String,
    /// What to call the person; an empty text takes the name away
    #[arg(long)]
    pub(in crate::cli) name: Option<NewName>,
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyArgs,
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
