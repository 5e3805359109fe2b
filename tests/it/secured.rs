//! A model server behind TLS whose every byte a test says, and authorities that vouch for it or don't.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use crate::ember::PATIENCE;

pub const MODERN: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
pub const OLDER: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// What a server shows of itself.
pub struct Shown {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("an authority of these tests")
    }

    pub fn named(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn issue(&self, names: &[&str]) -> Shown {
        self.issue_with(names, |_| {})
    }

    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = named(names);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        shown(&params.signed_by(&key, &self.issuer).unwrap(), &key)
    }
}

/// What a server shows that vouches for itself; `claims_authority` as `openssl req -x509` makes it.
pub fn self_made(names: &[&str], claims_authority: bool) -> Shown {
    let mut params = named(names);
    if claims_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    shown(&params.self_signed(&key).unwrap(), &key)
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn named(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

fn shown(certificate: &rcgen::Certificate, key: &KeyPair) -> Shown {
    Shown {
        chain: vec![certificate.der().clone()],
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        pem: certificate.pem(),
    }
}

pub fn config(shown: Shown, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(shown.chain, shown.key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

pub struct Secured {
    pub address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    calls: Receiver<Call>,
}

impl Secured {
    /// Answers its list of models (`m` alone) by itself, and nothing else.
    pub fn start(config: Arc<ServerConfig>) -> Self {
        Self::start_at("127.0.0.1:0", config)
    }

    pub fn start_at(address: &str, config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(config));
        let (give, calls) = channel();
        let shown = Arc::clone(&config);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let (give, config) = (give.clone(), Arc::clone(&shown.lock().unwrap()));
                std::thread::spawn(move || take_requests(stream, config, connection, &give));
            }
        });
        Self { address, config, calls }
    }

    /// Shows something else from the next connection on.
    pub fn show(&self, config: Arc<ServerConfig>) {
        *self.config.lock().unwrap() = config;
    }

    pub fn call(&self) -> Call {
        self.calls.recv_timeout(PATIENCE).expect("no request came to the model server")
    }

    /// The next request, if it is here already.
    pub fn call_by_now(&self) -> Option<Call> {
        self.calls.try_recv().ok()
    }

    pub fn is_untouched(&self) -> bool {
        self.call_by_now().is_none()
    }
}

fn take_requests(stream: TcpStream, config: Arc<ServerConfig>, connection: usize, give: &Sender<Call>) {
    const LIST: &str =
        r#"{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"test"}]}"#;
    let mut wire = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let Some(head) = read_request(&mut wire) else { return };
    let mut call = Call { wire, head, connection };
    if call.head.starts_with("GET /v1/models ") {
        call.json(LIST);
        call.close_notify();
    } else {
        let _ = give.send(call);
    }
}

/// The head of a request, after its body was read.
fn read_request(wire: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut part = [0; 4096];
        let count = wire.read(&mut part).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut rest = vec![0; usize::saturating_sub(length.unwrap_or(0), bytes.len() - end)];
    wire.read_exact(&mut rest).ok()?;
    Some(head)
}

/// A request that came, and the connection to answer it on. Dropped, it hangs up without a word (no close_notify).
pub struct Call {
    pub wire: StreamOwned<ServerConnection, TcpStream>,
    pub head: String,
    /// The number of its connection.
    pub connection: usize,
}

impl Call {
    pub fn say(&mut self, text: &str) {
        self.wire.write_all(text.as_bytes()).unwrap();
        self.wire.flush().unwrap();
    }

    /// A whole answer; the connection stays.
    pub fn json(&mut self, body: &str) {
        let length = body.len();
        self.say(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    /// Says something that only TLS is to hear, as servers do with tickets for later sessions.
    pub fn small_talk(&mut self) {
        self.wire.conn.refresh_traffic_keys().unwrap();
        self.wire.flush().unwrap();
    }

    /// Says that nothing more comes; the connection below stays.
    pub fn close_notify(&mut self) {
        self.wire.conn.send_close_notify();
        self.wire.flush().unwrap();
    }

    /// The next request on the same connection.
    pub fn next(mut self) -> Self {
        self.wire.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        self.head = read_request(&mut self.wire).expect("the connection is not used again");
        self
    }

    /// How long Ember takes to close this connection from now on.
    pub fn time_to_end(&mut self) -> Duration {
        let began = Instant::now();
        self.wire.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        match self.wire.sock.read(&mut [0; 16]) {
            Ok(0) => began.elapsed(),
            Ok(_) => panic!("Ember says more"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection stays open"),
            Err(_) => began.elapsed(),
        }
    }
}
