//! How many keys a second many callers at once make on a real file: their commits become durable in groups. Prints it.

use std::sync::Barrier;
use std::time::Instant;

use super::*;
use crate::store::{Birth, RedbStore, StoreOptions};

const CALLERS: usize = 64;
const KEYS_EACH: usize = 20;

#[test]
fn many_callers_make_keys_in_groups() {
    let house = House::new();
    let dir = tempfile::tempdir().unwrap();
    let birth = Birth { created_at: START, store_id: [7; 16] };
    let store = RedbStore::create(&dir.path().join("ember.redb"), birth, StoreOptions::default()).unwrap();
    let registry = Registry::new(Arc::new(store), house.clock.clone(), house.dice.clone(), None);
    registry.create_account(ROOT, &new_account(ANA)).unwrap();
    let alone = Instant::now();
    for number in 0..KEYS_EACH {
        registry.create_key(ROOT, &new_key(ANA, &format!("alone-{number}"))).map(drop).unwrap();
    }
    let alone = KEYS_EACH as f64 / alone.elapsed().as_secs_f64();
    let start = Barrier::new(CALLERS);
    let together = Instant::now();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (registry, start) = (&registry, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..KEYS_EACH {
                    let new = new_key(ANA, &format!("k{caller}-{number}"));
                    registry.create_key(ROOT, &new).map(drop).unwrap();
                }
            });
        }
    });
    let together = (CALLERS * KEYS_EACH) as f64 / together.elapsed().as_secs_f64();
    eprintln!("keys a second: {alone:.0} by one caller, {together:.0} by {CALLERS}");
    assert!(together > alone * 1.5, "{together:.0} by {CALLERS} callers, {alone:.0} by one");
}
