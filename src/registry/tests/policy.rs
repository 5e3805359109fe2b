//! Policies: who may set what, and an end that was met.

use super::super::session::person;
use super::*;
use crate::types::{
    AddressScope, Bounds, KeyStatus, Limit, LimitKind, Policy, PolicyChanges, RouteName, RouteScope, Weight,
};

fn limits(kind: LimitKind, limit: Limit) -> PolicyChanges {
    PolicyChanges { limits: vec![(kind, limit)], ..PolicyChanges::default() }
}

fn max(number: u64) -> Limit {
    Limit::max(number).unwrap()
}

#[test]
fn an_owner_limits_his_key_as_he_likes_and_only_an_administrator_gives_it_more() {
    let mut bounds = Bounds::default();
    bounds.set(LimitKind::RequestsPerMinute, std::num::NonZeroU64::new(60));
    let house = House::under(Rules { key_limits: bounds, ..Rules::default() });
    let ana = house.account("ana@example.com");
    house.key("ana@example.com", "ci");
    let set = |actor, limit| {
        let policy = limits(LimitKind::RequestsPerMinute, limit);
        let changes = KeyChanges { policy, ..KeyChanges::default() };
        house.registry.update_key(actor, "ci", &changes)
    };
    for fine in [max(10), max(60), Limit::Default] {
        assert_eq!(set(person(&ana), fine).unwrap().policy.limits.get(LimitKind::RequestsPerMinute), fine);
    }
    for more in [max(61), Limit::Unlimited] {
        assert_eq!(problem(set(person(&ana), more)), Problem::NotAllowed);
        set(ROOT, more).unwrap();
        let changes = KeyChanges { name: "ci".parse().ok(), ..KeyChanges::default() };
        house.registry.update_key(person(&ana), "ci", &changes).unwrap();
        set(person(&ana), Limit::Default).unwrap();
    }
    let generous = NewKey {
        policy: limits(LimitKind::RequestsPerMinute, max(61)).applied_to(&Policy::default()),
        ..new_key("ana@example.com", "cd")
    };
    assert_eq!(problem(house.registry.create_key(person(&ana), &generous)), Problem::NotAllowed);
    house.registry.create_key(ROOT, &generous).unwrap();
}

#[test]
fn a_share_of_others_turns_is_for_administrators_to_give() {
    let house = House::new();
    let ana = house.account("ana@example.com");
    let heavy = NewKey { weight: Weight::new(2).unwrap(), ..new_key("ana@example.com", "ci") };
    assert_eq!(problem(house.registry.create_key(person(&ana), &heavy)), Problem::NotAllowed);
    house.registry.create_key(ROOT, &heavy).unwrap();
    let more = KeyChanges { weight: Weight::new(3).ok(), ..KeyChanges::default() };
    assert_eq!(problem(house.registry.update_key(person(&ana), "ci", &more)), Problem::NotAllowed);
    assert_eq!(house.registry.update_key(ROOT, "ci", &more).unwrap().weight.get(), 3);
}

#[test]
fn an_accounts_policy_is_for_administrators_and_its_change_is_told() {
    let house = House::new();
    let ana = house.account("ana@example.com");
    let policy = limits(LimitKind::TokensPerMonth, max(5_000_000));
    let changes = AccountChanges { policy, name: Some("Ana".parse().ok()) };
    let own = house.registry.update_account(person(&ana), "ana@example.com", &changes);
    assert_eq!(problem(own), Problem::NotAllowed);
    for _ in 0..2 {
        let held = house.registry.update_account(ROOT, "ana@example.com", &changes).unwrap();
        assert_eq!(held.policy.limits.get(LimitKind::TokensPerMonth), max(5_000_000));
        assert_eq!(held.name, "Ana".parse().ok());
    }
    let events = house.registry.account_history(ana.id).unwrap();
    let last = events.last().unwrap();
    assert_eq!((events.len(), last.action), (2, Action::AccountUpdated));
    assert_eq!(last.detail, "name: none -> Ana; tokens_per_month: default -> 5000000");
}

#[test]
fn a_policy_that_nothing_could_keep_to_is_refused() {
    let house = House::new();
    house.account("ana@example.com");
    house.key("ana@example.com", "ci");
    let nets = (0..=100).map(|n| crate::types::network(&format!("10.0.{n}.0/24")).unwrap()).collect();
    for policy in [
        PolicyChanges { routes: Some(RouteScope::Only([].into())), ..PolicyChanges::default() },
        PolicyChanges { addresses: Some(AddressScope::Only([].into())), ..PolicyChanges::default() },
        PolicyChanges { addresses: Some(AddressScope::Only(nets)), ..PolicyChanges::default() },
    ] {
        let on_account = AccountChanges { policy: policy.clone(), ..AccountChanges::default() };
        let changes = KeyChanges { policy, ..KeyChanges::default() };
        assert_eq!(problem(house.registry.update_key(ROOT, "ci", &changes)), Problem::Invalid);
        let outcome = house.registry.update_account(ROOT, "ana@example.com", &on_account);
        assert_eq!(problem(outcome), Problem::Invalid);
    }
    let some = RouteScope::Only([RouteName::Embeddings].into());
    let changes = KeyChanges {
        policy: PolicyChanges { routes: Some(some.clone()), ..PolicyChanges::default() },
        ..KeyChanges::default()
    };
    assert_eq!(house.registry.update_key(ROOT, "ci", &changes).unwrap().policy.routes, some);
}

#[test]
fn an_end_that_was_met_stays_met_though_the_clock_goes_back() {
    let house = House::new();
    house.account("ana@example.com");
    let end = START.after(MINUTE);
    let new = NewKey { expires_at: Some(end), ..new_key("ana@example.com", "ci") };
    let key = house.registry.create_key(ROOT, &new).unwrap().0.id;
    house.registry.expiry_met(key, house.clock.now()).unwrap();
    assert!(!house.registry.key(ROOT, "ci").unwrap().expiry_met, "it has not passed yet");
    house.wait(MINUTE);
    for _ in 0..2 {
        house.registry.expiry_met(key, house.clock.now()).unwrap();
    }
    let met = house.registry.key(ROOT, "ci").unwrap();
    assert_eq!(met.status(START), KeyStatus::Expired);
    let events = house.registry.key_history(key).unwrap();
    assert_eq!(events.iter().filter(|event| event.action == Action::KeyExpired).count(), 1);
    let rename = KeyChanges { name: "cd".parse().ok(), ..KeyChanges::default() };
    assert!(house.registry.update_key(ROOT, "ci", &rename).unwrap().expiry_met);
    let revive = KeyChanges { expires_at: Some(None), ..KeyChanges::default() };
    let revived = house.registry.update_key(ROOT, "cd", &revive).unwrap();
    assert_eq!((revived.expiry_met, revived.status(START)), (false, KeyStatus::Active));
}
