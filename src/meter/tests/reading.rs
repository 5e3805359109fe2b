//! What is read is what was recorded, wherever it is just then.

use super::*;
use crate::meter::record::USAGE;

#[test]
fn sums_are_by_account_and_hour_flushed_or_not() {
    for is_flushed in [false, true] {
        let house = House::new();
        let flush = || {
            if is_flushed {
                house.meter.flush().unwrap()
            }
        };
        for (account, requests) in [(1, 3), (2, 1)] {
            (0..requests).for_each(|_| house.record(account));
        }
        flush();
        house.wait(5 * HOUR);
        house.record(1);
        flush();
        for (since, sums) in [
            (Duration::ZERO, [0, 0, 0]),
            (HOUR / 2, [0, 0, 0]),
            (HOUR / 2 + Duration::from_millis(1), [1, 1, 0]),
            (5 * HOUR, [1, 1, 0]),
            (6 * HOUR, [5, 4, 1]),
            (Duration::MAX, [5, 4, 1]),
        ] {
            let found = [None, Some(1), Some(2)].map(|account| {
                let sums = house.meter.sums(account.map(account_id), since).unwrap();
                assert_eq!(sums, times(sums.requests));
                sums.requests
            });
            assert_eq!(found, sums, "{since:?}, {is_flushed}");
        }
        assert_eq!((house.requests(Some(3)), house.meter.totals().requests), (0, 5));
        house.wait(18 * HOUR);
        assert_eq!(house.requests(None), 5, "the 24th hour counts");
        house.wait(HOUR);
        assert_eq!(house.requests(None), 1, "the 25th hour does not");
        house.wait(5 * HOUR);
        assert_eq!(house.requests(None), 0);
    }
}

#[test]
fn a_last_use_is_the_last_one_told_flushed_or_not() {
    let house = House::new();
    let last = |house: &House| house.meter.last_used(account_id(1), key_id(1)).unwrap();
    assert_eq!(last(&house), None);
    house.record(1);
    assert_eq!(last(&house), Some(START));
    house.meter.flush().unwrap();
    assert_eq!((last(&house), last(&house.restarted())), (Some(START), Some(START)));
    house.wait(HOUR);
    house.record(1);
    let later = START.after(HOUR);
    assert_eq!((last(&house), last(&house.restarted())), (Some(later), Some(START)));
    house.meter.flush().unwrap();
    assert_eq!((last(&house), last(&house.restarted())), (Some(later), Some(later)));
    assert_eq!(house.meter.last_used(account_id(2), key_id(2)), Ok(None));
}

#[test]
fn a_clock_that_steps_back_counts_in_the_hour_it_shows() {
    let house = House::new();
    house.record(1);
    house.clock.0.fetch_sub(2 * 3_600_000, Ordering::SeqCst);
    house.record(1);
    house.meter.flush().unwrap();
    assert_eq!(house.requests(None), 1, "hours to come are not the last ones");
    house.wait(2 * HOUR);
    assert_eq!(house.requests(None), 2);
    assert_eq!(house.store.count(USAGE), Ok(4));
}

#[test]
fn requests_under_way_into_the_store_are_seen_once() {
    let house = House::new();
    house.record(1);
    house.meter.flush().unwrap();
    for (round, moment) in (0..).zip([Moment::BeforeCommit, Moment::AfterCommit]) {
        house.wait(Duration::from_secs(1));
        house.record(1);
        let now = house.clock.now();
        let (meter, seen) = (Arc::clone(&house.meter), Arc::new(Mutex::new(Vec::new())));
        let told = Arc::clone(&seen);
        house.store.at(moment, move || {
            meter.record(used(2));
            let last = meter.last_used(account_id(1), key_id(1)).unwrap();
            told.lock().unwrap().push((requests(&meter, None), requests(&meter, Some(1)), last));
        });
        house.meter.flush().unwrap();
        assert_eq!(*seen.lock().unwrap(), [(3 + 2 * round, 2 + round, Some(now))], "{moment:?}");
    }
    assert_eq!((house.requests(None), house.requests(Some(2))), (5, 2));
}

#[test]
fn requests_written_down_while_they_are_read_are_seen_once() {
    for moment in [Moment::BeforeScan, Moment::AfterScan] {
        let house = House::new();
        house.record(1);
        house.meter.flush().unwrap();
        house.record(1);
        let meter = Arc::clone(&house.meter);
        house.store.at(moment, move || meter.flush().unwrap());
        assert_eq!(house.requests(Some(1)), 2, "{moment:?}");
        assert_eq!(house.store.hooks.lock().unwrap().len(), 0);
    }
}

#[test]
fn a_store_in_trouble_is_told_as_such_and_counting_goes_on() {
    let house = House::new();
    house.store.unreadable.store(true, Ordering::SeqCst);
    house.record(1);
    assert!(matches!(house.meter.sums(None, DAY), Err(Trouble::Unavailable(_))));
    assert!(matches!(house.meter.last_used(account_id(2), key_id(2)), Err(Trouble::Unavailable(_))));
    assert_eq!(house.meter.last_used(account_id(1), key_id(1)), Ok(Some(START)));
    assert!(house.meter.flush().is_err());
    house.store.turn(Weather::Fair);
    assert_eq!(house.requests(None), 1);
}

#[test]
fn readers_among_recorders_and_flushes_see_no_less_than_was_and_no_more_than_is() {
    let house = House::new();
    let recorded = || house.meter.totals().requests;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while recorded() < 6000 {
                house.meter.flush().unwrap()
            }
        });
        for account in 1..=2 {
            let house = &house;
            threads.spawn(move || (0..3000).for_each(|_| house.record(account)));
        }
        while recorded() < 6000 {
            let was = recorded();
            // Flushes without a pause may keep a reader from its answer, but not from a true one.
            let Ok(sums) = house.meter.sums(None, DAY) else { continue };
            let is = recorded();
            assert!(was <= sums.requests && sums.requests <= is, "{was} <= {} <= {is}", sums.requests);
        }
    });
    assert_eq!([None, Some(1), Some(2)].map(|account| house.requests(account)), [6000, 3000, 3000]);
}
