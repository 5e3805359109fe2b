//! Tries every rule of the registry on a store that fails on demand. Owns the stand-ins for clock, random source,
//! store and door. Never: the disk, the real clock.

mod accounts;
mod audit;
mod bounds;
mod chain;
mod denial;
mod find;
mod idle;
mod invites;
mod keys;
mod lists;
mod people;
mod policy;
mod records;
mod refused;
mod reopened;
mod resets;
mod rotation;
mod sessions;
mod sign_in;
mod speed;
mod tokens;
mod trail;
mod trouble;

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::store::{Commit, CommitError, MemoryStore, Observer, Row, Store, Table, Trouble, Write};
use crate::types::{
    Account, Actor, Clock, DisplayName, Environment, Key, KeyRecord, ModelScope, Place, Random,
    RandomUnavailable, Role, Secret, SignUp, Ticket, Timestamp,
};

use super::*;

const ROOT: Actor = Actor::Machine { uid: 0 };
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MILLI: Duration = Duration::from_millis(1);
const ANA: &str = "ana@example.com";
const PASSWORD: &str = "correct horse battery";

/// A clock that moves when it is told to.
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Bytes that look random and are the same in every run (splitmix64).
struct Dice(AtomicU64);

impl Random for Dice {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        for byte in bytes {
            let step = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mixed = (step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed >> 56) as u8;
        }
        Ok(())
    }
}

/// How the store takes commits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// The disk fails and nothing is changed.
    Broken,
    /// The disk fails after the change was made.
    BrokenLate,
    Full,
    /// Somebody else is always quicker.
    Crowded,
}

type Hook = Box<dyn FnOnce() + Send>;

/// A store that fails on demand and remembers every byte it was ever given.
struct Trial {
    inner: Arc<MemoryStore>,
    weather: Mutex<Weather>,
    unreadable: AtomicBool,
    /// A table that can't be read while all others can.
    lost: Mutex<Option<Table>>,
    written: Mutex<Vec<u8>>,
    /// Runs before the next commit: what somebody else does just then.
    meanwhile: Mutex<Option<Hook>>,
    /// The same before a table is read the next time.
    glance: Mutex<Option<(Table, Hook)>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Trial {
    fn turn(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    fn meanwhile(&self, hook: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(hook));
    }

    fn before_reading(&self, table: Table, hook: impl FnOnce() + Send + 'static) {
        *self.glance.lock().unwrap() = Some((table, Box::new(hook)));
    }

    fn lose(&self, table: Option<Table>) {
        *self.lost.lock().unwrap() = table;
    }

    fn readable(&self, table: Table) -> Result<&MemoryStore, Trouble> {
        let hook = self.glance.lock().unwrap().take_if(|(wanted, _)| *wanted == table);
        hook.into_iter().for_each(|(_, hook)| hook());
        if self.unreadable.load(Ordering::SeqCst) || *self.lost.lock().unwrap() == Some(table) {
            return Err(Trouble::Unavailable("no such luck".to_string()));
        }
        Ok(&self.inner)
    }

    /// Sets a row to whatever it is to be, past all rules.
    fn put(&self, table: Table, key: &[u8], value: &[u8]) {
        let write = Write::Put { table, key: key.to_vec(), value: value.to_vec() };
        self.inner.commit(Commit { writes: vec![write], ..Commit::default() }).unwrap();
    }
}

impl Store for Trial {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        self.readable(table)?.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        self.readable(table)?.scan(table, from, to, rows_max)
    }

    fn scan_back(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        self.readable(table)?.scan_back(table, from, to, rows_max)
    }

    fn count(&self, table: Table) -> Result<u64, Trouble> {
        self.readable(table)?.count(table)
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let hook = self.meanwhile.lock().unwrap().take();
        hook.into_iter().for_each(|hook| hook());
        self.log.lock().unwrap().push("commit".to_string());
        for write in &commit.writes {
            if let Write::Put { key, value, .. } = write {
                self.written.lock().unwrap().extend([&key[..], b"\0", value, b"\0"].concat());
            }
        }
        let broken = || CommitError::Trouble(Trouble::Unavailable("the disk is gone".to_string()));
        let weather = *self.weather.lock().unwrap();
        match weather {
            Weather::Fair => self.inner.commit(commit),
            Weather::Broken => Err(broken()),
            Weather::BrokenLate => self.inner.commit(commit).and(Err(broken())),
            Weather::Full => Err(CommitError::Full),
            Weather::Crowded => Err(CommitError::Conflict { check: 0 }),
        }
    }

    fn observe(&self, observer: Observer) {
        self.inner.observe(observer);
    }
}

/// A door that writes down what it is told, in the same log as the store.
struct Watchman {
    log: Arc<Mutex<Vec<String>>>,
    denied: Mutex<Vec<Denial>>,
}

impl Door for Watchman {
    fn deny(&self, denial: Denial) {
        self.log.lock().unwrap().push(format!("deny {:?}", denial.because));
        self.denied.lock().unwrap().push(denial);
    }

    fn lift(&self, denial: Denial) {
        self.log.lock().unwrap().push(format!("lift {:?}", denial.because));
        let mut denied = self.denied.lock().unwrap();
        let place = denied.iter().position(|known| *known == denial).expect("lifted, but never denied");
        denied.swap_remove(place);
    }
}

/// A registry with everything around it.
struct House {
    registry: Arc<Registry>,
    store: Arc<Trial>,
    clock: Arc<HandClock>,
    dice: Arc<Dice>,
    door: Arc<Watchman>,
}

impl House {
    fn new() -> Self {
        Self::with_door(true)
    }

