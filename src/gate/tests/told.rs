//! What is said of limits: how much is left, which one stands in the way, and how long.

use std::num::NonZeroU64;

use super::limits::{block_on, bounds, done, hall_with, limited, on_page};
use super::*;
use crate::types::LimitKind;

const NO_BOUNDS: [(LimitKind, u64); 0] = [];

/// A hall whose keys have these limits, and whose accounts have those.
fn hall<const N: usize, const M: usize>(key: [(LimitKind, u64); N], account: [(LimitKind, u64); M]) -> Hall {
    let of = |limits: &[(LimitKind, u64)]| {
        let mut all = Bounds::default();
        limits.iter().for_each(|(kind, max)| all.set(*kind, NonZeroU64::new(*max)));
        all
    };
    on_page(Arc::default(), of(&key), of(&account))
}

#[test]
fn of_several_limits_the_one_that_leaves_least_is_shown_and_the_first_of_equals() {
    for (minute, day, shown) in [(10, 3, (3, 2, false)), (3, 10, (3, 2, true)), (5, 5, (5, 4, true))] {
        let limits = [(LimitKind::RequestsPerMinute, minute), (LimitKind::RequestsPerDay, day)];
        let hall = hall(limits, NO_BOUNDS);
        let left = hall.pass(&hall.key().1).ok().unwrap().allowances();
        let requests = left.requests.unwrap();
        let is_soon = requests.reset.is_some_and(|reset| reset <= Duration::from_secs(60));
        assert_eq!((requests.max, requests.left, is_soon), shown, "{minute} a minute, {day} a day");
        assert_eq!(left.tokens, None);
    }
}

#[test]
fn what_is_left_of_each_limit_and_when_all_of_it_is_there_again() {
    let limits = [
        (LimitKind::TokensPerMinute, 60),
        (LimitKind::ConcurrentRequests, 5),
        (LimitKind::TokensPerDay, 1000),
        (LimitKind::TokensTotal, 5000),
    ];
    let hall = hall(limits, NO_BOUNDS);
    let (_, key) = hall.key();
    // Half of what was held is used, and the rest comes back.
    done(&mut hall.pass_at(&key, 30, NOW).ok().unwrap(), 10, 5);
    let caller = hall.identify(&key).ok().unwrap();
    let left = block_on(hall.gate.limits(&caller, NOW)).unwrap();
    let left: Vec<_> = left.into_iter().map(|(_, one)| (one.kind, one.allowance)).collect();
    let allowance = |max, left, reset| Allowance { max, left, reset };
    let midnight: Timestamp = "2027-01-16T00:00:00Z".parse().unwrap();
    let expected = [
        (LimitKind::TokensPerMinute, allowance(60, 45, Some(Duration::from_secs(15)))),
        (LimitKind::ConcurrentRequests, allowance(5, 5, None)),
        (LimitKind::TokensPerDay, allowance(1000, 985, Some(midnight.since(NOW)))),
        (LimitKind::TokensTotal, allowance(5000, 4985, None)),
    ];
    assert_eq!(left, expected);
}

#[test]
fn of_a_key_and_its_account_the_one_that_makes_wait_longer_is_told() {
    let (minute, day) = (bounds(LimitKind::RequestsPerMinute, 2), bounds(LimitKind::RequestsPerDay, 2));
    for (own, account, whose) in [(minute, day, Whose::Account), (day, minute, Whose::Key)] {
        let hall = on_page(Arc::default(), own, account);
        let (_, key) = hall.key();
        assert!((0..2).all(|_| hall.pass(&key).is_ok()));
        let told = limited(hall.pass(&key));
        assert_eq!((told.whose, told.kind), (whose, LimitKind::RequestsPerDay));
        assert_eq!((told.needed, told.left), (1, 0));
    }
}

#[test]
fn of_limits_that_stand_equally_long_the_first_is_told() {
    let limits = [(LimitKind::TokensPerMinute, 10), (LimitKind::TokensPerDay, 10)];
    let hall = hall(limits, [(LimitKind::TokensPerMinute, 10)]);
    let told = limited(hall.pass_at(&hall.key().1, 11, NOW));
    assert_eq!((told.kind, told.whose), (LimitKind::TokensPerMinute, Whose::Key));
}

#[test]
fn one_who_is_refused_is_told_what_is_left_of_that_limit_and_of_the_nearest() {
    let limits = [
        (LimitKind::RequestsPerMinute, 100),
        (LimitKind::TokensPerMinute, 100),
        (LimitKind::TokensPerDay, 1000),
    ];
    let hall = hall(limits, [(LimitKind::TokensPerMinute, 500)]);
    let (_, key) = hall.key();
    done(&mut hall.pass_at(&key, 60, NOW).ok().unwrap(), 30, 30);
    let told = limited(hall.pass_at(&key, 50, NOW));
    assert_eq!((told.kind, told.whose, told.max), (LimitKind::TokensPerMinute, Whose::Key, 100));
    assert_eq!((told.needed, told.left), (50, 40));
    let nearest = |one: Option<Allowance>| one.map(|one| (one.max, one.left));
    assert_eq!(nearest(told.allowances.requests), Some((100, 99)));
    assert_eq!(nearest(told.allowances.tokens), Some((100, 40)));
}

#[test]
fn no_wait_is_told_where_waiting_is_of_no_use() {
    for (kind, tokens, fits, comes_back) in [
        (LimitKind::TokensPerDay, 10, true, true),
        (LimitKind::TokensPerDay, 26, false, false),
        (LimitKind::TokensTotal, 10, true, false),
        (LimitKind::TokensTotal, 26, false, false),
    ] {
        let hall = hall_with(kind, 25);
        let (_, key) = hall.key();
        done(&mut hall.pass_at(&key, 20, NOW).ok().unwrap(), 10, 10);
        let told = limited(hall.pass_at(&key, tokens, NOW));
        assert_eq!((told.fits, told.wait.is_some(), told.left), (fits, comes_back, 5), "{tokens} of {kind}");
    }
}
