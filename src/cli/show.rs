//! Replies as tables, lines or JSON. Never: the words of errors.

mod people;
mod trace;
mod upstream;
mod usage;

use crate::admin::{
    AccountDetail, AuditNews, AuditPage, HistoryLine, KeyDetail, KeyView, Reply, ServerStatus, Status,
    Verdict, wire,
};
use crate::gate::{Cut, Stop};
use crate::registry::{HISTORY_MAX, Verification};
use crate::types::{Account, Limit, Policy, Timestamp, Weight, counted};

use super::args::Format;
use super::error::{CliError, Exit};
use super::moment::{Times, absolute, both, both_or_never, length};
use super::table::{plain, sheet, table};
use super::terminal::Screen;

const ACCOUNTS: [&str; 6] = ["EMAIL", "NAME", "ROLE", "STATUS", "CREATED", "ID"];
const KEYS: [&str; 9] =
    ["NAME", "ENV", "STATUS", "ACCOUNT", "LAST4", "EXPIRES", "LAST USED", "CREATED", "ID"];

/// Prints a reply in the format that was asked for.
pub(super) fn reply(reply: &Reply, now: Timestamp, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let lines = match screen.format {
        Format::Json => return screen.data(&wire::encode_pretty(reply)?),
        Format::Table => for_people(reply, now),
        Format::Plain | Format::Csv => plain(&rows(reply, Times::Exact)),
    };
    if lines.is_empty() {
        screen.note("There are none.");
        return Ok(());
    }
    screen.data(&lines.join("\n"))
}

/// Prints events of a list that goes on: a line each, without a heading.
pub(super) fn events(
    events: &[HistoryLine],
    now: Timestamp,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    if events.is_empty() {
        return Ok(());
    }
    let rows = |times| events.iter().map(|event| people::event(event, times)).collect::<Vec<_>>();
    let lines = match screen.format {
        Format::Json => events.iter().map(wire::encode_event).collect::<Result<_, _>>()?,
        Format::Table => table(&people::EVENTS, &rows(Times::ReadAt(now))).split_off(1),
        Format::Plain | Format::Csv => plain(&rows(Times::Exact)),
    };
    screen.data(&lines.join("\n"))
}

/// The owner of a key as people know him.
pub(super) fn owner(key: &KeyView) -> String {
    key.owner.as_ref().map_or_else(|| key.account.to_string(), ToString::to_string)
}

/// A reply of another kind than what was asked; the table of commands rules it out.
pub(super) fn unexpected() -> CliError {
    CliError::new(Exit::Failure, "the answer is not one to this question; please report this")
}

fn for_people(reply: &Reply, now: Timestamp) -> Vec<String> {
    let rows = rows(reply, Times::ReadAt(now));
    if rows.is_empty() {
        return Vec::new();
    }
    match reply {
        Reply::Account(account) => account_sheet(account, now),
        Reply::Accounts(_) => table(&ACCOUNTS, &rows),
        Reply::AccountDetail(AccountDetail { account, history }) => {
            with_history(account_sheet(account, now), history)
        }
        Reply::Key(key) | Reply::Issued { key, .. } => key_sheet(key, now),
        Reply::Keys(_) => table(&KEYS, &rows),
        Reply::KeysRevoked(count) => sheet(&[("Revoked", count.to_string())]),
        Reply::KeyDetail(detail) => with_history(detail_sheet(detail, now), &detail.history),
        Reply::Verdict(verdict) => verdict_sheet(verdict, now),
        Reply::Invite(_) | Reply::Invited { .. } | Reply::Invites(_) => table(&people::INVITES, &rows),
        Reply::Reset { account, expires_at, .. } => {
            sheet(&[("Account", account.email.to_string()), ("Expires", both(*expires_at, now))])
        }
        Reply::Session(_) | Reply::Sessions(_) => table(&people::SESSIONS, &rows),
        Reply::Token(_) | Reply::TokenIssued { .. } | Reply::Tokens(_) => table(&people::TOKENS, &rows),
        Reply::Audit(_) | Reply::AuditNews(_) => table(&people::EVENTS, &rows),
        Reply::AuditVerified(found) => verification_sheet(found),
        Reply::Models(_) => table(&people::MODELS, &rows),
        Reply::Upstreams(_) | Reply::Upstream(_) => table(&upstream::UPSTREAMS, &rows),
        Reply::UpstreamTested(_) => table(&upstream::STEPS, &rows),
        Reply::Usage(_) => table(&people::USAGE, &rows),
        Reply::UsageReport(report) => usage::report_table(report),
        Reply::UsageProof(proof) => usage::proof_sheet(proof),
        Reply::Reloaded(_) => table(&["SETTING", "HOLDS"], &rows),
        Reply::Status(status) => status_sheet(status, now),
    }
}

