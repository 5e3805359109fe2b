//! Takes records away that are past their time, a bounded number at once; what they counted stays in the counters.
//! Never: how long that time is.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::PoisonError;

use crate::store::{Commit, CommitError, Table, Trouble, Write};

use super::Meter;
use super::figures::Figures;
use super::hour::Hour;
use super::line::Owner;
use super::record::{self, ACCOUNTS, KEYS, Tally, USAGE};

/// Records that are taken away at once.
const RECORDS_OF_A_STEP: usize = 2000;

impl Meter {
    /// Takes away the oldest records that are past their time, 2,000 at most. Whether there may be more. Blocks.
    ///
    /// # Errors
    /// [`CommitError`]: nothing was taken away, or that is not known; the next time begins by looking.
    pub fn expire(&self) -> Result<bool, CommitError> {
        let _alone = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let retention = *self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        let end = Hour::of(self.clock.now()).first_kept(retention).to_bytes();
        let rows = self.store.scan(USAGE, Bound::Unbounded, Bound::Excluded(&end), RECORDS_OF_A_STEP)?;
        if rows.is_empty() {
            return Ok(false);
        }
        let mut removed: BTreeMap<(&'static str, Vec<u8>), Figures> = BTreeMap::new();
        for (key, value) in &rows {
            let (owner, figures) = (record::read_line_key(key)?.owner, record::decode_figures(value)?);
            for (table, key) in counters_of(owner) {
                let sum = removed.entry((table.0, key)).or_default();
                *sum = sum.plus(figures);
            }
        }
        let has_more = rows.len() >= RECORDS_OF_A_STEP;
        let mut writes: Vec<_> =
            rows.into_iter().map(|(key, _)| Write::Delete { table: USAGE, key }).collect();
        for ((table, key), figures) in removed {
            writes.push(self.without(Table(table), key, figures)?);
        }
        self.store.commit(Commit { writes, ..Commit::default() })?;
        Ok(has_more)
    }

    fn without(&self, table: Table, key: Vec<u8>, figures: Figures) -> Result<Write, Trouble> {
        let Tally { at, total, removed } = self.tally(table, &key)?;
        let value = record::encode_tally(&Tally { at, total, removed: removed.plus(figures) });
        Ok(Write::Put { table, key, value })
    }
}

/// The counters that must know when an owner's record goes. The whole server's own records are apart from the others'.
fn counters_of(owner: Owner) -> Vec<(Table, Vec<u8>)> {
    let account = (ACCOUNTS, owner.account_bytes().to_vec());
    if owner == Owner::WHOLE {
        return vec![account];
    }
    vec![account, (KEYS, owner.as_bytes().to_vec())]
}
