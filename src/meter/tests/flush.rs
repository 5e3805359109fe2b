//! Nothing is lost and nothing doubled, whatever the disk does; and nothing grows without bound.

use proptest::prelude::*;

use super::*;
use crate::meter::batch::{KEYS_MAX, SUMS_MAX};
use crate::meter::record::{LAST_USED, USAGE_HOURS};

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
            assert_eq!(house.meter.last_used(key_id(1)), Ok(Some(START.after(HOUR))), "{weather:?}");
            assert_eq!(house.meter.last_used(key_id(2)), Ok(Some(START)), "{weather:?}");
            house.meter.flush().unwrap();
        }
        let next = house.restarted().meter;
        assert_eq!(next.last_used(key_id(1)), Ok(Some(START.after(HOUR))), "{weather:?}");
        assert_eq!(next.last_used(key_id(2)), Ok(Some(START)), "{weather:?}");
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
    (0..2500).for_each(|account| house.record(account));
    house.meter.flush().unwrap();
    // 2,500 keys, 2,500 accounts and the server; each commit counts itself in one row more.
    assert_eq!(*house.store.sizes.lock().unwrap(), [1001, 1001, 1001, 1001, 1001, 2]);
    assert_eq!((house.store.count(LAST_USED), house.store.count(USAGE_HOURS)), (Ok(2500), Ok(2501)));
    let next = house.restarted();
    assert_eq!((next.requests(None), next.requests(Some(2499))), (2500, 1));
}

#[test]
fn rows_past_their_time_go_with_the_first_of_a_new_hour() {
    let house = House::new();
    for account in [1, 2] {
        (0..3).for_each(|_| {
            house.record(account);
            house.wait(HOUR);
        });
    }
    house.meter.flush().unwrap();
    assert_eq!(house.store.count(USAGE_HOURS), Ok(12));
    // The first hours of account 1 and of the server began 30 days and an hour before.
    house.wait(KEPT - 5 * HOUR);
    house.record(1);
    house.meter.flush().unwrap();
    assert_eq!(house.store.count(USAGE_HOURS), Ok(12 - 2 + 2));
    assert_eq!(house.meter.sums(None, KEPT).map(|sums| sums.requests), Ok(5));
    house.record(1);
    house.meter.flush().unwrap();
    assert_eq!(house.store.count(USAGE_HOURS), Ok(12), "nothing is looked for but in a new hour");
    house.wait(KEPT * 2);
    house.record(1);
    house.meter.flush().unwrap();
    assert_eq!(
        house.store.count(USAGE_HOURS),
        Ok(3 + 2),
        "another account's rows stay until it is used again"
    );
}

#[test]
fn a_long_past_goes_in_bounded_steps() {
    let house = House::new();
    (0..100).for_each(|_| {
        house.record(1);
        house.wait(HOUR);
    });
    house.meter.flush().unwrap();
    house.wait(KEPT * 2);
    for step in 1..=5 {
        house.record(1);
        house.meter.flush().unwrap();
        house.wait(HOUR);
        let left = 100_u64.saturating_sub(24 * step);
        assert_eq!(house.store.count(USAGE_HOURS), Ok(2 * (left + step)));
    }
}

/// A disk that fails for long, and many accounts and keys in use meanwhile.
#[test]
fn what_waits_is_bounded_and_the_servers_sums_are_whole() {
    let house = House::new();
    house.record(0);
    house.store.turn(Weather::Broken);
    let (keys, sums) = (u32::try_from(KEYS_MAX).unwrap(), u32::try_from(SUMS_MAX).unwrap());
    let uses = keys.max(sums) + 10;
    for account in 1..=uses {
        if account == 1000 {
            assert!(house.meter.flush().is_err());
            house.wait(HOUR);
        }
        if account == uses {
            house.wait(Duration::from_millis(1));
        }
        house.record(account);
    }
    assert!(house.meter.flush().is_err());
    {
        let state = house.meter.state();
        assert!(state.pending.rows() <= KEYS_MAX + SUMS_MAX, "{}", state.pending.rows());
    }
    house.store.turn(Weather::Fair);
    house.meter.flush().unwrap();
    assert_eq!(house.requests(None), u64::from(uses) + 1);
    assert_eq!((house.requests(Some(1)), house.requests(Some(uses))), (0, 1), "the oldest detail goes");
    assert_eq!(house.store.count(USAGE_HOURS), Ok(SUMS_MAX as u64));
    assert_eq!(house.meter.last_used(key_id(uses)), Ok(Some(house.clock.now())));
    assert_eq!(house.meter.last_used(key_id(1)), Ok(None));
}

/// An account's detail may be dropped in each of very many hours; their own number is bounded, too.
#[test]
fn hours_without_end_are_bounded() {
    let mut batch = Batch::default();
    for hour in 0..u32::try_from(SUMS_MAX).unwrap() + 5 {
        let at = Timestamp::from_millis(i64::from(hour) * 3_600_000);
        batch.add(Hour::of(at), None, times(1));
    }
    assert_eq!(batch.rows(), SUMS_MAX);
}
