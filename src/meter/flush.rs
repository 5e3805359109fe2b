//! Writes down what the meter has in memory, each use once. Never: when.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use crate::store::{Check, Commit, CommitError, Table, Trouble, Write};
use crate::types::Timestamp;

use super::figures::Figures;
use super::line::{Line, Lines, Owner, Share};
use super::open::Progress;
use super::record::{self, ACCOUNTS, KEYS, OPEN, OpenRow, Tally, USAGE, USAGE_BATCHES, WRITTEN};
use super::{Meter, State};

/// Lines of one commit, each of which is up to three rows; a denial that must get to disk waits for no more than one.
pub(super) const LINES_OF_A_COMMIT: usize = 2500;

/// Rows about open requests of one commit.
const OPEN_OF_A_COMMIT: usize = 5000;

/// Lines on their way into the store.
pub(super) struct Taken {
    pub(super) lines: Arc<Lines>,
    /// So many of them are there.
    done: usize,
    /// So many more are under way, in the batch of this number. They are there as soon as more batches are.
    chunk: Option<(u64, usize)>,
}

/// What only a flush knows.
#[derive(Default)]
pub(super) struct Flusher {
    /// The requests that stand in the store as open, as they stand there.
    open: HashMap<u64, OpenRow>,
}

/// Rows about open requests that are to be written.
type Changes = Vec<(u64, OpenRow)>;

impl Taken {
    /// How many of the lines are there when so many batches are.
    pub(super) fn gone(&self, written: u64) -> usize {
        let chunk = self.chunk.filter(|(number, _)| written > *number);
        self.done + chunk.map_or(0, |(_, length)| length)
    }
}

impl Meter {
    /// Writes down what was recorded so far and what open requests have used, in as many commits as it takes. What
    /// the disk does not take stays in memory for the next time. Blocks.
    ///
    /// # Errors
    /// [`CommitError`], when something was not written down or that is not known.
    pub fn flush(&self) -> Result<(), CommitError> {
        let mut flusher = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.owes() {
            return Ok(());
        }
        self.begin_alone()?;
        // What a flush that failed has left; only then is it known which requests are open and not among it.
        self.write_lines(&mut flusher, &mut Changes::new())?;
        let open = self.state().take();
        let mut changes = flusher.changes(&open, self.clock.now());
        self.write_lines(&mut flusher, &mut changes)?;
        while !changes.is_empty() {
            self.commit(&mut flusher, Commit::default(), &mut changes, &[])?;
        }
        Ok(())
    }

    pub(super) fn batches_written(&self) -> Result<u64, Trouble> {
        let row = self.store.get(USAGE_BATCHES, WRITTEN)?;
        row.as_deref().map_or(Ok(0), record::decode_batches)
    }

    /// Writes the lines that are taken, and as many of the changes as fit beside them.
    fn write_lines(&self, flusher: &mut Flusher, changes: &mut Changes) -> Result<(), CommitError> {
        while self.state().taken.is_some() {
            // Each commit counts itself, so when one ended with an error, the count tells whether it happened; and
            // the check keeps it from happening twice.
            let written = self.batches_written()?;
            let Some((lines, from, length)) = self.state().next_chunk(written) else { break };
            let chunk: Vec<_> = lines.iter().skip(from).take(length).collect();
            let closes: Vec<u64> = chunk.iter().flat_map(|(_, share)| share.closes.iter().copied()).collect();
            let commit = self.commit_of(written, chunk.into_iter())?;
            self.commit(flusher, commit, changes, &closes)?;
            self.state().chunk_is_there();
        }
        Ok(())
    }

    /// Commits with as many changes as fit. Whether those of a failed commit are there is not known, so they are
    /// written again; that they stand there once is up to their keys.
    fn commit(
        &self,
        flusher: &mut Flusher,
        mut commit: Commit,
        changes: &mut Changes,
        closes: &[u64],
    ) -> Result<(), CommitError> {
        let some = changes.split_off(changes.len().saturating_sub(OPEN_OF_A_COMMIT));
        closes.iter().for_each(|number| drop(flusher.open.remove(number)));
        for (number, row) in &some {
            flusher.open.remove(number);
            let value = record::encode_open(row);
            commit.writes.push(Write::Put { table: OPEN, key: open_key(*number), value });
        }
        self.store.commit(commit)?;
        flusher.open.extend(some);
        Ok(())
    }

