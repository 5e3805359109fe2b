//! Records past their time go in bounded steps; what they counted stays counted.

use super::*;
use crate::meter::record::USAGE;

#[test]
fn records_past_their_time_go_and_stay_in_the_counters() {
    let house = House::new();
    for account in [1, 2] {
        (0..3).for_each(|_| {
            house.record(account);
            house.wait(HOUR);
        });
    }
    house.meter.flush().unwrap();
    assert_eq!((house.store.count(USAGE), house.meter.expire()), (Ok(12), Ok(false)));
    assert_eq!(house.store.count(USAGE), Ok(12));
    // The first two hours began 90 days and an hour before, or longer.
    house.wait(RETENTION - 4 * HOUR);
    house.meter.expire().unwrap();
    assert_eq!((house.store.count(USAGE), house.whole().requests), (Ok(8), 4));
    let proof = house.meter.verify().unwrap();
    assert_eq!((proof.wrong, proof.requests, proof.records), (vec![], 6, 4));
    house.wait(2 * RETENTION);
    house.meter.expire().unwrap();
    assert_eq!(house.store.count(USAGE), Ok(0));
    house.record(1);
    house.meter.flush().unwrap();
    assert_eq!((house.meter.verify().unwrap().requests, house.is_proven()), (7, true));
}

#[test]
fn a_long_past_goes_in_bounded_steps() {
    let house = House::new();
    (0..5000).for_each(|account| house.record(account));
    house.meter.flush().unwrap();
    house.wait(RETENTION * 2);
    for left in [3001, 1001, 0] {
        assert_eq!(house.meter.expire(), Ok(left > 0));
        assert_eq!(house.store.count(USAGE), Ok(left));
        assert!(house.is_proven());
    }
    assert_eq!(house.meter.expire(), Ok(false));
}

#[test]
fn how_long_is_a_setting() {
    let house = House::new();
    house.record(1);
    house.meter.flush().unwrap();
    house.wait(2 * DAY);
    let meter = Meter::new(house.clock.clone(), house.store.clone()).keeping(DAY);
    meter.expire().unwrap();
    assert_eq!(house.store.count(USAGE), Ok(0));
}

#[test]
fn a_disk_that_fails_takes_nothing_away_twice() {
    for weather in [Weather::Full, Weather::Broken, Weather::BrokenLate] {
        let house = House::new();
        house.record(1);
        house.meter.flush().unwrap();
        house.wait(RETENTION * 2);
        house.store.turn(weather);
        assert!(house.meter.expire().is_err());
        house.store.turn(Weather::Fair);
        house.meter.expire().unwrap();
        assert_eq!(house.store.count(USAGE), Ok(0));
        assert!(house.is_proven(), "{weather:?}");
    }
}

/// What is past its time by the clock goes: nobody can tell a clock that is wrong from a server that stood still. What
/// was used stays counted.
#[test]
fn a_clock_a_year_ahead_takes_records_away_and_no_counter() {
    let house = House::new();
    house.record(1);
    house.meter.flush().unwrap();
    house.wait(365 * DAY);
    house.meter.expire().unwrap();
    assert_eq!(house.store.count(USAGE), Ok(0));
    house.clock.0.fetch_sub(365 * 86_400_000, Ordering::SeqCst);
    house.record(1);
    house.meter.flush().unwrap();
    assert_eq!(house.meter.expire(), Ok(false));
    assert_eq!((house.meter.verify().unwrap().requests, house.is_proven()), (2, true));
}
