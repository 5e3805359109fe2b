//! Limits: never more than may, however many race; nothing sticks, and nothing is forgotten.

use std::num::NonZeroU64;

use super::*;
use crate::types::{Ending, Limit, LimitKind, Limits, PolicyChanges, Tokens};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn bounds(kind: LimitKind, max: u64) -> Bounds {
    let mut bounds = Bounds::default();
    bounds.set(kind, NonZeroU64::new(max));
    bounds
}

/// A hall whose keys have this limit.
pub(super) fn hall_with(kind: LimitKind, max: u64) -> Hall {
    on_page(Arc::default(), bounds(kind, max), Bounds::default())
}

/// A hall whose limits were used as it stands on a page.
pub(super) fn on_page(page: Arc<Page>, key: Bounds, account: Bounds) -> Hall {
    let mut hall = Hall::new();
    let limiter = limiter(&page, key, account);
    hall.gate = Gate::new(hall.book.clone(), hall.meter.clone(), limiter, 1000);
    hall.ledger = page;
    hall
}

impl Hall {
    pub(super) fn pass(&self, key: &Key) -> Result<Pass, Refusal> {
        self.pass_at(key, 10, NOW)
    }

    pub(super) fn pass_at(&self, key: &Key, tokens: u64, now: Timestamp) -> Result<Pass, Refusal> {
        let caller = block_on(self.gate.identify(Some(key.expose().as_bytes()), now))?;
        block_on(self.gate.admit(caller, Asking { model: model("m"), tokens }, now))
    }