    /// Where the operator lets people make accounts.
    fn with_sign_up(sign_up: SignUp) -> Self {
        Self::under(Rules { sign_up, ..Rules::default() })
    }

    /// Where the operator chose these rules.
    fn under(rules: Rules) -> Self {
        let Self { store, clock, dice, door, .. } = Self::new();
        let told = Arc::clone(&door) as Arc<dyn Door>;
        let registry = Registry::new(store.clone(), clock.clone(), dice.clone(), Some(told));
        Self { registry: Arc::new(registry.with_rules(rules)), store, clock, dice, door }
    }

    fn with_door(has_door: bool) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let store = Arc::new(Trial {
            inner: Arc::new(MemoryStore::new()),
            weather: Mutex::new(Weather::Fair),
            unreadable: AtomicBool::new(false),
            lost: Mutex::default(),
            written: Mutex::default(),
            meanwhile: Mutex::default(),
            glance: Mutex::default(),
            log: Arc::clone(&log),
        });
        let clock = Arc::new(HandClock(AtomicI64::new(START.as_millis())));
        let dice = Arc::new(Dice(AtomicU64::new(1)));
        let door = Arc::new(Watchman { log, denied: Mutex::default() });
        let told = has_door.then(|| Arc::clone(&door) as Arc<dyn Door>);
        let registry = Registry::new(store.clone(), clock.clone(), dice.clone(), told);
        Self { registry: Arc::new(registry), store, clock, dice, door }
    }

    /// A second registry on the same data that no weather reaches: somebody else.
    fn neighbour(&self) -> Registry {
        Registry::new(self.store.inner.clone(), self.clock.clone(), self.dice.clone(), None)
            .with_rules(Rules::clone(&self.registry.rules()))
    }

    fn wait(&self, time: Duration) {
        self.clock.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn account(&self, email: &str) -> Account {
        self.registry.create_account(ROOT, &new_account(email)).unwrap()
    }

    /// An account that can sign in with [`PASSWORD`].
    fn person(&self, email: &str, role: Role) -> Account {
        let new = NewAccount { role, password: Some(secret(PASSWORD)), ..new_account(email) };
        self.registry.create_account(ROOT, &new).unwrap()
    }

    fn sign_in(&self, email: &str) -> SignedIn {
        self.registry.sign_in(email, &secret(PASSWORD), &place(HOME)).unwrap()
    }

    /// A session without the work of looking at a password.
    fn session_of(&self, account: &Account) -> SignedIn {
        let epoch = self.registry.epoch(account.id).unwrap();
        self.registry.open_session(account.id, epoch, &place(HOME)).unwrap()
    }

    fn is_signed_in(&self, ticket: &Ticket) -> bool {
        let found = self.registry.session(ticket).unwrap();
        let again = self.neighbour().session(ticket).unwrap();
        assert_eq!(found.is_some(), again.is_some(), "all who read the store see the same");
        found.is_some()
    }

    /// A key of an account that is made for it when it is not there.
    fn key(&self, email: &str, name: &str) -> (KeyRecord, Key) {
        if self.registry.account(ROOT, email).is_err() {
            self.account(email);
        }
        // Ids sort by the millisecond they were made in.
        self.wait(Duration::from_millis(1));
        self.registry.create_key(ROOT, &new_key(email, name)).unwrap()
    }

    fn member(&self, email: &str) -> Actor {
        Actor::Person { account: self.registry.account(ROOT, email).unwrap().id, admin: false }
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.store.log.lock().unwrap())
    }

    fn denied(&self) -> Vec<Denial> {
        self.door.denied.lock().unwrap().clone()
    }
}

/// An address that people sign in from.
const HOME: &str = "192.0.2.1";

fn place(address: &str) -> Place {
    Place::new(address.parse().unwrap(), "Firefox")
}

/// Another stranger's address each time.
fn stranger(number: usize) -> Place {
    place(&format!("203.0.113.{number}"))
}

fn new_account(email: &str) -> NewAccount {
    NewAccount { email: email.parse().unwrap(), name: None, role: Role::Member, password: None }
}

fn new_key(account: &str, name: &str) -> NewKey {
    NewKey::new(account, name.parse().unwrap(), Environment::Prod)
}

fn rename(house: &House, actor: Actor, name: Option<&DisplayName>) -> Result<Account, RegistryError> {
    let changes = AccountChanges { name: Some(name.cloned()), ..AccountChanges::default() };
    house.registry.update_account(actor, "ana@example.com", &changes)
}

fn scope(models: &[&str]) -> ModelScope {
    ModelScope::Only(models.iter().map(|model| model.parse().unwrap()).collect())
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_string())
}

/// The problem and the words of something that must have been refused.
fn refused<T>(outcome: Result<T, RegistryError>) -> (Problem, String) {
    match outcome {
        Ok(_) => panic!("it was not refused"),
        Err(error) => (error.problem(), error.to_string()),
    }
}

fn problem<T>(outcome: Result<T, RegistryError>) -> Problem {
    refused(outcome).0
}

#[test]
fn a_store_in_trouble_is_told_as_such_and_as_nothing_else() {
    let house = House::new();
    let (key, _) = house.key("ana@example.com", "ci");
    house.store.unreadable.store(true, Ordering::SeqCst);
    assert_eq!(problem(house.registry.account(ROOT, "ana@example.com")), Problem::Unavailable);
    assert_eq!(problem(house.registry.key(ROOT, &key.id.to_string())), Problem::Unavailable);
    assert_eq!(problem(house.registry.by_digest(&key.secrets[0].digest)), Problem::Unavailable);
    assert_eq!(problem(house.registry.create_account(ROOT, &new_account("b@c"))), Problem::Unavailable);
}
