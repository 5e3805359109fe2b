//! The machine's clock and random source, and the switch that keeps memory off the disk. Never: anything that could
//! be tested without a machine.

use std::io;
use std::sync::{Mutex, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::types::{Clock, Random, RandomUnavailable, Stopwatch, Timestamp};

/// The system's wall clock.
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX))
    }

    fn now_micros(&self) -> u64 {
        u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the clock enters")]
fn since_1970() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
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

/// Random bytes for ids, drawn many at a time: a call into the system for each request would cost more than all else
/// about its id. Never for what is secret: keys, tickets and tokens ask the system each time.
///
/// An id is public, so it does no harm that the bytes of later ids lie in memory. They are never given twice, since each
/// is taken under the lock and the process never forks.
pub(super) struct IdRandom<R> {
    source: R,
    pool: Mutex<Pool>,
}

struct Pool {
    bytes: [u8; POOL_BYTES],
    /// How many of them, from the beginning, were given.
    given: usize,
}

/// Enough for some four hundred ids.
const POOL_BYTES: usize = 4096;

impl<R: Random> IdRandom<R> {
    /// Draws from `source` when it needs to.
    pub(super) fn new(source: R) -> Self {
        Self { source, pool: Mutex::new(Pool { bytes: [0; POOL_BYTES], given: POOL_BYTES }) }
    }
}

impl<R: Random> Random for IdRandom<R> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        if bytes.len() > POOL_BYTES {
            return self.source.fill(bytes);
        }
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if POOL_BYTES - pool.given < bytes.len() {
            // What is left is not given again, and neither is anything when the source fails.
            pool.given = POOL_BYTES;
            self.source.fill(&mut pool.bytes)?;
            pool.given = 0;
        }
        let upto = pool.given + bytes.len();
        bytes.copy_from_slice(&pool.bytes[pool.given..upto]);
        pool.given = upto;
        Ok(())
    }
}

/// Keeps keys and passwords in memory out of core dumps, and other processes of the same user from reading them.
///
/// # Errors
/// The kernel's, of either.
pub(super) fn forbid_core_dumps() -> io::Result<()> {
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(limited?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    /// Never the same eight bytes twice; fails every third time.
    #[derive(Default)]
    struct Counter {
        next: AtomicU64,
        calls: AtomicUsize,
    }

    impl Random for &Counter {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            if self.calls.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
                return Err(RandomUnavailable);
            }
            for chunk in bytes.chunks_mut(8) {
                let number = self.next.fetch_add(1, Ordering::SeqCst).to_be_bytes();
                chunk.copy_from_slice(&number[..chunk.len()]);
            }
            Ok(())
        }
    }

    #[test]
    fn bytes_for_ids_are_drawn_many_at_a_time_and_never_given_twice() {
        let (source, all) = (Counter::default(), Mutex::new(Vec::new()));
        let random = IdRandom::new(&source);
        let draw = || {
            for _ in 0..3000 {
                let mut bytes = [0; 8];
                if random.fill(&mut bytes).is_ok() {
                    all.lock().unwrap().push(bytes);
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(draw))));
        let mut all = all.into_inner().unwrap();
        let (calls, given) = (source.calls.into_inner(), all.len());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), given, "twice the same");
        assert_eq!(given + calls / 3, 12_000, "each failure of the source fails one id");
        assert_eq!(calls - calls / 3, given.div_ceil(POOL_BYTES / 8));
    }

    #[test]
    fn what_does_not_fit_is_not_taken_from_what_is_left() {
        let source = Counter::default();
        let random = IdRandom::new(&source);
        let mut bytes = [0; 24];
        for _ in 0..170 {
            random.fill(&mut bytes).unwrap();
        }
        assert_eq!(bytes[16..], 509_u64.to_be_bytes());
        random.fill(&mut bytes).unwrap();
        assert_eq!(bytes[..8], 512_u64.to_be_bytes());
    }
}
