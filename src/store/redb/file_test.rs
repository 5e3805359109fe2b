//! What becomes of files: made, killed while made, foreign, locked, damaged, older, newer, copied.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use ::redb::backends::InMemoryBackend;

use super::migration::Migration;
use super::*;
use crate::store::{Check, Write, contract};
use crate::types::Timestamp;

const T: Table = Table("things");

pub(super) fn birth() -> Birth {
    Birth { created_at: Timestamp::from_millis(1_800_000_000_000), store_id: *b"0123456789abcdef" }
}

/// No ballast and short waits.
pub(super) fn quick() -> StoreOptions {
    StoreOptions {
        cache_bytes: 1 << 20,
        ballast_bytes: 0,
        ballast_wait: Duration::ZERO,
        reopen_wait: Duration::from_millis(1),
        reopen_wait_max: Duration::from_millis(4),
        faults: None,
    }
}

pub(super) fn put(key: &[u8], value: &[u8]) -> Commit {
    let write = Write::Put { table: T, key: key.to_vec(), value: value.to_vec() };
    Commit { writes: vec![write], ..Commit::default() }
}

/// A store with 100 rows at `path`, closed cleanly.
fn make(path: &Path) {
    let store = RedbStore::create(path, birth(), quick()).unwrap();
    let row = |n: u8| Write::Put { table: T, key: vec![n], value: vec![n; 300] };
    store.commit(Commit { writes: (0..100).map(row).collect(), ..Commit::default() }).unwrap();
}

/// An in-memory disk of redb's own that outlives the database on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Arc<InMemoryBackend>);

impl ::redb::StorageBackend for Memory {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// A store on a disk of a test's own.
pub(super) fn on_disk<D: ::redb::StorageBackend + Clone>(disk: D, options: StoreOptions) -> RedbStore {
    let source = Source::disk(disk);
    let database = Held::open(&source, &options).unwrap().let_through().unwrap();
    RedbStore::start(source, database, birth(), options, Ballast::none()).unwrap()
}

#[test]
fn a_file_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let stores = std::sync::atomic::AtomicUsize::new(0);
    contract::holds_for(&|| {
        let number = stores.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = dir.path().join(format!("{number}.redb"));
        Arc::new(RedbStore::create(&path, birth(), quick()).unwrap())
    });
}

#[test]
fn memory_under_redb_keeps_the_contract() {
    contract::holds_for(&|| {
        let disk = Memory::default();
        create::create_on(Box::new(disk.clone()), Path::new("(memory)"), birth()).unwrap();
        Arc::new(on_disk(disk, quick()))
    });
}

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

/// A refusal as a word, and whether the file was left as it was.
fn refused(path: &Path) -> &'static str {
    let before = path.is_file().then(|| std::fs::read(path).unwrap());
    let refused = RedbStore::open(path, quick()).map(drop).unwrap_err();
    assert_eq!(before, path.is_file().then(|| std::fs::read(path).unwrap()), "changed: {refused}");
    assert!(refused.to_string().contains(&*path.to_string_lossy()), "not named: {refused}");
    match refused {
        OpenError::NotFound { .. } => "not found",
        OpenError::Exists { .. } => "exists",
        OpenError::Locked { .. } => "locked",
        OpenError::NotAnEmberStore { .. } => "foreign",
        OpenError::Newer { .. } => "newer",
        OpenError::Damaged { .. } => "damaged",
        OpenError::Io { .. } => "io",
    }
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
    let store = RedbStore::open(&path, quick()).unwrap();
    assert_eq!(store.get(T, &[50]), Err(damaged.clone()));
    assert_eq!(store.get(T, &[51]), Ok(Some(vec![51; 300])));
    assert_eq!(store.scan(T, Bound::Unbounded, Bound::Unbounded, 1000), Err(damaged.clone()));
    let equals = Check::Equals { table: T, key: vec![50], value: vec![50; 300] };
    let checked = Commit { checks: vec![equals], ..put(b"x", b"x") };
    assert_eq!(store.commit(checked), Err(CommitError::Trouble(damaged)));
    assert_eq!(store.get(T, b"x"), Ok(None));
    let copy = store.snapshot_to(&dir.path().join("copy"));
    assert!(matches!(copy, Err(SnapshotError::Damaged { .. })), "{copy:?}");
    assert!(!dir.path().join("copy").exists());
}

#[test]
fn damage_anywhere_is_never_taken_for_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let (path, flipped) = (dir.path().join("ember.redb"), dir.path().join("flipped"));
    make(&path);
    let whole = std::fs::read(&path).unwrap();
    for at in (9..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&flipped, bytes).unwrap();
        let Ok(store) = RedbStore::open(&flipped, quick()) else { continue };
        for n in 0..100u8 {
            if let Ok(Some(value)) = store.get(T, &[n]) {
                assert_eq!(value, vec![n; 300], "byte {at}");
            }
        }
        if let Ok(rows) = store.scan(T, Bound::Unbounded, Bound::Unbounded, 1000) {
            assert!(rows.iter().all(|(key, value)| *value == vec![key[0]; 300]), "byte {at}");
        }
    }
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
