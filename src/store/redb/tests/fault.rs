//! Disks that fail at the Nth call, are full, or vanish: nothing acknowledged is lost, nothing is half there, and
//! the store works again without a restart.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Instant;

use super::held::Spy;
use super::*;
use crate::store::{Check, Urgency};
use crate::types::proof;

/// Writes three rows of its own and one that all share.
fn triple(number: u8) -> Commit {
    let row = |part: u8| Write::Put { table: T, key: vec![number, part], value: vec![number; 700] };
    let shared = Write::Put { table: Table("shared"), key: vec![0], value: vec![number] };
    Commit { writes: vec![row(0), row(1), row(2), shared], ..Commit::default() }
}

/// Whether a commit's rows are there; fails when only some are.
fn there(store: &RedbStore, number: u8) -> bool {
    let rows: Vec<_> = (0..3).map(|part| store.get(T, &[number, part]).unwrap()).collect();
    let whole = rows.iter().all(|row| row.as_deref() == Some(&[number; 700]));
    assert!(whole || rows.iter().all(Option::is_none), "commit {number} is half there");
    whole
}

/// Tries until it works, or fails the test after a time that no machine needs.
fn until_it_works(mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < Duration::from_secs(20), "the store never came back");
        std::thread::yield_now();
    }
}

fn memory() -> Memory {
    let disk = Memory::default();
    create::create_on(Box::new(disk.clone()), Path::new("(memory)"), birth()).unwrap();
    disk
}

/// One disk with one fault from call `skip` on, while so many commits are made. Whether the fault was met, and whether
/// all was acknowledged.
fn one_fault(fault: Fault, commits: u8) -> (bool, bool) {
    let disk = memory();
    let faults = Faults::default();
    let store =
        on_disk(disk.clone(), StoreOptions { faults: Some(faults.clone()), cache_bytes: 0, ..quick() });
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let own = heard.clone();
    store.observe(Box::new(move |writes| {
        let Write::Put { key, .. } = &writes[0] else { panic!("only puts are made") };
        own.lock().unwrap().push(key[0]);
    }));
    store.commit(triple(0)).unwrap();
    let case = format!("{fault:?}");
    faults.set(fault);
    let mut acknowledged = vec![0];
    for number in 1..=commits {
        match store.commit(triple(number)) {
            Ok(()) => acknowledged.push(number),
            Err(refused) => assert!(
                matches!(refused, CommitError::Full | CommitError::Trouble(Trouble::Unavailable(_))),
                "{refused:?}"
            ),
        }
        match store.get(T, &[0, 0]) {
            Ok(value) => assert_eq!(value, Some(vec![0; 700]), "{case}"),
            Err(trouble) => assert!(matches!(trouble, Trouble::Unavailable(_)), "{case}: {trouble}"),
        }
    }
    let met = faults.heal();
    until_it_works(|| store.commit(triple(100)).is_ok());
    until_it_works(|| store.count(T).is_ok());
    let present: Vec<u8> = (0..=commits).filter(|number| there(&store, *number)).collect();
    assert!(acknowledged.iter().all(|number| present.contains(number)), "{case}: lost");
    heard.lock().unwrap().retain(|number| *number != 100);
    assert_eq!(*heard.lock().unwrap(), present, "{case}: observers heard of other commits than are there");
    drop(store);
    let again = on_disk(disk, quick());
    assert_eq!(present, (0..=commits).filter(|number| there(&again, *number)).collect::<Vec<_>>(), "{case}");
    assert!(there(&again, 100));
    (met, acknowledged.len() == usize::from(commits) + 1)
}

/// Proof 2: each read, write, sync and change of the length fails once, then for as long as the disk is not healed; every
/// third of them where it is not to be proven.
#[test]
fn a_disk_that_fails_at_any_call_loses_nothing() {
    let commits = if proof::is_full() { 90 } else { 7 };
    let mut failures = 0;
    for (on, calls) in [(FaultOn::Writes, "writes and syncs"), (FaultOn::Reads, "reads")] {
        let (mut met, mut hidden) = (0, 0);
        for (kind, times) in
            [FaultKind::Io, FaultKind::Full].into_iter().flat_map(|kind| [(kind, 1), (kind, u64::MAX)])
        {
            for skip in (0..).step_by(proof::size(3, 1)) {
                let fault = Fault { on, kind, skip, times, while_filled: None };
                let (was_met, has_acknowledged_all) = one_fault(fault, commits);
                if !was_met {
                    break;
                }
                met += 1;
                hidden += usize::from(has_acknowledged_all);
            }
        }
        failures += met;
        proof::show(&format!("{calls} that failed, each of a script in its turn"), met, "any");
        assert!(met > 120, "only {met} faults of {on:?} were met");
        assert!(hidden > 5, "no outcome of {on:?} was found out by reading again: {hidden}");
    }
    proof::show_none("failures after which an acknowledged commit was lost, or another was there", failures);
}

