//! The configuration as the rest of Ember takes it: complete, in range, in its own units. Never: how it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use rustls_pki_types::ServerName;

use crate::registry::Rules;
use crate::tls::{Certificate, Trust};
use crate::types::{Bounds, ModelId, Prices, Secret, SignUp};

/// All settings. Made by [`load`](super::load).
#[derive(Debug)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// Listeners, timers and bounds of the HTTP server.
    pub server: ServerConfig,
    /// The data file.
    pub store: StoreConfig,
    /// Keys.
    pub keys: KeysConfig,
    /// What keys and accounts may use that have no limits of their own.
    pub limits: LimitsConfig,
    /// People and their sessions.
    pub dashboard: DashboardConfig,
    /// `[audit]`.
    pub audit: AuditConfig,
    /// The catalogue of models.
    pub models: ModelsConfig,
    /// Records of what was used.
    pub usage: UsageConfig,
    /// Where the metrics are shown.
    pub metrics: MetricsConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// The model servers, in the order written; with `models.echo` the last one is [`UpstreamConfig::echo`].
    pub upstreams: Vec<UpstreamConfig>,
}

impl Config {
    /// What the registry has to know of it.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            sign_up: self.dashboard.sign_up.clone(),
            session_idle: self.dashboard.session_idle,
            session_lifetime: self.dashboard.session_lifetime,
            key_limits: self.limits.key,
            account_limits: self.limits.account,
        }
    }
}

/// `[server]`. Sizes in bytes.
#[derive(Debug)]
pub struct ServerConfig {
    /// At least one; port 0 means any free port.
    pub listen: Vec<SocketAddr>,
    /// Scheme, host and port as callers see them, with no slash at the end.
    pub public_url: Option<String>,
    /// Whose X-Forwarded-* headers count.
    pub trusted_proxies: Vec<IpNet>,
    /// The origins whose pages may use keys that allow it.
    pub cors_origins: Vec<String>,
    /// How long open requests may go on after a stop is asked for.
    pub drain_timeout: Duration,
    /// Open connections at once.
    pub connections_max: usize,
    /// From accept to the first byte, and from a request's first byte to the end of its head.
    pub header_timeout: Duration,
    /// The longest wait for the next part of a request's body.
    pub body_timeout: Duration,
    /// A connection without a request.
    pub idle_timeout: Duration,
    /// A client that takes nothing of an answer.
    pub write_timeout: Duration,
    /// How long a stream may wait for a model server before it begins, with comments.
    pub keepalive_after: Duration,
    /// Header lines of one request.
    pub headers_max: usize,
    /// All header lines of one request together.
    pub header_bytes_max: usize,
    /// The request target: path and query.
    pub target_bytes_max: usize,
    /// One request's body.
    pub body_bytes_max: usize,
    /// The bodies of all requests at once; never below `body_bytes_max`.
    pub buffered_bytes_max: usize,
    /// HTTP/2 streams of one connection.
    pub streams_max: usize,
    /// Certificates by ACME, when domains are named for them.
    pub acme: Option<AcmeConfig>,
    /// What clients are shown; without it every address speaks plain HTTP.
    pub tls: Option<TlsConfig>,
}

/// `[server.tls]`.
pub struct TlsConfig {
    /// The chain, in PEM.
    pub cert_file: PathBuf,
    /// Its private key, in PEM.
    pub key_file: PathBuf,
    /// What was in them; none where a command could not get at them, which needs only its names.
    pub certificate: Option<Certificate>,
}

impl TlsConfig {
    /// The host of an address as clients can check it: the address where the certificate names it, else the
    /// certificate's first name, else the address all the same.
    fn host(&self, address: IpAddr) -> Option<String> {
        let names = self.certificate.as_ref()?.names();
        if names.contains(&address.to_string()) {
            return None;
        }
        names.iter().find(|name| !name.contains('*') && name.parse::<IpAddr>().is_err()).cloned()
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").field("cert_file", &self.cert_file).finish_non_exhaustive()
    }
}

