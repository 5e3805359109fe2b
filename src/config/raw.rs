//! The settings as they were typed, once merged and each in range. Never: what they mean together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::kind;

#[derive(Deserialize)]
pub(super) struct Raw {
    pub(super) data: String,
    pub(super) server: RawServer,
    pub(super) store: RawStore,
    pub(super) keys: RawKeys,
    pub(super) limits: RawLimits,
    pub(super) dashboard: RawDashboard,
    pub(super) audit: RawAudit,
    pub(super) models: RawModels,
    pub(super) usage: RawUsage,
    pub(super) metrics: RawMetrics,
    pub(super) log: RawLog,
    /// By number: `[[upstream]]` sections from 0, then flags.
    #[serde(default)]
    pub(super) upstream: BTreeMap<String, RawUpstream>,
}

#[derive(Deserialize)]
pub(super) struct RawServer {
    pub(super) listen: OneOrMany,
    pub(super) public_url: String,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) cors_origins: Vec<String>,
    pub(super) drain_timeout: Time,
    pub(super) connections_max: usize,
    pub(super) header_timeout: Time,
    pub(super) body_timeout: Time,
    pub(super) idle_timeout: Time,
    pub(super) write_timeout: Time,
    pub(super) keepalive_after: Time,
    pub(super) headers_max: usize,
    pub(super) header_bytes_max: Size,
    pub(super) target_bytes_max: Size,
    pub(super) body_bytes_max: Size,
    pub(super) buffered_bytes_max: Size,
    pub(super) streams_max: usize,
    pub(super) acme: RawAcme,
    pub(super) tls: RawTls,
}

#[derive(Deserialize)]
pub(super) struct RawTls {
    pub(super) cert_file: String,
    pub(super) key_file: String,
}

#[derive(Deserialize)]
pub(super) struct RawAcme {
    pub(super) domains: Vec<String>,
    pub(super) email: String,
    pub(super) directory: String,
    pub(super) ca_file: String,
}

#[derive(Deserialize)]
pub(super) struct RawStore {
    pub(super) cache_bytes: Size,
    pub(super) ballast_bytes: Size,
}

#[derive(Deserialize)]
pub(super) struct RawKeys {
    pub(super) cached_max: usize,
    pub(super) rotation_grace: Time,
    pub(super) unused_expiry: Time,
}

#[derive(Deserialize)]
pub(super) struct RawLimits {
    pub(super) completion_tokens: u64,
    /// By kind; 0 is no limit.
    pub(super) key: BTreeMap<String, u64>,
    pub(super) account: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
pub(super) struct RawDashboard {
    pub(super) sign_up: String,
    pub(super) sign_up_domains: Vec<String>,
    pub(super) session_idle: Time,
    pub(super) session_lifetime: Time,
}

#[derive(Deserialize)]
pub(super) struct RawAudit {
    pub(super) retention: String,
}

#[derive(Deserialize)]
pub(super) struct RawModels {
    pub(super) echo: bool,
    pub(super) refresh: Time,
    /// By public name.
    #[serde(default)]
    pub(super) prices: BTreeMap<String, RawPrice>,
}

#[derive(Deserialize)]
pub(super) struct RawPrice {
    pub(super) prompt: Option<String>,
    pub(super) completion: Option<String>,
    pub(super) cached: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawUsage {
    pub(super) retention: Time,
    pub(super) currency: String,
}

#[derive(Deserialize)]
pub(super) struct RawMetrics {
    pub(super) listen: String,
}

#[derive(Deserialize)]
pub(super) struct RawLog {
    pub(super) level: String,
    pub(super) format: String,
    pub(super) access: bool,
}

#[derive(Deserialize)]
pub(super) struct RawUpstream {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) url: String,
    pub(super) models: Vec<String>,
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, String>,
    pub(super) api_key_file: String,
    pub(super) api_key_env: String,
    pub(super) ca_file: String,
    pub(super) connect_timeout: Time,
    pub(super) first_byte_timeout: Time,
    pub(super) idle_timeout: Time,
    pub(super) total_timeout: Time,
    pub(super) priority: u32,
    pub(super) weight: u32,
    pub(super) health_path: String,
    pub(super) health_interval: Time,
    pub(super) in_flight_max: usize,
    pub(super) queue_max: usize,
    pub(super) queue_timeout: Time,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// A time with its unit.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time(pub(super) Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        kind::duration(&text).map(Self)
    }
}

/// Bytes.
#[derive(Deserialize)]
#[serde(try_from = "RawSize")]
pub(super) struct Size(pub(super) usize);

#[derive(Deserialize)]
#[serde(untagged)]
enum RawSize {
    Bytes(u64),
    Text(String),
}

impl TryFrom<RawSize> for Size {
    type Error = String;

    fn try_from(raw: RawSize) -> Result<Self, String> {
        let bytes = match raw {
            RawSize::Bytes(bytes) => bytes,
            RawSize::Text(text) => kind::size(&text)?,
        };
        usize::try_from(bytes)
            .map(Self)
            .map_err(|_| format!("{bytes} bytes are more than this machine can address"))
    }
}
