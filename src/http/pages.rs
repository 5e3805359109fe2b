//! From a request to a page and back: host, cookies, form, headers. Never: what is on the pages, who may see them.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, USER_AGENT, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::task::spawn_blocking;

use crate::types::{Place, Random, Secret};

use super::access::Access;
use super::answer::Content;
use super::dashboard::{ASSETS, Dashboard, Fields, Jar, Page, PageAnswer, Refused, Visit, is_same_origin};
use super::draft::Draft;
use super::error::ApiError;
use super::request::Noted;
use super::route::Route;
use super::service::{Peer, Service};
use super::site::{Ground, Site};
use super::v1::Asked;
use super::{Limits, body};

/// Bytes of a form.
const FORM_BYTES_MAX: usize = 64 * 1024;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
pub(super) const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What every page is sent with. The referrer policy is not no-referrer: with that, browsers send `Origin: null` with
/// forms, and the check of the origin is worth more than hiding this site from itself.
const HEADERS: [(HeaderName, &str); 8] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "same-origin"),
    (OPENER_POLICY, "same-origin"),
    (RESOURCE_POLICY, "same-origin"),
];

/// What is known of a request for a page before its form is read.
pub(super) struct Knock {
    pub(super) route: &'static Route,
    pub(super) page: Page,
    /// What stands for `{}` in the path.
    pub(super) subject: String,
    pub(super) peer: Peer,
}

/// Answers a request for a page.
pub(super) async fn answer(
    service: &Service,
    request: Request<Incoming>,
    knock: Knock,
    asked: Asked<'_>,
    access: &mut Access,
) -> Result<Draft, ApiError> {
    let site = &asked.conduct.site;
    let ground = site.ground(&request, knock.peer.address, knock.peer.is_encrypted);
    let (head, incoming) = request.into_parts();
    let form = match head.method == Method::POST {
        true => access.reading(pin!(read_form(service, &asked.conduct.limits, &head, incoming))).await?,
        false => Bytes::new(),
    };
    access.bytes_in = form.len();
    asked.open.body_done();
    let is_known = ground.is_ok();
    let ground = ground.unwrap_or(Ground { base_url: String::new(), is_secure: false, refusal: None });
    let genuine = is_known && is_same_origin(&head.headers, &ground.base_url);
    let visitor = Jar::Visitor.read(&head.headers, ground.is_secure).filter(|text| is_visitor(text));
    let fresh = visitor.is_none();
    let visit = Visit {
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        page: knock.page,
        subject: knock.subject,
        place: place(site, &head.headers, knock.peer),
        visitor: visitor.or_else(|| new_visitor(&*service.parts.random)).unwrap_or_default(),
        theme: theme(&head.headers, ground.is_secure),
        query: Fields::default(),
        form: Fields::default(),
        person: None,
        request_id: access.request_id().to_string(),
        method: head.method,
        ground,
    };
    let session = Jar::Session.read(&head.headers, visit.ground.is_secure);
    let (dashboard, authority) = (Arc::clone(&service.dashboard), knock.route.authority);
    let Ok(slot) = Arc::clone(&service.pages).acquire_owned().await else { return Err(ApiError::Stopping) };
    let query = head.uri.query().unwrap_or_default().to_string();
    let made = spawn_blocking(move || {
        // Fields take more memory than their text: only so many requests have theirs read at once.
        let _slot = slot;
        let visit = Visit { query: Fields::parse(query.as_bytes()), form: Fields::parse(&form), ..visit };
        let (visit, answer) =
            open(&dashboard, visit, session.as_deref(), |dashboard, visit| match is_known {
                true => dashboard.answer(visit, authority, genuine),
                false => dashboard.refused(visit, Refused::WrongHost),
            });
        (visit.person.as_ref().map(|person| person.account.id), cookies(&visit, answer, fresh))
    });
    let (account, page) = made.await.map_err(|_| ApiError::Internal)?;
    access.account = account;
    Ok(draft(page))
}

/// Finds out who asks, then makes the page. When the store can't say who it is, nobody is turned away as a stranger.
fn open(
    dashboard: &Dashboard,
    mut visit: Visit,
    session: Option<&str>,
    page: impl FnOnce(&Dashboard, &Visit) -> PageAnswer,
) -> (Visit, PageAnswer) {
    let answer = match dashboard.person(session) {
        Ok(person) => {
            visit.person = person;
            page(dashboard, &visit)
        }
        Err(error) => dashboard.refused(&visit, Refused::Admin(error)),
    };
    (visit, answer)
}

/// An embedded file, for good: its name changes with its content.
pub(super) fn asset(name: &str) -> Result<Draft, ApiError> {
    let asset = ASSETS.find(name).ok_or(ApiError::NotFound)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    let content = Content::Full(Bytes::from_static(asset.content));
    Ok(Draft::new(StatusCode::OK, headers, content))
}

async fn read_form(
    service: &Service,
    limits: &Limits,
    head: &Parts,
    body: Incoming,
) -> Result<Bytes, ApiError> {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    Noted::read(&head.headers).refuse_encoded()?;
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    if !kind.trim_ascii().eq_ignore_ascii_case(FORM) {
        return Err(ApiError::BadRequest(
            "its body is not a form (application/x-www-form-urlencoded)".to_string(),
        ));
    }
    body::read(body, head.version, FORM_BYTES_MAX, limits.body_timeout, &service.memory).await
}

fn place(site: &Site, headers: &HeaderMap, peer: Peer) -> Place {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Place::new(site.client(headers, peer.address), agent)
}

fn theme(headers: &HeaderMap, is_secure: bool) -> String {
    let wanted = Jar::Theme.read(headers, is_secure);
    wanted.filter(|theme| theme == "light" || theme == "dark").unwrap_or_else(|| "auto".to_string())
}

fn new_visitor(random: &dyn Random) -> Option<String> {
    Secret::generate(random).ok().map(|text| text.expose().to_string())
}

/// A visitor's text as it is made here.
fn is_visitor(text: &str) -> bool {
    text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Adds the cookie of a visitor who has none yet and is given a form.
fn cookies(visit: &Visit, mut answer: PageAnswer, fresh: bool) -> PageAnswer {
    let is_secure = visit.ground.is_secure;
    if fresh && visit.person.is_none() && answer.location.is_none() && visit.method != Method::POST {
        answer.cookies.extend(Jar::Visitor.set(&visit.visitor, is_secure));
    }
    answer
}

fn draft(page: PageAnswer) -> Draft {
    let mut headers = HeaderMap::new();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(file) = page.file {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
        let disposition = HeaderValue::try_from(format!("attachment; filename=\"{file}\""));
        disposition.into_iter().for_each(|value| drop(headers.insert(CONTENT_DISPOSITION, value)));
    }
    for cookie in page.cookies {
        headers.append(SET_COOKIE, cookie);
    }
    if let Some(location) = page.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        headers.insert(LOCATION, location);
    }
    if let Some(seconds) = page.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    Draft::new(page.status, headers, Content::Full(page.html.into()))
}
