//! A wall clock that steps a year back or ahead, and comes back: what was over stays over, rates neither refill nor stick,
//! and a budget is given out once.

use super::limits::{DAY, bounds, hall_with, on_page};
use super::*;
use crate::types::{LimitKind, proof};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a clock shows for a moment.
type Shown = fn(Timestamp) -> Timestamp;

/// The clock before and after each of the steps that are tried.
const STEPS: [[Shown; 2]; 2] = [[|at| at.before(YEAR), |at| at], [|at| at.after(YEAR), |at| at]];

#[test]
fn bug_the_end_of_a_grace_stays_met_though_the_clock_goes_back() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let (_, fresh) = hall.draft();
    let replaced =
        |end| KeyRecord { secrets: vec![secret(&fresh, None), secret(&key, Some(end))], ..record.clone() };
    hall.commit(&replaced(SOON));
    let bearer = key.expose().as_bytes();
    let mut running = Running::new(hall.identify(&key).ok().unwrap());
    for _ in 0..2 {
        assert_eq!(refusal(hall.identify_at(bearer, SOON)), Refusal::Cut(Cut::Replaced));
        let met = [EndMet::Secret(record.id, key.digest(), SOON)];
        assert_eq!(*hall.book.met.lock().unwrap(), met, "told at once, and once");
    }
    for back in [NOW, NOW.before(YEAR)] {
        assert_eq!(refusal(hall.identify_at(bearer, back)), Refusal::Cut(Cut::Replaced));
        assert!(hall.identify_at(fresh.expose().as_bytes(), back).is_ok(), "the new one");
    }
    // Written down, and read by the next start.
    hall.commit(&replaced(KeySecret::OVER));
    assert_eq!(running.heard(), None, "the end of a grace cuts nothing");
    let next = Hall::new();
    next.commit(&replaced(KeySecret::OVER));
    assert_eq!(refusal(next.identify_at(bearer, NOW.before(YEAR))), Refusal::Cut(Cut::Replaced));
}

#[test]
fn bug_of_two_ends_that_were_met_both_stay() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let (_, fresh) = hall.draft();
    let secrets = vec![secret(&fresh, None), secret(&key, Some(SOON))];
    let ended = KeyRecord { secrets, expires_at: Some(SOON), ..record.clone() };
    hall.commit(&ended);
    let bearer = key.expose().as_bytes();
    let both = [EndMet::Key(record.id, SOON), EndMet::Secret(record.id, key.digest(), SOON)];
    for _ in 0..2 {
        assert_eq!(refusal(hall.identify_at(bearer, SOON)), Refusal::Expired);
        assert_eq!(*hall.book.met.lock().unwrap(), both, "each is told at once, and once");
    }
    hall.commit(&KeyRecord { expires_at: None, ..ended });
    assert_eq!(
        refusal(hall.identify_at(bearer, NOW)),
        Refusal::Cut(Cut::Replaced),
        "the key goes on without it"
    );
}

/// Proof 2.
#[test]
fn an_expired_key_stays_expired_over_every_step_and_a_restart() {
    let mut tried = 0;
    for steps in STEPS {
        let hall = Hall::new();
        let (record, key) = hall.key();
        let record = KeyRecord { expires_at: Some(NOW), ..record };
        hall.commit(&record);
        let bearer = key.expose().as_bytes();
        assert_eq!(refusal(hall.identify_at(bearer, NOW)), Refusal::Expired);
        let next = Hall::new();
        next.commit(&KeyRecord { expiry_met: true, ..record });
        for step in steps {
            assert_eq!(refusal(hall.identify_at(bearer, step(NOW))), Refusal::Expired);
            assert_eq!(refusal(next.identify_at(bearer, step(NOW))), Refusal::Expired);
            tried += 2;
        }
    }
    proof::show_none("expired keys accepted after a step of the clock", tried);
}

