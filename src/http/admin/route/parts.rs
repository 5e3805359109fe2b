//! What of a command stands in the path and the query of its request. Never: bodies.

use crate::admin::{Command, UpstreamAsk, UsageAsk, wire};
use crate::registry::{AuditFilter, KeyFilter};

use super::Operation;

type Parts = (Operation, Option<String>, Vec<(&'static str, String)>);

pub(super) fn parts(command: &Command) -> Parts {
    let plain = |operation| (operation, None, Vec::new());
    let on = |operation, subject| (operation, Some(subject), Vec::new());
    match command {
        Command::AccountCreate(_) => plain(Operation::AccountCreate),
        Command::AccountList { after, limit } => {
            (Operation::AccountList, None, page(after.map(|id| id.to_string()), *limit))
        }
        Command::AccountShow { account } => on(Operation::AccountShow, account.clone()),
        Command::AccountDisable { account } => on(Operation::AccountDisable, account.clone()),
        Command::AccountEnable { account } => on(Operation::AccountEnable, account.clone()),
        Command::AccountDelete { account } => on(Operation::AccountDelete, account.clone()),
        Command::AccountPassword { account, .. } => on(Operation::AccountPassword, account.clone()),
        Command::AccountUpdate { account, .. } => on(Operation::AccountUpdate, account.clone()),
        Command::AccountReset { account } => on(Operation::AccountReset, account.clone()),
        Command::SessionList { account } => on(Operation::SessionList, account.clone()),
        Command::SessionEnd { session } => on(Operation::SessionEnd, session.to_string()),
        Command::SessionsEnd { account, keep } => {
            let query = keep.iter().map(|keep| ("keep", keep.to_string())).collect();
            (Operation::SessionsEnd, Some(account.clone()), query)
        }
        Command::InviteCreate(_) => plain(Operation::InviteCreate),
        Command::InviteList => plain(Operation::InviteList),
        Command::InviteRevoke { invite } => on(Operation::InviteRevoke, invite.to_string()),
        Command::TokenCreate(_) => plain(Operation::TokenCreate),
        Command::TokenList => plain(Operation::TokenList),
        Command::TokenRevoke { token } => on(Operation::TokenRevoke, token.clone()),
        Command::AuditList { filter, before, limit } => {
            (Operation::AuditList, None, audit_query(filter, before.map(|id| id.to_string()), *limit))
        }
        Command::AuditNews { filter, after, limit } => {
            (Operation::AuditNews, None, audit_query(filter, after.map(|number| number.to_string()), *limit))
        }
        Command::AuditVerify { noted, after } => {
            let mut query: Vec<_> = noted.iter().map(|head| ("head", head.to_string())).collect();
            query.extend(after.map(|after| ("after", after.to_string())));
            (Operation::AuditVerify, None, query)
        }
        Command::Models => plain(Operation::Models),
        Command::Upstream(ask) => upstream(ask),
        Command::Usage { account } => usage(account.as_deref()),
        Command::UsageReport(ask) => (Operation::UsageReport, None, usage_query(ask)),
        Command::UsageVerify => plain(Operation::UsageVerify),
        Command::KeyCreate(_) => plain(Operation::KeyCreate),
        Command::KeyList { filter, unused, after, limit } => {
            let mut query = key_query(filter, after.map(|id| id.to_string()), *limit);
            query.extend(unused.map(|since| ("unused_seconds", since.as_secs().to_string())));
            (Operation::KeyList, None, query)
        }
        Command::KeyShow { key } => on(Operation::KeyShow, key.clone()),
        Command::KeyUpdate { key, .. } => on(Operation::KeyUpdate, key.clone()),
        Command::KeyDisable { key } => on(Operation::KeyDisable, key.clone()),
        Command::KeyEnable { key } => on(Operation::KeyEnable, key.clone()),
        Command::KeyRevoke { key, .. } => on(Operation::KeyRevoke, key.clone()),
        Command::KeyRevokeAll { account, .. } => on(Operation::KeyRevokeAll, account.clone()),
        Command::KeyRotate { key, .. } => on(Operation::KeyRotate, key.clone()),
        Command::KeyVerify { .. } => plain(Operation::KeyVerify),
        Command::Reload => plain(Operation::Reload),
        Command::Status => plain(Operation::Status),
    }
}

fn usage(account: Option<&str>) -> Parts {
    (Operation::Usage, None, account.iter().map(|account| ("account", (*account).to_string())).collect())
}

fn upstream(ask: &UpstreamAsk) -> Parts {
    let (operation, subject) = match ask {
        UpstreamAsk::List => (Operation::UpstreamList, None),
        UpstreamAsk::Drain { upstream } => (Operation::UpstreamDrain, Some(upstream.clone())),
        UpstreamAsk::Undrain { upstream } => (Operation::UpstreamUndrain, Some(upstream.clone())),
        UpstreamAsk::Test { upstream, .. } => (Operation::UpstreamTest, Some(upstream.clone())),
    };
    (operation, subject, Vec::new())
}

fn key_query(filter: &KeyFilter, after: Option<String>, limit: usize) -> Vec<(&'static str, String)> {
    let mut query = page(after, limit);
    query.extend(filter.account.clone().map(|account| ("account", account)));
    query.extend(filter.environment.map(|one| ("environment", one.to_string())));
    query.extend(filter.status.map(|one| ("status", one.as_str().to_string())));
    query.extend(filter.search.clone().map(|text| ("search", text)));
    query.push(("order", if filter.newest_first { "desc" } else { "asc" }.to_string()));
    query
}

fn audit_query(filter: &AuditFilter, after: Option<String>, limit: usize) -> Vec<(&'static str, String)> {
    let mut query = page(after, limit);
    query.extend(filter.action.clone().map(|action| ("action", action)));
    query.extend(filter.search.clone().map(|text| ("search", text)));
    query
}

fn page(after: Option<String>, limit: usize) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(after.map(|id| ("after", id)));
    query
}

fn usage_query(ask: &UsageAsk) -> Vec<(&'static str, String)> {
    let by = wire::by_words(ask.group, ask.step).join(",");
    let texts = [
        ("by", Some(by).filter(|by| !by.is_empty())),
        ("since", ask.since.map(|since| since.to_string())),
        ("until", ask.until.map(|until| until.to_string())),
        ("account", ask.account.clone()),
        ("key", ask.key.clone()),
    ];
    texts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}
