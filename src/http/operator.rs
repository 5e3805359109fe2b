//! The admin API on the public door: for an administrator's token, or for whoever is signed in to the dashboard.
//! Never: what commands do, the Unix socket.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::task::spawn_blocking;

use crate::admin::AdminError;
use crate::types::{Actor, Origin, Ticket, TicketKind};

use super::access::Access;
use super::admin::{AdminDoor, Answered, failure, refusal};
use super::answer::Content;
use super::body;
use super::dashboard::{Jar, is_same_origin, is_token};
use super::draft::Draft;
use super::error::ApiError;
use super::pages::RESOURCE_POLICY;
use super::request::Noted;
use super::service::{Peer, Service};
use super::v1::Asked;

/// Bytes of one request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// Who asks, by what he brings.
enum Credential {
    Token(Ticket),
    /// A session's ticket, and whether the request shows that a page of this site made it.
    Session {
        ticket: String,
        genuine: bool,
    },
    None,
}

/// Answers a request below `/admin/v1`, in its own words whatever goes wrong.
pub(super) async fn answer(
    service: &Service,
    request: Request<Incoming>,
    asked: Asked<'_>,
    access: &mut Access,
    peer: Peer,
) -> Result<Draft, ApiError> {
    match carry_out(service, request, asked, access, peer).await {
        // A caller who broke off hears nothing any more.
        Err(error) if error != ApiError::BodyBrokeOff => {
            access.code = Some(error.code());
            let refused = refusal(error.status(), error.code(), "The request was refused", &error.message());
            let mut draft = draft(refused);
            draft
                .headers
                .extend(error.retry_after().map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
            Ok(draft)
        }
        answered => answered,
    }
}

async fn carry_out(
    service: &Service,
    request: Request<Incoming>,
    asked: Asked<'_>,
    access: &mut Access,
    peer: Peer,
) -> Result<Draft, ApiError> {
    let conduct = &asked.conduct;
    let ground = conduct.site.ground(&request, peer.address, peer.is_encrypted);
    let base_url = ground.as_ref().map(|ground| ground.base_url.clone()).ok();
    let (head, incoming) = request.into_parts();
    let address = conduct.site.client(&head.headers, peer.address);
    let noted = Noted::read(&head.headers);
    let bearer = noted.bearer()?;
    let is_bearer = bearer.is_some();
    let credential = match bearer {
        Some(text) => Ticket::parse(TicketKind::Admin, text).map_or(Credential::None, Credential::Token),
        None => session(&head.headers, &head.method, ground.ok().as_ref()),
    };
    let actor = match identify(service, credential).await {
        Ok(actor) => actor,
        Err(refused) => {
            if is_bearer && refused.is_stranger() {
                service.parts.admin.registry.note_refused_token(address);
            }
            return Ok(draft(refused));
        }
    };
    if let Actor::Person { account, .. } = actor {
        access.account = Some(account);
    }
    let routed = match AdminDoor::route(&head.method, head.uri.path(), head.uri.query()) {
        Ok(routed) => routed,
        Err(refused) => return Ok(draft(refused)),
    };
    access.route = routed.pattern();
    noted.refuse_encoded()?;
    let wait = conduct.limits.body_timeout;
    let body = access
        .reading(pin!(body::read(incoming, head.version, BODY_BYTES_MAX, wait, &service.memory)))
        .await?;
    access.bytes_in = body.len();
    asked.open.body_done();
    let base_url = base_url.unwrap_or_else(|| service.parts.admin.base_url());
    let door = Arc::clone(&service.parts.admin);
    Ok(draft(door.answer(actor, Origin::address(address), routed, body, base_url).await))
}

/// A browser sends its cookie along with what other sites make it ask, too.
fn session(headers: &HeaderMap, method: &Method, ground: Option<&super::site::Ground>) -> Credential {
    let Some(ground) = ground else { return Credential::None };
    let Some(ticket) = Jar::Session.read(headers, ground.is_secure) else { return Credential::None };
    let token = headers.get(CSRF_TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let only_reads = *method == Method::GET || *method == Method::HEAD;
    let genuine = only_reads || (is_same_origin(headers, &ground.base_url) && is_token(&ticket, token));
    Credential::Session { ticket, genuine }
}

async fn identify(service: &Service, credential: Credential) -> Result<Actor, Answered> {
    let (door, dashboard) = (Arc::clone(&service.parts.admin), Arc::clone(&service.dashboard));
    let found = match credential {
        Credential::None => return Err(stranger()),
        Credential::Token(ticket) => {
            spawn_blocking(move || Ok(door.registry.token_actor(&ticket)?.map(|actor| (actor, true)))).await
        }
        Credential::Session { ticket, genuine } => {
            spawn_blocking(move || {
                Ok(dashboard.person(Some(&ticket))?.map(|person| (person.actor(), genuine)))
            })
            .await
        }
    };
    match found {
        Ok(Ok(Some((actor, true)))) => Ok(actor),
        Ok(Ok(Some((_, false)))) => Err(refusal(
            StatusCode::FORBIDDEN,
            "forged",
            "This was not asked by a page of this site",
            "send the session's token in the header x-csrf-token, from the same origin",
        )),
        Ok(Ok(None)) => Err(stranger()),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(failure(&AdminError::unavailable("the token could not be looked up; try again"))),
    }
}

fn stranger() -> Answered {
    refusal(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "Who asks is not known",
        "send an administrator's token as 'Authorization: Bearer TOKEN' (`ember token create`), or sign in",
    )
}

fn draft(answered: Answered) -> Draft {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    let Answered::Text { status, media_type, text, allow, retry_after } = answered else {
        // Only the machine's own socket gives copies of the store.
        return Draft::new(StatusCode::FORBIDDEN, headers, Content::Full(Bytes::new()));
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.extend(allow.and_then(|allow| Some((ALLOW, HeaderValue::from_str(&allow).ok()?))));
    headers.extend(retry_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Draft::new(status, headers, Content::Full(text))
}
