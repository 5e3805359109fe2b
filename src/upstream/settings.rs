//! What the operator says about a model server. Never: where he says it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::echo::EchoSettings;
use super::secure::Secure;
use crate::types::{ModelId, Secret};

/// One model server.
#[derive(PartialEq, Eq)]
pub struct ServerSettings {
    /// What it is called in logs, health reports and the file of model lists; unique.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// What stands before `/v1` in its paths: empty, or `/like/this`.
    pub prefix: String,
    /// Its models; when empty, its own list says which.
    pub models: Vec<ModelId>,
    /// Names that callers use (left) for its models (right).
    pub aliases: BTreeMap<ModelId, ModelId>,
    /// Ember's key for it, sent as a bearer token.
    pub api_key: Option<Secret>,
    /// The longest a connection may take to come up.
    pub connect_timeout: Duration,
    /// The longest from the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// The longest that an answer under way may fall silent.
    pub idle_timeout: Duration,
    /// The longest from the request to the end of an answer that does not stream.
    pub total_timeout: Duration,
    /// Servers of a higher number are used when none of a lower one will do: 0 to 100.
    pub priority: u32,
    /// Its share among servers of one priority: 1 to 1000.
    pub weight: u32,
    /// What is asked for to know whether it is well, like `/health`; without it, its model list.
    pub health_path: Option<String>,
    /// How often; without it, as often as lists are read.
    pub health_interval: Option<Duration>,
    /// The most requests it works on at once, at least 1.
    pub in_flight_max: usize,
    /// The most requests that wait for it while it works on so many; with 0 none waits.
    pub queue_max: usize,
    /// The longest that one of them waits.
    pub queue_timeout: Duration,
    /// Members for the models' entries in Ember's list, by public name; they win over the server's own.
    pub metadata: BTreeMap<String, Map<String, Value>>,
}

/// Where a model server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A name or an IP address (IPv6 without brackets), and a port.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The same, spoken to by TLS.
    Tls(Arc<Secure>),
    /// A Unix socket.
    Unix(PathBuf),
    /// The built-in stand-in.
    Echo(EchoSettings),
}

/// As it stands in an HTTP `Host` header, or as a path.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Tls(secure) => secure.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Echo(_) => f.write_str("ember-echo"),
        }
    }
}

/// Settings that no request could be made with. Says which server and what, never a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsFault {
    /// The host.
    #[error(
        "model server '{server}': '{host}' can't stand in an HTTP Host header; give a host name or an IP address"
    )]
    Host {
        /// The server's name.
        server: String,
        /// The host.
        host: String,
    },
    /// The prefix.
    #[error("model server '{server}': '{prefix}' is no path; give nothing, or a path like /llm")]
    Prefix {
        /// The server's name.
        server: String,
        /// The prefix.
        prefix: String,
    },
    /// The path that is asked for to know whether it is well.
    #[error("model server '{server}': '{path}' is no path; give a path like /health")]
    HealthPath {
        /// The server's name.
        server: String,
        /// The path.
        path: String,
    },
    /// The key.
    #[error("model server '{server}': its API key is empty or has characters that HTTP does not allow")]
    ApiKey {
        /// The server's name.
        server: String,
    },
}
