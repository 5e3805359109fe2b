//! Writes down what the meter has in memory, each use once. Never: when.

use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use crate::store::{Check, Commit, CommitError, Trouble, Write};

use super::batch::{Batch, Subject};
use super::hour::Hour;
use super::record::{self, LAST_USED, USAGE_BATCHES, USAGE_HOURS, WRITTEN};
use super::{Meter, State};

/// Rows of one batch; a denial that must get to disk waits for no more than one.
const BATCH_ROWS_MAX: usize = 1000;

/// Rows past their time that are deleted for one new row. Far fewer become so in an hour.
const OLD_ROWS_MAX: usize = 24;

/// A batch on its way into the store. It is there as soon as more than `number` batches are.
pub(super) struct Underway {
    number: u64,
    pub(super) batch: Arc<Batch>,
}

impl Underway {
    pub(super) fn is_among(&self, written: u64) -> bool {
        written > self.number
    }
}

impl Meter {
    /// Writes down what was recorded so far, in as many commits as it takes. What the disk does not take stays in
    /// memory for the next time. Blocks.
    ///
    /// # Errors
    /// [`CommitError`], when something was not written down or that is not known.
    pub fn flush(&self) -> Result<(), CommitError> {
        let _alone = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        while self.owes() {
            // Each commit counts itself, so when one ended with an error, the count tells whether it happened; and
            // the check keeps it from happening twice.
            let written = self.batches_written()?;
            let batch = self.state().begin(written);
            if !batch.is_empty() {
                self.store.commit(self.commit_of(written, &batch)?)?;
                self.state().underway = None;
            }
            if batch.rows() < BATCH_ROWS_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Whether something is not written down yet.
    #[must_use]
    pub fn owes(&self) -> bool {
        let state = self.state();
        state.underway.is_some() || !state.pending.is_empty()
    }

    pub(super) fn batches_written(&self) -> Result<u64, Trouble> {
        let row = self.store.get(USAGE_BATCHES, WRITTEN)?;
        row.as_deref().map_or(Ok(0), record::decode_batches)
    }

    fn commit_of(&self, written: u64, batch: &Batch) -> Result<Commit, Trouble> {
        let (table, key) = (USAGE_BATCHES, WRITTEN.to_vec());
        let check = match written {
            0 => Check::Absent { table, key: key.clone() },
            _ => Check::Equals { table, key: key.clone(), value: record::encode_batches(written) },
        };
        let mut writes = vec![Write::Put { table, key, value: record::encode_batches(written + 1) }];
        writes.extend(batch.all_last_used().map(|(key, at)| Write::Put {
            table: LAST_USED,
            key: key.as_bytes().to_vec(),
            value: record::encode_last_used(at),
        }));
        for (hour, subject, mut sums) in batch.all_sums() {
            let key = record::hour_row(subject, hour);
            match self.store.get(USAGE_HOURS, &key)? {
                Some(stored) => sums = sums.plus(record::decode_sums(&stored)?),
                None => writes.extend(self.deletes_before(subject, hour.first_kept())?),
            }
            writes.push(Write::Put { table: USAGE_HOURS, key, value: record::encode_sums(sums) });
        }
        Ok(Commit { checks: vec![check], writes, ..Commit::default() })
    }

    fn deletes_before(&self, subject: Subject, hour: Hour) -> Result<Vec<Write>, Trouble> {
        let (first, end) = (record::hour_row(subject, Hour::FIRST), record::hour_row(subject, hour));
        let (from, to) = (Bound::Included(&first[..]), Bound::Excluded(&end[..]));
        let rows = self.store.scan(USAGE_HOURS, from, to, OLD_ROWS_MAX)?;
        Ok(rows.into_iter().map(|(key, _)| Write::Delete { table: USAGE_HOURS, key }).collect())
    }
}

impl State {
    /// The next batch, taken out of what is pending. One that was left under way and is not among the `written` ones
    /// is put back first.
    fn begin(&mut self, written: u64) -> Arc<Batch> {
        if let Some(left) = self.underway.take().filter(|left| !left.is_among(written)) {
            self.pending.put_back(&left.batch);
        }
        let batch = Arc::new(self.pending.take(BATCH_ROWS_MAX));
        if !batch.is_empty() {
            self.underway = Some(Underway { number: written, batch: Arc::clone(&batch) });
        }
        batch
    }
}
