//! Live copies, and verifying them.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn a_live_copy_is_whole_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("ember.redb"), dir.path().join("copy"));
    make(&path);
    let store = RedbStore::open(&path, quick()).unwrap();
    let other = Write::Put { table: Table("others"), key: vec![1], value: vec![2; 100_000] };
    store.commit(Commit { writes: vec![other], ..Commit::default() }).unwrap();
    let counts = std::thread::scope(|scope| {
        scope.spawn(|| (0..50).for_each(|n: u8| store.commit(put(&[n], b"while copied")).unwrap()));
        store.snapshot_to(&copy).unwrap()
    });
    let count = |table: &str, rows| TableCount { table: table.to_string(), rows };
    assert_eq!(counts, [count("others", 1), count("things", 100)]);
    assert_eq!(verify(&copy).unwrap(), Verified { format: 1, birth: birth(), tables: counts });
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = store.snapshot_to(&copy);
    assert!(matches!(again, Err(SnapshotError::Copy(OpenError::Exists { .. }))), "{again:?}");
    let nowhere = store.snapshot_to(&dir.path().join("no/such"));
    assert!(matches!(nowhere, Err(SnapshotError::Copy(OpenError::Io { .. }))), "{nowhere:?}");
    assert_eq!(
        RedbStore::open(&copy, quick()).unwrap().get(Table("others"), &[1]),
        Ok(Some(vec![2; 100_000]))
    );
}

#[test]
fn verifying_changes_nothing_even_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (path, killed) = (dir.path().join("ember.redb"), dir.path().join("killed"));
    make(&path);
    let store = RedbStore::open(&path, quick()).unwrap();
    store.commit(put(b"last", b"words")).unwrap();
    std::fs::copy(&path, &killed).unwrap();
    let before = std::fs::read(&killed).unwrap();
    assert_eq!(verify(&killed).unwrap().tables, [TableCount { table: "things".to_string(), rows: 101 }]);
    assert_eq!(std::fs::read(&killed).unwrap(), before);
}

#[test]
fn bug_several_copies_at_once_are_all_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    let store = &RedbStore::open(&path, quick()).unwrap();
    let lock = create::Directory::lock(&path).unwrap();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let copy = dir.path().join(format!("copy-{number}"));
            scope.spawn(move || store.snapshot_to(&copy).unwrap());
        }
    });
    drop(lock);
}

#[test]
fn a_draft_of_somebody_elses_copy_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    let store = RedbStore::open(&path, quick()).unwrap();
    let draft = dir.path().join("copy.new");
    std::fs::write(&draft, b"half").unwrap();
    store.snapshot_to(&dir.path().join("copy")).unwrap_err();
    assert_eq!(std::fs::read(draft).unwrap(), b"half");
}

#[test]
fn one_row_of_a_file_is_read_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(row_of(&path, T, &[42]).unwrap(), Some(vec![42; 300]));
    assert_eq!(row_of(&path, T, &[200]).unwrap(), None);
    assert_eq!(row_of(&path, Table("others"), &[42]).unwrap(), None);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(matches!(row_of(&dir.path().join("nothing"), T, &[42]), Err(OpenError::NotFound { .. })));
}

#[test]
fn a_store_that_is_looked_at_is_not_changed_by_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    let before = std::fs::read(&path).unwrap();
    let store = RedbStore::open_to_read(&path).unwrap();
    let other = RedbStore::open_to_read(&path).unwrap();
    assert!(matches!(RedbStore::open(&path, quick()), Err(OpenError::Locked { .. })));
    assert_eq!((store.get(T, &[42]), other.count(T)), (Ok(Some(vec![42; 300])), Ok(100)));
    assert!(matches!(store.commit(put(b"a", b"1")), Err(CommitError::Trouble(Trouble::Unavailable(_)))));
    drop((store, other));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(dir.path().read_dir().unwrap().count(), 1, "a file came to lie beside it");
}
