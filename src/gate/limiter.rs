//! Whether a request keeps to the limits of its key and of its account. Never: where the limits come from, what time
//! it is, words for the caller.
//!
//! A request takes what it may need before it goes on, and gives back what it did not use when it ends: however many
//! race, no more pass than may.

mod answer;
mod budget;
mod hold;
mod rate;
mod tally;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use crate::meter::{Holder, Used};
use crate::types::{Bounds, LimitKind, Measure, Stopwatch, Timestamp, Unit};

use super::{Grant, Refusal, SourceTrouble};

use answer::nearest;
use hold::Held;
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

/// A holder's limits, and what it has used.
#[derive(Clone)]
struct Share {
    tally: Arc<Tally>,
    bounds: Bounds,
    whose: Whose,
}

/// The shares that limit one request: its key's, then its account's.
#[derive(Clone, Default)]
struct Shares([Option<Share>; 2]);

impl Shares {
    fn iter(&self) -> impl Iterator<Item = &Share> {
        self.0.iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
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
        let (shares, need) = (self.shares(grant, now).await?, Need { tokens });
        if shares.is_empty() {
            return Ok(Hold::nothing(self, now));
        }
        for _ in 0..COVERS_MAX {
            match self.try_take(&shares, need, self.moment(now)) {
                Ok(Some(hold)) => return Ok(hold),
                Ok(None) => self.covered(&shares, need, now).await?,
                Err(limited) => return Err(Refusal::Limited(Box::new(limited))),
            }
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

    /// A hold, if there is room and all of it is covered; none when more has to be written down first.
    fn try_take(self: &Arc<Self>, shares: &Shares, need: Need, now: Moment) -> Result<Option<Hold>, Limited> {
        // Always the key first, so nobody waits for somebody who waits for him.
        let mut states = shares.0.each_ref().map(|share| share.as_ref().map(|share| share.tally.state()));
        let mut is_covered = true;
        let mut refused: Option<(Whose, Ruling)> = None;
        for (share, state) in shares.iter().zip(states.iter_mut().flatten()) {
            match state.rule(&share.bounds, need, now) {
                Ruling::Room => {}
                Ruling::Uncovered => is_covered = false,
                ruling @ Ruling::NoRoom { .. } => refused = Some(longer(refused, (share.whose, ruling))),
            }
        }
        if let Some((whose, Ruling::NoRoom { kind, max, wait, fits })) = refused {
            let (mut allowances, mut left) = (Allowances::default(), 0);
            for (share, state) in shares.iter().zip(states.iter().flatten()) {
                let this = |one: &LimitStanding| share.whose == whose && one.kind == kind;
                let this = state.standings_now(&share.bounds, now).find(this);
                left = this.map_or(left, |one| one.allowance.left);
                allowances = nearest(allowances, state.standings_now(&share.bounds, now));
            }
            let needed = if unit_of(kind) == Unit::Tokens { need.tokens } else { 1 };
            return Err(Limited { kind, whose, max: max.get(), wait, fits, needed, left, allowances });
        }
        if !is_covered {
            return Ok(None);
        }
        let mut held = Vec::with_capacity(shares.0.len());
        let mut allowances = Allowances::default();
        for (share, state) in shares.iter().zip(states.iter_mut().flatten()) {
            let (taken, was_clean) = state.take(&share.bounds, need, now);
            allowances = nearest(allowances, state.standings_now(&share.bounds, now));
            if was_clean {
                self.list(&share.tally);
            }
            held.push(Held { tally: Arc::clone(&share.tally), bounds: share.bounds, taken });
        }
        Ok(Some(Hold {
            limiter: Arc::clone(self),
            held,
            need,
            allowances,
            taken_at: now.wall,
            is_settled: false,
        }))
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
        let covering = tokio::spawn(async move { limiter.cover(&shares, need, now).await });
        covering.await.map_err(|error| SourceTrouble(error.to_string()))
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

    async fn shares(&self, grant: &Grant, now: Timestamp) -> Result<Shares, SourceTrouble> {
        let Defaults { key, account } = *self.defaults.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = [
            (Whose::Key, Holder::Key(grant.key), key.under(&grant.policy.limits)),
            (Whose::Account, Holder::Account(grant.account), account.under(&grant.owner.policy.limits)),
        ];
        let mut shares = Shares::default();
        for (place, (whose, holder, bounds)) in shares.0.iter_mut().zip(wanted) {
            if bounds != Bounds::default() {
                *place = Some(Share { tally: self.tally(holder, now).await?, bounds, whose });
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

const fn unit_of(kind: LimitKind) -> Unit {
    match kind.measure() {
        Measure::Rate(unit) | Measure::Budget(unit, _) => unit,
        Measure::Open => Unit::Requests,
    }
}

/// Of two refusals the one that stands longer.
fn longer(one: Option<(Whose, Ruling)>, other: (Whose, Ruling)) -> (Whose, Ruling) {
    match one {
        Some(one) if tally::heavier(one.1, other.1) == one.1 => one,
        Some(_) | None => other,
    }
}

#[cfg(test)]
impl Limiter {
    /// How many holders are kept in memory.
    pub(super) fn tallies_len(&self) -> usize {
        self.tallies.read().unwrap().by_holder.len()
    }
}
