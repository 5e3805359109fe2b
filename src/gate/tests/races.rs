//! Proof 7, of laws 3 and 4: revoke against admit, cache fill against commit, in every order of up to three threads.
//! Here is the real registry, the real gate and a store in memory, with loom's locks (`tests/races/run`).

use super::*;
use crate::registry::{KeyChanges, NewAccount, NewKey, Registry, changes};
use crate::store::{Commit, Store, Write};
use crate::types::Actor;
use crate::types::sync::atomic::AtomicBool as ModelBool;
use crate::types::sync::{Racer, block_on, every_order, preemptions};

const ROOT: Actor = Actor::Machine { uid: 0 };

/// A server with two keys of one account.
struct Town {
    gate: Arc<Gate>,
    store: Arc<MemoryStore>,
    registry: Registry,
    keys: [(KeyRecord, Key); 2],
    /// Of a third one: how it comes to be there.
    unborn: (Key, Commit),
    /// What a commander was told is done.
    is_done: ModelBool,
}

/// Reads keys as the server does.
struct Reader(Registry);

impl KeySource for Reader {
    fn find<'a>(
        &'a self,
        digest: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>> {
        Box::pin(async move {
            let found = self.0.by_digest(&digest).map_err(|error| SourceTrouble(error.to_string()))?;
            Ok(found.map(|(record, account)| Grant::of(&record, &digest, Owner::of(&account))))
        })
    }

    fn end_met(&self, _: EndMet) {}
}

fn registry(store: &Arc<MemoryStore>, door: Option<Arc<Gate>>) -> Registry {
    let door = door.map(|gate| gate as Arc<dyn crate::registry::Door>);
    Registry::new(store.clone(), Arc::new(Still), Arc::new(Dice(AtomicU64::new(1))), door)
}

impl Town {
    /// With room in memory for so many keys, of which so many are there.
    fn new(room: usize, warm: usize) -> Arc<Self> {
        let store = Arc::new(MemoryStore::new());
        let limiter = limiter(&Arc::default(), Bounds::default(), Bounds::default());
        let reader = Reader(registry(&store, None));
        let gate = Arc::new(Gate::new(Arc::new(reader), new_meter(), limiter, room));
        let registry = registry(&store, Some(gate.clone()));
        let email = "a@b".parse().unwrap();
        let new = NewAccount { email, name: None, role: Role::Member, password: None };
        registry.create_account(ROOT, &new).unwrap();
        let new = NewKey::new("a@b", "ci".parse().unwrap(), Environment::Prod);
        let keys = [0, 1].map(|_| registry.create_key(ROOT, &new).unwrap());
        let unborn = unborn(&store, || registry.create_key(ROOT, &new).unwrap().1);
        let told = Arc::clone(&gate);
        store.observe(Box::new(move |writes| changes(writes).iter().for_each(|change| told.changed(change))));
        let is_done = ModelBool::new(false);
        let town = Self { gate, store, registry, keys, unborn, is_done };
        town.keys.iter().take(warm).for_each(|(_, key)| drop(town.identify(key).ok().unwrap()));
        Arc::new(town)
    }

    fn identify(&self, key: &Key) -> Result<Caller, Refusal> {
        block_on(self.gate.identify(Some(key.expose().as_bytes()), NOW))
    }

    fn admit(&self, key: &Key) -> Result<Pass, Refusal> {
        block_on(self.gate.admit(self.identify(key)?, asking("m"), NOW))
    }

    /// Takes a right away, or changes something, and is told so.
    fn command(&self, change: impl FnOnce(&Self, &str)) {
        change(self, &self.keys[0].0.id.to_string());
        self.is_done.store(true, Ordering::Release);
    }

    fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// Uses the first key, and goes on until it is cut. When nobody wakes it, loom says that it waits for ever.
    fn visit(&self) {
        let bearer = self.keys[0].1.expose().as_bytes();
        let (mut was_done, identified) = (self.is_done(), block_on(self.gate.identify(Some(bearer), NOW)));
        let admitted = identified.and_then(|caller| {
            assert!(!was_done, "known after the denial was acknowledged");
            was_done = self.is_done();
            block_on(self.gate.admit(caller, asking("m"), NOW))
        });
        match admitted {
            Ok(pass) => {
                assert!(!was_done, "let through after the denial was acknowledged");
                block_on(pass.caller().cut());
            }
            Err(Refusal::Cut(_)) => {}
            Err(other) => panic!("a key that was issued is {other:?}"),
        }
    }

    /// Uses the other key.
    fn pass_by(&self) {
        assert!(self.admit(&self.keys[1].1).is_ok(), "a key that stands is refused");
    }

    /// Reads the first key's name by it.
    fn read_name(&self) {
        let was_done = self.is_done();
        let caller = self.identify(&self.keys[0].1).ok().unwrap();
        assert!(!was_done || caller.grant().about.name.as_str() == "new", "older than what was acknowledged");
    }

