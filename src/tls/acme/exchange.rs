//! One request to the CA's server and its answer, over TLS, bounded in time and size. Never: what ACME means by them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::Trust;
use crate::types::{Clock, Timestamp};

/// One request with its answer.
const EXCHANGE_TIME: Duration = Duration::from_secs(30);
/// A connection to a name, whichever of its addresses takes it.
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// An answer: a chain of certificates is the longest.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The longest `Retry-After` that is handed on: far longer ones can't be reckoned with.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// A connection for each request: an order takes some fifteen, every other month.
#[derive(Clone)]
pub(super) struct Exchanges {
    tls: TlsConnector,
    clock: Arc<dyn Clock>,
    asked: Arc<Mutex<Option<Duration>>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0} is no https:// URL")]
    Url(Uri),
    #[error("{0} can't be reached: {1}")]
    Unreachable(String, io::Error),
    #[error("TLS with {0} failed: {1}")]
    Tls(String, io::Error),
    #[error("{0} did not answer: {1}")]
    Http(String, hyper::Error),
    #[error("{0} broke off its answer, or it is longer than {ANSWER_BYTES_MAX} bytes")]
    Body(String),
    #[error("{0} did not answer within {time} s", time = EXCHANGE_TIME.as_secs())]
    Slow(String),
    #[error("{0} answered {1} without saying why")]
    Unexplained(String, u16),
}

impl Exchanges {
    /// With whoever shows a certificate that one of `trust` vouches for.
    pub(super) fn new(trust: &Trust, clock: Arc<dyn Clock>) -> Self {
        Self { tls: TlsConnector::from(trust.client(&[])), clock, asked: Arc::default() }
    }

    /// How long the CA wanted not to be asked, by the last answer that was a refusal.
    pub(super) fn asked(&self) -> Option<Duration> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Fault> {
        let uri = request.uri().clone();
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(Fault::Url(uri));
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_string();
        let stream = self.connect(&host, authority.port_u16().unwrap_or(443)).await?;
        let named = HeaderValue::from_str(authority.as_str()).map_err(|_| Fault::Url(uri.clone()))?;
        request.headers_mut().insert(HOST, named);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| Fault::Url(uri.clone()))?;
        let (mut parts, body) = over(stream, request, &host).await?;
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let asked = wait(&parts.headers, self.clock.now());
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
            if serde_json::from_slice::<serde_json::Map<_, _>>(&body).is_err() {
                return Err(Fault::Unexplained(host, parts.status.as_u16()));
            }
        }
        bound_wait(&mut parts.headers, self.clock.now());
        Ok(BytesResponse { parts, body: Box::new(body) })
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, Fault> {
        let unreachable = |error| Fault::Unreachable(host.to_string(), error);
        let stream = first(host, port).await.map_err(unreachable)?;
        let name = ServerName::try_from(host.to_string())
            .map_err(|error| Fault::Tls(host.to_string(), io::Error::other(error)))?;
        self.tls.connect(name, stream).await.map_err(|error| Fault::Tls(host.to_string(), error))
    }
}

impl HttpClient for Exchanges {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let exchanges = self.clone();
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default().to_string();
            let answer = timeout(EXCHANGE_TIME, exchanges.exchange(request)).await;
            answer.unwrap_or(Err(Fault::Slow(host))).map_err(|fault| Error::Other(Box::new(fault)))
        })
    }
}

/// A connection to the first address of the name that takes one. Each address has its share of the time that is left, so
/// that one that leads nowhere does not hide the next.
async fn first(host: &str, port: u16) -> io::Result<TcpStream> {
    let until = Instant::now() + CONNECT_TIME;
    let mut fault = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let found = timeout_at(until, tokio::net::lookup_host((host, port))).await??;
    let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    for (left, address) in (1..=addresses.len() as u32).rev().zip(addresses) {
        let share = until.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => fault = error,
            Err(_) => fault = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(fault)
}

/// Sends the request and takes the whole answer.
async fn over(
    stream: TlsStream<TcpStream>,
    request: Request<BodyWrapper<Bytes>>,
    host: &str,
) -> Result<(http::response::Parts, Bytes), Fault> {
    let http = |error| Fault::Http(host.to_string(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let asking = async {
        let (parts, body) = sender.send_request(request).await.map_err(http)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        body.map(|body| (parts, body.to_bytes())).map_err(|_| Fault::Body(host.to_string()))
    };
    // The connection may end before the answer was taken out of it; the answer says how that went.
    let driving = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = asking => answer,
        never = driving => never,
    }
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds or a date.
fn wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_millis(date.as_millisecond()).since(now))
}

/// Leaves no `Retry-After` but one in seconds that can be reckoned with.
fn bound_wait(headers: &mut HeaderMap, now: Timestamp) {
    let asked = wait(headers, now).filter(|asked| *asked <= WAIT_MAX);
    headers.remove(RETRY_AFTER);
    if let Some(asked) = asked {
        headers.insert(RETRY_AFTER, HeaderValue::from(asked.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let said = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            wait(&headers, now)
        };
        assert_eq!(said("120"), Some(Duration::from_secs(120)));
        assert_eq!(said("Thu, 26 Nov 2026 13:00:00 GMT"), Some(Duration::from_secs(3600)));
        assert_eq!(said("Thu, 26 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(said("soon"), None);
        assert_eq!(wait(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_wait_beyond_reason_is_not_handed_on() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let handed_on = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            bound_wait(&mut headers, now);
            headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_string())
        };
        assert_eq!(handed_on("5").as_deref(), Some("5"));
        assert_eq!(handed_on("Thu, 26 Nov 2026 12:00:07 GMT").as_deref(), Some("7"));
        for text in ["86401", "18446744073709551615", "Thu, 31 Dec 9999 23:59:59 GMT", "soon", "-1"] {
            assert_eq!(handed_on(text), None, "{text}");
        }
    }
}
