//! Has what the meter remembers of the users of keys written down from time to time. Never: what that is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::meter::Meter;

/// What was seen since the last time is lost when the process is killed or the machine loses power.
const EVERY: Duration = Duration::from_secs(10);

/// Each try may have the store reopened, which must not happen all the time.
const EVERY_AFTER_A_FAILURE: Duration = Duration::from_secs(60);

/// Goes on for ever.
pub(super) async fn write_down(meter: Arc<Meter>) {
    let mut is_failing = false;
    loop {
        sleep(if is_failing { EVERY_AFTER_A_FAILURE } else { EVERY }).await;
        is_failing = write_down_once(&meter, is_failing).await;
    }
}

/// Whether it failed; only the first failure after a success is logged.
pub(super) async fn write_down_once(meter: &Arc<Meter>, was_failing: bool) -> bool {
    if !meter.traces().owes() {
        return false;
    }
    let meter = Arc::clone(meter);
    let flushed =
        tokio::task::spawn_blocking(move || meter.traces().flush().map_err(|error| error.to_string()));
    let outcome = flushed.await.unwrap_or_else(|error| Err(error.to_string()));
    if let (Err(error), false) = (&outcome, was_failing) {
        tracing::error!(error, "who used which key is in memory only: the disk does not take it");
    }
    outcome.is_err()
}
