//! The process's descriptors and the machine's clock. Never: changes either.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::types::Timestamp;
use crate::types::moment::{absolute, length};

use super::finding::Finding;

/// Files, listeners, the socket: what a server has open besides connections.
const DESCRIPTORS_ELSE: u64 = 64;
/// No version of this program ran before: 2026-11-01.
const EARLIEST: Timestamp = Timestamp::from_millis(1_793_491_200_000);
/// Two machines' clocks may differ by so much without anybody's fault.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Whether a server that may have `connections_max` connections gets as many descriptors: the one that runs as `pid`,
/// else one started from here.
pub(super) fn descriptors(connections_max: usize, pid: Option<u32>) -> Finding {
    const CHECK: &str = "descriptors";
    let wanted = connections_max as u64 * 2 + DESCRIPTORS_ELSE;
    let process = pid.and_then(|pid| Some((pid, limit_of(pid)?)));
    let (whose, limit) = match process {
        Some((pid, limit)) => {
            let used = fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count);
            let used = used.map_or_else(String::new, |used| format!(", {used} are in use"));
            (format!("the server may have {limit} open files{used}"), limit)
        }
        None => {
            // A server raises its own limit so far.
            let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
            (format!("what is started from here may have {limit} open files"), limit)
        }
    };
    if limit >= wanted {
        return Finding::ok(CHECK, whose);
    }
    let found =
        format!("{whose}; {connections_max} connections (server.connections_max) take up to {wanted}");
    Finding::warn(
        CHECK,
        found,
        format!(
            "fewer are served at once; LimitNOFILE={wanted} in the unit, `ulimit -Hn {wanted}` in a shell, or lower \
             server.connections_max"
        ),
    )
}

/// The soft limit of another process, as proc(5) shows it.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether the clock is one to be believed. `newest`: when the store's newest event was written.
pub(super) fn clock(now: Timestamp, newest: Option<Timestamp>) -> Finding {
    const CHECK: &str = "clock";
    let next = "set the clock, and have it kept by NTP: keys' ends, budgets and the trail go by it";
    if now < EARLIEST {
        return Finding::fail(CHECK, format!("it says {}, which is past", absolute(now)), next);
    }
    match newest {
        Some(newest) if newest.since(now) > AHEAD_MAX => {
            let ahead = length(newest.since(now));
            let found =
                format!("it says {}, and the newest event in the store is {ahead} later", absolute(now));
            Finding::warn(CHECK, found, next)
        }
        Some(_) | None => Finding::ok(CHECK, format!("{}{}", absolute(now), synchronised())),
    }
}

/// What systemd-timesyncd says; where it does not run nothing is known.
fn synchronised() -> &'static str {
    match Path::new("/run/systemd/timesync/synchronized").exists() {
        true => ", kept by NTP",
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_clock_behind_the_trail_or_the_program_is_not_believed() {
        let now = Timestamp::from_millis(1_795_000_000_000);
        let after = |seconds| Some(now.after(Duration::from_secs(seconds)));
        for (newest, level) in
            [(None, Level::Ok), (after(0), Level::Ok), (after(59), Level::Ok), (after(61), Level::Warn)]
        {
            assert_eq!(clock(now, newest).level, level, "{newest:?}");
        }
        let found = clock(now, after(7200)).found;
        assert!(found.contains("2 hours later"), "{found}");
        assert_eq!(clock(Timestamp::from_millis(86_400_000), None).level, Level::Fail);
    }

    #[test]
    fn this_process_has_a_limit_in_proc() {
        assert_eq!(limit_of(std::process::id()), getrlimit(Resource::Nofile).current);
    }

    #[test]
    fn descriptors_are_compared_with_twice_the_connections() {
        let limit = usize::try_from(getrlimit(Resource::Nofile).maximum.unwrap()).unwrap();
        assert_eq!(descriptors(limit / 2 - 32, None).level, Level::Ok);
        assert_eq!(descriptors(limit / 2 - 31, None).level, Level::Warn);
        let limit = usize::try_from(getrlimit(Resource::Nofile).current.unwrap()).unwrap();
        assert_eq!(descriptors(limit / 2 - 31, Some(std::process::id())).level, Level::Warn);
    }
}