fn rows(reply: &Reply, times: Times) -> Vec<Vec<String>> {
    match reply {
        Reply::Account(account) | Reply::AccountDetail(AccountDetail { account, .. }) => {
            vec![account_row(account, times)]
        }
        Reply::Accounts(page) => page.entries.iter().map(|account| account_row(account, times)).collect(),
        Reply::Key(key) | Reply::Issued { key, .. } | Reply::KeyDetail(KeyDetail { key, .. }) => {
            vec![key_row(key, times)]
        }
        Reply::Keys(page) => page.entries.iter().map(|key| key_row(key, times)).collect(),
        Reply::KeysRevoked(count) => vec![vec![count.to_string()]],
        Reply::Verdict(verdict) => {
            let mut row = vec![verdict.stop.map_or("admitted", stop_words).to_string()];
            row.extend(key_row(&verdict.key, times));
            vec![row]
        }
        Reply::Invite(invite) | Reply::Invited { invite, .. } => vec![people::invite(invite, times)],
        Reply::Invites(invites) => invites.iter().map(|invite| people::invite(invite, times)).collect(),
        Reply::Reset { account, expires_at, .. } => {
            vec![vec![account.email.to_string(), times.relative(*expires_at)]]
        }
        Reply::Session(session) => vec![people::session(session, times)],
        Reply::Sessions(sessions) => sessions.iter().map(|session| people::session(session, times)).collect(),
        Reply::Token(token) | Reply::TokenIssued { token, .. } => vec![people::token(token, times)],
        Reply::Tokens(tokens) => tokens.iter().map(|token| people::token(token, times)).collect(),
        Reply::Audit(AuditPage { entries, .. }) | Reply::AuditNews(AuditNews { entries, .. }) => {
            entries.iter().map(|event| people::event(event, times)).collect()
        }
        Reply::AuditVerified(found) => vec![people::verification(found)],
        Reply::Models(models) => models.iter().map(people::model).collect(),
        Reply::Upstreams(servers) => servers.iter().map(|one| upstream::row(one, times)).collect(),
        Reply::Upstream(server) => vec![upstream::row(server, times)],
        Reply::UpstreamTested(test) => test.steps.iter().map(upstream::step).collect(),
        Reply::Usage(usage) => people::usage(usage),
        Reply::UsageReport(report) => usage::report_rows(report, times),
        Reply::UsageProof(proof) => usage::proof_rows(proof),
        Reply::Reloaded(reloaded) => people::reloaded(reloaded),
        Reply::Status(status) => status_rows(status),
    }
}

fn account_row(account: &Account, times: Times) -> Vec<String> {
    vec![
        account.email.to_string(),
        account.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        account.role.as_str().to_string(),
        account.status.as_str().to_string(),
        times.absolute(account.created_at),
        account.id.to_string(),
    ]
}

fn key_row(key: &KeyView, times: Times) -> Vec<String> {
    vec![
        key.name.to_string(),
        key.environment.to_string(),
        key.status.as_str().to_string(),
        owner(key),
        last4(key),
        times.relative_or_never(key.expires_at),
        times.relative_or_never(key.last_used_at),
        times.absolute(key.created_at),
        key.id.to_string(),
    ]
}

fn last4(key: &KeyView) -> String {
    key.last4.map(|last4| format!("...{last4}")).unwrap_or_default()
}

