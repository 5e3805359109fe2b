//! What a test's bytes go through: a socket as it is, or TLS on it; and the certificates for that, made anew each time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::ember::Ember;

/// Where a home's certificate lies.
pub const CERT_FILE: &str = "cert.pem";
pub const KEY_FILE: &str = "key.pem";
/// The names in it.
pub const NAMES: [&str; 2] = ["ember.test", "127.0.0.1"];
/// The section that names the files.
pub const SECTION: &str = "[server.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n";

/// A chain and its key, in PEM.
pub struct Pair {
    pub chain: String,
    pub key: String,
}

impl Pair {
    pub fn new() -> Self {
        Self::valid_days(-1, 1000)
    }

    /// Valid from one day to another, counted from now.
    pub fn valid_days(from: i64, until: i64) -> Self {
        let day = |days: i64| {
            let now = jiff::Timestamp::now();
            SystemTime::from(now + jiff::SignedDuration::from_hours(24 * days))
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let mut asked = rcgen::CertificateParams::new(NAMES.map(str::to_string)).unwrap();
        asked.not_before = day(from).into();
        asked.not_after = day(until).into();
        let chain = asked.self_signed(&key).unwrap().pem();
        Self { chain, key: key.serialize_pem() }
    }

    /// Puts it where the configuration of a home expects it.
    pub fn put(&self, folder: &Path) {
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::write(folder.join(CERT_FILE), &self.chain).unwrap();
        std::fs::write(folder.join(KEY_FILE), &self.key).unwrap();
        std::fs::set_permissions(folder.join(KEY_FILE), private).unwrap();
    }

    /// As bytes of the first certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()
    }
}

pub const BOTH_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A client that trusts this certificate and no other.
pub fn client(
    trusted: &Path,
    versions: &[&'static SupportedProtocolVersion],
    inside: &[&[u8]],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = inside.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAMES[0]).unwrap()
}

/// TLS on a socket, for a client that does not block.
pub async fn connect(
    ember: &Ember,
    stream: tokio::net::TcpStream,
    inside: &[&[u8]],
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let config = client(ember.trust.as_ref().unwrap(), BOTH_VERSIONS, inside);
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name(), stream).await.unwrap()
}

fn undelayed(ember: &Ember) -> io::Result<TcpStream> {
    let stream = ember.try_connect()?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub enum Pipe {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Pipe {
    /// A connection as Ember expects it.
    pub fn open(ember: &Ember) -> Self {
        Self::try_open(ember).unwrap()
    }

    /// The same, for a server that may be gone.
    pub fn try_open(ember: &Ember) -> io::Result<Self> {
        match &ember.trust {
            None => Ok(Self::Plain(undelayed(ember)?)),
            Some(trusted) => Self::tls(ember, client(trusted, BOTH_VERSIONS, &[])),
        }
    }

    /// Without TLS, whatever Ember expects.
    pub fn plain(ember: &Ember) -> Self {
        Self::Plain(undelayed(ember).unwrap())
    }

    /// After the handshake.
    pub fn tls(ember: &Ember, config: ClientConfig) -> io::Result<Self> {
        let mut stream = undelayed(ember)?;
        let mut connection = ClientConnection::new(Arc::new(config), name()).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// The connection of TLS.
    pub fn connection(&self) -> &ClientConnection {
        let Self::Tls(stream) = self else { panic!("no TLS") };
        &stream.conn
    }

    /// These bytes as they go over the socket; nothing may be sent after them.
    pub fn sealed(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Self::Tls(stream) = self else { return bytes };
        stream.conn.set_buffer_limit(None);
        stream.conn.writer().write_all(&bytes).unwrap();
        let mut sealed = Vec::new();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut sealed).unwrap();
        }
        sealed
    }

    /// Says that nothing more comes.
    pub fn half_close(&mut self) {
        match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.conn.complete_io(&mut stream.sock).unwrap();
            }
        }
    }

    /// Whether nothing comes within the socket's read timeout. On TLS something has to be taken to see it.
    pub fn is_silent(&mut self, unread: &mut Vec<u8>) -> bool {
        let timed_out =
            |outcome: io::Result<usize>| outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        match self {
            Self::Plain(stream) => timed_out(stream.peek(&mut [0])),
            Self::Tls(stream) => {
                let mut part = [0; 16 * 1024];
                let outcome = stream.read(&mut part);
                if let Ok(count) = &outcome {
                    unread.extend_from_slice(&part[..*count]);
                }
                timed_out(outcome)
            }
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
