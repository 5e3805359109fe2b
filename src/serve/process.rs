//! What the system knows of this process. Never: what is done with it.

use rustix::process::{Resource, getrlimit};

use crate::metrics::ProcessMoment;
use crate::types::Timestamp;

/// The unit of times in /proc/PID/stat on Linux (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// How the process, which began at `started_at`, is now. Where there is no /proc, little is known.
pub(super) fn moment(started_at: Timestamp) -> ProcessMoment {
    ProcessMoment {
        started_at: seconds(started_at),
        cpu_seconds: read("/proc/self/stat").and_then(|stat| cpu_seconds(&stat)),
        resident_bytes: read("/proc/self/status").and_then(|status| resident_bytes(&status)),
        open_fds: open_fds(),
        max_fds: getrlimit(Resource::Nofile).current,
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact for 280,000 years")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The time in the program and the time in the kernel: fields 14 and 15, the second being a name in parentheses that
/// may have spaces in it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, kernel) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some((user + kernel) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The look itself takes one, which does not count.
fn open_fds() -> Option<u64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_writes_is_read() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 4 0 100 1 1\n";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(resident_bytes("Name:\tember\nVmRSS:\t    1234 kB\nThreads:\t4\n"), Some(1234 * 1024));
        for nonsense in ["", "7 (x) S", "VmRSS: many kB"] {
            assert_eq!((cpu_seconds(nonsense), resident_bytes(nonsense)), (None, None), "{nonsense}");
        }
    }

    #[test]
    fn this_process_uses_something() {
        let now = moment(Timestamp::from_millis(1500));
        assert!((now.started_at - 1.5).abs() < 1e-9);
        assert!(now.resident_bytes > Some(100_000) && now.open_fds >= Some(3) && now.max_fds >= now.open_fds);
        assert!(now.cpu_seconds.is_some());
    }
}
