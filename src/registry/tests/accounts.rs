//! The life of an account and its password.

use super::*;
use crate::types::{AccountStatus, Email, KeyStanding};

#[test]
fn an_account_is_found_by_address_in_any_case_and_by_id() {
    let house = House::new();
    let made = house.account("Ana@Example.com");
    assert_eq!(made.email.as_str(), "ana@example.com");
    for text in ["ana@example.com", "ANA@example.COM", &made.id.to_string()] {
        assert_eq!(house.registry.account(ROOT, text).unwrap(), made, "{text}");
    }
    for text in ["bo@example.com", "acct_00000000000000000000000000"] {
        assert_eq!(problem(house.registry.account(ROOT, text)), Problem::NotFound, "{text}");
    }
    assert_eq!(problem(house.registry.account(ROOT, "ana")), Problem::Invalid);
}

#[test]
fn an_address_is_taken_once_whatever_its_case() {
    let house = House::new();
    house.account("ana@example.com");
    let (problem, words) = refused(house.registry.create_account(ROOT, &new_account("ANA@EXAMPLE.COM")));
    assert_eq!(problem, Problem::Conflict);
    assert!(words.contains("ana@example.com"), "{words}");
}

#[test]
fn of_eight_who_race_for_an_address_one_wins() {
    for round in 0..50 {
        let house = House::new();
        let start = std::sync::Barrier::new(8);
        let create = || {
            start.wait();
            house.registry.create_account(ROOT, &new_account("ana@example.com"))
        };
        let outcomes: Vec<_> = std::thread::scope(|threads| {
            let racers: Vec<_> = (0..8).map(|_| threads.spawn(create)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7), "round {round}");
        assert!(lost.into_iter().all(|outcome| problem(outcome) == Problem::Conflict));
        let found = house.registry.account(ROOT, "ana@example.com").unwrap();
        assert_eq!(found, *won[0].as_ref().unwrap());
        assert_eq!(house.registry.accounts(ROOT, None, 10).unwrap().entries, [found]);
    }
}

#[test]
fn an_account_goes_off_and_on_again() {
    let house = House::new();
    let (key, _) = house.key("ana@example.com", "ci");
    let status = || house.registry.by_digest(&key.secrets[0].digest).unwrap().unwrap().1.status;
    for _ in 0..2 {
        let off = house.registry.disable_account(ROOT, "ana@example.com").unwrap();
        assert_eq!(off.status, AccountStatus::Disabled);
        assert_eq!(status(), AccountStatus::Disabled);
    }
    for _ in 0..2 {
        let on = house.registry.enable_account(ROOT, "ana@example.com").unwrap();
        assert_eq!(on.status, AccountStatus::Active);
        assert_eq!(status(), AccountStatus::Active);
    }
    assert_eq!(house.registry.key(ROOT, "ci").unwrap().standing, KeyStanding::Active);
}

#[test]
fn a_deleted_account_is_gone_its_keys_are_revoked_and_its_address_is_free() {
    let house = House::new();
    let old = house.account("ana@example.com");
    let keys: Vec<_> = (0..3).map(|n| house.key("ana@example.com", &format!("k{n}")).0).collect();
    let gone = house.registry.delete_account(ROOT, "ana@example.com").unwrap();
    assert_eq!((gone.id, gone.status), (old.id, AccountStatus::Deleted));
    for text in ["ana@example.com", &old.id.to_string()] {
        for outcome in [
            house.registry.account(ROOT, text),
            house.registry.enable_account(ROOT, text),
            house.registry.disable_account(ROOT, text),
            house.registry.delete_account(ROOT, text),
            house.registry.set_password(ROOT, text, &secret("correct horse"), None),
        ] {
            assert_eq!(problem(outcome), Problem::NotFound, "{text}");
        }
    }
    for key in keys {
        let (found, account) = house.registry.by_digest(&key.secrets[0].digest).unwrap().unwrap();
        assert!(matches!(found.standing, KeyStanding::Revoked { .. }));
        assert_eq!(account.status, AccountStatus::Deleted);
    }
    let new = house.account("ana@example.com");
    assert_ne!(new.id, old.id);
    assert_eq!(house.registry.account(ROOT, "ana@example.com").unwrap(), new);
    assert!(house.denied().is_empty());
}

#[test]
fn more_keys_than_a_page_are_all_revoked_with_their_account() {
    let house = House::new();
    let keys: Vec<_> = (0..=PAGE_MAX).map(|n| house.key("ana@example.com", &format!("k{n}")).0).collect();
    house.registry.delete_account(ROOT, "ana@example.com").unwrap();
    for key in keys {
        let (found, _) = house.registry.load_key(key.id).unwrap();
        assert!(matches!(found.standing, KeyStanding::Revoked { .. }), "{}", found.name);
    }
}

#[test]
fn passwords_are_checked() {
    let house = House::new();
    let ana = house.account("ana@example.com").id;
    let matches = |text| house.registry.password_matches(Some(ana), &secret(text)).unwrap();
    assert!(!matches("") && !matches("correct horse"), "an account without a password has none to match");
    for short in ["", "seven77", "ééééééé", &"x".repeat(1025)] {
        let outcome = house.registry.set_password(ROOT, "ana@example.com", &secret(short), None);
        assert_eq!(problem(outcome), Problem::Invalid, "{} bytes", short.len());
    }
    house.registry.set_password(ROOT, "ana@example.com", &secret("correct horse"), None).unwrap();
    assert!(matches("correct horse"));
    for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
        assert!(!matches(wrong), "{wrong}");
    }
    house.registry.set_password(ROOT, "ana@example.com", &secret("battery staple"), None).unwrap();
    assert!(matches("battery staple") && !matches("correct horse"));
    house.registry.delete_account(ROOT, "ana@example.com").unwrap();
    assert!(!matches("battery staple"));
}