    pub(super) fn turn(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.ledger.elapsed_ms.fetch_add(millis, Ordering::SeqCst);
    }
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn limited<T>(outcome: Result<T, Refusal>) -> Limited {
    let refusal = refusal(outcome);
    let Refusal::Limited(limited) = refusal else { panic!("{refusal:?}") };
    *limited
}

pub(super) fn done(pass: &mut Pass, prompt: u64, completion: u64) {
    pass.settle(Some(Tokens { prompt, completion, cached: 0 }), Ending::Done);
}

#[test]
fn law_10_a_rate_holds_and_comes_back_evenly() {
    let hall = hall_with(LimitKind::RequestsPerMinute, 3);
    let (_, key) = hall.key();
    for left in [2, 1, 0] {
        let allowance = hall.pass(&key).ok().unwrap().allowances().requests.unwrap();
        assert_eq!((allowance.max, allowance.left), (3, left));
    }
    let told = limited(hall.pass(&key));
    assert_eq!((told.kind, told.whose, told.fits), (LimitKind::RequestsPerMinute, Whose::Key, true));
    assert_eq!(told.wait.map(|wait| wait.as_secs_f64().round()), Some(20.0));
    hall.turn(told.wait.unwrap() + Duration::from_millis(1));
    assert!(hall.pass(&key).is_ok());
    assert!(hall.pass(&key).is_err());
}

#[test]
fn law_10_a_place_comes_back_however_the_request_ends() {
    let hall = hall_with(LimitKind::ConcurrentRequests, 1);
    let (_, key) = hall.key();
    for settle in [
        |pass: &mut Pass| done(pass, 1, 1),
        |pass: &mut Pass| pass.settle(None, Ending::Cut),
        |pass: &mut Pass| pass.settle(None, Ending::Refused),
        |_: &mut Pass| {},
    ] {
        let mut pass = hall.pass(&key).ok().unwrap();
        settle(&mut pass);
        let told = limited(hall.pass(&key));
        assert_eq!((told.kind, told.wait), (LimitKind::ConcurrentRequests, None), "until its last byte");
        drop(pass);
    }
    assert!(hall.pass(&key).is_ok());
}

#[test]
fn law_10_a_thousand_that_race_overshoot_by_none() {
    for (kind, max, admitted) in [
        (LimitKind::RequestsPerMinute, 100, 100),
        (LimitKind::ConcurrentRequests, 100, 100),
        (LimitKind::RequestsPerDay, 100, 100),
        (LimitKind::TokensPerMinute, 1005, 100),
        (LimitKind::TokensPerDay, 1005, 100),
        (LimitKind::TokensPerWeek, 1005, 100),
        (LimitKind::TokensPerMonth, 1005, 100),
        (LimitKind::TokensTotal, 1005, 100),
    ] {
        let hall = Arc::new(hall_with(kind, max));
        let (_, key) = hall.key();
        let key = Arc::new(key);
        let racers = (0..8).map(|_| {
            let (hall, key) = (Arc::clone(&hall), Arc::clone(&key));
            std::thread::spawn(move || (0..125).filter_map(|_| hall.pass(&key).ok()).collect::<Vec<_>>())
        });
        let passed: Vec<_> =
            racers.collect::<Vec<_>>().into_iter().flat_map(|one| one.join().unwrap()).collect();
        assert_eq!(passed.len(), admitted, "{kind}");
    }
}

#[test]
fn tokens_are_held_before_and_settled_after() {
    let hall = hall_with(LimitKind::TokensPerMinute, 100);
    let (_, key) = hall.key();
    let mut big = hall.pass_at(&key, 90, NOW).ok().unwrap();
    assert_eq!(limited(hall.pass_at(&key, 11, NOW)).kind, LimitKind::TokensPerMinute);
    done(&mut big, 5, 5);
    assert_eq!(hall.pass_at(&key, 1, NOW).ok().unwrap().allowances().tokens.map(|one| one.left), Some(89));
    let mut short = hall.pass_at(&key, 10, NOW).ok().unwrap();
    done(&mut short, 80, 40);
    let told = limited(hall.pass_at(&key, 1, NOW));
    assert!(
        told.wait > Some(Duration::from_secs(15)),
        "what was used beyond what was held counts, too: {told:?}"
    );
    let never = limited(hall.pass_at(&key, 101, NOW));
    assert_eq!((never.fits, never.wait, never.needed), (false, None, 101));
}

#[test]
fn what_ember_itself_refused_after_all_took_nothing() {
    let hall = hall_with(LimitKind::RequestsPerDay, 1);
    let (_, key) = hall.key();
    for _ in 0..3 {
        hall.pass(&key).ok().unwrap().settle(None, Ending::Refused);
    }
    hall.pass(&key).ok().unwrap().settle(None, Ending::ServerDied);
    let told = limited(hall.pass(&key));
    assert_eq!((told.kind, told.wait.is_some()), (LimitKind::RequestsPerDay, true));
}

#[test]
fn a_key_that_is_cut_while_its_limits_are_looked_at_takes_nothing_of_its_accounts() {
    let hall = Arc::new(on_page(Arc::default(), Bounds::default(), bounds(LimitKind::RequestsPerDay, 1)));
    let (record, key) = hall.key();
    let (other, second) = hall.draft();
    hall.commit(&KeyRecord { account: record.account, ..other });
    let caller = hall.identify(&key).ok().unwrap();
    block_on(async {
        let mut admission = Box::pin(hall.gate.admit(caller, asking("m"), NOW));
        assert!(poll(admission.as_mut()).is_pending(), "it waits for the disk");
        hall.commit(&revoked(&record));
        assert_eq!(refusal(admission.await), Refusal::Cut(Cut::Revoked));
    });
    assert!(hall.pass(&second).is_ok());
}

#[test]
fn an_end_waits_for_what_is_being_written_down_and_takes_back_what_was_written_ahead() {
    let hall = hall_with(LimitKind::TokensTotal, 1000);
    let (record, key) = hall.key();
    let amount = || hall.ledger.ledger.read(Holder::Key(record.id)).unwrap().unwrap().budgets[0].amount;
    block_on(async {
        done(
            &mut hall.gate.admit(hall.identify(&key).ok().unwrap(), asking("m"), NOW).await.ok().unwrap(),
            5,
            5,
        );
        assert!(amount() > 10);
        let mut flush = Box::pin(hall.gate.limiter.flush(NOW));
        assert!(poll(flush.as_mut()).is_pending(), "it is being written down");
        let mut close = Box::pin(hall.gate.limiter.close(NOW));
        assert!(poll(close.as_mut()).is_pending());
        flush.await.unwrap();
        close.await.unwrap();
    });
    assert_eq!((amount(), hall.gate.limiter.owes()), (10, false));
}

#[test]
fn an_accounts_limit_is_for_all_its_keys_together_and_the_longer_wait_is_told() {
    let account = bounds(LimitKind::RequestsPerMinute, 2);
    let hall = on_page(Arc::default(), bounds(LimitKind::RequestsPerMinute, 2), account);
    let (one, first) = hall.key();
    let (other, second) = hall.draft();
    hall.commit(&KeyRecord { account: one.account, ..other });
    for key in [&first, &second] {
        assert!(hall.pass(key).is_ok());
    }
    assert_eq!(limited(hall.pass(&first)).whose, Whose::Account);
    let (_, stranger) = hall.key();
    assert!(hall.pass(&stranger).is_ok());
}

#[test]
fn a_keys_own_limit_wins_over_the_configurations_and_a_change_holds_at_once() {
    let hall = hall_with(LimitKind::RequestsPerDay, 1);
    let (record, key) = hall.key();
    let held = |limit| {
        let limits = vec![(LimitKind::RequestsPerDay, limit)];
        let changes = PolicyChanges { limits, ..PolicyChanges::default() };
        hall.commit(&KeyRecord { policy: changes.applied_to(&record.policy), ..record.clone() });
    };
    assert!(hall.pass(&key).is_ok() && hall.pass(&key).is_err());
    held(Limit::max(3).unwrap());
    assert!(hall.pass(&key).is_ok() && hall.pass(&key).is_ok() && hall.pass(&key).is_err());
    held(Limit::Unlimited);
    assert!((0..10).all(|_| hall.pass(&key).is_ok()));
    held(Limit::max(4).unwrap());
    assert!(hall.pass(&key).is_ok(), "what was used while nothing was limited was not counted");
    assert!(hall.pass(&key).is_err());
}

#[test]
fn a_budget_begins_anew_with_its_period_and_a_clock_set_back_gives_nothing_back() {
    let hall = hall_with(LimitKind::TokensPerDay, 25);
    let (_, key) = hall.key();
    for _ in 0..2 {
        done(&mut hall.pass(&key).ok().unwrap(), 5, 5);
    }
    let told = limited(hall.pass(&key));
    assert_eq!(told.wait, Some(NOW.after(DAY).since(NOW) - time_of_day(NOW)));
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let earlier = Timestamp::from_millis(NOW.as_millis() - i64::try_from(year.as_millis()).unwrap());
    assert!(hall.pass_at(&key, 10, earlier).is_err(), "yesterday is no new day");
    assert!(hall.pass_at(&key, 10, NOW.after(DAY)).is_ok());
}

fn time_of_day(at: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(at.as_millis() % 86_400_000).unwrap())
}

