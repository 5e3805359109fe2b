//! From the configuration to the settings of the parts: names and units only. Never: defaults, checks.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{
    Config, LimitsConfig, LogConfig, LogFormat, LogLevel, ServerConfig, StoreConfig, UpstreamAddress,
    UpstreamConfig, UpstreamTls,
};
use crate::http::admin::Terms;
use crate::http::{Conduct, Limits, Origins, Site};
use crate::store::StoreOptions;
use crate::upstream::echo::EchoSettings;
use crate::upstream::{Address, Secure, ServerSettings};

use super::logging::Style;

pub(super) fn conduct(config: &Config) -> Conduct {
    Conduct {
        limits: Arc::new(limits(&config.server, &config.limits)),
        site: site(&config.server),
        origins: origins(&config.server),
        drain_timeout: config.server.drain_timeout,
    }
}

/// What commands are answered with, where this address is listened on.
pub(super) fn terms(config: &Config, listening: Option<SocketAddr>) -> Terms {
    let base_url = listening.map(|address| config.server.base_url(address)).unwrap_or_default();
    Terms { base_url, prices: config.usage.prices.clone() }
}

fn limits(server: &ServerConfig, limits: &LimitsConfig) -> Limits {
    Limits {
        connections_max: server.connections_max,
        header_timeout: server.header_timeout,
        body_timeout: server.body_timeout,
        idle_timeout: server.idle_timeout,
        write_timeout: server.write_timeout,
        keepalive_after: server.keepalive_after,
        headers_max: server.headers_max,
        header_bytes_max: server.header_bytes_max,
        target_bytes_max: server.target_bytes_max,
        body_bytes_max: server.body_bytes_max,
        buffered_bytes_max: server.buffered_bytes_max,
        completion_tokens: limits.completion_tokens,
        streams_max: u32::try_from(server.streams_max).unwrap_or(u32::MAX),
    }
}

#[cfg(feature = "acme")]
pub(super) fn acme(acme: &crate::config::AcmeConfig) -> crate::tls::acme::Settings {
    crate::tls::acme::Settings {
        domains: acme.domains.clone(),
        email: acme.email.clone(),
        directory: acme.directory.clone(),
        ca_file: acme.ca_file.clone(),
        retry: crate::tls::acme::Retry::default(),
    }
}

fn site(server: &ServerConfig) -> Site {
    Site { public_url: server.public_url.clone(), trusted_proxies: server.trusted_proxies.clone() }
}

fn origins(server: &ServerConfig) -> Origins {
    Origins::new(&server.cors_origins)
}

pub(super) fn store(store: &StoreConfig) -> StoreOptions {
    StoreOptions {
        cache_bytes: store.cache_bytes,
        ballast_bytes: store.ballast_bytes,
        ..StoreOptions::default()
    }
}

pub(super) fn server(upstream: UpstreamConfig) -> ServerSettings {
    ServerSettings {
        address: address(&upstream.name, upstream.address, upstream.tls),
        name: upstream.name,
        prefix: upstream.prefix,
        models: upstream.models,
        aliases: upstream.aliases,
        api_key: upstream.api_key,
        connect_timeout: upstream.connect_timeout,
        first_byte_timeout: upstream.first_byte_timeout,
        idle_timeout: upstream.idle_timeout,
        total_timeout: upstream.total_timeout,
        priority: upstream.priority,
        weight: upstream.weight,
        health_path: upstream.health_path,
        health_interval: upstream.health_interval,
        in_flight_max: upstream.in_flight_max,
        queue_max: upstream.queue_max,
        queue_timeout: upstream.queue_timeout,
        metadata: upstream.metadata.into_iter().map(|(model, extras)| (model.to_string(), extras)).collect(),
    }
}

fn address(name: &str, address: UpstreamAddress, tls: Option<UpstreamTls>) -> Address {
    match (address, tls) {
        (UpstreamAddress::Tcp { host, port }, Some(UpstreamTls { name: expected, trust })) => {
            Address::Tls(Arc::new(Secure::new(name.to_string(), host, port, expected, &trust)))
        }
        (UpstreamAddress::Tcp { host, port }, None) => Address::Tcp { host, port },
        (UpstreamAddress::Unix { path }, _) => Address::Unix(path),
        (UpstreamAddress::Echo, _) => Address::Echo(EchoSettings::default()),
    }
}

pub(super) fn level(log: &LogConfig) -> tracing::Level {
    match log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}

pub(super) const fn style(log: &LogConfig) -> Style {
    match log.format {
        LogFormat::Auto => Style::Auto,
        LogFormat::Text => Style::Text,
        LogFormat::Json => Style::Json,
    }
}
