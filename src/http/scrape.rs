//! The listener for Prometheus: `GET /metrics` and nothing else, without any credential, for whoever can reach it.
//! Never: what the metrics are.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::metrics::{Exposition, MEDIA_TYPE};

use super::listen::bind_one;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// From accept to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection, all in all: one request and its answer.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// When accepting fails, others must get to close theirs first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that is bound and not yet served.
pub struct MetricsListener(TcpListener);

impl MetricsListener {
    /// Binds the address.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        bind_one(address, true).map(Self)
    }

    /// The address bound, with the port that the system chose.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves for ever.
    pub async fn serve(self, exposition: Exposition) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match self.0.accept().await {
                Ok((stream, _)) => {
                    let exposition = Arc::clone(&exposition);
                    tokio::spawn(async move {
                        let _slot = slot;
                        // Whoever takes longer is left behind.
                        let _ = timeout(CONNECTION_TIME, serve_connection(stream, exposition)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection for the metrics could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, exposition: Exposition) {
    let is_local = stream.local_addr().is_ok_and(|own| own.ip().to_canonical().is_loopback());
    let service = service_fn(move |request| {
        let exposition = Arc::clone(&exposition);
        async move { Ok::<_, Infallible>(answer(&request, exposition, is_local).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection for the metrics ended early");
    }
}

async fn answer(
    request: &Request<Incoming>,
    exposition: Exposition,
    is_local: bool,
) -> Response<Full<Bytes>> {
    if is_local && !request.headers().get_all(HOST).iter().all(is_own_host) {
        let words = "Over loopback, ask for localhost or an IP address: a page in a browser may be behind other names.\n";
        return plain(StatusCode::MISDIRECTED_REQUEST, words);
    }
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "There is nothing here but /metrics.\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "Use GET or HEAD.\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match spawn_blocking(move || exposition()).await {
        Ok(text) => typed(StatusCode::OK, MEDIA_TYPE, text),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be read.\n"),
    }
}

/// Whether this can't be the name of a page elsewhere that was made to lead to this machine (DNS rebinding).
fn is_own_host(host: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let host = authority.host();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok()
}

fn plain(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", Bytes::from_static(words.as_bytes()))
}

fn typed(status: StatusCode, media_type: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_or_localhost_is_no_page_elsewhere() {
        let is_own = |host: &'static str| is_own_host(&HeaderValue::from_static(host));
        for own in ["localhost", "LOCALHOST:9411", "127.0.0.1:9411", "10.0.0.7", "[::1]:9411", "[fe80::1]"] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:9411",
            "localhost.evil.example",
            "127.0.0.1.evil",
            "[x]",
            "a b",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
