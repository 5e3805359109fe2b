//! The commands that serve, and those about the configuration. Never: anything else.

use std::path::PathBuf;

use clap::Subcommand;

/// What `ember up` was asked.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "Example:\n  ember up --upstream http://127.0.0.1:8000")]
pub struct UpOptions {
    /// Address to listen on [default: the configuration's, 127.0.0.1:7411]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// A model server to use instead of looking for some; may be given several times
    #[arg(long, value_name = "URL")]
    pub upstream: Vec<String>,
    /// Write the first password and key to this new file (mode 0600) instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What `ember serve` was asked.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "Example:\n  ember serve --config /etc/ember/ember.toml")]
pub struct ServeOptions {
    /// Address to listen on [default: the configuration's, 127.0.0.1:7411]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

/// What `ember doctor` was asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ember doctor --deep")]
pub(in crate::cli) struct DoctorOptions {
    /// With the server stopped: read the whole data file, the audit trail and the records of what was used
    #[arg(long)]
    pub(in crate::cli) deep: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigVerb {
    /// Check the configuration and list every fault in it
    #[command(after_help = "Example:\n  ember config check -c ember.toml")]
    Check,
    /// Show the configuration in force, secrets left out
    #[command(after_help = "Example:\n  ember config show --origin")]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print the default configuration, commented, as a file to begin with
    #[command(after_help = "Example:\n  ember config default > ember.toml")]
    Default,
}
