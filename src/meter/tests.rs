//! Tries the meter on a store that fails and is interrupted on demand. Owns the stand-ins for clock and store.
//! Never: the real clock.

mod begin;
mod disk;
mod flush;
mod reading;
mod report;
mod retain;
mod verify;

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use crate::store::{Commit, CommitError, MemoryStore, Observer, Row, Store, Table, Trouble};
use crate::types::Prices;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Half past an hour.
const START: Timestamp = Timestamp::from_millis(500_000 * 3_600_000 + 1_800_000);

/// A clock that shows what it is told to.
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// How the store takes commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    Full,
    /// The disk fails and nothing is changed.
    Broken,
    /// The disk fails after the change was made.
    BrokenLate,
    /// As these two, and the store can't be read from then on.
    Gone,
    GoneLate,
}

/// Where somebody else comes in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeCommit,
    AfterCommit,
    BeforeScan,
    AfterScan,
}

type Hook = Box<dyn FnOnce() + Send>;

/// A store that fails on demand.
struct Trial {
    inner: Arc<dyn Store>,
    weather: Mutex<Weather>,
    unreadable: AtomicBool,
    hooks: Mutex<Vec<(Moment, Hook)>>,
    /// How many writes each commit had.
    sizes: Mutex<Vec<usize>>,
}

impl Trial {
    fn on(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            weather: Mutex::new(Weather::Fair),
            unreadable: AtomicBool::new(false),
            hooks: Mutex::default(),
            sizes: Mutex::default(),
        }
    }

    fn turn(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
        self.unreadable.store(false, Ordering::SeqCst);
    }

    /// What happens once, the next time this moment comes.
    fn at(&self, moment: Moment, hook: impl FnOnce() + Send + 'static) {
        self.hooks.lock().unwrap().push((moment, Box::new(hook)));
    }

    fn comes(&self, moment: Moment) {
        let mut hooks = self.hooks.lock().unwrap();
        let found = hooks.iter().position(|(when, _)| *when == moment).map(|place| hooks.remove(place));
        drop(hooks);
        found.into_iter().for_each(|(_, hook)| hook());
    }

    fn readable(&self) -> Result<(), Trouble> {
        match self.unreadable.load(Ordering::SeqCst) {
            true => Err(Trouble::Unavailable("the disk is gone".to_string())),
            false => Ok(()),
        }
    }
}

impl Store for Trial {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        self.readable()?;
        self.inner.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        self.readable()?;
        self.comes(Moment::BeforeScan);
        let rows = self.inner.scan(table, from, to, rows_max);
        self.comes(Moment::AfterScan);
        rows
    }

    fn scan_back(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        self.inner.scan_back(table, from, to, rows_max)
    }

    fn count(&self, table: Table) -> Result<u64, Trouble> {
        self.inner.count(table)
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.sizes.lock().unwrap().push(commit.writes.len());
        self.comes(Moment::BeforeCommit);
        let weather = *self.weather.lock().unwrap();
        let outcome = match weather {
            Weather::Full => Err(CommitError::Full),
            Weather::Broken | Weather::Gone => Ok(()),
            Weather::Fair | Weather::BrokenLate | Weather::GoneLate => self.inner.commit(commit),
        };
        self.unreadable.store(matches!(weather, Weather::Gone | Weather::GoneLate), Ordering::SeqCst);
        self.comes(Moment::AfterCommit);
        match weather {
            Weather::Fair | Weather::Full => outcome,
            Weather::Broken | Weather::BrokenLate | Weather::Gone | Weather::GoneLate => {
                outcome.and(Err(Trouble::Unavailable("the disk failed".to_string()).into()))
            }
        }
    }

    fn observe(&self, observer: Observer) {
        self.inner.observe(observer);
    }
}

/// A meter with everything around it.
struct House {
    meter: Arc<Meter>,
    store: Arc<Trial>,
    clock: Arc<HandClock>,
}

impl House {
    fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    fn on(inner: Arc<dyn Store>) -> Self {
        let store = Arc::new(Trial::on(inner));
        let clock = Arc::new(HandClock(AtomicI64::new(START.as_millis())));
        let meter = Arc::new(Meter::new(clock.clone(), store.clone()));
        meter.begin().unwrap();
        store.sizes.lock().unwrap().clear();
        Self { meter, store, clock }
    }

    /// Another process on the same data: it knows what is in the store and nothing else.
    fn restarted(&self) -> Self {
        let next = Self::on(Arc::clone(&self.store.inner));
        next.clock.0.store(self.clock.0.load(Ordering::SeqCst), Ordering::SeqCst);
        next
    }

    /// A request of an account's one key begins.
    fn open(&self, account: u32) -> OpenUse {
        let open = self.meter.open(key_id(account), account_id(account), self.clock.now());
        open.progress().is_for("m");
        open.progress().sent_to("u");
        open
    }

    /// All that the whole server's records say.
    fn whole(&self) -> Figures {
        self.meter.report(&ask(None, None), &Prices::default()).unwrap().total.figures
    }

    fn is_proven(&self) -> bool {
        let proof = self.meter.verify().unwrap();
        assert_eq!(proof.wrong, []);
        proof.faults == 0
    }

    fn wait(&self, time: Duration) {
        self.clock.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// A request of an account's one key: one token of a prompt, two of an answer, three cached.
    fn record(&self, account: u32) {
        self.meter.record(used(account));
    }

    /// Requests in the last day, of an account or of all.
    fn requests(&self, account: Option<u32>) -> u64 {
        requests(&self.meter, account)
    }
}

fn requests(meter: &Meter, account: Option<u32>) -> u64 {
    let sums = meter.sums(account.map(account_id), DAY).unwrap();
    assert_eq!(sums, times(sums.requests), "tokens that belong to other requests");
    sums.requests
}

fn times(requests: u64) -> Sums {
    let tokens = Tokens { prompt: requests, completion: 2 * requests, cached: 3 * requests };
    Sums { requests, tokens }
}

fn used(account: u32) -> Use {
    let Sums { tokens, .. } = times(1);
    Use {
        key: key_id(account),
        account: account_id(account),
        model: Some("m".into()),
        upstream: Some("u".into()),
        tokens: Some(tokens),
        ending: Ending::Done,
        course: Course::default(),
    }
}

/// Everything there ever was.
fn ask(group: Option<Group>, step: Option<Step>) -> Ask {
    let (from, until) = (Timestamp::from_millis(0), Timestamp::MAX);
    Ask { account: None, key: None, from, until, group, step }
}

fn id_bytes(number: u32) -> [u8; 16] {
    let mut bytes = [7; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn account_id(number: u32) -> AccountId {
    AccountId::from_bytes(&id_bytes(number)).unwrap()
}

fn key_id(number: u32) -> KeyId {
    KeyId::from_bytes(&id_bytes(number)).unwrap()
}