#[test]
fn a_password_comes_with_the_account_or_the_account_does_not_come() {
    let house = House::new();
    let new = |text| NewAccount { password: Some(secret(text)), ..new_account("ana@example.com") };
    assert_eq!(problem(house.registry.create_account(ROOT, &new("short"))), Problem::Invalid);
    assert!(house.registry.is_empty().unwrap());
    let made = house.registry.create_account(ROOT, &new("12345678")).unwrap();
    assert!(house.registry.password_matches(Some(made.id), &secret("12345678")).unwrap());
    assert!(!house.registry.is_empty().unwrap());
}

#[test]
fn the_same_password_is_kept_differently_for_each_account() {
    let house = House::new();
    let kept = |email: &str| {
        let id = house.account(email).id;
        house.registry.set_password(ROOT, email, &secret("correct horse"), None).unwrap();
        house.store.get(table::PASSWORDS, id.as_bytes()).unwrap().unwrap()
    };
    let (ana, bo) = (kept("ana@example.com"), kept("bo@example.com"));
    assert_ne!(ana, bo);
    assert!(ana.starts_with(b"$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[test]
fn bug_an_address_that_grows_in_lower_case_stays_readable() {
    let house = House::new();
    let email = format!("{}@example.com", "\u{130}".repeat(121));
    assert_eq!(email.len(), 254);
    if let Ok(email) = email.parse::<Email>() {
        let made = house.registry.create_account(ROOT, &new_account(email.as_str())).unwrap();
        assert_eq!(house.registry.account(ROOT, &made.id.to_string()).unwrap(), made);
    }
}

#[test]
fn bug_no_password_is_set_for_an_account_deleted_meanwhile() {
    let house = House::new();
    let ana = house.account("ana@example.com").id;
    let neighbour = house.neighbour();
    house.store.meanwhile(move || drop(neighbour.delete_account(ROOT, "ana@example.com").unwrap()));
    let outcome = house.registry.set_password(ROOT, "ana@example.com", &secret("correct horse"), None);
    assert_eq!(problem(outcome), Problem::NotFound);
    assert_eq!(house.store.get(table::PASSWORDS, ana.as_bytes()).unwrap(), None);
}

#[test]
fn bug_no_key_is_issued_for_an_account_stopped_meanwhile() {
    for delete in [false, true] {
        let house = House::new();
        house.account("ana@example.com");
        let neighbour = house.neighbour();
        house.store.meanwhile(move || {
            let stop = if delete { Registry::delete_account } else { Registry::disable_account };
            stop(&neighbour, ROOT, "ana@example.com").unwrap();
        });
        let outcome = house.registry.create_key(ROOT, &new_key("ana@example.com", "ci"));
        assert_eq!(problem(outcome), Problem::Conflict);
        assert_eq!(house.registry.key_count().unwrap(), 0);
    }
}

#[test]
fn only_administrators_touch_accounts() {
    let house = House::new();
    let ana = house.account("ana@example.com");
    house.account("bo@example.com");
    let member = Actor::Person { account: ana.id, admin: false };
    let registry = &house.registry;
    for outcome in [
        registry.create_account(member, &new_account("c@example.com")).map(drop),
        registry.accounts(member, None, 10).map(drop),
        registry.disable_account(member, "ana@example.com").map(drop),
        registry.enable_account(member, "ana@example.com").map(drop),
        registry.delete_account(member, "ana@example.com").map(drop),
    ] {
        assert_eq!(problem(outcome), Problem::NotAllowed);
    }
    assert_eq!(registry.account(member, "ana@example.com").unwrap(), ana);
    let set = |current: Option<&str>| {
        let current = current.map(secret);
        registry.set_password(member, "ana@example.com", &secret("correct horse"), current.as_ref())
    };
    assert_eq!(problem(set(None)), Problem::NotAllowed, "his own password takes the old one");
    registry.set_password(ROOT, "ana@example.com", &secret("battery staple"), None).unwrap();
    assert_eq!(problem(set(Some("wrong horse"))), Problem::NotAllowed);
    set(Some("battery staple")).unwrap();
    for actor in [ROOT, Actor::Ember, Actor::Person { account: ana.id, admin: true }] {
        registry.disable_account(actor, "bo@example.com").unwrap();
        registry.enable_account(actor, "bo@example.com").unwrap();
    }
}