#[test]
fn while_the_disk_is_away_everyone_is_told_at_once() {
    let faults = Faults::default();
    let options = StoreOptions { reopen_wait: Duration::from_secs(3600), ..quick() };
    let store = on_disk(memory(), StoreOptions { faults: Some(faults.clone()), ..options });
    faults.set(Fault {
        on: FaultOn::Writes,
        kind: FaultKind::Io,
        skip: 0,
        times: u64::MAX,
        while_filled: None,
    });
    for _ in 0..3 {
        let refused = store.commit(triple(1));
        assert!(matches!(refused, Err(CommitError::Trouble(Trouble::Unavailable(_)))), "{refused:?}");
    }
    assert!(matches!(store.get(T, &[0]), Err(Trouble::Unavailable(_))));
    assert!(matches!(store.scan(T, Bound::Unbounded, Bound::Unbounded, 1), Err(Trouble::Unavailable(_))));
    assert!(matches!(store.count(T), Err(Trouble::Unavailable(_))));
    assert!(store.health().is_err());
}

#[test]
fn a_reader_that_meets_an_error_has_the_store_reopened() {
    let disk = memory();
    let faults = Faults::default();
    let store = on_disk(disk, StoreOptions { faults: Some(faults.clone()), cache_bytes: 0, ..quick() });
    store.commit(triple(1)).unwrap();
    faults.set(Fault { on: FaultOn::Reads, kind: FaultKind::Io, skip: 0, times: 1, while_filled: None });
    assert!(matches!(store.get(T, &[1, 0]), Err(Trouble::Unavailable(_))));
    until_it_works(|| store.get(T, &[1, 0]) == Ok(Some(vec![1; 700])));
}

fn denial(number: u8) -> Commit {
    Commit { urgency: Urgency::Denial, ..triple(number) }
}

/// A store with a ballast, whose disk is full while the ballast is kept.
fn on_full_disk(dir: &Path, ballast_wait: Duration) -> (RedbStore, Faults) {
    let faults = Faults::default();
    let options =
        StoreOptions { ballast_bytes: 64 * 1024, ballast_wait, faults: Some(faults.clone()), ..quick() };
    let store = RedbStore::create(&dir.join("ember.redb"), birth(), options).unwrap();
    let while_filled = Some(dir.join("ballast"));
    faults.set(Fault { on: FaultOn::Writes, kind: FaultKind::Full, skip: 0, times: u64::MAX, while_filled });
    (store, faults)
}

#[test]
fn a_full_disk_takes_denials_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = on_full_disk(dir.path(), Duration::from_secs(3600));
    for number in 1..5 {
        assert_eq!(store.commit(triple(number)), Err(CommitError::Full));
        assert_eq!(store.commit(denial(number + 100)), Ok(()));
        assert_eq!(store.get(T, &[number + 100, 1]), Ok(Some(vec![number + 100; 700])));
        assert!(!there(&store, number));
    }
}

#[test]
fn a_denial_that_meets_the_full_disk_itself_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = on_full_disk(dir.path(), Duration::from_secs(3600));
    assert_eq!(store.commit(denial(1)), Ok(()));
    assert!(there(&store, 1));
}

#[test]
fn the_ballast_comes_back_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let (store, faults) = on_full_disk(dir.path(), Duration::ZERO);
    assert_eq!(store.commit(triple(1)), Err(CommitError::Full));
    assert_eq!(dir.path().join("ballast").metadata().unwrap().len(), 0);
    assert!(faults.heal());
    assert_eq!(store.commit(triple(2)), Ok(()));
    assert_eq!(dir.path().join("ballast").metadata().unwrap().len(), 64 * 1024);
}

