//! Addresses as people write them: where to listen, where a model server is. Never: connecting or resolving.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ::http::Uri;
use ipnet::{IpNet, Ipv4Net};
use rustls_pki_types::ServerName;

use super::checked::UpstreamAddress;
use super::kind::shown;
use crate::types::Email;

/// The longest path of a Unix socket that the kernel takes, in bytes.
const SOCKET_PATH_MAX: usize = 107;
/// What stands before an IPv4 address that is written as one of IPv6 (`::ffff:`, RFC 4291, 2.5.5.2), in bits.
const MAPPED_BITS: u8 = 96;

/// `127.0.0.1:7411`, `[::1]:7411` or `localhost:7411`; other names are not resolved.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let local = local.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let given = || text.parse().ok().map(|address: SocketAddr| plain(address));
    local.or_else(given).ok_or_else(|| {
        let said = shown(text);
        format!(
            "{said} is not an address and a port; write 127.0.0.1:7411, [::1]:7411, \
                 0.0.0.0:7411 for every IPv4 address of this machine, or [::]:7411 for all of them"
        )
    })
}

/// An IPv4 address is one, however it was written.
fn plain(address: SocketAddr) -> SocketAddr {
    // A scope (fe80::1%2) belongs to the address.
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// `https://ai.example.com`: scheme, host and port, nothing after them. A single slash at the end is dropped.
pub(super) fn public_url(text: &str) -> Result<String, String> {
    let refused = |reason: &str| Err(format!("{}{reason}; write it like https://ai.example.com", said(text)));
    let Ok(uri) = text.parse::<Uri>() else { return refused(" is not a URL") };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return refused(" does not begin with http:// or https://");
    };
    if !["http", "https"].contains(&scheme) {
        return refused(" does not begin with http:// or https://");
    }
    if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() || text.contains('#') {
        return refused(" has more than scheme, host and port");
    }
    if host_and_port(authority.as_str(), 80).is_none() {
        return refused(" has no valid host and port");
    }
    Ok(format!("{scheme}://{authority}"))
}

/// `https://app.example.com`: the origin of pages, as browsers write it (RFC 6454, 6.2): scheme and host in lower case, a
/// port only where it is not the scheme's own, nothing after them.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let refused = |reason: &str| {
        Err(format!("{}{reason}; write it like https://app.example.com or http://localhost:3000", said(text)))
    };
    let url = match public_url(text) {
        Ok(url) if !text.ends_with('/') => url,
        Ok(_) => return refused(" has a slash at its end, and an origin has none"),
        Err(_) => return refused(" is no origin"),
    };
    let own_port = if url.starts_with("https://") { ":443" } else { ":80" };
    if url.ends_with(own_port) {
        return refused(" names its scheme's own port, which browsers leave out");
    }
    if url.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return refused(" has capitals, and browsers send small letters");
    }
    Ok(url)
}

/// An address or a network in CIDR notation (RFC 4632); one of IPv4 is one, however it was written.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical())).ok();
    one.or_else(|| plain_network(text.parse().ok()?)).ok_or_else(|| {
        format!("{} is no address or network; write it like 10.0.0.5 or 10.0.0.0/8", shown(text))
    })
}

/// None when it is written as one of IPv4 and has more than IPv4 has (`::ffff:10.0.0.0/64`).
fn plain_network(network: IpNet) -> Option<IpNet> {
    let mapped = match network.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let Some(address) = mapped else { return Some(network.trunc()) };
    let length = network.prefix_len().checked_sub(MAPPED_BITS)?;
    Some(Ipv4Net::new(address, length).ok()?.trunc().into())
}

/// A domain of e-mail addresses, in lower case.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let domain = text.to_lowercase();
    match format!("a@{domain}").parse::<Email>() {
        Ok(_) if !domain.contains('@') => Ok(domain),
        _ => Err(format!("{} is no domain; write it like example.com", shown(text))),
    }
}

/// What the URL of a model server says.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) address: UpstreamAddress,
    /// The path before `/v1`: empty, or with a slash in front and none at its end.
    pub(super) prefix: String,
    /// With https: the name that its certificate must be for.
    pub(super) name: Option<ServerName<'static>>,
}

