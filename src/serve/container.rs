//! What is different in a container: loopback addresses are its own. Never: anything that holds outside of one.

use std::net::SocketAddr;

/// Said when no model server was found in a container.
pub(super) const HINT: &str = "In a container 127.0.0.1 is the container itself, so model servers beside it are not \
                               found: name one, as with --upstream http://host.docker.internal:8000 or under its \
                               service's name.\n";

/// Says that nobody outside reaches a container's loopback addresses, when nothing else is listened on.
pub(super) fn warn_of_loopback(addresses: &[SocketAddr]) {
    if is_unreachable(addresses) {
        tracing::warn!(
            "in a container 127.0.0.1 is the container itself, so nobody outside of it reaches this server; unless it \
             has the host's network, listen on 0.0.0.0:7411 (EMBER_SERVER__LISTEN, server.listen or --listen)"
        );
    }
}

fn is_unreachable(addresses: &[SocketAddr]) -> bool {
    addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_that_is_not_loopback_is_enough() {
        let are = |addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            is_unreachable(&addresses)
        };
        assert!(are(&["127.0.0.1:7411"]) && are(&["127.0.0.1:7411", "[::1]:7411", "[::ffff:127.0.0.1]:1"]));
        assert!(
            !are(&["0.0.0.0:7411"]) && !are(&["127.0.0.1:7411", "10.0.0.2:7411"]) && !are(&["[::]:7411"])
        );
    }
}
