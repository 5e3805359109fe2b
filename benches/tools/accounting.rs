//! What processes have used of the processor, by the kernel's own accounts (proc(5)).

use std::fs;

use crate::Failure;

/// Ticks of `/proc/PID/stat` in a second (USER_HZ).
const TICK_NANOS: u64 = 10_000_000;

/// What some processes have used since they began.
#[derive(Clone, Copy, Default)]
pub(crate) struct Used {
    /// Nanoseconds, from the scheduler; threads that have ended are missing.
    pub(crate) nanos: u64,
    /// The same from the clock ticks, which are coarse but forget nobody.
    pub(crate) by_ticks: u64,
}

impl Used {
    pub(crate) fn of(processes: &[u32]) -> Result<Self, Failure> {
        let mut sum = Self::default();
        for process in processes {
            sum.nanos += scheduled(*process)?;
            sum.by_ticks += ticked(*process)?;
        }
        Ok(sum)
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(before.nanos),
            by_ticks: self.by_ticks.saturating_sub(before.by_ticks),
        }
    }
}

fn scheduled(process: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().ok_or("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(sum)
}

fn ticked(process: u32) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program comes before, and may have any characters.
    let rest = text.rsplit(") ").next().ok_or("a stat without a name")?;
    let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks * TICK_NANOS)
}
