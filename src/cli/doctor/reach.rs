//! Whether others can reach a model server around Ember: on this machine by the kernel's list of listeners, elsewhere
//! because it answers without a key. Never: connects anywhere.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use crate::config::UpstreamAddress;

use super::finding::Finding;

/// What to say of a server that answers without a key.
pub(super) fn around(check: &str, address: &UpstreamAddress) -> Option<Finding> {
    let UpstreamAddress::Tcp { host, port } = address else { return None };
    if !is_here(host, *port) {
        let found = format!("{} answers without a key, to whoever reaches it", address.authority());
        let next = "give it a key (api_key_file), or let only this machine reach it";
        return Some(Finding::warn(check, found, next));
    }
    let open: Vec<_> = listeners(*port).into_iter().filter(|ip| !ip.to_canonical().is_loopback()).collect();
    let first = open.first()?;
    let found = format!(
        "it listens on {}: whoever reaches this machine uses it without a key, around Ember",
        SocketAddr::new(*first, *port)
    );
    let next = "bind it to 127.0.0.1 (vLLM and llama.cpp: --host 127.0.0.1, Ollama: OLLAMA_HOST=127.0.0.1), or give it a key";
    Some(Finding::warn(check, found, next))
}

/// Whether a host is this machine: loopback, or an address that can be bound here.
fn is_here(host: &str, port: u16) -> bool {
    let Ok(mut addresses) = (host, port).to_socket_addrs() else { return false };
    addresses.any(|address| address.ip().is_loopback() || UdpSocket::bind((address.ip(), 0)).is_ok())
}

/// The addresses on which something listens on a port, as proc_net(5) shows them.
fn listeners(port: u16) -> Vec<IpAddr> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let listening = tables.iter().flat_map(|table| table.lines().skip(1).filter_map(listener));
    listening.filter(|address| address.port() == port).map(|address| address.ip()).collect()
}

/// The local address of a line, if it is a listener's.
fn listener(line: &str) -> Option<SocketAddr> {
    const LISTENING: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTENING).then_some(SocketAddr::new(ip(address)?, port))
}

/// Each eight digits are four bytes of the address as a number of this machine's.
fn ip(digits: &str) -> Option<IpAddr> {
    let words = digits.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn listeners_of_this_machine_are_found() {
        for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bound) else { continue };
            let address = listener.local_addr().unwrap();
            assert_eq!(listeners(address.port()), [address.ip()], "{bound}");
        }
    }

    #[test]
    fn hosts_of_this_machine_are_known() {
        assert!(is_here("127.0.0.1", 1) && is_here("localhost", 1) && is_here("::1", 1));
        // An address of RFC 5737, which nobody has.
        assert!(!is_here("192.0.2.7", 1));
    }

    #[test]
    fn a_server_elsewhere_that_wants_no_key_is_told() {
        let elsewhere = UpstreamAddress::Tcp { host: "192.0.2.7".to_string(), port: 8000 };
        let found = around("upstream x", &elsewhere).unwrap().found;
        assert!(found.starts_with("192.0.2.7:8000 answers without a key"), "{found}");
        assert_eq!(around("upstream x", &UpstreamAddress::Unix { path: "/run/x".into() }), None);
    }
}
