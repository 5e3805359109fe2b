//! A group of commits in one transaction of redb, and whether a group is there. Never: threads, retries.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use ::redb::{Database, ReadableDatabase as _, ReadableTable as _, TableError, WriteTransaction};

use super::ballast::is_full;
use super::create::begin_write;
use super::open::Definition;
use super::row::{seal, unseal};
use super::shared::{Shared, State};
use super::{ReadError, missing};
use crate::store::{Check, Commit, CommitError, Trouble, Write};

/// What becomes of one commit of a group.
pub(super) type Verdict = Result<(), CommitError>;

/// The engine failed under a group.
#[derive(Debug)]
pub(super) struct Stop {
    /// For lack of space.
    pub(super) full: bool,
    pub(super) why: String,
    /// The verdicts, when the engine was asked to make the group durable and failed at that: it may be there.
    pub(super) asked: Option<Vec<Verdict>>,
}

impl From<::redb::Error> for Stop {
    fn from(error: ::redb::Error) -> Self {
        let full = matches!(&error, ::redb::Error::Io(error) if is_full(error));
        Self { full, why: error.to_string(), asked: None }
    }
}

/// Decides each commit against what is committed, earlier ones of the group included, and makes those that hold
/// durable together.
pub(super) fn apply<'a>(
    shared: &Shared,
    commits: impl Iterator<Item = &'a Commit>,
) -> Result<Vec<Verdict>, Stop> {
    let panicked = || Stop { full: false, why: "the engine panicked".to_string(), asked: None };
    let write = {
        let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(database) => {
                contained(|| Ok(begin_write(database)?)).unwrap_or_else(|| Err(panicked()))?
            }
            State::Down(why) => return Err(Stop { full: false, why: why.clone(), asked: None }),
        }
    };
    contained(move || {
        let verdicts = commits.map(|commit| carry_out(&write, commit)).collect::<Result<Vec<_>, _>>()?;
        if verdicts.iter().all(Result::is_err) {
            write.abort().map_err(::redb::Error::from)?;
            return Ok(verdicts);
        }
        // Whatever goes wrong from here on, a panic too, the group may be there.
        match contained(|| write.commit()) {
            Some(Ok(())) => Ok(verdicts),
            Some(Err(error)) => Err(Stop { asked: Some(verdicts), ..Stop::from(::redb::Error::from(error)) }),
            None => Err(Stop { asked: Some(verdicts), ..panicked() }),
        }
    })
    .unwrap_or_else(|| Err(panicked()))
}

fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// The inner result is the commit's, the outer one the engine's.
fn carry_out(write: &WriteTransaction, commit: &Commit) -> Result<Verdict, ::redb::Error> {
    for (number, check) in commit.checks.iter().enumerate() {
        match holds(write, check)? {
            Ok(true) => {}
            Ok(false) => return Ok(Err(CommitError::Conflict { check: number })),
            Err(damaged) => return Ok(Err(damaged.into())),
        }
    }
    for change in &commit.writes {
        match change {
            Write::Put { table, key, value } => {
                let value = seal(table.0, key, value);
                write.open_table(Definition::new(table.0))?.insert(key.as_slice(), value.as_slice())?;
            }
            Write::Delete { table, key } => {
                write.open_table(Definition::new(table.0))?.remove(key.as_slice())?;
            }
        }
    }
    Ok(Ok(()))
}

fn holds(write: &WriteTransaction, check: &Check) -> Result<Result<bool, Trouble>, ::redb::Error> {
    let (Check::Absent { table, key } | Check::Equals { table, key, .. }) = check;
    let rows = write.open_table(Definition::new(table.0))?;
    let row = rows.get(key.as_slice())?;
    Ok(match (check, row) {
        (Check::Absent { .. }, Some(_)) => Ok(false),
        (Check::Absent { .. }, None) => match missing(*table, &rows, key) {
            Ok(()) => Ok(true),
            Err(ReadError::Damaged) => Err(Trouble::Damaged { table: table.0 }),
            Err(ReadError::Trouble(trouble)) => Err(trouble),
            Err(ReadError::Engine(error)) => return Err(error),
        },
        (Check::Equals { .. }, None) => Ok(false),
        (Check::Equals { value, .. }, Some(row)) => unseal(table.0, key, row.value())
            .map(|found| found == value)
            .ok_or(Trouble::Damaged { table: table.0 }),
    })
}

/// Whether what the commits with a good verdict were to do is so. A group is one transaction, so it is there as a
/// whole or not at all, and the last write to each row tells which.
pub(super) fn is_there<'a>(
    database: &Database,
    commits: impl Iterator<Item = (&'a Commit, &'a Verdict)>,
) -> Result<bool, ::redb::Error> {
    let mut wanted: BTreeMap<(&str, &[u8]), Option<&[u8]>> = BTreeMap::new();
    for write in commits.filter(|(_, verdict)| verdict.is_ok()).flat_map(|(commit, _)| &commit.writes) {
        match write {
            Write::Put { table, key, value } => wanted.insert((table.0, key), Some(value)),
            Write::Delete { table, key } => wanted.insert((table.0, key), None),
        };
    }
    let read = database.begin_read()?;
    for ((table, key), value) in wanted {
        let stored = match read.open_table(Definition::new(table)) {
            Ok(rows) => rows.get(key)?.map(|row| row.value().to_vec()),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        if stored != value.map(|value| seal(table, key, value)) {
            return Ok(false);
        }
    }
    Ok(true)
}
