//! An answer before its envelope, and the envelope: what a refusal says in headers, request id, timing, connection.
//! Never: when to refuse, who asks.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use crate::gate::Limited;
use crate::types::{Ending, Measure};
use crate::upstream::{Report, ReportHandle};

use super::access::Access;
use super::answer::{AnswerBody, Content};
use super::error::ApiError;
use super::pulse::OpenRequest;
use super::service::Answer;
use super::{allowance, request};

/// An answer before its envelope: request id, timing, connection.
pub(super) struct Draft {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
}

const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// When one of the requests under way ends is not known; this is soon enough to look.
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// Nobody's code should wait for longer by itself; the SDKs would not.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);

impl Draft {
    pub(super) fn json(status: StatusCode, json: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, JSON);
        Self { status, headers, content: Content::Full(json) }
    }
}

/// The draft of a refusal.
pub(super) fn refusal(error: &ApiError, access: &mut Access) -> Draft {
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

/// The answer as it goes out.
pub(super) fn seal(
    draft: Draft,
    id: HeaderValue,
    mut access: Access,
    open: OpenRequest,
    version: Version,
) -> Answer {
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
