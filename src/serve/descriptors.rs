//! How many descriptors this process may have. Never: who has them, how many are needed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// How many connections of callers may be open at once. Were callers to take every descriptor, neither a
/// command nor a model server would be reached any more.
pub(super) fn connections(config: &Config) -> usize {
    let (limit, wanted) = (raised(), config.server.connections_max);
    let judged = config.descriptors(limit);
    if judged.connections < wanted {
        tracing::warn!(
            "server.connections_max is {wanted}, but with {} descriptors at most {} connections are open at once; \
             allow {} (LimitNOFILE= in the unit, `ulimit -Hn` in a shell)",
            limit.unwrap_or(u64::MAX),
            judged.connections,
            judged.enough
        );
    }
    judged.connections
}

/// The limit, once it is as high as this process may raise it; none where there is no limit. Shells and
/// service managers set a low one for programs that can't take more (select(2)).
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
