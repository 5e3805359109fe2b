//! One connection from accept to close: which protocol it speaks, its timers, its hang-up. Never: what is asked on it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::Limits;
use super::framing::Framing;
use super::pulse::Pulse;
use super::service::{Peer, Service};
use super::socket::Socket;
use super::stop::StopWatch;

/// How every HTTP/2 connection begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much later than Ember hyper refuses a head.
const HEAD_ROOM: usize = 32 * 1024;
const HEADERS_ROOM: usize = 100;
/// How much of what a refused client still sends is read, so that it gets to read the refusal.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);
/// A connection without any deadline is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// What a header costs beside its bytes (RFC 9113, 6.5.2).
const H2_HEADER_OVERHEAD: usize = 32;
const H2_RESETS_MAX: usize = 64;

/// Serves a connection until it is over.
pub(super) async fn serve(stream: TcpStream, peer: Peer, service: Arc<Service>, stop: StopWatch) {
    let accepted = Instant::now();
    // Streams of small parts must not wait for each other; where the system refuses, they only come later.
    let _ = stream.set_nodelay(true);
    let stream = Arc::new(stream);
    let first = tokio::select! {
        first = timeout_at(accepted + service.limits().header_timeout, first_bytes(&stream)) => first,
        () = stop.clone().draining() => return,
    };
    match first {
        Ok(Ok(first)) if first.starts_with(PREFACE) => serve_http2(stream, first, peer, service, stop).await,
        Ok(Ok(first)) if !first.is_empty() => serve_http1(stream, first, peer, service, stop).await,
        _ => {}
    }
}

async fn serve_http1(
    stream: Arc<TcpStream>,
    first: Bytes,
    peer: Peer,
    service: Arc<Service>,
    stop: StopWatch,
) {
    let head_bytes = head_bytes(&service);
    let pulse = Arc::new(Pulse::new(Some(Framing::new(head_bytes))));
    let socket = Socket::new(Arc::clone(&stream), Arc::clone(&pulse), first);
    let handler = handler(&service, &pulse, peer, &stop);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The supervisor's timers tell an idle connection from a slow head.
        .header_read_timeout(None)
        .max_headers(service.limits().headers_max + HEADERS_ROOM)
        .max_buf_size(head_bytes);
    let connection = builder.serve_connection(TokioIo::new(socket), service_fn(handler));
    let watch = Supervisor::new(Arc::clone(&stream), Arc::clone(&pulse), service.limits(), &stop);
    drive(connection, http1::Connection::graceful_shutdown, watch).await;
    let refusal = pulse.unasked().map(|status| service.refuse_unread(status, peer));
    close(stream, &pulse, refusal).await;
}

