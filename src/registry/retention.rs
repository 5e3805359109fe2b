//! Removing old events, and moving the beginning of the chain behind them. Never: when that is done.

use std::ops::Bound;
use std::time::Duration;

use crate::store::{Check, Commit, Write};
use crate::types::{Actor, EventId, Timestamp, TrailHead};

use super::audit::Action;
use super::chain::{ANCHOR, BEFORE, links, mark};
use super::denial::Attempt;
use super::record::event::{decode_event, is_unlinked};
use super::table::{AUDIT, AUDIT_CHAIN, AUDIT_INDEX, AUDIT_MARKS, audit_row};
use super::{Registry, RegistryError};

/// Events removed in one commit.
const STEP: usize = 500;

/// What is to go, and where the chain begins after that.
struct Old {
    anchor: TrailHead,
    removals: Vec<Write>,
    newest: Option<Timestamp>,
}

/// What the event of a removal is found by: the number of the last event that was removed.
pub(super) fn trimmed_to(sequence: u64) -> [u8; 16] {
    u128::from(sequence).to_be_bytes()
}

impl Registry {
    /// Removes events that are older than `age`, a bounded number of them, from the beginning of the chain on. Returns
    /// how many it were; when that is none, nothing is left to remove. The removal is an event itself.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn trim_trail(&self, age: Duration) -> Result<usize, RegistryError> {
        let end = Timestamp::from_millis(
            self.clock.now().as_millis().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        );
        // What is older than the chain can be removed only when it is written down where that begins.
        self.begin_chain()?;
        self.until_agreed(|| {
            let kept = mark(&*self.store, ANCHOR)?;
            let anchor = kept.unwrap_or(TrailHead::START);
            let old = self.old_events(anchor, end)?;
            let count = old.anchor.sequence - anchor.sequence;
            let Some(newest) = old.newest else { return Ok(Attempt::Nothing(0)) };
            let detail = format!(
                "events {} to {} removed for their age, the last one of {newest}",
                anchor.sequence + 1,
                old.anchor.sequence
            );
            let target = trimmed_to(old.anchor.sequence);
            let mut writes = self.event(Actor::Ember, Action::TrailTrimmed, &target, detail)?;
            writes.extend(old.removals);
            let (table, key) = (AUDIT_MARKS, ANCHOR.to_vec());
            writes.push(Write::Put { table, key: key.clone(), value: old.anchor.to_bytes() });
            let same = match kept {
                Some(kept) => Check::Equals { table, key, value: kept.to_bytes() },
                None => Check::Absent { table, key },
            };
            let commit = Commit { checks: vec![same], writes, ..Commit::default() };
            Ok(Attempt::Commit(commit, usize::try_from(count).unwrap_or(usize::MAX)))
        })
    }

    fn old_events(&self, anchor: TrailHead, end: Timestamp) -> Result<Old, RegistryError> {
        let mut old = Old { anchor, removals: Vec::new(), newest: None };
        let before = mark(&*self.store, BEFORE)?.unwrap_or(TrailHead::START);
        if anchor.sequence < before.sequence {
            self.old_unlinked(&mut old, before, end)?;
        } else {
            self.old_linked(&mut old, end)?;
        }
        Ok(old)
    }

    /// Of the events that are older than the chain.
    fn old_unlinked(&self, old: &mut Old, before: TrailHead, end: Timestamp) -> Result<(), RegistryError> {
        let rows = self.store.scan(AUDIT, Bound::Unbounded, Bound::Unbounded, STEP)?;
        for (id, bytes) in rows.iter().filter(|(_, bytes)| is_unlinked(bytes)) {
            if old.anchor.sequence == before.sequence {
                break;
            }
            let at = decode_event(id, bytes)?.at;
            if at >= end {
                break;
            }
            old.anchor = old.anchor.next(id, bytes);
            old.newest = Some(at);
            old.removals.extend(self.removal(id, bytes));
        }
        Ok(())
    }

    fn old_linked(&self, old: &mut Old, end: Timestamp) -> Result<(), RegistryError> {
        for link in links(&*self.store, old.anchor.sequence, STEP)? {
            let bytes = self.store.get(AUDIT, &link.event)?;
            let at = bytes.as_ref().map(|bytes| decode_event(&link.event, bytes)).transpose()?;
            // One that someone took away is as old as its neighbours.
            let at = at.map(|event| event.at);
            if at.is_some_and(|at| at >= end) {
                break;
            }
            old.anchor = link.head;
            old.newest = at.or(old.newest);
            let key = link.head.sequence.to_be_bytes().to_vec();
            old.removals.push(Write::Delete { table: AUDIT_CHAIN, key });
            old.removals.extend(bytes.into_iter().flat_map(|bytes| self.removal(&link.event, &bytes)));
        }
        Ok(())
    }

    fn removal(&self, id: &[u8], bytes: &[u8]) -> Vec<Write> {
        let mut writes = vec![Write::Delete { table: AUDIT, key: id.to_vec() }];
        if let (Ok(event), Some(id)) = (decode_event(id, bytes), EventId::from_bytes(id)) {
            writes.push(Write::Delete { table: AUDIT_INDEX, key: audit_row(&event.target, id) });
        }
        writes
    }
}
