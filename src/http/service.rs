//! From a request to its answer: id, route, key, checks, handler, headers. Never: how a model is reached.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::gate::{Caller, Gate, Limited};
use crate::metrics::Metrics;
use crate::types::{Clock, Current, Ending, Measure, Random};
use crate::upstream::{Report, ReportHandle, Upstreams};

use super::access::{Access, AccessLog};
use super::admin::{AdminDoor, OPENAPI};
use super::answer::{AnswerBody, Content};
use super::browser::{self, Cors};
use super::conduct::Conduct;
use super::dashboard::Dashboard;
use super::error::ApiError;
use super::health::{self, Readiness};
use super::pages::{self, Knock};
use super::pulse::OpenRequest;
use super::route::{self, Authority, Found, Route, Target};
use super::stop::StopWatch;
use super::surrender::{self, Revoker};
use super::{Limits, allowance, operator, request, v1};

/// What the public door is built from.
pub struct Parts {
    /// Who may pass.
    pub gate: Arc<Gate>,
    /// The model servers.
    pub upstreams: Arc<Upstreams>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes for what is secret.
    pub random: Arc<dyn Random>,
    /// Random bytes for request ids.
    pub ids: Arc<dyn Random>,
    /// Whether the store answers.
    pub store_ready: Readiness,
    /// What it goes by.
    pub conduct: Arc<Current<Conduct>>,
    /// What administrators and people do.
    pub admin: Arc<AdminDoor>,
    /// Takes a key away from everyone who holds it.
    pub revoke: Revoker,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where access lines go.
    pub log: Arc<AccessLog>,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Whether nobody on the way to it can read along.
    pub(super) is_encrypted: bool,
}

/// What is sent back.
pub(super) type Answer = Response<AnswerBody>;

/// An answer before its envelope: request id, timing, connection.
pub(super) struct Draft {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
}

/// One for all connections.
pub(super) struct Service {
    pub(super) parts: Parts,
    /// The bytes that request bodies may take, all together.
    pub(super) memory: Arc<Semaphore>,
    pub(super) dashboard: Arc<Dashboard>,
    /// Pages made at once; more wait.
    pub(super) pages: Arc<Semaphore>,
    /// Keys' own usage read at once; more wait.
    pub(super) readers: Semaphore,
}

/// Pages made at once: each may wait for the disk, or for a password to be hashed.
const PAGES_MAX: usize = 64;

/// What a key used is read from the disk, hour by hour.
const READERS_MAX: usize = 4;

