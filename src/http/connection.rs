//! One connection from accept to close: which protocol it speaks, its timers, its hang-up. Never: what is asked on it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::rustls::ServerConfig;

use super::Limits;
use super::error::ApiError;
use super::framing::Framing;
use super::handshake::{Beginning, PREFACE, begin};
use super::pulse::Pulse;
use super::service::{Peer, Service};
use super::socket::Socket;
use super::stop::StopWatch;
use super::transport::Transport;

/// How much later than Ember hyper refuses a head.
const HEAD_ROOM: usize = 32 * 1024;
const HEADERS_ROOM: usize = 100;
/// So many headers hyper takes by itself, with room for them on its stack.
const HEADERS_USUAL: usize = 100;
/// How much of what a refused client still sends is read, so that it gets to read the refusal.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How long a client of HTTP/2 gets to take note that its idle connection ends, and to have what it sent in the same
/// moment answered.
const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// A connection without any deadline is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// What a header costs beside its bytes (RFC 9113, 6.5.2).
const H2_HEADER_OVERHEAD: usize = 32;
const H2_RESETS_MAX: usize = 64;
const UNENCRYPTED: &str = "it came unencrypted, and this port speaks TLS: begin the URL with https://";
/// How long a connection that has said nothing yet may begin once the drain has begun: it may have been accepted just
/// before, with a request on its way.
const LAST_CHANCE: Duration = Duration::from_millis(100);

/// Serves a connection until it is over, under TLS where there is some.
pub(super) async fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    peer: Peer,
    service: Arc<Service>,
    stop: StopWatch,
) {
    let accepted = Instant::now();
    // Streams of small parts must not wait for each other; where the system refuses, they only come later.
    let _ = stream.set_nodelay(true);
    let begun = tokio::select! {
        begun = timeout_at(accepted + service.limits().header_timeout, begin(stream, tls.as_ref())) => begun,
        () = last_chance(stop.clone()) => return,
    };
    match begun {
        Ok(Ok(Beginning::Http(transport, first))) if first.starts_with(PREFACE) => {
            serve_http2(Arc::new(transport), first, peer, service, stop).await;
        }
        Ok(Ok(Beginning::Http(transport, first))) => {
            serve_http1(Arc::new(transport), first, peer, service, stop).await;
        }
        Ok(Ok(Beginning::Unencrypted(stream))) => {
            let refusal = service.refuse_unread(&ApiError::BadRequest(UNENCRYPTED.to_string()), peer);
            close(Arc::new(Transport::plain(stream)), &Pulse::new(None), Some(refusal), Course::Orderly)
                .await;
        }
        Ok(Err(error)) => tracing::debug!(peer = %peer.address, %error, "a connection did not begin"),
        Ok(Ok(Beginning::Nothing)) | Err(_) => {}
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
    let head_bytes = head_bytes(&service);
    let pulse = Arc::new(Pulse::new(Some(Framing::new(head_bytes))));
    let socket = Socket::new(Arc::clone(&transport), Arc::clone(&pulse), first);
    let handler = handler(&service, &pulse, peer, &stop);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The supervisor's timers tell an idle connection from a slow head.
        .header_read_timeout(None)
        .max_buf_size(head_bytes);
    let headers_max = service.limits().headers_max;
    if headers_max > HEADERS_USUAL {
        builder.max_headers(headers_max + HEADERS_ROOM);
    }
    let connection = builder.serve_connection(TokioIo::new(socket), service_fn(handler));
    let watch = Supervisor::new(Arc::clone(&transport), Arc::clone(&pulse), service.limits(), &stop);
    let course = drive(connection, http1::Connection::graceful_shutdown, watch).await;
    let refusal = pulse.unasked().map(|status| service.refuse_unread(&service.unreadable(status), peer));
    close(transport, &pulse, refusal, course).await;
}

async fn serve_http2(
    transport: Arc<Transport>,
    first: Bytes,
    peer: Peer,
    service: Arc<Service>,
    stop: StopWatch,
) {
    let pulse = Arc::new(Pulse::new(None));
    let socket = Socket::new(Arc::clone(&transport), Arc::clone(&pulse), first);
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
    let watch = Supervisor::new(Arc::clone(&transport), Arc::clone(&pulse), service.limits(), &stop);
    let course = drive(connection, http2::Connection::graceful_shutdown, watch).await;
    close(transport, &pulse, None, course).await;
}

/// hyper's limit of a head; above Ember's, so that Ember's answer has a body and a request id.
fn head_bytes(service: &Service) -> usize {
    service.limits().header_bytes_max + service.limits().target_bytes_max + HEAD_ROOM
}

/// How the course of a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// Every answer that had begun is whole.
    Orderly,
    /// In the middle of something.
    BrokenOff,
}

