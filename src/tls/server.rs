//! How a server speaks TLS: versions, suites, the protocols inside. Never: sockets, certificates' files.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;

use super::{ACME_PROTOCOL, Identity};

/// TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1 inside (RFC 7301), shown as `identity` says at each handshake. Who offers
/// [`ACME_PROTOCOL`] gets that and nothing else: a proof is no certificate to talk HTTP under.
///
/// # Errors
/// The library has no suite for these versions.
pub fn server_config(identity: Arc<Identity>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(identity);
    config.alpn_protocols = [ACME_PROTOCOL, b"h2", b"http/1.1"].map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
