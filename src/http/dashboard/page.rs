//! What pages are filled with: plain text and flags, escaped by the templates. Never: where they come from, rules.

mod keys;
mod people;
mod policy;
mod server;
mod usage;

use askama::Template;

pub(super) use keys::{
    KeyDeletePage, KeyEditPage, KeyIssuedPage, KeyNewPage, KeyPage, KeyRotatePage, KeyRow, KeysPage,
    ModelChoice, SecretLine, SeenLines, UserLine,
};
pub(super) use people::{
    AccountDeletePage, AccountEditPage, AccountNewPage, AccountPage, AccountRow, AccountsPage, InvitePage,
    InviteRow, LinkPage, MyAccountPage, PasswordPage, SessionRow, SignInPage, SignUpPage,
};
pub(super) use policy::{AccessForm, LimitFact, PolicyFacts, PolicyForm, TypedField};
pub(super) use server::{AuditPage, AuditRow, CheckList, ModelRow, ModelsPage, OverviewPage, ServerRow};
pub(super) use usage::{Bar, Chart, Spark, UsageLine, UsagePage};

/// What every page has around its content.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    /// For the window and the heading.
    pub(super) title: String,
    /// `auto`, `light` or `dark`.
    pub(super) theme: String,
    /// Paths of the embedded style sheet, script and icon.
    pub(super) style: String,
    pub(super) script: String,
    pub(super) icon: String,
    /// Who is signed in, for the navigation; nobody on the pages before that and on those of links.
    pub(super) viewer: Option<Viewer>,
    /// Goes into every form as the hidden field `csrf`.
    pub(super) csrf: String,
    /// The entry of the navigation that is lit: overview, keys, usage, account, accounts, models, audit; or empty.
    pub(super) section: String,
    /// What was just done, or went wrong.
    pub(super) notice: Option<Notice>,
}

/// Whoever is signed in.
#[derive(Debug, Clone, Default)]
pub(super) struct Viewer {
    /// Name, or address where there is none.
    pub(super) name: String,
    pub(super) email: String,
    pub(super) is_admin: bool,
}

/// One sentence at the top of a page.
#[derive(Debug, Clone, Default)]
pub(super) struct Notice {
    pub(super) is_error: bool,
    pub(super) text: String,
}

/// A point in time.
#[derive(Debug, Clone, Default)]
pub(super) struct Moment {
    /// RFC 3339, for machines and the tooltip.
    pub(super) iso: String,
    /// For people: `3 days ago`, `in 2 hours`.
    pub(super) text: String,
}

/// An option of a `<select>` or a filter.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) label: String,
    pub(super) is_chosen: bool,
}

/// A line of a history or of the audit log.
#[derive(Debug, Clone, Default)]
pub(super) struct HistoryRow {
    pub(super) at: Moment,
    /// What was done, in words: `Key created`.
    pub(super) action: String,
    /// Who did it, in words: an address, `user 0 on the machine`.
    pub(super) actor: String,
    pub(super) detail: String,
}

/// An error as a page.
#[derive(Template)]
#[template(path = "problem.html")]
pub(super) struct ProblemPage {
    pub(super) frame: Frame,
    /// Like 404.
    pub(super) status: u16,
    /// What happened and what to do, in one or two sentences.
    pub(super) text: String,
    pub(super) request_id: String,
}
