//! Whether the writer thread can be seen to go on, and to be stuck.

use std::sync::mpsc::channel;
use std::time::Instant;

use super::*;

/// Whether the number moves on within a time that no machine needs, or stays within a short one.
fn moves_on(store: &RedbStore, within: Duration) -> bool {
    let before = store.writer_turns();
    let start = Instant::now();
    while store.writer_turns() == before {
        if start.elapsed() > within {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn an_idle_writer_and_one_without_a_disk_show_life_and_a_blocked_one_does_not() {
    let disk = Memory::default();
    create::create_on(Box::new(disk.clone()), Path::new("(memory)"), birth()).unwrap();
    let faults = Faults::default();
    let store = on_disk(disk, StoreOptions { faults: Some(faults.clone()), ..quick() });
    let long = Duration::from_secs(30);
    assert!(moves_on(&store, long));
    let (arrive, arrived) = channel();
    let (release, released) = channel::<()>();
    let released = std::sync::Mutex::new(released);
    store.observe(Box::new(move |_| {
        arrive.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
    }));
    let waiting = store.submit(put(b"a", b"1")).unwrap();
    arrived.recv().unwrap();
    assert!(!moves_on(&store, Duration::from_millis(100)), "an observer holds the thread up");
    assert!(!store.is_at_disk());
    release.send(()).unwrap();
    waiting.wait().unwrap();
    assert!(moves_on(&store, long));
    drop(release);
    faults.set(Fault {
        on: FaultOn::Writes,
        kind: FaultKind::Full,
        skip: 0,
        times: u64::MAX,
        while_filled: None,
    });
    let _ = store.commit(put(b"b", b"2"));
    assert!(store.health().is_err(), "the disk takes nothing");
    assert!(moves_on(&store, long), "a full disk is no stuck thread");
}

#[test]
fn bug_a_disk_that_hangs_while_the_ballast_is_released_or_taken_back_is_no_stuck_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (path, place) = (dir.path().join("ember.redb"), dir.path().join("ballast"));
    make(&path);
    let faults = Faults::default();
    let options = StoreOptions { faults: Some(faults.clone()), ..quick() };
    let mut ballast = Ballast::keep(place.clone(), 64 * 1024, Duration::ZERO);
    let (arrive, arrived) = channel();
    let (release, released) = channel::<()>();
    ballast.at_disk = Some(Box::new(move || {
        arrive.send(()).unwrap();
        let _ = released.recv();
    }));
    let source = Source::file(&path);
    let database = Held::open(&source, &options).unwrap().let_through().unwrap();
    let store = RedbStore::start(source, database, birth(), options, ballast).unwrap();
    faults.set(Fault {
        on: FaultOn::Writes,
        kind: FaultKind::Full,
        skip: 0,
        times: u64::MAX,
        while_filled: Some(place),
    });
    let watched = &store;
    // Dropped before the store, which waits for its thread.
    let hangs = move |what: &str| {
        arrived.recv().unwrap();
        assert!(!moves_on(watched, Duration::from_millis(50)), "{what}");
        assert!(watched.is_at_disk(), "{what}");
        release.send(()).unwrap();
    };
    let waiting = store.submit(put(b"a", b"1")).unwrap();
    hangs("it is released");
    assert_eq!(waiting.wait(), Err(CommitError::Full));
    faults.heal();
    let waiting = store.submit(put(b"a", b"2")).unwrap();
    hangs("it is taken back");
    assert_eq!(waiting.wait(), Ok(()));
}
