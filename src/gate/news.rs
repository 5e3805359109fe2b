//! The last commits, for look-ups that were under way when they came. Never: what is kept in memory.

use std::collections::VecDeque;

use crate::registry::Change;
use crate::types::KeyDigest;

use super::{Grant, Owner};

/// How many changes are kept, about 0.5 KB each: many times what a disk commits during one look-up.
const KEPT_MAX: usize = 256;

/// The last changes, in commit order.
#[derive(Default)]
pub(super) struct News {
    told: u64,
    last: VecDeque<Change>,
}

impl News {
    /// How many changes there were.
    pub(super) const fn told(&self) -> u64 {
        self.told
    }

    pub(super) fn tell(&mut self, change: &Change) {
        self.told += 1;
        if self.last.len() == KEPT_MAX {
            self.last.pop_front();
        }
        self.last.push_back(change.clone());
    }

    /// What came after the first `told` changes; none when not all of it is still here.
    pub(super) fn since(&self, told: u64) -> Option<Since<'_>> {
        let missed = usize::try_from(self.told - told).ok()?;
        Some(Since { news: self, first: self.last.len().checked_sub(missed)? })
    }
}

/// Some of the last changes.
pub(super) struct Since<'a> {
    news: &'a News,
    first: usize,
}

impl Since<'_> {
    /// What a look-up found, as these changes left it. None when a key came to be whose account it does not know.
    ///
    /// The look-up may have seen some of them already; each tells the whole record, so to hear it again is no harm.
    pub(super) fn bring(&self, digest: &KeyDigest, mut found: Option<Grant>) -> Option<Option<Grant>> {
        for change in self.news.last.range(self.first..) {
            match (change, &mut found) {
                (Change::Key(record), Some(grant)) if record.id == grant.key => {
                    *grant = Grant::of(record, digest, grant.owner.clone());
                }
                (Change::Key(record), None) if record.secret(digest).is_some() => return None,
                (Change::Account(account), Some(grant)) if account.id == grant.account => {
                    *grant = grant.under(Owner::of(account));
                }
                _ => {}
            }
        }
        Some(found)
    }
}
