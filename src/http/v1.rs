//! The routes under /v1: who asks, for what, and the way to a model and back. Never: who may pass, how a model
//! server is reached.

pub(super) mod facts;
pub(super) mod key;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::time::timeout;

use crate::gate::{Asking, Caller};
use crate::types::{Key, RouteName};
use crate::upstream::body::RequestFacts;
use crate::upstream::{BYTES_PER_TOKEN, Endpoint, RelayRequest, ReportHandle};

use super::access::Access;
use super::browser::Cors;
use super::conduct::Conduct;
use super::draft::Draft;
use super::error::ApiError;
use super::pulse::OpenRequest;
use super::request::Noted;
use super::service::Service;
use super::stop::StopWatch;
use super::{body, route};

/// The longest name of a model that is shown.
const NAME_CHARS_MAX: usize = 256;

/// The longest that a request waits until it is admitted.
const ADMISSION_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a handler knows of the request beside its head and body.
pub(super) struct Asked<'a> {
    pub(super) id: HeaderValue,
    pub(super) open: &'a OpenRequest,
    pub(super) stop: StopWatch,
    pub(super) cors: &'a Cors,
    /// What held when it began.
    pub(super) conduct: Arc<Conduct>,
}

/// Whose key the request brings.
pub(super) async fn identify(
    service: &Service,
    bearer: Option<&[u8]>,
    access: &mut Access,
) -> Result<Caller, ApiError> {
    let now = service.parts.clock.now();
    let caller = pin!(service.parts.gate.identify(bearer, now)).await;
    let caller = caller.map_err(|refusal| ApiError::of_refusal(&refusal, ""))?;
    access.key = Some(caller.key());
    access.account = Some(caller.account());
    access.old_until = caller.replaced_at();
    Ok(caller)
}

/// A key is for the addresses on its list.
pub(super) fn refuse_address(caller: &Caller, access: &Access) -> Result<(), ApiError> {
    caller.may_come_from(access.peer).map_err(|refusal| ApiError::of_refusal(&refusal, ""))
}

#[derive(Serialize)]
struct List<T> {
    object: &'static str,
    data: Vec<T>,
}

/// `GET /v1/models`: what this key may use.
pub(super) fn models(service: &Service, caller: &Caller) -> Result<Draft, ApiError> {
    permitted(caller, RouteName::Models)?;
    let data = service.parts.upstreams.entries(caller.models());
    Ok(json(&List { object: "list", data }))
}

fn permitted(caller: &Caller, route: RouteName) -> Result<(), ApiError> {
    caller.may_use(route).map_err(|refusal| ApiError::of_refusal(&refusal, ""))
}

/// `GET /v1/models/{id}`.
pub(super) fn model(
    service: &Service,
    caller: &Caller,
    rest: &str,
    access: &mut Access,
) -> Result<Draft, ApiError> {
    permitted(caller, RouteName::Models)?;
    let name = route::unescaped(rest)
        .ok_or_else(|| ApiError::BadRequest("the escapes in its path are broken".to_string()))?;
    let entry = service.parts.upstreams.entry(caller.models(), &name);
    let entry = entry.map_err(|fault| ApiError::of_fault(fault, &shown(&name)))?;
    access.model = Some(name.into());
    access.model_is_known = true;
    Ok(json(&entry))
}

/// Whether a request may be read to be relayed.
pub(super) fn may_relay(caller: &Caller, endpoint: Endpoint, noted: &Noted<'_>) -> Result<(), ApiError> {
    permitted(caller, endpoint.route())?;
    noted.refuse_encoded()?;
    noted.refuse_charset()
}

/// `POST /v1/...`: to a model server and back.
pub(super) async fn relay(
    service: &Service,
    caller: Caller,
    endpoint: Endpoint,
    head: &mut Parts,
    incoming: Incoming,
    asked: Asked<'_>,
    access: &mut Access,
) -> Result<Draft, ApiError> {
    let limits = &asked.conduct.limits;
    let (bytes_max, wait) = (limits.body_bytes_max, limits.body_timeout);
    let body =
        access.reading(pin!(body::read(incoming, head.version, bytes_max, wait, &service.memory))).await?;
    access.bytes_in = body.len();
    asked.open.body_done();
    let facts = pin!(facts::read(&body, caller.key(), &service.long_reads)).await?;
    if endpoint == Endpoint::Responses
        && let Some(member) = facts.state
    {
        return Err(ApiError::StateNotAllowed(member.as_str()));
    }
    let model = facts.model.clone();
    let asked_for = if is_plain(model.as_str()) { model.shared() } else { shown(model.as_str()).into() };
    access.model = Some(Arc::clone(&asked_for));
    access.model_is_known = service.parts.upstreams.serves(model.as_str());
    access.operation = Some(endpoint.operation());
    let tokens = tokens_at_most(endpoint, body.len(), &facts, limits.completion_tokens);
    let admitted = service.parts.gate.admit(caller, Asking { model, tokens }, service.parts.clock.now());
    let pass =
        in_time(pin!(admitted)).await?.map_err(|refusal| ApiError::of_refusal(&refusal, &asked_for))?;
    asked.open.ends_with(pass.caller().cut(), asked.stop.clone());
    let allowances = pass.allowances();
    let report = ReportHandle::counted(&service.parts.metrics);
    access.report = Some(report.clone());
    let request = RelayRequest {
        endpoint,
        headers: std::mem::take(&mut head.headers),
        request_id: asked.id,
        body,
        facts,
        stop: asked.stop.source(),
        keepalive_after: limits.keepalive_after,
        report,
    };
    let outcome = pin!(service.parts.upstreams.relay(pass, request)).await;
    let reply = outcome.map_err(|fault| ApiError::of_fault(fault, &asked_for))?;
    Ok(Draft::relayed(reply, allowances))
}

/// A disk that hangs is waited for so long: budgets are written down before they are used. Most admissions wait for
/// nothing, and set no timer.
async fn in_time<T>(mut admitted: Pin<&mut impl Future<Output = T>>) -> Result<T, ApiError> {
    if let Poll::Ready(ruling) = poll_fn(|cx| Poll::Ready(admitted.as_mut().poll(cx))).await {
        return Ok(ruling);
    }
    timeout(ADMISSION_WAIT_MAX, admitted).await.map_err(|_| ApiError::Store)
}

/// The tokens that a request may take: its own, by their bytes, and those of the answer that it asks for at most.
fn tokens_at_most(endpoint: Endpoint, bytes: usize, facts: &RequestFacts, usual: u64) -> u64 {
    let prompt = bytes as u64 / BYTES_PER_TOKEN;
    prompt.saturating_add(facts.completion_tokens_max(endpoint, usual))
}

fn json(value: &impl Serialize) -> Draft {
    // Plain data always serialises.
    Draft::json(StatusCode::OK, serde_json::to_vec(value).unwrap_or_default().into())
}

/// Whether a model's name may stand anywhere as it is.
fn is_plain(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && !Key::may_be_in(name)
}

/// A model's name as it may stand in an answer or a log; a key, put there by mistake, may not.
fn shown(name: &str) -> String {
    if Key::may_be_in(name) {
        return "(a key)".to_string();
    }
    name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()
}
