//! Nothing is lost and nothing doubled, whatever the disk does; and nothing grows without bound.

use proptest::prelude::*;

use super::*;
use crate::meter::line::LINES_MAX;
use crate::meter::record::{ACCOUNTS, KEYS, OPEN, USAGE};
use crate::store::Write;

const BAD: [Weather; 5] =
    [Weather::Full, Weather::Broken, Weather::BrokenLate, Weather::Gone, Weather::GoneLate];

#[test]
fn what_the_disk_did_not_take_is_written_down_later_once() {
    for weather in BAD {
        let house = House::new();
        house.record(1);
        house.meter.flush().unwrap();
        house.record(1);
        house.store.turn(weather);
        assert!(house.meter.flush().is_err(), "{weather:?}");
        assert!(house.meter.owes());
        house.wait(Duration::from_secs(1));
        house.record(2);
        if matches!(weather, Weather::Full | Weather::Broken | Weather::BrokenLate) {
            assert_eq!((house.requests(None), house.requests(Some(1))), (3, 2), "{weather:?}");
        }
        assert!(house.meter.flush().is_err(), "{weather:?}");
        house.store.turn(Weather::Fair);
        assert_eq!((house.requests(None), house.requests(Some(1))), (3, 2), "{weather:?}");
        house.meter.flush().unwrap();
        assert!(!house.meter.owes());
        for house in [house.restarted(), house] {
            assert_eq!((house.requests(None), house.requests(Some(1))), (3, 2), "{weather:?}");
        }
    }
}

#[test]
fn a_last_use_that_came_in_while_an_older_one_was_not_taken_stays_the_last() {
    for weather in BAD {
        let house = House::new();
        [1, 2].into_iter().for_each(|account| house.record(account));
        house.store.turn(weather);
        assert!(house.meter.flush().is_err());
        house.wait(HOUR);
        house.record(1);
        house.store.turn(Weather::Fair);
        for _ in 0..2 {
            assert_eq!(
                house.meter.last_used(account_id(1), key_id(1)),
                Ok(Some(START.after(HOUR))),
                "{weather:?}"
            );
            assert_eq!(house.meter.last_used(account_id(2), key_id(2)), Ok(Some(START)), "{weather:?}");
            house.meter.flush().unwrap();
        }
        let next = house.restarted().meter;
        assert_eq!(next.last_used(account_id(1), key_id(1)), Ok(Some(START.after(HOUR))), "{weather:?}");
        assert_eq!(next.last_used(account_id(2), key_id(2)), Ok(Some(START)), "{weather:?}");
    }
}

proptest! {
    #[test]
    fn any_row_of_failures_loses_and_doubles_nothing(
        steps in prop::collection::vec((0..6_usize, 0..3_u32), 1..30)
    ) {
        let house = House::new();
        let mut recorded = [0; 3];
        for (weather, account) in steps {
            house.record(account);
            recorded[account as usize] += 1;
            house.wait(HOUR / 4);
            house.store.turn(BAD.get(weather).copied().unwrap_or(Weather::Fair));
            prop_assert_eq!(house.meter.flush().is_ok(), weather == BAD.len());
            house.store.unreadable.store(false, Ordering::SeqCst);
            for (account, recorded) in (0..).zip(recorded) {
                prop_assert_eq!(house.requests(Some(account)), recorded);
            }
        }
        house.store.turn(Weather::Fair);
        house.meter.flush().unwrap();
        let next = house.restarted();
        prop_assert_eq!(next.requests(None), recorded.iter().sum::<u64>());
        for (account, recorded) in (0..).zip(recorded) {
            prop_assert_eq!(next.requests(Some(account)), recorded);
        }
    }
}

#[test]
fn with_nothing_new_the_store_is_left_alone() {
    let house = House::new();
    house.store.unreadable.store(true, Ordering::SeqCst);
    assert_eq!(house.meter.flush(), Ok(()));
    assert_eq!(*house.store.sizes.lock().unwrap(), [0_usize; 0]);
}

#[test]
fn much_is_written_down_in_batches_of_bounded_size() {
    let house = House::new();
    (0..6000).for_each(|account| house.record(account));
    house.meter.flush().unwrap();
    // For each line a row, its key's and its account's; for all the server's row and counter, and the count.
    assert_eq!(*house.store.sizes.lock().unwrap(), [7503, 7503, 3003]);
    let counts = [USAGE, KEYS, ACCOUNTS].map(|table| house.store.count(table).unwrap());
    assert_eq!(counts, [6001, 6000, 6001]);
    let next = house.restarted();
    assert_eq!((next.requests(None), next.requests(Some(5999))), (6000, 1));
    assert!(next.is_proven());
}

