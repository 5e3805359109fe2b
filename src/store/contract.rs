//! One contract, every engine: what a store promises, tried on each. Never: what an engine does beside that.

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{
    Check, Commit, CommitError, KEY_BYTES_MAX, MemoryStore, Row, Store, Table, Urgency, VALUE_BYTES_MAX,
    Write,
};

const T: Table = Table("things");
const U: Table = Table("others");

/// Runs the whole contract on fresh stores from `fresh`.
pub(super) fn holds_for(fresh: &dyn Fn() -> Arc<dyn Store>) {
    let parts: [fn(&Arc<dyn Store>); 12] = [
        missing_is_empty,
        checks_and_their_index,
        all_or_nothing,
        writes_in_order,
        scans,
        scans_back,
        deletes_and_counts,
        sizes,
        observers,
        one_of_many_wins,
        commits_of_many_threads_are_all_there,
        commits_handed_over_are_decided_in_their_order,
    ];
    for part in parts {
        part(&fresh());
    }
}

#[test]
fn memory_keeps_the_contract() {
    holds_for(&|| Arc::new(MemoryStore::new()));
}

fn put(table: Table, key: &[u8], value: &[u8]) -> Write {
    Write::Put { table, key: key.to_vec(), value: value.to_vec() }
}

fn delete(table: Table, key: &[u8]) -> Write {
    Write::Delete { table, key: key.to_vec() }
}

fn absent(table: Table, key: &[u8]) -> Check {
    Check::Absent { table, key: key.to_vec() }
}

fn equals(table: Table, key: &[u8], value: &[u8]) -> Check {
    Check::Equals { table, key: key.to_vec(), value: value.to_vec() }
}

fn commit(store: &Arc<dyn Store>, checks: Vec<Check>, writes: Vec<Write>) -> Result<(), CommitError> {
    store.commit(Commit { checks, writes, urgency: Urgency::Ordinary })
}

fn all(store: &Arc<dyn Store>, table: Table) -> Vec<Row> {
    store.scan(table, Unbounded, Unbounded, usize::MAX).unwrap()
}

fn missing_is_empty(store: &Arc<dyn Store>) {
    assert_eq!(store.get(T, b"a"), Ok(None));
    assert_eq!(store.count(T), Ok(0));
    assert_eq!(all(store, T), []);
    assert_eq!(commit(store, vec![absent(T, b"a")], vec![delete(T, b"a")]), Ok(()));
    assert_eq!(commit(store, vec![equals(T, b"a", b"")], vec![]), Err(CommitError::Conflict { check: 0 }));
    assert_eq!(commit(store, vec![], vec![]), Ok(()));
    assert_eq!(all(store, T), []);
}

fn checks_and_their_index(store: &Arc<dyn Store>) {
    commit(store, vec![], vec![put(T, b"a", b"1"), put(T, b"empty", b"")]).unwrap();
    let good = [absent(T, b"b"), absent(U, b"a"), equals(T, b"a", b"1"), equals(T, b"empty", b"")];
    assert_eq!(commit(store, good.to_vec(), vec![]), Ok(()));
    let bad = [
        absent(T, b"a"),
        absent(T, b"empty"),
        equals(T, b"a", b"2"),
        equals(T, b"b", b""),
        equals(U, b"a", b"1"),
    ];
    for (at, bad) in bad.into_iter().enumerate() {
        let mut checks = good[..at % good.len()].to_vec();
        checks.push(bad.clone());
        checks.push(bad);
        let check = at % good.len();
        assert_eq!(commit(store, checks, vec![put(T, b"x", b"x")]), Err(CommitError::Conflict { check }));
    }
    assert_eq!(store.get(T, b"x"), Ok(None));
    let own = commit(store, vec![absent(T, b"new")], vec![put(T, b"new", b"1"), put(T, b"new", b"2")]);
    assert_eq!(own, Ok(()), "checks look at what was before the commit's own writes");
}

fn all_or_nothing(store: &Arc<dyn Store>) {
    commit(store, vec![], vec![put(T, b"a", b"1")]).unwrap();
    let writes = vec![put(T, b"b", b"2"), delete(T, b"a"), put(U, b"c", b"3")];
    let refused = commit(store, vec![equals(T, b"a", b"1"), absent(T, b"a")], writes.clone());
    assert_eq!(refused, Err(CommitError::Conflict { check: 1 }));
    assert_eq!(all(store, T), [(b"a".to_vec(), b"1".to_vec())]);
    assert_eq!(store.count(U), Ok(0));
    commit(store, vec![equals(T, b"a", b"1")], writes).unwrap();
    assert_eq!(all(store, T), [(b"b".to_vec(), b"2".to_vec())]);
    assert_eq!(store.get(U, b"c"), Ok(Some(b"3".to_vec())));
}

