//! What becomes of files: made, killed while made, foreign, locked.

use std::os::unix::fs::MetadataExt as _;

use super::*;

#[test]
fn a_store_is_private_and_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    make(&path);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    let names = || dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(), ["ember.redb"]);
    let store = RedbStore::open(&path, StoreOptions::default()).unwrap();
    assert_eq!(store.birth(), birth());
    assert_eq!(store.get(T, &[42]), Ok(Some(vec![42; 300])));
    assert_eq!(dir.path().join("ballast").metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_a_killed_first_start_left_is_no_obstacle() {
    let whole = tempfile::tempdir().unwrap();
    make(&whole.path().join("ember.redb"));
    let whole = std::fs::read(whole.path().join("ember.redb")).unwrap();
    for left in [0, 1, 9, 64, 320, 4096, 4097, whole.len() - 1, whole.len()] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ember.redb");
        let draft = dir.path().join("ember.redb.new");
        std::fs::write(&draft, &whole[..left]).unwrap();
        assert!(matches!(RedbStore::open(&path, quick()), Err(OpenError::NotFound { .. })));
        drop(RedbStore::create(&path, birth(), quick()).unwrap());
        assert!(!draft.exists());
        assert_eq!(RedbStore::open(&path, quick()).unwrap().count(T), Ok(0), "rows of the draft came back");
    }
}

#[test]
fn a_draft_that_is_a_link_is_removed_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, b"mine").unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join("ember.redb.new")).unwrap();
    make(&dir.path().join("ember.redb"));
    assert_eq!(std::fs::read(victim).unwrap(), b"mine");
}

#[test]
fn a_file_that_is_there_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(RedbStore::create(&path, birth(), quick()), Err(OpenError::Exists { .. })));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert!(matches!(RedbStore::create(&path, birth(), quick()), Err(OpenError::Exists { .. })));
}

#[test]
fn a_failed_creation_leaves_nothing_and_can_be_repeated() {
    for skip in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ember.redb");
        let faults = Faults::default();
        let kind = if skip % 2 == 0 { FaultKind::Io } else { FaultKind::Full };
        faults.set(Fault { on: FaultOn::Writes, kind, skip, times: u64::MAX, while_filled: None });
        let made =
            RedbStore::create(&path, birth(), StoreOptions { faults: Some(faults.clone()), ..quick() });
        let made = made.map(drop);
        if !faults.heal() {
            assert!(skip > 5, "creating took only {skip} writes");
            return;
        }
        if made.is_err() && dir.path().read_dir().unwrap().count() == 0 {
            drop(RedbStore::create(&path, birth(), quick()).unwrap());
        }
        drop(RedbStore::open(&path, quick()).unwrap());
    }
}

#[test]
fn two_creators_at_once_make_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = &dir.path().join("ember.redb");
    let made = std::thread::scope(|scope| {
        let racers: Vec<_> =
            (0..8).map(|_| scope.spawn(move || RedbStore::create(path, birth(), quick()))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
    });
    for refused in made.iter().filter_map(|made| made.as_ref().err()) {
        assert!(matches!(refused, OpenError::Exists { .. } | OpenError::Locked { .. }), "{refused}");
    }
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    make(&at("store"));
    let bytes = std::fs::read(at("store")).unwrap();
    std::fs::write(at("empty"), b"").unwrap();
    std::fs::write(at("short"), b"redb").unwrap();
    std::fs::write(at("text"), [b'x'; 5000]).unwrap();
    std::fs::write(at("zeros"), vec![0; bytes.len()]).unwrap();
    std::fs::write(at("first page"), &bytes[..4096]).unwrap();
    std::fs::write(at("half"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(at("magic"), &bytes[..9]).unwrap();
    std::fs::create_dir(at("directory")).unwrap();
    std::os::unix::fs::symlink(at("store"), at("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR).unwrap();
    foreign_redb(&at("redb"), |_| {});
    foreign_redb(&at("other meta"), |write| {
        let numbers = ::redb::TableDefinition::<u64, u64>::new(row::META);
        write.open_table(numbers).unwrap().insert(1, 1).unwrap();
    });
    let expected = [
        ("nothing", "not found"),
        ("empty", "foreign"),
        ("short", "foreign"),
        ("text", "foreign"),
        ("zeros", "foreign"),
        ("first page", "damaged"),
        ("half", "damaged"),
        ("magic", "damaged"),
        ("directory", "foreign"),
        ("link", "foreign"),
        ("fifo", "foreign"),
        ("redb", "foreign"),
        ("other meta", "foreign"),
    ];
    for (name, why) in expected {
        assert_eq!(refused(&at(name)), why, "{name}");
    }
}

fn foreign_redb(path: &Path, fill: impl Fn(&::redb::WriteTransaction)) {
    let database = Database::create(path).unwrap();
    let write = database.begin_write().unwrap();
    fill(&write);
    write.commit().unwrap();
}

#[test]
fn a_foreign_file_that_was_not_closed_is_left_alone_too() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("open"), dir.path().join("copy"));
    let database = Database::create(&path).unwrap();
    database.begin_write().unwrap().commit().unwrap();
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(refused(&copy), "foreign");
}

#[test]
fn a_store_that_is_open_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    let store = RedbStore::create(&path, birth(), quick()).unwrap();
    assert!(matches!(RedbStore::open(&path, quick()), Err(OpenError::Locked { .. })));
    assert!(matches!(verify(&path), Err(OpenError::Locked { .. })));
    store.commit(put(b"a", b"1")).unwrap();
    drop(store);
    RedbStore::open(&path, quick()).unwrap();
}

#[test]
fn bug_a_store_that_others_could_read_is_tightened() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (path, foreign) = (dir.path().join("ember.redb"), dir.path().join("foreign"));
    make(&path);
    foreign_redb(&foreign, |_| {});
    for file in [&path, &foreign] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    drop(RedbStore::open(&path, quick()).unwrap());
    RedbStore::open(&foreign, quick()).map(drop).unwrap_err();
    let mode = |file: &Path| file.metadata().unwrap().mode() & 0o777;
    assert_eq!((mode(&path), mode(&foreign)), (0o600, 0o644));
}