#[test]
fn without_a_ballast_a_full_disk_is_said_and_reads_go_on() {
    let faults = Faults::default();
    let store = on_disk(memory(), StoreOptions { faults: Some(faults.clone()), ..quick() });
    store.commit(triple(1)).unwrap();
    faults.set(Fault { on: FaultOn::Writes, kind: FaultKind::Full, skip: 0, times: 1, while_filled: None });
    assert_eq!(store.commit(triple(2)), Err(CommitError::Full));
    assert!(there(&store, 1) && !there(&store, 2));
}

#[test]
fn a_store_that_vanished_is_neither_made_anew_nor_taken_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ember.redb");
    let faults = Faults::default();
    let options = StoreOptions { faults: Some(faults.clone()), ..quick() };
    let store = RedbStore::create(&path, birth(), options).unwrap();
    let away = dir.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    faults.set(Fault { on: FaultOn::Writes, kind: FaultKind::Io, skip: 0, times: 1, while_filled: None });
    store.commit(put(b"a", b"1")).unwrap_err();
    assert!(store.health().is_err() && !path.exists());
    let other = dir.path().join("other");
    drop(RedbStore::create(&other, Birth { store_id: [9; 16], ..birth() }, quick()).unwrap());
    std::fs::rename(&other, &path).unwrap();
    until_it_works(|| store.health().is_err_and(|trouble| trouble.to_string().contains("another store")));
    std::fs::rename(&away, &path).unwrap();
    until_it_works(|| store.commit(put(b"a", b"1")).is_ok());
}

#[test]
fn commits_that_wait_are_finished_when_the_store_is_dropped() {
    let disk = memory();
    let store = Arc::new(on_disk(disk.clone(), quick()));
    let acknowledged: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..9)
            .map(|number| {
                let store = store.clone();
                scope.spawn(move || store.commit(triple(number)).is_ok())
            })
            .collect();
        drop(store);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(acknowledged.iter().all(|ok| *ok));
    let again = on_disk(disk, quick());
    assert!((1..9).all(|number| there(&again, number)));
}

/// A fault from the next call on.
fn fault(on: FaultOn, kind: FaultKind, times: u64) -> Fault {
    Fault { on, kind, skip: 0, times, while_filled: None }
}

/// A commit's own calls to the disk fail, each in its turn.
#[test]
fn a_commit_that_is_there_though_a_call_failed_is_acknowledged() {
    let mut found_again = 0;
    for skip in 0.. {
        let (was_met, all) = one_fault(Fault { skip, ..fault(FaultOn::Writes, FaultKind::Io, 1) }, 1);
        if !was_met {
            assert!(skip > 3, "a commit took only {skip} calls");
            break;
        }
        found_again += usize::from(all);
    }
    assert!(found_again > 0, "no outcome was found out by reading again");
}

/// A commit's own syncs panic, each in its turn.
#[test]
fn a_commit_that_is_there_though_the_engine_panicked_is_acknowledged() {
    let mut found_again = 0;
    for sync in 1.. {
        let disk = Spy::default();
        create::create_on(Box::new(disk.clone()), Path::new("(memory)"), birth()).unwrap();
        let store = on_disk(disk.clone(), quick());
        store.commit(triple(0)).unwrap();
        disk.panic_at(sync);
        let done = store.commit(triple(1));
        if disk.panic_at(0) > 0 {
            break;
        }
        until_it_works(|| store.commit(triple(2)).is_ok());
        assert!(there(&store, 0) && (done.is_err() || there(&store, 1)), "sync {sync}: lost");
        found_again += usize::from(done.is_ok());
    }
    assert!(found_again > 0, "no outcome was found out by reading again");
}

#[test]
fn an_error_that_is_no_lack_of_space_is_not_called_one() {
    let faults = Faults::default();
    let store = on_disk(memory(), StoreOptions { faults: Some(faults.clone()), ..quick() });
    faults.set(fault(FaultOn::Writes, FaultKind::Io, 1));
    let refused = store.commit(triple(1));
    assert!(matches!(refused, Err(CommitError::Trouble(Trouble::Unavailable(_)))), "{refused:?}");
    assert_eq!(store.health(), Ok(()));
    assert!(!there(&store, 1));
}