/// Lets hyper work until it is done or the supervisor says that it is over.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    end_soon: impl Fn(Pin<&mut C>),
    mut watch: Supervisor,
) -> Course {
    let mut connection = pin!(connection);
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
                return Poll::Ready(if outcome.is_ok() { Course::Orderly } else { Course::BrokenOff });
            }
            if !watch.is_over(cx) {
                return Poll::Pending;
            }
            if asked || !watch.announces_end() {
                return Poll::Ready(if watch.pulse.is_idle() { Course::Orderly } else { Course::BrokenOff });
            }
        }
    })
    .await
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
    move |request| Box::pin(Arc::clone(&service).answer(request, pulse.begin(), peer, stop.clone()))
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

/// The orders to stop, one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    None,
    Drain,
    Cut,
}

/// Looks after a connection beside hyper: its deadlines, its client's hang-up, the order to stop.
struct Supervisor {
    transport: Arc<Transport>,
    pulse: Arc<Pulse>,
    limits: Arc<Limits>,
    timer: Pin<Box<Sleep>>,
    stop: StopWatch,
    /// Waits for the next of the orders to stop, once it was polled.
    ear: Pin<Box<dyn Future<Output = ()> + Send>>,
    awaits: Order,
    /// Whether the timer knows whom to wake.
    is_set: bool,
    /// Until when an idle connection stands although its time is up.
    farewell: Option<Instant>,
}

impl Supervisor {
    fn new(transport: Arc<Transport>, pulse: Arc<Pulse>, limits: Arc<Limits>, stop: &StopWatch) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + limits.header_timeout));
        let (ear, awaits, stop) = (Box::pin(stop.clone().draining()), Order::None, stop.clone());
        Self { transport, pulse, limits, timer, stop, ear, awaits, is_set: false, farewell: None }
    }

    /// Whether this connection is to end with the answers that are under way.
    fn ends_soon(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_draining(cx) || self.pulse.must_close() || self.farewell.is_some()
    }

    /// The orders are waited for, once each, only to be woken by them; what holds is looked at.
    fn is_draining(&mut self, cx: &mut Context<'_>) -> bool {
        if self.awaits == Order::None {
            let _ = self.ear.as_mut().poll(cx);
            self.awaits = Order::Drain;
        }
        let is_draining = self.stop.is_draining();
        if is_draining && self.awaits != Order::Cut {
            self.ear = Box::pin(self.stop.clone().cutting());
            let _ = self.ear.as_mut().poll(cx);
            self.awaits = Order::Cut;
        }
        is_draining
    }

    /// Whether a connection that is over is told first, since nothing but time ends it. A request may be on its way to it,
    /// and only HTTP/2 has a word for that (GOAWAY, RFC 9113, 6.8).
    fn announces_end(&mut self) -> bool {
        let announces = self.farewell.is_none() && self.pulse.has_streams() && self.pulse.is_idle();
        if announces {
            self.farewell = Some(Instant::now() + FAREWELL_TIME);
        }
        announces
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let mut look = self.pulse.look(cx, &self.limits);
        while look.is_answering {
            match self.has_hung_up(cx) {
                Poll::Pending => break,
                Poll::Ready(true) => return true,
                Poll::Ready(false) => look = self.pulse.look(cx, &self.limits),
            }
        }
        self.is_late(cx, look.deadline)
    }

    /// While an answer is under way hyper may have stopped reading; a hang-up must be seen all the same. Bytes that
    /// come now are requests sent too early: they are thrown away, and the connection ends with this answer.
    fn has_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut scratch = [0; 512];
        let mut buf = ReadBuf::new(&mut scratch);
        match ready!(self.transport.poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => {
                self.pulse.has_read(buf.filled());
                Poll::Ready(false)
            }
            Ok(()) | Err(_) => Poll::Ready(true),
        }
    }

    /// The timer is not touched when something happens, only moved on when it rings too early. It is set anew when a
    /// deadline comes before it.
    fn is_late(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let deadline = deadline.map(|deadline| self.farewell.map_or(deadline, |until| until.max(deadline)));
        loop {
            let rings = self.timer.deadline();
            if deadline.is_some_and(|deadline| deadline < rings) {
                self.timer.as_mut().reset(deadline.unwrap_or(rings));
            }
            let is_silent = self.is_set && !self.timer.is_elapsed();
            if is_silent || self.timer.as_mut().poll(cx).is_pending() {
                self.is_set = true;
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