#[test]
fn a_restart_neither_refills_nor_forgets() {
    let page: Arc<Page> = Arc::default();
    let mut limits = bounds(LimitKind::TokensTotal, 100);
    limits.set(LimitKind::RequestsPerMinute, NonZeroU64::new(3));
    let hall = || on_page(page.clone(), limits, Bounds::default());
    let before = hall();
    let (record, key) = before.key();
    for _ in 0..2 {
        done(&mut before.pass_at(&key, 20, NOW).ok().unwrap(), 10, 10);
    }
    block_on(before.gate.limiter.close(NOW)).unwrap();
    let after = hall();
    after.commit(&record);
    let pass = after.pass_at(&key, 20, NOW).ok().unwrap();
    let left = pass.allowances();
    assert_eq!(left.requests.map(|one| one.left), Some(0));
    let standings = block_on(after.gate.limits(pass.caller(), NOW)).unwrap();
    let total = standings.iter().find(|(_, one)| one.kind == LimitKind::TokensTotal).unwrap().1;
    assert_eq!(total.allowance.left, 40);
    assert_eq!(limited(after.pass_at(&key, 20, NOW)).kind, LimitKind::RequestsPerMinute);
    drop(pass);
    block_on(after.gate.limiter.close(NOW)).unwrap();
    let later = hall();
    later.commit(&record);
    let minute = NOW.after(Duration::from_secs(60));
    assert!(later.pass_at(&key, 20, minute).is_ok(), "time that passed while nobody ran counts");
}

#[test]
fn a_crash_forgets_no_budget() {
    let page: Arc<Page> = Arc::default();
    let hall = || on_page(page.clone(), bounds(LimitKind::TokensTotal, 1000), Bounds::default());
    let before = hall();
    let (record, key) = before.key();
    let mut used = 0;
    for _ in 0..30 {
        done(&mut before.pass_at(&key, 10, NOW).ok().unwrap(), 5, 5);
        used += 10;
        // Killed here: nothing was flushed.
        let after = hall();
        after.commit(&record);
        let caller = after.identify(&key).ok().unwrap();
        let left = block_on(after.gate.limits(&caller, NOW)).unwrap()[0].1.allowance.left;
        assert!(left <= 1000 - used && left >= 1000 - used - 50, "{used} were used, and {left} are left");
    }
}

