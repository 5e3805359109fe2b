//! Counts what requests used: in memory at once, in the store a moment later. Never: refuses anyone, knows what a key
//! may do.

mod begin;
mod figures;
mod flush;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hour;
mod idle;
mod ledger;
mod line;
mod open;
mod read;
mod record;
mod report;
mod retain;
mod trace;
mod trace_record;
mod traces;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::store::{Store, Trouble};
use crate::types::{AccountId, Clock, Ending, KeyId, Timestamp, Tokens};

use flush::{Flusher, Taken};
use hour::{Hour, Hours};
use line::{Line, Lines, Owner};
use read::Whose;

pub use figures::{Course, Figures, Use};
pub use ledger::{Holder, Ledger, RateUsed, Spent, Used};
pub use open::{OpenUse, Progress};
pub use report::{Ask, Group, Report, ReportError, ReportLine, Step};
pub use trace::{BrowserRefusals, HINT_WINDOW, KeyTrace, KeyUser, Spread, USERS_MAX};
pub use traces::Traces;
pub use verify::{Proof, Wrong};

/// Sums since this process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were admitted and have ended.
    pub requests: u64,
    /// Of these, the ones that did not end with [`Ending::Done`].
    pub unfinished: u64,
    /// Tokens of all of them.
    pub tokens: Tokens,
}

/// Sums over a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests that were admitted and ended in that time, however they ended.
    pub requests: u64,
    /// Tokens of all of them.
    pub tokens: Tokens,
}

/// How long records are kept where nothing else is said.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Takes each use once and keeps the sums, and when each key was last used. What it takes is in memory, and seen by
/// every reader, until [`Meter::flush`] has written it down.
pub struct Meter {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    retention: Mutex<Duration>,
    state: Mutex<State>,
    /// Held during a whole flush, so that there is one at a time.
    flushing: Mutex<Flusher>,
    begun: AtomicBool,
    traces: Box<Traces>,
}

#[derive(Default)]
struct State {
    totals: Totals,
    pending: Lines,
    taken: Option<Taken>,
    /// By their numbers, which are given out here.
    open: FxHashMap<u64, Progress>,
    opened: u64,
}

impl Meter {
    /// A meter that goes on from what is in the store. A store has one meter at a time.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, store: Arc<dyn Store>) -> Self {
        let traces = Box::new(Traces::new(Arc::clone(&store)));
        let (state, flushing, begun) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Self { clock, store, retention: Mutex::new(RETENTION), state, flushing, begun, traces }
    }

    /// Who used each key.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The same meter, keeping records for so long.
    #[must_use]
    pub fn keeping(self, retention: Duration) -> Self {
        Self { retention: Mutex::new(retention), ..self }
    }

    /// Keeps records for so long from now on.
    pub fn keep_for(&self, retention: Duration) {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner) = retention;
    }

    /// A request begins; `now` is when it came, before it had to wait for anything. It is counted when it ends; until then its progress is written down, so that it is counted
    /// even if this process is killed.
    #[must_use]
    pub fn open(self: &Arc<Self>, key: KeyId, account: AccountId, now: Timestamp) -> OpenUse {
        let progress = Progress::new(Owner::of(account, key), now);
        let number = {
            let mut state = self.state();
            state.opened += 1;
            let number = state.opened;
            state.open.insert(number, progress.clone());
            number
        };
        OpenUse::new(Arc::clone(self), number, key, account, progress)
    }

    /// Adds one request that has ended, in the hour that the clock shows now.
    pub fn record(&self, used: Use) {
        let mut state = self.state();
        state.record(used, self.clock.now(), None);
    }

    /// Adds one that was under way. The time it is counted by.
    fn close(&self, number: u64, progress: &Progress, used: Use) -> Timestamp {
        let mut state = self.state();
        state.open.remove(&number);
        let closes = progress.is_listed().then_some(number);
        // Read while nobody else records, so that the last use noted is the last one.
        let now = self.clock.now();
        state.record(used, now, closes);
        now
    }

    /// The sums since this process started.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.state().totals
    }

    /// When the last request of a key ended; none when it never had one.
    ///
    /// # Errors
    /// [`Trouble`] of the store, which is asked only when the use is not in memory.
    pub fn last_used(&self, account: AccountId, key: KeyId) -> Result<Option<Timestamp>, Trouble> {
        let owner = Owner::of(account, key);
        // Memory first: what leaves it meanwhile is in the store by then.
        if let Some(at) = self.state().last_used(owner) {
            return Ok(Some(at));
        }
        if let Some(row) = self.store.get(record::KEYS, owner.as_bytes())? {
            return Ok(Some(record::decode_tally(record::KEYS, &row)?.at));
        }
        let old = self.store.get(record::LAST_USED, key.as_bytes())?;
        old.as_deref().map(record::decode_last_used).transpose()
    }

    /// The sums of the hours that began within the last `since`, the present one with all that is not written down
    /// yet: 24 hours make 24 sums. Of one account, or of the whole server.
    ///
    /// # Errors
    /// [`Trouble`] of the store.
    pub fn sums(&self, account: Option<AccountId>, since: Duration) -> Result<Sums, Trouble> {
        self.sum(account.map_or(Whose::Whole, Whose::Account), since)
    }

    /// The same of one key.
    ///
    /// # Errors
    /// [`Trouble`] of the store.
    pub fn key_sums(&self, account: AccountId, key: KeyId, since: Duration) -> Result<Sums, Trouble> {
        self.sum(Whose::Key(Owner::of(account, key)), since)
    }

    fn sum(&self, whose: Whose, since: Duration) -> Result<Sums, Trouble> {
        let mut sum = Figures::default();
        self.read(whose, Hours::within(self.clock.now(), since), &mut |_, figures| {
            sum = sum.plus(*figures);
            Ok::<_, Trouble>(())
        })?;
        Ok(Sums { requests: sum.requests, tokens: sum.tokens })
    }

    /// Whether something is not written down yet, or may be.
    #[must_use]
    pub fn owes(&self) -> bool {
        let state = self.state();
        let is_idle = state.taken.is_none() && state.pending.is_empty() && state.open.is_empty();
        !is_idle || !self.begun.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(&mut self, mut used: Use, now: Timestamp, closes: Option<u64>) {
        let totals = &mut self.totals;
        totals.requests += 1;
        totals.unfinished += u64::from(used.ending != Ending::Done);
        totals.tokens = totals.tokens.plus(used.tokens.unwrap_or_default());
        // The names go into the line.
        let (model, upstream) = (used.model.take(), used.upstream.take());
        let owner = Owner::of(used.account, used.key);
        let line = Line { hour: Hour::of(now), owner, model, upstream };
        self.pending.count(line, &used, now, closes);
    }

    fn last_used(&self, owner: Owner) -> Option<Timestamp> {
        let taken = || self.taken.as_ref().and_then(|taken| taken.lines.last_used(owner));
        self.pending.last_used(owner).or_else(taken)
    }

    /// Calls with each line that is not in the first `written` batches.
    fn each_not_among(&self, written: u64, mut each: impl FnMut(&Line, &Figures)) {
        let taken = self.taken.iter().flat_map(|taken| taken.lines.iter().skip(taken.gone(written)));
        self.pending.iter().chain(taken).for_each(|(line, share)| each(line, &share.figures));
    }

    /// The oldest hour that something is to be added to.
    fn oldest(&self) -> Option<Hour> {
        let taken = self.taken.as_ref().and_then(|taken| taken.lines.oldest());
        self.pending.oldest().into_iter().chain(taken).min()
    }
}

#[cfg(test)]
mod tests;
