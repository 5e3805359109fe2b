//! Live copies of a store, and the proof that a file is whole. Never: puts a copy in the store's place.

use std::cell::RefCell;
use std::path::Path;

use ::redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableError, TableHandle as _, WriteTransaction,
};

use super::create::{copy_file, put_sentinel};
use super::migration::FORMATS;
use super::open::{Definition, Held, OpenError, Source, contained};
use super::row::{Birth, META, unseal};
use super::{RedbStore, StoreOptions};
use crate::store::{Table, Trouble};

/// How many rows a table has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCount {
    /// The table's name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
}

/// What a file that is a whole store has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its format.
    pub format: u32,
    /// When it was made, and which store it is.
    pub birth: Birth,
    /// Its tables, by name.
    pub tables: Vec<TableCount>,
}

/// Why a live copy was not made. No file was left.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store that was to be copied.
    #[error(transparent)]
    Store(#[from] Trouble),
    /// The copy.
    #[error(transparent)]
    Copy(#[from] OpenError),
    /// A record of the store that was to be copied.
    #[error("a record in table '{table}' is damaged; nothing was copied, keep the last good backup")]
    Damaged {
        /// Where it lies.
        table: String,
    },
    /// The copy is not what was copied.
    #[error("the copy was read again and is not what was written; nothing was kept, try another disk")]
    Differs,
}

/// Reads a whole file and checks every record; changes nothing, whatever state it is in.
///
/// # Errors
/// [`OpenError`].
pub fn verify(path: &Path) -> Result<Verified, OpenError> {
    let opened = |checked_bytes_max| {
        let options = StoreOptions { checked_bytes_max, ..StoreOptions::default() };
        Held::open(&Source::file_to_read(path), &options)
    };
    // Names the table that is damaged; what is between the records is checked after that.
    let held = opened(0)?;
    let sentinel = held.sentinel(FORMATS.newest)?;
    let tables = tables_of(held.database(), path)?;
    drop(held);
    opened(u64::MAX)?;
    Ok(Verified { format: sentinel.format, birth: sentinel.birth, tables })
}

/// Reads and checks every record of an open database.
pub(super) fn tables_of(database: &Database, path: &Path) -> Result<Vec<TableCount>, OpenError> {
    contained(path, || {
        let read = database.begin_read().map_err(|error| OpenError::engine(path, error.into()))?;
        each_row(&read, None).map_err(|stop| match stop {
            Stop::Read(error) | Stop::Write(error) => OpenError::engine(path, error),
            Stop::Damaged(table) => OpenError::damaged(path, format!("in table '{table}'")),
        })
    })
}

/// One row of a whole file; changes nothing.
///
/// # Errors
/// [`OpenError`].
pub fn row_of(path: &Path, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
    let held = Held::open(&Source::file_to_read(path), &StoreOptions::default())?;
    held.sentinel(FORMATS.newest)?;
    let failed = |error: ::redb::Error| OpenError::engine(path, error);
    contained(path, || {
        let read = held.database().begin_read().map_err(|error| failed(error.into()))?;
        let rows = match read.open_table(Definition::new(table.0)) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let stored = rows.get(key).map_err(|error| failed(error.into()))?;
        let damaged = || OpenError::damaged(path, format!("in table '{}'", table.0));
        let read = |stored: &[u8]| unseal(table.0, key, stored).map(<[u8]>::to_vec).ok_or_else(damaged);
        stored.map(|stored| read(stored.value())).transpose()
    })
}

impl RedbStore {
    /// Copies one state of the store into a new file at `path`, mode 0600, and verifies it before it gets its name.
    /// Reads and commits go on meanwhile.
    ///
    /// # Errors
    /// [`SnapshotError`]; there is no file then.
    pub fn snapshot_to(&self, path: &Path) -> Result<Vec<TableCount>, SnapshotError> {
        let read = self.begin_read()?;
        let options = StoreOptions { cache_bytes: self.cache_bytes, ..StoreOptions::default() };
        let copied = RefCell::new(Vec::new());
        let fill = |write: &WriteTransaction| {
            put_sentinel(write, path, self.birth)?;
            copied.replace(contained(&self.path, || Ok(each_row(&read, Some(write))))?.map_err(|stop| {
                match stop {
                    Stop::Read(error) => self.ailing(error).into(),
                    Stop::Write(error) => OpenError::engine(path, error).into(),
                    Stop::Damaged(table) => SnapshotError::Damaged { table },
                }
            })?);
            Ok(())
        };
        let check = |draft: &Path| compared(verify(draft)?, self.birth, &copied.borrow());
        copy_file(path, &options, fill, check)
    }
}

/// The copy's tables, if it is of this store and has what was written.
fn compared(found: Verified, birth: Birth, written: &[TableCount]) -> Result<Vec<TableCount>, SnapshotError> {
    let is_same = found.birth == birth && found.tables == written;
    if is_same { Ok(found.tables) } else { Err(SnapshotError::Differs) }
}

enum Stop {
    Read(::redb::Error),
    Write(::redb::Error),
    Damaged(String),
}

fn reading(error: impl Into<::redb::Error>) -> Stop {
    Stop::Read(error.into())
}

fn writing(error: impl Into<::redb::Error>) -> Stop {
    Stop::Write(error.into())
}

/// Checks each row of each table, and copies it where there is somewhere to copy it to.
fn each_row(read: &ReadTransaction, copy: Option<&WriteTransaction>) -> Result<Vec<TableCount>, Stop> {
    let tables = read.list_tables().map_err(reading)?.map(|table| table.name().to_string());
    let tables: Vec<_> = tables.filter(|table| table != META).collect();
    tables.into_iter().map(|table| rows_of(read, table, copy)).collect()
}

fn rows_of(
    read: &ReadTransaction,
    table: String,
    copy: Option<&WriteTransaction>,
) -> Result<TableCount, Stop> {
    let rows = read.open_table(Definition::new(&table)).map_err(reading)?;
    let copy = copy.map(|copy| copy.open_table(Definition::new(&table)));
    let mut copy = copy.transpose().map_err(writing)?;
    let mut count = 0;
    for row in rows.iter().map_err(reading)? {
        let (key, stored) = row.map_err(reading)?;
        if unseal(&table, key.value(), stored.value()).is_none() {
            return Err(Stop::Damaged(table));
        }
        if let Some(copy) = &mut copy {
            copy.insert(key.value(), stored.value()).map_err(writing)?;
        }
        count += 1;
    }
    if count != rows.len().map_err(reading)? {
        return Err(Stop::Damaged(table));
    }
    drop(copy);
    Ok(TableCount { table, rows: count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn a_copy_that_differs_is_refused() {
        let birth = |store_id| Birth { created_at: Timestamp::from_millis(1), store_id: [store_id; 16] };
        let tables = |rows| vec![TableCount { table: "things".to_string(), rows }];
        let compared = |store_id, rows| {
            let found = Verified { format: 1, birth: birth(store_id), tables: tables(rows) };
            compared(found, birth(7), &tables(100))
        };
        assert_eq!(compared(7, 100).unwrap(), tables(100));
        for (store_id, rows) in [(8, 100), (7, 99), (8, 99)] {
            assert!(matches!(compared(store_id, rows), Err(SnapshotError::Differs)), "{store_id}, {rows}");
        }
    }
}