#[test]
fn a_disk_that_is_full_does_not_stop_what_is_within_its_limits() {
    let hall = hall_with(LimitKind::RequestsPerDay, 3);
    let (record, key) = hall.key();
    hall.ledger.is_broken.store(true, Ordering::SeqCst);
    assert!((0..3).all(|_| hall.pass(&key).is_ok()));
    assert!(hall.pass(&key).is_err());
    assert!(block_on(hall.gate.limiter.flush(NOW)).is_err() && hall.gate.limiter.owes());
    hall.ledger.is_broken.store(false, Ordering::SeqCst);
    block_on(hall.gate.limiter.flush(NOW)).unwrap();
    assert!(!hall.gate.limiter.owes());
    let used = hall.ledger.ledger.read(Holder::Key(record.id)).unwrap().unwrap();
    assert_eq!(used.budgets[0].amount, 3);
}

#[test]
fn a_flush_keeps_so_much_written_down_ahead_that_requests_need_not_wait() {
    let hall = hall_with(LimitKind::TokensTotal, 1_000_000);
    let (_, key) = hall.key();
    for _ in 0..100 {
        for _ in 0..10 {
            done(&mut hall.pass_at(&key, 100, NOW).ok().unwrap(), 50, 50);
        }
        block_on(hall.gate.limiter.flush(NOW)).unwrap();
    }
    let writes = hall.ledger.writes.load(Ordering::SeqCst);
    assert!(writes <= 102, "{writes} for 100 flushes");
}

#[test]
fn a_million_holders_take_a_bounded_place() {
    let hall = hall_with(LimitKind::RequestsPerMinute, 5);
    for _ in 0..40 {
        let keys: Vec<_> = (0..1000).map(|_| hall.key().1).collect();
        assert!(keys.iter().all(|key| hall.pass(key).is_ok()));
        block_on(hall.gate.limiter.flush(NOW)).unwrap();
    }
    assert!(hall.gate.limiter.tallies_len() <= 15_000, "{}", hall.gate.limiter.tallies_len());
}

#[test]
fn an_expired_key_stays_expired_though_the_clock_goes_back() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let short = KeyRecord { expires_at: Some(SOON), ..record.clone() };
    hall.commit(&short);
    let bearer = key.expose().as_bytes();
    assert!(hall.identify(&key).is_ok());
    for _ in 0..2 {
        assert_eq!(refusal(hall.identify_at(bearer, SOON)), Refusal::Expired);
        assert_eq!(*hall.book.met.lock().unwrap(), [EndMet::Key(record.id, SOON)], "told at once, and once");
    }
    assert_eq!(refusal(hall.identify(&key)), Refusal::Expired);
    hall.commit(&renamed(&short));
    assert_eq!(refusal(hall.identify(&key)), Refusal::Expired, "another name is no other end");
    hall.commit(&KeyRecord { expires_at: Some(NOW.after(DAY)), ..record });
    assert!(hall.identify(&key).is_ok());
}

#[test]
fn where_and_what_for_a_key_may_be_used() {
    use crate::types::{AddressScope, RouteName, RouteScope, network};
    let hall = Hall::new();
    let (record, key) = hall.key();
    let policy = Policy {
        addresses: AddressScope::Only([network("10.0.0.0/8").unwrap()].into()),
        routes: RouteScope::Only([RouteName::Embeddings].into()),
        limits: Limits::default(),
        ..Policy::default()
    };
    hall.commit(&KeyRecord { policy: policy.clone(), ..record.clone() });
    let caller = hall.identify(&key).ok().unwrap();
    assert_eq!(caller.may_come_from("10.1.1.1".parse().unwrap()), Ok(()));
    assert_eq!(caller.may_come_from("::ffff:10.1.1.1".parse().unwrap()), Ok(()));
    assert_eq!(caller.may_come_from("11.1.1.1".parse().unwrap()), Err(Refusal::AddressNotAllowed));
    assert_eq!(caller.may_use(RouteName::Embeddings), Ok(()));
    assert_eq!(caller.may_use(RouteName::Models), Err(Refusal::RouteNotAllowed));
    hall.commit(&record);
    assert!(hall.identify(&key).ok().unwrap().may_use(RouteName::Models).is_ok());
    hall.gate.changed(&Change::Account(Account { policy, ..account(record.account, AccountStatus::Active) }));
    let caller = hall.identify(&key).ok().unwrap();
    assert_eq!(caller.may_come_from("11.1.1.1".parse().unwrap()), Err(Refusal::AddressNotAllowed));
    assert_eq!(caller.may_use(RouteName::Models), Err(Refusal::RouteNotAllowed));
}

