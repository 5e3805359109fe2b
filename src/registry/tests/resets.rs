//! Links that set a password, and passwords set in other ways.

use super::super::session::person;
use super::*;
use crate::types::TicketKind;

const NEW: &str = "staple of batteries";

fn reset(house: &House) -> Reset {
    house.registry.issue_reset(ROOT, ANA).unwrap()
}

fn redeem(house: &House, ticket: &Ticket) -> Result<SignedIn, RegistryError> {
    house.registry.redeem_reset(ticket, &secret(NEW), &place(HOME))
}

fn signs_in(house: &House, password: &str) -> bool {
    house.wait(MINUTE * 5);
    house.registry.sign_in(ANA, &secret(password), &place(HOME)).is_ok()
}

fn gone(house: &House) -> RegistryError {
    let never = Ticket::generate(TicketKind::Reset, &*house.dice).unwrap();
    house.registry.reset_account(&never).unwrap_err()
}

#[test]
fn a_link_sets_the_password_once_and_signs_its_owner_in() {
    let house = House::new();
    let ana = house.person(ANA, Role::Admin);
    let link = reset(&house);
    assert_eq!((&link.account, link.expires_at), (&ana, START.after(DAY)));
    assert_eq!(house.registry.reset_account(&link.ticket).unwrap(), ana);
    house.wait(DAY - MILLI);
    let signed = redeem(&house, &link.ticket).unwrap();
    assert_eq!(signed.account, ana);
    assert!(house.is_signed_in(&signed.ticket));
    assert!(signs_in(&house, NEW) && !signs_in(&house, PASSWORD));
    assert_eq!(redeem(&house, &link.ticket).map(drop).unwrap_err(), gone(&house));
    let events = house.registry.account_history(ana.id).unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.action, event.actor)).collect();
    assert!(told.contains(&(Action::ResetIssued, ROOT)), "{told:?}");
    assert!(told.contains(&(Action::PasswordSet, person(&ana))), "{told:?}");
    assert_eq!(told.iter().filter(|(action, _)| *action == Action::SignedIn).count(), 2);
}

#[test]
fn an_account_without_password_gets_its_first_one_by_a_link() {
    let house = House::new();
    house.account(ANA);
    redeem(&house, &reset(&house).ticket).unwrap();
    assert!(signs_in(&house, NEW));
}

#[test]
fn a_link_that_is_over_says_the_same_for_every_reason() {
    type Deed = fn(&House);
    for (name, deed) in [
        ("expired", (|house| house.wait(DAY)) as Deed),
        ("a newer one", |house| drop(reset(house))),
        ("a password set", |house| {
            drop(house.registry.set_password(ROOT, ANA, &secret(PASSWORD), None).unwrap());
        }),
        ("a password changed", |house| {
            let signed = house.sign_in(ANA);
            let new = secret("another one again");
            house.registry.change_password(&signed.session, &secret(PASSWORD), &new, &place(HOME)).unwrap();
        }),
        ("disabled", |house| drop(house.registry.disable_account(ROOT, ANA).unwrap())),
        ("disabled and enabled", |house| {
            house.registry.disable_account(ROOT, ANA).unwrap();
            house.registry.enable_account(ROOT, ANA).unwrap();
        }),
        ("deleted", |house| drop(house.registry.delete_account(ROOT, ANA).unwrap())),
        ("deleted and made anew", |house| {
            house.registry.delete_account(ROOT, ANA).unwrap();
            house.account(ANA);
        }),
    ] {
        let house = House::new();
        house.person(ANA, Role::Member);
        let link = reset(&house);
        deed(&house);
        assert_eq!(house.registry.reset_account(&link.ticket).unwrap_err(), gone(&house), "{name}");
        assert_eq!(redeem(&house, &link.ticket).map(drop).unwrap_err(), gone(&house), "{name}");
        assert!(!signs_in(&house, NEW), "{name}");
    }
}

