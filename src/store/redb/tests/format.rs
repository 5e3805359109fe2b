//! Older and newer formats: refused by name, or copied and migrated; the fixture of the first one.

use std::os::unix::fs::MetadataExt as _;

use super::super::migration::Migration;
use super::*;
use crate::types::proof;

/// Puts a sentinel of another format into a store that is closed.
fn set_format(path: &Path, format: u32) {
    let database = Database::open(path).unwrap();
    let write = create::begin_write(&database).unwrap();
    create::put_sentinel_of(&write, format, birth()).unwrap();
    write.commit().unwrap();
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    set_format(&path, 7);
    assert_eq!(refused(&path), "newer");
    let text = RedbStore::open(&path, quick()).map(drop).unwrap_err().to_string();
    assert!(text.contains("format 7") && text.contains("up to 1"), "{text}");
    assert!(matches!(verify(&path), Err(OpenError::Newer { found: 7, known: 1, .. })));
}

const MADE_UP: Formats = Formats {
    newest: 3,
    migrations: &[
        Migration { from: 1, step: |write| step(write, b"one") },
        Migration { from: 2, step: |write| step(write, b"two") },
    ],
};

fn step(write: &::redb::WriteTransaction, key: &[u8]) -> Result<(), ::redb::Error> {
    let value = row::seal(T.0, key, b"migrated");
    write.open_table(Definition::new(T.0))?.insert(key, value.as_slice())?;
    Ok(())
}

#[test]
fn an_older_format_is_copied_then_migrated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    let before = std::fs::read(&path).unwrap();
    let store = RedbStore::open_file(&path, quick(), MADE_UP).unwrap();
    assert_eq!(store.get(T, b"one"), Ok(Some(b"migrated".to_vec())));
    assert_eq!(store.get(T, b"two"), Ok(Some(b"migrated".to_vec())));
    assert_eq!((store.count(T), store.birth()), (Ok(102), birth()));
    for n in 0..100 {
        assert_eq!(store.get(T, &[n]), Ok(Some(vec![n; 300])));
    }
    proof::show_none("rows of an older format that were lost when it was copied, then migrated", 100);
    drop(store);
    assert_eq!(refused(&path), "newer");
    RedbStore::open_file(&path, quick(), MADE_UP).unwrap();
    let copy = dir.path().join("ember.redb.before-format-3");
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(RedbStore::open(&copy, quick()).unwrap().count(T), Ok(100));
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    let formats = Formats { newest: 3, migrations: &MADE_UP.migrations[..1] };
    let refused = RedbStore::open_file(&path, quick(), formats).map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::NotAnEmberStore { .. }), "{refused}");
    assert_eq!(RedbStore::open(&path, quick()).unwrap().count(T), Ok(100));
}

/// The rows of `tests/fixtures/store-format-1.redb`. Fixtures are never made anew for a format that was released;
/// for a new format, name the file here, run this test once (it makes the file, says so, and fails) and commit it.
fn fixture_rows() -> impl Iterator<Item = (Table, Vec<u8>, Vec<u8>)> {
    let small = (0..20u8).map(|n| (Table("small"), vec![n, n], vec![n; usize::from(n)]));
    small.chain([(Table("large"), b"large".to_vec(), vec![b'L'; 20_000])])
}

#[test]
fn the_first_format_can_be_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-format-1.redb");
    if !fixture.exists() {
        let store = RedbStore::create(&fixture, birth(), quick()).unwrap();
        let writes = fixture_rows().map(|(table, key, value)| Write::Put { table, key, value }).collect();
        store.commit(Commit { writes, ..Commit::default() }).unwrap();
        panic!("there was no {}; it was made, commit it", fixture.display());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    std::fs::copy(fixture, &path).unwrap();
    let store = RedbStore::open(&path, quick()).unwrap();
    assert_eq!(store.birth(), birth());
    for (table, key, value) in fixture_rows() {
        assert_eq!(store.get(table, &key), Ok(Some(value)));
    }
    assert_eq!((store.count(Table("small")), store.count(Table("large"))), (Ok(20), Ok(1)));
    store.commit(put(b"new", b"row")).unwrap();
}

/// A row that each step writes anew.
fn last(write: &::redb::WriteTransaction, value: &[u8]) -> Result<(), ::redb::Error> {
    let value = row::seal(T.0, b"last", value);
    write.open_table(Definition::new(T.0))?.insert(b"last".as_slice(), value.as_slice())?;
    Ok(())
}

const MADE_UP_BACKWARDS: Formats = Formats {
    newest: 3,
    migrations: &[
        Migration { from: 2, step: |write| last(write, b"from 2") },
        Migration { from: 1, step: |write| last(write, b"from 1") },
    ],
};

#[test]
fn each_step_is_done_from_its_own_format() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    let store = RedbStore::open_file(&path, quick(), MADE_UP_BACKWARDS).unwrap();
    assert_eq!(store.get(T, b"last"), Ok(Some(b"from 2".to_vec())));
}
