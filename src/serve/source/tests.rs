//! Keys that nobody was given, at a gate with the registry and a store on disk behind it: none is let in. Never: sockets.

mod timing;

use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::gate::{Gate, Limiter, Refusal};
use crate::meter::{Ledger, Meter};
use crate::registry::{NewAccount, NewKey};
use crate::serve::ledger::DiskLedger;
use crate::serve::machine::{MachineRandom, SystemClock, SystemStopwatch};
use crate::store::{Birth, RedbStore, Store, StoreOptions};
use crate::types::{Actor, Bounds, Clock as _, Environment, Role, proof};

const ROOT: Actor = Actor::Machine { uid: 0 };
const ENVIRONMENTS: [Environment; 3] = [Environment::Dev, Environment::Staging, Environment::Prod];
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK_LENGTH: usize = 6;
/// Mutated keys that are tried at the same time.
const TASKS: usize = 8;

/// A fixed sequence of numbers from a seed (SplitMix64), so that a failure can be seen again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % bound
    }

    fn digit(&mut self) -> u8 {
        DIGITS[self.below(DIGITS.len())]
    }
}

/// A store on disk with keys that were issued, and a gate over it.
struct Hall {
    gate: Gate,
    issued: Vec<Vec<u8>>,
    known: HashSet<Vec<u8>>,
    _folder: tempfile::TempDir,
}

impl Hall {
    fn new(keys: usize, source: impl FnOnce(Registry) -> Arc<dyn KeySource>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let birth = Birth { created_at: SystemClock.now(), store_id: [1; 16] };
        let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
        let store = RedbStore::create(&folder.path().join("ember.redb"), birth, options).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let random = Arc::new(MachineRandom::new());
        let registry = Registry::new(Arc::clone(&store), Arc::new(SystemClock), random, None);
        let issued = issued(&registry, keys);
        let ledger = Arc::new(DiskLedger::new(Ledger::new(Arc::clone(&store))));
        let stopwatch = Arc::new(SystemStopwatch::start());
        let limiter = Limiter::new(ledger, stopwatch, Bounds::default(), Bounds::default());
        let meter = Meter::new(Arc::new(SystemClock), store);
        let gate = Gate::new(source(registry), Arc::new(meter), Arc::new(limiter), keys);
        let known = issued.iter().cloned().collect();
        Self { gate, issued, known, _folder: folder }
    }

    async fn refusal(&self, key: &[u8]) -> Option<Refusal> {
        self.gate.identify(Some(key), SystemClock.now()).await.err()
    }

    /// A key near one or two that were issued.
    fn never_issued(&self, dice: &mut Dice) -> Vec<u8> {
        loop {
            let mut key = self.issued[dice.below(self.issued.len())].clone();
            for _ in 0..=dice.below(2) {
                self.mutate(&mut key, dice);
            }
            if dice.below(3) > 0 {
                mend(&mut key);
            }
            if !self.known.contains(&key) {
                return key;
            }
        }
    }

    fn mutate(&self, key: &mut Vec<u8>, dice: &mut Dice) {
        let (at, other) = (dice.below(key.len()), dice.below(key.len()));
        match dice.below(9) {
            0 => key[at] ^= 1 << dice.below(8),
            1 => key[at] = dice.digit(),
            2 => key.swap(at, other),
            3 => key.insert(at, dice.digit()),
            4 => drop(key.remove(at)),
            5 => key[at] = if key[at].is_ascii_alphabetic() { key[at] ^ 0x20 } else { dice.digit() },
            6 => {
                let secret = key.iter().rposition(|byte| *byte == b'_').unwrap_or(0);
                let word = ENVIRONMENTS[dice.below(ENVIRONMENTS.len())].as_str();
                key.splice(..secret, format!("ember_{word}").into_bytes());
            }
            7 => {
                // The beginning of one and the end of another.
                let other = &self.issued[dice.below(self.issued.len())];
                let from = (at + other.len()).saturating_sub(key.len()).min(other.len());
                key.splice(at.., other[from..].iter().copied());
            }
            _ => key[at..].reverse(),
        }
    }
}

fn issued(registry: &Registry, keys: usize) -> Vec<Vec<u8>> {
    let email = "ana@example.com".parse().unwrap();
    let account = NewAccount { email, name: None, role: Role::Member, password: None };
    registry.create_account(ROOT, &account).unwrap();
    let issue = |number: usize| {
        let name = format!("k{number}").parse().unwrap();
        let new = NewKey::new("ana@example.com", name, ENVIRONMENTS[number % ENVIRONMENTS.len()]);
        let (_, key) = registry.create_key(ROOT, &new).unwrap();
        key.expose().as_bytes().to_vec()
    };
    (0..keys).map(issue).collect()
}

/// Gives a key the checksum that is right for it, so that it must be looked up.
fn mend(key: &mut [u8]) {
    let (checked, check) = key.split_at_mut(key.len() - CHECK_LENGTH);
    let mut value = crc32fast::hash(checked);
    for digit in check.iter_mut().rev() {
        *digit = DIGITS[(value % 62) as usize];
        value /= 62;
    }
}

/// Laws 1 and 5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mutated_key_is_let_in() {
    let (expiries, _expired) = mpsc::channel(1);
    let source =
        |registry| -> Arc<dyn KeySource> { Arc::new(RegistrySource::new(Arc::new(registry), expiries)) };
    let hall = Arc::new(Hall::new(proof::size(100, 1000), source));
    // Those are in memory, the others on disk alone.
    for key in hall.issued.iter().step_by(2) {
        assert_eq!(hall.refusal(key).await, None, "a key that was issued");
        let mut same = key.clone();
        mend(&mut same);
        assert_eq!(&same, key, "the checksum is made as Ember makes it");
    }
    let before = hall.gate.cached();
    let each = proof::size(100_000, 10_000_000) / TASKS;
    let work = |seed: usize| {
        let hall = Arc::clone(&hall);
        tokio::spawn(async move {
            let mut dice = Dice(seed as u64);
            for number in 0..each {
                let key = hall.never_issued(&mut dice);
                let refusal = hall.refusal(&key).await;
                let text = String::from_utf8_lossy(&key);
                assert_eq!(refusal, Some(Refusal::InvalidKey), "seed {seed}, number {number}: {text}");
            }
        })
    };
    for task in (0..TASKS).map(work).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let after = hall.gate.cached();
    let looked_up = usize::try_from(after.misses - before.misses).unwrap();
    assert_eq!(after.hits, before.hits, "one was found in memory");
    assert!(looked_up > each * TASKS / 4, "only {looked_up} had a right checksum");
    for key in &hall.issued {
        assert_eq!(hall.refusal(key).await, None, "a key that was issued");
    }
    proof::show("mutated keys", each * TASKS, "10,000,000");
    proof::show("of those with a right checksum, looked up on disk", looked_up, "a quarter");
    proof::show_none("mutated keys that were let in", each * TASKS);
}
