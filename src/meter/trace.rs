//! Who used a key: from which addresses, by which clients, from browsers, with a secret that was rotated. Never: what
//! was used, where it is kept.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::types::{ClientName, Gather, Timestamp};

/// An address and a client that used a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUser {
    /// Where from; an IPv4 address is one, however it was written.
    pub address: IpAddr,
    /// What the program calls itself.
    pub client: ClientName,
    /// The first request of it that is remembered.
    pub first_at: Timestamp,
    /// The last one.
    pub last_at: Timestamp,
    /// How many.
    pub requests: u64,
}

/// Requests of browsers that were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserRefusals {
    /// How many.
    pub requests: u64,
    /// When the last one came.
    pub last_at: Timestamp,
    /// The site whose page made it, cut to what may be shown; empty when it did not say.
    pub origin: String,
}

/// What is known of the use of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyTrace {
    /// The most recent first; up to [`USERS_MAX`] pairs of an address and a client.
    pub users: Vec<KeyUser>,
    /// Browsers, if any were refused.
    pub browsers: Option<BrowserRefusals>,
    /// The last use of a secret that a rotation had replaced, with how often that came.
    pub old_secret: Option<KeyUser>,
}

/// How many kinds of use stand out within [`HINT_WINDOW`]: then a key may be shared by applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Different clients, their versions apart.
    pub clients: usize,
    /// Different networks: /24 of IPv4, /48 of IPv6.
    pub networks: usize,
}

/// The pairs of an address and a client that are remembered of a key.
pub const USERS_MAX: usize = 8;
/// How far back different users of a key are looked for.
pub const HINT_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const CLIENTS_MANY: usize = 3;
const NETWORKS_MANY: usize = 5;
const ORIGIN_CHARS_MAX: usize = 80;

impl KeyTrace {
    /// Adds a request; `is_old` when it came with a secret that was rotated.
    pub(super) fn see(&mut self, address: IpAddr, agent: &[u8], at: Timestamp, is_old: bool) {
        let address = address.to_canonical();
        let known = self.users.iter().position(|old| old.address == address && old.client.is_of(agent));
        match known {
            Some(place) => self.users[..=place].rotate_right(1),
            None => {
                let client = ClientName::of(agent);
                self.users.insert(0, KeyUser { address, client, first_at: at, last_at: at, requests: 0 });
                self.users.truncate(USERS_MAX);
            }
        }
        let seen = &mut self.users[0];
        (seen.requests, seen.last_at) = (seen.requests + 1, at);
        if is_old {
            let requests = self.old_secret.as_ref().map_or(0, |old| old.requests) + 1;
            let first_at = self.old_secret.as_ref().map_or(at, |old| old.first_at);
            self.old_secret = Some(KeyUser { requests, first_at, ..seen.clone() });
        }
    }

    /// Adds a browser's request that was refused.
    pub(super) fn refuse_browser(&mut self, origin: &[u8], at: Timestamp) {
        let requests = self.browsers.as_ref().map_or(0, |old| old.requests) + 1;
        self.browsers = Some(BrowserRefusals { requests, last_at: at, origin: shown(origin) });
    }

    /// What was known, with what came in since.
    #[must_use]
    pub(super) fn with(mut self, newer: &Self) -> Self {
        for seen in newer.users.iter().rev() {
            let is_same = |old: &KeyUser| old.address == seen.address && old.client == seen.client;
            let known = self.users.iter().position(is_same).map(|place| self.users.remove(place));
            self.users.insert(0, together(known, seen));
        }
        self.users.sort_by_key(|seen| std::cmp::Reverse(seen.last_at));
        self.users.truncate(USERS_MAX);
        if let Some(browsers) = &newer.browsers {
            let before = self.browsers.map_or(0, |old| old.requests);
            let requests = before.saturating_add(browsers.requests);
            self.browsers = Some(BrowserRefusals { requests, ..browsers.clone() });
        }
        if let Some(old) = &newer.old_secret {
            self.old_secret = Some(together(self.old_secret, old));
        }
        self
    }

    /// How many clients and networks used the key lately; none when they are few enough for one application.
    #[must_use]
    pub fn spread(&self, now: Timestamp) -> Option<Spread> {
        let lately = || self.users.iter().filter(|seen| seen.last_at.after(HINT_WINDOW) > now);
        let clients = lately().map(|seen| seen.client.product()).gather::<BTreeSet<&str>>().len();
        let networks = lately().map(|seen| network(seen.address)).gather::<BTreeSet<_>>().len();
        let is_many = clients >= CLIENTS_MANY || networks >= NETWORKS_MANY;
        is_many.then_some(Spread { clients, networks })
    }
}

