//! The stand-in's answers on the wire: JSON, events one after the other with pauses, errors. Never: what they say.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use serde::Serialize;
use tokio::time::Sleep;

/// `created` in every answer, in seconds since 1970: the stand-in has no clock.
pub(super) const CREATED: u64 = 1_767_225_600;

pub(super) type ReplyBody = Either<Full<Bytes>, EventBody>;

/// An answer, ready to be sent.
pub(super) enum Reply {
    /// JSON, after a pause.
    Whole { status: StatusCode, allow: Option<&'static str>, pause: Duration, json: Vec<u8> },
    /// Events as they come.
    Stream(EventBody),
}

impl Reply {
    /// 200 with this JSON.
    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::json_after(Duration::ZERO, value)
    }

    /// 200 with this JSON, after a pause.
    pub(super) fn json_after(pause: Duration, value: &impl Serialize) -> Self {
        Self::Whole { status: StatusCode::OK, allow: None, pause, json: to_json(value) }
    }

    /// 200 with these events; `delay` is the pause before each that waits.
    pub(super) fn stream(delay: Duration, events: impl Iterator<Item = Event> + Send + 'static) -> Self {
        Self::Stream(EventBody { events: Box::new(events), delay, pause: None })
    }

    pub(super) async fn into_response(self) -> Response<ReplyBody> {
        let json_type = HeaderValue::from_static("application/json");
        let (status, allow, kind, body) = match self {
            Self::Whole { status, allow, pause, json } => {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                (status, allow, json_type, Either::Left(Full::from(json)))
            }
            Self::Stream(body) => {
                (StatusCode::OK, None, HeaderValue::from_static("text/event-stream"), Either::Right(body))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// One server-sent event.
pub(super) struct Event {
    waits: bool,
    bytes: Bytes,
}

impl Event {
    /// An event without a name, with this JSON.
    pub(super) fn data(value: &impl Serialize) -> Self {
        Self::text(None, &to_json(value))
    }

    /// An event with a name.
    pub(super) fn named(name: &str, value: &impl Serialize) -> Self {
        Self::text(Some(name), &to_json(value))
    }

    /// The end mark of chat and completions.
    pub(super) fn done() -> Self {
        Self::text(None, b"[DONE]")
    }

    /// The same, to be sent after the pause.
    pub(super) fn waiting(self) -> Self {
        Self { waits: true, ..self }
    }

    fn text(name: Option<&str>, data: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(data.len() + 64);
        if let Some(name) = name {
            bytes.extend_from_slice(b"event: ");
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(b"data: ");
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\n\n");
        Self { waits: false, bytes: bytes.into() }
    }
}

/// Events made one by one, as the reader takes them.
pub(super) struct EventBody {
    events: Box<dyn Iterator<Item = Event> + Send>,
    delay: Duration,
    pause: Option<(Pin<Box<Sleep>>, Bytes)>,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let (mut sleep, bytes) = match this.pause.take() {
            Some(pause) => pause,
            None => match this.events.next() {
                None => return Poll::Ready(None),
                Some(event) if event.waits && !this.delay.is_zero() => {
                    (Box::pin(tokio::time::sleep(this.delay)), event.bytes)
                }
                Some(event) => return Poll::Ready(Some(Ok(Frame::data(event.bytes)))),
            },
        };
        if sleep.as_mut().poll(cx).is_pending() {
            this.pause = Some((sleep, bytes));
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

/// A request that is not answered, in OpenAI's shape.
#[derive(Serialize)]
pub(super) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    #[serde(skip)]
    allow: Option<&'static str>,
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl Refusal {
    /// 400: the request, or its member `param`, can't be used.
    pub(super) fn bad(param: Option<&'static str>, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message.to_string(), param, None)
    }

    /// 400: not JSON, or not of the shape that the route reads.
    pub(super) fn unread(line: usize, column: usize) -> Self {
        let message = format!("the request is not what this route reads, at line {line}, column {column}");
        Self::new(StatusCode::BAD_REQUEST, message, None, Some("invalid_json"))
    }

    /// 404: there is only one model.
    pub(super) fn model() -> Self {
        let message = format!("there is no such model here, only {}", super::MODEL);
        Self::new(StatusCode::NOT_FOUND, message, Some("model"), Some("model_not_found"))
    }

    /// 404: no such route.
    pub(super) fn path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this path".to_string(), None, Some("not_found"))
    }

    /// 405: the route has only the method `allow`.
    pub(super) fn method(allow: &'static str) -> Self {
        let message = format!("this path only knows the method {allow}");
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, message, None, Some("method_not_allowed"));
        Self { allow: Some(allow), ..refusal }
    }

    /// 413: more than the stand-in reads.
    pub(super) fn too_large() -> Self {
        let message = format!("the request's body is larger than {} bytes", super::BODY_BYTES_MAX);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message, None, Some("request_too_large"))
    }

    fn new(
        status: StatusCode,
        message: String,
        param: Option<&'static str>,
        code: Option<&'static str>,
    ) -> Self {
        Self { status, allow: None, message, kind: "invalid_request_error", param, code }
    }
}

impl From<Refusal> for Reply {
    fn from(error: Refusal) -> Self {
        #[derive(Serialize)]
        struct Body {
            error: Refusal,
        }
        let (status, allow) = (error.status, error.allow);
        Self::Whole { status, allow, pause: Duration::ZERO, json: to_json(&Body { error }) }
    }
}

/// A new id: the prefix and a number that no other answer of this process has.
pub(super) fn new_id(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}echo{:016x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Our shapes always serialize: they have string keys and no failing fields.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
