//! Has refused sign-ins written down each minute, and old events of the audit trail removed each day. Never: counts,
//! decides what is old.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::registry::Registry;

use super::reload::Upkeep;

/// What was refused since the last time is lost when the process is killed.
const EVERY: Duration = Duration::from_secs(60);
/// How often old events are looked for.
const TRIM_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Goes on for ever.
pub(super) async fn keep(registry: Arc<Registry>, upkeep: watch::Receiver<Upkeep>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trimmed: Option<Instant> = None;
    loop {
        ticks.tick().await;
        write_down(&registry, false).await;
        let retention = upkeep.borrow().audit_retention;
        let is_due = trimmed.is_none_or(|at| at.elapsed() >= TRIM_EVERY);
        if let Some(age) = retention.filter(|_| is_due) {
            trimmed = Some(Instant::now());
            trim(&registry, age).await;
        }
    }
}

/// Writes down what was refused; with `all`, in the minute that is not over, too.
pub(super) async fn write_down(registry: &Arc<Registry>, all: bool) {
    let registry = Arc::clone(registry);
    let written = spawn_blocking(move || registry.write_down_refused(all)).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(%error, "refused sign-ins are not written down yet; they are in the log");
    }
}

/// In steps, so that nobody waits long for a commit of his own.
async fn trim(registry: &Arc<Registry>, age: Duration) {
    loop {
        let registry = Arc::clone(registry);
        match spawn_blocking(move || registry.trim_trail(age)).await {
            Ok(Ok(0)) | Err(_) => return,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "old events of the audit trail are not removed yet");
                return;
            }
        }
    }
}