fn account_sheet(account: &Account, now: Timestamp) -> Vec<String> {
    let mut pairs = vec![("Email", account.email.to_string())];
    pairs.extend(account.name.as_ref().map(|name| ("Name", name.to_string())));
    pairs.extend([
        ("Role", account.role.as_str().to_string()),
        ("Status", account.status.as_str().to_string()),
        ("Created", both(account.created_at, now)),
    ]);
    pairs.extend(policy(&account.policy));
    pairs.push(("Id", account.id.to_string()));
    sheet(&pairs)
}

fn key_sheet(key: &KeyView, now: Timestamp) -> Vec<String> {
    sheet(&key_pairs(key, now))
}

fn detail_sheet(detail: &KeyDetail, now: Timestamp) -> Vec<String> {
    let mut pairs = key_pairs(&detail.key, now);
    pairs.extend(trace::pairs(detail, now));
    let mut lines = sheet(&pairs);
    lines.extend(trace::users(detail));
    lines
}

fn key_pairs(key: &KeyView, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("Name", key.name.to_string()),
        ("Environment", key.environment.to_string()),
        ("Status", key.status.as_str().to_string()),
        ("Account", owner(key)),
        ("Created", both(key.created_at, now)),
        ("Expires", both_or_never(key.expires_at, now)),
        ("Last used", both_or_never(key.last_used_at, now)),
    ];
    pairs.extend(policy(&key.policy));
    if key.allow_browser {
        pairs.push(("Browsers", "allowed".to_string()));
    }
    if key.weight != Weight::default() {
        pairs.push(("Weight", key.weight.to_string()));
    }
    pairs.extend(key.revoked_at.map(|at| ("Revoked", both(at, now))));
    pairs.extend(key.revoked_reason.clone().map(|reason| ("Reason", reason)));
    for secret in &key.secrets {
        let until = match secret.valid_until {
            Some(end) if key.revoked_at.is_none() => format!(", works until {}", both(end, now)),
            Some(_) | None => String::new(),
        };
        pairs.push(("Secret", format!("...{} of {}{until}", secret.last4, absolute(secret.created_at))));
    }
    pairs.push(("Id", key.id.to_string()));
    pairs
}

/// What may be used, as pairs; limits only where they are not the configuration's.
fn policy(policy: &Policy) -> Vec<(&'static str, String)> {
    let all = || "all".to_string();
    let listed = |names: Option<Vec<String>>| names.map(|names| names.join(", "));
    let mut pairs = vec![("Models", listed(policy.models.names()).unwrap_or_else(all))];
    pairs.extend(listed(policy.routes.names()).map(|names| ("Routes", names)));
    pairs.extend(listed(policy.addresses.names()).map(|names| ("Addresses", names)));
    for (kind, limit) in policy.limits.each() {
        match limit {
            Limit::Default => {}
            Limit::Unlimited => pairs.push(("Limit", format!("unlimited {}", kind.in_words()))),
            Limit::Max(max) => pairs.push(("Limit", format!("{max} {}", kind.in_words()))),
        }
    }
    pairs
}

fn with_history(mut lines: Vec<String>, history: &[HistoryLine]) -> Vec<String> {
    if history.is_empty() {
        return lines;
    }
    let row = |line: &HistoryLine| {
        vec![absolute(line.at), line.action.clone(), line.actor_name.clone(), line.detail.clone()]
    };
    let rows: Vec<_> = history.iter().map(row).collect();
    lines.push(String::new());
    lines.extend(table(&["WHEN", "WHAT", "WHO", "DETAIL"], &rows));
    if history.len() >= HISTORY_MAX {
        lines.push(format!("These are the newest {HISTORY_MAX} events; earlier ones are not shown."));
    }
    lines
}

fn verdict_sheet(verdict: &Verdict, now: Timestamp) -> Vec<String> {
    let answer = match verdict.stop {
        None => "yes".to_string(),
        Some(stop) => format!("no: {}", stop_words(stop)),
    };
    let mut lines = sheet(&[("Admitted", answer)]);
    lines.extend(key_sheet(&verdict.key, now));
    lines
}

