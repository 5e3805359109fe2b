//! Whether a request keeps to the limits of its key and of its account. Never: where the limits come from, what time
//! it is, words for the caller.
//!
//! A request takes what it may need before it goes on, and gives back what it did not use when it ends: however many
//! race, no more pass than may.

mod answer;
mod budget;
mod hold;
mod rate;
mod share;
mod tally;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;

use crate::meter::{Holder, Used};
use crate::types::sync::{IS_MODELLED, Mutex, RwLock};
use crate::types::{Bounds, Stopwatch, Timestamp};

use super::{Grant, Refusal, SourceTrouble};

use hold::Held;
use share::{SHARES_MAX, Share, Shares};
use tally::{Moment, Need, Ruling, Tally};

pub use answer::{Allowance, Allowances, LimitStanding, Limited, Whose};
pub(super) use hold::Hold;

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceTrouble>> + Send + 'a>>;

/// Where what was used outlives the process.
pub trait LimitLedger: Send + Sync {
    /// What a holder had used when it was last written down; none when it never was.
    fn read(&self, holder: Holder) -> Answer<'_, Option<Used>>;

    /// Writes down what holders have used, all or nothing.
    fn write(&self, all: Vec<(Holder, Used)>) -> Answer<'_, ()>;
}

/// Tallies of holders that nobody uses and that are written down are forgotten from this number on.
const TALLIES_MAX: usize = 10_000;
/// Holders written down in one commit.
const BATCH_MAX: usize = 500;
/// How often what was used is read when others are forgotten in between each time.
const READS_MAX: usize = 16;
/// How often what a request needs is written down before it is told to come again: others may use it up each time.
const COVERS_MAX: usize = 64;

/// Keeps to the limits of all holders.
pub struct Limiter {
    ledger: Arc<dyn LimitLedger>,
    stopwatch: Arc<dyn Stopwatch>,
    defaults: RwLock<Defaults>,
    tallies: RwLock<Tallies>,
    /// Those that are not written down yet.
    dirty: Mutex<Vec<Arc<Tally>>>,
}

/// The limits of those that have none of their own.
#[derive(Clone, Copy)]
struct Defaults {
    key: Bounds,
    account: Bounds,
}

#[derive(Default)]
struct Tallies {
    /// Ids come from the random source: nobody can choose them to collide.
    by_holder: FxHashMap<Holder, Arc<Tally>>,
    /// When there are so many, those that are not needed are forgotten.
    sweep_at: usize,
    /// How often that was.
    sweeps: u64,
}

/// What to do about a tally that is being written down.
#[derive(Clone, Copy)]
enum Turn {
    /// Leave it for the next time.
    IfFree,
    /// Wait until that is done.
    Awaited,
}

/// Whose limits may stand in a request's way, and which.
struct Wanted {
    whose: Whose,
    holder: Holder,
    bounds: Bounds,
}

impl Wanted {
    fn share(&self, tally: Arc<Tally>) -> Share {
        Share { tally, bounds: self.bounds, whose: self.whose }
    }
}

impl Limiter {
    /// `key` and `account` are the limits of those that have none of their own.
    #[must_use]
    pub fn new(
        ledger: Arc<dyn LimitLedger>,
        stopwatch: Arc<dyn Stopwatch>,
        key: Bounds,
        account: Bounds,
    ) -> Self {
        let defaults = RwLock::new(Defaults { key, account });
        Self { ledger, stopwatch, defaults, tallies: RwLock::default(), dirty: Mutex::default() }
    }

    /// Other limits for those that have none of their own, from the next request on. What was used stays used.
    pub fn set_defaults(&self, key: Bounds, account: Bounds) {
        *self.defaults.write().unwrap_or_else(PoisonError::into_inner) = Defaults { key, account };
    }

    /// Takes what a request may need of its key's limits and its account's.
    ///
    /// # Errors
    /// [`Refusal::Limited`]; [`Refusal::Trouble`] when what was used before can't be read.
    pub(super) async fn take(
        self: &Arc<Self>,
        grant: &Grant,
        tokens: u64,
        now: Timestamp,
    ) -> Result<Hold, Refusal> {
        let need = Need { tokens };
        if let Some(mut shares) = self.known_shares(grant)
            && let Some(hold) = self.try_take(&mut shares, need, now)?
        {
            return Ok(hold);
        }
        // Seldom, and larger than all else that an admission keeps.
        Box::pin(self.take_late(grant, need, now)).await
    }

    /// As [`Limiter::take`], when something has to be read or written first.
    async fn take_late(self: &Arc<Self>, grant: &Grant, need: Need, now: Timestamp) -> Result<Hold, Refusal> {
        let mut shares = self.shares(grant, now).await?;
        for _ in 0..COVERS_MAX {
            if let Some(hold) = self.try_take(&mut shares, need, now)? {
                return Ok(hold);
            }
            self.covered(&shares, need, now).await?;
        }
        let trouble = "what others use is written down faster than what this request needs";
        Err(Refusal::Trouble(SourceTrouble(trouble.to_string())))
    }

