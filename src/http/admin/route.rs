//! One table of what can be asked for: method and path to a command and back, so that the two sides can't drift.
//! Never: who asks.

use std::time::Duration;

use http::Method;

use crate::admin::{AdminError, Command, UpstreamAsk, UsageAsk, wire};
use crate::registry::{AuditFilter, KeyFilter, RegistryError};
use crate::types::{DateError, IdError, KeyStatus, Timestamp};

mod parts;

use super::query::Query;
use super::target::{decode, encode};

use parts::parts;

/// Each route of the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    AccountCreate,
    AccountList,
    AccountShow,
    AccountDisable,
    AccountEnable,
    AccountDelete,
    AccountPassword,
    KeyCreate,
    KeyList,
    KeyVerify,
    KeyShow,
    KeyUpdate,
    KeyDisable,
    KeyEnable,
    KeyRevoke,
    KeyRevokeAll,
    KeyRotate,
    AccountUpdate,
    AccountReset,
    SessionList,
    SessionEnd,
    SessionsEnd,
    InviteCreate,
    InviteList,
    InviteRevoke,
    TokenCreate,
    TokenList,
    TokenRevoke,
    AuditList,
    AuditNews,
    AuditVerify,
    Models,
    UpstreamList,
    UpstreamDrain,
    UpstreamUndrain,
    UpstreamTest,
    Usage,
    UsageReport,
    UsageVerify,
    Reload,
    Status,
    Metrics,
    Backup,
}

