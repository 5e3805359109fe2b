//! The registry, a store and the gate together, with real threads: nothing passes after a denial was acknowledged.

use std::sync::RwLock;
use std::time::Duration;

use super::*;
use crate::registry::{KeyChanges, NewAccount, NewKey, Registry, Rotation, changes};
use crate::store::Store;
use crate::types::Actor;

const ROOT: Actor = Actor::Machine { uid: 0 };
const CYCLES: usize = 2000;
const GUESTS: usize = 3;

/// Reads keys as the server does.
struct Reader(Arc<MemoryStore>);

impl KeySource for Reader {
    fn find<'a>(
        &'a self,
        digest: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>> {
        Box::pin(async move {
            let dice = Arc::new(Dice(AtomicU64::new(0)));
            let registry = Registry::new(self.0.clone(), Arc::new(Still), dice, None);
            // Others may come in between on one processor, too.
            tokio::task::yield_now().await;
            let found = registry.by_digest(&digest).map_err(|error| SourceTrouble(error.to_string()))?;
            tokio::task::yield_now().await;
            Ok(found.map(|(record, account)| Grant::of(&record, &digest, Owner::of(&account))))
        })
    }

    fn end_met(&self, _: EndMet) {}
}

/// One key's life.
struct Round {
    id: String,
    key: Key,
    is_over: AtomicBool,
}

struct City {
    gate: Arc<Gate>,
    registry: Registry,
    round: RwLock<Arc<Round>>,
    is_done: AtomicBool,
    admitted: AtomicUsize,
}

impl City {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let limiter = limiter(&Arc::default(), Bounds::default(), Bounds::default());
        // Few, so that entries come and go all the time.
        let gate = Arc::new(Gate::new(Arc::new(Reader(store.clone())), new_meter(), limiter, 2));
        let told = Arc::clone(&gate);
        store.observe(Box::new(move |writes| changes(writes).iter().for_each(|change| told.changed(change))));
        let dice = Arc::new(Dice(AtomicU64::new(1)));
        let registry = Registry::new(store, Arc::new(Still), dice, Some(gate.clone()));
        for email in ["a@b", "other@b"] {
            let email = email.parse().unwrap();
            registry
                .create_account(ROOT, &NewAccount { email, name: None, role: Role::Member, password: None })
                .unwrap();
        }
        let round = RwLock::new(Arc::new(issue(&registry)));
        Self { gate, registry, round, is_done: AtomicBool::new(false), admitted: AtomicUsize::new(0) }
    }

    fn round(&self) -> Arc<Round> {
        Arc::clone(&self.round.read().unwrap())
    }

    async fn admit(&self, key: &Key) -> Result<Pass, Refusal> {
        let caller = self.gate.identify(Some(key.expose().as_bytes()), NOW).await?;
        self.gate.admit(caller, asking("m"), NOW).await
    }

    /// Asks for the key of the day, over and over.
    async fn visit(&self) {
        while !self.is_done.load(Ordering::SeqCst) {
            let round = self.round();
            let was_over = round.is_over.load(Ordering::SeqCst);
            match self.admit(&round.key).await {
                Ok(_) => {
                    assert!(!was_over, "let through after the denial was acknowledged");
                    self.admitted.fetch_add(1, Ordering::SeqCst);
                }
                Err(Refusal::Cut(_)) => {}
                Err(other) => panic!("a key that was issued is {other:?}"),
            }
        }
    }

    /// Changes the key of the day without harm, so that commits cross look-ups and denials.
    fn meddle(&self) {
        let mut number = 0;
        while !self.is_done.load(Ordering::SeqCst) {
            number += 1;
            let rename = KeyChanges { name: format!("k{number}").parse().ok(), ..KeyChanges::default() };
            let _ = self.registry.update_key(ROOT, &self.round().id, &rename);
            std::thread::yield_now();
        }
    }

    fn deny(&self, cycle: usize, id: &str) {
        match cycle % 4 {
            0 => self.registry.revoke_key(ROOT, id, None).map(drop),
            1 => self.registry.disable_key(ROOT, id).map(drop),
            2 => self.registry.rotate_key(ROOT, id, Rotation::Now).map(drop),
            _ => self.registry.disable_account(ROOT, "a@b").map(drop),
        }
        .unwrap();
    }

    async fn live(&self, cycle: usize) {
        let round = Arc::new(issue(&self.registry));
        *self.round.write().unwrap() = Arc::clone(&round);
        let pass = self.admit(&round.key).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let signal = pass.caller().cut();
        self.deny(cycle, &round.id);
        round.is_over.store(true, Ordering::SeqCst);
        assert!(matches!(refusal(self.admit(&round.key).await), Refusal::Cut(_)), "cycle {cycle}");
        at_once(signal);
        self.registry.revoke_key(ROOT, &round.id, None).unwrap();
        self.registry.enable_account(ROOT, "a@b").unwrap();
        assert_eq!(refusal(self.admit(&round.key).await), Refusal::Cut(Cut::Revoked), "cycle {cycle}");
    }
}

fn issue(registry: &Registry) -> Round {
    let new = NewKey::new("a@b", "ci".parse().unwrap(), Environment::Prod);
    let (record, key) = registry.create_key(ROOT, &new).unwrap();
    Round { id: record.id.to_string(), key, is_over: AtomicBool::new(false) }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Ends the others' work when the cycles end, well or not.
struct Done<'a>(&'a City);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.is_done.store(true, Ordering::SeqCst);
    }
}

#[test]
fn two_thousand_lives_and_no_admission_after_death() {
    let city = City::new();
    std::thread::scope(|threads| {
        let guests: Vec<_> = (0..GUESTS).map(|_| threads.spawn(|| block_on(city.visit()))).collect();
        let meddler = threads.spawn(|| city.meddle());
        {
            let _done = Done(&city);
            block_on(async {
                for cycle in 0..CYCLES {
                    city.live(cycle).await;
                }
            });
        }
        guests.into_iter().for_each(|guest| guest.join().unwrap());
        meddler.join().unwrap();
    });
    assert!(city.admitted.load(Ordering::SeqCst) > 0, "nobody came, so nothing was tried");
    assert!(city.gate.cache.checked_len() <= 2 + GUESTS + 1);
}

#[test]
fn a_grace_lets_both_secrets_pass_while_they_are_swapped() {
    let city = City::new();
    let round = city.round();
    let day = Duration::from_secs(24 * 60 * 60);
    let (_, second) = city.registry.rotate_key(ROOT, &round.id, Rotation::Grace(day)).unwrap();
    for key in [&round.key, &second] {
        assert!(block_on(city.admit(key)).is_ok());
    }
    let (_, third) = city.registry.rotate_key(ROOT, &round.id, Rotation::Now).unwrap();
    for (key, expected) in [(&round.key, false), (&second, false), (&third, true)] {
        assert_eq!(block_on(city.admit(key)).is_ok(), expected);
    }
}
