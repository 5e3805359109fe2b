//! Who may pass: bearer + model + now -> [`Pass`] or [`Refusal`], answered from memory.
//! Never: HTTP types, disk (a miss asks the [`KeySource`]), how a pass is used.

mod cache;
mod flight;
mod grant;
mod limiter;
mod news;
mod notice;
mod pass;
mod signal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::meter::Meter;
use crate::registry::{Change, Denial, Door};
use crate::types::{Key, KeyDigest, ModelId, Timestamp};

use cache::Cache;
use flight::{Flights, Landed};

pub use grant::{About, EndMet, Grant, GrantStanding, KeySource, Owner, SourceTrouble, Stop};
pub use limiter::{Allowance, Allowances, LimitLedger, LimitStanding, Limited, Limiter, Whose};
pub use pass::{Caller, Cut, Pass};
pub use signal::CutSignal;

/// Why a caller is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No key, a malformed one or one that was never issued: one and the same on purpose.
    InvalidKey,
    /// The key was good once; said only to one who holds it.
    Cut(Cut),
    /// The key is past its end; said only to one who holds it.
    Expired,
    /// The key may not use this model; must look like a model that is not there.
    ModelNotAllowed,
    /// The key may not be used from this address.
    AddressNotAllowed,
    /// The key may not use this route.
    RouteNotAllowed,
    /// A limit of the key or its account stands in the way.
    Limited(Box<Limited>),
    /// Nobody knows whether the key is good.
    Trouble(SourceTrouble),
}

/// What a caller asks of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// Which model, by its public name.
    pub model: ModelId,
    /// The tokens that reading and answering may take.
    pub tokens: u64,
}

/// Admission. One for the whole process, shared by every listener.
pub struct Gate {
    source: Arc<dyn KeySource>,
    meter: Arc<Meter>,
    limiter: Arc<Limiter>,
    cache: Cache,
    flights: Flights,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// The key records in memory, and how well they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFigures {
    /// Records in memory.
    pub entries: usize,
    /// Records that may be in memory; more only while requests hold them.
    pub entries_max: usize,
    /// Look-ups that found one, since the gate was made.
    pub hits: u64,
    /// Look-ups that asked the [`KeySource`], since the gate was made.
    pub misses: u64,
}

/// How often a record is read when more commits than [`news`] keeps come in between each time.
const LOOK_UPS_MAX: usize = 64;

impl Gate {
    /// A gate that keeps up to `cached_max` key records in memory. It takes more only for keys that requests hold, and
    /// gives that room back with the first look-up after they have ended.
    #[must_use]
    pub fn new(
        source: Arc<dyn KeySource>,
        meter: Arc<Meter>,
        limiter: Arc<Limiter>,
        cached_max: usize,
    ) -> Self {
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        let (cache, flights) = (Cache::new(cached_max), Flights::default());
        Self { source, meter, limiter, cache, flights, hits, misses }
    }

    /// Tells whose key `bearer` is (what stands after `Bearer `), and that it may be used at `now`.
    ///
    /// # Errors
    /// [`Refusal`], never `ModelNotAllowed`.
    pub async fn identify(&self, bearer: Option<&[u8]>, now: Timestamp) -> Result<Caller, Refusal> {
        let bearer = bearer.ok_or(Refusal::InvalidKey)?;
        let digest = Key::digest_of(bearer).map_err(|_| Refusal::InvalidKey)?;
        let entry = match self.cache.get(&digest) {
            Some(entry) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                entry
            }
            None => self.look_up(digest).await.map_err(Refusal::Trouble)?.ok_or(Refusal::InvalidKey)?,
        };
        if let Err(refusal) = entry.standing(now) {
            self.tell_of_ends(&entry, digest, now);
            return Err(refusal);
        }
        Ok(Caller::new(entry, now))
    }

    /// Lets an identified caller use a model, within the limits of his key and its account.
    ///
    /// # Errors
    /// [`Refusal::ModelNotAllowed`], [`Refusal::Limited`], or what has become of the key since it was identified.
    pub async fn admit(&self, caller: Caller, asking: Asking, now: Timestamp) -> Result<Pass, Refusal> {
        if !caller.models().allows(asking.model.as_str()) {
            return Err(Refusal::ModelNotAllowed);
        }
        let hold = self.limiter.take(caller.entry().grant(), asking.tokens, now).await?;
        // Last, for it may have taken a while: what has become of the key meanwhile counts.
        caller.entry().standing(now)?;
        Ok(Pass::new(caller, asking.model, &self.meter, hold, now))
    }

    /// What is left of every limit of a caller's key and of its account.
    ///
    /// # Errors
    /// [`SourceTrouble`].
    pub async fn limits(
        &self,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Vec<(Whose, LimitStanding)>, SourceTrouble> {
        self.limiter.standings(caller.entry().grant(), now).await
    }

    /// How many key records are in memory, and how often they were found there.
    #[must_use]
    pub fn cached(&self) -> CacheFigures {
        let (entries, entries_max) = self.cache.size();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheFigures { entries, entries_max, hits: read(&self.hits), misses: read(&self.misses) }
    }

    /// Takes a committed change in. Called in commit order, before the commit is acknowledged.
    pub fn changed(&self, change: &Change) {
        self.cache.changed(change);
    }

    /// What was found past its end stays so, whatever the clock shows later.
    fn tell_of_ends(&self, entry: &cache::Entry, digest: KeyDigest, now: Timestamp) {
        entry.ends_met(digest, now).for_each(|end| self.source.end_met(end));
    }

    async fn look_up(&self, digest: KeyDigest) -> Result<Option<Arc<cache::Entry>>, SourceTrouble> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        loop {
            let wanted = self.cache.commits();
            let landed = self.flights.join(digest, self.read(digest)).await?;
            // One that had landed when it was joined may be older than what was asked for.
            if landed.commits >= wanted {
                return Ok(landed.entry);
            }
        }
    }

    /// Reads, and makes good for what was committed meanwhile, so that what is kept is never older than the last
    /// commit.
    async fn read(&self, digest: KeyDigest) -> Result<Landed, SourceTrouble> {
        for _ in 0..LOOK_UPS_MAX {
            let commits = self.cache.commits();
            let grant = self.source.find(digest).await?;
            if let Some(landed) = self.cache.land(digest, grant, commits) {
                return Ok(landed);
            }
        }
        Err(SourceTrouble("the key's record changed over and over while it was read".to_string()))
    }
}

impl From<SourceTrouble> for Refusal {
    fn from(trouble: SourceTrouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Door for Gate {
    fn deny(&self, denial: Denial) {
        self.cache.deny(denial);
    }

    fn lift(&self, denial: Denial) {
        self.cache.lift(denial);
    }
}

#[cfg(test)]
mod tests;
