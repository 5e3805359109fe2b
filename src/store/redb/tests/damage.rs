//! Bits that flipped on the disk.

use super::*;
use crate::store::Check;

/// Flips one bit in the value of row 50 of a closed store.
fn flip_in_row(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let mut found = 0;
    for at in 0..bytes.len() - 300 {
        if bytes[at..at + 300].iter().all(|&byte| byte == 50) {
            bytes[at + 100] ^= 4;
            found += 1;
        }
    }
    assert!(found > 0);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_a_value_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    flip_in_row(&path);
    let damaged = Trouble::Damaged { table: "things" };
    let refused = verify(&path).unwrap_err();
    assert!(
        matches!(refused, OpenError::Damaged { .. }) && refused.to_string().contains("things"),
        "{refused}"
    );
    assert!(matches!(RedbStore::open(&path, quick()), Err(OpenError::Damaged { .. })));
    let store = RedbStore::open(&path, StoreOptions { checked_bytes_max: 0, ..quick() }).unwrap();
    assert_eq!(store.get(T, &[50]), Err(damaged.clone()));
    assert_eq!(store.get(T, &[51]), Ok(Some(vec![51; 300])));
    assert_eq!(store.scan(T, Bound::Unbounded, Bound::Unbounded, 1000), Err(damaged.clone()));
    assert_eq!(store.scan_back(T, Bound::Unbounded, Bound::Unbounded, 1000), Err(damaged.clone()));
    assert_eq!(store.scan_back(T, Bound::Unbounded, Bound::Unbounded, 49).map(|rows| rows.len()), Ok(49));
    let equals = Check::Equals { table: T, key: vec![50], value: vec![50; 300] };
    let checked = Commit { checks: vec![equals], ..put(b"x", b"x") };
    assert_eq!(store.commit(checked), Err(CommitError::Trouble(damaged)));
    assert_eq!(store.get(T, b"x"), Ok(None));
    let copy = store.snapshot_to(&dir.path().join("copy"));
    assert!(matches!(copy, Err(SnapshotError::Damaged { .. })), "{copy:?}");
    assert!(!dir.path().join("copy").exists());
}

#[test]
fn damage_found_after_a_kill_is_said_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let (path, killed) = (dir.path().join("ember.redb"), dir.path().join("killed"));
    make(&path);
    let store = RedbStore::open(&path, quick()).unwrap();
    store.commit(put(b"last", b"words")).unwrap();
    std::fs::copy(&path, &killed).unwrap();
    flip_in_row(&killed);
    assert!(matches!(RedbStore::open(&killed, quick()), Err(OpenError::Damaged { .. })));
}

/// In a file that is too large to be read whole when it is opened.
#[test]
fn bug_no_second_row_is_laid_beside_one_whose_key_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    let store = RedbStore::open(&path, quick()).unwrap();
    store.commit(put(b"its key is known 1", b"once")).unwrap();
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<_> = memchr::memmem::find_iter(&bytes, b"its key is known 1").collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 17] ^= 4;
    }
    std::fs::write(&path, bytes).unwrap();
    let store = RedbStore::open(&path, StoreOptions { checked_bytes_max: 0, ..quick() }).unwrap();
    let absent = |key: &[u8]| Check::Absent { table: T, key: key.to_vec() };
    let twice =
        Commit { checks: vec![absent(b"its key is known 1")], ..put(b"its key is known 1", b"twice") };
    assert_eq!(store.commit(twice), Err(CommitError::Trouble(Trouble::Damaged { table: "things" })));
    let elsewhere = Commit { checks: vec![absent(&[0, 0])], ..put(&[0, 0], b"good") };
    assert_eq!(store.commit(elsewhere), Ok(()));
}
