//! From what was typed to what it means: the rules that look at more than one setting, or outside. Never: types and ranges.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::ServerName;

use super::address::Located;
use super::checked::{
    AuditConfig, Config, DashboardConfig, KeysConfig, LimitsConfig, LogConfig, LogFormat, LogLevel,
    MetricsConfig, ModelsConfig, ServerConfig, StoreConfig, UpstreamAddress, UpstreamConfig, UpstreamTls,
    UsageConfig,
};
use super::fault::{Faults, Place};
use super::layer::{Layers, resolved};
use super::raw::{Raw, RawDashboard, RawLog, RawPrice, RawServer, RawUpstream, RawUsage};
use super::secret::{self, variable};
use super::{Purpose, address, kind};
use crate::tls::Trust;
use crate::types::{Bounds, Gather, LimitKind, ModelId, ModelPrice, Prices, Secret, SignUp};

/// The shortest time between two checks of a server, in milliseconds.
const HEALTH_MS_MIN: u128 = 10;

/// What the rules need to look at.
pub(super) struct Judge<'a> {
    pub(super) layers: &'a Layers,
    pub(super) environment: &'a [(String, String)],
    pub(super) purpose: Purpose,
    /// How long the files of a certificate may take to fit together.
    pub(super) patience: Duration,
    pub(super) warnings: &'a mut Vec<String>,
    pub(super) faults: &'a mut Faults,
    /// Whom the system trusts, once someone has asked.
    pub(super) trusted: Option<Result<Trust, String>>,
}