fn together(old: Option<KeyUser>, newer: &KeyUser) -> KeyUser {
    let first_at = old.as_ref().map_or(newer.first_at, |old| old.first_at.min(newer.first_at));
    let requests = old.map_or(0, |old| old.requests).saturating_add(newer.requests);
    KeyUser { first_at, requests, ..newer.clone() }
}

/// The network that an address is in, roughly: what one site has.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

/// An origin as it may be kept: scheme, host and port have no other characters.
fn shown(origin: &[u8]) -> String {
    let text = String::from_utf8_lossy(origin);
    if crate::types::Key::may_be_in(&text) {
        return String::new();
    }
    let plain = |c: &char| c.is_ascii_alphanumeric() || ".:/-_[]".contains(*c);
    text.chars().filter(plain).take(ORIGIN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn seen(uses: &[(&str, &str, i64)]) -> KeyTrace {
        let mut trace = KeyTrace::default();
        for (address, agent, millis) in uses {
            trace.see(address.parse().unwrap(), agent.as_bytes(), at(*millis), false);
        }
        trace
    }

    #[test]
    fn the_most_recent_pairs_are_kept_with_first_last_and_count() {
        let mut uses: Vec<(String, i64)> = (0..10).map(|n| (format!("192.0.2.{n}"), n)).collect();
        uses.push(("192.0.2.5".to_string(), 11));
        let uses: Vec<_> = uses.iter().map(|(address, n)| (address.as_str(), "curl/8", *n)).collect();
        let trace = seen(&uses);
        let last: Vec<_> = trace.users.iter().map(|seen| seen.address.to_string()).collect();
        let wanted = [5, 9, 8, 7, 6, 4, 3, 2].map(|n| format!("192.0.2.{n}"));
        assert_eq!(last, wanted);
        let first = &trace.users[0];
        assert_eq!((first.first_at, first.last_at, first.requests), (at(5), at(11), 2));
    }

    #[test]
    fn parts_put_together_are_the_whole() {
        let uses = [
            ("192.0.2.1", "curl/8", 1),
            ("::ffff:192.0.2.1", "curl/8", 2),
            ("192.0.2.2", "node", 3),
            ("192.0.2.1", "node", 4),
            ("192.0.2.1", "curl/8", 5),
        ];
        for split in 0..=uses.len() {
            let (first, second) = uses.split_at(split);
            assert_eq!(seen(first).with(&seen(second)), seen(&uses), "{split}");
        }
    }

    #[test]
    fn browsers_and_old_secrets_are_counted_with_the_last_of_them() {
        let mut trace = KeyTrace::default();
        trace.refuse_browser(b"https://a.test", at(1));
        trace.see("192.0.2.1".parse().unwrap(), b"curl/8", at(2), true);
        let mut newer = KeyTrace::default();
        newer.refuse_browser("https://b.test/\u{1b}[<x>".as_bytes(), at(3));
        newer.see("192.0.2.2".parse().unwrap(), b"node", at(4), true);
        let trace = trace.with(&newer);
        let browsers = trace.browsers.unwrap();
        assert_eq!((browsers.requests, browsers.last_at), (2, at(3)));
        assert_eq!(browsers.origin, "https://b.test/[x");
        let old = trace.old_secret.unwrap();
        assert_eq!((old.requests, old.first_at, old.last_at, old.client.as_str()), (2, at(2), at(4), "node"));
    }

    #[test]
    fn many_clients_or_networks_within_a_week_are_a_hint() {
        let now = at(30 * DAY);
        let clients = |last: i64| {
            seen(&[
                ("192.0.2.1", "curl/8", last),
                ("192.0.2.1", "curl/7", last),
                ("192.0.2.1", "node", last),
                ("192.0.2.1", "OpenAI/Python 1", last),
            ])
        };
        assert_eq!(clients(29 * DAY).spread(now), Some(Spread { clients: 3, networks: 1 }));
        assert_eq!(clients(22 * DAY).spread(now), None, "that was before the last week");
        let networks = |count: i64| {
            let uses: Vec<_> = (0..count).map(|n| format!("198.51.{n}.1")).collect();
            seen(&uses.iter().map(|address| (address.as_str(), "node", 30 * DAY)).collect::<Vec<_>>())
        };
        assert_eq!((networks(4).spread(now), networks(5).spread(now).is_some()), (None, true));
    }
}
