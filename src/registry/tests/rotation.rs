//! A new secret for a key.

use super::*;
use crate::types::{KeyDigest, KeySecret, KeyStanding};

fn digests(key: &KeyRecord) -> Vec<KeyDigest> {
    key.secrets.iter().map(|secret| secret.digest).collect()
}

#[test]
fn with_a_grace_both_secrets_are_known_until_its_end() {
    let house = House::new();
    let (old, first) = house.key("ana@example.com", "ci");
    let (new, second) = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    let end = house.clock.now().after(DAY);
    assert_eq!((new.id, digests(&new)), (old.id, vec![second.digest(), first.digest()]));
    assert_eq!([new.secrets[0].valid_until, new.secrets[1].valid_until], [None, Some(end)]);
    assert!(second.expose().starts_with("ember_prod_"));
    for key in [&first, &second] {
        assert_eq!(house.registry.verify_key(ROOT, key).unwrap().0, new);
    }
    let (first_hint, second_hint) = (first.hint().to_string(), second.hint().to_string());
    for text in [first_hint, second_hint] {
        assert_eq!(house.registry.key(ROOT, &text).unwrap().id, old.id, "{text}");
    }
    assert!(!house.log().iter().any(|line| line.starts_with("deny")), "a grace denies nothing");
}

#[test]
fn a_second_rotation_waits_for_the_grace_or_ends_both() {
    let house = House::new();
    let (_, first) = house.key("ana@example.com", "ci");
    let (_, second) = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    house.wait(DAY - Duration::from_millis(1));
    let (problem, words) = refused(house.registry.rotate_key(ROOT, "ci", Rotation::Grace(MINUTE)));
    assert_eq!(problem, Problem::Conflict);
    assert!(words.contains("--now"), "{words}");
    house.log();
    let (key, third) = house.registry.rotate_key(ROOT, "ci", Rotation::Now).unwrap();
    assert_eq!(digests(&key), [third.digest()]);
    assert_eq!(house.log(), ["deny Replaced", "deny Replaced", "commit", "lift Replaced", "lift Replaced"]);
    for replaced in [first, second] {
        let (found, digest) = house.registry.verify_key(ROOT, &replaced).unwrap();
        assert_eq!(
            (found.id, found.secret(&digest)),
            (key.id, None),
            "its holder is told that it was replaced"
        );
    }
}

#[test]
fn whoever_holds_an_old_secret_gives_up_that_one_alone() {
    let house = House::new();
    let (key, first) = house.key("ana@example.com", "ci");
    let (_, second) = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    house.log();
    // What memory said of it was older than the rotation.
    let address = "203.0.113.9".parse().unwrap();
    let reason = Some(" seen in a log ".to_string());
    let held = Held { key: key.id, secret: first.digest(), is_old: false, address, reason };
    house.registry.give_up(&held).unwrap();
    let expected = ["deny Revoked", "deny Replaced", "commit", "lift Replaced", "lift Revoked"];
    assert_eq!(house.log(), expected, "denied before anything is looked up");
    let now = house.registry.key(ROOT, "ci").unwrap();
    assert_eq!((digests(&now), &now.standing), (vec![second.digest()], &KeyStanding::Active));
    let last = house.registry.key_history(key.id).unwrap().pop().unwrap();
    assert_eq!((last.actor, last.action), (Actor::Key { key: key.id }, crate::registry::Action::KeyRotated));
    let said = "the old secret was revoked by whoever held it, from 203.0.113.9: seen in a log";
    assert_eq!(last.detail, said);
    house.registry.give_up(&held).unwrap();
    assert_eq!(house.registry.key(ROOT, "ci").unwrap(), now, "twice is once");
    let newest = Held { secret: second.digest(), reason: None, ..held };
    house.registry.give_up(&newest).unwrap();
    let KeyStanding::Revoked { reason, .. } = house.registry.key(ROOT, "ci").unwrap().standing else {
        panic!()
    };
    assert_eq!(reason.as_deref(), Some("revoked by whoever held it, from 203.0.113.9"));
}

#[test]
fn a_holders_reason_is_bounded_and_holds_no_key() {
    let house = House::new();
    let (_, key) = house.key("ana@example.com", "ci");
    let control = "a\u{1b}b".to_string();
    for reason in ["x".repeat(101), format!("see {}", key.expose()), control] {
        assert_eq!(problem(super::denial::give_up(&house.registry, Some(&reason))), Problem::Invalid);
    }
    assert!(house.denied().is_empty());
    super::denial::give_up(&house.registry, Some(&"x".repeat(100))).unwrap();
}

#[test]
fn once_the_grace_is_over_a_rotation_is_free_again() {
    let house = House::new();
    let (_, first) = house.key("ana@example.com", "ci");
    let (_, second) = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    house.wait(DAY);
    let (key, third) = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(MINUTE)).unwrap();
    assert_eq!(digests(&key), [third.digest(), second.digest()], "two secrets at most");
    assert_eq!(house.registry.verify_key(ROOT, &first).unwrap().0.id, key.id);
}