fn writes_in_order(store: &Arc<dyn Store>) {
    let writes = vec![
        put(T, b"a", b"1"),
        delete(T, b"a"),
        put(T, b"b", b"1"),
        put(T, b"b", b"2"),
        delete(T, b"c"),
        put(T, b"c", b"3"),
    ];
    commit(store, vec![], writes).unwrap();
    assert_eq!(all(store, T), [(b"b".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
}

const KEYS: [&[u8]; 7] = [b"", b"a", b"a\0", b"ab", b"b", b"\xFE", b"\xFF\xFF"];

/// Bounds with nothing between them.
const EMPTY: [[Bound<&[u8]>; 2]; 5] = [
    [Excluded(b"a"), Excluded(b"a")],
    [Included(b"a"), Excluded(b"a")],
    [Excluded(b"a"), Included(b"a")],
    [Included(b"b"), Included(b"a")],
    [Excluded(b"c"), Excluded(b"d")],
];

fn put_keys(store: &Arc<dyn Store>) {
    commit(store, vec![], KEYS.iter().rev().map(|key| put(T, key, key)).collect()).unwrap();
    commit(store, vec![], vec![put(U, b"a", b"of another table")]).unwrap();
}

fn scans(store: &Arc<dyn Store>) {
    put_keys(store);
    let found = |from: Bound<&[u8]>, to: Bound<&[u8]>, rows_max| -> Vec<Vec<u8>> {
        store.scan(T, from, to, rows_max).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(found(Unbounded, Unbounded, 100), KEYS);
    assert_eq!(found(Unbounded, Unbounded, 3), KEYS[..3]);
    assert_eq!(found(Unbounded, Unbounded, 0), KEYS[..0]);
    assert_eq!(found(Included(b"a"), Excluded(b"b"), 100), KEYS[1..4]);
    assert_eq!(found(Excluded(b"a"), Included(b"b"), 100), KEYS[2..5]);
    assert_eq!(found(Excluded(b"aa"), Unbounded, 2), KEYS[3..5]);
    assert_eq!(found(Included(b"a"), Included(b"a"), 100), KEYS[1..2]);
    for [from, to] in EMPTY {
        assert_eq!(found(from, to, 100), KEYS[..0]);
    }
}

fn scans_back(store: &Arc<dyn Store>) {
    assert_eq!(store.scan_back(T, Unbounded, Unbounded, 100), Ok(vec![]));
    put_keys(store);
    let found = |from: Bound<&[u8]>, to: Bound<&[u8]>, rows_max| -> Vec<Vec<u8>> {
        let rows = store.scan_back(T, from, to, rows_max).unwrap();
        assert!(rows.iter().all(|(key, value)| key == value), "a key with another's value");
        rows.into_iter().rev().map(|(key, _)| key).collect()
    };
    assert_eq!(found(Unbounded, Unbounded, 100), KEYS);
    assert_eq!(found(Unbounded, Unbounded, 3), KEYS[4..]);
    assert_eq!(found(Unbounded, Unbounded, 0), KEYS[..0]);
    assert_eq!(found(Included(b"a"), Excluded(b"b"), 100), KEYS[1..4]);
    assert_eq!(found(Excluded(b"a"), Included(b"b"), 100), KEYS[2..5]);
    assert_eq!(found(Unbounded, Excluded(b"b"), 2), KEYS[2..4]);
    assert_eq!(found(Included(b"a"), Included(b"a"), 100), KEYS[1..2]);
    for [from, to] in EMPTY {
        assert_eq!(found(from, to, 100), KEYS[..0]);
    }
}

fn commits_handed_over_are_decided_in_their_order(store: &Arc<dyn Store>) {
    commit(store, vec![], vec![put(T, b"a", &[0])]).unwrap();
    let step = |number: u8| Commit {
        checks: vec![equals(T, b"a", &[number])],
        writes: vec![put(T, b"a", &[number + 1])],
        ..Commit::default()
    };
    let pending: Vec<_> = (0..100).map(|number| store.submit(step(number)).unwrap()).collect();
    assert!(pending.into_iter().all(|one| one.wait().is_ok()));
    assert_eq!(store.get(T, b"a"), Ok(Some(vec![100])));
    let late = store.submit(step(3)).and_then(crate::store::Pending::wait);
    assert_eq!(late, Err(CommitError::Conflict { check: 0 }));
}

fn deletes_and_counts(store: &Arc<dyn Store>) {
    for number in 0..50u8 {
        commit(store, vec![], vec![put(T, &[number], b"v")]).unwrap();
    }
    assert_eq!(store.count(T), Ok(50));
    commit(store, vec![], (0..50).step_by(2).map(|number| delete(T, &[number])).collect()).unwrap();
    commit(store, vec![], vec![delete(T, &[0]), delete(U, &[1])]).unwrap();
    assert_eq!(store.count(T), Ok(25));
    assert_eq!((store.get(T, &[4]), store.get(T, &[5])), (Ok(None), Ok(Some(b"v".to_vec()))));
}

fn sizes(store: &Arc<dyn Store>) {
    let (key, value) = (vec![7; KEY_BYTES_MAX], vec![8; VALUE_BYTES_MAX]);
    commit(store, vec![absent(T, &key)], vec![put(T, &key, &value)]).unwrap();
    assert_eq!(commit(store, vec![equals(T, &key, &value)], vec![]), Ok(()));
    let (long_key, long_value) = (vec![7; KEY_BYTES_MAX + 1], vec![8; VALUE_BYTES_MAX + 1]);
    for write in [put(T, &long_key, b""), put(T, b"b", &long_value), delete(T, &long_key)] {
        let refused = commit(store, vec![], vec![put(T, b"a", b"1"), write]);
        assert!(matches!(refused, Err(CommitError::TooLong { .. })), "{refused:?}");
    }
    assert_eq!(all(store, T), [(key, value)]);
}

fn observers(store: &Arc<dyn Store>) {
    let heard: Arc<Mutex<Vec<Vec<Write>>>> = Arc::default();
    commit(store, vec![], vec![put(T, b"before", b"")]).unwrap();
    let own = heard.clone();
    store.observe(Box::new(move |writes| own.lock().unwrap().push(writes.to_vec())));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    store.observe(Box::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    for number in 0..20u8 {
        let writes = vec![put(T, &[number], b"v"), delete(U, &[number])];
        commit(store, vec![absent(T, &[number])], writes.clone()).unwrap();
        assert_eq!(heard.lock().unwrap().last(), Some(&writes), "acknowledged before the observer was told");
        commit(store, vec![absent(T, &[number])], writes).unwrap_err();
        assert_eq!(heard.lock().unwrap().len(), usize::from(number) + 1, "told of a commit that was refused");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 20);
    increments_are_heard_in_order(store);
}

/// Threads count one row up; the observer must hear each value once, in order.
fn increments_are_heard_in_order(store: &Arc<dyn Store>) {
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let own = heard.clone();
    store.observe(Box::new(move |writes| {
        let Write::Put { value, .. } = &writes[0] else { panic!("only puts are made") };
        own.lock().unwrap().push(value[0]);
    }));
    commit(store, vec![], vec![put(U, b"n", &[0])]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut done = 0;
                while done < 10 {
                    let now = store.get(U, b"n").unwrap().unwrap();
                    match commit(store, vec![equals(U, b"n", &now)], vec![put(U, b"n", &[now[0] + 1])]) {
                        Ok(()) => done += 1,
                        refused => assert_eq!(refused, Err(CommitError::Conflict { check: 0 })),
                    }
                }
            });
        }
    });
    assert_eq!(*heard.lock().unwrap(), (0..=40).collect::<Vec<u8>>());
}

fn one_of_many_wins(store: &Arc<dyn Store>) {
    for round in 0..10u8 {
        let won = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for racer in 0..8u8 {
                let won = &won;
                scope.spawn(move || {
                    match commit(
                        store,
                        vec![absent(T, &[round])],
                        vec![put(T, &[round], &[racer]), put(U, &[racer], &[round])],
                    ) {
                        Ok(()) => assert!(won.fetch_add(1, Ordering::SeqCst) < 8),
                        refused => assert_eq!(refused, Err(CommitError::Conflict { check: 0 })),
                    }
                });
            }
        });
        assert_eq!(won.load(Ordering::SeqCst), 1);
        let winner = store.get(T, &[round]).unwrap().unwrap();
        assert_eq!(store.get(U, &winner), Ok(Some(vec![round])));
        assert_eq!(all(store, U).iter().filter(|(_, value)| *value == [round]).count(), 1);
    }
}

fn commits_of_many_threads_are_all_there(store: &Arc<dyn Store>) {
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            scope.spawn(move || {
                for number in 0..20u8 {
                    commit(store, vec![], vec![put(T, &[thread, number], &[number])]).unwrap();
                    assert_eq!(store.get(T, &[thread, number]), Ok(Some(vec![number])), "own write not seen");
                }
            });
        }
    });
    assert_eq!(store.count(T), Ok(160));
}
