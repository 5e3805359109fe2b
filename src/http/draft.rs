//! An answer before its envelope, and the envelope: what a refusal says in headers, request id, timing, connection.
//! Never: when to refuse, who asks.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use crate::gate::{Allowances, Limited};
use crate::types::{Ending, Measure};
use crate::upstream::{Back, Reply};

use super::access::Access;
use super::answer::{AnswerBody, Content};
use super::envelope;
use super::error::ApiError;
use super::pulse::OpenRequest;
use super::service::Answer;

/// An answer before its envelope: request id, timing, connection.
pub(super) struct Draft {
    pub(super) status: StatusCode,
    /// From [`envelope`], which fills in the rest at the end.
    pub(super) headers: HeaderMap,
    content: Content,
    is_stream: bool,
}

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// When one of the requests under way ends is not known; this is soon enough to look.
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// Nobody's code should wait for longer by itself; the SDKs would not.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);

impl Draft {
    /// An answer of Ember's own, with these headers.
    pub(super) fn new(status: StatusCode, headers: HeaderMap, content: Content) -> Self {
        let mut all = envelope::bare();
        all.extend(headers);
        Self { status, headers: all, content, is_stream: false }
    }

    pub(super) fn json(status: StatusCode, json: Bytes) -> Self {
        Self::of_json(status, json, envelope::of(Some(envelope::JSON), Allowances::default()))
    }

    fn of_json(status: StatusCode, json: Bytes, headers: HeaderMap) -> Self {
        Self { status, headers, content: Content::Full(json), is_stream: false }
    }

    /// A model server's answer, and what is left of the key's limits.
    pub(super) fn relayed(reply: Reply, allowances: Allowances) -> Self {
        let Reply { status, headers: Back { media_type, others }, body } = reply;
        let is_stream = media_type.as_ref().is_some_and(is_event_stream);
        let mut headers = envelope::of(media_type, allowances);
        for (name, value) in others.iter().filter(|(name, _)| **name != envelope::PROCESSING_MS) {
            headers.append(name, value.clone());
        }
        Self { status, headers, content: Content::Relay(body), is_stream }
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
    let headers = match (error.status(), error.limited()) {
        (StatusCode::UNAUTHORIZED, _) => envelope::unauthorized(),
        (_, limited) => {
            let allowances = limited.map_or_else(Allowances::default, |limited| limited.allowances);
            envelope::of(Some(envelope::JSON), allowances)
        }
    };
    let mut draft = Draft::of_json(error.status(), error.json(), headers);
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
    mut access: Box<Access>,
    open: OpenRequest,
    version: Version,
) -> Answer {
    let Draft { status, mut headers, content, is_stream } = draft;
    let own = access.answered(status);
    envelope::seal(&mut headers, id, own.map(millis));
    if is_stream {
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

fn is_event_stream(media_type: &HeaderValue) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    let start = media_type.as_bytes().get(..KIND.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(KIND))
}