    /// What is left of all limits of a key and its account.
    ///
    /// # Errors
    /// [`SourceTrouble`] when what was used before can't be read.
    pub(super) async fn standings(
        &self,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Vec<(Whose, LimitStanding)>, SourceTrouble> {
        let shares = self.shares(grant, now).await?;
        let now = self.moment(now);
        let of = |share: &Share| {
            let mut state = share.tally.state();
            state.standings(&share.bounds, now).map(|standing| (share.whose, standing)).collect::<Vec<_>>()
        };
        Ok(shares.iter().flat_map(of).collect())
    }

    /// Writes down what changed since the last time; what can't be written down now is kept for the next.
    ///
    /// # Errors
    /// [`SourceTrouble`] of the first part that could not be written.
    pub async fn flush(&self, now: Timestamp) -> Result<(), SourceTrouble> {
        self.write_all(now, Turn::IfFree, |state, now| state.written(now)).await
    }

    /// As [`Limiter::flush`], when no request comes any more: what was written down in advance is taken back.
    ///
    /// # Errors
    /// As there.
    pub async fn close(&self, now: Timestamp) -> Result<(), SourceTrouble> {
        {
            let tallies = self.tallies.read().unwrap_or_else(PoisonError::into_inner);
            tallies.by_holder.values().for_each(|tally| self.owe(tally));
        }
        self.write_all(now, Turn::Awaited, |state, now| state.exactly(now)).await
    }

    /// Whether something is not written down yet.
    #[must_use]
    pub fn owes(&self) -> bool {
        !self.dirty.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// A hold, if there is room and all of it is covered, and it takes the shares with it; none when more has to be
    /// written down first.
    fn try_take(
        self: &Arc<Self>,
        shares: &mut Shares,
        need: Need,
        now: Timestamp,
    ) -> Result<Option<Hold>, Refusal> {
        if shares.is_empty() {
            return Ok(Some(Hold(None)));
        }
        let mut held = Box::new(Held::nothing(self, std::mem::take(shares), need, now));
        if held.take(self.moment(now)).map_err(Refusal::Limited)? {
            return Ok(Some(Hold(Some(held))));
        }
        *shares = held.shares;
        Ok(None)
    }

    /// As [`Limiter::cover`], to its end though the caller goes away: a write that nobody waits for could land after a
    /// later one and undo it.
    async fn covered(
        self: &Arc<Self>,
        shares: &Shares,
        need: Need,
        now: Timestamp,
    ) -> Result<(), SourceTrouble> {
        let (limiter, shares) = (Arc::clone(self), shares.clone());
        let covering = async move { limiter.cover(&shares, need, now).await };
        // In a model no caller goes away, and there is no runtime.
        if IS_MODELLED {
            covering.await;
            return Ok(());
        }
        tokio::spawn(covering).await.map_err(|error| SourceTrouble(error.to_string()))
    }

    /// Writes down in advance what a request needs. When the disk does not take it, the request goes on all the same:
    /// a full disk is no reason to refuse what is within its limits.
    async fn cover(&self, shares: &Shares, need: Need, now: Timestamp) {
        let mut turns = Vec::with_capacity(shares.0.len());
        for share in shares.iter() {
            turns.push(share.tally.writing.lock().await);
        }
        let now = self.moment(now);
        let uncovered =
            |share: &&Share| share.tally.state().rule(&share.bounds, need, now) == Ruling::Uncovered;
        let shares: Vec<_> = shares.iter().filter(uncovered).collect();
        if shares.is_empty() {
            return;
        }
        let ahead =
            |share: &&Share| (share.tally.holder, share.tally.state().ahead(&share.bounds, need, now));
        let rows: Vec<_> = shares.iter().map(ahead).collect();
        if let Err(error) = self.ledger.write(rows.clone()).await {
            tracing::error!(%error, "budgets are kept in memory only until the disk takes them");
            shares.iter().for_each(|share| self.owe(&share.tally));
        }
        for (share, (_, used)) in shares.iter().zip(&rows) {
            share.tally.state().covered(used);
        }
    }

    async fn write_all(
        &self,
        now: Timestamp,
        turn: Turn,
        row: impl Fn(&mut tally::State, Moment) -> Used + Send,
    ) -> Result<(), SourceTrouble> {
        let mut dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        // Keys before accounts, as requests take their turns.
        dirty.sort_by_key(|tally| matches!(tally.holder, Holder::Account(_)));
        let mut outcome = Ok(());
        for batch in dirty.chunks(BATCH_MAX) {
            if let Err(error) = self.write_batch(batch, now, turn, &row).await {
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    async fn write_batch(
        &self,
        batch: &[Arc<Tally>],
        now: Timestamp,
        turn: Turn,
        row: &(impl Fn(&mut tally::State, Moment) -> Used + Send),
    ) -> Result<(), SourceTrouble> {
        let now = self.moment(now);
        let mut turns = Vec::with_capacity(batch.len());
        let mut rows = Vec::with_capacity(batch.len());
        for tally in batch {
            let free = match turn {
                Turn::IfFree => tally.writing.try_lock().ok(),
                Turn::Awaited => Some(tally.writing.lock().await),
            };
            match free {
                Some(turn) => {
                    turns.push((tally, turn));
                    rows.push((tally.holder, row(&mut tally.state(), now)));
                }
                // It is being written down; what changed meanwhile waits for the next time.
                None => self.list(tally),
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let written = self.ledger.write(rows.clone()).await;
        for ((tally, _), (_, used)) in turns.iter().zip(&rows) {
            match written {
                Ok(()) => tally.state().covered(used),
                Err(_) => self.owe(tally),
            }
        }
        written
    }

    fn wanted(&self, grant: &Grant) -> [Wanted; SHARES_MAX] {
        let Defaults { key, account } = *self.defaults.read().unwrap_or_else(PoisonError::into_inner);
        let (own, owner) = (&grant.policy.limits, &grant.owner.policy.limits);
        [
            Wanted { whose: Whose::Key, holder: Holder::Key(grant.key), bounds: key.under(own) },
            Wanted {
                whose: Whose::Account,
                holder: Holder::Account(grant.account),
                bounds: account.under(owner),
            },
        ]
    }

    /// The shares of a key and its account; none when what was used of them must be read first.
    fn known_shares(&self, grant: &Grant) -> Option<Shares> {
        let wanted = self.wanted(grant);
        let tallies = self.tallies.read().unwrap_or_else(PoisonError::into_inner);
        let mut shares = Shares::default();
        for (place, wanted) in shares.0.iter_mut().zip(&wanted) {
            if !wanted.bounds.is_empty() {
                *place = Some(wanted.share(Arc::clone(tallies.by_holder.get(&wanted.holder)?)));
            }
        }
        Some(shares)
    }

    async fn shares(&self, grant: &Grant, now: Timestamp) -> Result<Shares, SourceTrouble> {
        let mut shares = Shares::default();
        for (place, wanted) in shares.0.iter_mut().zip(&self.wanted(grant)) {
            if !wanted.bounds.is_empty() {
                *place = Some(wanted.share(self.tally(wanted.holder, now).await?));
            }
        }
        Ok(shares)
    }

    async fn tally(&self, holder: Holder, now: Timestamp) -> Result<Arc<Tally>, SourceTrouble> {
        for _ in 0..READS_MAX {
            let sweeps = {
                let tallies = self.tallies.read().unwrap_or_else(PoisonError::into_inner);
                match tallies.by_holder.get(&holder) {
                    Some(known) => return Ok(Arc::clone(known)),
                    None => tallies.sweeps,
                }
            };
            let used = self.ledger.read(holder).await?;
            let mut tallies = self.tallies.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = tallies.by_holder.get(&holder) {
                return Ok(Arc::clone(known));
            }
            // It may have been there meanwhile, used, written down and forgotten: then this is old.
            if tallies.sweeps == sweeps {
                let tally = Arc::new(Tally::new(holder, used.as_ref(), self.moment(now)));
                tallies.make_room();
                tallies.by_holder.insert(holder, Arc::clone(&tally));
                return Ok(tally);
            }
        }
        Err(SourceTrouble("what was used of a limit changed over and over while it was read".to_string()))
    }

    fn owe(&self, tally: &Arc<Tally>) {
        if tally.state().is_owed() {
            self.list(tally);
        }
    }

    fn list(&self, tally: &Arc<Tally>) {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(tally));
    }

    fn moment(&self, wall: Timestamp) -> Moment {
        let ticks = u64::try_from(self.stopwatch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Moment { wall, ticks }
    }
}

impl Tallies {
    /// Forgets what nobody holds and the disk knows. Looked for when a quarter more came since, so the cost is spread.
    fn make_room(&mut self) {
        if self.by_holder.len() < self.sweep_at.max(TALLIES_MAX) {
            return;
        }
        self.sweeps += 1;
        self.by_holder.retain(|_, tally| Arc::strong_count(tally) > 1 || !tally.state().is_idle());
        self.sweep_at = self.by_holder.len() + self.by_holder.len() / 4;
    }
}

#[cfg(test)]
impl Limiter {
    /// How many holders are kept in memory.
    pub(super) fn tallies_len(&self) -> usize {
        self.tallies.read().unwrap().by_holder.len()
    }
}

#[cfg(all(test, feature = "races"))]
mod tests {
    mod races;
}
