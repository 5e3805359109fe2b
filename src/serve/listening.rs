//! Where this server is reached, and whether others can read along. Never: binding, serving.

use std::net::SocketAddr;

use crate::config::ServerConfig;

/// The URLs of the addresses that are listened on.
pub(super) fn urls(server: &ServerConfig, addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(|address| format!("{}://{address}", server.scheme())).collect()
}

/// Says where; and warns where keys would travel in the open.
pub(super) fn say(server: &ServerConfig, addresses: &[SocketAddr]) {
    for url in urls(server, addresses) {
        tracing::info!("listening on {url}");
    }
    if let Some(warning) = exposure(server, addresses) {
        tracing::warn!("{warning}");
    }
}

fn exposure(server: &ServerConfig, addresses: &[SocketAddr]) -> Option<String> {
    let open: Vec<String> = server.exposed(addresses).iter().map(ToString::to_string).collect();
    (!open.is_empty()).then(|| {
        format!(
            "keys travel unencrypted to {}: whoever is on the way can read and use them. Set server.tls, or listen on \
             127.0.0.1 behind a TLS proxy on this machine; if a proxy elsewhere speaks TLS for Ember, name it in \
             server.trusted_proxies",
            open.join(" and ")
        )
    })
}
