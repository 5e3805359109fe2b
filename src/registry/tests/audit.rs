//! One event for each change, and no secret anywhere.

use super::*;
use crate::types::AccountId;

struct Story {
    house: House,
    ana: AccountId,
    key: KeyRecord,
    secrets: Vec<String>,
}

/// What was done by whom, in order.
type Deeds = Vec<(Action, Actor)>;

/// Every change there is, each by another actor: the deeds done to the key, and to the account.
fn every_change() -> (Story, Deeds, Deeds) {
    let house = House::new();
    let by = |uid| Actor::Machine { uid };
    let registry = &house.registry;
    let new =
        NewAccount { password: Some(secret("correct horse battery")), ..new_account("ana@example.com") };
    let ana = registry.create_account(by(1), &new).unwrap().id;
    let admin = Actor::Person { account: ana, admin: true };
    let tick = || house.wait(Duration::from_millis(1));
    let (key, first) = registry.create_key(by(2), &new_key("ana@example.com", "ci")).unwrap();
    let rename = KeyChanges { name: "cd".parse().ok(), ..KeyChanges::default() };
    tick();
    registry.update_key(Actor::Person { account: ana, admin: false }, "ci", &rename).unwrap();
    tick();
    registry.disable_key(by(4), "cd").unwrap();
    tick();
    registry.enable_key(by(5), "cd").unwrap();
    tick();
    let (_, second) = registry.rotate_key(by(6), "cd", Rotation::Grace(DAY)).unwrap();
    tick();
    let (_, third) = registry.rotate_key(by(7), "cd", Rotation::Now).unwrap();
    tick();
    registry.revoke_key(Actor::Ember, "cd", Some("leaked")).unwrap();
    registry.disable_account(by(8), "ana@example.com").unwrap();
    tick();
    registry.enable_account(admin, "ana@example.com").unwrap();
    tick();
    registry.set_password(by(9), "ana@example.com", &secret("staple of batteries"), None).unwrap();
    tick();
    registry.delete_account(by(10), "ana@example.com").unwrap();
    let keys = vec![
        (Action::KeyCreated, by(2)),
        (Action::KeyUpdated, Actor::Person { account: ana, admin: false }),
        (Action::KeyDisabled, by(4)),
        (Action::KeyEnabled, by(5)),
        (Action::KeyRotated, by(6)),
        (Action::KeyRotated, by(7)),
        (Action::KeyRevoked, Actor::Ember),
    ];
    let accounts = vec![
        (Action::AccountCreated, by(1)),
        (Action::AccountDisabled, by(8)),
        (Action::AccountEnabled, admin),
        (Action::PasswordSet, by(9)),
        (Action::AccountDeleted, by(10)),
    ];
    let mut secrets: Vec<_> = [first, second, third].iter().map(|key| key.expose().to_string()).collect();
    secrets.extend(["correct horse battery".to_string(), "staple of batteries".to_string()]);
    (Story { house, ana, key, secrets }, keys, accounts)
}

#[test]
fn every_change_is_written_down_once_with_its_actor() {
    let (story, of_key, of_account) = every_change();
    let told =
        |events: Vec<Event>| events.iter().map(|event| (event.action, event.actor)).collect::<Vec<_>>();
    let registry = &story.house.registry;
    assert_eq!(told(registry.key_history(story.key.id).unwrap()), of_key);
    assert_eq!(told(registry.account_history(story.ana).unwrap()), of_account);
    let events = story.house.store.count(table::AUDIT).unwrap();
    assert_eq!(events as usize, of_key.len() + of_account.len());
    assert_eq!(story.house.store.count(table::AUDIT_INDEX).unwrap(), events);
}

#[test]
fn no_secret_is_ever_given_to_the_store() {
    let (story, ..) = every_change();
    let written = story.house.store.written.lock().unwrap();
    let holds = |text: &str| written.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("ana@example.com") && holds("leaked"), "the search itself must find what is there");
    for secret in &story.secrets {
        // Neither whole nor the random part of it: all but the hint, which is the end.
        for part in [&secret[..], &secret[..secret.len() - 4], &secret[secret.len() - 12..secret.len() - 4]] {
            assert!(!holds(part), "a secret reached the store");
        }
    }
}

#[test]
fn an_event_says_what_changed_in_words() {
    let house = House::new();
    let (key, _) = house.key("ana@example.com", "ci");
    let end = START.after(DAY);
    let changes = KeyChanges {
        name: "cd".parse().ok(),
        policy: scope(&["a", "b"]).into(),
        expires_at: Some(Some(end)),
        ..KeyChanges::default()
    };
    house.wait(Duration::from_millis(1));
    house.registry.update_key(ROOT, "ci", &changes).unwrap();
    let events = house.registry.key_history(key.id).unwrap();
    assert_eq!(events[1].at, house.clock.now());
    assert_eq!(events[1].target, *key.id.as_bytes());
    assert_eq!(events[1].detail, format!("name: ci -> cd; expires: never -> {end}; models: all -> a,b"));
}

#[test]
fn what_changes_nothing_or_is_refused_is_not_written_down() {
    let house = House::new();
    let (key, _) = house.key("ana@example.com", "ci");
    let registry = &house.registry;
    registry.enable_key(ROOT, "ci").unwrap();
    registry.update_key(ROOT, "ci", &KeyChanges::default()).unwrap();
    registry.enable_account(ROOT, "ana@example.com").unwrap();
    registry.create_account(ROOT, &new_account("ana@example.com")).unwrap_err();
    registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY * 91)).map(drop).unwrap_err();
    for weather in [Weather::Broken, Weather::Full, Weather::Crowded] {
        house.store.turn(weather);
        registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).map(drop).unwrap_err();
    }
    assert_eq!(house.registry.key_history(key.id).unwrap().len(), 1);
    assert_eq!(house.store.count(table::AUDIT).unwrap(), 2);
}

#[test]
fn bug_a_long_history_shows_its_newest_events() {
    let house = House::new();
    let (key, _) = house.key("ana@example.com", "ci");
    for n in 0..120 {
        house.wait(Duration::from_millis(1));
        let changes = KeyChanges { name: format!("k{n}").parse().ok(), ..KeyChanges::default() };
        house.registry.update_key(ROOT, &key.id.to_string(), &changes).unwrap();
    }
    let events = house.registry.key_history(key.id).unwrap();
    assert_eq!(events.len(), 100);
    assert!(events.is_sorted_by_key(|event| event.at));
    assert_eq!(events.last().unwrap().detail, "name: k118 -> k119");
}
