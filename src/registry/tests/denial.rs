//! Taking rights away while the store is well, full, broken or crowded.

use super::*;
use crate::types::{AccountStatus, KeyStanding};

type Deed = fn(&Registry) -> Result<(), RegistryError>;

/// As whoever holds the key's newest secret.
pub(super) fn give_up(registry: &Registry, reason: Option<&str>) -> Result<(), RegistryError> {
    let key = registry.key(ROOT, "ci")?;
    let (secret, address) = (key.secrets[0].digest, "203.0.113.9".parse().unwrap());
    let reason = reason.map(str::to_string);
    registry.give_up(&Held { key: key.id, secret, is_old: false, address, reason })
}

/// Everything that takes a right away, and the reason the door hears.
fn takings() -> Vec<(&'static str, Deed, DenialReason)> {
    vec![
        ("revoke", |registry| registry.revoke_key(ROOT, "ci", None).map(drop), DenialReason::Revoked),
        ("give up", |registry| give_up(registry, None), DenialReason::Revoked),
        ("disable", |registry| registry.disable_key(ROOT, "ci").map(drop), DenialReason::Disabled),
        (
            "rotate",
            |registry| registry.rotate_key(ROOT, "ci", Rotation::Now).map(drop),
            DenialReason::Replaced,
        ),
        (
            "disable the account",
            |registry| registry.disable_account(ROOT, "ana@example.com").map(drop),
            DenialReason::AccountDisabled,
        ),
        (
            "delete the account",
            |registry| registry.delete_account(ROOT, "ana@example.com").map(drop),
            DenialReason::AccountDisabled,
        ),
    ]
}

/// What is on disk of the one key and its account.
fn on_disk(house: &House, digest: &crate::types::KeyDigest) -> (KeyRecord, bool) {
    let (key, account) = house.neighbour().by_digest(digest).unwrap().unwrap();
    (key, account.status == AccountStatus::Active)
}

#[test]
fn denied_then_committed_then_lifted() {
    for (name, deed, because) in takings() {
        let house = House::new();
        house.key("ana@example.com", "ci");
        house.log();
        deed(&house.registry).unwrap();
        let log = house.log();
        let (deny, lift) = (format!("deny {because:?}"), format!("lift {because:?}"));
        let denials = log.iter().take_while(|line| **line == deny).count();
        // Whoever gives a secret up has it denied before it is known what else goes with it.
        assert_eq!(denials, if name == "give up" { 2 } else { 1 }, "{name}");
        assert_eq!(log[denials], "commit", "{name}");
        assert_eq!(log.iter().filter(|line| **line == lift).count(), denials, "{name}");
        assert_eq!(log.last().unwrap(), &format!("lift {because:?}"), "{name}");
        assert!(house.denied().is_empty() && !house.registry.owes_denials(), "{name}");
    }
}

#[test]
fn what_takes_nothing_away_denies_nothing() {
    let house = House::new();
    house.key("ana@example.com", "ci");
    house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    house
        .registry
        .update_key(ROOT, "ci", &KeyChanges { policy: scope(&["a"]).into(), ..KeyChanges::default() })
        .unwrap();
    house.registry.enable_key(ROOT, "ci").unwrap();
    assert!(house.log().iter().all(|line| line == "commit"));
}

