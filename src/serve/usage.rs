//! Has what the meter counted written down from moment to moment, and says so when the disk does not take it.
//! Never: counts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::meter::Meter;
use crate::metrics::Metrics;

/// What was used since the last time is lost when the process is killed or the machine loses power.
const EVERY: Duration = Duration::from_secs(1);

/// The wait after a failure. Each try may have the store reopened, which must not happen all the time; what waits is
/// counted in memory and is not lost by waiting.
const EVERY_AFTER_A_FAILURE: Duration = Duration::from_secs(30);

/// How often is looked for records past their time, when there were none.
const EXPIRE_EVERY: u32 = 60;

/// Counts what was under way when an earlier process died. When the disk does not take it, that is said, and the next
/// flush does it.
pub(super) fn begin(meter: &Meter) {
    if let Err(error) = meter.begin() {
        tracing::error!(%error, "what was under way when Ember last ended is not counted yet");
    }
}

/// Goes on for ever.
pub(super) async fn write_down(meter: Arc<Meter>, metrics: Arc<Metrics>) {
    let (mut is_failing, mut rounds, mut has_old) = (false, 0_u32, true);
    loop {
        sleep(if is_failing { EVERY_AFTER_A_FAILURE } else { EVERY }).await;
        is_failing = write_down_once(&meter, is_failing).await;
        metrics.usage_written(!is_failing);
        rounds = rounds.wrapping_add(1);
        if !is_failing && (has_old || rounds.is_multiple_of(EXPIRE_EVERY)) {
            has_old = expire(&meter).await;
        }
    }
}

/// Takes records away that are past their time. Whether there may be more.
async fn expire(meter: &Arc<Meter>) -> bool {
    let meter = Arc::clone(meter);
    let expired =
        tokio::task::spawn_blocking(move || meter.expire().map_err(|error| error.to_string())).await;
    match expired.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(has_more) => has_more,
        Err(error) => {
            tracing::warn!(
                error,
                "old records of use could not be taken away; it is tried again in a minute"
            );
            false
        }
    }
}

/// Whether it failed; the first failure after a success is logged, and the first success after that.
pub(super) async fn write_down_once(meter: &Arc<Meter>, was_failing: bool) -> bool {
    if !meter.owes() {
        return false;
    }
    let meter = Arc::clone(meter);
    let flushed = tokio::task::spawn_blocking(move || meter.flush().map_err(|error| error.to_string())).await;
    match flushed.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(()) => {
            if was_failing {
                tracing::info!("what requests used is written down again");
            }
            false
        }
        Err(error) => {
            if !was_failing {
                tracing::error!(
                    error,
                    "what requests used is in memory only: the disk does not take it, and a restart forgets it"
                );
            }
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Course, RETENTION, Use};
    use crate::serve::machine::SystemClock;
    use crate::store::{Birth, Fault, FaultKind, FaultOn, Faults, RedbStore, Store, StoreOptions};
    use crate::types::{AccountId, Clock, Ending, KeyId};

    #[tokio::test]
    async fn a_disk_that_fails_is_tried_again_until_it_takes_everything() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let options =
            StoreOptions { ballast_bytes: 0, faults: Some(faults.clone()), ..StoreOptions::default() };
        let birth = Birth { created_at: SystemClock.now(), store_id: [1; 16] };
        let store: Arc<dyn Store> =
            Arc::new(RedbStore::create(&dir.path().join("ember.redb"), birth, options).unwrap());
        let meter = || Arc::new(Meter::new(Arc::new(SystemClock), Arc::clone(&store)));
        let counting = meter();
        let (key, account) = (KeyId::from_bytes(&[1; 16]).unwrap(), AccountId::from_bytes(&[2; 16]).unwrap());
        let (model, upstream, course) = (None, None, Course::default());
        counting.record(Use { key, account, model, upstream, tokens: None, ending: Ending::Done, course });
        let (on, kind) = (FaultOn::Writes, FaultKind::Full);
        faults.set(Fault { on, kind, skip: 0, times: 1, while_filled: None });
        assert!(write_down_once(&counting, false).await);
        assert!(!write_down_once(&counting, true).await);
        assert!(!counting.owes());
        assert_eq!(meter().sums(None, RETENTION).map(|sums| sums.requests), Ok(1));
    }
}
