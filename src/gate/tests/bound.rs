//! How many records are in memory, and which of them may be dropped.

use super::*;

fn keys(hall: &Hall, count: usize) -> Vec<(KeyRecord, Key)> {
    (0..count).map(|_| hall.key()).collect()
}

fn caller(hall: &Hall, key: &Key) -> Caller {
    hall.identify(key).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

#[test]
fn a_thousand_keys_take_room_for_ten() {
    let hall = Hall::with_room(10);
    for (_, key) in keys(&hall, 1000) {
        drop(caller(&hall, &key));
        assert!(hall.gate.cache.checked_len() <= 10);
    }
    assert_eq!(hall.gate.cache.checked_len(), 10);
}

#[test]
fn room_for_nothing_is_room_for_one() {
    let hall = Hall::with_room(0);
    for (_, key) in keys(&hall, 5) {
        drop(caller(&hall, &key));
        assert_eq!(hall.gate.cache.checked_len(), 1);
    }
}

#[test]
fn a_key_in_steady_use_stays_while_others_come_and_go() {
    let hall = Hall::with_room(10);
    let (_, steady) = hall.key();
    drop(caller(&hall, &steady));
    hall.asked();
    let others = keys(&hall, 500);
    for (_, key) in &others {
        drop(caller(&hall, key));
        drop(caller(&hall, &steady));
    }
    let extra = hall.asked() - others.len();
    assert!(extra <= 2, "it was read again {extra} times");
}

#[test]
fn what_is_held_is_never_dropped_and_hears_its_cut() {
    let hall = Hall::with_room(10);
    let held = keys(&hall, 50);
    let mut running: Vec<_> = held.iter().map(|(_, key)| Running::new(caller(&hall, key))).collect();
    assert_eq!(hall.gate.cache.checked_len(), 50, "more than the room, while requests hold them");
    for (_, key) in keys(&hall, 1000) {
        drop(caller(&hall, &key));
        assert!(hall.gate.cache.checked_len() <= 51);
    }
    hall.asked();
    for ((record, key), running) in held.iter().zip(&mut running) {
        assert!(hall.identify(key).is_ok());
        assert_eq!(running.heard(), None);
        hall.gate.deny(revocation(record));
        assert_eq!(running.heard(), Some(Cut::Revoked));
    }
    assert_eq!(hall.asked(), 0, "none of them had to be read again");
}

#[test]
fn one_who_holds_only_the_signal_hears_the_cut() {
    let hall = Hall::with_room(2);
    let (record, key) = hall.key();
    let mut signal = caller(&hall, &key).cut();
    keys(&hall, 50).iter().for_each(|(_, key)| drop(caller(&hall, key)));
    assert!(poll(Pin::new(&mut signal)).is_pending());
    hall.gate.deny(revocation(&record));
    assert_eq!(poll(Pin::new(&mut signal)), Poll::Ready(Cut::Revoked));
}

#[test]
fn bug_what_was_held_through_a_change_is_not_dropped() {
    let changes: [fn(&Hall, &KeyRecord); 2] = [
        |hall, record| hall.commit(&renamed(record)),
        |hall, record| hall.commit_account(record.account, AccountStatus::Active),
    ];
    for change in changes {
        let hall = Hall::with_room(2);
        let (record, key) = hall.key();
        let quiet = caller(&hall, &key);
        let reading = caller(&hall, &key);
        change(&hall, &record);
        keys(&hall, 50).iter().for_each(|(_, key)| drop(caller(&hall, key)));
        hall.gate.deny(revocation(&record));
        hall.commit(&revoked(&record));
        hall.gate.lift(revocation(&record));
        assert_eq!(refusal(at_once(hall.gate.admit(reading, asking("m"), NOW))), Refusal::Cut(Cut::Revoked));
        assert_eq!(Running::new(quiet).heard(), Some(Cut::Revoked));
    }
}

#[test]
fn bug_room_taken_by_held_keys_is_given_back() {
    let hall = Hall::with_room(10);
    let held: Vec<_> = keys(&hall, 200).iter().map(|(_, key)| caller(&hall, key)).collect();
    assert_eq!(hall.gate.cache.checked_len(), 200);
    drop(held);
    let (_, next) = hall.key();
    drop(caller(&hall, &next));
    assert!(hall.gate.cache.checked_len() <= 10);
}

#[test]
fn how_many_records_are_in_memory_and_how_often_they_were_found_there_is_told() {
    let hall = Hall::with_room(3);
    let all = keys(&hall, 5);
    let figures = |entries, hits, misses| CacheFigures { entries, entries_max: 3, hits, misses };
    assert_eq!(hall.gate.cached(), figures(0, 0, 0));
    for (_, key) in &all[..2] {
        (0..3).for_each(|_| drop(caller(&hall, key)));
    }
    assert_eq!(hall.gate.cached(), figures(2, 4, 2));
    all.iter().for_each(|(_, key)| drop(caller(&hall, key)));
    assert_eq!(hall.gate.cached(), figures(3, 6, 5));
}
