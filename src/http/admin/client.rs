//! The client's side of the admin door: blocking calls, one connection each. Never: what to do when no server answers.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::admin::{AdminError, Command, Reply, wire};

use super::problem::ProblemJson;
use super::route::{Call, backup, call};
use super::{VERSION, VERSION_HEADER};

/// Longest wait for an answer: a disk that is slow is waited for, a server that is stuck is not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a backup to begin: the server makes and verifies the whole copy first.
const COPY_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest wait for the next piece of a backup.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// A page of a thousand keys is below a megabyte; this is for what is no Ember.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a running server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It said why.
    #[error(transparent)]
    Refused(#[from] AdminError),
    /// It is another version.
    #[error("the running server is {0}, this command is version {VERSION}")]
    OtherVersion(String),
    /// It went away or fell silent before it answered.
    #[error("the server gave no answer: {0}")]
    NoAnswer(String),
    /// What it sent could not be written down here.
    #[error("the backup could not be written: {0}")]
    Write(#[from] io::Error),
}

/// A connection to a running server, for one request.
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Speaks over a connected socket.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// Asks for a command to be carried out. Blocks until it is answered, a minute at most.
    ///
    /// # Errors
    /// [`ClientError`]; after `NoAnswer` nobody knows whether it was done.
    pub fn ask(self, command: &Command) -> Result<Reply, ClientError> {
        let call = call(command)?;
        runtime()?.block_on(async move {
            let body = match timeout(ANSWER_TIMEOUT, answer(self.stream, call)).await {
                Ok(answer) => whole(answer?).await?,
                Err(_) => return Err(ClientError::NoAnswer("it is silent since a minute".to_string())),
            };
            Ok(wire::decode(command, &body)?)
        })
    }

    /// Asks for a backup and writes it to `out`. Returns its length in bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn backup(self, out: &mut dyn Write) -> Result<u64, ClientError> {
        runtime()?.block_on(async move {
            let answer = timeout(COPY_TIMEOUT, answer(self.stream, backup())).await;
            let silence = |_| ClientError::NoAnswer("no copy was made within ten minutes".to_string());
            let mut body = answer.map_err(silence)??.into_body();
            let mut length = 0;
            while let Some(frame) = timeout(PIECE_TIMEOUT, body.frame()).await.map_err(silent)? {
                if let Ok(piece) = frame.map_err(silent)?.into_data() {
                    out.write_all(&piece)?;
                    length += piece.len() as u64;
                }
            }
            Ok(length)
        })
    }
}

/// The answer to a call, when it is neither a refusal nor from another version.
async fn answer(stream: UnixStream, call: Call) -> Result<Response<Incoming>, ClientError> {
    stream.set_nonblocking(true).map_err(silent)?;
    let stream = tokio::net::UnixStream::from_std(stream).map_err(silent)?;
    let (mut sender, connection) =
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(silent)?;
    tokio::spawn(connection);
    let response = sender.send_request(request(call)?).await.map_err(silent)?;
    let version = response.headers().get(VERSION_HEADER).map(|value| value.as_bytes().escape_ascii());
    match version.map(|version| version.to_string()) {
        Some(version) if version == VERSION => {}
        Some(version) => return Err(ClientError::OtherVersion(format!("version {version}"))),
        None => return Err(ClientError::OtherVersion("of a version it does not tell".to_string())),
    }
    if response.status().is_success() {
        return Ok(response);
    }
    let body = whole(response).await?;
    let problem: ProblemJson = serde_json::from_slice(&body).map_err(silent)?;
    Err(problem.into_error().into())
}

fn request(call: Call) -> Result<Request<Full<Bytes>>, ClientError> {
    let mut request = Request::builder()
        .method(call.method)
        .uri(call.target)
        .header(HOST, "ember")
        .header(VERSION_HEADER, VERSION);
    if call.body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(Full::from(call.body.unwrap_or_default())).map_err(silent)
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    let body = timeout(ANSWER_TIMEOUT, body).await.map_err(silent)?;
    body.map(|body| body.to_bytes()).map_err(silent)
}

fn runtime() -> Result<Runtime, ClientError> {
    Builder::new_current_thread().enable_all().build().map_err(silent)
}

fn silent(error: impl std::fmt::Display) -> ClientError {
    ClientError::NoAnswer(error.to_string())
}