/// Makes the command out of what a request brings.
type Build = fn(&mut Given<'_>) -> Result<Command, AdminError>;

/// A line of the table.
pub(super) struct Row {
    pub(super) operation: Operation,
    pub(super) method: Method,
    /// `{}` stands for one segment that names something. A fixed segment wins over it, so it stands first.
    pub(super) pattern: &'static str,
    /// The command that is asked for; none for metrics and the backup, which are no commands.
    build: Option<Build>,
}

/// Where the metrics are.
pub(super) const METRICS_PATH: &str = "/admin/v1/metrics";

pub(super) static ROUTES: [Row; 43] = [
    row(Operation::AccountCreate, Method::POST, "/admin/v1/accounts", |given| {
        Ok(Command::AccountCreate(wire::account_create(given.body)?))
    }),
    row(Operation::AccountList, Method::GET, "/admin/v1/accounts", |given| {
        Ok(Command::AccountList { after: given.query.parsed("after")?, limit: given.query.limit()? })
    }),
    row(Operation::AccountShow, Method::GET, "/admin/v1/accounts/{}", |given| {
        Ok(Command::AccountShow { account: given.subject() })
    }),
    row(Operation::AccountDisable, Method::POST, "/admin/v1/accounts/{}/disable", |given| {
        Ok(Command::AccountDisable { account: given.subject() })
    }),
    row(Operation::AccountEnable, Method::POST, "/admin/v1/accounts/{}/enable", |given| {
        Ok(Command::AccountEnable { account: given.subject() })
    }),
    row(Operation::AccountDelete, Method::DELETE, "/admin/v1/accounts/{}", |given| {
        Ok(Command::AccountDelete { account: given.subject() })
    }),
    row(Operation::AccountPassword, Method::POST, "/admin/v1/accounts/{}/password", account_password),
    row(Operation::KeyCreate, Method::POST, "/admin/v1/keys", |given| {
        Ok(Command::KeyCreate(wire::key_create(given.body)?))
    }),
    row(Operation::KeyList, Method::GET, "/admin/v1/keys", key_list),
    row(Operation::KeyVerify, Method::POST, "/admin/v1/keys/verify", |given| {
        Ok(Command::KeyVerify { key: wire::key_verify(given.body)? })
    }),
    row(Operation::KeyShow, Method::GET, "/admin/v1/keys/{}", |given| {
        Ok(Command::KeyShow { key: given.subject() })
    }),
    row(Operation::KeyUpdate, Method::PATCH, "/admin/v1/keys/{}", |given| {
        Ok(Command::KeyUpdate { key: given.subject(), changes: wire::key_update(given.body)? })
    }),
    row(Operation::KeyDisable, Method::POST, "/admin/v1/keys/{}/disable", |given| {
        Ok(Command::KeyDisable { key: given.subject() })
    }),
    row(Operation::KeyEnable, Method::POST, "/admin/v1/keys/{}/enable", |given| {
        Ok(Command::KeyEnable { key: given.subject() })
    }),
    row(Operation::KeyRevoke, Method::POST, "/admin/v1/keys/{}/revoke", |given| {
        Ok(Command::KeyRevoke { key: given.subject(), reason: wire::key_revoke(given.body)? })
    }),
    row(Operation::KeyRevokeAll, Method::POST, "/admin/v1/accounts/{}/keys/revoke", |given| {
        let (environment, reason) = wire::keys_revoke(given.body)?;
        Ok(Command::KeyRevokeAll { account: given.subject(), environment, reason })
    }),
    row(Operation::KeyRotate, Method::POST, "/admin/v1/keys/{}/rotate", |given| {
        Ok(Command::KeyRotate { key: given.subject(), rotation: wire::key_rotate(given.body)? })
    }),
    row(Operation::AccountUpdate, Method::PATCH, "/admin/v1/accounts/{}", |given| {
        Ok(Command::AccountUpdate { account: given.subject(), changes: wire::account_update(given.body)? })
    }),
    row(Operation::AccountReset, Method::POST, "/admin/v1/accounts/{}/reset", |given| {
        Ok(Command::AccountReset { account: given.subject() })
    }),
    row(Operation::SessionList, Method::GET, "/admin/v1/accounts/{}/sessions", |given| {
        Ok(Command::SessionList { account: given.subject() })
    }),
    row(Operation::SessionsEnd, Method::DELETE, "/admin/v1/accounts/{}/sessions", sessions_end),
    row(Operation::SessionEnd, Method::DELETE, "/admin/v1/sessions/{}", |given| {
        Ok(Command::SessionEnd { session: given.id()? })
    }),
    row(Operation::InviteCreate, Method::POST, "/admin/v1/invites", |given| {
        Ok(Command::InviteCreate(wire::invite_create(given.body)?))
    }),
    row(Operation::InviteList, Method::GET, "/admin/v1/invites", |_| Ok(Command::InviteList)),
    row(Operation::InviteRevoke, Method::DELETE, "/admin/v1/invites/{}", |given| {
        Ok(Command::InviteRevoke { invite: given.id()? })
    }),
    row(Operation::TokenCreate, Method::POST, "/admin/v1/tokens", |given| {
        Ok(Command::TokenCreate(wire::token_create(given.body)?))
    }),
    row(Operation::TokenList, Method::GET, "/admin/v1/tokens", |_| Ok(Command::TokenList)),
    row(Operation::TokenRevoke, Method::DELETE, "/admin/v1/tokens/{}", |given| {
        Ok(Command::TokenRevoke { token: given.subject() })
    }),
    row(Operation::AuditList, Method::GET, "/admin/v1/audit", audit_list),
    row(Operation::AuditNews, Method::GET, "/admin/v1/audit/news", audit_news),
    row(Operation::AuditVerify, Method::GET, "/admin/v1/audit/verify", |given| {
        Ok(Command::AuditVerify { noted: given.query.parsed("head")?, after: given.query.parsed("after")? })
    }),
    row(Operation::Models, Method::GET, "/admin/v1/models", |_| Ok(Command::Models)),
    row(Operation::UpstreamList, Method::GET, "/admin/v1/upstreams", |_| {
        Ok(Command::Upstream(UpstreamAsk::List))
    }),
    row(Operation::UpstreamDrain, Method::POST, "/admin/v1/upstreams/{}/drain", |given| {
        Ok(Command::Upstream(UpstreamAsk::Drain { upstream: given.subject() }))
    }),
    row(Operation::UpstreamUndrain, Method::POST, "/admin/v1/upstreams/{}/undrain", |given| {
        Ok(Command::Upstream(UpstreamAsk::Undrain { upstream: given.subject() }))
    }),
    row(Operation::UpstreamTest, Method::POST, "/admin/v1/upstreams/{}/test", |given| {
        let (model, stream) = wire::upstream_test(given.body)?;
        Ok(Command::Upstream(UpstreamAsk::Test { upstream: given.subject(), model, stream }))
    }),
    row(Operation::Usage, Method::GET, "/admin/v1/usage", |given| {
        Ok(Command::Usage { account: given.query.take("account") })
    }),
    row(Operation::UsageReport, Method::GET, "/admin/v1/usage/report", usage_report),
    row(Operation::UsageVerify, Method::GET, "/admin/v1/usage/verify", |_| Ok(Command::UsageVerify)),
    row(Operation::Reload, Method::POST, "/admin/v1/reload", |_| Ok(Command::Reload)),
    row(Operation::Status, Method::GET, "/admin/v1/status", |_| Ok(Command::Status)),
    Row { operation: Operation::Metrics, method: Method::GET, pattern: METRICS_PATH, build: None },
    Row { operation: Operation::Backup, method: Method::GET, pattern: "/admin/v1/backup", build: None },
];

const fn row(operation: Operation, method: Method, pattern: &'static str, build: Build) -> Row {
    Row { operation, method, pattern, build: Some(build) }
}

/// What a request brings beside its method.
struct Given<'a> {
    subject: Option<String>,
    query: Query,
    body: &'a [u8],
}

impl Given<'_> {
    /// What stands for `{}`.
    fn subject(&mut self) -> String {
        self.subject.take().unwrap_or_default()
    }

    /// The same as an id; a text that can't be one names nothing.
    fn id<T: std::str::FromStr<Err = IdError>>(&mut self) -> Result<T, AdminError> {
        let sentence = "there is no such thing; what stands in the path is not its id";
        self.subject().parse().map_err(|_| RegistryError::NotFound(sentence.to_string()).into())
    }
}

/// A request for a command.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) body: Option<Vec<u8>>,
}