impl Judge<'_> {
    /// The configuration; worth something only when no fault was added. Also says where the data directory comes from.
    pub(super) fn config(&mut self, raw: Raw) -> (Config, String) {
        let (data, data_origin) = self.data(&raw.data);
        let mut upstreams = self.upstreams(raw.upstream);
        if raw.models.echo {
            if upstreams.iter().any(|upstream| upstream.name == UpstreamConfig::ECHO_NAME) {
                let message =
                    "models.echo needs the name 'echo', which an upstream has; give that one another name";
                self.fault(&["models", "echo"], message);
            }
            upstreams.push(UpstreamConfig::echo());
        }
        let server = self.server(raw.server);
        let config = Config {
            data,
            metrics: self.metrics(&raw.metrics.listen, &server.listen),
            server,
            store: StoreConfig {
                cache_bytes: raw.store.cache_bytes.0,
                ballast_bytes: raw.store.ballast_bytes.0 as u64,
            },
            keys: KeysConfig {
                cached_max: raw.keys.cached_max,
                rotation_grace: raw.keys.rotation_grace.0,
                unused_expiry: Some(raw.keys.unused_expiry.0).filter(|time| !time.is_zero()),
            },
            limits: LimitsConfig {
                completion_tokens: raw.limits.completion_tokens,
                key: bounds(&raw.limits.key),
                account: bounds(&raw.limits.account),
            },
            dashboard: self.dashboard(raw.dashboard),
            audit: AuditConfig { retention: kind::retention(&raw.audit.retention).ok().flatten() },
            models: ModelsConfig { echo: raw.models.echo, refresh: raw.models.refresh.0 },
            usage: self.usage(&raw.usage, &raw.models.prices),
            log: log(&raw.log),
            upstreams,
        };
        (config, data_origin)
    }

    fn data(&mut self, typed: &str) -> (PathBuf, String) {
        if !typed.is_empty() {
            let place = self.layers.place(&["data"]);
            return (resolved(typed, place), place.map(Place::origin).unwrap_or_default());
        }
        let absolute =
            |name| variable(name, self.environment).map(Path::new).filter(|path| path.is_absolute());
        if let Some(first) =
            variable("STATE_DIRECTORY", self.environment).and_then(|list| list.split(':').next())
        {
            return (PathBuf::from(first), "STATE_DIRECTORY".to_string());
        }
        if let Some(base) = absolute("XDG_DATA_HOME") {
            return (base.join("ember"), "default".to_string());
        }
        if let Some(home) = absolute("HOME") {
            return (home.join(".local/share/ember"), "default".to_string());
        }
        let message = "there is no place for the data directory, since HOME is not set; name one with --data or EMBER_DATA";
        self.faults.add(Place::Default, message);
        (PathBuf::new(), String::new())
    }

    fn server(&mut self, raw: RawServer) -> ServerConfig {
        let (body, buffered) = (raw.body_bytes_max.0, raw.buffered_bytes_max.0);
        let stands = |name| self.layers.stands(&["server", name]);
        if buffered < body && stands("buffered_bytes_max") && stands("body_bytes_max") {
            let message =
                format!("server.buffered_bytes_max ({buffered}) is below server.body_bytes_max ({body})");
            let set =
                |name| self.layers.place(&["server", name]).is_some_and(|place| *place != Place::Default);
            let name = if set("buffered_bytes_max") { "buffered_bytes_max" } else { "body_bytes_max" };
            self.fault(&["server", name], &message);
        }
        let acme = self.acme(&raw.acme, &raw.tls);
        ServerConfig {
            listen: self.listen(raw.listen.into_vec()),
            public_url: address::public_url(&raw.public_url).ok(),
            trusted_proxies: raw
                .trusted_proxies
                .iter()
                .filter_map(|text| address::network(text).ok())
                .collect(),
            cors_origins: raw.cors_origins.iter().filter_map(|text| address::origin(text).ok()).collect(),
            drain_timeout: raw.drain_timeout.0,
            connections_max: raw.connections_max,
            header_timeout: raw.header_timeout.0,
            body_timeout: raw.body_timeout.0,
            idle_timeout: raw.idle_timeout.0,
            write_timeout: raw.write_timeout.0,
            keepalive_after: raw.keepalive_after.0,
            headers_max: raw.headers_max,
            header_bytes_max: raw.header_bytes_max.0,
            target_bytes_max: raw.target_bytes_max.0,
            body_bytes_max: body,
            buffered_bytes_max: buffered,
            streams_max: raw.streams_max,
            tls: self.tls(&raw.tls),
            acme,
        }
    }

    fn dashboard(&mut self, raw: RawDashboard) -> DashboardConfig {
        let (idle, lifetime) = (raw.session_idle.0, raw.session_lifetime.0);
        let stands = |name| self.layers.stands(&["dashboard", name]);
        if lifetime < idle && stands("session_idle") && stands("session_lifetime") {
            let said = |time: Duration| jiff::SignedDuration::try_from(time).map(|time| format!("{time:#}"));
            let (idle, lifetime) = (said(idle).unwrap_or_default(), said(lifetime).unwrap_or_default());
            let message =
                format!("dashboard.session_lifetime ({lifetime}) is below dashboard.session_idle ({idle})");
            let set =
                |name| self.layers.place(&["dashboard", name]).is_some_and(|place| *place != Place::Default);
            let name = if set("session_lifetime") { "session_lifetime" } else { "session_idle" };
            self.fault(&["dashboard", name], &message);
        }
        let domains: Vec<_> =
            raw.sign_up_domains.iter().filter_map(|text| address::domain(text).ok()).collect();
        if raw.sign_up != "open" && !domains.is_empty() {
            let message = "dashboard.sign_up_domains has an effect only with dashboard.sign_up = \"open\"";
            self.fault(&["dashboard", "sign_up_domains"], message);
        }
        let sign_up = match raw.sign_up.as_str() {
            "open" => SignUp::Open { domains },
            "invite" => SignUp::Invite,
            _ => SignUp::Closed,
        };
        DashboardConfig { sign_up, session_idle: idle, session_lifetime: lifetime }
    }

    fn listen(&mut self, typed: Vec<String>) -> Vec<SocketAddr> {
        if typed.is_empty() {
            self.fault(&["server", "listen"], "server.listen is empty; name at least one address");
        }
        let mut listen: Vec<SocketAddr> = Vec::new();
        for address in typed.iter().filter_map(|text| address::listen(text).ok()) {
            if address.port() != 0 && listen.contains(&address) {
                self.fault(&["server", "listen"], &format!("server.listen has {address} twice"));
            }
            listen.push(address);
        }
        listen
    }

    fn metrics(&mut self, typed: &str, served: &[SocketAddr]) -> MetricsConfig {
        let listen = address::listen(typed).ok();
        if let Some(address) = listen.filter(|address| address.port() != 0 && served.contains(address)) {
            let message =
                format!("metrics.listen is {address}, which server.listen has; give it another port");
            self.fault(&["metrics", "listen"], &message);
        }
        MetricsConfig { listen }
    }

    fn upstreams(&mut self, raw: BTreeMap<String, RawUpstream>) -> Vec<UpstreamConfig> {
        let mut numbered: Vec<(usize, RawUpstream)> =
            raw.into_iter().filter_map(|(number, raw)| Some((number.parse().ok()?, raw))).collect();
        numbered.sort_by_key(|(number, _)| *number);
        let mut names = std::collections::BTreeSet::new();
        let mut checked = Vec::new();
        for (number, raw) in numbered {
            let number = number.to_string();
            if !raw.name.is_empty() && !names.insert(raw.name.clone()) {
                let message = format!("two upstreams have the name {}", kind::shown(&raw.name));
                self.fault(&["upstream", &number, "name"], &message);
            }
            checked.extend(self.upstream(&number, raw));
        }
        checked
    }

    fn upstream(&mut self, number: &str, raw: RawUpstream) -> Option<UpstreamConfig> {
        for required in ["name", "url"] {
            if self.layers.place(&["upstream", number, required]).is_none() {
                self.fault(&["upstream", number], &format!("this upstream has no {required}"));
            }
        }
        if (1..HEALTH_MS_MIN).contains(&raw.health_interval.0.as_millis()) {
            let message = format!("health_interval is 0s, or {HEALTH_MS_MIN}ms and more");
            self.fault(&["upstream", number, "health_interval"], &message);
        }
        let api_key = self.api_key(number, &raw);
        let aliases = raw.aliases.into_iter().filter_map(|(public, real)| {
            Some((self.model(&["upstream", number, "aliases", &public], &public)?, real.parse().ok()?))
        });
        let aliases = aliases.gather();
        let metadata = raw.metadata.into_iter().filter_map(|(model, extras)| {
            let first = extras.keys().next()?;
            Some((self.model(&["upstream", number, "metadata", &model, first], &model)?, extras))
        });
        let metadata = metadata.gather();
        let Located { address, prefix, name } = address::upstream(&raw.url).ok()?;
        if let (UpstreamAddress::Tcp { host, .. }, None, Some(_)) = (&address, &name, &api_key)
            && !address::is_near(host)
        {
            self.warnings.push(format!(
                "upstream '{}': its key, and all that is said, go to {host} in clear; use https://",
                raw.name
            ));
        }
        let tls = self.upstream_tls(number, &raw.ca_file, name);
        Some(UpstreamConfig {
            name: raw.name,
            address,
            prefix,
            tls,
            models: raw.models.iter().filter_map(|model| model.parse().ok()).collect(),
            aliases,
            api_key,
            connect_timeout: raw.connect_timeout.0,
            first_byte_timeout: raw.first_byte_timeout.0,
            idle_timeout: raw.idle_timeout.0,
            total_timeout: raw.total_timeout.0,
            priority: raw.priority,
            weight: raw.weight,
            health_path: Some(raw.health_path).filter(|path| !path.is_empty()),
            health_interval: Some(raw.health_interval.0).filter(|interval| !interval.is_zero()),
            in_flight_max: raw.in_flight_max,
            queue_max: raw.queue_max,
            queue_timeout: raw.queue_timeout.0,
            metadata,
        })
    }

    /// How a model server shows that it is the one; none without https, and for commands that don't speak to it.
    fn upstream_tls(
        &mut self,
        number: &str,
        ca_file: &str,
        name: Option<ServerName<'static>>,
    ) -> Option<UpstreamTls> {
        let (setting, trust) = match (ca_file, &name) {
            ("", None) => return None,
            (_, Some(_)) if self.purpose == Purpose::Command => return None,
            ("", Some(_)) => ("url", self.trusted.get_or_insert_with(trusted_by_system).clone()),
            (_, None) => {
                ("ca_file", Err("ca_file has an effect only where url begins with https://".to_string()))
            }
            (file, Some(_)) => {
                let path = resolved(file, self.layers.place(&["upstream", number, "ca_file"]));
                ("ca_file", Trust::read(&path).map_err(|fault| fault.to_string()))
            }
        };
        let trust = trust.map_err(|message| self.fault(&["upstream", number, setting], &message)).ok()?;
        Some(UpstreamTls { name: name?, trust })
    }

    fn usage(&mut self, usage: &RawUsage, prices: &BTreeMap<String, RawPrice>) -> UsageConfig {
        let models = prices.iter().filter_map(|(model, raw)| {
            let named = self.model(&["models", "prices", model], model)?;
            Some((named, price(raw)))
        });
        let models = models.gather();
        let currency = Some(usage.currency.clone()).filter(|word| !word.is_empty());
        UsageConfig { retention: usage.retention.0, prices: Prices { models, currency } }
    }

    fn model(&mut self, trail: &[&str], name: &str) -> Option<ModelId> {
        let parsed = name.parse::<ModelId>();
        if let Err(error) = parsed {
            self.fault(trail, &format!("{}: {error}", kind::shown(name)));
        }
        parsed.ok()
    }

    fn api_key(&mut self, number: &str, raw: &RawUpstream) -> Option<Secret> {
        let (setting, read) = match (raw.api_key_file.as_str(), raw.api_key_env.as_str()) {
            ("", "") => return None,
            (file, "") if self.is_elsewhere(file) => {
                self.warnings.push(format!(
                    "upstream.{number}.api_key_file: {file} is handed to the service by systemd and was not looked at"
                ));
                return None;
            }
            ("", name) => ("api_key_env", secret::from_variable(name, self.environment)),
            (file, "") => ("api_key_file", self.key_file(number, file)),
            (_, _) => {
                ("api_key_env", Err("an upstream takes api_key_file or api_key_env, not both".to_string()))
            }
        };
        read.map_err(|message| self.fault(&["upstream", number, setting], &message)).ok()
    }

    /// Whether it is a credential, and this is not the process that gets it.
    pub(super) fn is_elsewhere(&self, file: &str) -> bool {
        if self.purpose == Purpose::Serve {
            return false;
        }
        let name = file.strip_prefix("credential:");
        let has_any = secret::variable("CREDENTIALS_DIRECTORY", self.environment).is_some();
        name.is_some_and(secret::is_credential_name) && !has_any
    }

    fn key_file(&self, number: &str, typed: &str) -> Result<Secret, String> {
        if let Some(name) = typed.strip_prefix("credential:") {
            return secret::from_file(&secret::credential(name, self.environment)?);
        }
        let path = resolved(typed, self.layers.place(&["upstream", number, "api_key_file"]));
        if !typed.contains(['/', '.']) && !path.exists() {
            // Somebody may have put the key itself here, so the text is not repeated.
            return Err("api_key_file names a file that is not there".to_string());
        }
        secret::from_file(&path)
    }

    /// Something is wrong with what only a server needs.
    pub(super) fn servers_fault(&mut self, trail: &[&str], message: &str) {
        if self.purpose == Purpose::Command {
            self.warnings.push(message.to_string());
        } else {
            self.fault(trail, message);
        }
    }

    pub(super) fn fault(&mut self, trail: &[&str], message: &str) {
        let place = self.layers.place(trail).or_else(|| {
            // A section has the place of whatever stands in it.
            self.layers.place_within(trail)
        });
        self.faults.add(place.cloned().unwrap_or(Place::Default), message);
    }
}

fn trusted_by_system() -> Result<Trust, String> {
    Trust::system().map_err(|fault| {
        format!("{fault}; name the certificates that may vouch for this model server with ca_file")
    })
}

/// The table of settings has seen to the names and ranges; 0 is no limit.
fn bounds(typed: &BTreeMap<String, u64>) -> Bounds {
    let mut bounds = Bounds::default();
    for kind in LimitKind::ALL {
        bounds.set(kind, typed.get(kind.as_str()).copied().and_then(NonZeroU64::new));
    }
    bounds
}

/// What is not said costs nothing, but for cached tokens: they cost what others do.
fn price(raw: &RawPrice) -> ModelPrice {
    let price = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    let prompt = price(&raw.prompt).unwrap_or_default();
    let completion = price(&raw.completion).unwrap_or_default();
    ModelPrice { prompt, completion, cached: price(&raw.cached).unwrap_or(prompt) }
}

fn log(raw: &RawLog) -> LogConfig {
    let level = match raw.level.as_str() {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    };
    let format = match raw.format.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => LogFormat::Auto,
    };
    LogConfig { level, format, access: raw.access }
}
