//! Making a store's file as small as what is in it. Never: while anybody else has it open.

use std::path::Path;

use super::StoreOptions;
use super::migration::FORMATS;
use super::open::{Held, OpenError, Source, contained};
use super::snapshot::tables_of;

/// Memory for pages while they are moved.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// What a compaction is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactStep {
    /// Reads every record, so that nothing damaged is moved.
    Reading,
    /// Moves pages to the front of the file, which gets shorter.
    Moving,
    /// Reads every record again.
    Proving,
}

/// What a compaction came to. Lengths of the file in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Its length before.
    pub bytes_before: u64,
    /// Its length now.
    pub bytes_after: u64,
    /// The records in it.
    pub rows: u64,
}

/// Makes a store's file as small as what is in it, and proves that the same records are in it. Each step on the way is
/// a commit of its own: a kill at any moment leaves a file that opens and has everything. Nobody else can open it from the
/// first step to the last. `told` hears each step as it begins.
///
/// # Errors
/// [`OpenError`]: `Locked` while anybody has it open; an error of the disk in the midst of it loses nothing.
pub fn compact(path: &Path, told: impl Fn(CompactStep)) -> Result<Compacted, OpenError> {
    told(CompactStep::Reading);
    let options = StoreOptions { cache_bytes: CACHE_BYTES, ..StoreOptions::default() };
    let held = Held::open(&Source::file(path), &options)?;
    held.sentinel(FORMATS.newest)?;
    let before = tables_of(held.database(), path)?;
    let bytes_before = length(path)?;
    told(CompactStep::Moving);
    let mut database = held.let_through()?;
    contained(path, || database.compact().map_err(|error| OpenError::engine(path, error.into())))?;
    told(CompactStep::Proving);
    // Before it is closed: whoever opens it then may write to it.
    let after = tables_of(&database, path)?;
    contained(path, || database.close().map_err(|error| OpenError::engine(path, error.into())))?;
    if after != before {
        return Err(OpenError::damaged(path, "it has not the records that it had before the compaction"));
    }
    let rows = after.iter().map(|table| table.rows).sum();
    Ok(Compacted { bytes_before, bytes_after: length(path)?, rows })
}

fn length(path: &Path) -> Result<u64, OpenError> {
    path.metadata().map(|file| file.len()).map_err(|error| OpenError::io(path, error))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::store::{Birth, Commit, RedbStore, Store as _, Table, Write};
    use crate::types::Timestamp;

    const ROWS: Table = Table("rows");

    fn write(store: &RedbStore, writes: Vec<Write>) {
        store.commit(Commit { writes, ..Commit::default() }).unwrap();
    }

    fn key(number: u32) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    /// A file of which most was deleted.
    fn emptied(path: &Path) {
        let birth = Birth { created_at: Timestamp::from_millis(1), store_id: [7; 16] };
        let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
        let store = RedbStore::create(path, birth, options).unwrap();
        let put = |number| Write::Put { table: ROWS, key: key(number), value: vec![number as u8; 500] };
        write(&store, (0..20_000).map(put).collect());
        let gone = (0..20_000).filter(|number| number % 20 != 0);
        write(&store, gone.map(|number| Write::Delete { table: ROWS, key: key(number) }).collect());
    }

    #[test]
    fn bug_nobody_opens_it_between_two_steps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ember.redb");
        emptied(&path);
        let options = || StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
        let locked = RefCell::new(Vec::new());
        let told = |step| {
            if step != CompactStep::Reading {
                let opened = RedbStore::open(&path, options());
                locked.borrow_mut().push(matches!(opened, Err(OpenError::Locked { .. })));
            }
        };
        assert_eq!(compact(&path, told).unwrap().rows, 1000);
        assert_eq!(*locked.borrow(), [true, true]);
        assert_eq!(RedbStore::open(&path, options()).unwrap().count(ROWS), Ok(1000));
    }

    #[test]
    fn a_file_shrinks_and_keeps_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ember.redb");
        emptied(&path);
        let steps = RefCell::new(Vec::new());
        let done = compact(&path, |step| steps.borrow_mut().push(step)).unwrap();
        assert_eq!(*steps.borrow(), [CompactStep::Reading, CompactStep::Moving, CompactStep::Proving]);
        assert_eq!(done.rows, 1000);
        assert!(done.bytes_after * 4 < done.bytes_before, "{done:?}");
        assert_eq!(path.metadata().unwrap().len(), done.bytes_after);
        let store =
            RedbStore::open(&path, StoreOptions { ballast_bytes: 0, ..StoreOptions::default() }).unwrap();
        assert_eq!(store.get(ROWS, &key(40)).unwrap().unwrap(), vec![40; 500]);
        assert!(matches!(compact(&path, |_| {}), Err(OpenError::Locked { .. })));
    }
}
