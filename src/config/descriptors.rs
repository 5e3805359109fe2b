//! How many descriptors a server may need, and how many connections a limit of them is enough for. Never:
//! what the limit is.

use super::{Config, UpstreamAddress};
use crate::upstream::IDLE_CONNECTIONS_MAX;

/// Files, listeners, at most 64 commands and 16 readers of metrics: what a server has open besides callers
/// and model servers.
const ELSE: u64 = 128;
/// Connections to one model server by which it is checked.
const CHECKS: u64 = 2;
/// Callers get one in so many descriptors however much the model servers may take: a low limit is to serve,
/// too.
const CALLERS: u64 = 4;

/// What becomes of a limit of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// So many connections of callers may be open at once: no more than the configuration says, and at least
    /// one.
    pub connections: usize,
    /// As many descriptors are enough, whatever callers and model servers do.
    pub enough: u64,
}

impl Descriptors {
    /// Of a server with this limit (none: no limit), so many connections of callers at most, and model
    /// servers that may each have so many requests at once.
    fn of(limit: Option<u64>, connections_max: usize, servers: impl Iterator<Item = usize>) -> Self {
        let per_server =
            |in_flight: usize| (in_flight as u64).saturating_add(IDLE_CONNECTIONS_MAX as u64 + CHECKS);
        let reserved = servers.map(per_server).fold(ELSE, u64::saturating_add);
        let left = |limit: u64| limit.saturating_sub(reserved).max(limit / CALLERS).max(1);
        let most = limit.map_or(usize::MAX, |limit| usize::try_from(left(limit)).unwrap_or(usize::MAX));
        Self {
            connections: connections_max.min(most),
            enough: reserved.saturating_add(connections_max as u64),
        }
    }
}

impl Config {
    /// What becomes of a limit of descriptors with this configuration; none: there is no limit.
    #[must_use]
    pub fn descriptors(&self, limit: Option<u64>) -> Descriptors {
        // The stand-in takes none.
        let servers = self.upstreams.iter().filter(|server| server.address != UpstreamAddress::Echo);
        Descriptors::of(limit, self.server.connections_max, servers.map(|server| server.in_flight_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        let one = 256 + 64 + 2;
        for (limit, servers, connections, enough) in [
            (None, 1, 10_000, 10_000 + 128 + one),
            (Some(20_000), 0, 10_000, 10_000 + 128),
            (Some(20_000), 30, 10_000, 10_000 + 128 + 30 * one),
            (Some(10_000 + 128 + one), 1, 10_000, 10_000 + 128 + one),
            (Some(10_000 + 128 + one - 1), 1, 9_999, 10_000 + 128 + one),
            (Some(1024), 1, 1024 - 128 - 322, 10_000 + 128 + one),
            (Some(1024), 2, 256, 10_000 + 128 + 2 * one),
            (Some(128), 0, 32, 10_000 + 128),
            (Some(0), 0, 1, 10_000 + 128),
        ] {
            let servers = std::iter::repeat_n(256, servers as usize);
            let judged = Descriptors::of(limit, 10_000, servers);
            assert_eq!(judged, Descriptors { connections, enough }, "{limit:?}");
        }
    }

    #[test]
    fn no_number_is_too_large_for_the_sum() {
        let judged = Descriptors::of(Some(1 << 20), usize::MAX, [usize::MAX, 1].into_iter());
        assert_eq!((judged.connections, judged.enough), (1 << 18, u64::MAX));
    }
}
