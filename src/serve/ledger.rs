//! Where what was used of limits outlives the process: the meter's ledger, read and written by threads that may wait.
//! Never: what the limits are.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::gate::{EndMet, LimitLedger, Limiter, SourceTrouble};
use crate::meter::{Holder, Ledger, Used};
use crate::registry::Registry;
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

/// What was met after its end and is not written down as such yet; what is more is met again.
pub(super) const ENDS_MAX: usize = 1024;

/// Has it written down that keys and secrets were met after their end. Goes on until nobody meets any.
pub(super) async fn note_ends(registry: Arc<Registry>, mut met: mpsc::Receiver<EndMet>) {
    while let Some(end) = met.recv().await {
        let registry = Arc::clone(&registry);
        let note = move || match end {
            EndMet::Key(key) => registry.expiry_met(key).map_err(trouble),
            EndMet::Secret(key, digest) => registry.grace_met(key, &digest).map_err(trouble),
        };
        let (EndMet::Key(key) | EndMet::Secret(key, _)) = end;
        if let Err(error) = spawn_blocking(note).await.unwrap_or_else(|error| Err(trouble(error))) {
            tracing::warn!(%key, %error, "that a key or a secret is past its end could not be written down");
        }
    }
}

fn trouble(error: impl std::fmt::Display) -> SourceTrouble {
    SourceTrouble(error.to_string())
}
