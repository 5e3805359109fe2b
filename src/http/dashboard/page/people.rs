//! Pages about people: signing in and up, passwords, accounts, sessions, links.

use askama::Template;

use super::{Choice, Frame, HistoryRow, Moment, PolicyFacts, PolicyForm};

/// `/sign-in` -> POST there: `email`, `password`, `next` (hidden).
#[derive(Template)]
#[template(path = "sign_in.html")]
pub(in crate::http) struct SignInPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) email: String,
    pub(in crate::http) next: String,
    /// Whether to link to `/sign-up`.
    pub(in crate::http) has_sign_up: bool,
    /// Why nobody may sign in over this connection, and what to do; then there is no form.
    pub(in crate::http) refusal: String,
}

/// `/sign-up` -> POST there: `email`, `name`, `password`. And `/invite/{secret}` -> POST `/invite`: `ticket`
/// (hidden), `name`, `password`; the address is fixed then.
#[derive(Template)]
#[template(path = "sign_up.html")]
pub(in crate::http) struct SignUpPage {
    pub(in crate::http) frame: Frame,
    /// Empty where people sign up by themselves.
    pub(in crate::http) ticket: String,
    pub(in crate::http) email: String,
    pub(in crate::http) name: String,
    /// Domains that addresses must be of; empty is any.
    pub(in crate::http) domains: Vec<String>,
    /// Why there is no form: sign-up is closed or by invitation, or the link no longer works.
    pub(in crate::http) refusal: String,
}

/// `/reset/{secret}` -> POST `/reset`: `ticket` (hidden), `password`.
#[derive(Template)]
#[template(path = "password.html")]
pub(in crate::http) struct PasswordPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) ticket: String,
    pub(in crate::http) email: String,
    /// Why there is no form.
    pub(in crate::http) refusal: String,
}

/// A browser that is signed in. POST `/dashboard/account/sessions/{id}/end`.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct SessionRow {
    pub(in crate::http) id: String,
    /// Like `Firefox on Linux`.
    pub(in crate::http) agent: String,
    pub(in crate::http) address: String,
    pub(in crate::http) began: Moment,
    pub(in crate::http) seen: Moment,
    pub(in crate::http) is_this: bool,
}

/// `/dashboard/account`: POST `/dashboard/account/name` (`name`), `/password` (`current`, `password`), `/theme`
/// (`theme`: auto, light, dark), `/sessions/end` (all others).
#[derive(Template)]
#[template(path = "my_account.html")]
pub(in crate::http) struct MyAccountPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) name: String,
    pub(in crate::http) role: String,
    pub(in crate::http) themes: Vec<Choice>,
    pub(in crate::http) policy: PolicyFacts,
    pub(in crate::http) sessions: Vec<SessionRow>,
}

#[derive(Debug, Clone, Default)]
pub(in crate::http) struct AccountRow {
    pub(in crate::http) id: String,
    pub(in crate::http) email: String,
    pub(in crate::http) name: String,
    /// member or admin.
    pub(in crate::http) role: String,
    /// active or disabled.
    pub(in crate::http) status: String,
    pub(in crate::http) created: Moment,
    pub(in crate::http) is_viewer: bool,
}

/// An invitation that waits. POST `/dashboard/invites/{id}/revoke`.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct InviteRow {
    pub(in crate::http) id: String,
    pub(in crate::http) email: String,
    pub(in crate::http) role: String,
    pub(in crate::http) created: Moment,
    pub(in crate::http) expires: Moment,
}

/// `/dashboard/accounts` (administrators).
#[derive(Template)]
#[template(path = "accounts.html")]
pub(in crate::http) struct AccountsPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) accounts: Vec<AccountRow>,
    pub(in crate::http) invites: Vec<InviteRow>,
    /// Whether to offer `/dashboard/accounts/invite`.
    pub(in crate::http) can_invite: bool,
    /// Link to the next page, or empty.
    pub(in crate::http) next: String,
}

/// `/dashboard/accounts/new` -> POST `/dashboard/accounts`: `email`, `name`, `role`; answered with a `LinkPage`, where the
/// new member sets a password.
#[derive(Template)]
#[template(path = "account_new.html")]
pub(in crate::http) struct AccountNewPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) email: String,
    pub(in crate::http) name: String,
    pub(in crate::http) roles: Vec<Choice>,
}

/// `/dashboard/accounts/invite` -> POST there: `email`, `role`, `expiry` (1d, 7d, 30d); answered with a `LinkPage`.
#[derive(Template)]
#[template(path = "invite_new.html")]
pub(in crate::http) struct InvitePage {
    pub(in crate::http) frame: Frame,
    /// A hidden field `once`: the form makes one link, however often it is sent.
    pub(in crate::http) once: String,
    pub(in crate::http) email: String,
    pub(in crate::http) roles: Vec<Choice>,
    pub(in crate::http) expiries: Vec<Choice>,
}

/// A one-time link, shown once: like `KeyIssuedPage`, for an invitation or a password reset. Links on to
/// `/dashboard/accounts`.
#[derive(Template)]
#[template(path = "link.html")]
pub(in crate::http) struct LinkPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) email: String,
    /// The whole URL.
    pub(in crate::http) link: String,
    /// What whoever opens it can do.
    pub(in crate::http) purpose: String,
    pub(in crate::http) expires: Moment,
}

/// `/dashboard/accounts/{id}` (administrators): POST `.../disable`, `.../enable`, `.../reset` (answered with a
/// `LinkPage`); links to `.../edit`, `.../delete` and to its keys at `/dashboard/keys?account={id}`.
#[derive(Template)]
#[template(path = "account.html")]
pub(in crate::http) struct AccountPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) account: AccountRow,
    pub(in crate::http) policy: PolicyFacts,
    /// A hidden field `once` of the form that makes a reset link.
    pub(in crate::http) once: String,
    pub(in crate::http) sessions: Vec<SessionRow>,
    pub(in crate::http) history: Vec<HistoryRow>,
}

/// `/dashboard/accounts/{id}/edit` (administrators) -> POST there: `name`, and what stands at `PolicyForm`.
#[derive(Template)]
#[template(path = "account_edit.html")]
pub(in crate::http) struct AccountEditPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) id: String,
    pub(in crate::http) name: String,
    pub(in crate::http) policy: PolicyForm,
}

/// `/dashboard/accounts/{id}/delete` -> POST there: `email`, typed by hand.
#[derive(Template)]
#[template(path = "account_delete.html")]
pub(in crate::http) struct AccountDeletePage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) id: String,
    pub(in crate::http) email: String,
}
