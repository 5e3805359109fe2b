//! What the tests of this engine share, and the contract run on it.

mod copy;
mod crash;
mod damage;
mod fault;
mod file;
mod flips;
mod format;
mod held;
mod pulse;
#[cfg(feature = "races")]
mod races;

use ::redb::backends::InMemoryBackend;

use super::*;
use crate::store::{Write, contract};
use crate::types::Timestamp;

const T: Table = Table("things");

fn birth() -> Birth {
    Birth { created_at: Timestamp::from_millis(1_800_000_000_000), store_id: *b"0123456789abcdef" }
}

/// No ballast and short waits.
fn quick() -> StoreOptions {
    StoreOptions {
        cache_bytes: 1 << 20,
        ballast_bytes: 0,
        ballast_wait: Duration::ZERO,
        reopen_wait: Duration::from_millis(1),
        reopen_wait_max: Duration::from_millis(4),
        checked_bytes_max: 16 << 20,
        faults: None,
    }
}

fn put(key: &[u8], value: &[u8]) -> Commit {
    let write = Write::Put { table: T, key: key.to_vec(), value: value.to_vec() };
    Commit { writes: vec![write], ..Commit::default() }
}

/// A store with 100 rows at `path`, closed cleanly.
fn make(path: &Path) {
    let store = RedbStore::create(path, birth(), quick()).unwrap();
    let row = |n: u8| Write::Put { table: T, key: vec![n], value: vec![n; 300] };
    store.commit(Commit { writes: (0..100).map(row).collect(), ..Commit::default() }).unwrap();
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

/// An in-memory disk of redb's own that outlives the database on it.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<InMemoryBackend>);

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
fn on_disk<D: ::redb::StorageBackend + Clone>(disk: D, options: StoreOptions) -> RedbStore {
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
