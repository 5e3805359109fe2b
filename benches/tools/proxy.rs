//! A proxy of nothing but hyper: its server, its client's connections in a list, and a bearer looked up by its SHA-256.
//! What hyper costs by itself; no log, no limits, no counting.

use std::cell::RefCell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body_util::{Either, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA256, digest};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
    /// A file with the keys that may pass, one on a line.
    #[arg(long)]
    keys: PathBuf,
}

struct House {
    to: SocketAddr,
    host: HeaderValue,
    digests: HashSet<[u8; 32]>,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

type Answer = Response<Either<Relayed, Empty<Bytes>>>;

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let keys = std::fs::read_to_string(&options.keys)?;
    let house = House {
        to: options.to,
        host: HeaderValue::from_str(&options.to.to_string())?,
        digests: keys.split_whitespace().map(|key| sha256(key.as_bytes())).collect(),
        idle: RefCell::new(Vec::new()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(Rc::new(house), options.listen))
}

async fn serve(house: Rc<House>, listen: SocketAddr) -> Result<(), Failure> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let house = Rc::clone(&house);
        let service = service_fn(move |request| answer(Rc::clone(&house), request));
        tokio::task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(house: Rc<House>, mut request: Request<Incoming>) -> Result<Answer, Infallible> {
    let bearer = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let key = bearer.and_then(|bearer| bearer.strip_prefix(b"Bearer "));
    if !key.is_some_and(|key| house.digests.contains(&sha256(key))) {
        return Ok(refusal(StatusCode::UNAUTHORIZED));
    }
    request.headers_mut().remove(AUTHORIZATION);
    request.headers_mut().remove(CONNECTION);
    request.headers_mut().insert(HOST, house.host.clone());
    Ok(relay(house, request).await.unwrap_or_else(|_| refusal(StatusCode::BAD_GATEWAY)))
}

fn refusal(status: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Right(Empty::new()));
    *answer.status_mut() = status;
    answer
}

async fn relay(house: Rc<House>, request: Request<Incoming>) -> Result<Answer, Failure> {
    let mut sender = sender(&house).await?;
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    Ok(Response::from_parts(head, Either::Left(Relayed { body, sender: Some(sender), ended: false, house })))
}

async fn sender(house: &House) -> Result<SendRequest<Incoming>, Failure> {
    loop {
        let Some(mut idle) = house.idle.borrow_mut().pop() else { break };
        if idle.ready().await.is_ok() {
            return Ok(idle);
        }
    }
    let stream = TcpStream::connect(house.to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// The body of an answer; its connection is free again when it has ended.
struct Relayed {
    body: Incoming,
    sender: Option<SendRequest<Incoming>>,
    /// Its end came by itself, as that of chunks does.
    ended: bool,
    house: Rc<House>,
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take()
            && (self.ended || self.body.is_end_stream())
        {
            self.house.idle.borrow_mut().push(sender);
        }
    }
}

fn sha256(text: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, text).as_ref());
    sum
}
