//! One table of what can be asked for: method and path to a command and back, so that the two sides can't drift.
//! Never: who asks.

use http::Method;

use crate::admin::{AdminError, Command, wire};
use crate::registry::{KeyFilter, PAGE_MAX};

use super::target::{decode, encode, pairs};

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
    KeyRotate,
    Status,
    Backup,
}

/// `{}` stands for one segment that names an account or a key. A fixed segment wins over `{}`, so it stands first.
const ROUTES: [(Operation, Method, &str); 18] = [
    (Operation::AccountCreate, Method::POST, "/admin/v1/accounts"),
    (Operation::AccountList, Method::GET, "/admin/v1/accounts"),
    (Operation::AccountShow, Method::GET, "/admin/v1/accounts/{}"),
    (Operation::AccountDisable, Method::POST, "/admin/v1/accounts/{}/disable"),
    (Operation::AccountEnable, Method::POST, "/admin/v1/accounts/{}/enable"),
    (Operation::AccountDelete, Method::DELETE, "/admin/v1/accounts/{}"),
    (Operation::AccountPassword, Method::POST, "/admin/v1/accounts/{}/password"),
    (Operation::KeyCreate, Method::POST, "/admin/v1/keys"),
    (Operation::KeyList, Method::GET, "/admin/v1/keys"),
    (Operation::KeyVerify, Method::POST, "/admin/v1/keys/verify"),
    (Operation::KeyShow, Method::GET, "/admin/v1/keys/{}"),
    (Operation::KeyUpdate, Method::PATCH, "/admin/v1/keys/{}"),
    (Operation::KeyDisable, Method::POST, "/admin/v1/keys/{}/disable"),
    (Operation::KeyEnable, Method::POST, "/admin/v1/keys/{}/enable"),
    (Operation::KeyRevoke, Method::POST, "/admin/v1/keys/{}/revoke"),
    (Operation::KeyRotate, Method::POST, "/admin/v1/keys/{}/rotate"),
    (Operation::Status, Method::GET, "/admin/v1/status"),
    (Operation::Backup, Method::GET, "/admin/v1/backup"),
];

/// Entries of a list that says nothing about its length.
const LIMIT_DEFAULT: usize = 100;

/// A request for a command.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) body: Option<Vec<u8>>,
}