/// `[server.acme]`.
#[derive(Debug)]
pub struct AcmeConfig {
    /// DNS names in lower case, each once; 1 to 100.
    pub domains: Vec<String>,
    /// Where the CA may write to.
    pub email: Option<String>,
    /// The URL of the CA's directory, with https.
    pub directory: String,
    /// Roots to trust the CA's server by; the system's without it.
    pub ca_file: Option<PathBuf>,
}

impl ServerConfig {
    /// Whether its addresses speak TLS.
    #[must_use]
    pub const fn speaks_tls(&self) -> bool {
        self.tls.is_some() || self.acme.is_some()
    }

    /// How URLs of this server begin.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.speaks_tls() { "https" } else { "http" }
    }

    /// The beginning of links: the public URL, else the address that is listened on. An address that stands for every
    /// one of the machine's is reached at its own loopback. With TLS it is a name of the certificate's, where it has one.
    #[must_use]
    pub fn base_url(&self, listening: SocketAddr) -> String {
        let address = match listening.ip() {
            address if !address.is_unspecified() => address,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let local = || {
            let (scheme, port) = (self.scheme(), listening.port());
            let ordered = self.acme.as_ref().and_then(|acme| acme.domains.first().cloned());
            match self.tls.as_ref().and_then(|tls| tls.host(address)).or(ordered) {
                Some(name) => format!("{scheme}://{name}:{port}"),
                None => format!("{scheme}://{}", SocketAddr::new(address, port)),
            }
        };
        self.public_url.clone().unwrap_or_else(local)
    }
}

/// `[store]`. Sizes in bytes.
#[derive(Debug)]
pub struct StoreConfig {
    /// Memory for pages of the data file.
    pub cache_bytes: usize,
    /// Disk space held back, so that keys can be revoked on a full disk.
    pub ballast_bytes: u64,
}

/// `[keys]`.
#[derive(Debug)]
pub struct KeysConfig {
    /// Key records held in memory.
    pub cached_max: usize,
    /// How long the old secret works after `key rotate`.
    pub rotation_grace: Duration,
    /// How long nobody may use a key before it expires; for ever, without it.
    pub unused_expiry: Option<Duration>,
}

/// `[limits]`.
#[derive(Debug)]
pub struct LimitsConfig {
    /// Tokens that are held for an answer when the request does not say how many it wants at most.
    pub completion_tokens: u64,
    /// Of a key.
    pub key: Bounds,
    /// Of an account.
    pub account: Bounds,
}

/// `[dashboard]`.
#[derive(Debug)]
pub struct DashboardConfig {
    /// Who may make an account for himself.
    pub sign_up: SignUp,
    /// How long a session may go unused.
    pub session_idle: Duration,
    /// How long a session lasts; never below `session_idle`.
    pub session_lifetime: Duration,
}

/// `[audit]`.
#[derive(Debug)]
pub struct AuditConfig {
    /// How long events are kept; for ever, without it.
    pub retention: Option<Duration>,
}

/// `[usage]`, and what `[models.prices]` says.
#[derive(Debug)]
pub struct UsageConfig {
    /// How long records are kept.
    pub retention: Duration,
    /// What tokens cost.
    pub prices: Prices,
}

/// `[models]`.
#[derive(Debug)]
pub struct ModelsConfig {
    /// Whether the built-in stand-in model is served.
    pub echo: bool,
    /// How often the lists of the model servers are read again.
    pub refresh: Duration,
}

/// `[metrics]`.
#[derive(Debug)]
pub struct MetricsConfig {
    /// Where they are shown without any credential; nowhere, without it. Port 0 means any free port.
    pub listen: Option<SocketAddr>,
}

/// `[log]`.
#[derive(Debug)]
pub struct LogConfig {
    /// The finest level that is written.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
    /// Whether each request leaves a line.
    pub access: bool,
}