#[test]
fn of_many_who_race_with_one_link_one_sets_the_password() {
    let house = House::new();
    house.account(ANA);
    let link = reset(&house);
    let start = std::sync::Barrier::new(16);
    let race = |number: usize| {
        start.wait();
        let password = format!("{NEW} {number}");
        house
            .registry
            .redeem_reset(&link.ticket, &secret(&password), &place(HOME))
            .map(|signed| (signed, password))
    };
    let outcomes: Vec<_> = std::thread::scope(|threads| {
        let racers: Vec<_> = (0..16).map(|number| threads.spawn(move || race(number))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let won: Vec<_> = outcomes.into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1);
    assert!(house.is_signed_in(&won[0].0.ticket) && signs_in(&house, &won[0].1));
}

#[test]
fn only_administrators_make_links_and_only_for_accounts_that_work() {
    let house = House::new();
    house.person(ANA, Role::Member);
    house.account("bo@example.com");
    for email in [ANA, "bo@example.com"] {
        assert_eq!(problem(house.registry.issue_reset(house.member(ANA), email)), Problem::NotAllowed);
    }
    assert_eq!(problem(house.registry.issue_reset(ROOT, "nobody@example.com")), Problem::NotFound);
    house.registry.disable_account(ROOT, ANA).unwrap();
    assert_eq!(problem(house.registry.issue_reset(ROOT, ANA)), Problem::Conflict);
    assert_eq!(house.store.count(table::RESETS).unwrap() + house.store.count(table::TICKETS).unwrap(), 0);
}

#[test]
fn a_bad_password_does_not_use_the_link_up() {
    let house = House::new();
    house.account(ANA);
    let link = reset(&house);
    for password in ["short", &"x".repeat(1025)] {
        let outcome = house.registry.redeem_reset(&link.ticket, &secret(password), &place(HOME));
        assert_eq!(problem(outcome), Problem::Invalid);
    }
    redeem(&house, &link.ticket).unwrap();
}

#[test]
fn a_ticket_of_another_kind_is_no_link() {
    let house = House::new();
    let ana = house.account(ANA);
    reset(&house);
    for kind in [TicketKind::Session, TicketKind::Invite, TicketKind::Admin] {
        let ticket = Ticket::generate(kind, &*house.dice).unwrap();
        house.store.put(
            table::TICKETS,
            ticket.digest().as_bytes(),
            &table::ticket_value(kind, ana.id.as_bytes()),
        );
        assert_eq!(redeem(&house, &ticket).map(drop).unwrap_err(), gone(&house), "{kind:?}");
    }
    let forged = Ticket::generate(TicketKind::Reset, &*house.dice).unwrap();
    let value = table::ticket_value(TicketKind::Reset, ana.id.as_bytes());
    house.store.put(table::TICKETS, forged.digest().as_bytes(), &value);
    assert_eq!(
        redeem(&house, &forged).map(drop).unwrap_err(),
        gone(&house),
        "the account's row knows another"
    );
}

#[test]
fn whoever_changes_his_own_password_must_know_it_and_may_not_guess() {
    let house = House::new();
    let ana = house.person(ANA, Role::Admin);
    let signed = house.session_of(&ana);
    for number in 0..10 {
        let outcome =
            house.registry.change_password(&signed.session, &secret("wrong"), &secret(NEW), &stranger(1));
        assert_eq!(problem(outcome), Problem::NotAllowed, "{number}");
    }
    let outcome =
        house.registry.change_password(&signed.session, &secret(PASSWORD), &secret(NEW), &stranger(1));
    assert_eq!(problem(outcome), Problem::TooMany);
    assert!(house.is_signed_in(&signed.ticket), "nothing was changed");
    assert_eq!(
        problem(house.registry.set_password(person(&ana), ANA, &secret(NEW), None)),
        Problem::NotAllowed
    );
    house.wait(Duration::from_secs(30));
    let next = house
        .registry
        .change_password(&signed.session, &secret(PASSWORD), &secret(NEW), &place(HOME))
        .unwrap();
    assert!(house.is_signed_in(&next.ticket) && !house.is_signed_in(&signed.ticket));
    assert!(signs_in(&house, NEW) && !signs_in(&house, PASSWORD));
}

#[test]
fn bug_strangers_tries_do_not_keep_the_owner_from_changing_his_password() {
    let house = House::new();
    let ana = house.person(ANA, Role::Admin);
    let signed = house.session_of(&ana);
    for number in 0..20 {
        let _ = house.registry.sign_in(ANA, &secret("wrong"), &stranger(number));
    }
    assert_eq!(problem(house.registry.sign_in(ANA, &secret("wrong"), &stranger(99))), Problem::TooMany);
    house.registry.set_password(person(&ana), ANA, &secret(NEW), Some(&secret(PASSWORD))).unwrap();
    assert!(!house.is_signed_in(&signed.ticket));
}

#[test]
fn an_account_knows_so_many_places_and_none_after_a_new_password() {
    let house = House::new();
    let ana = house.person(ANA, Role::Member);
    for number in 0..30 {
        house.registry.sign_in(ANA, &secret(PASSWORD), &stranger(number)).unwrap();
        house.wait(Duration::from_secs(1));
    }
    let is_known = |number| house.registry.is_known_at(ana.id, &stranger(number)).unwrap();
    assert_eq!((0..30).filter(|number| is_known(*number)).collect::<Vec<_>>(), (10..30).collect::<Vec<_>>());
    house.registry.set_password(ROOT, ANA, &secret(NEW), None).unwrap();
    assert!((0..30).all(|number| !is_known(number)));
}

#[test]
fn a_new_password_is_looked_at_before_anything_is_changed() {
    let house = House::new();
    let signed = house.session_of(&house.person(ANA, Role::Member));
    let outcome =
        house.registry.change_password(&signed.session, &secret(PASSWORD), &secret("short"), &place(HOME));
    assert_eq!(problem(outcome), Problem::Invalid);
    assert!(house.is_signed_in(&signed.ticket) && signs_in(&house, PASSWORD));
}

#[test]
fn bug_an_old_password_does_not_undo_a_new_one_that_was_set_meanwhile() {
    type Change = fn(&House, &SignedIn) -> Result<(), RegistryError>;
    let changes: [Change; 2] = [
        |house, signed| {
            let (old, new) = (secret(PASSWORD), secret(NEW));
            house.registry.change_password(&signed.session, &old, &new, &place(HOME)).map(drop)
        },
        |house, signed| {
            let (actor, old) = (person(&signed.account), secret(PASSWORD));
            house.registry.set_password(actor, ANA, &secret(NEW), Some(&old)).map(drop)
        },
    ];
    for change in changes {
        let house = House::new();
        let signed = house.session_of(&house.person(ANA, Role::Member));
        let neighbour = house.neighbour();
        house.store.meanwhile(move || {
            neighbour.set_password(ROOT, ANA, &secret("the administrator's"), None).unwrap();
        });
        assert_eq!(problem(change(&house, &signed)), Problem::Conflict);
        assert!(signs_in(&house, "the administrator's") && !signs_in(&house, NEW));
    }
}

#[test]
fn bug_a_link_that_ended_in_the_same_moment_sets_nothing() {
    type Deed = fn(&Registry);
    let deeds: [Deed; 2] = [
        |registry| drop(registry.set_password(ROOT, ANA, &secret("the administrator's"), None).unwrap()),
        |registry| drop(registry.issue_reset(ROOT, ANA).unwrap()),
    ];
    for deed in deeds {
        for look in [table::EPOCHS, table::PASSWORDS] {
            let house = House::new();
            house.person(ANA, Role::Member);
            let link = reset(&house);
            let (first, second) = (house.neighbour(), house.neighbour());
            house.store.before_reading(look, move || deed(&first));
            if look == table::PASSWORDS {
                house.store.meanwhile(move || deed(&second));
            }
            assert_eq!(redeem(&house, &link.ticket).map(drop).unwrap_err(), gone(&house));
            assert!(!signs_in(&house, NEW));
        }
    }
}

#[test]
fn bug_no_link_is_left_for_an_account_that_was_stopped_meanwhile() {
    let house = House::new();
    house.person(ANA, Role::Member);
    let neighbour = house.neighbour();
    house.store.meanwhile(move || drop(neighbour.disable_account(ROOT, ANA).unwrap()));
    assert_eq!(problem(house.registry.issue_reset(ROOT, ANA)), Problem::Conflict);
    assert_eq!(house.store.count(table::RESETS).unwrap() + house.store.count(table::TICKETS).unwrap(), 0);
}