/// What a method and a path ask for.
pub(super) enum Found {
    Operation(Operation, Option<String>),
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
        Some(subject) => pattern.replace("{}", &encode(subject)),
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

/// What the method and the raw path ask for.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let mut others = Vec::new();
    for (operation, allowed, pattern) in &ROUTES {
        if let Some(subject) = matched(pattern, path) {
            if allowed == method {
                return Found::Operation(*operation, subject);
            }
            others.push(allowed.clone());
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The command that an operation's subject, query and body make; none for the backup, which is no command.
///
/// # Errors
/// [`AdminError`] names what is wrong with them.
pub(super) fn command(
    operation: Operation,
    subject: Option<String>,
    query: &str,
    body: &[u8],
) -> Result<Option<Command>, AdminError> {
    let mut query = Query::parse(query)?;
    let text = subject.unwrap_or_default();
    let command = match operation {
        Operation::AccountCreate => Command::AccountCreate(wire::account_create(body)?),
        Operation::AccountList => {
            Command::AccountList { after: query.parsed("after")?, limit: query.limit()? }
        }
        Operation::AccountShow => Command::AccountShow { account: text },
        Operation::AccountDisable => Command::AccountDisable { account: text },
        Operation::AccountEnable => Command::AccountEnable { account: text },
        Operation::AccountDelete => Command::AccountDelete { account: text },
        Operation::AccountPassword => {
            Command::AccountPassword { account: text, password: wire::password(body)? }
        }
        Operation::KeyCreate => Command::KeyCreate(wire::key_create(body)?),
        Operation::KeyList => key_list(&mut query)?,
        Operation::KeyVerify => Command::KeyVerify { key: wire::key_verify(body)? },
        Operation::KeyShow => Command::KeyShow { key: text },
        Operation::KeyUpdate => Command::KeyUpdate { key: text, changes: wire::key_update(body)? },
        Operation::KeyDisable => Command::KeyDisable { key: text },
        Operation::KeyEnable => Command::KeyEnable { key: text },
        Operation::KeyRevoke => Command::KeyRevoke { key: text, reason: wire::key_revoke(body)? },
        Operation::KeyRotate => Command::KeyRotate { key: text, rotation: wire::key_rotate(body)? },
        Operation::Status => Command::Status,
        Operation::Backup => return query.done(None),
    };
    query.done(Some(command))
}

fn key_list(query: &mut Query) -> Result<Command, AdminError> {
    let filter = KeyFilter {
        account: query.take("account"),
        environment: query.parsed("environment")?,
        status: query.take("status").map(|word| status(&word)).transpose()?,
    };
    Ok(Command::KeyList { filter, after: query.parsed("after")?, limit: query.limit()? })
}

fn status(word: &str) -> Result<crate::types::KeyStatus, AdminError> {
    let mut all = crate::types::KeyStatus::ALL.into_iter();
    all.find(|status| status.as_str() == word).ok_or_else(|| {
        AdminError::invalid("'status' is one of active, disabled, expired, revoked".to_string())
    })
}

type Parts<'a> = (Operation, Option<&'a str>, Vec<(&'static str, String)>);

fn parts(command: &Command) -> Parts<'_> {
    let plain = |operation| (operation, None, Vec::new());
    match command {
        Command::AccountCreate(_) => plain(Operation::AccountCreate),
        Command::AccountList { after, limit } => {
            (Operation::AccountList, None, page(after.map(|id| id.to_string()), *limit))
        }
        Command::AccountShow { account } => (Operation::AccountShow, Some(account), Vec::new()),
        Command::AccountDisable { account } => (Operation::AccountDisable, Some(account), Vec::new()),
        Command::AccountEnable { account } => (Operation::AccountEnable, Some(account), Vec::new()),
        Command::AccountDelete { account } => (Operation::AccountDelete, Some(account), Vec::new()),
        Command::AccountPassword { account, .. } => (Operation::AccountPassword, Some(account), Vec::new()),
        Command::KeyCreate(_) => plain(Operation::KeyCreate),
        Command::KeyList { filter, after, limit } => {
            let mut query = page(after.map(|id| id.to_string()), *limit);
            query.extend(filter.account.clone().map(|account| ("account", account)));
            query.extend(filter.environment.map(|one| ("environment", one.to_string())));
            query.extend(filter.status.map(|one| ("status", one.as_str().to_string())));
            (Operation::KeyList, None, query)
        }
        Command::KeyShow { key } => (Operation::KeyShow, Some(key), Vec::new()),
        Command::KeyUpdate { key, .. } => (Operation::KeyUpdate, Some(key), Vec::new()),
        Command::KeyDisable { key } => (Operation::KeyDisable, Some(key), Vec::new()),
        Command::KeyEnable { key } => (Operation::KeyEnable, Some(key), Vec::new()),
        Command::KeyRevoke { key, .. } => (Operation::KeyRevoke, Some(key), Vec::new()),
        Command::KeyRotate { key, .. } => (Operation::KeyRotate, Some(key), Vec::new()),
        Command::KeyVerify { .. } => plain(Operation::KeyVerify),
        Command::Status => plain(Operation::Status),
    }
}

fn page(after: Option<String>, limit: usize) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(after.map(|id| ("after", id)));
    query
}

fn line(wanted: Operation) -> (Method, &'static str) {
    let line = ROUTES.iter().find(|(operation, _, _)| *operation == wanted);
    // A test finds every operation in the table.
    line.map_or((Method::GET, "/"), |(_, method, pattern)| (method.clone(), *pattern))
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

/// The parameters of a query; each is taken once, and what is left over is refused.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Result<Self, AdminError> {
        pairs(query).map(Self).ok_or_else(|| AdminError::invalid("the query is not properly encoded"))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, AdminError> {
        let value = self.take(name).map(|text| text.parse());
        value.transpose().map_err(|error| AdminError::invalid(format!("'{name}': {error}")))
    }

    fn limit(&mut self) -> Result<usize, AdminError> {
        match self.parsed("limit")?.unwrap_or(LIMIT_DEFAULT) {
            limit @ 1..=PAGE_MAX => Ok(limit),
            _ => Err(AdminError::invalid(format!("'limit' is a number from 1 to {PAGE_MAX}"))),
        }
    }

    fn done<T>(self, result: T) -> Result<T, AdminError> {
        match self.0.first() {
            None => Ok(result),
            Some((name, _)) => Err(AdminError::invalid(format!(
                "'{}' is not a parameter of this, or stands there twice",
                name.escape_default()
            ))),
        }
    }
}
