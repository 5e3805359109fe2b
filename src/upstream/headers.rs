//! Which headers cross, in each direction: allow-lists, so that what nobody thought of stays outside.
//! Never: the caller's credentials.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Uri};

use super::head::{Head, is};
use super::server::Server;
use crate::types::Key;

/// The vendor's own, in both directions.
const VENDOR: &str = "openai-";
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// What almost every answer is.
static USUAL_TYPES: [HeaderValue; 3] = [
    HeaderValue::from_static("application/json"),
    HeaderValue::from_static("text/event-stream"),
    HeaderValue::from_static("text/event-stream; charset=utf-8"),
];

/// The headers of a server's answer that go back to the caller. Most have but the one.
#[derive(Debug, Clone, Default)]
pub struct Back {
    /// The first `content-type`.
    pub media_type: Option<HeaderValue>,
    /// All others.
    pub others: HeaderMap,
}

/// The beginning of a request's head: its line, and whom it is for.
pub(super) fn begin(method: &str, target: &Uri, host: &HeaderValue) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    line(&mut head, "host", host.as_bytes());
    head
}

/// One header. Nothing that has line ends in it may come here: names and values of `http` have none.
pub(super) fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// The length of the body, and the end of the head.
pub(super) fn end(head: &mut Vec<u8>, length: usize) {
    line(head, "content-length", itoa::Buffer::new().format(length).as_bytes());
    head.extend_from_slice(b"\r\n");
}

/// The headers of a request to a server that are made from the caller's.
pub(super) fn to_server(caller: &HeaderMap, request_id: &HeaderValue, head: &mut Vec<u8>) {
    line(head, "x-request-id", request_id.as_bytes());
    for (name, value) in caller {
        let known = *name == CONTENT_TYPE || *name == ACCEPT || *name == USER_AGENT;
        // A key may be there, where none belongs.
        if (known || is_allowed_in(name.as_str())) && !Key::may_be_among(value.as_bytes()) {
            line(head, name.as_str(), value.as_bytes());
        }
    }
}

fn is_allowed_in(name: &str) -> bool {
    matches!(name, "traceparent" | "tracestate") || name.starts_with(VENDOR)
}

/// The headers of the server's answer that go back to the caller.
pub(super) fn from_server(answer: &Head, server: &Server) -> Back {
    let mut back = Back::default();
    for (name, value) in answer.headers() {
        let Some(name) = allowed_back(name) else { continue };
        let Some(shared) = shared(answer, value).filter(|_| !server.leaks_in(value)) else { continue };
        if name == CONTENT_TYPE && back.media_type.is_none() {
            back.media_type = Some(shared);
        } else {
            back.others.append(name, shared);
        }
    }
    back
}

fn allowed_back(name: &[u8]) -> Option<HeaderName> {
    match name.len() {
        11 if is(name, b"retry-after") => Some(RETRY_AFTER),
        12 if is(name, b"content-type") => Some(CONTENT_TYPE),
        13 if is(name, b"server-timing") => Some(SERVER_TIMING),
        _ => {
            let start = name.get(..VENDOR.len())?;
            let is_vendors = start.eq_ignore_ascii_case(VENDOR.as_bytes());
            is_vendors.then(|| HeaderName::from_bytes(name).ok()).flatten()
        }
    }
}

/// A value of the head that is not copied, and keeps nothing of it where that is not needed.
fn shared(answer: &Head, value: &[u8]) -> Option<HeaderValue> {
    let usual = USUAL_TYPES.iter().find(|usual| usual.as_bytes() == value);
    usual.cloned().or_else(|| HeaderValue::from_maybe_shared(answer.share(value)).ok())
}

/// Whether the answer's body is not written plainly, although that was asked for.
pub(super) fn is_encoded(answer: &Head) -> bool {
    answer.has_encoding()
        && answer.all("content-encoding").any(|value| !value.eq_ignore_ascii_case(b"identity"))
}

/// Whether the answer is a stream of server-sent events.
pub(super) fn is_event_stream(answer: &Head) -> bool {
    answer.content_type().is_some_and(|value| is_of_type(value, b"text/event-stream"))
}

/// Whether a body is JSON, by its headers.
pub(super) fn is_json(headers: &Back) -> bool {
    headers.media_type.as_ref().is_some_and(|value| is_of_type(value.as_bytes(), b"application/json"))
}

fn is_of_type(value: &[u8], wanted: &[u8]) -> bool {
    let Some((essence, rest)) = value.trim_ascii_start().split_at_checked(wanted.len()) else { return false };
    essence.eq_ignore_ascii_case(wanted) && matches!(rest.trim_ascii_start(), [] | [b';', ..])
}