/// A model server: `http://host:port` or `https://host:port`, with a path prefix and `/v1` or without, or
/// `unix:/path/to.sock`.
pub(super) fn upstream(text: &str) -> Result<Located, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(|address| Located { address, prefix: String::new(), name: None });
    }
    let refused = |reason: &str| {
        Err(format!("{}{reason}; write it like http://127.0.0.1:8000 or unix:/run/vllm.sock", said(text)))
    };
    let Ok(uri) = text.parse::<Uri>() else { return refused(" is not a URL") };
    let usual_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return refused(" does not begin with http://, https:// or unix:"),
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return refused(" has a user or a password in it: use api_key_file or api_key_env");
    }
    if uri.query().is_some() || text.contains('#') {
        return refused(" has more than host, port and path");
    }
    let Some((host, port)) = host_and_port(authority, usual_port) else {
        return refused(" has no valid host and port");
    };
    let Some(prefix) = prefix(uri.path()) else { return refused(" has an odd path") };
    let name = (usual_port == 443).then(|| ServerName::try_from(host.clone()));
    let Ok(name) = name.transpose() else { return refused(" has a host that no certificate can be for") };
    Ok(Located { address: UpstreamAddress::Tcp { host, port }, prefix, name })
}

/// Whether what is sent there in clear stays on this machine or in a network of one's own, as far as the name tells: an
/// address that is not public (RFC 6890), a name without a dot, or below a domain that is never public.
pub(super) fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) => {
            let host = host.trim_end_matches('.');
            let own = [".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test"];
            !host.contains('.') || own.iter().any(|domain| host.ends_with(domain))
        }
    }
}

/// A name for a model server of which only the URL was given: `127.0.0.1-8000`.
pub(super) fn upstream_name(address: &UpstreamAddress) -> String {
    let text = match address {
        UpstreamAddress::Tcp { host, port } => format!("{host}-{port}"),
        UpstreamAddress::Unix { path } => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        UpstreamAddress::Echo => "echo".to_string(),
    };
    let plain =
        |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '-' };
    text.chars().map(plain).take(64).collect()
}

/// The text, unless it may hold a password.
fn said(text: &str) -> String {
    if text.contains('@') { "the URL".to_string() } else { shown(text) }
}

fn unix(path: &str) -> Result<UpstreamAddress, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') || path.chars().any(char::is_control) {
        return Err(format!(
            "{} is not a socket's path; write it in full, like unix:/run/vllm.sock",
            shown(path)
        ));
    }
    if path.len() > SOCKET_PATH_MAX {
        return Err(format!(
            "the socket's path has {} bytes; the system takes {SOCKET_PATH_MAX}",
            path.len()
        ));
    }
    Ok(UpstreamAddress::Unix { path: PathBuf::from(path) })
}

/// Not by [`Uri`], which takes a port that is too large for none.
fn host_and_port(authority: &str, usual_port: u16) -> Option<(String, u16)> {
    let host_end = authority.rfind(']').map_or(0, |end| end + 1);
    let port_at = authority.get(host_end..)?.find(':').map(|at| host_end + at);
    let (host, port) = match port_at {
        None => (authority, usual_port),
        Some(at) => (authority.get(..at)?, authority.get(at + 1..)?.parse().ok().filter(|port| *port > 0)?),
    };
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| (address.to_string(), port));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (!host.is_empty() && host.chars().all(plain)).then(|| (host.to_ascii_lowercase(), port))
}

