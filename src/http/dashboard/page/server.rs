//! Pages about the server: the overview, models, the audit log.

use askama::Template;

use super::{Choice, Frame, HistoryRow};

/// `/dashboard`.
#[derive(Template)]
#[template(path = "overview.html")]
pub(in crate::http) struct OverviewPage {
    pub(in crate::http) frame: Frame,
    /// Like `https://ai.example.com/v1`; with a copy button.
    pub(in crate::http) base_url: String,
    /// Shown while there was no request.
    pub(in crate::http) first_steps: Option<CheckList>,
    /// A model for the first request's curl.
    pub(in crate::http) model: String,
    pub(in crate::http) active_keys: String,
    pub(in crate::http) requests_day: String,
    pub(in crate::http) tokens_day: String,
    pub(in crate::http) requests_week: String,
    pub(in crate::http) tokens_week: String,
    /// Whether the figures are the whole server's: for administrators.
    pub(in crate::http) is_whole: bool,
    pub(in crate::http) servers: Vec<ServerRow>,
}

/// A model server.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct ServerRow {
    pub(in crate::http) name: String,
    /// Whether it is well, and the word for how it is.
    pub(in crate::http) state: (bool, &'static str),
    /// `3 models`.
    pub(in crate::http) models: String,
    /// `2 in flight, 3 waiting`, or empty when it has nothing to do.
    pub(in crate::http) load: String,
    /// What is wrong, or empty.
    pub(in crate::http) detail: String,
}

/// `/dashboard/models` (administrators).
#[derive(Template)]
#[template(path = "models.html")]
pub(in crate::http) struct ModelsPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) servers: Vec<ServerRow>,
    pub(in crate::http) models: Vec<ModelRow>,
}

/// A model as callers name it.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct ModelRow {
    pub(in crate::http) name: String,
    /// The servers that have it: name, what it is called there (empty when the same), whether it is well and the word
    /// for how it is.
    pub(in crate::http) servers: Vec<(String, String, (bool, &'static str))>,
}

/// `/dashboard/audit` (administrators): a GET form with `action` and `search`.
#[derive(Template)]
#[template(path = "audit.html")]
pub(in crate::http) struct AuditPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) rows: Vec<AuditRow>,
    /// Empty value is all.
    pub(in crate::http) actions: Vec<Choice>,
    pub(in crate::http) search: String,
    pub(in crate::http) is_filtered: bool,
    /// Links to the newest and to older events; empty where there is none.
    pub(in crate::http) newest: String,
    pub(in crate::http) older: String,
    /// Where the chain of the log ends.
    pub(in crate::http) head: String,
}

/// A line of the audit log and what it was done to.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct AuditRow {
    pub(in crate::http) event: HistoryRow,
    /// From where it was done, or empty.
    pub(in crate::http) origin: String,
    /// A key's or account's name, or its id.
    pub(in crate::http) target: String,
    /// A page of the dashboard about it, or empty.
    pub(in crate::http) link: String,
}

/// What to do before the first request.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct CheckList {
    pub(in crate::http) has_key: bool,
    pub(in crate::http) has_models: bool,
}
