//! The chain of the audit trail: each event is committed with a link that holds a hash over it and everything before
//! it. Links are given out in the order in which commits are handed to the store, so that many commits still become
//! durable together; each checks that the chain ends where it believes. Never: what events say.

use std::ops::Bound;
use std::sync::PoisonError;

use crate::store::{Check, Commit, CommitError, Store, Table, Trouble, Write};
use crate::types::TrailHead;
use crate::types::sync::{Mutex, MutexGuard};

use super::record::event::{decode_event, encode_event, is_unlinked};
use super::table::{AUDIT, AUDIT_CHAIN, AUDIT_MARKS};
use super::{Registry, RegistryError};

/// The row with the number and the hash of the last link.
pub(super) const HEAD: &[u8] = b"head";
/// The row with the number and the hash of the last event that was removed for its age; none while none was.
pub(super) const ANCHOR: &[u8] = b"anchor";
/// The row with the count and the hash of the events that are older than the chain; none where there were none.
pub(super) const BEFORE: &[u8] = b"before";

/// Where a store has the head of its chain, for whoever looks into a file that is no store of a registry.
pub const HEAD_ROW: (Table, &[u8]) = (AUDIT_MARKS, HEAD);

/// Rows read at once.
const ROWS: usize = 1000;

/// How often a commit is linked anew because one ahead of it failed.
const LINKINGS_MAX: usize = 1000;
/// From then on nobody else is let ahead.
const PATIENT_LINKINGS: usize = 8;

/// Where the chain will end when everything handed over is committed.
#[derive(Default)]
pub(super) struct Chain(Mutex<Prediction>);

#[derive(Default)]
struct Prediction {
    /// None when it must be read from the store.
    end: Option<End>,
    /// Counts how often it turned out to be wrong.
    wrong: u64,
}

#[derive(Clone)]
struct End {
    head: TrailHead,
    /// Whether the row of the head is in the store, or on its way there.
    is_written: bool,
}

/// A link of the chain as it is stored.
pub(super) struct Link {
    /// Which event.
    pub(super) event: Vec<u8>,
    /// Its number, and the hash over it and everything before it.
    pub(super) head: TrailHead,
}

impl Chain {
    fn prediction(&self) -> MutexGuard<'_, Prediction> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prediction {
    fn end(&mut self, store: &dyn Store) -> Result<End, Trouble> {
        if self.end.is_none() {
            self.end = Some(read_end(store)?);
        }
        self.end.clone().ok_or(Trouble::Damaged { table: AUDIT_MARKS.0 })
    }

    fn forget(&mut self) {
        self.end = None;
        self.wrong += 1;
    }
}

impl Registry {
    /// Where the chain ends.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn trail_head(&self) -> Result<TrailHead, RegistryError> {
        Ok(read_end(&*self.store)?.head)
    }

    /// Writes down where the chain begins in a store whose events have none yet. Calling it again changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn begin_chain(&self) -> Result<(), RegistryError> {
        let end = read_end(&*self.store)?;
        if end.is_written {
            return Ok(());
        }
        let mut commit = Commit::default();
        push_end(&mut commit, &end, end.head);
        match self.store.commit(commit) {
            // Whoever was quicker has written it down.
            Ok(()) | Err(CommitError::Conflict { .. }) => {
                self.chain.prediction().forget();
                Ok(())
            }
            Err(error) => Err(RegistryError::Store(error.to_string())),
        }
    }

    /// Links the events among the writes and commits. Returns the writes as they were committed.
    pub(super) fn commit_linked(&self, commit: &Commit) -> Result<Vec<Write>, CommitError> {
        if !commit.writes.iter().any(|write| event_bytes(write).is_some()) {
            return self.store.commit(commit.clone()).map(|()| commit.writes.clone());
        }
        let its_own = commit.checks.len();
        for number in 0..LINKINGS_MAX {
            let (writes, wrong, outcome) = self.attempt_linked(commit, number >= PATIENT_LINKINGS)?;
            let Err(error) = outcome else { return Ok(writes) };
            let mut prediction = self.chain.prediction();
            if prediction.wrong == wrong {
                prediction.forget();
            }
            if !matches!(error, CommitError::Conflict { check } if check == its_own) {
                return Err(error);
            }
        }
        Err(CommitError::Conflict { check: its_own })
    }

    /// The writes, how often the prediction had been wrong by then, and what became of them. Whoever is impatient keeps
    /// all others waiting until he knows.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn attempt_linked(
        &self,
        commit: &Commit,
        impatient: bool,
    ) -> Result<(Vec<Write>, u64, Result<(), CommitError>), CommitError> {
        let mut prediction = self.chain.prediction();
        let end = prediction.end(&*self.store)?;
        let (linked, head) = link(commit, &end)?;
        let writes = linked.writes.clone();
        let wrong = prediction.wrong;
        let outcome = self.store.submit(linked);
        if outcome.is_ok() {
            prediction.end = Some(End { head, is_written: true });
        }
        let waiting = impatient.then_some(prediction);
        let outcome = outcome.and_then(crate::store::Pending::wait);
        drop(waiting);
        Ok((writes, wrong, outcome))
    }
}