    /// Adds the lines to their rows and to everything that sums them up.
    pub(super) fn commit_of<'a>(
        &self,
        written: u64,
        lines: impl Iterator<Item = (&'a Line, &'a Share)>,
    ) -> Result<Commit, Trouble> {
        let mut sums = Sums::default();
        let mut writes = vec![Write::Put {
            table: USAGE_BATCHES,
            key: WRITTEN.to_vec(),
            value: record::encode_batches(written + 1),
        }];
        for (line, share) in lines {
            sums.add(line, share);
            let closed = share.closes.iter().map(|number| open_key(*number));
            writes.extend(closed.map(|key| Write::Delete { table: OPEN, key }));
        }
        for (line, figures) in &sums.rows {
            writes.push(self.row_with(line, figures)?);
        }
        for (owner, (figures, at)) in &sums.keys {
            writes.push(self.tally_with(KEYS, owner.as_bytes(), figures, *at)?);
        }
        for (account, (figures, at)) in &sums.accounts {
            writes.push(self.tally_with(ACCOUNTS, account, figures, *at)?);
        }
        Ok(Commit { checks: vec![self.check(written)], writes, ..Commit::default() })
    }

    fn check(&self, written: u64) -> Check {
        let (table, key) = (USAGE_BATCHES, WRITTEN.to_vec());
        match written {
            0 => Check::Absent { table, key },
            _ => Check::Equals { table, key, value: record::encode_batches(written) },
        }
    }

    fn row_with(&self, line: &Line, figures: &Figures) -> Result<Write, Trouble> {
        let key = record::line_key(line);
        let stored = self.store.get(USAGE, &key)?.as_deref().map(record::decode_figures).transpose()?;
        let value = record::encode_figures(&stored.unwrap_or_default().plus(*figures));
        Ok(Write::Put { table: USAGE, key, value })
    }

    fn tally_with(
        &self,
        table: Table,
        key: &[u8],
        figures: &Figures,
        at: Timestamp,
    ) -> Result<Write, Trouble> {
        let Tally { at: before, total, removed } = self.tally(table, key)?;
        let value = record::encode_tally(&Tally { at: at.max(before), total: total.plus(*figures), removed });
        Ok(Write::Put { table, key: key.to_vec(), value })
    }

    pub(super) fn tally(&self, table: Table, key: &[u8]) -> Result<Tally, Trouble> {
        let row = self.store.get(table, key)?;
        row.map_or_else(|| Ok(Tally::default()), |row| record::decode_tally(table, &row))
    }
}

/// What lines add up to: a row for each and one for all owners together, and what each key and account, and the whole
/// server, have used.
#[derive(Default)]
struct Sums {
    rows: BTreeMap<Line, Figures>,
    keys: BTreeMap<Owner, (Figures, Timestamp)>,
    accounts: BTreeMap<[u8; 16], (Figures, Timestamp)>,
}

impl Sums {
    fn add(&mut self, line: &Line, share: &Share) {
        let whole = Line { owner: Owner::WHOLE, ..line.clone() };
        for line in [line.clone(), whole] {
            let row = self.rows.entry(line).or_default();
            *row = row.plus(share.figures);
        }
        let with = |sum: &mut (Figures, Timestamp)| {
            *sum = (sum.0.plus(share.figures), sum.1.max(share.at));
        };
        with(self.keys.entry(line.owner).or_default());
        with(self.accounts.entry(line.owner.account_bytes()).or_default());
        with(self.accounts.entry(Owner::WHOLE.account_bytes()).or_default());
    }
}

impl Flusher {
    /// The rows that differ from what stands in the store.
    fn changes(&self, open: &[(u64, Progress)], now: Timestamp) -> Changes {
        let rows = open.iter().map(|(number, progress)| (*number, progress.row(now)));
        rows.filter(|(number, row)| {
            let same = |stored: &OpenRow| OpenRow { seen: row.seen, ..stored.clone() } == *row;
            !self.open.get(number).is_some_and(same)
        })
        .collect()
    }
}

impl State {
    /// Takes all that waits, and says which requests are open: those are not among it.
    fn take(&mut self) -> Vec<(u64, Progress)> {
        let lines = std::mem::take(&mut self.pending);
        if !lines.is_empty() {
            self.taken = Some(Taken { lines: Arc::new(lines), done: 0, chunk: None });
        }
        let open = self.open.iter().map(|(number, progress)| {
            progress.list();
            (*number, progress.clone())
        });
        open.collect()
    }

    /// The next lines to be written: all of them, from where on, how many.
    fn next_chunk(&mut self, written: u64) -> Option<(Arc<Lines>, usize, usize)> {
        let taken = self.taken.as_mut()?;
        taken.done = taken.gone(written);
        let length = (taken.lines.len() - taken.done).min(LINES_OF_A_COMMIT);
        taken.chunk = Some((written, length));
        let chunk = (Arc::clone(&taken.lines), taken.done, length);
        if length == 0 {
            self.taken = None;
            return None;
        }
        Some(chunk)
    }

    /// The chunk under way is in the store.
    fn chunk_is_there(&mut self) {
        if let Some(taken) = &mut self.taken {
            taken.done += taken.chunk.take().map_or(0, |(_, length)| length);
            if taken.done >= taken.lines.len() {
                self.taken = None;
            }
        }
    }
}

pub(super) fn open_key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}
