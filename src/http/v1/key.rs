//! `GET /v1/key`: what a key may do, and what is left of it, told to whoever holds it. Never: other keys.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::gate::{Caller, LimitStanding, Whose};
use crate::meter::Sums;
use crate::types::Tokens;

use super::super::access::Access;
use super::super::draft::Draft;
use super::super::error::ApiError;
use super::super::service::Service;
use super::json;

#[derive(Serialize)]
struct KeyJson {
    object: &'static str,
    id: String,
    name: String,
    environment: &'static str,
    last4: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    /// When this secret stops although the key goes on.
    replaced_at: Option<String>,
    models: Option<Vec<String>>,
    /// The key's own and its account's: a request must be within both.
    routes: Scopes,
    addresses: Scopes,
    /// Whether browsers may use it.
    allow_browser: bool,
    limits: Vec<LimitJson>,
    usage: UsageJson,
}

#[derive(Serialize)]
struct UsageJson {
    last_24_hours: SumsJson,
    last_7_days: SumsJson,
}

#[derive(Serialize)]
struct SumsJson {
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    cached_tokens: u64,
}

impl From<Sums> for SumsJson {
    fn from(Sums { requests, tokens }: Sums) -> Self {
        let Tokens { prompt, completion, cached } = tokens;
        Self { requests, prompt_tokens: prompt, completion_tokens: completion, cached_tokens: cached }
    }
}

#[derive(Serialize)]
struct Scopes {
    key: Option<Vec<String>>,
    account: Option<Vec<String>>,
}

#[derive(Serialize)]
struct LimitJson {
    limit: &'static str,
    of: &'static str,
    max: u64,
    remaining: u64,
    /// Until all of it is there again; null where no time brings it back.
    reset_ms: Option<u64>,
}

impl LimitJson {
    fn of((whose, standing): (Whose, LimitStanding)) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self {
            limit: standing.kind.as_str(),
            of: match whose {
                Whose::Key => "key",
                Whose::Account => "account",
            },
            max: standing.allowance.max,
            remaining: standing.allowance.left,
            reset_ms: standing.allowance.reset.map(millis),
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn untold(error: &dyn std::fmt::Display, access: &Access) -> ApiError {
    tracing::error!(%error, request_id = access.request_id(), "what a key has used could not be told");
    ApiError::Store
}

/// Tells a caller of its own key.
pub(in crate::http) async fn show(
    service: &Service,
    caller: &Caller,
    access: &mut Access,
) -> Result<Draft, ApiError> {
    let limits = service.parts.gate.limits(caller, service.parts.clock.now()).await;
    let limits = limits.map_err(|error| untold(&error, access))?;
    // Reading takes threads that others need, so only some read at once.
    let _turn = service.readers.acquire().await.map_err(|_| ApiError::Internal)?;
    let (meter, account, key) = (Arc::clone(&service.parts.admin.meter), caller.account(), caller.key());
    let used = spawn_blocking(move || {
        let sums = |since| {
            let sums = meter.key_sums(account, key, since);
            sums.map(SumsJson::from).map_err(|error| error.to_string())
        };
        Ok::<_, String>(UsageJson { last_24_hours: sums(DAY)?, last_7_days: sums(7 * DAY)? })
    });
    let used = used.await.map_err(|_| ApiError::Internal)?.map_err(|error| untold(&error, access))?;
    let grant = caller.grant();
    let (own, account) = (&grant.policy, &grant.owner.policy);
    Ok(json(&KeyJson {
        object: "key",
        id: grant.key.to_string(),
        name: grant.about.name.to_string(),
        environment: grant.about.environment.as_str(),
        last4: grant.about.hint.map(|hint| hint.to_string()),
        created_at: grant.about.created_at.to_string(),
        expires_at: grant.expires_at.map(|end| end.to_string()),
        replaced_at: grant.replaced_at.map(|end| end.to_string()),
        models: grant.models.names(),
        routes: Scopes { key: own.routes.names(), account: account.routes.names() },
        addresses: Scopes { key: own.addresses.names(), account: account.addresses.names() },
        allow_browser: grant.allow_browser,
        usage: used,
        limits: limits.into_iter().map(LimitJson::of).collect(),
    }))
}
