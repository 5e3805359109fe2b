//! How many descriptors this process may have, and how many connections that is enough for. Never: who has them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files, listeners, commands: what a server has open besides connections.
const ELSE: u64 = 64;
/// A relayed request has a connection on either side.
const PER_CONNECTION: u64 = 2;

/// How many of the connections that are `wanted` may be open at once. Were callers to take every descriptor, neither a command nor a
/// model server would be reached any more.
pub(super) fn connections(wanted: usize) -> usize {
    let limit = raised();
    let most = limit.map_or(usize::MAX, enough_for);
    if wanted > most {
        tracing::warn!(
            "server.connections_max is {wanted}, but with {} descriptors at most {most} connections are open at once; \
             allow {} (LimitNOFILE= in the unit, `ulimit -Hn` in a shell)",
            limit.unwrap_or(u64::MAX),
            (wanted as u64).saturating_mul(PER_CONNECTION).saturating_add(ELSE)
        );
    }
    wanted.min(most)
}

fn enough_for(limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(ELSE) / PER_CONNECTION).unwrap_or(usize::MAX).max(1)
}

/// The limit, once it is as high as this process may raise it; none where there is no limit. Shells and service managers set a low
/// one for programs that can't take more (select(2)).
fn raised() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for (limit, most) in [(0, 1), (64, 1), (67, 1), (128, 32), (1024, 480), (20_064, 10_000)] {
            assert_eq!(enough_for(limit), most, "{limit}");
        }
        assert_eq!(connections(1), 1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum, "it was raised");
    }
}
