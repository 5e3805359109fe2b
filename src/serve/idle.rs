//! Lets keys expire that nobody uses, where the operator wants that. Never: which these are (the registry's rule).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::meter::Meter;
use crate::registry::{KeyFilter, Registry, RegistryError};
use crate::types::{Actor, KeyId, KeyStatus, Timestamp};

use super::reload::Upkeep;

/// How often all keys are looked at. The first time is as long after the start, so that they can be used before.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Keys looked at in one step; between two steps, others have the disk.
const STEP_KEYS: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// Goes on for ever, or until nobody says any more what is wanted.
pub(super) async fn keep(registry: Arc<Registry>, meter: Arc<Meter>, mut upkeep: watch::Receiver<Upkeep>) {
    loop {
        let wanted = upkeep.borrow_and_update().unused_expiry;
        let looking = async {
            match wanted {
                Some(unused_for) => expire(Arc::clone(&registry), Arc::clone(&meter), unused_for).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = looking => {}
            changed = upkeep.wait_for(|upkeep| upkeep.unused_expiry != wanted) => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Goes on for ever.
async fn expire(registry: Arc<Registry>, meter: Arc<Meter>, unused_for: Duration) {
    let every = EVERY.min(unused_for.max(Duration::from_secs(1)));
    loop {
        let watching = Arc::clone(&meter);
        let watched = tokio::task::spawn_blocking(move || watching.watch_idle(2 * every)).await;
        sleep(every).await;
        let watched_since = match watched {
            Ok(Ok(since)) => since,
            Ok(Err(error)) => {
                tracing::warn!(%error, "keys that nobody uses could not be looked for; tried again later");
                continue;
            }
            Err(_) => continue,
        };
        let mut after = None;
        loop {
            let (registry, meter) = (Arc::clone(&registry), Arc::clone(&meter));
            let done = tokio::task::spawn_blocking(move || {
                step(&registry, &meter, watched_since, unused_for, after)
            })
            .await;
            match done {
                Ok(Ok(next @ Some(_))) => after = next,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "keys that nobody uses could not be looked for; tried again later");
                    break;
                }
                Err(_) => break,
            }
            sleep(PAUSE).await;
        }
    }
}

/// Looks at some keys; the last of them, if there are more.
fn step(
    registry: &Registry,
    meter: &Meter,
    watched_since: Timestamp,
    unused_for: Duration,
    after: Option<KeyId>,
) -> Result<Option<KeyId>, RegistryError> {
    let active = KeyFilter { status: Some(KeyStatus::Active), ..KeyFilter::default() };
    let page = registry.keys(Actor::Ember, &active, after, STEP_KEYS)?;
    for key in &page.entries {
        if meter.is_unused(key.account, key.id, unused_for)? {
            let last_used_at = meter.last_used(key.account, key.id)?;
            registry.expire_unused(key.id, last_used_at, watched_since, unused_for)?;
        }
    }
    Ok(page.entries.last().map(|key| key.id).filter(|_| page.has_more))
}
