//! Proof 7, of law 4: writing against the reopening after an error of the disk, in every order of up to three threads.
//! Here is the real store with its writer, under loom's locks, and redb on a disk in memory (`tests/races/run`). A call
//! into redb is one step: what redb does within is tried by its own tests.

use super::*;
use crate::store::{Check, Write};
use crate::types::proof;
use crate::types::sync::{Mutex, Racer, every_order, preemptions};

const SHARED: Table = Table("shared");

/// A row of its own that must not be there yet, and one that all share.
fn row(number: u8) -> Commit {
    let put = |table, key, value| Write::Put { table, key, value };
    Commit {
        checks: vec![Check::Absent { table: T, key: vec![number] }],
        writes: vec![put(T, vec![number], vec![number; 9]), put(SHARED, vec![0], vec![number])],
        ..Commit::default()
    }
}

/// A store, the disk it lies on, and what was said of its commits.
struct House {
    store: RedbStore,
    disk: Memory,
    faults: Faults,
    heard: Arc<Mutex<Vec<u8>>>,
    acknowledged: Mutex<Vec<u8>>,
}

impl House {
    fn new(fault: Fault) -> Arc<Self> {
        let disk = Memory::default();
        create::create_on(Box::new(disk.clone()), Path::new("(memory)"), birth()).unwrap();
        let faults = Faults::default();
        // Real time must not pass: the same order goes the same way each time.
        let hour = Duration::from_secs(3600);
        let options = StoreOptions {
            faults: Some(faults.clone()),
            cache_bytes: 0,
            reopen_wait: hour,
            reopen_wait_max: hour,
            ..quick()
        };
        let store = on_disk(disk.clone(), options);
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let own = Arc::clone(&heard);
        store.observe(Box::new(move |writes| {
            let Write::Put { key, .. } = &writes[0] else { panic!("only puts are made") };
            own.lock().unwrap().push(key[0]);
        }));
        faults.set(fault);
        Arc::new(Self { store, disk, faults, heard, acknowledged: Mutex::default() })
    }

    fn write(&self, number: u8) {
        match self.store.commit(row(number)) {
            Ok(()) => {
                assert!(self.heard.lock().unwrap().contains(&number), "acknowledged before it was told");
                self.acknowledged.lock().unwrap().push(number);
                self.read(number, true);
            }
            Err(CommitError::Trouble(Trouble::Unavailable(_))) => {}
            Err(other) => panic!("{number}: {other:?}; was it done twice?"),
        }
    }

    /// Reads a row that is there for sure, or may be.
    fn read(&self, number: u8, is_there: bool) {
        match self.store.get(T, &[number]) {
            Ok(Some(value)) => assert_eq!(value, [number; 9]),
            Ok(None) => assert!(!is_there, "{number} was acknowledged and is lost"),
            Err(trouble) => assert!(matches!(trouble, Trouble::Unavailable(_)), "{trouble:?}"),
        }
    }

    fn racer(self: &Arc<Self>, run: impl FnOnce(&Self) + Send + 'static) -> Racer {
        let house = Arc::clone(self);
        Box::new(move || run(&house))
    }
}

/// Once the disk is well the store comes back, and has what it acknowledged and told, each once and in order.
fn all_is_well(house: Arc<House>) {
    house.faults.heal();
    while house.store.commit(row(100)).is_err() {
        loom::thread::yield_now();
    }
    let House { store, disk, heard, acknowledged, .. } = Arc::into_inner(house).unwrap();
    drop(store);
    let (heard, acknowledged) = (heard.lock().unwrap().clone(), acknowledged.into_inner().unwrap());
    let again = on_disk(disk, quick());
    let there = |number: &u8| again.get(T, &[*number]).unwrap().is_some();
    let present: Vec<u8> = [1, 2, 100].into_iter().filter(there).collect();
    let mut told = heard.clone();
    told.sort_unstable();
    assert_eq!(told, present, "told of other commits than are there, or twice");
    assert!(acknowledged.iter().all(|number| present.contains(number)), "lost");
    let last = heard.last().copied().unwrap();
    assert_eq!(again.get(SHARED, &[0]), Ok(Some(vec![last])), "told in another order than they were done in");
}

fn fault(on: FaultOn, skip: u64, times: u64) -> Fault {
    Fault { on, kind: FaultKind::Io, skip, times, while_filled: None }
}

#[test]
fn law_4_reopen_against_two_writes() {
    // Where the first write is not there, where it may be and is, and where it is the second one.
    let every_day = vec![5, 12, 14, 18];
    let skips = if proof::is_full() { (0..24).collect() } else { every_day };
    for (skip, times) in skips.into_iter().flat_map(|skip| [(skip, 1), (skip, 2)]) {
        let set = move || {
            let house = House::new(fault(FaultOn::Writes, skip, times));
            let racers = vec![house.racer(|house| house.write(1)), house.racer(|house| house.write(2))];
            (house, racers)
        };
        let name = format!("two writes and {times} errors from the disk's write {skip} on");
        every_order(&name, preemptions(1, Some(2)), set, all_is_well);
    }
}

#[test]
fn law_4_reopen_for_a_reader_against_a_write() {
    for skip in 0..2 {
        let set = move || {
            let house = House::new(fault(FaultOn::Reads, skip, 1));
            let racers = vec![house.racer(|house| house.read(1, false)), house.racer(|house| house.write(1))];
            (house, racers)
        };
        let name = format!("a read, a write and an error at the disk's read {skip}");
        every_order(&name, preemptions(1, Some(2)), set, all_is_well);
    }
}
