//! What an earlier process has left: requests that were under way when it died, and records of an older kind. Never:
//! requests of this process.

use std::ops::Bound;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::store::{CommitError, Row, Table, Trouble, Write};
use crate::types::{Ending, KeyId};

use super::Meter;
use super::figures::{Course, Figures, Use};
use super::flush::LINES_OF_A_COMMIT;
use super::hour::Hour;
use super::line::{Line, Owner, Share};
use super::record::{self, OPEN, OpenRow, USAGE_HOURS};
use crate::types::AccountId;

/// Makes a line of a row; none of one that says nothing of its own.
type ToLine = fn(&Row) -> Result<Option<(Line, Share)>, Trouble>;

impl Meter {
    /// Counts the requests that were under way when the process before this one died, each once, with the ending
    /// [`Ending::EmberDied`]; then carries records of an older kind over. Does it once; blocks.
    ///
    /// # Errors
    /// [`CommitError`]; then the next flush tries again before anything else.
    pub fn begin(&self) -> Result<(), CommitError> {
        let _alone = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_alone()
    }

    /// The same for one who has the flush lock. Requests of this process are written down only after that.
    pub(super) fn begin_alone(&self) -> Result<(), CommitError> {
        if self.begun.load(Ordering::Acquire) {
            return Ok(());
        }
        while self.carry_over(OPEN, died)? {}
        while self.carry_over(USAGE_HOURS, old)? {}
        self.begun.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes lines of the first rows of a table and takes these rows away, in one commit. Whether there were any.
    fn carry_over(&self, table: Table, line: ToLine) -> Result<bool, CommitError> {
        let rows = self.store.scan(table, Bound::Unbounded, Bound::Unbounded, LINES_OF_A_COMMIT)?;
        if rows.is_empty() {
            return Ok(false);
        }
        let lines = rows.iter().filter_map(|row| line(row).transpose()).collect::<Result<Vec<_>, _>>()?;
        let mut commit =
            self.commit_of(self.batches_written()?, lines.iter().map(|(line, share)| (line, share)))?;
        commit.writes.extend(rows.into_iter().map(|(key, _)| Write::Delete { table, key }));
        self.store.commit(commit)?;
        Ok(true)
    }
}

/// What a request used before Ember died.
fn died((_, value): &Row) -> Result<Option<(Line, Share)>, Trouble> {
    let OpenRow { owner, model, upstream, began, seen, tokens } = record::decode_open(value)?;
    // For the figures alone: whose it was stands in the line.
    let (key, account) = (KeyId::from_bytes(&[0; 16]), AccountId::from_bytes(&[0; 16]));
    let (Some(key), Some(account)) = (key, account) else { return Ok(None) };
    let course = Course { estimated: true, duration: seen.since(began), ..Course::default() };
    let sent = upstream.is_some();
    let used = Use {
        key,
        account,
        model: model.clone(),
        upstream: upstream.clone(),
        tokens: sent.then_some(tokens),
        ending: Ending::EmberDied,
        course,
    };
    let line = Line { hour: Hour::of(seen), owner, model, upstream };
    Ok(Some((line, Share { figures: Figures::of(&used), at: seen, closes: Vec::new() })))
}

/// An account's hour from before there were records by key. The whole server's is the sum of these.
fn old((key, value): &Row) -> Result<Option<(Line, Share)>, Trouble> {
    let (hour, account, figures) = record::decode_old_hour(key, value)?;
    let account = AccountId::from_bytes(&account).filter(|_| account != [0; 16]);
    Ok(account.map(|account| {
        let line = Line { hour, owner: Owner::keyless(account), model: None, upstream: None };
        (line, Share { figures, at: hour.start(), closes: Vec::new() })
    }))
}
