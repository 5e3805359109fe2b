//! Reads records, those that are not written down yet included, each once. Never: what they are read for.

use std::ops::Bound;

use crate::store::{Row, Trouble};
use crate::types::AccountId;

use super::Meter;
use super::figures::Figures;
use super::hour::{Hour, Hours};
use super::line::{Line, Owner};
use super::record::{self, USAGE};

/// How often the last hours are read anew because something was written down meanwhile.
const READS_MAX: usize = 64;

/// Rows that are read at once.
const PAGE: usize = 1000;

/// Whose records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Everyone's, added up: few rows for an hour.
    Whole,
    /// Everyone's, one by one.
    All,
    /// An account's.
    Account(AccountId),
    /// A key's.
    Key(Owner),
}

impl Whose {
    fn has(self, owner: Owner) -> bool {
        match self {
            Self::Whole | Self::All => true,
            Self::Account(account) => owner.account_bytes() == *account.as_bytes(),
            Self::Key(key) => owner == key,
        }
    }

    /// The first and the last owner whose rows are read. No id is all ones.
    fn bounds(self) -> [[u8; 32]; 2] {
        let account = |account: [u8; 16]| {
            [0, 0xff].map(|end| {
                let mut bytes = [end; 32];
                bytes[..16].copy_from_slice(&account);
                bytes
            })
        };
        match self {
            Self::Whole => [*Owner::WHOLE.as_bytes(); 2],
            // The whole server's own row is not among them.
            Self::All => {
                let mut first = [0; 32];
                first[31] = 1;
                [first, [0xff; 32]]
            }
            Self::Account(id) => account(*id.as_bytes()),
            Self::Key(owner) => [*owner.as_bytes(); 2],
        }
    }
}

impl Meter {
    /// Calls with every record of those hours once.
    pub(super) fn read<E: From<Trouble>>(
        &self,
        whose: Whose,
        hours: Hours,
        each: &mut dyn FnMut(&Line, &Figures) -> Result<(), E>,
    ) -> Result<(), E> {
        // Only hours in which requests end are added to: what came before stands still while it is read.
        let now = Hour::of(self.clock.now());
        let moving = self.state().oldest().unwrap_or(now).min(now);
        let still = Hours { first: hours.first, last: Hour::before(moving).min(hours.last) };
        if moving > Hour::FIRST {
            self.stored(whose, still, each)?;
        }
        let last = Hours { first: hours.first.max(moving), ..hours };
        self.in_motion(whose, hours, last)?.iter().try_for_each(|(line, figures)| each(line, figures))
    }

    /// The records of the last hours, and what waits to be written down.
    fn in_motion(&self, whose: Whose, hours: Hours, last: Hours) -> Result<Vec<(Line, Figures)>, Trouble> {
        for _ in 0..READS_MAX {
            // A batch and the count of batches are one commit. While the count stands still, so does what is in the
            // store, and the count tells whether the batch under way is a part of it.
            let written = self.batches_written()?;
            let mut found = Vec::new();
            self.state().each_not_among(written, |line, figures| {
                if hours.has(line.hour) && whose.has(line.owner) {
                    found.push((line.clone(), *figures));
                }
            });
            self.stored(whose, last, &mut |line: &Line, figures: &Figures| {
                found.push((line.clone(), *figures));
                Ok::<_, Trouble>(())
            })?;
            if self.batches_written()? == written {
                return Ok(found);
            }
        }
        Err(Trouble::Unavailable("usage was written down over and over while it was read".to_string()))
    }

    /// Calls with every record of those hours that is in the store.
    pub(super) fn stored<E: From<Trouble>>(
        &self,
        whose: Whose,
        hours: Hours,
        each: &mut dyn FnMut(&Line, &Figures) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(all) = self.hours_stored()? else { return Ok(()) };
        let [first, last] = whose.bounds();
        for hour in hours.and(all).each() {
            self.rows_between(&row_of(hour, &first), &after(row_of(hour, &last)), each)?;
        }
        Ok(())
    }

    /// Calls with every record from one key up to another, page by page.
    pub(super) fn rows_between<E: From<Trouble>>(
        &self,
        first: &[u8],
        end: &[u8],
        each: &mut dyn FnMut(&Line, &Figures) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = Bound::Included(first.to_vec());
        loop {
            let begin = from.as_ref().map(Vec::as_slice);
            let rows = self.store.scan(USAGE, begin, Bound::Excluded(end), PAGE)?;
            for (key, value) in &rows {
                each(&record::read_line_key(key)?, &record::decode_figures(value)?)?;
            }
            let is_last = rows.len() < PAGE;
            match rows.into_iter().next_back().filter(|_| !is_last) {
                Some((key, _)) => from = Bound::Excluded(key),
                None => return Ok(()),
            }
        }
    }

    /// From the first hour that there is a record of to the last.
    pub(super) fn hours_stored(&self) -> Result<Option<Hours>, Trouble> {
        let hour = |row: Option<&Row>| row.map(|(key, _)| Ok(record::read_line_key(key)?.hour)).transpose();
        let first = hour(self.store.scan(USAGE, Bound::Unbounded, Bound::Unbounded, 1)?.first())?;
        let last = hour(self.store.scan_back(USAGE, Bound::Unbounded, Bound::Unbounded, 1)?.first())?;
        Ok(first.zip(last).map(|(first, last)| Hours { first, last }))
    }
}

pub(super) fn row_of(hour: Hour, owner: &[u8; 32]) -> Vec<u8> {
    [&hour.to_bytes()[..], owner].concat()
}

/// The end of all keys that begin with these bytes and have no name that begins with the highest byte: no UTF-8 does.
pub(super) fn after(mut start: Vec<u8>) -> Vec<u8> {
    start.extend([0xff; 2]);
    start
}
