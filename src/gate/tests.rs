//! Tries admission with a source that counts, fails and waits on demand. Owns that source. Never: disk, real clock.

mod bound;
mod clock;
mod cut;
mod flight;
mod kept;
mod limits;
mod model;
mod notice;
#[cfg(feature = "races")]
mod races;
mod refusal;
mod settle;
mod stress;
mod told;

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::meter::{Holder, Ledger, Used};
use crate::registry::{DenialReason, DenialTarget};
use crate::store::MemoryStore;
use crate::types::{
    Account, AccountId, AccountStatus, Bounds, Clock, Environment, KeyId, KeyRecord, KeySecret, KeyStanding,
    ModelScope, Policy, Random, RandomUnavailable, Role, Stopwatch, Weight,
};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SOON: Timestamp = Timestamp::from_millis(1_800_000_000_001);

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn new_meter() -> Arc<Meter> {
    Arc::new(Meter::new(Arc::new(Still), Arc::new(MemoryStore::new())))
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

/// Where a look-up stops after it has read and before it answers.
struct Pause {
    arrived: Semaphore,
    go: Semaphore,
}

impl Pause {
    async fn arrival(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }
}

/// What is on disk, as far as the gate can tell.
#[derive(Default)]
struct Book {
    keys: Mutex<HashMap<KeyDigest, KeyRecord>>,
    stopped: Mutex<Vec<AccountId>>,
    asked: AtomicUsize,
    is_broken: AtomicBool,
    met: Mutex<Vec<EndMet>>,
    pause: Mutex<Option<Arc<Pause>>>,
}

impl Book {
    fn read(&self, digest: &KeyDigest) -> Result<Option<Grant>, SourceTrouble> {
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(SourceTrouble("the disk is gone".to_string()));
        }
        let keys = self.keys.lock().unwrap();
        let owner = |record: &KeyRecord| Owner {
            is_active: !self.stopped.lock().unwrap().contains(&record.account),
            ..Owner::default()
        };
        Ok(keys.get(digest).map(|record| Grant::of(record, digest, owner(record))))
    }
}

impl KeySource for Book {
    fn find<'a>(
        &'a self,
        digest: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let found = self.read(&digest);
            let pause = self.pause.lock().unwrap().clone();
            if let Some(pause) = pause {
                pause.arrived.add_permits(1);
                pause.go.acquire().await.unwrap().forget();
            }
            found
        })
    }

    fn end_met(&self, end: EndMet) {
        self.met.lock().unwrap().push(end);
    }
}

/// What was used of limits, on a disk that may fail; and a stopwatch that is turned by hand.
struct Page {
    ledger: Ledger,
    is_broken: AtomicBool,
    writes: AtomicUsize,
    elapsed_ms: AtomicU64,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            ledger: Ledger::new(Arc::new(MemoryStore::new())),
            is_broken: AtomicBool::new(false),
            writes: AtomicUsize::new(0),
            elapsed_ms: AtomicU64::new(1000),
        }
    }
}

impl LimitLedger for Page {
    fn read(
        &self,
        holder: Holder,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Used>, SourceTrouble>> + Send + '_>> {
        Box::pin(async move { self.ledger.read(holder).map_err(|error| SourceTrouble(error.to_string())) })
    }

    fn write(
        &self,
        all: Vec<(Holder, Used)>,
    ) -> Pin<Box<dyn Future<Output = Result<(), SourceTrouble>> + Send + '_>> {
        Box::pin(async move {
            // Others come in between, as on a disk.
            tokio::task::yield_now().await;
            if self.is_broken.load(Ordering::SeqCst) {
                return Err(SourceTrouble("the disk is full".to_string()));
            }
            self.writes.fetch_add(1, Ordering::SeqCst);
            self.ledger.write(&all).map_err(|error| SourceTrouble(error.to_string()))
        })
    }
}

impl Stopwatch for Page {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}

fn limiter(page: &Arc<Page>, key: Bounds, account: Bounds) -> Arc<Limiter> {
    Arc::new(Limiter::new(page.clone(), page.clone(), key, account))
}

/// A gate with its source and its meter.
struct Hall {
    gate: Gate,
    book: Arc<Book>,
    meter: Arc<Meter>,
    ledger: Arc<Page>,
    dice: Dice,
}

impl Hall {
    fn new() -> Self {
        Self::with_room(1000)
    }

    fn with_room(cached_max: usize) -> Self {
        let (book, meter) = (Arc::new(Book::default()), new_meter());
        let ledger = Arc::new(Page::default());
        let limiter = limiter(&ledger, Bounds::default(), Bounds::default());
        let gate = Gate::new(book.clone(), meter.clone(), limiter, cached_max);
        Self { gate, book, meter, ledger, dice: Dice(AtomicU64::new(1)) }
    }

