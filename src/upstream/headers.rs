//! Which headers cross, in each direction: allow-lists, so that what nobody thought of stays outside.
//! Never: the caller's credentials.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, Response};

use super::server::Server;
use crate::types::Key;

/// The vendor's own, in both directions.
const VENDOR: &str = "openai-";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// The headers of a request to `server`, made from the caller's.
pub(super) fn to_server(caller: &HeaderMap, request_id: &HeaderValue, server: &Server) -> HeaderMap {
    let mut headers = server.own_headers();
    headers.insert(ACCEPT_ENCODING, IDENTITY);
    headers.insert(REQUEST_ID, request_id.clone());
    for (name, value) in caller {
        let known = *name == CONTENT_TYPE || *name == ACCEPT || *name == USER_AGENT;
        if (known || is_allowed_in(name.as_str())) && !has_key(value) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// Whether a caller has put a key where none belongs.
fn has_key(value: &HeaderValue) -> bool {
    let text = String::from_utf8_lossy(value.as_bytes());
    Key::may_be_in(&text)
}

fn is_allowed_in(name: &str) -> bool {
    matches!(name, "traceparent" | "tracestate") || name.starts_with(VENDOR)
}

/// The headers of the server's answer that go back to the caller.
pub(super) fn from_server(answer: &HeaderMap, server: &Server) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in answer {
        let allowed = *name == CONTENT_TYPE || *name == RETRY_AFTER || is_allowed_back(name.as_str());
        if allowed && !server.leaks_in(value.as_bytes()) {
            headers.append(name, value.clone());
        }
    }
    headers
}

fn is_allowed_back(name: &str) -> bool {
    name == "server-timing" || name.starts_with(VENDOR)
}

/// Whether the answer's body is not written plainly, although that was asked for.
pub(super) fn is_encoded<B>(answer: &Response<B>) -> bool {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    !answer.headers().get_all(CONTENT_ENCODING).iter().all(plain)
}

/// Whether the answer is a stream of server-sent events.
pub(super) fn is_event_stream<B>(answer: &Response<B>) -> bool {
    is_of_type(answer.headers(), b"text/event-stream")
}

/// Whether a body is JSON, by its headers.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    is_of_type(headers, b"application/json")
}

fn is_of_type(headers: &HeaderMap, wanted: &[u8]) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(wanted)
}
