//! From a request to its answer: id, route, key, checks, handler, headers. Never: how a model is reached.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::request::Parts as Head;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::gate::{Caller, Gate};
use crate::metrics::Metrics;
use crate::types::{Clock, Current, Ending, Random};
use crate::upstream::Upstreams;

use super::access::{Access, AccessLog};
use super::admin::{AdminDoor, OPENAPI};
use super::answer::AnswerBody;
use super::browser::{self, Cors};
use super::conduct::Conduct;
use super::dashboard::Dashboard;
use super::draft::{Draft, refusal, seal};
use super::error::ApiError;
use super::health::{self, Readiness};
use super::pages::{self, Knock};
use super::pulse::OpenRequest;
use super::request::Noted;
use super::route::{self, Authority, Found, Route, Target};
use super::stop::StopWatch;
use super::surrender::{self, Revoker};
use super::v1::facts::LongReads;
use super::{Limits, operator, request, v1};

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
    pub(super) long_reads: LongReads,
}

/// Pages made at once: each may wait for the disk, or for a password to be hashed.
const PAGES_MAX: usize = 64;

/// What a key used is read from the disk, hour by hour.
const READERS_MAX: usize = 4;

impl Service {
    pub(super) fn new(parts: Parts) -> Self {
        let bytes = parts.conduct.get().limits.buffered_bytes_max.min(Semaphore::MAX_PERMITS);
        let dashboard = Dashboard::new(Arc::clone(&parts.admin), Arc::clone(&parts.random));
        Self {
            memory: Arc::new(Semaphore::new(bytes)),
            dashboard: Arc::new(dashboard),
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            readers: Semaphore::new(READERS_MAX),
            long_reads: LongReads::default(),
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

    /// Answers a request, whatever it is. Its future is copied when the request begins: what is large and rare in it is
    /// boxed where it begins.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        open: OpenRequest,
        peer: Peer,
        stop: StopWatch,
    ) -> Result<Answer, Infallible> {
        let (mut head, incoming) = request.into_parts();
        let id = request::request_id(&head.headers, self.parts.clock.now(), &*self.parts.ids);
        let conduct = self.conduct();
        let client = conduct.site.client(&head.headers, peer.address);
        let mut access = Access::begin(id.clone(), head.method.clone(), client, &self.parts);
        let cors = conduct.origins.cors(head.uri.path(), &head.headers);
        let asked = v1::Asked { id: id.clone(), open: &open, stop, cors: &cors, conduct };
        if incoming.is_end_stream() {
            open.body_done();
        }
        let version = head.version;
        let drafted = {
            let drafting = pin!(self.draft(&mut head, incoming, asked, &mut access, peer));
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
        head: &mut Head,
        incoming: Incoming,
        asked: v1::Asked<'_>,
        access: &mut Access,
        peer: Peer,
    ) -> Result<Draft, ApiError> {
        let (noted, limits) = (Noted::read(&head.headers), &asked.conduct.limits);
        let found = route::find(&head.method, head.uri.path());
        if let Found::Route(route, _) | Found::WrongMethod(route, _) = &found {
            access.route = route.pattern;
            if route.authority != Authority::Bearer {
                noted.check(head, asked.open, limits)?;
                return Box::pin(self.keyless(taken(head), incoming, asked, access, peer)).await;
            }
        }
        if let Some(preflight) = asked.cors.preflight(&head.method, &head.headers, &found) {
            noted.check(head, asked.open, limits)?;
            return Ok(preflight);
        }
        let caller = pin!(v1::identify(self, noted.bearer()?, access)).await?;
        // Whoever holds a key may take it away from wherever he is.
        let is_surrender = matches!(found, Found::Route(Route { target: Target::KeyRevoke, .. }, _));
        if !is_surrender {
            v1::refuse_address(&caller, access)?;
        }
        noted.check(head, asked.open, limits)?;
        if !is_surrender {
            self.refuse_browser(&caller, &noted, asked.cors)?;
        }
        self.parts.gate.notice(&caller, access.peer, noted.user_agent());
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
                Target::Relay(endpoint) => {
                    v1::may_relay(&caller, endpoint, &noted)?;
                    // Pinned where it is made: what is awaited as it is is moved first.
                    pin!(v1::relay(self, caller, endpoint, head, incoming, asked, access)).await
                }
                Target::KeyRevoke => {
                    let request = Request::from_parts(taken(head), incoming);
                    Box::pin(surrender::revoke(self, caller, request, asked, access)).await
                }
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
    fn refuse_browser(&self, caller: &Caller, noted: &Noted<'_>, cors: &Cors) -> Result<(), ApiError> {
        if !browser::made(noted) || (caller.allows_browser() && cors.is_allowed()) {
            return Ok(());
        }
        self.parts.gate.notice_browser(caller, noted.origin().unwrap_or_default());
        Err(ApiError::BrowserNotAllowed)
    }

    /// What takes no key: it tells nothing about anyone, or asks for something else than a key.
    async fn keyless(
        &self,
        head: Head,
        incoming: Incoming,
        asked: v1::Asked<'_>,
        access: &mut Access,
        peer: Peer,
    ) -> Result<Draft, ApiError> {
        let uri = head.uri.clone();
        let (route, subject) = match route::find(&head.method, uri.path()) {
            Found::Route(route, subject) => (route, subject),
            // Whoever asks is found out first.
            Found::WrongMethod(route, _) if route.target == Target::Admin => (route, ""),
            Found::WrongMethod(_, allowed) => return Err(ApiError::MethodNotAllowed(allowed)),
            Found::Nothing | Found::Odd => return Err(ApiError::NotFound),
        };
        let request = Request::from_parts(head, incoming);
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

/// The head itself, to go on as part of a request.
fn taken(head: &mut Head) -> Head {
    std::mem::replace(head, Request::new(()).into_parts().0)
}

fn json((status, json): (StatusCode, Bytes)) -> Draft {
    Draft::json(status, json)
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
