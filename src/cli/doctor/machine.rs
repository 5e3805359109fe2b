//! The process's descriptors and the machine's clock. Never: changes either.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::config::{Config, Descriptors};
use crate::types::Timestamp;
use crate::types::moment::{absolute, length};

use super::finding::Finding;

/// No version of this program ran before: 2026-11-01.
const EARLIEST: Timestamp = Timestamp::from_millis(1_793_491_200_000);
/// Two machines' clocks may differ by so much without anybody's fault.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Whether a server of this configuration gets as many descriptors as it may need: the one that runs as
/// `pid`, else one started from here.
pub(super) fn descriptors(config: &Config, pid: Option<u32>) -> Finding {
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
    enough(&whose, limit, config.server.connections_max, config.descriptors(Some(limit)))
}

fn enough(whose: &str, limit: u64, connections_max: usize, judged: Descriptors) -> Finding {
    const CHECK: &str = "descriptors";
    let Descriptors { connections, enough } = judged;
    if limit >= enough {
        return Finding::ok(CHECK, whose.to_string());
    }
    let found = format!(
        "{whose}; {connections_max} connections (server.connections_max) and the model servers take up to {enough}"
    );
    let then = match connections < connections_max {
        true => format!("{connections} are served at once"),
        false => "with all of them open some may fail".to_string(),
    };
    Finding::warn(
        CHECK,
        found,
        format!(
            "{then}; LimitNOFILE={enough} in the unit, `ulimit -Hn {enough}` in a shell, or lower \
             server.connections_max or in_flight_max"
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
    fn fewer_descriptors_than_may_be_needed_are_told_with_what_follows() {
        let judged = |connections| Descriptors { connections, enough: 500 };
        assert_eq!(enough("it has", 500, 100, judged(100)).level, Level::Ok);
        for (connections, then) in
            [(99, "99 are served at once; "), (100, "with all of them open some may fail; ")]
        {
            let finding = enough("it has", 499, 100, judged(connections));
            assert_eq!(finding.level, Level::Warn);
            assert!(finding.found.starts_with("it has; 100 connections "), "{}", finding.found);
            assert!(finding.next.as_deref().unwrap().starts_with(then), "{:?}", finding.next);
        }
    }
}