fn prefix(path: &str) -> Option<String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_suffix("/v1").unwrap_or(path);
    let odd = |part: &str| ["", ".", ".."].contains(&part) || part.contains('%');
    (path.is_empty() || !path.split('/').skip(1).any(odd)).then(|| path.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_servers_url_has_an_optional_prefix_and_an_optional_v1() {
        for (text, authority, prefix) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", ""),
            ("http://127.0.0.1:8000/", "127.0.0.1:8000", ""),
            ("http://GPU-1.lan:8000/v1", "gpu-1.lan:8000", ""),
            ("http://gpu/v1/", "gpu:80", ""),
            ("http://[::1]:8000/api/v1", "[::1]:8000", "/api"),
            ("http://gpu:1/a/b", "gpu:1", "/a/b"),
            ("https://GPU.example.com", "gpu.example.com:443", ""),
            ("https://gpu:8443/llm/v1", "gpu:8443", "/llm"),
            ("https://10.0.0.7", "10.0.0.7:443", ""),
            ("https://[2001:db8::7]/v1", "[2001:db8::7]:443", ""),
            ("unix:/run/vllm.sock", "localhost", ""),
            ("unix:///run/vllm.sock", "localhost", ""),
        ] {
            let found = upstream(text).unwrap();
            assert_eq!((found.address.authority().as_str(), &*found.prefix), (authority, prefix), "{text}");
            assert_eq!(found.name.is_some(), text.starts_with("https:"), "{text}");
        }
    }

    #[test]
    fn odd_urls_are_refused() {
        let long = format!("unix:/{}", "x".repeat(107));
        for text in [
            "",
            "gpu:8000",
            "127.0.0.1:8000",
            "ftp://gpu",
            "http://",
            "http://gpu:0",
            "http://gpu:99999",
            "http://gpu:",
            "http://gpu/v1?x=1",
            "http://gpu/#a",
            "http://gpu//v1",
            "http://gpu/../v1",
            "http://gpu/%2e/v1",
            "http://g*u",
            "http://[::g]:1",
            "unix:run/x",
            "unix:/",
            "https://",
            "https://gpu:0",
            "https://a..b",
            "https://me@gpu",
            &long,
        ] {
            assert!(upstream(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_travels_in_clear_only_in_networks_of_ones_own() {
        for near in [
            "localhost",
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.9",
            "172.16.0.1",
            "169.254.1.1",
            "100.100.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "vllm",
            "gpu.lan",
            "gpu.internal",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in
            ["8.8.8.8", "100.128.0.1", "2001:db8::1", "::ffff:8.8.8.8", "gpu.example.com", "lan.example"]
        {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let refusals = [
            upstream("http://me:hunter2@gpu:1").unwrap_err(),
            upstream("http://me:hunter2@g pu").unwrap_err(),
            public_url("https://me:hunter2@x").unwrap_err(),
        ];
        assert!(refusals.iter().all(|refusal| !refusal.contains("hunter2")), "{refusals:?}");
    }

    #[test]
    fn listening_takes_addresses_and_localhost_only() {
        assert_eq!(listen("localhost:0"), Ok("127.0.0.1:0".parse().unwrap()));
        assert_eq!(listen("[::1]:7411"), Ok("[::1]:7411".parse().unwrap()));
        assert_eq!(listen("[::ffff:127.0.0.1]:7411"), Ok("127.0.0.1:7411".parse().unwrap()));
        for text in ["", "7411", ":7411", "::1:7411", "example.com:80", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bug_the_scope_of_an_address_is_kept() {
        let SocketAddr::V6(address) = listen("[fe80::1%7]:7411").unwrap() else { panic!("not IPv6") };
        assert_eq!(address.scope_id(), 7);
    }

    #[test]
    fn bug_a_network_of_ipv4_is_one_however_it_was_written() {
        for (text, network_of) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ] {
            assert_eq!(network(text).map(|network| network.to_string()), Ok(network_of.to_string()));
        }
        assert!(network("::ffff:10.0.0.0/95").unwrap_err().contains("is no address or network"));
    }

    #[test]
    fn a_public_url_ends_after_the_port() {
        assert_eq!(public_url("https://ai.example.com/").as_deref(), Ok("https://ai.example.com"));
        for text in [
            "ai.example.com",
            "https://x/y",
            "https://x/?a",
            "https://x#a",
            "ftp://x",
            "https://",
            "https://x:99999",
        ] {
            assert!(public_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_made_of_hosts_and_ports() {
        for (url, name) in [
            ("http://127.0.0.1:8000", "127.0.0.1-8000"),
            ("http://[::1]:8000", "--1-8000"),
            ("unix:/run/vLLM 1.sock", "vllm-1.sock"),
        ] {
            assert_eq!(upstream_name(&upstream(url).unwrap().address), name);
        }
    }
}
