//! An answer that begins before any server has taken the request: a stream that says nothing until there is one.
//! Never: what a server's stream says.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode};
use http_body::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep, sleep};

use super::RelayFault;
use super::headers::Back;
use super::relay::Reply;
use super::relay_body::RelayBody;
use super::tap::error_event;
use super::verdict::ERROR_BYTES_MAX;
use super::watch::deadline;

/// A comment, which clients pass over (WHATWG HTML, 9.2.6), and the blank line behind it.
const BEAT: Bytes = Bytes::from_static(b": waiting\n\n");

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// What is still to be done for the answer.
pub(super) type Rest = Pin<Box<dyn Future<Output = Result<Reply, RelayFault>> + Send>>;

/// The wait for a server's stream.
pub(super) struct Early {
    stream: Pin<Box<dyn Future<Output = Result<RelayBody, Instead>> + Send>>,
    every: Duration,
    begun: bool,
    next: Pin<Box<Sleep>>,
}

/// What comes in place of a stream.
enum Instead {
    Fault(RelayFault),
    /// The server's own error, as an event.
    Words(Bytes),
}

/// What is to be sent on.
pub(super) enum Step {
    /// Nothing yet: a comment.
    Beat(Bytes),
    /// The server's stream.
    Stream(RelayBody),
    /// The server's own error, after which nothing comes.
    Words(Bytes),
    /// There will be no stream.
    Fault(RelayFault),
}

impl Reply {
    /// A stream that begins with comments, one now and one after each `every`, until the `rest` is done.
    pub(super) fn early(rest: Rest, every: Duration) -> Self {
        let headers = Back { media_type: Some(EVENT_STREAM), ..Back::default() };
        let stream = Box::pin(as_stream(rest));
        let early = Early { stream, every, begun: false, next: Box::pin(sleep(every)) };
        Self { status: StatusCode::OK, headers, body: RelayBody::early(early) }
    }
}

impl Early {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Step::Beat(BEAT));
        }
        if let Poll::Ready(outcome) = self.stream.as_mut().poll(cx) {
            return Poll::Ready(match outcome {
                Ok(body) => Step::Stream(body),
                Err(Instead::Fault(fault)) => Step::Fault(fault),
                Err(Instead::Words(words)) => Step::Words(words),
            });
        }
        self.next.as_mut().poll(cx).map(|()| {
            self.next.as_mut().reset(deadline(Instant::now(), self.every));
            Step::Beat(BEAT)
        })
    }
}

/// The answer, if it is the stream that was promised.
async fn as_stream(rest: Rest) -> Result<RelayBody, Instead> {
    let Reply { status, body, .. } = rest.await.map_err(Instead::Fault)?;
    if body.is_stream() {
        return Ok(body);
    }
    if status.is_success() {
        body.give_up(RelayFault::Invalid);
        return Err(Instead::Fault(RelayFault::Invalid));
    }
    let error = collected(body).await.map_err(Instead::Fault)?;
    Err(own_words(&error).map_or(Instead::Fault(RelayFault::Invalid), Instead::Words))
}

async fn collected(mut body: RelayBody) -> Result<Bytes, RelayFault> {
    let mut all = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let chunk = frame.map_err(|broken| broken.fault)?.into_data().unwrap_or_default();
        if all.len() + chunk.len() > ERROR_BYTES_MAX {
            body.give_up(RelayFault::Invalid);
            return Err(RelayFault::Invalid);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// An error in OpenAI's shape, as an event.
fn own_words(body: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "message")]
        _message: String,
    }
    let error = serde_json::from_slice::<Envelope<'_>>(body).ok()?.error.get();
    serde_json::from_str::<Inner>(error).ok()?;
    Some(error_event(&format!("{{\"error\":{error}}}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_openais_shape_becomes_an_event_and_nothing_else_does() {
        let words =
            own_words(b"{\"object\":\"x\",\n\"error\": {\"message\":\"too\\nlong\",\"code\" :400}}").unwrap();
        assert_eq!(words, "data: {\"error\":{\"message\":\"too\\nlong\",\"code\" :400}}\n\n");
        let lines = own_words(b"{\"error\":{\n\"message\":\"m\"\r\n}}").unwrap();
        assert_eq!(lines, "data: {\"error\":{\ndata: \"message\":\"m\"\ndata: \ndata: }}\n\n");
        for other in [
            "",
            "<html>",
            "[]",
            "{}",
            "{\"error\":\"text\"}",
            "{\"error\":{}}",
            "{\"error\":{\"message\":1}}",
            "{\"detail\":\"x\"}",
        ] {
            assert_eq!(own_words(other.as_bytes()), None, "{other}");
        }
    }
}