#[test]
fn a_grace_has_an_end() {
    let house = House::new();
    house.key("ana@example.com", "ci");
    let grace_max = DAY * 90;
    for (grace, allowed) in
        [(Duration::MAX, false), (grace_max + Duration::from_nanos(1), false), (grace_max, true)]
    {
        let outcome = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(grace));
        match allowed {
            true => assert!(outcome.is_ok()),
            false => assert_eq!(problem(outcome), Problem::Invalid),
        }
    }
}

#[test]
fn what_does_not_work_is_not_rotated() {
    for rotation in [Rotation::Now, Rotation::Grace(DAY)] {
        let house = House::new();
        house.key("ana@example.com", "off");
        house.registry.disable_key(ROOT, "off").unwrap();
        let new =
            NewKey { expires_at: Some(house.clock.now().after(MINUTE)), ..new_key("ana@example.com", "old") };
        house.registry.create_key(ROOT, &new).unwrap();
        house.wait(MINUTE);
        house.log();
        for (name, word) in [("off", "disabled"), ("old", "expired")] {
            let (problem, words) = refused(house.registry.rotate_key(ROOT, name, rotation));
            assert_eq!(problem, Problem::Conflict);
            assert!(words.contains(word), "{words}");
        }
        assert_eq!(house.log(), [""; 0], "nothing was denied or committed");
    }
}

#[test]
fn a_key_revoked_meanwhile_is_not_rotated() {
    for rotation in [Rotation::Now, Rotation::Grace(DAY)] {
        let house = House::new();
        house.key("ana@example.com", "ci");
        let neighbour = house.neighbour();
        house.store.meanwhile(move || drop(neighbour.revoke_key(ROOT, "ci", None).unwrap()));
        assert_eq!(problem(house.registry.rotate_key(ROOT, "ci", rotation)), Problem::Conflict);
        let key = house.registry.key(ROOT, "ci").unwrap();
        assert!(matches!(key.standing, KeyStanding::Revoked { .. }) && key.secrets.len() == 1);
        assert!(house.denied().is_empty());
    }
}

#[test]
fn of_two_who_rotate_now_at_once_the_second_is_told() {
    let house = House::new();
    house.key("ana@example.com", "ci");
    let neighbour = house.neighbour();
    let theirs = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&theirs);
    house.store.meanwhile(move || {
        *kept.lock().unwrap() = Some(neighbour.rotate_key(ROOT, "ci", Rotation::Now).unwrap().1.digest());
    });
    let (problem, words) = refused(house.registry.rotate_key(ROOT, "ci", Rotation::Now));
    assert_eq!(problem, Problem::Conflict);
    assert!(words.contains("someone else"), "{words}");
    assert_eq!(digests(&house.registry.key(ROOT, "ci").unwrap()), [theirs.lock().unwrap().unwrap()]);
    assert!(house.denied().is_empty());
}

#[test]
fn bug_a_grace_that_was_met_at_its_end_stays_over_though_the_clock_goes_back() {
    let house = House::new();
    let (key, first) = house.key("ana@example.com", "ci");
    let (_, second) = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    let until =
        |key: &Key| house.registry.key(ROOT, "ci").unwrap().secret(&key.digest()).unwrap().valid_until;
    let end = until(&first);
    house.registry.grace_met(key.id, &first.digest(), house.clock.now()).unwrap();
    house.registry.grace_met(key.id, &second.digest(), house.clock.now()).unwrap();
    assert_eq!((until(&first), until(&second)), (end, None), "neither is past its end");
    house.wait(DAY);
    let events = || house.registry.key_history(key.id).unwrap().len();
    let before = events();
    for _ in 0..2 {
        house.registry.grace_met(key.id, &first.digest(), house.clock.now()).unwrap();
    }
    assert_eq!((until(&first), until(&second)), (Some(KeySecret::OVER), None));
    assert_eq!(events(), before + 1, "told once");
    house.clock.0.store(START.as_millis(), Ordering::SeqCst);
    let (rotated, third) = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    assert_eq!(digests(&rotated), [third.digest(), second.digest()], "no grace is running any more");
}

#[test]
fn nothing_is_written_down_of_the_grace_of_a_key_that_is_revoked() {
    let house = House::new();
    let (key, first) = house.key("ana@example.com", "ci");
    house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    house.registry.revoke_key(ROOT, "ci", None).unwrap();
    house.wait(DAY);
    let before = house.registry.key_history(key.id).unwrap().len();
    house.registry.grace_met(key.id, &first.digest(), house.clock.now()).unwrap();
    assert_eq!(house.registry.key_history(key.id).unwrap().len(), before);
}
