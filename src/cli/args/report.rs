//! The commands that tell what is served, what was done and what was used. Never: anything else.

use clap::Subcommand;

use crate::types::TrailHead;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ModelVerb {
    /// List the models and the servers that have them; needs a running server
    #[command(after_help = "Example:\n  ember model list")]
    List,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ember audit --action key.revoked --search ana@example.com\n  ember audit --follow -o json\n  \
                  ember audit --verify $(cat head.txt)"
)]
pub(in crate::cli) struct AuditOptions {
    /// Only events of this kind: key.created, or key for all about keys
    #[arg(long, value_name = "WORD")]
    pub(in crate::cli) action: Option<String>,
    /// Only events with this text in their detail, or with this id
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) search: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(in crate::cli) limit: u32,
    /// Print events as they come, until interrupted; needs a running server
    #[arg(long, conflicts_with_all = ["limit", "verify"])]
    pub(in crate::cli) follow: bool,
    /// Look through the whole trail for what was changed in it; with HEAD, as `ember status` printed it earlier, also for
    /// what was cut off since
    #[arg(long, value_name = "HEAD", num_args = 0..=1, conflicts_with_all = ["action", "search", "limit"])]
    pub(in crate::cli) verify: Option<Option<TrailHead>>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ember usage --account ana@example.com")]
pub(in crate::cli) struct UsageOptions {
    /// Only this account's (address or id)
    #[arg(long)]
    pub(in crate::cli) account: Option<String>,
}
