//! The commands that tell what is served, what was done and what was used. Never: anything else.

use std::time::Duration;

use clap::Subcommand;

use crate::cli::value::{self, Beginning, By};
use crate::types::{Timestamp, TrailHead};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ember status -o json\n  ember status --watch\n  ember status --watch 10 -n 6 -o json"
)]
pub(in crate::cli) struct StatusOptions {
    /// Show how it does, again and again, until interrupted; needs a running server [default: every 2 seconds]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = value::interval)]
    pub(in crate::cli) watch: Option<Duration>,
    /// End after so many times
    #[arg(short = 'n', long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) count: Option<u64>,
}

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
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Example:\n  ember usage --by model --since 30d\n  ember usage --by day,key --account ana@example.com -o csv"
)]
pub(in crate::cli) struct UsageOptions {
    #[command(subcommand)]
    pub(in crate::cli) verb: Option<UsageVerb>,
    /// A line for each key, account, model or upstream, each day or hour, or two of them: day,model
    #[arg(long, value_name = "WHAT", value_parser = value::by)]
    pub(in crate::cli) by: Option<By>,
    /// From then on: 24h or 7d ago, or a date [default: 7d]
    #[arg(long, value_name = "WHEN")]
    pub(in crate::cli) since: Option<Beginning>,
    /// Until then: a date (the end of that day in UTC) or a time [default: now]
    #[arg(long, value_name = "WHEN", value_parser = Timestamp::parse_end_of)]
    pub(in crate::cli) until: Option<Timestamp>,
    /// Only this account's (address or id)
    #[arg(long)]
    pub(in crate::cli) account: Option<String>,
    /// Only this key's (name, id or last four characters)
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UsageVerb {
    /// Prove that the records of what was used add up to the counters; exit code 7 when they do not
    #[command(after_help = "Example:\n  ember usage verify")]
    Verify,
}
