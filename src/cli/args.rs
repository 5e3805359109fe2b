//! What can be typed: commands, flags and their help. Never: what is done with them.

mod account;
mod key;
mod manual;
mod people;
mod policy;
mod report;
mod scan;
mod service;
mod upstream;

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

pub(super) use account::{AccountCreate, AccountVerb};
pub(super) use key::{KeyCreate, KeyRevoke, KeyRotate, KeyUpdate, KeyVerb};
pub(super) use manual::{CompletionsOptions, ManOptions};
pub(super) use people::{InviteCreate, InviteVerb, TokenCreate, TokenVerb};
pub(super) use report::{AuditOptions, ModelVerb, StatusOptions, UsageOptions, UsageVerb};
pub(super) use scan::ScanOptions;
pub(super) use service::{ConfigVerb, DoctorOptions};
pub use service::{ServeOptions, UpOptions};
pub(super) use upstream::UpstreamVerb;

/// How data is written to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; documented and stable.
    Json,
    /// For scripts: one line each, cells parted by tabs, no heading.
    Plain,
    /// For spreadsheets; only `ember usage` has it.
    Csv,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On terminals, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Accounts, API keys and limits in front of your own OpenAI-compatible model servers.
#[derive(Debug, Parser)]
#[command(name = "ember", version, propagate_version = false, subcommand_required = true)]
#[command(after_help = "Example:\n  ember up")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Flags that go with every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Configuration file [default: $EMBER_CONFIG, ./ember.toml, ~/.config/ember/ember.toml, /etc/ember/ember.toml]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Data directory [default: $EMBER_DATA, the configuration's, $STATE_DIRECTORY, ~/.local/share/ember]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub data: Option<PathBuf>,
    /// How data is written to stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT", help_heading = "Global options")]
    pub output: Format,
    /// Say only what went wrong
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = "Global options")]
    pub color: Color,
    /// Do not ask before what can't be undone
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub yes: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Start here: makes what is missing, finds model servers and serves
    Up(UpOptions),
    /// Serve; for service managers. Makes no account and no key
    Serve(ServeOptions),
    /// Accounts: who owns keys
    #[command(subcommand)]
    Account(AccountVerb),
    /// API keys: issue, look at, rotate, revoke
    #[command(subcommand)]
    Key(KeyVerb),
    /// Invitations: links with which people make their own accounts
    #[command(subcommand)]
    Invite(InviteVerb),
    /// Administrators' tokens: for programs that use the admin API over the network
    #[command(subcommand)]
    Token(TokenVerb),
    /// The models that are served
    #[command(subcommand)]
    Model(ModelVerb),
    /// The model servers: list them, try one, take one out of service
    #[command(subcommand)]
    Upstream(UpstreamVerb),
    /// What was done, by whom: the newest events first
    Audit(AuditOptions),
    /// What was used: in the last day and week, or by key, model, day and more
    Usage(UsageOptions),
    /// Find keys that lie in files, in a git history or on stdin, and say which of them are live
    Scan(ScanOptions),
    /// The configuration: check it, show it, print the default
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Have the running server load its configuration anew; a faulty one changes nothing
    #[command(after_help = "Example:\n  ember reload")]
    Reload,
    /// How Ember is; exit code 0 only when a server runs
    Status(StatusOptions),
    /// Copy the store to a new file while it is in use
    #[command(after_help = "Example:\n  ember backup ember-2026-11-23.redb")]
    Backup {
        /// The file to make; must not be there yet
        file: PathBuf,
    },
    /// Put a backup in the store's place; what was revoked since stays revoked
    #[command(after_help = "Example:\n  ember restore ember-2026-11-23.redb")]
    Restore {
        /// A file that `ember backup` made
        file: PathBuf,
    },
    /// Look for what is wrong or soon will be; changes nothing. Exit code 0 when nothing has failed
    Doctor(DoctorOptions),
    /// Make the data file as small as what is in it; with the server stopped
    #[command(after_help = "Example:\n  ember compact")]
    Compact,
    /// Print a script that completes commands in a shell
    Completions(CompletionsOptions),
    /// Print the manual page, or write those of all commands into a directory
    Man(ManOptions),
    /// Print the version
    #[command(after_help = "Example:\n  ember version")]
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_agree_with_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn each(command: &clap::Command) {
            let subcommands: Vec<_> =
                command.get_subcommands().filter(|one| one.get_name() != "help").collect();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!subcommands.is_empty() || help.contains("ember "), "{}", command.get_name());
            subcommands.into_iter().for_each(each);
        }
        each(&Args::command());
    }
}
