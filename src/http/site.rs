//! Under which URL a request was made and by whom, with a proxy's word where it is trusted; and whether a person may sign
//! in over it. Never: what is asked.

use std::net::{IpAddr, SocketAddr};

use http::header::HOST;
use http::{HeaderMap, HeaderName, Request, Uri};
use ipnet::IpNet;

/// What the operator says about the place Ember is reached at.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Scheme, host and port as people see them, with no slash at the end.
    pub public_url: Option<String>,
    /// Whose X-Forwarded-* headers count.
    pub trusted_proxies: Vec<IpNet>,
}

/// The ground that a request stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    /// Scheme, host and port, with no slash at the end.
    pub(super) base_url: String,
    /// Whether the browser speaks HTTPS.
    pub(super) is_secure: bool,
    /// Why nobody may sign in over it, and what to do; none when one may.
    pub(super) refusal: Option<String>,
}

/// The request names a host that is not this one: a page elsewhere may be behind it (DNS rebinding).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongHost;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

impl Site {
    /// Who asks: the connection's other end, or whom the nearest trusted proxies name (the last address that is none of
    /// theirs).
    pub(super) fn client(&self, headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        if !self.trusts(client) {
            return client;
        }
        for word in words(headers, &FORWARDED_FOR).into_iter().rev() {
            if !self.trusts(client) {
                break;
            }
            match word.parse::<IpAddr>() {
                Ok(address) => client = address.to_canonical(),
                Err(_) => break,
            }
        }
        client
    }

