//! What an earlier process has left is counted once.

use super::*;
use crate::meter::record::{KEYS, LAST_USED, OPEN, USAGE_HOURS};
use crate::store::Write;

fn tokens(prompt: u64, completion: u64) -> Tokens {
    Tokens { prompt, completion, cached: 0 }
}

#[test]
fn a_request_that_was_under_way_is_counted_as_ember_died() {
    let house = House::new();
    let open = house.open(1);
    open.progress().used(tokens(5, 2));
    house.meter.flush().unwrap();
    house.wait(Duration::from_secs(3));
    open.progress().used(tokens(5, 9));
    house.meter.flush().unwrap();
    open.progress().used(tokens(5, 99));
    for next in [house.restarted(), house.restarted()] {
        let whole = next.whole();
        assert_eq!((whole.requests, whole.tokens, whole.estimated), (1, tokens(5, 9), 1));
        assert_eq!((whole.ended(Ending::EmberDied), whole.errors, whole.duration_ms), (1, 1, 3000));
        let of_key =
            Ask { account: Some(account_id(1)), key: Some(key_id(1)), ..ask(Some(Group::Model), None) };
        let report = next.meter.report(&of_key, &Prices::default()).unwrap();
        assert_eq!(report.lines[0].name.as_deref(), Some("m"));
        assert_eq!(next.store.count(OPEN), Ok(0));
        assert_eq!(next.meter.last_used(account_id(1), key_id(1)), Ok(Some(next.clock.now())));
        assert!(next.is_proven());
    }
}

#[test]
fn one_that_has_ended_is_not_open_any_more() {
    let house = House::new();
    let (mut first, mut second) = (house.open(1), house.open(1));
    house.meter.flush().unwrap();
    assert_eq!(house.store.count(OPEN), Ok(2));
    first.settle(Some(tokens(1, 1)), Ending::Done);
    house.meter.flush().unwrap();
    assert_eq!(house.store.count(OPEN), Ok(1));
    let next = house.restarted().whole();
    assert_eq!((next.requests, next.ended(Ending::Done), next.ended(Ending::EmberDied)), (2, 1, 1));
    let house = House::new();
    second.settle(None, Ending::Cut);
    drop(house.open(2));
    house.meter.flush().unwrap();
    assert_eq!((house.store.count(OPEN), house.whole().ended(Ending::ClientGone)), (Ok(0), 1));
}

#[test]
fn only_what_has_changed_is_written_again() {
    let house = House::new();
    let open: Vec<_> = (0..3).map(|account| house.open(account)).collect();
    house.meter.flush().unwrap();
    house.wait(Duration::from_secs(1));
    house.meter.flush().unwrap();
    open[1].progress().used(tokens(1, 1));
    house.meter.flush().unwrap();
    assert_eq!(*house.store.sizes.lock().unwrap(), [3, 1]);
}

#[test]
fn a_refused_request_has_no_server_and_an_unknown_model_no_name() {
    let house = House::new();
    let mut open = house.meter.open(key_id(1), account_id(1), house.clock.now());
    open.settle(None, Ending::Refused);
    for group in [Group::Model, Group::Upstream] {
        let report = house.meter.report(&ask(Some(group), None), &Prices::default()).unwrap();
        assert_eq!((report.lines.len(), report.lines[0].name.clone()), (1, None));
        assert_eq!((report.total.figures.errors, report.total.figures.estimated), (1, 0));
    }
}

#[test]
fn records_of_the_first_kind_are_carried_over() {
    let store = MemoryStore::new();
    let old = |account: [u8; 16], hour: Hour, requests: u8| Write::Put {
        table: USAGE_HOURS,
        key: [&account[..], &hour.to_bytes()].concat(),
        value: vec![1, requests, requests, 2 * requests, 3 * requests],
    };
    let hour = Hour::of(START);
    let mut writes: Vec<_> = (0..4000).map(|number| old(*account_id(number).as_bytes(), hour, 1)).collect();
    writes.push(old(*account_id(1).as_bytes(), hour.before(), 2));
    writes.push(old([0; 16], hour, 9));
    writes.push(Write::Put { table: LAST_USED, key: key_id(1).as_bytes().to_vec(), value: vec![1, 0xac, 2] });
    store.commit(Commit { writes, ..Commit::default() }).unwrap();
    let house = House::on(Arc::new(store));
    assert_eq!((house.requests(None), house.requests(Some(1)), house.requests(Some(3))), (4002, 3, 1));
    assert_eq!((house.store.count(USAGE_HOURS), house.store.count(KEYS)), (Ok(0), Ok(4000)));
    let last = |house: &House| house.meter.last_used(account_id(1), key_id(1)).unwrap();
    assert_eq!(last(&house), Some(Timestamp::from_millis(150)));
    house.record(1);
    house.meter.flush().unwrap();
    assert_eq!(last(&house), Some(START));
    assert_eq!((house.restarted().requests(None), house.is_proven()), (4003, true));
}

#[test]
fn a_disk_that_fails_at_the_beginning_is_tried_again_before_anything_else() {
    let house = House::new();
    let open = house.open(1);
    house.meter.flush().unwrap();
    house.store.turn(Weather::Broken);
    let next = Arc::new(Meter::new(house.clock.clone(), house.store.clone()));
    assert!(next.begin().is_err() && next.owes() && next.flush().is_err());
    drop(next.open(key_id(2), account_id(2), house.clock.now()));
    house.store.turn(Weather::Fair);
    next.flush().unwrap();
    let whole = next.report(&ask(None, None), &Prices::default()).unwrap().total.figures;
    assert_eq!((whole.ended(Ending::EmberDied), whole.ended(Ending::ClientGone)), (1, 1));
    drop(open);
}