    /// Uses the third key.
    fn come_early(&self) {
        let was_done = self.is_done();
        match self.identify(&self.unborn.0) {
            Ok(_) => {}
            Err(Refusal::InvalidKey) => assert!(!was_done, "a key that was shown is unknown"),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn racer(self: &Arc<Self>, run: impl FnOnce(&Self) + Send + 'static) -> Racer {
        let town = Arc::clone(self);
        Box::new(move || run(&town))
    }
}

/// A key's commit as its registry made it, taken back.
fn unborn(store: &Arc<MemoryStore>, make: impl FnOnce() -> Key) -> (Key, Commit) {
    let written = Arc::<Mutex<Vec<Write>>>::default();
    let seen = Arc::clone(&written);
    store.observe(Box::new(move |writes| {
        let mut seen = seen.lock().unwrap();
        if seen.is_empty() {
            seen.extend_from_slice(writes);
        }
    }));
    let key = make();
    let writes = written.lock().unwrap().clone();
    let undo = |write: &Write| match write {
        Write::Put { table, key, .. } | Write::Delete { table, key } => {
            Write::Delete { table: *table, key: key.clone() }
        }
    };
    store.commit(Commit { writes: writes.iter().map(undo).collect(), ..Commit::default() }).unwrap();
    (key, Commit { writes, ..Commit::default() })
}

fn revoke(town: &Town, id: &str) {
    town.registry.revoke_key(ROOT, id, None).unwrap();
}

/// As long as the disk does not take a revocation.
fn deny(town: &Town, _: &str) {
    town.gate.deny(revocation(&town.keys[0].0));
}

fn make(town: &Town, _: &str) {
    town.store.commit(town.unborn.1.clone()).unwrap();
}

fn rename(town: &Town, id: &str) {
    let changes = KeyChanges { name: "new".parse().ok(), ..KeyChanges::default() };
    town.registry.update_key(ROOT, id, &changes).unwrap();
}

fn nobody_passes_any_more(town: Arc<Town>) {
    assert_eq!(town.admit(&town.keys[0].1).err(), Some(Refusal::Cut(Cut::Revoked)));
    town.pass_by();
    town.gate.cache.checked_len();
}

fn the_new_name_is_known(town: Arc<Town>) {
    let misses = town.gate.cached().misses;
    let caller = town.identify(&town.keys[0].1).ok().unwrap();
    assert_eq!(town.gate.cached().misses, misses, "it was in memory");
    assert_eq!(caller.grant().about.name.as_str(), "new", "an old record outlives a commit");
    town.gate.cache.checked_len();
}

#[test]
fn law_3_revoke_against_admit() {
    for warm in [0, 1] {
        let set = move || {
            let town = Town::new(2, warm);
            let racers = vec![town.racer(|town| town.command(revoke)), town.racer(Town::visit)];
            (town, racers)
        };
        every_order(
            &format!("revoke and admit, {warm} in memory"),
            preemptions(3, None),
            set,
            nobody_passes_any_more,
        );
    }
}

#[test]
fn law_3_a_denial_in_memory_against_admit() {
    for warm in [0, 1] {
        let set = move || {
            let town = Town::new(2, warm);
            let racers = vec![town.racer(|town| town.command(deny)), town.racer(Town::visit)];
            (town, racers)
        };
        let name = format!("a denial in memory and admit, {warm} in memory");
        every_order(&name, preemptions(3, None), set, nobody_passes_any_more);
    }
}

#[test]
fn law_3_revoke_against_two_admissions() {
    for warm in [0, 1] {
        let set = move || {
            let town = Town::new(2, warm);
            let visitors = [Town::visit, Town::visit].map(|visit| town.racer(visit));
            let racers = visitors.into_iter().chain([town.racer(|town| town.command(revoke))]);
            let racers = racers.collect();
            (town, racers)
        };
        let name = format!("revoke and two times admit, {warm} in memory");
        every_order(&name, preemptions(2, Some(3)), set, nobody_passes_any_more);
    }
}

#[test]
fn law_3_revoke_against_admit_while_another_key_takes_the_room() {
    let set = || {
        let town = Town::new(1, 1);
        let racers =
            vec![town.racer(Town::pass_by), town.racer(|town| town.command(revoke)), town.racer(Town::visit)];
        (town, racers)
    };
    every_order(
        "revoke and admit and another key's look-up",
        preemptions(2, Some(3)),
        set,
        nobody_passes_any_more,
    );
}

#[test]
fn cache_fill_against_commit() {
    let set = || {
        let town = Town::new(2, 0);
        let racers = vec![town.racer(|town| town.command(rename)), town.racer(Town::read_name)];
        (town, racers)
    };
    every_order("look-up and commit", preemptions(3, None), set, the_new_name_is_known);
}

#[test]
fn two_cache_fills_against_commit() {
    let set = || {
        let town = Town::new(2, 0);
        let readers = [Town::read_name, Town::read_name].map(|read| town.racer(read));
        let racers = readers.into_iter().chain([town.racer(|town| town.command(rename))]).collect();
        (town, racers)
    };
    every_order("two look-ups and commit", preemptions(2, Some(3)), set, the_new_name_is_known);
}

#[test]
fn law_5_two_look_ups_of_a_key_against_the_commit_that_makes_it() {
    let set = || {
        let town = Town::new(2, 0);
        let early = [Town::come_early, Town::come_early].map(|come| town.racer(come));
        let racers = early.into_iter().chain([town.racer(|town| town.command(make))]).collect();
        (town, racers)
    };
    let look = |town: Arc<Town>| {
        assert!(town.identify(&town.unborn.0).is_ok(), "a key that was shown is unknown for good");
        town.gate.cache.checked_len();
    };
    every_order("two look-ups of a key and its making", preemptions(2, Some(3)), set, look);
}
