//! TLS to one model server: under which name it must show itself, who may vouch for it, what went wrong last. Never:
//! addresses, HTTP, how to go on without.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::RelayFault;
use crate::tls::Trust;
use crate::types::Timestamp;

/// The one protocol that is spoken to model servers (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";
/// The port that a Host header leaves out.
const USUAL_PORT: u16 = 443;
/// The most of what a stranger's certificate says that is repeated, in characters.
const SAID_MAX: usize = 300;
/// How long handshakes must go well until the same trouble is news again: one that comes and goes would fill the log.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// A model server that is spoken to by TLS. Its certificate is always checked.
pub struct Secure {
    upstream: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
    trust: Trust,
    config: Arc<ClientConfig>,
    trouble: Mutex<Trouble>,
}

/// What was said of handshakes that failed.
#[derive(Default)]
struct Trouble {
    /// Why the last one did.
    reason: Option<String>,
    /// Since when none has.
    well_since: Option<Instant>,
}

impl Secure {
    /// The server that is called `upstream` in the configuration. Its certificate must be for `name`, and one of `trust`
    /// must vouch for it. `host` and `port` are where it listens (IPv6 without brackets).
    #[must_use]
    pub fn new(upstream: String, host: String, port: u16, name: ServerName<'static>, trust: &Trust) -> Self {
        let config = trust.client(&[PROTOCOL]);
        Self { upstream, host, port, name, trust: trust.clone(), config, trouble: Mutex::default() }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Shakes hands over a new connection. A failure is told to the log when it is news.
    ///
    /// # Errors
    /// [`RelayFault::TlsFailed`]; nothing of a request was written.
    pub(super) async fn shake_hands(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, RelayFault> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match connector.connect(self.name.clone(), stream).await {
            Ok(wire) => {
                self.went(None);
                Ok(wire)
            }
            Err(error) => {
                self.went(Some(words(&error, &self.host)));
                Err(RelayFault::TlsFailed)
            }
        }
    }

    fn went(&self, reason: Option<String>) {
        let news = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).news(reason, Instant::now());
        if let Some(reason) = news {
            tracing::warn!(upstream = self.upstream, "no TLS to the model server: {reason}");
        }
    }
}

impl Trouble {
    /// Takes note of how a handshake went, and gives the reason when it has to be said: it is another one than before, or
    /// all was well for a while.
    fn news(&mut self, reason: Option<String>, now: Instant) -> Option<String> {
        let Some(reason) = reason else {
            self.well_since.get_or_insert(now);
            return None;
        };
        let was_well = self.well_since.take().is_some_and(|since| now - since >= FORGET_AFTER);
        let is_known = self.reason.as_ref() == Some(&reason) && !was_well;
        self.reason = Some(reason);
        self.reason.clone().filter(|_| !is_known)
    }
}

/// Whether the same was said of both.
impl PartialEq for Secure {
    fn eq(&self, other: &Self) -> bool {
        let said = |one: &Self| (one.upstream.clone(), one.host.clone(), one.port, one.name.clone());
        said(self) == said(other) && self.trust == other.trust
    }
}

impl Eq for Secure {}

/// As it stands in an HTTP `Host` header.
impl fmt::Display for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if self.port == USUAL_PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secure({self})")
    }
}

/// What went wrong, for the operator: the same words as long as the same is wrong.
fn words(error: &io::Error, host: &str) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(reason)) => about_certificate(reason, host),
        Some(Error::InvalidMessage(_)) => {
            format!("what {host} says is no TLS; is it a server for http://?")
        }
        Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            format!("{host} does not speak HTTP/1.1 over TLS")
        }
        Some(error) => format!("{host}: {}", harmless(&error.to_string())),
        None => format!("{host} broke off the handshake ({})", error.kind()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the list is another crate's, and may grow")]
fn about_certificate(reason: &CertificateError, host: &str) -> String {
    const CA: &str = "name the certificate of the one that did in ca_file";
    match reason {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!("{host} is expected, and the certificate is for no name (it has no subjectAltName)")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
            format!("{host} is expected, and the certificate is for {}", harmless(&names))
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate of {host} expired at {}", point(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "the certificate of {host} is not valid before {}; is this machine's clock right?",
                point(*not_before)
            )
        }
        // A signature that does not fit: an authority was made anew under its old name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("nobody who is trusted has issued the certificate of {host}; {CA}")
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => format!(
            "the certificate of {host} says that it is an authority's (CA:TRUE), so it can't be a server's; let one be made \
             for the server"
        ),
        reason => format!("the certificate of {host} is refused: {}", harmless(&reason.to_string())),
    }
}

fn point(at: UnixTime) -> Timestamp {
    Timestamp::from_millis(i64::try_from(at.as_secs().saturating_mul(1000)).unwrap_or(i64::MAX))
}

/// `gpu.test` of `DnsName("gpu.test")`.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// Others' words without what would confuse a terminal.
fn harmless(text: &str) -> String {
    text.chars().take(SAID_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secure(host: &str, port: u16) -> Secure {
        let made = rcgen::generate_simple_self_signed([host.to_string()]).unwrap();
        let trust = Trust::from_pem("ca.pem", made.cert.pem().as_bytes()).unwrap();
        let name = ServerName::try_from(host.to_string()).unwrap();
        Secure::new("gpu".to_string(), host.to_string(), port, name, &trust)
    }

    #[test]
    fn the_usual_port_is_left_out_of_the_host() {
        for (host, port, said) in [
            ("gpu.test", 443, "gpu.test"),
            ("gpu.test", 8443, "gpu.test:8443"),
            ("::1", 443, "[::1]"),
            ("::1", 8443, "[::1]:8443"),
        ] {
            assert_eq!(secure(host, port).to_string(), said);
        }
    }

    #[test]
    fn bug_trouble_that_comes_and_goes_is_said_once() {
        let (mut trouble, begin) = (Trouble::default(), Instant::now());
        let mut is_news = |second: u64, reason: Option<&str>| {
            let at = begin + Duration::from_secs(second);
            trouble.news(reason.map(str::to_string), at).is_some()
        };
        assert!(is_news(0, Some("expired")));
        assert!(!is_news(1, None) && !is_news(2, Some("expired")));
        assert!(!is_news(3, None) && !is_news(50, None) && !is_news(62, Some("expired")));
        assert!(!is_news(63, None) && !is_news(100, None) && is_news(123, Some("expired")));
        assert!(is_news(124, Some("another")));
    }

    #[test]
    fn what_a_strangers_certificate_says_is_repeated_without_harm() {
        let presented = vec!["DnsName(\"a\u{1b}[31m\")".to_string(), "IpAddress(::1)".to_string()];
        let expected = ServerName::try_from("gpu.test").unwrap();
        let reason = CertificateError::NotValidForNameContext { expected, presented };
        let said = about_certificate(&reason, "gpu.test");
        assert_eq!(said, "gpu.test is expected, and the certificate is for a\\u{1b}[31m, ::1");
    }
}
