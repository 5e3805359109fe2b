//! The life of a key from issue to revocation.

use super::*;
use crate::types::{KeyStanding, KeyStatus};

#[test]
fn a_key_is_what_was_asked_for() {
    let house = House::new();
    let ana = house.account("ana@example.com");
    let end = START.after(DAY);
    let new = NewKey {
        environment: Environment::Staging,
        policy: scope(&["a", "b"]).into(),
        expires_at: Some(end),
        ..new_key("ana@example.com", "ci")
    };
    let (record, key) = house.registry.create_key(ROOT, &new).unwrap();
    assert!(key.expose().starts_with("ember_staging_"));
    assert_eq!((record.account, record.name.as_str()), (ana.id, "ci"));
    assert_eq!((&record.policy.models, record.expires_at), (&scope(&["a", "b"]), Some(end)));
    assert_eq!((record.created_at, record.hint()), (START, Some(key.hint())));
    assert_eq!(record.status(START), KeyStatus::Active);
    let (found, digest) = house.registry.verify_key(ROOT, &key).unwrap();
    assert_eq!((found, digest), (record.clone(), key.digest()));
    assert_eq!(house.registry.by_digest(&key.digest()).unwrap(), Some((record, ana)));
}

#[test]
fn a_key_that_was_never_issued_is_not_found() {
    let house = House::new();
    house.key("ana@example.com", "ci");
    let stranger = Key::generate(Environment::Prod, &*house.dice).unwrap();
    assert_eq!(house.registry.by_digest(&stranger.digest()).unwrap(), None);
    let (problem, words) = refused(house.registry.verify_key(ROOT, &stranger));
    assert_eq!(problem, Problem::NotFound);
    assert!(!words.contains(stranger.expose()));
}

