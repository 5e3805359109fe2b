//! Where the gate learns of keys it has not in memory: the registry, read by a bounded number of threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::gate::{EndMet, Grant, KeySource, Owner, SourceTrouble};
use crate::registry::Registry;
use crate::types::KeyDigest;

/// Look-ups that may wait for the disk at once.
const READERS_MAX: usize = 16;
/// The longest a request waits for its key's record.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Reads key records for the gate.
pub(super) struct RegistrySource {
    registry: Arc<Registry>,
    readers: Arc<Semaphore>,
    ends: mpsc::Sender<EndMet>,
}

impl RegistrySource {
    /// A source over a registry that nobody changes anything through. `ends` takes what was met after its end.
    pub(super) fn new(registry: Arc<Registry>, ends: mpsc::Sender<EndMet>) -> Self {
        Self { registry, readers: Arc::new(Semaphore::new(READERS_MAX)), ends }
    }

    async fn read(&self, digest: KeyDigest) -> Result<Option<Grant>, SourceTrouble> {
        let registry = Arc::clone(&self.registry);
        let reader = Arc::clone(&self.readers).acquire_owned().await.map_err(trouble)?;
        let found = tokio::task::spawn_blocking(move || {
            let _reader = reader;
            registry.by_digest(&digest)
        });
        let found = found.await.map_err(trouble)?.map_err(trouble)?;
        Ok(found.map(|(record, account)| Grant::of(&record, &digest, Owner::of(&account))))
    }
}

impl KeySource for RegistrySource {
    fn find<'a>(
        &'a self,
        digest: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>> {
        Box::pin(async move {
            let found = timeout(WAIT_MAX, self.read(digest)).await;
            let found = found.unwrap_or_else(|_| Err(trouble("the store took too long")));
            found.inspect_err(|error| tracing::error!(%error, "a key could not be looked up"))
        })
    }

    fn end_met(&self, end: EndMet) {
        // When too many wait, it is met again after the next start.
        let _ = self.ends.try_send(end);
    }
}

fn trouble(error: impl std::fmt::Display) -> SourceTrouble {
    SourceTrouble(error.to_string())
}

#[cfg(test)]
mod tests;
