//! One connection from accept to close: which protocol it speaks, when hyper works for it, how it ends. Never: what is
//! asked on it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::rustls::ServerConfig;

use super::Limits;
use super::ear::Eared;
use super::error::ApiError;
use super::framing::Framing;
use super::handshake::{Beginning, PREFACE, begin};
use super::pulse::Pulse;
use super::service::{Answer, Peer, Service};
use super::socket::{Socket, Turn};
use super::stop::StopWatch;
use super::supervisor::Supervisor;
use super::transport::Transport;

/// How much later than Ember hyper refuses a head.
const HEAD_ROOM: usize = 32 * 1024;
const HEADERS_ROOM: usize = 20;
/// The lines of a head that hyper has a place for on its stack. For more it takes memory, with every request.
const HEADERS_AT_HAND: usize = 100;
/// How much of what a refused client still sends is read, so that it gets to read the refusal.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);
/// What a header costs beside its bytes (RFC 9113, 6.5.2).
const H2_HEADER_OVERHEAD: usize = 32;
const H2_RESETS_MAX: usize = 64;
const UNENCRYPTED: &str = "it came unencrypted, and this port speaks TLS: begin the URL with https://";
/// How long a connection that has said nothing yet may begin once the drain has begun: it may have been accepted just
/// before, with a request on its way.
const LAST_CHANCE: Duration = Duration::from_millis(100);

/// Serves a connection until it is over, under TLS where there is some. Whatever is large is kept beside the future and
/// only while it is needed: there are thousands of these.
pub(super) async fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    peer: Peer,
    service: Arc<Service>,
    stop: StopWatch,
) {
    // Streams of small parts must not wait for each other; where the system refuses, they only come later.
    let _ = stream.set_nodelay(true);
    let begun = Box::pin(begun(stream, tls, service.limits().header_timeout, stop.clone())).await;
    match begun {
        Ok(Beginning::Http(transport, first)) if first.starts_with(PREFACE) => {
            Box::pin(serve_http2(Arc::new(transport), first, peer, service, stop)).await;
        }
        Ok(Beginning::Http(transport, first)) => {
            serve_http1(Arc::new(transport), first, peer, service, stop).await;
        }
        Ok(Beginning::Unencrypted(stream)) => {
            let refusal = service.refuse_unread(&ApiError::BadRequest(UNENCRYPTED.to_string()), peer);
            let transport = Arc::new(Transport::plain(stream));
            Box::pin(close(transport, &Pulse::new(None), Some(refusal), Course::Orderly)).await;
        }
        Ok(Beginning::Nothing) => {}
        Err(error) => tracing::debug!(peer = %peer.address, %error, "a connection did not begin"),
    }
}

/// How the connection began, within its time and as long as nobody asks for the end.
async fn begun(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    wait: Duration,
    stop: StopWatch,
) -> io::Result<Beginning> {
    let late = Instant::now() + wait;
    tokio::select! {
        begun = timeout_at(late, begin(stream, tls.as_ref())) => begun.unwrap_or(Ok(Beginning::Nothing)),
        () = last_chance(stop) => Ok(Beginning::Nothing),
    }
}

/// Resolves when a connection that has said nothing is to end.
async fn last_chance(stop: StopWatch) {
    stop.draining().await;
    sleep(LAST_CHANCE).await;
}

async fn serve_http1(
    transport: Arc<Transport>,
    first: Bytes,
    peer: Peer,
    service: Arc<Service>,
    stop: StopWatch,
) {
    let limits = service.limits();
    let pulse = Arc::new(Pulse::new(Some(Framing::new(head_bytes(&limits)))));
    // hyper has a place for one answer under way.
    let handler = |request| Arc::clone(&service).answer(request, pulse.begin(), peer, stop.clone());
    let mut watch = Supervisor::new(Arc::clone(&transport), Arc::clone(&pulse), limits, &stop);
    let mut said = first;
    let course = loop {
        if let Some(course) = Box::pin(stay_awake(said, &handler, &mut watch)).await {
            break course;
        }
        said = watch.rest().await;
        if said.is_empty() {
            break Course::Orderly;
        }
    };
    drop(watch);
    let refusal = pulse.unasked().map(|status| service.refuse_unread(&service.unreadable(status), peer));
    Box::pin(close(transport, &pulse, refusal, course)).await;
}

