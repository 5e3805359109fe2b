//! The server's side of the admin door: one request per connection, all of it bounded. Never: what commands do.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::admin::Running;
use crate::meter::Meter;
use crate::metrics::Exposition;
use crate::registry::Registry;
use crate::types::{Actor, Clock, Current, Origin, Prices};

use super::answer::{Answered, refusal};
use super::crowd::Crowd;
use super::route::METRICS_PATH;
use super::{Snapshot, VERSION, VERSION_HEADER};

/// From accept to the end of the head, and from there to the end of the body.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Commands carried out at once; more wait.
const COMMANDS_MAX: usize = 64;
/// Bytes of a backup read at once, and how many such pieces may wait for the client.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES_MAX: usize = 4;

/// Everything the admin door needs; one for the process.
pub struct AdminDoor {
    pub(in crate::http) registry: Arc<Registry>,
    pub(in crate::http) meter: Arc<Meter>,
    pub(in crate::http) clock: Arc<dyn Clock>,
    pub(in crate::http) running: Arc<dyn Running>,
    pub(super) snapshot: Snapshot,
    pub(super) slots: Arc<Semaphore>,
    pub(in crate::http) crowd: Arc<Crowd>,
    /// Users who are let in beside root.
    users: Vec<u32>,
    terms: Arc<Current<Terms>>,
    /// All metrics as they stand.
    pub(super) exposition: Exposition,
}

/// What answers are made with, and may be changed while the door is open.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Scheme, host and port of the links that commands make.
    pub base_url: String,
    /// What tokens cost.
    pub prices: Prices,
}

impl AdminDoor {
    /// A door to `registry` and to what `meter` counted; `running` is asked what the server says of itself, `snapshot` for a copy of the store.
    /// Links that are made begin with `base_url`.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        meter: Arc<Meter>,
        clock: Arc<dyn Clock>,
        running: Arc<dyn Running>,
        snapshot: Snapshot,
        base_url: String,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(COMMANDS_MAX));
        let users = vec![0, rustix::process::geteuid().as_raw()];
        let terms = Arc::new(Current::new(Terms { base_url, ..Terms::default() }));
        let (crowd, exposition): (_, Exposition) = (Arc::default(), Arc::new(Bytes::new));
        Self { registry, meter, clock, running, snapshot, slots, crowd, users, terms, exposition }
    }

    /// The same by terms that somebody else changes.
    #[must_use]
    pub fn with_terms(self, terms: Arc<Current<Terms>>) -> Self {
        Self { terms, ..self }
    }

    pub(in crate::http) fn base_url(&self) -> String {
        self.terms.get().base_url.clone()
    }

    /// What holds now.
    pub(in crate::http) fn terms(&self) -> Arc<Terms> {
        self.terms.get()
    }

    /// The same, with metrics to show.
    #[must_use]
    pub fn with_metrics(self, exposition: Exposition) -> Self {
        Self { exposition, ..self }
    }

    /// Lets one more user in: the data directory's owner, when root serves it.
    #[must_use]
    pub fn with_user(mut self, uid: u32) -> Self {
        self.users.push(uid);
        self
    }
}

/// Serves one connection to its end. Whoever is not let in is turned away without a word.
pub async fn serve_connection(stream: UnixStream, door: Arc<AdminDoor>) {
    let uid = match stream.peer_cred() {
        Ok(peer) if door.users.contains(&peer.uid()) => peer.uid(),
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "someone else was turned away at the admin socket");
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "the admin socket does not say who connects; turned away");
            return;
        }
    };
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(versioned(answer(door, Actor::Machine { uid }, request).await)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin socket ended early");
    }
}

async fn answer(door: Arc<AdminDoor>, actor: Actor, request: Request<Incoming>) -> Response<AnswerBody> {
    if let Some(refusal) = refuse_version(&request) {
        return refusal;
    }
    let (target, base_url) = (request.uri().clone(), door.base_url());
    // Where Prometheus looks by itself; here it is known who asks.
    let path = if target.path() == "/metrics" { METRICS_PATH } else { target.path() };
    let routed = match AdminDoor::route(request.method(), path, target.query()) {
        Ok(routed) => routed,
        Err(refused) => return response(refused),
    };
    match whole(request.into_body()).await {
        Ok(body) => response(door.answer(actor, Origin::Socket, routed, body, base_url).await),
        Err(refused) => refused,
    }
}

fn response(answered: Answered) -> Response<AnswerBody> {
    match answered {
        Answered::Copy { file, length, slot } => pieces(file, length, slot),
        Answered::Text { status, media_type, text, allow, retry_after } => {
            let mut response = Response::new(AnswerBody::Whole(Full::from(text)));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            headers.extend(allow.and_then(|allow| Some((ALLOW, HeaderValue::from_str(&allow).ok()?))));
            headers.extend(retry_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
            response
        }
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Response<AnswerBody>> {
    let refused = || {
        let detail = "it broke off, or it is larger than 1 MiB";
        response(refusal(StatusCode::PAYLOAD_TOO_LARGE, "body_refused", "The body was refused", detail))
    };
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(refused());
    }
    match timeout(READ_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(refused()),
        Err(_) => {
            let detail = "send it within 10 seconds";
            Err(response(refusal(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "The body did not come",
                detail,
            )))
        }
    }
}

fn pieces(file: File, length: u64, slot: OwnedSemaphorePermit) -> Response<AnswerBody> {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    // Ends by itself when the client goes away: sending fails then.
    spawn_blocking(move || {
        let _slot = slot;
        read_pieces(file, &sender);
    });
    let mut response = Response::new(AnswerBody::Pieces(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn read_pieces(mut file: File, sender: &mpsc::Sender<std::io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let sent = match file.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => {
                piece.truncate(length);
                sender.blocking_send(Ok(piece.into()))
            }
            Err(error) => {
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The client speaks to a server of its own version or not at all; whoever names none (curl) is let through.
fn refuse_version(request: &Request<Incoming>) -> Option<Response<AnswerBody>> {
    let other = request.headers().get(VERSION_HEADER)?;
    if other.as_bytes() == VERSION.as_bytes() {
        return None;
    }
    let detail = format!("the running server is version {VERSION}; restart it after an update");
    Some(response(refusal(StatusCode::UPGRADE_REQUIRED, "other_version", "Versions differ", &detail)))
}

fn versioned(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    response
}

/// An answer: whole, or piece by piece from a file.
enum AnswerBody {
    Whole(Full<Bytes>),
    Pieces(mpsc::Receiver<std::io::Result<Bytes>>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => {
                Pin::new(body).poll_frame(context).map_err(|never: Infallible| match never {})
            }
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) => http_body::SizeHint::default(),
        }
    }
}