fn stop_words(stop: Stop) -> &'static str {
    match stop {
        Stop::Cut(Cut::Revoked) => "the key is revoked",
        Stop::Cut(Cut::Disabled) => "the key is disabled",
        Stop::Cut(Cut::Replaced) => "a rotation put a newer key in its place",
        Stop::Cut(Cut::AccountDisabled) => "its account is disabled or deleted",
        Stop::Expired => "the key has expired",
    }
}

fn verification_sheet(found: &Verification) -> Vec<String> {
    let verdict = match &found.fault {
        None => "every event and link is what was written".to_string(),
        Some(fault) => format!("does not fit: {}", fault.what),
    };
    let mut pairs = vec![("Trail", verdict), ("Events", found.checked.to_string())];
    if found.anchor > 0 {
        pairs.push((
            "Begins",
            format!("after event {}; earlier ones were removed for their age", found.anchor),
        ));
    }
    pairs.push(("Head", found.head.to_string()));
    sheet(&pairs)
}

fn status_sheet(status: &Status, now: Timestamp) -> Vec<String> {
    let mut pairs = vec![("Server", "not running".to_string())];
    if let Some(server) = &status.server {
        pairs = server_pairs(server, now);
    }
    pairs.extend([("Accounts", status.accounts.to_string()), ("Keys", status.keys.to_string())]);
    if status.denials_owed {
        pairs.push(("Owed", "keys are denied in memory only; the disk does not take it yet".to_string()));
    }
    pairs.push(("Audit head", status.audit_head.to_string()));
    sheet(&pairs)
}

fn server_pairs(server: &ServerStatus, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("Server", format!("running, version {}, process {}", server.version, server.pid)),
        ("Since", format!("{} (up {})", absolute(server.started_at), length(now.since(server.started_at)))),
        ("Listening", server.listen.join(", ")),
    ];
    for upstream in &server.upstreams {
        let health = upstream.state.as_str();
        let models = counted(upstream.models, "model");
        let detail =
            if upstream.detail.is_empty() { String::new() } else { format!(": {}", upstream.detail) };
        let load = format!("{} in flight, {} waiting", upstream.in_flight, upstream.waiting);
        pairs.push(("Upstream", format!("{} is {health}, {models}, {load}{detail}", upstream.name)));
    }
    pairs.push((
        "Now",
        format!("{} in flight, {}", server.in_flight, counted(server.connections, "connection")),
    ));
    let tokens = server.tokens;
    pairs.push((
        "Since start",
        format!(
            "{}, {} ({} cached), {}",
            counted(server.requests, "request"),
            counted(tokens.prompt, "prompt token"),
            tokens.cached,
            counted(tokens.completion, "completion token")
        ),
    ));
    if !server.errors.is_empty() {
        let errors = server.errors.iter().map(|(code, count)| format!("{count} {code}"));
        pairs.push(("Errors", errors.collect::<Vec<_>>().join(", ")));
    }
    pairs
}

fn status_rows(status: &Status) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut rows = vec![
        row("running", status.server.is_some().to_string()),
        row("accounts", status.accounts.to_string()),
        row("keys", status.keys.to_string()),
        row("denials_owed", status.denials_owed.to_string()),
        row("audit_head", status.audit_head.to_string()),
    ];
    if let Some(server) = &status.server {
        rows.extend([
            row("version", server.version.clone()),
            row("pid", server.pid.to_string()),
            row("started_at", server.started_at.to_string()),
            row("requests", server.requests.to_string()),
            row("prompt_tokens", server.tokens.prompt.to_string()),
            row("completion_tokens", server.tokens.completion.to_string()),
            row("in_flight", server.in_flight.to_string()),
            row("connections", server.connections.to_string()),
        ]);
        let errors = server.errors.iter();
        rows.extend(errors.map(|(code, count)| vec!["error".to_string(), code.clone(), count.to_string()]));
        rows.extend(server.listen.iter().map(|address| row("listen", address.clone())));
        for upstream in &server.upstreams {
            let health = upstream.state.as_str();
            rows.push(vec![
                "upstream".to_string(),
                upstream.name.clone(),
                health.to_string(),
                upstream.in_flight.to_string(),
                upstream.waiting.to_string(),
                upstream.detail.clone(),
            ]);
        }
    }
    rows
}
