//! A counter that is not the sum of its records is found and named.

use super::*;
use crate::meter::record::{
    ACCOUNTS, KEYS, Tally, USAGE, decode_tally, encode_figures, encode_tally, line_key,
};
use crate::store::Write;

fn house() -> House {
    let house = House::new();
    [1, 1, 2].into_iter().for_each(|account| house.record(account));
    house.meter.flush().unwrap();
    assert!(house.is_proven());
    house
}

fn change(house: &House, write: Write) -> Proof {
    house.store.inner.commit(Commit { writes: vec![write], ..Commit::default() }).unwrap();
    house.meter.verify().unwrap()
}

fn line(account: u32) -> Line {
    let owner = Owner::of(account_id(account), key_id(account));
    Line { hour: Hour::of(START), owner, model: Some("m".into()), upstream: Some("u".into()) }
}

#[test]
fn a_record_that_was_changed_lost_or_made_up_names_its_key() {
    let figures = Figures { requests: 9, ..Figures::default() };
    for (account, write, (counted, found)) in [
        (0, Write::Put { table: USAGE, key: line_key(&line(0)), value: encode_figures(&figures) }, (0, 9)),
        (1, Write::Put { table: USAGE, key: line_key(&line(1)), value: encode_figures(&figures) }, (2, 9)),
        (2, Write::Delete { table: USAGE, key: line_key(&line(2)) }, (1, 0)),
        (3, Write::Put { table: USAGE, key: line_key(&line(3)), value: encode_figures(&figures) }, (0, 9)),
    ] {
        let house = house();
        let proof = change(&house, write);
        assert_eq!(proof.faults, 1, "{account}");
        let wrong = &proof.wrong[0];
        assert_eq!((wrong.account, wrong.key), (Some(account_id(account)), Some(key_id(account))));
        assert_eq!((wrong.counted.0, wrong.found.0), (counted, found));
    }
}

#[test]
fn a_counter_that_was_changed_names_its_account_or_the_server() {
    for (table, key, account, faults) in [
        (KEYS, Owner::of(account_id(1), key_id(1)).as_bytes().to_vec(), Some(account_id(1)), 2),
        (ACCOUNTS, account_id(1).as_bytes().to_vec(), Some(account_id(1)), 2),
        (ACCOUNTS, vec![0; 16], None, 2),
    ] {
        let house = house();
        let row = house.store.get(table, &key).unwrap().unwrap();
        let tally = decode_tally(table, &row).unwrap();
        let total = Figures { requests: tally.total.requests + 1, ..tally.total };
        let proof = change(&house, Write::Put { table, key, value: encode_tally(&Tally { total, ..tally }) });
        assert_eq!(proof.faults, faults);
        assert!(
            proof.wrong.iter().any(|wrong| wrong.account == account && wrong.counted.0 == wrong.found.0 + 1)
        );
    }
}

#[test]
fn many_keys_of_one_account_are_looked_at_page_by_page() {
    let house = House::new();
    for key in 0..1200 {
        house.meter.record(Use { key: key_id(key), ..used(1) });
    }
    house.meter.flush().unwrap();
    let proof = house.meter.verify().unwrap();
    assert_eq!((proof.wrong, proof.accounts, proof.keys, proof.records), (vec![], 1, 1200, 1200));
    let key = Owner::of(account_id(1), key_id(700)).as_bytes().to_vec();
    let proof = change(&house, Write::Delete { table: KEYS, key });
    assert_eq!((proof.wrong[0].key, proof.wrong[0].counted.0), (Some(key_id(700)), 0));
}
