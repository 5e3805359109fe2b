//! How many passwords are hashed at once, and how many wait: hashing takes memory and a core on purpose, and admission
//! must not feel it. Never: what is hashed.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::RegistryError;

/// Hashes that wait for their turn; more are turned away.
const WAITING_MAX: usize = 16;
/// What those turned away are told to wait.
const WAIT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Counts {
    running: usize,
    waiting: usize,
}

/// Lets a bounded number through at once.
pub(super) struct Turnstile {
    counts: Mutex<Counts>,
    freed: Condvar,
    running_max: usize,
}

/// A turn; the next one comes when it is dropped.
pub(super) struct Turn<'a>(&'a Turnstile);

impl Default for Turnstile {
    /// Half of the cores.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { counts: Mutex::default(), freed: Condvar::new(), running_max: (cores / 2).max(1) }
    }
}

impl Turnstile {
    /// Waits for a turn. Blocks.
    ///
    /// # Errors
    /// [`RegistryError::TooMany`] when too many wait already.
    pub(super) fn enter(&self) -> Result<Turn<'_>, RegistryError> {
        let mut counts = self.counts();
        if counts.running >= self.running_max && counts.waiting >= WAITING_MAX {
            let sentence = "too many people are signing in at once; try again in a few seconds".to_string();
            return Err(RegistryError::TooMany { sentence, wait: WAIT });
        }
        counts.waiting += 1;
        while counts.running >= self.running_max {
            counts = self.freed.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
        counts.waiting -= 1;
        counts.running += 1;
        Ok(Turn(self))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.counts().running -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_can_wait_are_turned_away_and_those_who_wait_come_through() {
        let stile = Turnstile::default();
        let half = (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1);
        assert_eq!(stile.running_max, half, "as many cores are left for others");
        std::thread::scope(|scope| {
            let turns: Vec<_> = (0..half).map(|_| stile.enter().unwrap()).collect();
            let waiting: Vec<_> =
                (0..WAITING_MAX).map(|_| scope.spawn(|| stile.enter().map(drop).is_ok())).collect();
            while stile.counts().waiting < WAITING_MAX {
                std::thread::yield_now();
            }
            assert!(matches!(stile.enter(), Err(RegistryError::TooMany { .. })));
            drop(turns);
            assert!(waiting.into_iter().all(|one| one.join().unwrap()));
        });
        assert!(stile.enter().is_ok());
    }
}