/// The commit with its events linked, and where the chain ends with it. The check of the end comes last, so that its
/// own reasons to fail come first.
fn link(commit: &Commit, end: &End) -> Result<(Commit, TrailHead), Trouble> {
    let mut linked = Commit { writes: Vec::with_capacity(commit.writes.len() + 3), ..commit.clone() };
    let mut head = end.head;
    for write in &commit.writes {
        let Some((key, value)) = event_bytes(write) else {
            linked.writes.push(write.clone());
            continue;
        };
        let mut event = decode_event(key, value)?;
        event.sequence = head.sequence + 1;
        let value = encode_event(&event);
        head = head.next(key, &value);
        linked.writes.push(Write::Put { table: AUDIT, key: key.to_vec(), value });
        linked.writes.push(Write::Put {
            table: AUDIT_CHAIN,
            key: head.sequence.to_be_bytes().to_vec(),
            value: [key, &head.hash[..]].concat(),
        });
    }
    push_end(&mut linked, end, head);
    Ok((linked, head))
}

/// The check that the chain ends where it is believed to, and the writes that move its end.
fn push_end(commit: &mut Commit, end: &End, head: TrailHead) {
    let mark = |key: &[u8], head: TrailHead| Write::Put {
        table: AUDIT_MARKS,
        key: key.to_vec(),
        value: head.to_bytes(),
    };
    let (table, key) = (AUDIT_MARKS, HEAD.to_vec());
    commit.checks.push(match end.is_written {
        true => Check::Equals { table, key, value: end.head.to_bytes() },
        false => Check::Absent { table, key },
    });
    if !end.is_written && end.head != TrailHead::START {
        commit.writes.push(mark(BEFORE, end.head));
    }
    commit.writes.push(mark(HEAD, head));
}

fn event_bytes(write: &Write) -> Option<(&[u8], &[u8])> {
    match write {
        Write::Put { table, key, value } if *table == AUDIT => Some((key, value)),
        Write::Put { .. } | Write::Delete { .. } => None,
    }
}

/// Where the chain ends in the store. Events from before there was a chain count as its first links, in the order of
/// their ids.
fn read_end(store: &dyn Store) -> Result<End, Trouble> {
    if let Some(head) = mark(store, HEAD)? {
        return Ok(End { head, is_written: true });
    }
    let (mut head, mut last) = (TrailHead::START, None::<Vec<u8>>);
    loop {
        let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = store.scan(AUDIT, from, Bound::Unbounded, ROWS)?;
        for (id, bytes) in rows.iter().filter(|(_, bytes)| is_unlinked(bytes)) {
            head = head.next(id, bytes);
        }
        if rows.len() < ROWS {
            return Ok(End { head, is_written: false });
        }
        last = rows.into_iter().next_back().map(|(id, _)| id);
    }
}

/// One of the rows that say where the chain ends and begins.
pub(super) fn mark(store: &dyn Store, key: &[u8]) -> Result<Option<TrailHead>, Trouble> {
    let damaged = || Trouble::Damaged { table: AUDIT_MARKS.0 };
    let bytes = store.get(AUDIT_MARKS, key)?;
    bytes.map(|bytes| TrailHead::from_bytes(&bytes).ok_or_else(damaged)).transpose()
}

/// The links after a number, in their order.
pub(super) fn links(store: &dyn Store, after: u64, rows_max: usize) -> Result<Vec<Link>, Trouble> {
    let after = after.to_be_bytes();
    let rows = store.scan(AUDIT_CHAIN, Bound::Excluded(&after), Bound::Unbounded, rows_max)?;
    rows.iter().map(|(key, value)| read_link(key, value)).collect()
}

/// The link with a number.
pub(super) fn link_at(store: &dyn Store, sequence: u64) -> Result<Option<Link>, Trouble> {
    let key = sequence.to_be_bytes();
    store.get(AUDIT_CHAIN, &key)?.map(|value| read_link(&key, &value)).transpose()
}

fn read_link(key: &[u8], value: &[u8]) -> Result<Link, Trouble> {
    let damaged = || Trouble::Damaged { table: AUDIT_CHAIN.0 };
    let (event, hash) = value.split_first_chunk::<16>().ok_or_else(damaged)?;
    let head = TrailHead::from_bytes(&[key, hash].concat()).ok_or_else(damaged)?;
    Ok(Link { event: event.to_vec(), head })
}