/// Has hyper work for a connection of HTTP/1 that said this, until its end, or until nothing goes on: then none.
async fn stay_awake<F: Future<Output = Result<Answer, Infallible>> + Send>(
    said: Bytes,
    handler: &(impl Fn(Request<Incoming>) -> F + Sync),
    watch: &mut Supervisor,
) -> Option<Course> {
    let socket = Socket::new(Arc::clone(watch.transport()), Arc::clone(watch.pulse()), said, Turn::OfBodies);
    let mut builder = http1::Builder::new();
    builder
        // The supervisor's timers tell an idle connection from a slow head.
        .header_read_timeout(None)
        // hyper would read on while an answer is under way, only to see a hang-up. The supervisor sees to that.
        .half_close(true)
        .max_buf_size(head_bytes(watch.limits()));
    let headers_max = watch.limits().headers_max + HEADERS_ROOM;
    if headers_max > HEADERS_AT_HAND {
        builder.max_headers(headers_max);
    }
    let mut connection = Eared::new(builder.serve_connection(TokioIo::new(socket), service_fn(handler)));
    let end_soon = |connection: Pin<&mut Eared<_>>| {
        http1::Connection::graceful_shutdown(Pin::new(&mut connection.get_mut().future));
    };
    let course = drive(Pin::new(&mut connection), end_soon, watch).await;
    // Nothing is left unread in a quiet connection; were it, nothing after it could be understood.
    course.or_else(|| (!connection.future.into_parts().read_buf.is_empty()).then_some(Course::Orderly))
}

async fn serve_http2(
    transport: Arc<Transport>,
    first: Bytes,
    peer: Peer,
    service: Arc<Service>,
    stop: StopWatch,
) {
    let pulse = Arc::new(Pulse::new(None));
    let socket = Socket::new(Arc::clone(&transport), Arc::clone(&pulse), first, Turn::OfFrames);
    let handler = |request| {
        let open = pulse.begin();
        Box::pin(Arc::clone(&service).answer(request, open, peer, stop.clone()))
    };
    let limits = service.limits();
    let headers_max = limits.headers_max + HEADERS_ROOM;
    let list_bytes = head_bytes(&limits) + headers_max * H2_HEADER_OVERHEAD;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(list_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_RESETS_MAX)
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.write_timeout);
    let mut watch = Supervisor::new(Arc::clone(&transport), Arc::clone(&pulse), limits, &stop);
    let course = {
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service_fn(handler)));
        drive(connection.as_mut(), http2::Connection::graceful_shutdown, &mut watch).await
    };
    drop(watch);
    close(transport, &pulse, None, course.unwrap_or(Course::Orderly)).await;
}

/// hyper's limit of a head; above Ember's, so that Ember's answer has a body and a request id.
fn head_bytes(limits: &Limits) -> usize {
    limits.header_bytes_max + limits.target_bytes_max + HEAD_ROOM
}

/// How the course of a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// Every answer that had begun is whole.
    Orderly,
    /// In the middle of something.
    BrokenOff,
}

/// Lets hyper work until it is done or the supervisor says that it is over; none when it says that nothing goes on.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    end_soon: impl Fn(Pin<&mut C>),
    watch: &mut Supervisor,
) -> Option<Course> {
    let mut asked = false;
    poll_fn(|cx| {
        // First, since hyper throws a request away that it was given and has not looked at when it is asked to end.
        let mut polled = connection.as_mut().poll(cx);
        loop {
            if polled.is_pending() && watch.ends_soon(cx) && !std::mem::replace(&mut asked, true) {
                end_soon(connection.as_mut());
                polled = connection.as_mut().poll(cx);
            }
            if let Poll::Ready(outcome) = polled {
                let course = if outcome.is_ok() { Course::Orderly } else { Course::BrokenOff };
                return Poll::Ready(Some(course));
            }
            if !watch.is_over(cx) {
                if watch.is_quiet() {
                    return Poll::Ready(None);
                }
                // hyper may not come to a next request behind what was thrown away.
                if asked || !watch.threw_away() {
                    return Poll::Pending;
                }
                continue;
            }
            if asked || !watch.announces_end() {
                let course = if watch.pulse().is_idle() { Course::Orderly } else { Course::BrokenOff };
                return Poll::Ready(Some(course));
            }
        }
    })
    .await
}

/// Closes the connection. A client that is still sending gets to read its answer: without that the kernel would throw
/// the answer away. On TLS only what came to its end in order gets a goodbye.
async fn close(transport: Arc<Transport>, pulse: &Pulse, last_words: Option<Bytes>, course: Course) {
    // hyper and the supervisor are gone, and their handles with them.
    let Ok(mut transport) = Arc::try_unwrap(transport) else { return };
    let has_unread = pulse.has_unread() || last_words.is_some();
    let is_orderly = course == Course::Orderly || last_words.is_some();
    if let Some(words) = last_words {
        let _ = timeout(LINGER_TIME, transport.write_all(&words)).await;
    }
    if pulse.must_reset() {
        let _ = transport.socket().set_zero_linger();
        return;
    }
    if is_orderly && transport.is_tls() {
        let _ = timeout(LINGER_TIME, transport.say_goodbye()).await;
    }
    if has_unread && transport.socket().shutdown().await.is_ok() {
        let _ = timeout(LINGER_TIME, swallow(transport.socket())).await;
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