const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// When one of the requests under way ends is not known; this is soon enough to look.
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// Nobody's code should wait for longer by itself; the SDKs would not.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Service {
    pub(super) fn new(parts: Parts) -> Self {
        let bytes = parts.conduct.get().limits.buffered_bytes_max.min(Semaphore::MAX_PERMITS);
        let dashboard = Dashboard::new(Arc::clone(&parts.admin), Arc::clone(&parts.random));
        Self {
            memory: Arc::new(Semaphore::new(bytes)),
            dashboard: Arc::new(dashboard),
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            readers: Semaphore::new(READERS_MAX),
            parts,
        }
    }

    /// What holds now. A request asks once, so that it goes by the same all along.
    pub(super) fn conduct(&self) -> Arc<Conduct> {
        self.parts.conduct.get()
    }

    pub(super) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.conduct().limits)
    }

    /// Answers a request, whatever it is. Its future is copied once when it is boxed: what is large and rare in it is
    /// boxed where it begins.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        open: OpenRequest,
        peer: Peer,
        stop: StopWatch,
    ) -> Result<Answer, Infallible> {
        let id = request::request_id(request.headers(), self.parts.clock.now(), &*self.parts.ids);
        let conduct = self.conduct();
        let client = conduct.site.client(request.headers(), peer.address);
        let mut access = Access::begin(id.clone(), request.method().clone(), client, &self.parts);
        let cors = conduct.origins.cors(request.uri().path(), request.headers());
        let asked = v1::Asked { id: id.clone(), open: &open, stop, cors: cors.clone(), conduct };
        if request.body().is_end_stream() {
            open.body_done();
        }
        let version = request.version();
        let drafted = {
            let drafting = pin!(self.draft(request, asked, &mut access, peer));
            contained(drafting).await
        };
        let draft = drafted.unwrap_or_else(|error| refusal(&error, &mut access));
        let old_until = access.old_until;
        let mut answer = seal(draft, id, access, open, version);
        cors.mark(answer.headers_mut());
        surrender::warn(old_until, answer.headers_mut());
        Ok(answer)
    }

    /// The whole answer, head and all, to bytes that are no request: what hyper would answer by itself has neither a
    /// body nor an id.
    pub(super) fn refuse_unread(&self, error: &ApiError, peer: Peer) -> Bytes {
        let id = request::request_id(&HeaderMap::new(), self.parts.clock.now(), &*self.parts.ids);
        let mut access = Access::begin(id, Method::default(), peer.address.ip().to_canonical(), &self.parts);
        let json = error.json_text();
        let answer = format!(
            "HTTP/1.1 {}\r\ncontent-type: application/json\r\nx-request-id: {}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{json}",
            error.status(),
            access.request_id(),
            json.len()
        );
        access.status = Some(error.status());
        access.code = Some(error.code());
        access.ending = Ending::Refused;
        access.bytes_out = json.len() as u64;
        answer.into()
    }

    /// What is wrong with a head that hyper would answer with `status`.
    pub(super) fn unreadable(&self, status: u16) -> ApiError {
        match status {
            431 => ApiError::HeadersTooLarge,
            414 => ApiError::TargetTooLong(self.limits().target_bytes_max),
            _ => ApiError::BadRequest("its head is not HTTP/1.1".to_string()),
        }
    }

    async fn draft(
        &self,
        request: Request<Incoming>,
        asked: v1::Asked<'_>,
        access: &mut Access,
        peer: Peer,
    ) -> Result<Draft, ApiError> {
        let uri = request.uri().clone();
        let found = route::find(request.method(), uri.path());
        if let Found::Route(route, _) | Found::WrongMethod(route, _) = &found {
            access.route = route.pattern;
            if route.authority != Authority::Bearer {
                request::check(&request, asked.open, &asked.conduct.limits)?;
                return Box::pin(self.keyless(request, &found, asked, access, peer)).await;
            }
        }
        if let Some(preflight) = asked.cors.preflight(request.method(), request.headers(), &found) {
            request::check(&request, asked.open, &asked.conduct.limits)?;
            return Ok(preflight);
        }
        let caller = v1::identify(self, request.headers(), access).await?;
        // Whoever holds a key may take it away from wherever he is.
        let is_surrender = matches!(found, Found::Route(Route { target: Target::KeyRevoke, .. }, _));
        if !is_surrender {
            v1::refuse_address(&caller, access)?;
        }
        request::check(&request, asked.open, &asked.conduct.limits)?;
        if !is_surrender {
            self.refuse_browser(&caller, request.headers(), &asked.cors)?;
        }
        self.notice(&caller, request.headers(), access);
        match found {
            Found::Odd => {
                Err(ApiError::BadRequest("its path has empty, dotted or escaped parts".to_string()))
            }
            Found::Nothing => Err(ApiError::NotFound),
            Found::WrongMethod(_, allowed) => Err(ApiError::MethodNotAllowed(allowed)),
            Found::Route(route, rest) => match route.target {
                Target::Models => v1::models(self, &caller),
                Target::Model => v1::model(self, &caller, rest, access),
                Target::Key => Box::pin(v1::key::show(self, &caller, access)).await,
                Target::Relay(endpoint) => v1::relay(self, caller, endpoint, request, asked, access).await,
                Target::KeyRevoke => Box::pin(surrender::revoke(self, caller, request, asked, access)).await,
                Target::Health
                | Target::Ready
                | Target::Admin
                | Target::OpenApi
                | Target::Asset
                | Target::Page(_) => Err(ApiError::NotFound),
            },
        }
    }

    /// A key in a page can be read by everyone who opens it.
    fn refuse_browser(&self, caller: &Caller, headers: &HeaderMap, cors: &Cors) -> Result<(), ApiError> {
        if !browser::made(headers) || (caller.allows_browser() && cors.is_allowed()) {
            return Ok(());
        }
        self.parts.gate.notice_browser(caller, browser::named(headers));
        Err(ApiError::BrowserNotAllowed)
    }

    fn notice(&self, caller: &Caller, headers: &HeaderMap, access: &Access) {
        let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        self.parts.gate.notice(caller, access.peer, agent);
    }

    /// What takes no key: it tells nothing about anyone, or asks for something else than a key.
    async fn keyless(
        &self,
        request: Request<Incoming>,
        found: &Found<'_>,
        asked: v1::Asked<'_>,
        access: &mut Access,
        peer: Peer,
    ) -> Result<Draft, ApiError> {
        let (route, subject) = match found {
            Found::Route(route, subject) => (*route, *subject),
            // Whoever asks is found out first.
            Found::WrongMethod(route, _) if route.target == Target::Admin => (*route, ""),
            Found::WrongMethod(_, allowed) => return Err(ApiError::MethodNotAllowed(allowed)),
            Found::Nothing | Found::Odd => return Err(ApiError::NotFound),
        };
        match route.target {
            Target::Health => Ok(json(health::alive())),
            Target::Ready => {
                Ok(json(health::ready(&self.parts.store_ready, &self.parts.upstreams, &asked.stop)))
            }
            Target::OpenApi => Ok(json((StatusCode::OK, Bytes::from_static(OPENAPI.as_bytes())))),
            Target::Asset => pages::asset(subject),
            Target::Admin => operator::answer(self, request, asked, access, peer).await,
            Target::Page(page) => {
                let knock = Knock { route, page, subject: subject.to_string(), peer };
                pages::answer(self, request, knock, asked, access).await
            }
            Target::Models | Target::Model | Target::Key | Target::KeyRevoke | Target::Relay(_) => {
                Err(ApiError::NotFound)
            }
        }
    }
}

