//! Tables in memory, for tests: the same promises as on disk, but for durability. Never: the disk.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::sync::PoisonError;

use crate::types::sync::{Mutex, MutexGuard};

use super::{Check, Commit, CommitError, Observer, Row, Store, Table, Trouble, Write, nothing_between};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store that forgets everything when it is dropped.
#[derive(Default)]
pub struct MemoryStore {
    tables: Mutex<BTreeMap<&'static str, Rows>>,
    /// Held during a whole commit, so that observers hear of commits in their order.
    observers: Mutex<Vec<Observer>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<&'static str, Rows>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `pick` takes of the rows within the bounds.
    fn range(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        pick: impl FnOnce(btree_map::Range<'_, Vec<u8>, Vec<u8>>) -> Vec<Row>,
    ) -> Vec<Row> {
        let tables = self.tables();
        match tables.get(table.0).filter(|_| !nothing_between(from, to)) {
            Some(rows) => pick(rows.range::<[u8], _>((from, to))),
            None => Vec::new(),
        }
    }

    fn observers(&self) -> MutexGuard<'_, Vec<Observer>> {
        self.observers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        Ok(self.tables().get(table.0).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        Ok(self.range(table, from, to, |rows| copied(rows.take(rows_max))))
    }

    fn scan_back(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        Ok(self.range(table, from, to, |rows| copied(rows.rev().take(rows_max))))
    }

    fn count(&self, table: Table) -> Result<u64, Trouble> {
        Ok(self.tables().get(table.0).map_or(0, |rows| rows.len() as u64))
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let commit = commit.measured()?;
        let observers = self.observers();
        {
            let mut tables = self.tables();
            if let Some(check) = commit.checks.iter().position(|check| !holds(&tables, check)) {
                return Err(CommitError::Conflict { check });
            }
            commit.writes.iter().for_each(|write| apply(&mut tables, write));
        }
        observers.iter().for_each(|observer| observer(&commit.writes));
        Ok(())
    }

    fn observe(&self, observer: Observer) {
        self.observers().push(observer);
    }
}

fn copied<'a>(rows: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Vec<Row> {
    rows.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn holds(tables: &BTreeMap<&'static str, Rows>, check: &Check) -> bool {
    let row = |table: &Table, key: &Vec<u8>| tables.get(table.0).and_then(|rows| rows.get(key));
    match check {
        Check::Absent { table, key } => row(table, key).is_none(),
        Check::Equals { table, key, value } => row(table, key) == Some(value),
    }
}

fn apply(tables: &mut BTreeMap<&'static str, Rows>, write: &Write) {
    match write {
        Write::Put { table, key, value } => {
            tables.entry(table.0).or_default().insert(key.clone(), value.clone());
        }
        Write::Delete { table, key } => {
            tables.entry(table.0).or_default().remove(key);
        }
    }
}