#[test]
fn each_bad_wish_for_a_key_is_refused() {
    let house = House::new();
    house.account("ana@example.com");
    house.account("off@example.com");
    house.registry.disable_account(ROOT, "off@example.com").unwrap();
    let past = |millis| NewKey {
        expires_at: Some(Timestamp::from_millis(START.as_millis() - millis)),
        ..new_key("ana@example.com", "ci")
    };
    let many: Vec<_> = (0..1001).map(|n| format!("m{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let crowded = NewKey { policy: scope(&many).into(), ..new_key("ana@example.com", "ci") };
    for (new, expected) in [
        (new_key("bo@example.com", "ci"), Problem::NotFound),
        (new_key("off@example.com", "ci"), Problem::Conflict),
        (new_key("nobody", "ci"), Problem::Invalid),
        (past(0), Problem::Invalid),
        (past(1), Problem::Invalid),
        (crowded, Problem::Invalid),
    ] {
        assert_eq!(problem(house.registry.create_key(ROOT, &new)), expected, "{new:?}");
    }
    assert_eq!(house.registry.key_count().unwrap(), 0);
}

#[test]
fn each_field_is_updated_alone() {
    let end = START.after(DAY);
    let changes = KeyChanges::default;
    for (asked, expected) in [
        (changes(), ("ci", scope(&["a"]), None)),
        (KeyChanges { name: "cd".parse().ok(), ..changes() }, ("cd", scope(&["a"]), None)),
        (KeyChanges { policy: ModelScope::All.into(), ..changes() }, ("ci", ModelScope::All, None)),
        (KeyChanges { expires_at: Some(Some(end)), ..changes() }, ("ci", scope(&["a"]), Some(end))),
        (KeyChanges { expires_at: Some(None), ..changes() }, ("ci", scope(&["a"]), None)),
    ] {
        let house = House::new();
        house.account("ana@example.com");
        let new = NewKey { policy: scope(&["a"]).into(), ..new_key("ana@example.com", "ci") };
        let (old, key) = house.registry.create_key(ROOT, &new).unwrap();
        let updated = house.registry.update_key(ROOT, "ci", &asked).unwrap();
        let (name, models, expires_at) = expected;
        let expected = KeyRecord { name: name.parse().unwrap(), policy: models.into(), expires_at, ..old };
        assert_eq!(updated, expected);
        assert_eq!(house.registry.verify_key(ROOT, &key).unwrap().0, expected);
        assert_eq!(house.registry.key(ROOT, name).unwrap(), expected);
        assert_eq!(house.registry.key(ROOT, "ci").is_ok(), name == "ci", "the old name must be free");
    }
}

#[test]
fn bad_updates_change_nothing() {
    let house = House::new();
    let (old, _) = house.key("ana@example.com", "ci");
    let many: Vec<_> = (0..1001).map(|n| format!("m{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for changes in [
        KeyChanges { expires_at: Some(Some(house.clock.now())), ..KeyChanges::default() },
        KeyChanges { policy: scope(&many).into(), ..KeyChanges::default() },
    ] {
        assert_eq!(problem(house.registry.update_key(ROOT, "ci", &changes)), Problem::Invalid);
    }
    assert_eq!(house.registry.key(ROOT, "ci").unwrap(), old);
}

#[test]
fn the_longest_allowed_update_fits_a_row_and_can_still_be_revoked() {
    let house = House::new();
    house.key("ana@example.com", "ci");
    for letter in ["a", "b"] {
        let models: Vec<_> = (0..1000).map(|n| format!("{letter}{n:0>255}")).collect();
        let models: Vec<_> = models.iter().map(String::as_str).collect();
        let changes = KeyChanges { policy: scope(&models).into(), ..KeyChanges::default() };
        house.registry.update_key(ROOT, "ci", &changes).unwrap();
    }
    house.registry.revoke_key(ROOT, "ci", Some(&"é".repeat(200))).unwrap();
}

#[test]
fn an_expired_key_is_revived_by_a_later_end() {
    let house = House::new();
    house.account("ana@example.com");
    let new = NewKey { expires_at: Some(START.after(MINUTE)), ..new_key("ana@example.com", "ci") };
    let (record, _) = house.registry.create_key(ROOT, &new).unwrap();
    house.wait(MINUTE - Duration::from_millis(1));
    assert_eq!(record.status(house.clock.now()), KeyStatus::Active);
    house.wait(Duration::from_millis(1));
    assert_eq!(record.status(house.clock.now()), KeyStatus::Expired);
    let rename = KeyChanges { name: "cd".parse().ok(), ..KeyChanges::default() };
    let renamed = house.registry.update_key(ROOT, "ci", &rename).unwrap();
    assert_eq!(renamed.status(house.clock.now()), KeyStatus::Expired);
    let later =
        KeyChanges { expires_at: Some(Some(house.clock.now().after(MINUTE))), ..KeyChanges::default() };
    let revived = house.registry.update_key(ROOT, "cd", &later).unwrap();
    assert_eq!(revived.status(house.clock.now()), KeyStatus::Active);
}

#[test]
fn a_key_goes_off_and_on_again() {
    let house = House::new();
    let (_, key) = house.key("ana@example.com", "ci");
    let standing = || house.registry.verify_key(ROOT, &key).unwrap().0.standing;
    for (change, expected) in [
        (Registry::enable_key as fn(&_, _, &str) -> _, KeyStanding::Active),
        (Registry::disable_key, KeyStanding::Disabled),
        (Registry::disable_key, KeyStanding::Disabled),
        (Registry::enable_key, KeyStanding::Active),
    ] {
        assert_eq!(change(&house.registry, ROOT, "ci").unwrap().standing, expected);
        assert_eq!(standing(), expected);
    }
}

#[test]
fn revoked_is_for_good() {
    let house = House::new();
    let (record, key) = house.key("ana@example.com", "ci");
    let revoked = house.registry.revoke_key(ROOT, "ci", Some("leaked")).unwrap();
    let expected = KeyStanding::Revoked { at: house.clock.now(), reason: Some("leaked".to_string()) };
    assert_eq!(revoked.standing, expected);
    house.wait(MINUTE);
    let again = house.registry.revoke_key(ROOT, "ci", Some("another reason")).unwrap();
    assert_eq!(again, revoked, "the first revocation is the one that counts");
    assert_eq!(house.registry.key_history(record.id).unwrap().len(), 2);
    let registry = &house.registry;
    let rename = KeyChanges { name: "cd".parse().ok(), ..KeyChanges::default() };
    for outcome in [
        registry.update_key(ROOT, "ci", &rename).map(drop),
        registry.enable_key(ROOT, "ci").map(drop),
        registry.disable_key(ROOT, "ci").map(drop),
        registry.rotate_key(ROOT, "ci", Rotation::Now).map(drop),
        registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).map(drop),
    ] {
        let (problem, words) = refused(outcome);
        assert_eq!(problem, Problem::Conflict);
        assert!(words.contains("revoked") && words.contains("create a new one"), "{words}");
    }
    assert_eq!(house.registry.verify_key(ROOT, &key).unwrap().0, revoked);
    assert!(house.denied().is_empty(), "a refused change must leave no denial behind");
}

#[test]
fn a_disabled_or_expired_key_can_be_revoked() {
    let house = House::new();
    house.key("ana@example.com", "off");
    house.registry.disable_key(ROOT, "off").unwrap();
    let new =
        NewKey { expires_at: Some(house.clock.now().after(MINUTE)), ..new_key("ana@example.com", "old") };
    house.registry.create_key(ROOT, &new).unwrap();
    house.wait(DAY);
    for name in ["off", "old"] {
        let revoked = house.registry.revoke_key(ROOT, name, None).unwrap();
        assert_eq!(revoked.status(house.clock.now()), KeyStatus::Revoked);
    }
}

#[test]
fn a_reason_has_bounds() {
    let house = House::new();
    house.key("ana@example.com", "ci");
    for reason in ["é".repeat(201), "a\nb".to_string(), "\u{1b}[2J".to_string()] {
        let outcome = house.registry.revoke_key(ROOT, "ci", Some(&reason));
        assert_eq!(problem(outcome), Problem::Invalid, "{reason:?}");
    }
    assert_eq!(house.registry.key(ROOT, "ci").unwrap().standing, KeyStanding::Active);
    assert!(
        house.log().iter().all(|line| line == "commit"),
        "nothing is denied for a reason that is refused"
    );
    house.registry.revoke_key(ROOT, "ci", Some(&"é".repeat(200))).unwrap();
}

#[test]
fn bug_a_reason_never_keeps_a_key() {
    let house = House::new();
    let (_, key) = house.key("ana@example.com", "ci");
    let reason = format!("found {} in a log", key.expose());
    let (problem, words) = refused(house.registry.revoke_key(ROOT, "ci", Some(&reason)));
    assert_eq!(problem, Problem::Invalid);
    assert!(!words.contains(key.expose()));
}

#[test]
fn bug_a_damaged_index_is_trouble_and_no_unknown_key() {
    let house = House::new();
    let (record, key) = house.key("ana@example.com", "ci");
    for (table, row) in [(table::ACCOUNTS, record.account.as_bytes()), (table::KEYS, record.id.as_bytes())] {
        let lost = Write::Delete { table, key: row.to_vec() };
        house.store.commit(Commit { writes: vec![lost], ..Commit::default() }).unwrap();
        assert_eq!(problem(house.registry.by_digest(&key.digest())), Problem::Unavailable, "{table:?}");
    }
}
