//! The flags that say what a key or an account may use. Never: whose policy it is.

use crate::cli::value::{addresses, models, routes};
use crate::types::{AddressScope, Limit, LimitKind, ModelScope, PolicyChanges, RouteScope};

const LIMITS: &str = "Limits: a number (10k, 5M), unlimited, or default for the configuration's";

#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct PolicyArgs {
    /// The models that may be used, parted by commas, or all
    #[arg(long, value_parser = models)]
    models: Option<ModelScope>,
    /// The routes that may be used, parted by commas, or all: models, chat/completions, completions, embeddings, responses
    #[arg(long, value_parser = routes)]
    routes: Option<RouteScope>,
    /// Where requests may come from, parted by commas, or all: 192.0.2.7, 10.0.0.0/8, 2001:db8::/32
    #[arg(long, value_parser = addresses)]
    addresses: Option<AddressScope>,
    /// Requests per minute
    #[arg(long, value_name = "LIMIT", help_heading = LIMITS)]
    rpm: Option<Limit>,
    /// Tokens per minute
    #[arg(long, value_name = "LIMIT", help_heading = LIMITS)]
    tpm: Option<Limit>,
    /// Requests at once
    #[arg(long, value_name = "LIMIT", help_heading = LIMITS)]
    concurrent: Option<Limit>,
    /// Requests per day (UTC)
    #[arg(long, value_name = "LIMIT", help_heading = LIMITS)]
    rpd: Option<Limit>,
    /// Tokens per day (UTC)
    #[arg(long, value_name = "LIMIT", help_heading = LIMITS)]
    tokens_per_day: Option<Limit>,
    /// Tokens per week (from Monday, UTC)
    #[arg(long, value_name = "LIMIT", help_heading = LIMITS)]
    tokens_per_week: Option<Limit>,
    /// Tokens per calendar month (UTC)
    #[arg(long, value_name = "LIMIT", help_heading = LIMITS)]
    tokens_per_month: Option<Limit>,
    /// Tokens, once and for all
    #[arg(long, value_name = "LIMIT", help_heading = LIMITS)]
    tokens_total: Option<Limit>,
}

impl PolicyArgs {
    /// The names of all these flags, as clap knows them.
    pub(in crate::cli) const NAMES: [&str; 11] = [
        "models",
        "routes",
        "addresses",
        "rpm",
        "tpm",
        "concurrent",
        "rpd",
        "tokens_per_day",
        "tokens_per_week",
        "tokens_per_month",
        "tokens_total",
    ];

    /// What was typed, as changes.
    pub(in crate::cli) fn changes(&self) -> PolicyChanges {
        let limit = |kind: LimitKind| {
            let typed = match kind {
                LimitKind::RequestsPerMinute => self.rpm,
                LimitKind::TokensPerMinute => self.tpm,
                LimitKind::ConcurrentRequests => self.concurrent,
                LimitKind::RequestsPerDay => self.rpd,
                LimitKind::TokensPerDay => self.tokens_per_day,
                LimitKind::TokensPerWeek => self.tokens_per_week,
                LimitKind::TokensPerMonth => self.tokens_per_month,
                LimitKind::TokensTotal => self.tokens_total,
            };
            typed.map(|limit| (kind, limit))
        };
        PolicyChanges {
            models: self.models.clone(),
            routes: self.routes.clone(),
            addresses: self.addresses.clone(),
            limits: LimitKind::ALL.into_iter().filter_map(limit).collect(),
        }
    }
}
