//! Makes a store with many keys through the code that makes one: `cargo run --release --example fill -- DIR COUNT
//! [KEYS [KEPT]]`. DIR is a data directory that has no store yet; KEPT of the keys (1 unless told), spread over all
//! of them, go into the new file KEYS (`first-key` beside the store unless told), mode 0600. Knows no shortcut past
//! the registry.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ember_gateway::registry::{NewAccount, NewKey, Registry};
use ember_gateway::store::{Birth, RedbStore, Store, StoreOptions};
use ember_gateway::types::{
    Actor, Clock, Environment, Key, KeyName, Random, RandomUnavailable, Role, Timestamp,
};
use ring::rand::{SecureRandom, SystemRandom};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// As many as the store commits together.
const THREADS: u64 = 256;
const OWNER: &str = "fill@example.com";
const PROGRESS_EVERY: u64 = 100_000;

fn main() -> Result<(), Failure> {
    let wanted = Wanted::parse()?;
    DirBuilder::new().recursive(true).mode(0o700).create(&wanted.directory)?;
    let began = Instant::now();
    let store = Arc::new(make_store(&wanted.directory.join("ember.redb"))?);
    let shared: Arc<dyn Store> = store.clone();
    let registry =
        Registry::new(shared, Arc::new(WallClock), Arc::new(MachineRandom(SystemRandom::new())), None);
    let owner = NewAccount { email: OWNER.parse()?, name: None, role: Role::Admin, password: None };
    registry.create_account(Actor::Ember, &owner)?;
    fill(&registry, &wanted)?;
    drop(registry);
    drop(store);
    say(&format!("{} keys in {:.0} s", wanted.count, began.elapsed().as_secs_f64()));
    Ok(())
}

struct Wanted {
    directory: PathBuf,
    count: u64,
    keys: PathBuf,
    kept: u64,
}

impl Wanted {
    fn parse() -> Result<Self, Failure> {
        const USAGE: &str = "usage: fill DIR COUNT [KEYS [KEPT]]";
        let mut arguments = std::env::args().skip(1);
        let directory = PathBuf::from(arguments.next().ok_or(USAGE)?);
        let count: u64 = arguments.next().ok_or(USAGE)?.parse()?;
        let keys = arguments.next().map_or_else(|| directory.join("first-key"), PathBuf::from);
        let kept: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
        if count == 0 || kept > count || arguments.next().is_some() {
            return Err(USAGE.into());
        }
        Ok(Self { directory, count, keys, kept })
    }

    fn is_kept(&self, number: u64) -> bool {
        let Some(step) = self.count.checked_div(self.kept) else { return false };
        number.is_multiple_of(step) && number / step < self.kept
    }
}

/// A large cache: this is about getting there, not about serving.
fn make_store(path: &Path) -> Result<RedbStore, Failure> {
    let random = MachineRandom(SystemRandom::new());
    let mut store_id = [0; 16];
    random.fill(&mut store_id)?;
    let options = StoreOptions { cache_bytes: 1 << 30, ..StoreOptions::default() };
    Ok(RedbStore::create(path, Birth { created_at: WallClock.now(), store_id }, options)?)
}

fn fill(registry: &Registry, wanted: &Wanted) -> Result<(), Failure> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&wanted.keys)?;
    let (made, next) = (Mutex::new(made), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let worker = || work(registry, wanted, &next, &made);
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

fn work(registry: &Registry, wanted: &Wanted, next: &AtomicU64, made: &Mutex<File>) -> Result<(), Failure> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= wanted.count {
            return Ok(());
        }
        let key = one_key(registry, number)?;
        if wanted.is_kept(number) {
            writeln!(made.lock().unwrap_or_else(PoisonError::into_inner), "{}", key.expose())?;
        }
        if number > 0 && number.is_multiple_of(PROGRESS_EVERY) {
            say(&format!("{number} keys"));
        }
    }
}

fn one_key(registry: &Registry, number: u64) -> Result<Key, Failure> {
    let name: KeyName = format!("application-{number}").parse()?;
    let new = NewKey::new(OWNER, name, Environment::Prod);
    Ok(registry.create_key(Actor::Ember, &new)?.1)
}

fn say(text: &str) {
    // Nobody reads it any more; the store is made all the same.
    let _ = writeln!(std::io::stderr(), "{text}");
}

struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "a program of its own, with its own way to the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

struct MachineRandom(SystemRandom);

impl Random for MachineRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        self.0.fill(bytes).map_err(|_| RandomUnavailable)
    }
}
