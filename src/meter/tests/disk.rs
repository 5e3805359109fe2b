//! On a real file.

use super::*;
use crate::store::{Birth, RedbStore, StoreOptions};

#[test]
fn what_was_written_down_is_there_after_a_restart_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
    drop(RedbStore::create(&path, Birth { created_at: START, store_id: [1; 16] }, options.clone()).unwrap());
    for round in 1..=3 {
        let house = House::on(Arc::new(RedbStore::open(&path, options.clone()).unwrap()));
        assert_eq!((house.requests(None), house.requests(Some(1))), (2 * (round - 1), round - 1));
        assert_eq!(house.meter.last_used(account_id(1), key_id(1)).unwrap().is_some(), round > 1);
        house.record(1);
        house.record(2);
        house.meter.flush().unwrap();
        house.record(3);
        assert_eq!((house.requests(None), house.requests(Some(1))), (2 * round + 1, round));
    }
}
