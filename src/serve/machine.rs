//! The machine's clock and random source, and the switch that keeps memory off the disk. Never: anything that could
//! be tested without a machine.

use ring::rand::{SecureRandom, SystemRandom};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::types::{Clock, Random, RandomUnavailable, Stopwatch, Timestamp};

/// The system's wall clock.
pub(super) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock enters")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The system's clock that only goes forward.
pub(super) struct SystemStopwatch(std::time::Instant);

impl SystemStopwatch {
    /// One that begins now.
    #[must_use]
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }
}

impl Stopwatch for SystemStopwatch {
    fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}

/// The operating system's random source.
pub(super) struct MachineRandom(SystemRandom);

impl Default for MachineRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl MachineRandom {
    /// A handle to it.
    #[must_use]
    pub(super) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Random for MachineRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        self.0.fill(bytes).map_err(|_| RandomUnavailable)
    }
}

/// Keeps keys and passwords in memory out of core dumps, and other processes of the same user from reading them.
pub(super) fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if setrlimit(Resource::Core, none).is_err()
        || set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err()
    {
        tracing::warn!("core dumps could not be switched off; do it in the service manager");
    }
}
