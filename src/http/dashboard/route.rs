//! The pages: each with its method, its path and who may open it. Never: what is on them.

use http::Method;

use crate::http::route::{Authority, Route, Target};

/// What a page shows or does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Page {
    Root,
    SignInForm,
    SignIn,
    SignOut,
    SignUpForm,
    SignUp,
    InviteForm,
    AcceptInvite,
    ResetForm,
    RedeemReset,
    Overview,
    Keys,
    KeyNew,
    KeyCreate,
    Key,
    KeyEditForm,
    KeyEdit,
    KeyRotateForm,
    KeyRotate,
    KeyDisable,
    KeyEnable,
    KeyDeleteForm,
    KeyDelete,
    MyAccount,
    MyName,
    MyPassword,
    MyTheme,
    EndOtherSessions,
    EndSession,
    Accounts,
    AccountNew,
    AccountCreate,
    InviteNew,
    InviteCreate,
    InviteRevoke,
    Account,
    AccountEditForm,
    AccountEdit,
    AccountDisable,
    AccountEnable,
    AccountReset,
    AccountSignOut,
    AccountDeleteForm,
    AccountDelete,
    Models,
    Audit,
    Usage,
    UsageCsv,
    /// Whatever else is asked for below the dashboard.
    Nothing,
}

use Authority::{Administrator, Member, Visitor};

/// A fixed segment wins over `{}`, so it stands first; the `*` stands last.
pub(in crate::http) static PAGES: [Route; 49] = [
    get("/", Visitor, Page::Root),
    get("/sign-in", Visitor, Page::SignInForm),
    post("/sign-in", Visitor, Page::SignIn),
    post("/sign-out", Member, Page::SignOut),
    get("/sign-up", Visitor, Page::SignUpForm),
    post("/sign-up", Visitor, Page::SignUp),
    get("/invite/{}", Visitor, Page::InviteForm),
    post("/invite", Visitor, Page::AcceptInvite),
    get("/reset/{}", Visitor, Page::ResetForm),
    post("/reset", Visitor, Page::RedeemReset),
    get("/dashboard", Member, Page::Overview),
    get("/dashboard/keys", Member, Page::Keys),
    post("/dashboard/keys", Member, Page::KeyCreate),
    get("/dashboard/keys/new", Member, Page::KeyNew),
    get("/dashboard/keys/{}", Member, Page::Key),
    get("/dashboard/keys/{}/edit", Member, Page::KeyEditForm),
    post("/dashboard/keys/{}/edit", Member, Page::KeyEdit),
    get("/dashboard/keys/{}/rotate", Member, Page::KeyRotateForm),
    post("/dashboard/keys/{}/rotate", Member, Page::KeyRotate),
    post("/dashboard/keys/{}/disable", Member, Page::KeyDisable),
    post("/dashboard/keys/{}/enable", Member, Page::KeyEnable),
    get("/dashboard/keys/{}/delete", Member, Page::KeyDeleteForm),
    post("/dashboard/keys/{}/delete", Member, Page::KeyDelete),
    get("/dashboard/usage", Member, Page::Usage),
    get("/dashboard/usage/csv", Member, Page::UsageCsv),
    get("/dashboard/account", Member, Page::MyAccount),
    post("/dashboard/account/name", Member, Page::MyName),
    post("/dashboard/account/password", Member, Page::MyPassword),
    post("/dashboard/account/theme", Member, Page::MyTheme),
    post("/dashboard/account/sessions/end", Member, Page::EndOtherSessions),
    post("/dashboard/account/sessions/{}/end", Member, Page::EndSession),
    get("/dashboard/accounts", Administrator, Page::Accounts),
    post("/dashboard/accounts", Administrator, Page::AccountCreate),
    get("/dashboard/accounts/new", Administrator, Page::AccountNew),
    get("/dashboard/accounts/invite", Administrator, Page::InviteNew),
    post("/dashboard/accounts/invite", Administrator, Page::InviteCreate),
    post("/dashboard/invites/{}/revoke", Administrator, Page::InviteRevoke),
    get("/dashboard/accounts/{}", Administrator, Page::Account),
    get("/dashboard/accounts/{}/edit", Administrator, Page::AccountEditForm),
    post("/dashboard/accounts/{}/edit", Administrator, Page::AccountEdit),
    post("/dashboard/accounts/{}/disable", Administrator, Page::AccountDisable),
    post("/dashboard/accounts/{}/enable", Administrator, Page::AccountEnable),
    post("/dashboard/accounts/{}/reset", Administrator, Page::AccountReset),
    post("/dashboard/accounts/{}/sign-out", Administrator, Page::AccountSignOut),
    get("/dashboard/accounts/{}/delete", Administrator, Page::AccountDeleteForm),
    post("/dashboard/accounts/{}/delete", Administrator, Page::AccountDelete),
    get("/dashboard/models", Administrator, Page::Models),
    get("/dashboard/audit", Administrator, Page::Audit),
    get("/dashboard/*", Member, Page::Nothing),
];

const fn get(pattern: &'static str, authority: Authority, page: Page) -> Route {
    Route { method: Method::GET, pattern, authority, target: Target::Page(page) }
}

const fn post(pattern: &'static str, authority: Authority, page: Page) -> Route {
    Route { method: Method::POST, pattern, authority, target: Target::Page(page) }
}
