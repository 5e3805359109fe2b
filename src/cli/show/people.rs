//! Invitations, links, sessions, tokens, events, models and use, as rows. Never: the words of errors.

use crate::admin::{HistoryLine, ModelServer, ModelView, Reloaded, UsageSums, UsageView};
use crate::cli::moment::Times;
use crate::registry::Verification;
use crate::types::{AdminToken, Invite, Session};

pub(super) const INVITES: [&str; 5] = ["EMAIL", "ROLE", "EXPIRES", "CREATED", "ID"];
pub(super) const SESSIONS: [&str; 5] = ["ADDRESS", "SEEN", "CREATED", "ID", "BROWSER"];
pub(super) const TOKENS: [&str; 5] = ["NAME", "LAST4", "EXPIRES", "CREATED", "ID"];
pub(super) const EVENTS: [&str; 6] = ["WHEN", "WHAT", "WHO", "FROM", "TO", "DETAIL"];
pub(super) const MODELS: [&str; 2] = ["MODEL", "SERVERS"];
pub(super) const USAGE: [&str; 5] = ["SINCE", "REQUESTS", "PROMPT", "COMPLETION", "CACHED"];

/// What changed, and from when on it holds.
pub(super) fn reloaded(reloaded: &Reloaded) -> Vec<Vec<String>> {
    let row = |from: &'static str| move |setting: &String| vec![setting.clone(), from.to_string()];
    let changed = reloaded.changed.iter().map(row("now"));
    changed.chain(reloaded.restart.iter().map(row("after a restart"))).collect()
}

pub(super) fn invite(invite: &Invite, times: Times) -> Vec<String> {
    vec![
        invite.email.to_string(),
        invite.role.as_str().to_string(),
        times.relative(invite.expires_at),
        times.absolute(invite.created_at),
        invite.id.to_string(),
    ]
}

pub(super) fn session(session: &Session, times: Times) -> Vec<String> {
    vec![
        session.place.address.to_string(),
        times.relative(session.seen_at),
        times.absolute(session.created_at),
        session.id.to_string(),
        session.place.agent.clone(),
    ]
}

pub(super) fn token(token: &AdminToken, times: Times) -> Vec<String> {
    vec![
        token.name.to_string(),
        format!("...{}", token.hint),
        times.relative_or_never(token.expires_at),
        times.absolute(token.created_at),
        token.id.to_string(),
    ]
}

pub(super) fn event(line: &HistoryLine, times: Times) -> Vec<String> {
    vec![
        times.absolute(line.at),
        line.action.clone(),
        line.actor_name.clone(),
        line.origin.to_string(),
        line.target_name.clone(),
        line.detail.clone(),
    ]
}

pub(super) fn verification(found: &Verification) -> Vec<String> {
    let fault = found.fault.as_ref().map(|fault| fault.what.clone()).unwrap_or_default();
    vec![found.checked.to_string(), found.head.to_string(), fault]
}

pub(super) fn model(model: &ModelView) -> Vec<String> {
    let server = |one: &ModelServer| format!("{} ({})", one.name, one.state.as_str());
    vec![model.name.clone(), model.servers.iter().map(server).collect::<Vec<_>>().join(", ")]
}

pub(super) fn usage(usage: &UsageView) -> Vec<Vec<String>> {
    let row = |since: &str, sums: UsageSums| {
        let counts = [sums.requests, sums.tokens.prompt, sums.tokens.completion, sums.tokens.cached];
        std::iter::once(since.to_string()).chain(counts.map(|count| count.to_string())).collect()
    };
    vec![row("24h", usage.day), row("7d", usage.week)]
}
