//! `ember-echo`, the stand-in model built into Ember: a model server of its own at the far end of a pipe.
//! Never: the network, a clock, state between requests. The same request gets the same answer, but for its id.

mod chat;
mod embeddings;
mod input;
mod reply;
mod responses;
mod speech;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::DuplexStream;

use self::reply::{Refusal, Reply, ReplyBody};

/// The stand-in's name, as `/v1/models` has it and requests must give it.
pub const MODEL: &str = "ember-echo";

/// The largest body it reads.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The longest `ember_echo_delay_ms` that a request may ask for.
pub const DELAY_MS_MAX: u64 = 10_000;

/// How the stand-in behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EchoSettings {
    /// The pause before each word. A request sets its own with the member `ember_echo_delay_ms`,
    /// up to [`DELAY_MS_MAX`].
    pub delay: Duration,
}

/// Starts the stand-in at one end of a pipe and gives the other: HTTP/1.1 is spoken on it, with keep-alive.
/// It stops when that end is dropped, in the middle of an answer too.
///
/// # Panics
/// Outside of a tokio runtime.
#[must_use]
pub fn connect(settings: EchoSettings) -> DuplexStream {
    const PIPE_BYTES: usize = 64 << 10;
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(serve(far, settings));
    near
}

async fn serve(pipe: DuplexStream, settings: EchoSettings) {
    let service = service_fn(move |request| answer(request, settings));
    // However it ends, the other end has gone: nobody is left to be told.
    http1::Builder::new().serve_connection(TokioIo::new(pipe), service).await.ok();
}

async fn answer(
    request: Request<Incoming>,
    settings: EchoSettings,
) -> Result<Response<ReplyBody>, Infallible> {
    let reply = match reply(request, settings).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.into(),
    };
    Ok(reply.into_response().await)
}

async fn reply(request: Request<Incoming>, settings: EchoSettings) -> Result<Reply, Refusal> {
    type Answer = fn(&[u8], EchoSettings) -> Result<Reply, Refusal>;
    let answer: Answer = match request.uri().path() {
        "/v1/models" if request.method() == Method::GET => return Ok(models()),
        "/v1/models" => return Err(Refusal::method("GET")),
        "/v1/chat/completions" => chat::chat,
        "/v1/completions" => chat::completion,
        "/v1/embeddings" => embeddings::embeddings,
        "/v1/responses" => responses::responses,
        _ => return Err(Refusal::path()),
    };
    if request.method() != Method::POST {
        return Err(Refusal::method("POST"));
    }
    answer(&read(request.into_body()).await?, settings)
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large()),
        Err(_) => Err(Refusal::bad(None, "the request's body broke off")),
    }
}

fn models() -> Reply {
    #[derive(Serialize)]
    struct Models {
        object: &'static str,
        data: [Model; 1],
    }
    #[derive(Serialize)]
    struct Model {
        id: &'static str,
        object: &'static str,
        created: u64,
        owned_by: &'static str,
    }
    let model = Model { id: MODEL, object: "model", created: reply::CREATED, owned_by: "ember" };
    Reply::json(&Models { object: "list", data: [model] })
}

/// Reads a request; of what is wrong with it only the place is said.
fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::unread(error.line(), error.column()))
}

fn check_model(model: &str) -> Result<(), Refusal> {
    if model == MODEL { Ok(()) } else { Err(Refusal::model()) }
}

impl EchoSettings {
    fn delay(self, asked_ms: Option<u64>) -> Result<Duration, Refusal> {
        match asked_ms {
            None => Ok(self.delay),
            Some(ms) if ms <= DELAY_MS_MAX => Ok(Duration::from_millis(ms)),
            Some(_) => Err(Refusal::bad(Some("ember_echo_delay_ms"), "ember_echo_delay_ms is at most 10000")),
        }
    }
}

#[cfg(test)]
mod tests;
