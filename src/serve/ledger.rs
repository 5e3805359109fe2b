//! Where what was used of limits outlives the process: the meter's ledger, read and written by threads that may wait.
//! Never: what the limits are.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::gate::{EndMet, LimitLedger, Limiter, SourceTrouble};
use crate::meter::{Holder, Ledger, Used};
use crate::registry::{Registry, RegistryError};
use crate::types::Clock;

/// Reads and writes that may wait for the disk at once.
const CALLS_MAX: usize = 16;
/// The longest a request waits for what was used before.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// After a crash as much of a rate is forgotten as was used in this time.
const EVERY: Duration = Duration::from_secs(1);
/// The wait after a failure: each try may have the store reopened.
const EVERY_AFTER_A_FAILURE: Duration = Duration::from_secs(30);

/// The ledger of limits on disk.
pub(super) struct DiskLedger {
    ledger: Arc<Ledger>,
    calls: Arc<Semaphore>,
}

impl DiskLedger {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger: Arc::new(ledger), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> Result<T, SourceTrouble> + Send + 'static,
    ) -> Result<T, SourceTrouble> {
        let ledger = Arc::clone(&self.ledger);
        let call = Arc::clone(&self.calls).acquire_owned().await.map_err(trouble)?;
        let done = spawn_blocking(move || {
            let _call = call;
            work(&ledger)
        });
        done.await.map_err(trouble)?
    }
}

impl LimitLedger for DiskLedger {
    fn read(
        &self,
        holder: Holder,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Used>, SourceTrouble>> + Send + '_>> {
        Box::pin(async move {
            let read = timeout(WAIT_MAX, self.call(move |ledger| ledger.read(holder).map_err(trouble))).await;
            let read = read.unwrap_or_else(|_| Err(trouble("the store took too long")));
            read.inspect_err(|error| tracing::error!(%error, "what was used of a limit could not be read"))
        })
    }

    fn write(
        &self,
        all: Vec<(Holder, Used)>,
    ) -> Pin<Box<dyn Future<Output = Result<(), SourceTrouble>> + Send + '_>> {
        Box::pin(self.call(move |ledger| ledger.write(&all).map_err(trouble)))
    }
}

/// Has what was used of limits written down from moment to moment. Goes on for ever.
pub(super) async fn write_down(limiter: Arc<Limiter>, clock: Arc<dyn Clock>) {
    let mut is_failing = false;
    loop {
        sleep(if is_failing { EVERY_AFTER_A_FAILURE } else { EVERY }).await;
        if !limiter.owes() {
            continue;
        }
        let failed = limiter.flush(clock.now()).await.err();
        match (&failed, is_failing) {
            (Some(error), false) => {
                tracing::error!(%error, "what was used of limits is in memory only: the disk does not take it");
            }
            (None, true) => tracing::info!("what was used of limits is written down again"),
            (Some(_), true) | (None, false) => {}
        }
        is_failing = failed.is_some();
    }
}

/// What was met after its end and was not tried to be written down as such, and what the disk did not take: so many of
/// each. What is more is met again after the next start.
pub(super) const ENDS_MAX: usize = 1024;

/// Has it written down that keys and secrets were met after their end; what the disk does not take is tried again until
/// it does. Goes on until nobody meets any and all are written down.
pub(super) async fn note_ends(registry: Arc<Registry>, mut met: mpsc::Receiver<EndMet>) {
    let mut owed = VecDeque::new();
    let mut next = Instant::now();
    let mut is_open = true;
    while is_open || !owed.is_empty() {
        tokio::select! {
            end = met.recv(), if is_open && owed.len() < ENDS_MAX => {
                is_open = end.is_some();
                owed.extend(end);
                // Where others wait already, it waits with them.
                if owed.len() != 1 {
                    continue;
                }
            }
            () = sleep_until(next), if !owed.is_empty() => {}
        }
        note_owed(&registry, &mut owed).await;
        next = Instant::now() + EVERY_AFTER_A_FAILURE;
    }
}

/// Has what is owed written down until the disk does not take one: that one is the last to be tried again.
async fn note_owed(registry: &Arc<Registry>, owed: &mut VecDeque<EndMet>) {
    while let Some(end) = owed.pop_front() {
        let registry = Arc::clone(registry);
        let note = move || match end {
            EndMet::Key(key, at) => registry.expiry_met(key, at),
            EndMet::Secret(key, digest, at) => registry.grace_met(key, &digest, at),
        };
        let noted = match spawn_blocking(note).await {
            // A key that is gone needs none.
            Ok(Err(RegistryError::NotFound(_))) => Ok(()),
            Ok(noted) => noted.map_err(trouble),
            Err(error) => Err(trouble(error)),
        };
        let (EndMet::Key(key, _) | EndMet::Secret(key, ..)) = end;
        if let Err(error) = noted {
            tracing::warn!(%key, %error, "that a key or a secret is past its end could not be written down yet");
            owed.push_back(end);
            return;
        }
    }
}

fn trouble(error: impl std::fmt::Display) -> SourceTrouble {
    SourceTrouble(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{NewAccount, NewKey, Rotation};
    use crate::serve::machine::{MachineRandom, SystemClock};
    use crate::store::{Birth, Fault, FaultKind, FaultOn, Faults, RedbStore, Store, StoreOptions};
    use crate::types::{Actor, Environment, KeySecret, Role};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const ROOT: Actor = Actor::Machine { uid: 0 };

    #[tokio::test(start_paused = true)]
    async fn bug_an_end_that_was_met_is_written_down_though_the_clock_went_back_and_the_disk_failed() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let options =
            StoreOptions { ballast_bytes: 0, faults: Some(faults.clone()), ..StoreOptions::default() };
        let birth = Birth { created_at: SystemClock.now(), store_id: [1; 16] };
        let store: Arc<dyn Store> =
            Arc::new(RedbStore::create(&dir.path().join("ember.redb"), birth, options).unwrap());
        let (clock, random) = (Arc::new(SystemClock), Arc::new(MachineRandom::new()));
        let registry = Arc::new(Registry::new(store, clock, random, None));
        let email = "ana@example.com".parse().unwrap();
        let account = NewAccount { email, name: None, role: Role::Member, password: None };
        registry.create_account(ROOT, &account).unwrap();
        let new = NewKey::new("ana@example.com", "ci".parse().unwrap(), Environment::Dev);
        let new = NewKey { expires_at: Some(SystemClock.now().after(DAY)), ..new };
        let (key, first) = registry.create_key(ROOT, &new).unwrap();
        registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();

        let (ends, met) = mpsc::channel(ENDS_MAX);
        // By a clock that was ahead; now it is right again.
        let at = SystemClock.now().after(DAY * 2);
        ends.try_send(EndMet::Key(key.id, at)).unwrap();
        ends.try_send(EndMet::Secret(key.id, first.digest(), at)).unwrap();
        drop(ends);
        let (on, kind) = (FaultOn::Writes, FaultKind::Full);
        faults.set(Fault { on, kind, skip: 0, times: 1, while_filled: None });
        let began = Instant::now();
        note_ends(Arc::clone(&registry), met).await;
        let kept = registry.key(ROOT, "ci").unwrap();
        let until = kept.secret(&first.digest()).unwrap().valid_until;
        assert_eq!((kept.expiry_met, until), (true, Some(KeySecret::OVER)));
        assert!(began.elapsed() >= EVERY_AFTER_A_FAILURE, "it was not met by a disk that failed");
        assert!(began.elapsed() < EVERY_AFTER_A_FAILURE * 3, "{:?}", began.elapsed());
    }
}