#[test]
fn a_denial_that_is_not_on_disk_stays_and_is_settled_when_the_store_is_well() {
    for weather in [Weather::Broken, Weather::BrokenLate, Weather::Full] {
        for (name, deed, because) in takings() {
            let house = House::new();
            let (before, key) = house.key("ana@example.com", "ci");
            house.store.turn(weather);
            let (problem, words) = refused(deed(&house.registry));
            assert_eq!(problem, Problem::NotDurable, "{name}");
            assert!(words.contains("denied now, not yet durable"), "{words}");
            assert!(house.registry.owes_denials());
            let denied = house.denied();
            assert!(
                denied.iter().all(|denial| denial.because == because) && denied.len() == 1,
                "{name}: {denied:?}"
            );
            let reason = || house.registry.owed_denial(&[denied[0].target]);
            assert_eq!(reason(), Some(because), "{name}");
            if weather != Weather::BrokenLate {
                assert_eq!(house.registry.settle_denials(), 1, "{name}");
                assert_eq!(house.denied(), denied, "{name}: still denied, and once");
                assert_eq!(on_disk(&house, &key.digest()), (before.clone(), true), "{name}");
            }
            house.store.turn(Weather::Fair);
            house.log();
            assert_eq!(house.registry.settle_denials(), 0, "{name}");
            assert!(house.denied().is_empty() && !house.registry.owes_denials(), "{name}");
            assert_eq!(reason(), None, "{name}");
            assert_eq!(house.log().last().unwrap(), &format!("lift {because:?}"), "{name}");
            let (after, active) = on_disk(&house, &key.digest());
            let stands =
                after.standing == KeyStanding::Active && active && after.secret(&key.digest()).is_some();
            assert!(!stands, "{name}: {after:?}");
            assert_eq!(house.registry.settle_denials(), 0);
        }
    }
}

#[test]
fn without_a_door_nothing_is_owed() {
    for weather in [Weather::Broken, Weather::Full] {
        for (name, deed, _) in takings() {
            let house = House::with_door(false);
            house.key("ana@example.com", "ci");
            house.store.turn(weather);
            assert_eq!(problem(deed(&house.registry)), Problem::Unavailable, "{name}");
            assert!(!house.registry.owes_denials());
        }
    }
}

#[test]
fn a_storm_of_conflicts_ends_and_un_denies() {
    for (name, deed, _) in takings() {
        let house = House::new();
        let (before, key) = house.key("ana@example.com", "ci");
        house.store.turn(Weather::Crowded);
        let (problem, words) = refused(deed(&house.registry));
        assert_eq!(problem, Problem::Conflict, "{name}");
        assert!(words.contains("nothing was changed"), "{words}");
        assert!(house.denied().is_empty() && !house.registry.owes_denials(), "{name}");
        assert_eq!(on_disk(&house, &key.digest()), (before, true), "{name}");
    }
}

#[test]
fn a_denial_that_lost_one_race_wins_the_next() {
    let house = House::new();
    let (_, key) = house.key("ana@example.com", "ci");
    let neighbour = house.neighbour();
    house.store.meanwhile(move || {
        let rename = KeyChanges { name: "cd".parse().ok(), ..KeyChanges::default() };
        neighbour.update_key(ROOT, "ci", &rename).unwrap();
    });
    let revoked = house.registry.revoke_key(ROOT, "ci", None).unwrap();
    assert_eq!(revoked.name.as_str(), "cd", "what the other changed is kept");
    assert_eq!(on_disk(&house, &key.digest()).0, revoked);
}

#[test]
fn a_revocation_of_unknown_outcome_is_written_down_once() {
    let house = House::new();
    let (record, _) = house.key("ana@example.com", "ci");
    house.store.turn(Weather::BrokenLate);
    assert_eq!(problem(house.registry.revoke_key(ROOT, "ci", Some("leaked"))), Problem::NotDurable);
    house.store.turn(Weather::Fair);
    assert_eq!(house.registry.settle_denials(), 0);
    assert_eq!(house.registry.key_history(record.id).unwrap().len(), 2);
}

#[test]
fn a_broken_rotation_leaves_a_key_that_can_be_rotated_again() {
    let house = House::new();
    let (record, first) = house.key("ana@example.com", "ci");
    house.store.turn(Weather::Broken);
    house.registry.rotate_key(ROOT, "ci", Rotation::Now).map(drop).unwrap_err();
    house.store.turn(Weather::Fair);
    assert_eq!(house.registry.settle_denials(), 0);
    assert_eq!(house.registry.key(ROOT, "ci").unwrap().secrets, []);
    let (again, second) = house.registry.rotate_key(ROOT, "ci", Rotation::Grace(DAY)).unwrap();
    assert_eq!((again.id, again.secrets.len()), (record.id, 1));
    assert!(again.secret(&second.digest()).is_some());
    assert_eq!(house.registry.verify_key(ROOT, &first).unwrap().0.id, record.id);
}

