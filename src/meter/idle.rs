//! Keys that nobody uses, and since when that was watched. Never: what becomes of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{Commit, CommitError, Table, Trouble, Write};
use crate::types::{AccountId, KeyId, Timestamp};

use super::Meter;
use super::record::{decode, encode};

/// One row: since when it was watched whether keys are used, and when it was looked last.
const IDLE_WATCH: Table = Table("idle_watch");
const ROW: &[u8] = b"watch";

#[derive(Serialize, Deserialize)]
struct WatchV1 {
    since: i64,
    looked_at: i64,
}

impl Meter {
    /// Takes note that it is looked now whether keys are used; since when that was done without a gap longer than
    /// `gap_max`. Nobody could use a key while Ember was off, or in the time that a restored backup does not know.
    ///
    /// # Errors
    /// [`CommitError`] of the store.
    pub fn watch_idle(&self, gap_max: Duration) -> Result<Timestamp, CommitError> {
        let now = self.clock.now();
        let known =
            self.store.get(IDLE_WATCH, ROW)?.map(|row| decode::<WatchV1>(IDLE_WATCH, &row)).transpose()?;
        let goes_on = |watch: &WatchV1| {
            let looked_at = Timestamp::from_millis(watch.looked_at);
            looked_at <= now && now.since(looked_at) <= gap_max
        };
        let since = known.filter(goes_on).map_or(now, |watch| Timestamp::from_millis(watch.since));
        let value = encode(&WatchV1 { since: since.as_millis(), looked_at: now.as_millis() });
        let writes = vec![Write::Put { table: IDLE_WATCH, key: ROW.to_vec(), value }];
        self.store.commit(Commit { writes, ..Commit::default() })?;
        Ok(since)
    }

    /// Whether a key was never used for a model, or not for so long.
    ///
    /// # Errors
    /// [`Trouble`] of the store.
    pub fn is_unused(&self, account: AccountId, key: KeyId, since: Duration) -> Result<bool, Trouble> {
        let last = self.last_used(account, key)?;
        Ok(last.is_none_or(|last| last.after(since) <= self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::store::MemoryStore;
    use crate::types::Clock;

    struct HandClock(AtomicI64);

    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn time_that_nobody_watched_does_not_count() {
        let hour = Duration::from_secs(60 * 60);
        let clock = Arc::new(HandClock(AtomicI64::new(1_800_000_000_000)));
        let meter = Meter::new(clock.clone(), Arc::new(MemoryStore::new()));
        let start = clock.now();
        for _ in 0..5 {
            assert_eq!(meter.watch_idle(2 * hour), Ok(start));
            clock.0.fetch_add(3_600_000, Ordering::SeqCst);
        }
        clock.0.fetch_add(2 * 3_600_000, Ordering::SeqCst);
        let after = clock.now();
        assert_eq!(meter.watch_idle(2 * hour), Ok(after), "it was off for longer");
        clock.0.fetch_sub(1, Ordering::SeqCst);
        assert_eq!(meter.watch_idle(2 * hour), Ok(clock.now()), "a clock set back knows of no gap");
    }
}
