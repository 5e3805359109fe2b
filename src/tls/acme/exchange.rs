//! One request to the CA's server and its answer, over TLS, bounded in time and size. Never: what ACME means by them.

use std::io;
use std::path::{Path, PathBuf};
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
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::types::{Clock, Timestamp};

/// One request with its answer.
const EXCHANGE_TIME: Duration = Duration::from_secs(30);
/// A connection to one of the addresses of a name.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// An answer: a chain of certificates is the longest.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection for each request: an order takes some fifteen, every other month.
#[derive(Clone)]
pub(super) struct Exchanges {
    tls: TlsConnector,
    clock: Arc<dyn Clock>,
    asked: Arc<Mutex<Option<Duration>>>,
}

/// Why whom to trust is not known.
#[derive(Debug, thiserror::Error)]
pub enum RootsFault {
    /// The file can't be read, or is no PEM.
    #[error("{path} can't be read: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing in it.
    #[error("{0} has no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    Empty(PathBuf),
    /// The machine has none.
    #[error(
        "the system has no root certificates; install ca-certificates, or name some in server.acme.ca_file"
    )]
    System,
    /// TLS itself.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
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
    /// # Errors
    /// [`RootsFault`].
    pub(super) fn new(ca_file: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Self, RootsFault> {
        let roots = roots(ca_file)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), clock, asked: Arc::default() })
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
        let (parts, body) = over(stream, request, &host).await?;
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let asked = wait(&parts.headers, self.clock.now());
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
            if serde_json::from_slice::<serde_json::Map<_, _>>(&body).is_err() {
                return Err(Fault::Unexplained(host, parts.status.as_u16()));
            }
        }
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

/// A connection to the first address of the name that takes one.
async fn first(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut fault = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await?.take(ADDRESSES_MAX) {
        match timeout(CONNECT_TIME, TcpStream::connect(address)).await {
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

/// Whom to trust: what is in the file, else whom the system trusts. Reads files.
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, RootsFault> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return if roots.is_empty() { Err(RootsFault::System) } else { Ok(roots) };
    };
    let fault =
        |error: &dyn std::fmt::Display| RootsFault::File { path: path.into(), reason: error.to_string() };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fault(&error))?;
    for certificate in certificates {
        roots.add(certificate.map_err(|error| fault(&error))?).map_err(|error| fault(&error))?;
    }
    if roots.is_empty() { Err(RootsFault::Empty(path.to_path_buf())) } else { Ok(roots) }
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
    fn roots_are_refused_by_the_name_of_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let said = || roots(Some(&path)).unwrap_err().to_string();
        assert!(said().contains("ca.pem can't be read"), "{}", said());
        std::fs::write(&path, "").unwrap();
        assert!(said().contains("ca.pem has no certificate"), "{}", said());
        let made = rcgen::generate_simple_self_signed(["a.test".to_string()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        assert_eq!(roots(Some(&path)).unwrap().len(), 1);
    }
}
