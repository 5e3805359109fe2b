//! Many keys revoked at once, and keys that nobody uses.

use super::*;
use crate::types::{KeyStanding, KeyStatus};

fn ana() -> House {
    let house = House::new();
    house.account("ana@example.com");
    house
}

fn make(house: &House, name: &str, environment: Environment) -> KeyRecord {
    house.wait(Duration::from_millis(1));
    let new = NewKey::new("ana@example.com", name.parse().unwrap(), environment);
    house.registry.create_key(ROOT, &new).unwrap().0
}

fn status(house: &House, key: &KeyRecord) -> KeyStatus {
    house.registry.key(ROOT, &key.id.to_string()).unwrap().status(house.clock.now())
}

#[test]
fn law_3_all_are_denied_before_the_first_is_written_down() {
    let house = ana();
    let staging: Vec<_> = (0..250).map(|n| make(&house, &format!("s{n}"), Environment::Staging)).collect();
    let prod = make(&house, "prod", Environment::Prod);
    house.registry.disable_key(ROOT, "s1").unwrap();
    house.registry.revoke_key(ROOT, "s2", None).unwrap();
    house.log();
    let environment = Some(Environment::Staging);
    let count = house.registry.revoke_keys(ROOT, "ana@example.com", environment, Some("moved")).unwrap();
    assert_eq!(count, 249);
    let log = house.log();
    let denials = log.iter().take_while(|line| line.starts_with("deny")).count();
    assert_eq!((denials, log.iter().filter(|line| *line == "commit").count()), (249, 3));
    assert_eq!(log.iter().filter(|line| line.starts_with("lift")).count(), 249);
    assert!(house.denied().is_empty());
    for key in &staging {
        assert_eq!(status(&house, key), KeyStatus::Revoked);
        let last = house.registry.key_history(key.id).unwrap().pop().unwrap();
        assert_eq!(last.action, crate::registry::Action::KeyRevoked, "each has its own event");
    }
    let KeyStanding::Revoked { reason, .. } =
        house.registry.key(ROOT, &staging[0].id.to_string()).unwrap().standing
    else {
        panic!()
    };
    assert_eq!((reason.as_deref(), status(&house, &prod)), (Some("moved"), KeyStatus::Active));
    assert_eq!(house.registry.revoke_keys(ROOT, "ana@example.com", environment, None), Ok(0));
    assert_eq!(house.registry.revoke_keys(ROOT, "ana@example.com", None, None), Ok(1));
    assert_eq!(status(&house, &prod), KeyStatus::Revoked);
}

#[test]
fn law_3_many_that_the_disk_does_not_take_stay_denied_and_are_settled() {
    let house = ana();
    let keys: Vec<_> = (0..120).map(|n| make(&house, &format!("k{n}"), Environment::Dev)).collect();
    house.store.turn(Weather::Full);
    let refused = problem(house.registry.revoke_keys(ROOT, "ana@example.com", None, None));
    assert_eq!((refused, house.denied().len()), (Problem::NotDurable, 120));
    assert_eq!(problem(house.registry.revoke_keys(ROOT, "ana@example.com", None, None)), Problem::NotDurable);
    assert_eq!(house.denied().len(), 120, "twice is once");
    house.store.turn(Weather::Fair);
    assert_eq!(house.registry.settle_denials(), 0);
    assert!(house.denied().is_empty());
    assert!(keys.iter().all(|key| status(&house, key) == KeyStatus::Revoked));
}

#[test]
fn members_revoke_their_own_and_nobody_elses() {
    let house = ana();
    let key = make(&house, "k", Environment::Dev);
    house.account("bob@example.com");
    let stranger = house.member("bob@example.com");
    assert!(house.registry.revoke_keys(stranger, "ana@example.com", None, None).is_err());
    assert_eq!(status(&house, &key), KeyStatus::Active);
    let owner = house.member("ana@example.com");
    assert_eq!(house.registry.revoke_keys(owner, "ana@example.com", None, None), Ok(1));
}

#[test]
fn a_key_expires_that_was_neither_used_nor_touched_for_so_long() {
    let house = House::new();
    let (key, _) = house.key("ana@example.com", "ci");
    let month = 30 * DAY;
    let expire_since = |watched, used| house.registry.expire_unused(key.id, used, watched, month).unwrap();
    let expire = |used| expire_since(START, used);
    house.wait(month - MINUTE);
    assert!(!expire(None), "it has that time from its making on");
    let used = house.clock.now();
    house.wait(MINUTE);
    assert!(!expire(Some(used)), "it was used");
    house
        .registry
        .update_key(ROOT, "ci", &KeyChanges { allow_browser: Some(true), ..KeyChanges::default() })
        .unwrap();
    house.wait(month - MINUTE);
    assert!(!expire(Some(used)), "it was changed since");
    house.wait(MINUTE);
    assert!(!expire_since(house.clock.now(), Some(used)), "nobody watched before");
    assert!(expire(Some(used)));
    assert!(!expire(Some(used)), "once");
    assert_eq!(status(&house, &key), KeyStatus::Expired);
    let last = house.registry.key_history(key.id).unwrap().pop().unwrap();
    assert_eq!((last.actor, last.action), (Actor::Ember, crate::registry::Action::KeyExpired));
    let revival = KeyChanges { expires_at: Some(None), ..KeyChanges::default() };
    house.registry.update_key(ROOT, "ci", &revival).unwrap();
    assert_eq!(status(&house, &key), KeyStatus::Active);
    assert!(!expire(Some(used)), "a key that was revived has that time anew");
    house.registry.disable_key(ROOT, "ci").unwrap();
    house.wait(2 * month);
    assert!(!expire(Some(used)), "only what works expires");
}

#[test]
fn bug_a_refused_use_of_a_secret_that_is_over_is_no_use_of_its_key() {
    let house = House::new();
    let (key, first) = house.key("ana@example.com", "ci");
    house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    let rotated = house.clock.now();
    let month = 30 * DAY;
    house.wait(month - MINUTE);
    house.registry.grace_met(key.id, &first.digest(), house.clock.now()).unwrap();
    let last = house.registry.key_history(key.id).unwrap().pop().unwrap();
    assert!(last.at > rotated, "it is in the trail");
    house.wait(MINUTE);
    assert!(house.registry.expire_unused(key.id, None, START, month).unwrap());
    assert_eq!(status(&house, &key), KeyStatus::Expired);
}