    /// The ground of a request that came from `peer`, `encrypted` up to here or not. Where a proxy passed it on, its
    /// word counts and not the connection to it.
    ///
    /// # Errors
    /// [`WrongHost`].
    pub(super) fn ground<B>(
        &self,
        request: &Request<B>,
        peer: SocketAddr,
        encrypted: bool,
    ) -> Result<Ground, WrongHost> {
        let headers = request.headers();
        let host = host_of(request).ok_or(WrongHost)?;
        let from_proxy = self.trusts(peer.ip().to_canonical());
        let proto = words(headers, &FORWARDED_PROTO).pop();
        let is_secure = match proto {
            Some(word) => from_proxy && word.eq_ignore_ascii_case("https"),
            None => encrypted && !has_word(headers),
        };
        let scheme = if is_secure { "https" } else { "http" };
        let ground = |base_url: String, refusal: Option<&str>| Ground {
            is_secure: base_url.starts_with("https://"),
            base_url,
            refusal: refusal.map(str::to_string),
        };
        if let Some(url) = self.public_url.as_ref().filter(|url| is_at(url, &host)) {
            let refusal = match (url.starts_with("https://"), is_secure) {
                (true, true) => None,
                (true, false) => Some(NOT_SEEN_ENCRYPTED),
                (false, _) => self.plain_refusal(headers, peer, &host),
            };
            return Ok(ground(url.clone(), refusal));
        }
        let address = host_name(&host).parse::<IpAddr>().ok();
        let is_local = host_name(&host).eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address.to_canonical().is_loopback());
        // Without a public URL: an address can't be rebound, and a name is proven by the proxy's certificate.
        if !is_local && (self.public_url.is_some() || (address.is_none() && !is_secure)) {
            return Err(WrongHost);
        }
        let refusal = if is_secure { None } else { self.plain_refusal(headers, peer, &host) };
        Ok(ground(format!("{scheme}://{host}"), refusal))
    }

    /// Plain HTTP is for one's own machine only.
    fn plain_refusal(&self, headers: &HeaderMap, peer: SocketAddr, host: &str) -> Option<&'static str> {
        let has_word = has_word(headers);
        let name = host_name(host);
        let is_local_name = name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        // Where a proxy passed it on, the connection to Ember says nothing of the one to the proxy.
        let is_local = peer.ip().to_canonical().is_loopback() && is_local_name && !has_word;
        match (is_local, has_word && !self.trusts(peer.ip().to_canonical())) {
            (true, _) => None,
            (false, true) => Some(NOT_TRUSTED),
            (false, false) => Some(NOT_ENCRYPTED),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

const NOT_ENCRYPTED: &str = "This connection is not encrypted, so nobody can sign in over it: passwords could be read \
    on the way. Use an https address (server.tls, or a TLS proxy in front of Ember, named in server.trusted_proxies), or open the \
    dashboard on the machine itself, for example through an SSH tunnel.";
const NOT_TRUSTED: &str = "A proxy passed this request on, and Ember does not know it, so nobody can sign in here. Name \
    its address in server.trusted_proxies, set server.public_url, and let it send X-Forwarded-Proto.";
const NOT_SEEN_ENCRYPTED: &str = "This site is reached by https, but no trusted proxy says that this connection is, so \
    nobody can sign in here. Name the proxy in server.trusted_proxies and let it send X-Forwarded-Proto: https.";

/// Whether a proxy passed this on, or someone says so.
fn has_word(headers: &HeaderMap) -> bool {
    [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED].iter().any(|name| headers.contains_key(name))
}

/// The host and port that the request names.
fn host_of<B>(request: &Request<B>) -> Option<String> {
    let named = request.uri().authority().map(|authority| authority.as_str());
    let header = || request.headers().get(HOST).and_then(|value| value.to_str().ok());
    named.or_else(header).filter(|host| !host.is_empty()).map(str::to_ascii_lowercase)
}

/// Without its port and an IPv6 address's brackets.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

/// Whether a URL has this host and port, its scheme's own port left out or not.
fn is_at(url: &str, host: &str) -> bool {
    let Some(authority) = url.parse::<Uri>().ok().and_then(|uri| uri.into_parts().authority) else {
        return false;
    };
    let port = if url.starts_with("https://") { ":443" } else { ":80" };
    let plain = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    plain(authority.as_str()) == plain(host)
}

/// The words of a header that proxies add to, in their order. A byte that is no text spoils its own word only: the last
/// ones are those of the nearest proxy.
fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    lines.map(|word| String::from_utf8_lossy(word.trim_ascii()).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(public_url: Option<&str>, proxies: &[&str]) -> Site {
        Site {
            public_url: public_url.map(str::to_string),
            trusted_proxies: proxies
                .iter()
                .map(|text| IpNet::from(text.parse::<IpAddr>().unwrap()))
                .collect(),
        }
    }

    fn stand(site: &Site, peer: &str, headers: &[(&str, &str)]) -> Result<Ground, WrongHost> {
        let mut request = Request::builder().uri("/sign-in");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        site.ground(&request.body(()).unwrap(), SocketAddr::new(peer.parse().unwrap(), 4711), false)
    }

    #[test]
    fn over_tls_a_connection_is_secure_unless_a_proxy_passed_it_on() {
        let stand = |site: &Site, headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri("/sign-in");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let peer = SocketAddr::new("192.0.2.7".parse().unwrap(), 4711);
            site.ground(&request.body(()).unwrap(), peer, true).unwrap()
        };
        let host = ("host", "ai.test");
        for url in [None, Some("https://ai.test")] {
            let ground = stand(&site(url, &[]), &[host]);
            assert_eq!((ground.refusal, ground.is_secure), (None, true), "{url:?}");
            assert_eq!(ground.base_url, "https://ai.test");
        }
        let url = Some("https://ai.test");
        let proto = |word| ("x-forwarded-proto", word);
        for (proxies, headers, is_good) in [
            (&[][..], &[host, proto("https")][..], false),
            (&[], &[host, ("x-forwarded-for", "203.0.113.9")], false),
            (&["192.0.2.7"], &[host, proto("http")], false),
            (&["192.0.2.7"], &[host, proto("https")], true),
        ] {
            let ground = stand(&site(url, proxies), headers);
            assert_eq!(ground.refusal.is_none(), is_good, "{proxies:?} {headers:?}");
        }
    }

    #[test]
    fn on_the_machine_itself_plain_http_will_do() {
        for host in ["127.0.0.1:7411", "localhost:9000", "[::1]:7411", "LOCALHOST"] {
            for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                let ground = stand(&site(None, &[]), peer, &[("host", host)]).unwrap();
                assert_eq!((ground.refusal, ground.is_secure), (None, false), "{host} from {peer}");
            }
        }
    }

    #[test]
    fn elsewhere_plain_http_signs_nobody_in_and_says_why() {
        let lan = stand(&site(None, &[]), "192.0.2.7", &[("host", "192.0.2.1:7411")]).unwrap();
        assert!(lan.refusal.unwrap().contains("not encrypted"));
        let liar = stand(&site(None, &[]), "192.0.2.7", &[("host", "localhost")]).unwrap();
        assert!(liar.refusal.is_some(), "the name alone does not make it local");
        let plain = stand(&site(Some("http://ai.test"), &[]), "192.0.2.7", &[("host", "ai.test")]).unwrap();
        assert!(plain.refusal.is_some());
    }

    #[test]
    fn a_proxys_word_counts_where_it_is_trusted() {
        let (url, host) = (Some("https://ai.test"), ("host", "ai.test"));
        let https = ("x-forwarded-proto", "https");
        let good = stand(&site(url, &["127.0.0.1"]), "127.0.0.1", &[host, https]).unwrap();
        assert_eq!((good.refusal, good.is_secure, good.base_url.as_str()), (None, true, "https://ai.test"));
        for (proxies, headers) in [
            (&[][..], &[host, https][..]),
            (&["127.0.0.1"], &[host]),
            (&["127.0.0.1"], &[host, ("x-forwarded-proto", "https, http")]),
        ] {
            let ground = stand(&site(url, proxies), "127.0.0.1", headers).unwrap();
            assert!(ground.refusal.is_some(), "{headers:?}");
        }
        for more in [("x-forwarded-proto", "http"), ("x-forwarded-for", "203.0.113.9")] {
            let site = site(url, &["127.0.0.1"]);
            let ground = stand(&site, "127.0.0.1", &[("host", "localhost:7411"), more]).unwrap();
            assert!(ground.refusal.is_some(), "plain HTTP to the proxy: {more:?}");
        }
        let unknown = stand(&site(None, &[]), "127.0.0.1", &[("host", "127.0.0.1:7411"), https]).unwrap();
        assert!(unknown.refusal.unwrap().contains("trusted_proxies"), "a proxy that nobody named");
    }

    #[test]
    fn a_host_of_someone_else_is_refused() {
        for (url, host) in [
            (None, "evil.test"),
            (None, "localhost.evil.test"),
            (None, "127.0.0.1.evil.test:7411"),
            (Some("https://ai.test"), "evil.test"),
            (Some("https://ai.test"), "ai.test:8443"),
            (Some("https://ai.test"), "192.0.2.1"),
        ] {
            assert_eq!(stand(&site(url, &[]), "127.0.0.1", &[("host", host)]), Err(WrongHost), "{host}");
        }
        assert_eq!(stand(&site(None, &[]), "127.0.0.1", &[]), Err(WrongHost));
        assert!(stand(&site(Some("https://ai.test"), &[]), "127.0.0.1", &[("host", "AI.test:443")]).is_ok());
    }

    #[test]
    fn the_client_is_whom_the_last_trusted_proxy_names() {
        let site = site(None, &["10.0.0.1", "10.0.0.2"]);
        let client = |peer: &str, forwarded: &str| {
            let value = http::HeaderValue::from_bytes(forwarded.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(FORWARDED_FOR, value)]);
            site.client(&headers, SocketAddr::new(peer.parse().unwrap(), 1)).to_string()
        };
        assert_eq!(client("10.0.0.1", "203.0.113.9"), "203.0.113.9");
        assert_eq!(client("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2"), "203.0.113.9");
        assert_eq!(client("10.0.0.1", "nonsense, 10.0.0.2"), "10.0.0.2");
        assert_eq!(client("10.0.0.1", "10.0.0.2,, 203.0.113.9"), "203.0.113.9");
        assert_eq!(client("192.0.2.1", "203.0.113.9"), "192.0.2.1", "a stranger's word");
        assert_eq!(client("10.0.0.1", "\u{ff}, 203.0.113.9"), "203.0.113.9", "bytes that are no text");
        assert_eq!(client("::ffff:10.0.0.1", "::ffff:203.0.113.9"), "203.0.113.9");
    }
}