#[test]
fn law_10_other_defaults_hold_from_the_next_request_on_and_forgive_nothing() {
    let mut limits = bounds(LimitKind::TokensPerMinute, 100);
    limits.set(LimitKind::TokensPerDay, NonZeroU64::new(100));
    let hall = on_page(Arc::default(), limits, Bounds::default());
    let (_, key) = hall.key();
    done(&mut hall.pass_at(&key, 60, NOW).ok().unwrap(), 30, 30);
    let under_way = hall.pass_at(&key, 20, NOW).ok().unwrap();
    let told = |minute, day| {
        let mut limits = bounds(LimitKind::TokensPerMinute, minute);
        limits.set(LimitKind::TokensPerDay, NonZeroU64::new(day));
        hall.gate.limiter.set_defaults(limits, Bounds::default());
    };
    told(50, 1000);
    assert_eq!(limited(hall.pass_at(&key, 1, NOW)).kind, LimitKind::TokensPerMinute, "80 of 50");
    told(1000, 90);
    assert_eq!(limited(hall.pass_at(&key, 11, NOW)).kind, LimitKind::TokensPerDay, "80 of 90");
    told(90, 1000);
    assert_eq!(limited(hall.pass_at(&key, 11, NOW)).kind, LimitKind::TokensPerMinute, "80 of 90");
    drop(under_way);
    assert!(hall.pass_at(&key, 11, NOW).is_err(), "what was taken under another limit comes back with time");
    hall.turn(Duration::from_secs(60));
    assert!(hall.pass_at(&key, 80, NOW).is_ok());
}

#[test]
fn law_10_what_was_forgotten_or_read_from_the_disk_goes_on_under_another_limit_as_well() {
    let page: Arc<Page> = Arc::default();
    let with = |max| on_page(page.clone(), bounds(LimitKind::TokensPerMinute, max), Bounds::default());
    let before = with(100);
    let (record, key) = before.key();
    done(&mut before.pass_at(&key, 50, NOW).ok().unwrap(), 25, 25);
    block_on(before.gate.limiter.close(NOW)).unwrap();
    let after = with(10);
    after.commit(&record);
    assert!(after.pass_at(&key, 1, NOW).is_err());
    after.turn(Duration::from_secs(180));
    assert!(after.pass_at(&key, 1, NOW).is_err(), "50 of 10 a minute are used up in five minutes");
    after.turn(Duration::from_secs(120));
    assert!(after.pass_at(&key, 1, NOW).is_ok());
    let back = with(100);
    back.commit(&record);
    let caller = back.identify(&key).ok().unwrap();
    let left = block_on(back.gate.limits(&caller, NOW)).unwrap()[0].1.allowance.left;
    assert_eq!(left, 50, "under the limit it was counted by");

    let hall = hall_with(LimitKind::RequestsPerMinute, 1000);
    let (_, key) = hall.key();
    for _ in 0..500 {
        done(&mut hall.pass(&key).ok().unwrap(), 1, 1);
    }
    block_on(hall.gate.limiter.flush(NOW)).unwrap();
    for _ in 0..11_000 {
        assert!(hall.pass(&hall.key().1).is_ok());
    }
    block_on(hall.gate.limiter.flush(NOW)).unwrap();
    assert!(hall.pass(&hall.key().1).is_ok());
    hall.gate.limiter.set_defaults(bounds(LimitKind::RequestsPerMinute, 100), Bounds::default());
    let told = limited(hall.pass(&key));
    assert_eq!(told.wait.map(|wait| wait.as_secs()), Some(240), "500 of 100, though it was forgotten");
}
