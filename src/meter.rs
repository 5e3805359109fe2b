//! Counts what requests used: in memory at once, in the store a moment later. Never: refuses anyone, knows what a key
//! may do.

mod batch;
mod flush;
mod hour;
mod idle;
mod ledger;
mod record;
mod trace;
mod trace_record;
mod traces;

use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::{Store, Trouble};
use crate::types::{AccountId, Clock, Ending, KeyId, Timestamp, Tokens};

use batch::Batch;
use flush::Underway;
use hour::{Hour, Hours};

pub use ledger::{Holder, Ledger, Spent, Used};
pub use trace::{BrowserRefusals, HINT_WINDOW, KeyTrace, KeyUser, Spread, USERS_MAX};
pub use traces::Traces;

/// What one request used, told once, when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Whose request it was.
    pub key: KeyId,
    /// The account that owns the key.
    pub account: AccountId,
    /// What was used, if anything is known.
    pub tokens: Option<Tokens>,
    /// How it ended.
    pub ending: Ending,
}

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

impl Sums {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.plus(other.tokens),
        }
    }
}

/// How long the sums of an hour are kept.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often sums are read anew because some were written down meanwhile.
const READS_MAX: usize = 64;

/// Takes each use once and keeps the sums, and when each key was last used. What it takes is in memory, and seen by
/// every reader, until [`Meter::flush`] has written it down.
pub struct Meter {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    state: Mutex<State>,
    /// Held during a whole flush, so that there is one at a time.
    flushing: Mutex<()>,
    traces: Box<Traces>,
}

#[derive(Default)]
struct State {
    totals: Totals,
    pending: Batch,
    underway: Option<Underway>,
}

impl Meter {
    /// A meter that goes on from what is in the store. A store has one meter at a time.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, store: Arc<dyn Store>) -> Self {
        let traces = Box::new(Traces::new(Arc::clone(&clock), Arc::clone(&store)));
        Self { clock, store, state: Mutex::default(), flushing: Mutex::default(), traces }
    }

    /// Who used each key.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Adds one request, in the hour that the clock shows now.
    pub fn record(&self, used: &Use) {
        let tokens = used.tokens.unwrap_or_default();
        let mut state = self.state();
        state.totals.requests += 1;
        state.totals.unfinished += u64::from(used.ending != Ending::Done);
        state.totals.tokens = state.totals.tokens.plus(tokens);
        // Read while nobody else records, so that the last use noted is the last one.
        let now = self.clock.now();
        state.pending.note(used.key, now);
        for subject in [None, Some(used.account)] {
            state.pending.add(Hour::of(now), subject, Sums { requests: 1, tokens });
        }
    }

    /// The time by the clock that uses are counted by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
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
    pub fn last_used(&self, key: KeyId) -> Result<Option<Timestamp>, Trouble> {
        // Memory first: what leaves it meanwhile is in the store by then.
        if let Some(at) = self.state().noted(key) {
            return Ok(Some(at));
        }
        let stored = self.store.get(record::LAST_USED, key.as_bytes())?;
        stored.as_deref().map(record::decode_last_used).transpose()
    }

    /// The sums of the hours that began within the last `since` ([`KEPT`] at most), the present one with all that is
    /// not written down yet: 24 hours make 24 sums. Of one account, or of the whole server.
    ///
    /// # Errors
    /// [`Trouble`] of the store.
    pub fn sums(&self, subject: Option<AccountId>, since: Duration) -> Result<Sums, Trouble> {
        let hours = Hours::within(self.clock.now(), since);
        for _ in 0..READS_MAX {
            // A batch and the count of batches are one commit. While the count stands still, so does what is in the
            // store, and the count tells whether the batch under way is a part of it.
            let written = self.batches_written()?;
            let in_memory = self.state().sums_not_among(written, subject, hours);
            let in_store = self.stored(subject, hours)?;
            if self.batches_written()? == written {
                return Ok(in_store.plus(in_memory));
            }
        }
        Err(Trouble::Unavailable("usage was written down over and over while it was read".to_string()))
    }

    fn stored(&self, subject: Option<AccountId>, hours: Hours) -> Result<Sums, Trouble> {
        let (first, last) = (record::hour_row(subject, hours.first), record::hour_row(subject, hours.last));
        let (from, to) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let rows = self.store.scan(record::USAGE_HOURS, from, to, hours.count())?;
        rows.iter().try_fold(Sums::default(), |sum, (_, value)| Ok(sum.plus(record::decode_sums(value)?)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn noted(&self, key: KeyId) -> Option<Timestamp> {
        let underway = self.underway.as_ref().map(|underway| &*underway.batch);
        self.pending.last_used(key).or_else(|| underway?.last_used(key))
    }

    /// The sums that are not in the first `written` batches.
    fn sums_not_among(&self, written: u64, subject: Option<AccountId>, hours: Hours) -> Sums {
        let pending = self.pending.sums(subject, hours);
        match &self.underway {
            Some(underway) if !underway.is_among(written) => {
                pending.plus(underway.batch.sums(subject, hours))
            }
            Some(_) | None => pending,
        }
    }
}

#[cfg(test)]
mod tests;