/// What a method and a path ask for.
pub(super) enum Found {
    /// A route, and what stands for `{}`.
    Row(&'static Row, Option<String>),
    /// The path is there, for these methods.
    OtherMethods(Vec<Method>),
    Nothing,
}

/// The request that asks for `command`.
///
/// # Errors
/// [`AdminError`] when it can't be written as JSON.
pub(super) fn call(command: &Command) -> Result<Call, AdminError> {
    let (operation, subject, query) = parts(command);
    let (method, pattern) = line(operation);
    let mut target = match subject {
        Some(subject) => pattern.replace("{}", &encode(&subject)),
        None => pattern.to_string(),
    };
    for (place, (name, value)) in query.iter().enumerate() {
        target.push(if place == 0 { '?' } else { '&' });
        target.push_str(&format!("{name}={}", encode(value)));
    }
    Ok(Call { method, target, body: wire::body(command)? })
}

/// The request that asks for a backup.
pub(super) fn backup() -> Call {
    let (method, pattern) = line(Operation::Backup);
    Call { method, target: pattern.to_string(), body: None }
}

/// What the method and the raw path ask for. HEAD is GET without the body.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for row in &ROUTES {
        if let Some(subject) = matched(row.pattern, path) {
            if row.method == *method {
                return Found::Row(row, subject);
            }
            others.push(row.method.clone());
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The command that a route's subject, query and body make; none for what is no command.
///
/// # Errors
/// [`AdminError`] names what is wrong with them.
pub(super) fn command(
    row: &Row,
    subject: Option<String>,
    query: &str,
    body: &[u8],
) -> Result<Option<Command>, AdminError> {
    let mut given = Given { subject, query: Query::parse(query)?, body };
    let command = row.build.map(|build| build(&mut given)).transpose()?;
    given.query.done(command)
}

fn account_password(given: &mut Given<'_>) -> Result<Command, AdminError> {
    let (password, current) = wire::password(given.body)?;
    Ok(Command::AccountPassword { account: given.subject(), password, current })
}

fn key_list(given: &mut Given<'_>) -> Result<Command, AdminError> {
    let query = &mut given.query;
    let filter = KeyFilter {
        account: query.take("account"),
        environment: query.parsed("environment")?,
        status: query.take("status").map(|word| status(&word)).transpose()?,
        search: query.take("search"),
        newest_first: newest_first(query)?,
    };
    let unused = query.parsed::<u64>("unused_seconds")?.map(Duration::from_secs);
    Ok(Command::KeyList { filter, unused, after: query.parsed("after")?, limit: query.limit()? })
}

fn sessions_end(given: &mut Given<'_>) -> Result<Command, AdminError> {
    Ok(Command::SessionsEnd { keep: given.query.parsed("keep")?, account: given.subject() })
}

fn audit_list(given: &mut Given<'_>) -> Result<Command, AdminError> {
    let query = &mut given.query;
    let filter = AuditFilter { action: query.take("action"), search: query.take("search") };
    Ok(Command::AuditList { filter, before: query.parsed("after")?, limit: query.limit()? })
}

fn audit_news(given: &mut Given<'_>) -> Result<Command, AdminError> {
    let query = &mut given.query;
    let filter = AuditFilter { action: query.take("action"), search: query.take("search") };
    Ok(Command::AuditNews { filter, after: query.parsed("after")?, limit: query.limit()? })
}

fn usage_report(given: &mut Given<'_>) -> Result<Command, AdminError> {
    let query = &mut given.query;
    let (group, step) = wire::by(&query.take("by").unwrap_or_default())?;
    let moment = |text: Option<String>, read: fn(&str) -> Result<Timestamp, DateError>| {
        text.map(|text| read(&text)).transpose().map_err(|error| AdminError::invalid(error.to_string()))
    };
    let since = moment(query.take("since"), Timestamp::parse_start_of)?;
    let until = moment(query.take("until"), Timestamp::parse_end_of)?;
    let (account, key) = (query.take("account"), query.take("key"));
    Ok(Command::UsageReport(UsageAsk { account, key, since, until, group, step }))
}

fn newest_first(query: &mut Query) -> Result<bool, AdminError> {
    match query.take("order").as_deref() {
        None | Some("asc") => Ok(false),
        Some("desc") => Ok(true),
        Some(_) => Err(AdminError::invalid("'order' is one of asc, desc".to_string())),
    }
}

fn status(word: &str) -> Result<KeyStatus, AdminError> {
    let mut all = KeyStatus::ALL.into_iter();
    all.find(|status| status.as_str() == word).ok_or_else(|| {
        AdminError::invalid("'status' is one of active, disabled, expired, revoked".to_string())
    })
}

fn line(wanted: Operation) -> (Method, &'static str) {
    let line = ROUTES.iter().find(|row| row.operation == wanted);
    // A test finds every operation in the table.
    line.map_or((Method::GET, "/"), |row| (row.method.clone(), row.pattern))
}

/// Whether a path fits a pattern; if so, what stands for `{}`.
fn matched(pattern: &str, path: &str) -> Option<Option<String>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut subject = None;
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(subject),
            (Some("{}"), Some(text)) => subject = Some(decode(text)?),
            (Some(one), Some(other)) if one == other => {}
            _ => return None,
        }
    }
}
