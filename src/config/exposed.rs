//! Which addresses give keys and passwords away to whoever is on the way. Never: binding them, saying so.

use std::net::SocketAddr;

use super::ServerConfig;

impl ServerConfig {
    /// Those of `addresses` that others reach and that take keys and passwords in clear. None where TLS is spoken, and
    /// none where a proxy that may speak it is named; a network that has every address in it names nobody.
    #[must_use]
    pub fn exposed(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let names_a_proxy = self.trusted_proxies.iter().any(|network| network.prefix_len() > 0);
        if self.speaks_tls() || names_a_proxy {
            return Vec::new();
        }
        let others = addresses.iter().filter(|address| !address.ip().to_canonical().is_loopback());
        others.copied().collect()
    }
}
