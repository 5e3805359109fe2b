//! Measures what admission costs with all limits and with none, and what an active key takes of memory.
//!
//!   cargo run --release --example admit             nanoseconds of identify, admit, settle and drop; medians of rounds
//!   cargo run --release --example admit -- open     bytes of resident memory for each key in use, without limits
//!   cargo run --release --example admit -- usual    the same with a rate and a budget, on the key and on its account
//!   cargo run --release --example admit -- limited  the same with all limits, on the key and on its account

use std::future::Future;
use std::io::Write;
use std::num::NonZeroU64;
use std::ops::Bound;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ember_gateway::gate::{
    Asking, EndMet, Gate, Grant, KeySource, LimitLedger, Limiter, Owner, SourceTrouble,
};
use ember_gateway::meter::{Holder, Meter, Used};
use ember_gateway::store::{Commit, CommitError, Observer, Row, Store, Table, Trouble};
use ember_gateway::types::{
    AccountId, Bounds, Clock, Ending, Environment, Key, KeyDigest, KeyId, KeyRecord, KeySecret, KeyStanding,
    LimitKind, Policy, Random, RandomUnavailable, Stopwatch, Timestamp, Tokens, Weight,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ROUNDS: usize = 11;
const ADMISSIONS: u32 = 200_000;
const KEYS: usize = 100_000;

/// Every key is known and stands; nothing is written down.
struct World {
    began: Instant,
    dice: AtomicU64,
    keys: AtomicU64,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceTrouble>> + Send + 'a>>;

impl KeySource for World {
    fn find<'a>(&'a self, digest: KeyDigest) -> Answer<'a, Option<Grant>> {
        let owner = Owner { is_active: true, ..Owner::default() };
        Box::pin(async move { Ok(Some(Grant::of(&self.record(digest), &digest, owner))) })
    }

    fn end_met(&self, _: EndMet) {}
}

impl LimitLedger for World {
    fn read(&self, _: Holder) -> Answer<'_, Option<Used>> {
        Box::pin(async { Ok(None) })
    }

    fn write(&self, _: Vec<(Holder, Used)>) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// What is written down takes no memory here.
impl Store for World {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        Ok(None)
    }

    fn scan(&self, _: Table, _: Bound<&[u8]>, _: Bound<&[u8]>, _: usize) -> Result<Vec<Row>, Trouble> {
        Ok(Vec::new())
    }

    fn scan_back(&self, _: Table, _: Bound<&[u8]>, _: Bound<&[u8]>, _: usize) -> Result<Vec<Row>, Trouble> {
        Ok(Vec::new())
    }

    fn count(&self, _: Table) -> Result<u64, Trouble> {
        Ok(0)
    }

    fn commit(&self, _: Commit) -> Result<(), CommitError> {
        Ok(())
    }

    fn observe(&self, _: Observer) {}
}

impl Stopwatch for World {
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        NOW
    }
}

impl Random for World {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        for byte in bytes {
            let step = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mixed = (step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
        Ok(())
    }
}

impl World {
    /// Ten keys each have the same account.
    fn account(&self) -> AccountId {
        let mut id = [0; 16];
        let number = self.keys.fetch_add(1, Ordering::Relaxed) / 10;
        id[8..].copy_from_slice(&number.to_be_bytes());
        id[0] = 1;
        AccountId::from_bytes(&id).expect("any bytes are an id")
    }

    fn record(&self, digest: KeyDigest) -> KeyRecord {
        let secret = KeySecret {
            digest,
            hint: Key::generate(Environment::Prod, self).expect("it is made up").hint(),
            created_at: NOW,
            valid_until: None,
        };
        KeyRecord {
            id: KeyId::generate(NOW, self).expect("it is made up"),
            account: self.account(),
            name: "application-of-usual-length".parse().expect("a name"),
            environment: Environment::Prod,
            policy: Policy::default(),
            allow_browser: false,
            weight: Weight::default(),
            secrets: vec![secret],
            standing: KeyStanding::Active,
            created_at: NOW,
            expires_at: None,
            expiry_met: false,
        }
    }
}

/// All kinds of limits, none of them near.
fn all() -> Bounds {
    let mut bounds = Bounds::default();
    LimitKind::ALL.into_iter().for_each(|kind| bounds.set(kind, NonZeroU64::new(1_000_000_000_000)));
    bounds
}

/// A rate and a budget.
fn usual() -> Bounds {
    let mut bounds = all();
    for kind in LimitKind::ALL {
        if !matches!(kind, LimitKind::RequestsPerMinute | LimitKind::TokensPerMonth) {
            bounds.set(kind, None);
        }
    }
    bounds
}

fn gate(world: &Arc<World>, bounds: Bounds) -> (Gate, Arc<Meter>) {
    let meter = Arc::new(Meter::new(world.clone(), world.clone()));
    let limiter = Arc::new(Limiter::new(world.clone(), world.clone(), bounds, bounds));
    (Gate::new(world.clone(), Arc::clone(&meter), limiter, 2 * KEYS), meter)
}

/// Seldom something has to be written down first, by another thread.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}

fn admit(gate: &Gate, key: &Key) {
    let caller = at_once(gate.identify(Some(key.expose().as_bytes()), NOW))
        .unwrap_or_else(|_| unreachable!("it is known"));
    let asking = Asking { model: "llama3".parse().expect("a model"), tokens: 1500 };
    let mut pass = at_once(gate.admit(caller, asking, NOW)).unwrap_or_else(|_| unreachable!("it may pass"));
    pass.settle(Some(Tokens { prompt: 300, completion: 200, cached: 0 }), Ending::Done);
}

fn nanos_each(gate: &Gate, key: &Key) -> f64 {
    let began = Instant::now();
    (0..ADMISSIONS).for_each(|_| admit(gate, key));
    began.elapsed().as_nanos() as f64 / f64::from(ADMISSIONS)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Resident memory of this process, in bytes (proc(5)).
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

/// In a process of its own: what was freed before would hide what is taken.
fn bytes_each(world: &Arc<World>, bounds: Bounds) -> usize {
    let (gate, meter) = gate(world, bounds);
    let keys: Vec<Key> =
        (0..KEYS).map(|_| Key::generate(Environment::Prod, &**world).expect("it is made up")).collect();
    let before = resident();
    for part in keys.chunks(1000) {
        part.iter().for_each(|key| admit(&gate, key));
        meter.flush().expect("it is written nowhere");
    }
    (resident() - before) / KEYS
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let _inside = runtime.enter();
    let mut out = std::io::stdout();
    let world = Arc::new(World { began: Instant::now(), dice: AtomicU64::new(1), keys: AtomicU64::new(0) });
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("open") => return writeln!(out, "{:>5} bytes each", bytes_each(&world, Bounds::default())),
        Some("usual") => return writeln!(out, "{:>5} bytes each", bytes_each(&world, usual())),
        Some(_) => return writeln!(out, "{:>5} bytes each", bytes_each(&world, all())),
    }
    let key = Key::generate(Environment::Prod, &*world).expect("it is made up");
    let (open, limited) = (gate(&world, Bounds::default()).0, gate(&world, all()).0);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(nanos_each(&open, &key));
        with.push(nanos_each(&limited, &key));
    }
    let (without, with) = (median(without), median(with));
    writeln!(out, "admission without limits  {without:>6.0} ns")?;
    writeln!(out, "admission with all limits {with:>6.0} ns, {:.0} ns more", with - without)?;
    Ok(())
}
