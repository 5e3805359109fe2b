//! The key commands. Never: anything else.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Subcommand};

use crate::cli::value::{Expiry, duration, status};
use crate::types::{Environment, KeyName, KeyStatus, Weight};

use super::policy::PolicyArgs;

const KEY_HELP: &str =
    "Its id, the beginning of its id, its name or its last 4 characters; never the key itself";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeyVerb {
    /// Issue a key; it is shown once
    #[command(
        after_help = "Example:\n  ember key create --account ana@example.com --name my-app --expires 90d"
    )]
    Create(Box<KeyCreate>),
    /// List keys
    #[command(after_help = "Example:\n  ember key list --env prod --status active")]
    List {
        /// Only this account's (address or id)
        #[arg(long)]
        account: Option<String>,
        /// Only of this environment: dev, staging, prod
        #[arg(long)]
        env: Option<Environment>,
        /// Only with this status: active, disabled, expired, revoked
        #[arg(long, value_parser = status)]
        status: Option<KeyStatus>,
        /// Only with this text in the name, these last 4 characters, or this beginning of the id
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Only those never used for a model, or not for this long, such as 30d; revoked ones only with --status
        #[arg(long, value_parser = duration, value_name = "TIME", allow_hyphen_values = true)]
        unused: Option<Duration>,
    },
    /// Show a key and what was done to it
    #[command(after_help = "Example:\n  ember key show my-app")]
    Show {
        #[arg(help = KEY_HELP)]
        key: String,
    },
    /// Change a key's name, end, limits, or what else it may use
    #[command(
        after_help = "Example:\n  ember key update my-app --models llama3,qwen3 --rpm 60 --tokens-per-month 5M"
    )]
    Update(Box<KeyUpdate>),
    /// Switch a key off; what runs on it is cut
    #[command(after_help = "Example:\n  ember key disable my-app")]
    Disable {
        #[arg(help = KEY_HELP)]
        key: String,
    },
    /// Switch a key on again
    #[command(after_help = "Example:\n  ember key enable my-app")]
    Enable {
        #[arg(help = KEY_HELP)]
        key: String,
    },
    /// Revoke a key for good, now, or all of an account; what runs on it is cut
    #[command(
        after_help = "Examples:\n  ember key revoke my-app --reason \"left in a public repository\" -y\n  ember key revoke --account ana@example.com --env staging --all"
    )]
    Revoke(KeyRevoke),
    /// Give a key a new secret, shown once; the old one works until the grace is over
    #[command(after_help = "Example:\n  ember key rotate my-app --grace 24h")]
    Rotate(KeyRotate),
    /// Read a key from stdin: whose it is, what it may do, or why it is refused
    #[command(after_help = "Example:\n  ember key verify < key.txt")]
    Verify,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct KeyCreate {
    /// Whose it is: an address or id
    #[arg(long)]
    pub(in crate::cli) account: String,
    /// What to call it: 1 to 64 characters
    #[arg(long)]
    pub(in crate::cli) name: KeyName,
    /// What it is for: dev, staging, prod
    #[arg(long, default_value_t = Environment::Dev)]
    pub(in crate::cli) env: Environment,
    /// When it stops: a time from now such as 90d, a date (the end of that day in UTC), or never
    #[arg(long, default_value = "never", value_name = "WHEN", allow_hyphen_values = true)]
    pub(in crate::cli) expires: Expiry,
    /// Let browsers use it, from the origins in `server.cors_origins`
    #[arg(long)]
    pub(in crate::cli) allow_browser: bool,
    /// Its share where requests have to wait, 1 to 100; most keys have 1
    #[arg(long, default_value_t = Weight::default())]
    pub(in crate::cli) weight: Weight,
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyArgs,
    /// Write the key to this new file (mode 0600) instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["name", "expires", "allow_browser", "weight"]).args(PolicyArgs::NAMES)))]
pub(in crate::cli) struct KeyUpdate {
    #[arg(help = KEY_HELP)]
    pub(in crate::cli) key: String,
    /// A new name
    #[arg(long)]
    pub(in crate::cli) name: Option<KeyName>,
    /// A new end: a time from now such as 90d, a date, or never
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub(in crate::cli) expires: Option<Expiry>,
    /// Whether browsers may use it, from the origins in `server.cors_origins`
    #[arg(long, value_name = "BOOL")]
    pub(in crate::cli) allow_browser: Option<bool>,
    /// Its share where requests have to wait, 1 to 100
    #[arg(long)]
    pub(in crate::cli) weight: Option<Weight>,
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct KeyRevoke {
    #[arg(help = KEY_HELP, required_unless_present = "all", conflicts_with = "all")]
    pub(in crate::cli) key: Option<String>,
    /// Why; kept in its history
    #[arg(long)]
    pub(in crate::cli) reason: Option<String>,
    /// Every key of an account that is not revoked yet
    #[arg(long, requires = "account")]
    pub(in crate::cli) all: bool,
    /// With --all: whose (address or id)
    #[arg(long, requires = "all")]
    pub(in crate::cli) account: Option<String>,
    /// With --all: only those of this environment: dev, staging, prod
    #[arg(long, requires = "all")]
    pub(in crate::cli) env: Option<Environment>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct KeyRotate {
    #[arg(help = KEY_HELP)]
    pub(in crate::cli) key: String,
    /// How long the old secret goes on working [default: the configuration's, 24h]
    #[arg(long, value_parser = duration, value_name = "TIME", allow_hyphen_values = true)]
    pub(in crate::cli) grace: Option<Duration>,
    /// End the old secret at once; what runs on it is cut
    #[arg(long, conflicts_with = "grace")]
    pub(in crate::cli) now: bool,
    /// Write the key to this new file (mode 0600) instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
}