#[test]
fn bug_an_owed_deletion_revokes_the_keys_too() {
    for breaks_at in 0..3 {
        let house = House::new();
        let keys: Vec<_> = (0..3).map(|n| house.key("ana@example.com", &format!("k{n}")).0).collect();
        let store = Arc::clone(&house.store);
        // The weather turns just before the commit of that number.
        fn later(store: Arc<Trial>, commits: usize) {
            let again = Arc::clone(&store);
            store.meanwhile(move || match commits {
                0 => again.turn(Weather::Broken),
                _ => later(Arc::clone(&again), commits - 1),
            });
        }
        later(store, breaks_at);
        let outcome = house.registry.delete_account(ROOT, "ana@example.com");
        assert_eq!(problem(outcome), Problem::NotDurable, "broken at commit {breaks_at}");
        house.store.turn(Weather::Fair);
        assert_eq!(house.registry.settle_denials(), 0);
        for key in keys {
            let (found, active) = on_disk(&house, &key.secrets[0].digest);
            assert!(
                !active && matches!(found.standing, KeyStanding::Revoked { .. }),
                "{breaks_at}: {}",
                key.name
            );
        }
        assert!(house.denied().is_empty());
    }
}

#[test]
fn bug_a_conflict_does_not_make_ember_forget_what_it_owes() {
    for (name, deed, _) in takings() {
        let house = House::new();
        let (_, key) = house.key("ana@example.com", "ci");
        house.store.turn(Weather::Broken);
        deed(&house.registry).unwrap_err();
        house.store.turn(Weather::Crowded);
        assert_eq!(house.registry.settle_denials(), 1, "{name}");
        assert_eq!(house.denied().len(), 1, "{name}");
        house.store.turn(Weather::Fair);
        assert_eq!(house.registry.settle_denials(), 0, "{name}");
        let (after, active) = on_disk(&house, &key.digest());
        let stands = after.standing == KeyStanding::Active && active && after.secret(&key.digest()).is_some();
        assert!(!stands && house.denied().is_empty(), "{name}");
    }
}

#[test]
fn bug_what_is_owed_does_not_grow_with_each_try() {
    let house = House::new();
    house.key("ana@example.com", "ci");
    house.store.turn(Weather::Full);
    for n in 0..50 {
        let reason = format!("try {n}");
        assert_eq!(problem(house.registry.revoke_key(ROOT, "ci", Some(&reason))), Problem::NotDurable);
    }
    assert_eq!(house.denied().len(), 1);
    assert_eq!(house.registry.settle_denials(), 1);
    house.store.turn(Weather::Fair);
    assert_eq!(house.registry.settle_denials(), 0);
    assert!(house.denied().is_empty());
}

#[test]
fn bug_an_older_denial_that_is_owed_does_not_undo_a_later_enable() {
    let house = House::new();
    let (_, key) = house.key("ana@example.com", "ci");
    for (take, give) in [
        (
            (|registry| registry.disable_key(ROOT, "ci").map(drop)) as Deed,
            (|registry| registry.enable_key(ROOT, "ci").map(drop)) as Deed,
        ),
        (
            |registry| registry.disable_account(ROOT, "ana@example.com").map(drop),
            |registry| registry.enable_account(ROOT, "ana@example.com").map(drop),
        ),
    ] {
        house.store.turn(Weather::Broken);
        assert_eq!(problem(take(&house.registry)), Problem::NotDurable);
        assert_eq!(
            problem(give(&house.registry)),
            Problem::Unavailable,
            "while it is owed nothing is given back"
        );
        assert_eq!(house.denied().len(), 1);
        house.store.turn(Weather::Fair);
        give(&house.registry).unwrap();
        assert!(house.denied().is_empty() && !house.registry.owes_denials());
        house.registry.settle_denials();
        let (record, active) = on_disk(&house, &key.digest());
        assert_eq!((record.standing, active), (KeyStanding::Active, true));
    }
}

