//! Addresses as people write them: where to listen, where a model server is. Never: connecting or resolving.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ::http::Uri;
use ipnet::IpNet;

use super::checked::UpstreamAddress;
use super::kind::shown;
use crate::types::Email;

/// The longest path of a Unix socket that the kernel takes, in bytes.
const SOCKET_PATH_MAX: usize = 107;

/// `127.0.0.1:7411`, `[::1]:7411` or `localhost:7411`; other names are not resolved.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    local.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).or_else(|| text.parse().ok()).ok_or_else(
        || {
            let said = shown(text);
            format!(
                "{said} is not an address and a port; write 127.0.0.1:7411, [::1]:7411, \
                 or 0.0.0.0:7411 for every IPv4 address of this machine"
            )
        },
    )
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
    if host_and_port(authority.as_str()).is_none() {
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

/// An address or a network in CIDR notation (RFC 4632); an IPv4 address is one, however it was written.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    one.or_else(|_| text.parse::<IpNet>().map(|network| network.trunc())).map_err(|_| {
        format!("{} is no address or network; write it like 10.0.0.5 or 10.0.0.0/8", shown(text))
    })
}

/// A domain of e-mail addresses, in lower case.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let domain = text.to_lowercase();
    match format!("a@{domain}").parse::<Email>() {
        Ok(_) if !domain.contains('@') => Ok(domain),
        _ => Err(format!("{} is no domain; write it like example.com", shown(text))),
    }
}

/// A model server: `http://host:port`, with a path prefix and `/v1` or without, or `unix:/path/to.sock`.
/// Gives the address and the prefix: the path before `/v1`, empty or with a slash in front and none at its end.
pub(super) fn upstream(text: &str) -> Result<(UpstreamAddress, String), String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(|address| (address, String::new()));
    }
    let refused = |reason: &str| {
        Err(format!("{}{reason}; write it like http://127.0.0.1:8000 or unix:/run/vllm.sock", said(text)))
    };
    let Ok(uri) = text.parse::<Uri>() else { return refused(" is not a URL") };
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(
                "TLS to model servers comes in a later version of Ember; until then give an http:// \
                        address on this machine or in a network that you trust"
                    .to_string(),
            );
        }
        _ => return refused(" does not begin with http:// or unix:"),
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return refused(" has a user or a password in it: use api_key_file or api_key_env");
    }
    if uri.query().is_some() || text.contains('#') {
        return refused(" has more than host, port and path");
    }
    let Some((host, port)) = host_and_port(authority) else { return refused(" has no valid host and port") };
    let Some(prefix) = prefix(uri.path()) else { return refused(" has an odd path") };
    Ok((UpstreamAddress::Tcp { host, port }, prefix))
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
fn host_and_port(authority: &str) -> Option<(String, u16)> {
    let host_end = authority.rfind(']').map_or(0, |end| end + 1);
    let port_at = authority.get(host_end..)?.find(':').map(|at| host_end + at);
    let (host, port) = match port_at {
        None => (authority, 80),
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
            ("unix:/run/vllm.sock", "localhost", ""),
            ("unix:///run/vllm.sock", "localhost", ""),
        ] {
            let (address, found) = upstream(text).unwrap();
            assert_eq!((address.authority().as_str(), found.as_str()), (authority, prefix), "{text}");
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
            "https://gpu",
            &long,
        ] {
            assert!(upstream(text).is_err(), "{text}");
        }
        assert!(upstream("https://gpu").unwrap_err().contains("later version"));
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
        for text in ["", "7411", ":7411", "::1:7411", "example.com:80", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(listen(text).is_err(), "{text}");
        }
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
            assert_eq!(upstream_name(&upstream(url).unwrap().0), name);
        }
    }
}