/// What a request under way does in one step.
#[derive(Debug, Clone, Copy)]
enum Act {
    Begin(u32),
    Uses(usize, u64),
    Ends(usize),
    Records(u32),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..3_u32).prop_map(Act::Begin),
        (0..6_usize, 1..5_u64).prop_map(|(which, tokens)| Act::Uses(which, tokens)),
        (0..6_usize).prop_map(Act::Ends),
        (0..3_u32).prop_map(Act::Records),
    ]
}

proptest! {
    /// Whatever the disk does, and whenever the process is killed: every request that a good flush has seen is
    /// counted, once, and what was there when it was killed is at most the work since that flush.
    #[test]
    fn a_kill_at_any_moment_loses_at_most_what_came_after_the_last_flush_and_doubles_nothing(
        steps in prop::collection::vec((0..8_usize, acts()), 1..40)
    ) {
        let house = House::new();
        let mut open: Vec<OpenUse> = Vec::new();
        let (mut begun, mut seen) = (0_u64, 0_u64);
        for (weather, act) in steps {
            match act {
                Act::Begin(account) => {
                    open.push(house.open(account));
                    begun += 1;
                }
                Act::Uses(which, prompt) => {
                    let count = open.len().max(1);
                    if let Some(one) = open.get(which % count) {
                        one.progress().used(Tokens { prompt, ..Tokens::default() });
                    }
                }
                Act::Ends(which) => {
                    let count = open.len().max(1);
                    if which % count < open.len() {
                        open.swap_remove(which % count).settle(None, Ending::Done);
                    }
                }
                Act::Records(account) => {
                    house.record(account);
                    begun += 1;
                }
            }
            house.wait(Duration::from_secs(1));
            house.store.turn(BAD.get(weather).copied().unwrap_or(Weather::Fair));
            if house.meter.flush().is_ok() {
                seen = begun;
            }
            house.store.turn(Weather::Fair);
            // The process is killed here, and another one begins with what is in a copy of the disk.
            let copy = Arc::new(MemoryStore::new());
            for table in [USAGE, KEYS, ACCOUNTS, OPEN, record::USAGE_BATCHES] {
                let rows = house.store.inner.scan(table, Bound::Unbounded, Bound::Unbounded, usize::MAX).unwrap();
                let writes = rows.into_iter().map(|(key, value)| Write::Put { table, key, value }).collect();
                copy.commit(Commit { writes, ..Commit::default() }).unwrap();
            }
            let next = House::on(copy);
            let counted = next.whole().requests;
            prop_assert!(seen <= counted && counted <= begun, "{} <= {} <= {}", seen, counted, begun);
            prop_assert_eq!(next.store.count(OPEN), Ok(0));
            prop_assert!(next.is_proven());
        }
        for mut one in open {
            one.settle(None, Ending::Cut);
        }
        house.meter.flush().unwrap();
        let next = house.restarted();
        let whole = next.whole();
        prop_assert_eq!((whole.requests, whole.ended(Ending::EmberDied)), (begun, 0));
        prop_assert!(next.is_proven());
    }
}

/// A disk that fails for long, and many accounts and keys in use meanwhile.
#[test]
fn what_waits_is_bounded_and_the_servers_sums_are_whole() {
    let house = House::new();
    house.record(0);
    house.store.turn(Weather::Broken);
    let uses = u32::try_from(LINES_MAX).unwrap() + 10;
    for account in 1..=uses {
        if account == 1000 {
            house.wait(HOUR);
        }
        house.record(account);
    }
    assert!(house.meter.flush().is_err());
    house.wait(Duration::from_millis(1));
    house.record(uses);
    {
        let state = house.meter.state();
        let taken = state.taken.as_ref().unwrap().lines.len();
        assert!(taken <= LINES_MAX + 1 && state.pending.len() == 1, "{taken}");
    }
    house.store.turn(Weather::Fair);
    house.meter.flush().unwrap();
    assert_eq!(house.requests(None), u64::from(uses) + 2);
    assert_eq!((house.requests(Some(1)), house.requests(Some(uses))), (0, 2), "the oldest detail goes");
    let last = |account| house.meter.last_used(account_id(account), key_id(account));
    assert_eq!((last(uses), last(1)), (Ok(Some(house.clock.now())), Ok(None)));
    assert!(house.is_proven());
}

/// An account's detail may be dropped in each of very many hours; their own number is bounded, too.
#[test]
fn hours_without_end_are_bounded() {
    let mut lines = Lines::default();
    let hours = LINES_MAX + 5;
    for hour in 0..u32::try_from(hours).unwrap() {
        let line = Line {
            hour: Hour::from_bytes(hour.to_be_bytes()),
            owner: Owner::NOBODY,
            model: None,
            upstream: None,
        };
        lines.count(line, &used(1), Timestamp::default(), None);
    }
    let requests: u64 = lines.iter().map(|(_, share)| share.figures.requests).sum();
    assert_eq!((lines.len(), requests), (LINES_MAX, hours as u64));
}