fn json((status, json): (StatusCode, Bytes)) -> Draft {
    Draft::json(status, json)
}

impl Draft {
    pub(super) fn json(status: StatusCode, json: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, JSON);
        Self { status, headers, content: Content::Full(json) }
    }
}

/// The draft of a refusal.
fn refusal(error: &ApiError, access: &mut Access) -> Draft {
    access.ending = if *error == ApiError::BodyBrokeOff { Ending::ClientGone } else { Ending::Refused };
    if *error == ApiError::Internal {
        // The relay's report was never finished.
        access.report = None;
    }
    access.code = Some(error.code());
    let mut draft = Draft::json(error.status(), error.json());
    if draft.status == StatusCode::UNAUTHORIZED {
        draft.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = error.retry_after() {
        draft.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(limited) = error.limited() {
        tell_limit(limited, matches!(error, ApiError::QuotaSpent(_)), &mut draft.headers);
    }
    if let Some(millis) = error.retry_after_ms() {
        draft.headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
    }
    if let ApiError::MethodNotAllowed(allowed) = error {
        draft.headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    draft
}

/// How long to wait, and whether that helps: the SDKs try again by themselves unless they are told not to.
fn tell_limit(limited: &Limited, is_spent: bool, headers: &mut HeaderMap) {
    allowance::tell(limited.allowances, headers);
    let wait = match (limited.fits, limited.wait) {
        (true, Some(wait)) => Some(wait),
        (true, None) if limited.kind.measure() == Measure::Open => Some(SLOT_WAIT),
        (true, None) | (false, _) => None,
    };
    if let Some(wait) = wait {
        let millis = wait.as_nanos().div_ceil(1_000_000);
        let whole = |number: u128| HeaderValue::from(u64::try_from(number).unwrap_or(u64::MAX));
        headers.insert(RETRY_AFTER, whole(millis.div_ceil(1000)));
        headers.insert(RETRY_AFTER_MS, whole(millis));
    }
    if is_spent || wait.is_none_or(|wait| wait > RETRY_WAIT_MAX) {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
}

fn seal(draft: Draft, id: HeaderValue, mut access: Access, open: OpenRequest, version: Version) -> Answer {
    let Draft { status, mut headers, content } = draft;
    access.status = Some(status);
    let report = access.report.as_ref().map(ReportHandle::read);
    let own = own_share(&access, report.as_ref());
    access.overhead = own.filter(|_| report.is_some_and(|report| report.first_byte.is_some()));
    headers.insert(request::REQUEST_ID, id);
    if let Some(own) = own {
        headers.insert(PROCESSING_MS, millis(own));
    }
    if is_event_stream(&headers) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
    if open.pulse().has_unread() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut answer = Response::new(AnswerBody::new(content, access, open, version));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

fn millis(time: Duration) -> HeaderValue {
    match time.as_millis() {
        0 => HeaderValue::from_static("0"),
        millis => HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX)),
    }
}

/// How long Ember itself was at work so far; none when a model server was waited for and nobody knows how long.
fn own_share(access: &Access, report: Option<&Report>) -> Option<Duration> {
    let waited = match report {
        Some(Report { first_byte: Some(waited), .. }) => *waited,
        Some(Report { upstream: Some(_), .. }) => return None,
        Some(Report { queued, .. }) => queued.unwrap_or_default(),
        None => Duration::ZERO,
    };
    Some(access.elapsed().saturating_sub(access.body_took).saturating_sub(waited))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..KIND.len()).is_some_and(|start| start.eq_ignore_ascii_case(KIND))
}

/// Runs a handler; a panic in it harms no other request.
async fn contained<T>(
    mut handler: Pin<&mut impl Future<Output = Result<T, ApiError>>>,
) -> Result<T, ApiError> {
    std::future::poll_fn(move |cx| {
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)))
            .unwrap_or(Poll::Ready(Err(ApiError::Internal)))
    })
    .await
}