    /// A key that nobody has committed yet, with an account of its own.
    fn draft(&self) -> (KeyRecord, Key) {
        let key = Key::generate(Environment::Prod, &self.dice).unwrap();
        let record = KeyRecord {
            id: KeyId::generate(NOW, &self.dice).unwrap(),
            account: AccountId::generate(NOW, &self.dice).unwrap(),
            name: "ci".parse().unwrap(),
            environment: Environment::Prod,
            policy: Policy::default(),
            allow_browser: false,
            weight: Weight::default(),
            secrets: vec![secret(&key, None)],
            standing: KeyStanding::Active,
            created_at: NOW,
            expires_at: None,
            expiry_met: false,
        };
        (record, key)
    }

    /// A key that is on disk, and not in memory.
    fn key(&self) -> (KeyRecord, Key) {
        let (record, key) = self.draft();
        self.commit(&record);
        (record, key)
    }

    /// On disk, then told, as a store does it. Digests that a key had lead to it for ever.
    fn commit(&self, record: &KeyRecord) {
        let mut keys = self.book.keys.lock().unwrap();
        let mut digests: Vec<_> = record.secrets.iter().map(|secret| secret.digest).collect();
        digests.extend(keys.iter().filter(|(_, known)| known.id == record.id).map(|(digest, _)| *digest));
        keys.extend(digests.into_iter().map(|digest| (digest, record.clone())));
        drop(keys);
        self.gate.changed(&Change::Key(record.clone()));
    }

    fn commit_account(&self, id: AccountId, status: AccountStatus) {
        let mut stopped = self.book.stopped.lock().unwrap();
        stopped.retain(|known| *known != id);
        stopped.extend((status != AccountStatus::Active).then_some(id));
        drop(stopped);
        self.gate.changed(&Change::Account(account(id, status)));
    }

    /// For a source that answers at once.
    fn identify(&self, key: &Key) -> Result<Caller, Refusal> {
        self.identify_at(key.expose().as_bytes(), NOW)
    }

    fn identify_at(&self, bearer: &[u8], now: Timestamp) -> Result<Caller, Refusal> {
        at_once(self.gate.identify(Some(bearer), now))
    }

    fn admit(&self, key: &Key) -> Result<Pass, Refusal> {
        at_once(self.gate.admit(self.identify(key)?, asking("m"), NOW))
    }

    fn asked(&self) -> usize {
        self.book.asked.swap(0, Ordering::SeqCst)
    }

    fn pause(&self) -> Arc<Pause> {
        let pause = Arc::new(Pause { arrived: Semaphore::new(0), go: Semaphore::new(0) });
        *self.book.pause.lock().unwrap() = Some(Arc::clone(&pause));
        pause
    }
}

fn secret(key: &Key, valid_until: Option<Timestamp>) -> KeySecret {
    KeySecret { digest: key.digest(), hint: key.hint(), created_at: NOW, valid_until }
}

fn account(id: AccountId, status: AccountStatus) -> Account {
    Account {
        id,
        email: "ana@example.com".parse().unwrap(),
        name: None,
        role: Role::Member,
        status,
        policy: Policy::default(),
        created_at: NOW,
    }
}

fn revoked(record: &KeyRecord) -> KeyRecord {
    KeyRecord { standing: KeyStanding::Revoked { at: NOW, reason: None }, ..record.clone() }
}

fn disabled(record: &KeyRecord) -> KeyRecord {
    KeyRecord { standing: KeyStanding::Disabled, ..record.clone() }
}

fn renamed(record: &KeyRecord) -> KeyRecord {
    KeyRecord { name: "other".parse().unwrap(), ..record.clone() }
}

fn only(record: &KeyRecord, models: &[&str]) -> KeyRecord {
    KeyRecord {
        policy: ModelScope::Only(models.iter().map(|name| model(name)).collect()).into(),
        ..record.clone()
    }
}

fn asking(name: &str) -> Asking {
    Asking { model: model(name), tokens: 10 }
}

fn model(name: &str) -> ModelId {
    name.parse().unwrap()
}

const fn denial(target: DenialTarget, because: DenialReason) -> Denial {
    Denial { target, because }
}

const fn revocation(record: &KeyRecord) -> Denial {
    denial(DenialTarget::Key(record.id), DenialReason::Revoked)
}

/// The refusal that there must be.
fn refusal<T>(outcome: Result<T, Refusal>) -> Refusal {
    outcome.err().expect("it was let through")
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn at_once<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for something"),
    }
}

/// Someone whose answer runs, with an ear for the cut.
struct Running {
    caller: Caller,
    signal: CutSignal,
    heard: Option<Cut>,
}

impl Running {
    fn new(caller: Caller) -> Self {
        Self { signal: caller.cut(), caller, heard: None }
    }

    fn heard(&mut self) -> Option<Cut> {
        if self.heard.is_none()
            && let Poll::Ready(cut) = poll(Pin::new(&mut self.signal))
        {
            self.heard = Some(cut);
        }
        self.heard
    }
}