#[test]
fn bug_what_is_owed_is_owed_until_it_is_written() {
    let house = House::new();
    house.key("ana@example.com", "ci");
    house.store.turn(Weather::Broken);
    house.registry.revoke_key(ROOT, "ci", None).unwrap_err();
    house.store.turn(Weather::Fair);
    let (registry, seen) = (Arc::clone(&house.registry), Arc::new(AtomicBool::new(false)));
    let owed = Arc::clone(&seen);
    house.store.meanwhile(move || owed.store(registry.owes_denials(), Ordering::SeqCst));
    house.registry.settle_denials();
    assert!(seen.load(Ordering::SeqCst), "said to be written down before it was");
    assert!(!house.registry.owes_denials());
}

#[test]
fn what_is_owed_outlives_a_panic() {
    let house = House::new();
    let (_, key) = house.key("ana@example.com", "ci");
    house.store.turn(Weather::Broken);
    house.registry.revoke_key(ROOT, "ci", None).unwrap_err();
    house.store.turn(Weather::Fair);
    house.store.meanwhile(|| panic!("the engine panics"));
    let settle = std::panic::AssertUnwindSafe(|| house.registry.settle_denials());
    assert!(std::panic::catch_unwind(settle).is_err());
    assert!(house.registry.owes_denials() && !house.denied().is_empty());
    // The panic left a deny of its own behind, which errs on the safe side.
    assert_eq!(house.registry.settle_denials(), 0);
    assert!(matches!(on_disk(&house, &key.digest()).0.standing, KeyStanding::Revoked { .. }));
}

#[test]
fn denials_of_several_threads_are_settled_once_each() {
    let house = House::new();
    let keys: Vec<_> = (0..64).map(|n| house.key("ana@example.com", &format!("k{n}")).0).collect();
    house.store.turn(Weather::Broken);
    std::thread::scope(|threads| {
        let registry = &house.registry;
        for part in keys.chunks(16) {
            threads.spawn(move || {
                for key in part {
                    registry.revoke_key(ROOT, &key.id.to_string(), None).unwrap_err();
                }
            });
        }
    });
    assert_eq!((house.denied().len(), house.registry.settle_denials()), (64, 64));
    house.store.turn(Weather::Fair);
    std::thread::scope(|threads| {
        (0..4).for_each(|_| drop(threads.spawn(|| house.registry.settle_denials())));
    });
    assert_eq!((house.denied().len(), house.registry.settle_denials()), (0, 0));
    for key in keys {
        assert_eq!(house.registry.key_history(key.id).unwrap().len(), 2, "revoked once");
    }
}

#[test]
fn stopping_a_stopped_account_changes_nothing() {
    let house = House::new();
    let ana = house.account("ana@example.com");
    house.registry.disable_account(ROOT, "ana@example.com").unwrap();
    let again = house.registry.disable_account(ROOT, "ana@example.com").unwrap();
    assert_eq!(again.status, AccountStatus::Disabled);
    assert_eq!(house.registry.account_history(ana.id).unwrap().len(), 2);
    let deleted = house.registry.delete_account(ROOT, "ana@example.com").unwrap();
    assert_eq!(deleted.status, AccountStatus::Deleted);
}

#[test]
fn bug_a_key_named_by_its_whole_id_is_denied_although_nothing_can_be_read() {
    let house = House::new();
    let (record, key) = house.key("ana@example.com", "ci");
    house.store.unreadable.store(true, Ordering::SeqCst);
    let (problem, _) = refused(house.registry.revoke_key(ROOT, &record.id.to_string(), None));
    assert_eq!(problem, Problem::NotDurable);
    assert_eq!(house.denied().len(), 1);
    house.store.unreadable.store(false, Ordering::SeqCst);
    assert_eq!(house.registry.settle_denials(), 0);
    assert!(matches!(on_disk(&house, &key.digest()).0.standing, KeyStanding::Revoked { .. }));
}