/// `log.level`, from coarse to fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// One `[[upstream]]`: a model server. Its `Debug` leaves the key out.
pub struct UpstreamConfig {
    /// 1 to 64 of `a-z 0-9 . _ -`, unique.
    pub name: String,
    /// Where it listens.
    pub address: UpstreamAddress,
    /// The path before `/v1`: empty, or like `/api`.
    pub prefix: String,
    /// With https: how it shows that it is the one.
    pub tls: Option<UpstreamTls>,
    /// When not empty: all it serves, and its own list is not asked for.
    pub models: Vec<ModelId>,
    /// Public name to the server's own name. Several servers may share a public name.
    pub aliases: BTreeMap<ModelId, ModelId>,
    /// Ember's own key for this server.
    pub api_key: Option<Secret>,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Until the head of the answer.
    pub first_byte_timeout: Duration,
    /// Between two parts of an answer.
    pub idle_timeout: Duration,
    /// A whole answer that does not stream.
    pub total_timeout: Duration,
    /// Servers of a higher number are used when none of a lower one will do: 0 to 100.
    pub priority: u32,
    /// Its share among servers of one priority: 1 to 1000.
    pub weight: u32,
    /// What is asked for to know whether it is well; without it, its model list.
    pub health_path: Option<String>,
    /// How often; without it, as often as lists are read.
    pub health_interval: Option<Duration>,
    /// Requests at once.
    pub in_flight_max: usize,
    /// Requests that wait at once; 0 for none.
    pub queue_max: usize,
    /// How long a request waits.
    pub queue_timeout: Duration,
    /// Extras for `GET /v1/models`, by model name as callers write it.
    pub metadata: BTreeMap<ModelId, serde_json::Map<String, serde_json::Value>>,
}

/// What a model server's certificate must be.
#[derive(Debug)]
pub struct UpstreamTls {
    /// For this name.
    pub name: ServerName<'static>,
    /// Vouched for by one of these.
    pub trust: Trust,
}

/// Where a model server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// HTTP over TCP.
    Tcp {
        /// A name or an IP address; IPv6 without brackets.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// HTTP over a Unix socket.
    Unix {
        /// Absolute, at most 107 bytes.
        path: PathBuf,
    },
    /// The built-in stand-in; nothing is connected to.
    Echo,
}

impl UpstreamAddress {
    /// What a `Host` header says: `host:port`, IPv6 in brackets; `localhost` where there is no port.
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix { .. } | Self::Echo => "localhost".to_string(),
        }
    }
}

impl UpstreamConfig {
    /// The name of the built-in stand-in server.
    pub const ECHO_NAME: &str = "echo";
    /// The one model it serves.
    pub const ECHO_MODEL: &str = "ember-echo";

    /// The built-in stand-in, with the bounds that any server has by default.
    #[must_use]
    pub fn echo() -> Self {
        let models = Self::ECHO_MODEL.parse().into_iter().collect();
        Self { models, ..Self::plain(Self::ECHO_NAME.to_string(), UpstreamAddress::Echo) }
    }

    /// A server found at an address, with the bounds that any server has by default; named after the address.
    #[must_use]
    pub fn found_at(address: SocketAddr) -> Self {
        let (host, port) = (address.ip().to_string(), address.port());
        let name = format!("{}-{port}", host.replace(':', "."));
        Self::plain(name, UpstreamAddress::Tcp { host, port })
    }

    fn plain(name: String, address: UpstreamAddress) -> Self {
        Self {
            name,
            address,
            prefix: String::new(),
            tls: None,
            models: Vec::new(),
            aliases: BTreeMap::new(),
            api_key: None,
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            total_timeout: Duration::from_secs(1800),
            priority: 0,
            weight: 1,
            health_path: None,
            health_interval: None,
            in_flight_max: 256,
            queue_max: 1024,
            queue_timeout: Duration::from_secs(60),
            metadata: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for UpstreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConfig")
            .field("name", &self.name)
            .field("address", &self.address)
            .field("prefix", &self.prefix)
            .field("api_key", &self.api_key.as_ref().map(|_| "(secret)"))
            .finish_non_exhaustive()
    }
}