/// Proof 2.
#[test]
fn a_rate_neither_refills_nor_sticks() {
    let mut tried = 0;
    for steps in STEPS {
        let hall = hall_with(LimitKind::RequestsPerMinute, 3);
        let (_, key) = hall.key();
        assert!((0..3).all(|_| hall.pass(&key).is_ok()));
        for step in steps {
            assert!(hall.pass_at(&key, 10, step(NOW)).is_err(), "refilled");
            tried += 1;
        }
        hall.turn(Duration::from_secs(20));
        assert!(hall.pass_at(&key, 10, steps[0](NOW)).is_ok(), "it sticks");
        tried += 1;
        hall.turn(Duration::from_secs(20));
        assert!(hall.pass_at(&key, 10, NOW).is_ok(), "it sticks");
        tried += 1;
        assert!(hall.pass_at(&key, 10, NOW).is_err());
    }
    proof::show_none("times that a rate refilled or stuck after a step of the clock", tried);
}

#[test]
fn a_rate_that_a_restart_reads_by_a_clock_that_went_back_comes_back_in_its_time() {
    let page: Arc<Page> = Arc::default();
    let hall = || on_page(page.clone(), bounds(LimitKind::RequestsPerMinute, 3), Bounds::default());
    let before = hall();
    let (record, key) = before.key();
    assert!((0..3).all(|_| before.pass(&key).is_ok()));
    limits::block_on(before.gate.limiter.close(NOW)).unwrap();
    let after = hall();
    after.commit(&record);
    let back = NOW.before(YEAR);
    assert!(after.pass_at(&key, 10, back).is_err(), "refilled");
    after.turn(Duration::from_secs(60));
    assert!((0..3).all(|_| after.pass_at(&key, 10, back).is_ok()), "it sticks");
}

/// Proof 2: a period by the wrong clock is one period more, and the right one is not given twice.
#[test]
fn bug_a_budget_is_not_given_again_when_the_clock_comes_back() {
    let mut tried = 0;
    for kind in [
        LimitKind::RequestsPerDay,
        LimitKind::TokensPerDay,
        LimitKind::TokensPerWeek,
        LimitKind::TokensPerMonth,
    ] {
        let mut spend = |hall: &Hall, key: &Key, now| {
            let settled = |mut pass: Pass| limits::done(&mut pass, 1, 0);
            tried += 1;
            (0..10).filter(|_| hall.pass_at(key, 1, now).map(settled).is_ok()).count()
        };
        let hall = hall_with(kind, 3);
        let (_, key) = hall.key();
        assert_eq!(spend(&hall, &key, NOW), 3, "{kind}");
        for at in [NOW.before(YEAR), NOW, NOW.before(YEAR), NOW] {
            assert_eq!(spend(&hall, &key, at), 0, "{kind}: given again");
        }
        assert_eq!(spend(&hall, &key, NOW.after(YEAR)), 3, "{kind}: another period, as far as anyone knows");
        for at in [NOW, NOW.after(YEAR), NOW] {
            assert_eq!(spend(&hall, &key, at), 0, "{kind}: given again");
        }
        assert_eq!(spend(&hall, &key, NOW.after(DAY * 62)), 3, "{kind}: it sticks");
        for few in [0, 1] {
            let hall = hall_with(kind, 3);
            let (_, key) = hall.key();
            assert_eq!(spend(&hall, &key, NOW), 3, "{kind}");
            let ahead = NOW.after(YEAR);
            let passed = (0..few).filter(|_| hall.pass_at(&key, 1, ahead).is_ok()).count();
            assert_eq!(passed, few, "{kind}");
            let caller = hall.identify(&key).ok().unwrap();
            assert!(limits::block_on(hall.gate.limits(&caller, ahead)).is_ok(), "{kind}");
            assert_eq!(spend(&hall, &key, NOW), 0, "{kind}: given again after {few} by the wrong clock");
            assert_eq!(spend(&hall, &key, NOW.after(DAY * 62)), 3, "{kind}: it sticks");
        }
    }
    proof::show_none("times that a budget was given twice, or stuck, at one time or another", tried);
}

#[test]
fn a_total_is_given_once_whatever_the_clock_shows() {
    let hall = hall_with(LimitKind::TokensTotal, 30);
    let (_, key) = hall.key();
    let passed = |at| {
        let settled = |mut pass: Pass| limits::done(&mut pass, 5, 5);
        (0..10).filter(|_| hall.pass_at(&key, 10, at).map(settled).is_ok()).count()
    };
    assert_eq!([NOW, NOW.after(YEAR), NOW.before(YEAR), NOW].map(passed), [3, 0, 0, 0]);
}