#[test]
fn a_reopening_that_fails_is_not_repeated_at_once() {
    let faults = Faults::default();
    let options = StoreOptions { reopen_wait: Duration::from_secs(3600), ..quick() };
    let store = on_disk(memory(), StoreOptions { faults: Some(faults.clone()), ..options });
    faults.set(fault(FaultOn::Writes, FaultKind::Io, 2));
    store.commit(triple(1)).unwrap_err();
    assert!(store.health().is_err(), "it was tried twice");
}

#[test]
fn between_two_tries_to_reopen_the_disk_is_left_alone() {
    let faults = Faults::default();
    let options = StoreOptions { reopen_wait: Duration::from_secs(3600), ..quick() };
    let store = on_disk(memory(), StoreOptions { faults: Some(faults.clone()), ..options });
    faults.set(fault(FaultOn::Writes, FaultKind::Io, u64::MAX));
    store.commit(triple(1)).unwrap_err();
    faults.set(fault(FaultOn::Reads, FaultKind::Io, u64::MAX));
    for _ in 0..3 {
        let before = store.writer_turns();
        until_it_works(|| store.writer_turns() != before);
    }
    assert!(!faults.heal(), "it was tried before its time");
}

#[test]
fn only_a_full_disk_has_the_ballast_released_for_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (store, faults) = on_full_disk(dir.path(), Duration::from_secs(3600));
    let place = dir.path().join("ballast");
    faults.set(fault(FaultOn::Writes, FaultKind::Io, u64::MAX));
    store.commit(triple(1)).unwrap_err();
    assert!(store.health().is_err());
    assert_eq!(place.metadata().unwrap().len(), 64 * 1024);
    let while_filled = Some(place.clone());
    faults.set(Fault { while_filled, ..fault(FaultOn::Writes, FaultKind::Full, u64::MAX) });
    until_it_works(|| store.health().is_ok());
    assert_eq!(place.metadata().unwrap().len(), 0);
    assert_eq!(store.commit(triple(2)), Err(CommitError::Full));
    assert_eq!(store.commit(denial(3)), Ok(()));
}

#[test]
fn readers_that_meet_the_same_error_have_the_store_reopened_once() {
    let (disk, faults) = (Spy::default(), Faults::default());
    create::create_on(Box::new(disk.clone()), Path::new("(memory)"), birth()).unwrap();
    let options = StoreOptions { faults: Some(faults.clone()), cache_bytes: 0, ..quick() };
    let store = on_disk(disk.clone(), options);
    store.commit(triple(1)).unwrap();
    let (arrive, arrived) = channel();
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    store.observe(Box::new(move |_| {
        let _ = arrive.send(());
        let _ = released.lock().unwrap().recv();
    }));
    let waiting = store.submit(triple(2)).unwrap();
    arrived.recv().unwrap();
    disk.calls();
    faults.set(fault(FaultOn::Reads, FaultKind::Io, 1));
    // The thread that writes hears of both after the commit, and of the second one after it has reopened the store.
    for _ in 0..2 {
        assert!(matches!(store.get(T, &[1, 0]), Err(Trouble::Unavailable(_))));
    }
    drop(release);
    waiting.wait().unwrap();
    until_it_works(|| store.commit(triple(3)).is_ok());
    assert_eq!(disk.calls().into_iter().filter(|call| *call == "close").count(), 1);
    assert!((1..4).all(|number| there(&store, number)));
}

#[test]
fn the_first_watch_is_told_of_each_group_and_whether_it_became_durable() {
    let faults = Faults::default();
    let store = on_disk(memory(), StoreOptions { faults: Some(faults.clone()), ..quick() });
    let told: Arc<Mutex<Vec<bool>>> = Arc::default();
    let own = told.clone();
    store.watch_commits(Box::new(move |_, is_durable| {
        own.lock().unwrap().push(is_durable);
        panic!("nobody is harmed by that");
    }));
    let second = told.clone();
    store.watch_commits(Box::new(move |_, _| second.lock().unwrap().clear()));
    store.commit(triple(1)).unwrap();
    let taken = Check::Absent { table: T, key: vec![1, 0] };
    let refused = store.commit(Commit { checks: vec![taken], ..triple(2) });
    assert_eq!(refused, Err(CommitError::Conflict { check: 0 }));
    faults.set(fault(FaultOn::Writes, FaultKind::Io, 1));
    store.commit(triple(3)).unwrap_err();
    assert_eq!(store.commit(triple(4)), Ok(()));
    assert_eq!(*told.lock().unwrap(), [true, false, true]);
}
