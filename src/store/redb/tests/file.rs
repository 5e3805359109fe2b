//! What becomes of files: made, killed while made, foreign, locked.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rustix::fs::OFlags;

use super::*;
use crate::store::Urgency;

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

/// The kernel's own directories can be locked and can't be synced.
#[test]
fn a_directory_that_cannot_be_synced_is_an_error() {
    let path = Path::new("/proc/self/ember.redb");
    let synced = create::Directory::lock(path).unwrap().sync(path);
    assert!(matches!(synced, Err(OpenError::Io { .. })), "{synced:?}");
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

#[test]
fn a_link_and_what_is_private_already_are_not_tightened() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    std::fs::write(&file, b"mine").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for (tightened, before, after) in [(&link, 0o644, 0o644), (&file, 0o400, 0o400), (&file, 0o700, 0o600)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(before)).unwrap();
        open::tighten(tightened).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, after, "{before:o}");
    }
}

#[test]
fn where_something_lies_nothing_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (path, draft) = (dir.path().join("ember.redb"), dir.path().join("ember.redb.new"));
    std::fs::write(&path, b"something").unwrap();
    std::fs::write(&draft, b"half").unwrap();
    assert!(matches!(RedbStore::create(&path, birth(), quick()), Err(OpenError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"something");
    assert_eq!(std::fs::read(&draft).unwrap(), b"half");
}

#[test]
fn a_draft_that_cannot_be_removed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let draft = dir.path().join("ember.redb.new");
    std::fs::create_dir(&draft).unwrap();
    let refused = RedbStore::create(&dir.path().join("ember.redb"), birth(), quick()).map(drop).unwrap_err();
    let OpenError::Io { path, source } = &refused else { panic!("{refused}") };
    assert_eq!((path, source.kind()), (&draft, ErrorKind::IsADirectory));
}

#[test]
fn a_start_locks_its_own_directory_and_no_other() {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lock = create::Directory::lock(&here.path().join("ember.redb")).unwrap();
    let made = |dir: &Path| RedbStore::create(&dir.join("ember.redb"), birth(), quick()).map(drop);
    assert!(matches!(made(here.path()), Err(OpenError::Locked { .. })));
    made(elsewhere.path()).unwrap();
    drop(lock);
    made(here.path()).unwrap();
}

/// How this process has a file open, as the system tells it.
fn flags_of(path: &Path) -> OFlags {
    let is_it = |entry: &std::fs::DirEntry| entry.path().read_link().is_ok_and(|target| target == path);
    let mut entries = Path::new("/proc/self/fd").read_dir().unwrap().map(Result::unwrap);
    let number = entries.find(is_it).unwrap().file_name();
    let facts = std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(number)).unwrap();
    let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    OFlags::from_bits_retain(u32::from_str_radix(flags.trim(), 8).unwrap())
}

#[test]
fn a_file_is_opened_so_that_it_is_neither_followed_nor_waited_for_nor_handed_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().canonicalize().unwrap();
    let (path, new) = (place.join("ember.redb"), place.join("new"));
    make(&path);
    let store = RedbStore::open(&path, quick()).unwrap();
    let flags = flags_of(&path);
    let wanted = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    assert!(flags.contains(wanted), "{flags:?}");
    drop(store);
    let file = create::new_file(&new).unwrap();
    let flags = flags_of(&new);
    assert!(flags.contains(OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC), "{flags:?}");
    drop(file);
}

#[test]
fn errors_of_the_engine_are_told_apart() {
    use ::redb::Error as E;
    let told = |error: E| OpenError::engine(Path::new("here"), error);
    let disk = |kind: ErrorKind| E::Io(kind.into());
    for error in
        [disk(ErrorKind::UnexpectedEof), disk(ErrorKind::InvalidData), E::Corrupted("a page".to_string())]
    {
        assert!(matches!(told(error), OpenError::Damaged { .. }));
    }
    for error in [disk(ErrorKind::PermissionDenied), disk(ErrorKind::StorageFull), E::PreviousIo] {
        assert!(matches!(told(error), OpenError::Io { .. }));
    }
    assert!(matches!(told(E::DatabaseAlreadyOpen), OpenError::Locked { .. }));
    assert!(told(disk(ErrorKind::StorageFull)).is_full());
    assert!(!told(disk(ErrorKind::PermissionDenied)).is_full());
}

#[test]
fn only_a_full_disk_has_the_ballast_released_for_the_opening() {
    let dir = tempfile::tempdir().unwrap();
    let (path, place) = (dir.path().join("ember.redb"), dir.path().join("ballast"));
    make(&path);
    let faults = Faults::default();
    let options = || StoreOptions {
        ballast_bytes: 64 * 1024,
        ballast_wait: Duration::from_secs(3600),
        faults: Some(faults.clone()),
        ..quick()
    };
    faults.set(Fault { on: FaultOn::Writes, kind: FaultKind::Io, skip: 0, times: 1, while_filled: None });
    assert!(matches!(RedbStore::open(&path, options()), Err(OpenError::Io { .. })));
    assert_eq!(place.metadata().unwrap().len(), 64 * 1024);
    let while_filled = Some(place.clone());
    faults.set(Fault { on: FaultOn::Writes, kind: FaultKind::Full, skip: 0, times: u64::MAX, while_filled });
    let store = RedbStore::open(&path, options()).unwrap();
    assert_eq!(place.metadata().unwrap().len(), 0);
    assert_eq!(store.commit(put(b"a", b"1")), Err(CommitError::Full));
    let denial = Commit { urgency: Urgency::Denial, ..put(b"b", b"2") };
    assert_eq!(store.commit(denial), Ok(()));
}