async fn serve_http2(
    stream: Arc<TcpStream>,
    first: Bytes,
    peer: Peer,
    service: Arc<Service>,
    stop: StopWatch,
) {
    let pulse = Arc::new(Pulse::new(None));
    let socket = Socket::new(Arc::clone(&stream), Arc::clone(&pulse), first);
    let handler = handler(&service, &pulse, peer, &stop);
    let headers_max = service.limits().headers_max + HEADERS_ROOM;
    let list_bytes = head_bytes(&service) + headers_max * H2_HEADER_OVERHEAD;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(service.limits().streams_max)
        .max_header_list_size(u32::try_from(list_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_RESETS_MAX)
        .keep_alive_interval(service.limits().idle_timeout)
        .keep_alive_timeout(service.limits().write_timeout);
    let connection = builder.serve_connection(TokioIo::new(socket), service_fn(handler));
    let watch = Supervisor::new(Arc::clone(&stream), Arc::clone(&pulse), service.limits(), &stop);
    drive(connection, http2::Connection::graceful_shutdown, watch).await;
    close(stream, &pulse, None).await;
}

/// hyper's limit of a head; above Ember's, so that Ember's answer has a body and a request id.
fn head_bytes(service: &Service) -> usize {
    service.limits().header_bytes_max + service.limits().target_bytes_max + HEAD_ROOM
}

/// Lets hyper work until it is done or the supervisor says that it is over.
async fn drive<C: Future>(connection: C, end_soon: impl Fn(Pin<&mut C>), mut watch: Supervisor) {
    let mut connection = pin!(connection);
    let mut asked = false;
    poll_fn(|cx| {
        if watch.ends_soon(cx) && !std::mem::replace(&mut asked, true) {
            end_soon(connection.as_mut());
        }
        let over = connection.as_mut().poll(cx).is_ready();
        if over || watch.is_over(cx) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

type Answering =
    Pin<Box<dyn Future<Output = Result<super::service::Answer, std::convert::Infallible>> + Send>>;

fn handler(
    service: &Arc<Service>,
    pulse: &Arc<Pulse>,
    peer: Peer,
    stop: &StopWatch,
) -> impl Fn(Request<Incoming>) -> Answering + Send + use<> {
    let (service, pulse, stop) = (Arc::clone(service), Arc::clone(pulse), stop.clone());
    move |request| {
        let answer = Arc::clone(&service).answer(request, pulse.begin(), peer, stop.clone());
        Box::pin(async move { Ok(answer.await) })
    }
}

/// Reads until it is clear whether this is HTTP/2. Empty when the client went away.
async fn first_bytes(stream: &TcpStream) -> io::Result<Bytes> {
    let mut bytes = BytesMut::with_capacity(8192);
    loop {
        stream.readable().await?;
        match stream.try_read_buf(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok(Bytes::new()),
            Ok(_) if bytes.len() < PREFACE.len() && PREFACE.starts_with(&bytes) => {}
            Ok(_) => return Ok(bytes.freeze()),
        }
    }
}

/// Closes the socket. A client that is still sending gets to read its answer: without that the kernel would throw
/// the answer away.
async fn close(stream: Arc<TcpStream>, pulse: &Pulse, last_words: Option<Bytes>) {
    // hyper and the supervisor are gone, and their handles with them.
    let Ok(mut stream) = Arc::try_unwrap(stream) else { return };
    let has_unread = pulse.has_unread() || last_words.is_some();
    if let Some(words) = last_words {
        let _ = timeout(LINGER_TIME, stream.write_all(&words)).await;
    }
    if pulse.must_reset() {
        let _ = stream.set_zero_linger();
    } else if has_unread && stream.shutdown().await.is_ok() {
        let _ = timeout(LINGER_TIME, swallow(&stream)).await;
    }
}

async fn swallow(stream: &TcpStream) {
    let (mut scratch, mut left) = (vec![0; 16 * 1024], LINGER_BYTES_MAX);
    while left > 0 && stream.readable().await.is_ok() {
        match stream.try_read(&mut scratch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) | Ok(0) => return,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}

/// Looks after a connection beside hyper: its deadlines, its client's hang-up, the order to stop.
struct Supervisor {
    stream: Arc<TcpStream>,
    pulse: Arc<Pulse>,
    limits: Arc<Limits>,
    timer: Pin<Box<Sleep>>,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    drained: bool,
}

impl Supervisor {
    fn new(stream: Arc<TcpStream>, pulse: Arc<Pulse>, limits: Arc<Limits>, stop: &StopWatch) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + limits.header_timeout));
        Self { stream, pulse, limits, timer, draining: Box::pin(stop.clone().draining()), drained: false }
    }

    /// Whether this connection is to end with the answers that are under way.
    fn ends_soon(&mut self, cx: &mut Context<'_>) -> bool {
        self.drained = self.drained || self.draining.as_mut().poll(cx).is_ready();
        self.drained || self.pulse.must_close()
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.pulse.listen(cx);
        self.has_hung_up(cx) || self.is_late(cx)
    }

    /// While an answer is under way hyper may have stopped reading; a hang-up must be seen all the same. Bytes that
    /// come now are requests sent too early: they are thrown away, and the connection ends with this answer.
    fn has_hung_up(&mut self, cx: &mut Context<'_>) -> bool {
        let mut scratch = [0; 512];
        while self.pulse.is_answering() {
            match self.stream.poll_read_ready(cx) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(())) => match self.stream.try_read(&mut scratch) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) | Ok(0) => return true,
                    Ok(count) => self.pulse.has_read(&scratch[..count]),
                },
            }
        }
        false
    }

    /// The timer is not touched when something happens, only moved on when it rings too early. It is set anew when a
    /// deadline comes before it.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let deadline = self.pulse.deadline(&self.limits);
            let rings = self.timer.deadline();
            if deadline.is_some_and(|deadline| deadline < rings) {
                self.timer.as_mut().reset(deadline.unwrap_or(rings));
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return true;
            }
            self.timer.as_mut().reset(deadline.unwrap_or(now + LOOK_AGAIN));
        }
    }
}
