//! Invitations and open sign-up: who gets an account, and what becomes of the links.

use super::super::session::person;
use super::*;
use crate::types::{AccountStatus, Invite, InviteId, TicketKind};

const BO: &str = "bo@example.com";
const HOUR: Duration = Duration::from_secs(60 * 60);

fn house() -> House {
    House::with_sign_up(SignUp::Invite)
}

fn open(domains: &[&str]) -> House {
    House::with_sign_up(SignUp::Open { domains: domains.iter().map(ToString::to_string).collect() })
}

fn new(email: &str, role: Role) -> NewInvite {
    NewInvite { email: email.parse().unwrap(), role, lifetime: HOUR }
}

fn invited(house: &House, email: &str) -> (Invite, Ticket) {
    house.registry.create_invite(ROOT, &new(email, Role::Member)).unwrap()
}

fn newcomer() -> Newcomer {
    Newcomer { name: "Bo".parse().ok(), password: secret(PASSWORD), place: place(HOME) }
}

fn accept(house: &House, ticket: &Ticket) -> Result<SignedIn, RegistryError> {
    house.registry.accept_invite(ticket, &newcomer())
}

fn gone(house: &House) -> RegistryError {
    let never = Ticket::generate(TicketKind::Invite, &*house.dice).unwrap();
    house.registry.invite(&never).unwrap_err()
}

/// The actions of the whole trail, the oldest first, with who did them.
fn trail(house: &House) -> Vec<(&'static str, Actor)> {
    let page = house.registry.events(ROOT, &AuditFilter::default(), None, PAGE_MAX).unwrap();
    page.entries.iter().rev().map(|event| (event.action.as_str(), event.actor)).collect()
}

#[test]
fn an_invitation_makes_the_account_it_says_and_signs_its_owner_in() {
    for role in [Role::Member, Role::Admin] {
        let house = house();
        let (invite, ticket) = house.registry.create_invite(ROOT, &new("Bo@Example.com", role)).unwrap();
        assert_eq!(house.registry.invite(&ticket).unwrap(), invite);
        assert_eq!((invite.email.as_str(), invite.role, invite.by), (BO, role, ROOT));
        assert_eq!((invite.created_at, invite.expires_at), (START, START.after(HOUR)));
        house.wait(HOUR - MILLI);
        let signed = accept(&house, &ticket).unwrap();
        assert!(house.is_signed_in(&signed.ticket));
        let found = house.registry.account(ROOT, BO).unwrap();
        assert_eq!((&found, found.role, found.status), (&signed.account, role, AccountStatus::Active));
        assert_eq!(found.name.as_ref().map(ToString::to_string).as_deref(), Some("Bo"));
        assert_eq!(house.sign_in(BO).account, found);
        assert_eq!(house.registry.invites(ROOT).unwrap(), []);
        assert_eq!(house.store.count(table::INVITES).unwrap(), 0);
    }
}

#[test]
fn the_trail_says_who_invited_and_who_came() {
    let house = house();
    let admin = house.person(ANA, Role::Admin);
    house.wait(MILLI);
    let (invite, ticket) = house.registry.create_invite(person(&admin), &new(BO, Role::Admin)).unwrap();
    assert_eq!(invite.by, person(&admin));
    house.wait(MILLI);
    let bo = accept(&house, &ticket).unwrap().account;
    let (mut told, mut expected) = (
        trail(&house),
        vec![
            ("account.created", ROOT),
            ("invite.created", person(&admin)),
            ("account.created", person(&bo)),
            ("account.signed_in", person(&bo)),
            ("invite.used", person(&bo)),
        ],
    );
    // What is done in the same millisecond has no order.
    told.sort_by_key(|(action, _)| *action);
    expected.sort_by_key(|(action, _)| *action);
    assert_eq!(told, expected);
    let filter = AuditFilter { search: Some(invite.id.to_string()), ..AuditFilter::default() };
    let of_invite = house.registry.events(ROOT, &filter, None, 10).unwrap().entries;
    assert_eq!(of_invite.len(), 2);
    assert!(of_invite[0].detail.contains(BO) && of_invite[0].detail.contains(HOME), "{:?}", of_invite[0]);
}

#[test]
fn a_link_that_does_not_work_says_the_same_for_every_reason() {
    let used = house();
    let (_, ticket) = invited(&used, BO);
    accept(&used, &ticket).unwrap();
    let expired = house();
    let (_, late) = invited(&expired, BO);
    expired.wait(HOUR);
    let revoked = house();
    let (invite, back) = invited(&revoked, BO);
    assert_eq!(revoked.registry.revoke_invite(ROOT, invite.id).unwrap(), invite);
    let replaced = house();
    let (_, old) = invited(&replaced, "BO@example.com");
    let (_, young) = invited(&replaced, BO);
    for (house, ticket) in [(used, ticket), (expired, late), (revoked, back), (replaced, old)] {
        let accounts = house.registry.account_count().unwrap();
        assert_eq!(house.registry.invite(&ticket).unwrap_err(), gone(&house));
        assert_eq!(accept(&house, &ticket).map(drop).unwrap_err(), gone(&house));
        assert_eq!(house.registry.account_count().unwrap(), accounts, "nothing was made");
        if house.registry.invites(ROOT).unwrap().len() == 1 {
            accept(&house, &young).unwrap();
        }
    }
}

#[test]
fn of_64_who_race_with_one_link_one_gets_in() {
    let house = house();
    let (_, ticket) = invited(&house, BO);
    let start = std::sync::Barrier::new(64);
    let race = || {
        start.wait();
        accept(&house, &ticket)
    };
    let outcomes: Vec<_> = std::thread::scope(|threads| {
        let racers: Vec<_> = (0..64).map(|_| threads.spawn(race)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), house.registry.account_count().unwrap()), (1, 1));
    for outcome in lost {
        assert!(matches!(problem(outcome), Problem::NotFound | Problem::Conflict | Problem::TooMany));
    }
    assert_eq!(house.store.count(table::SESSIONS).unwrap(), 1);
}

#[test]
fn an_invitation_that_is_revoked_in_the_same_moment_is_used_or_revoked_and_never_both() {
    let mut used = 0;
    for round in 0..10 {
        let house = house();
        let (invite, ticket) = invited(&house, BO);
        let (taken, revoked) = std::thread::scope(|threads| {
            let racer = threads.spawn(|| accept(&house, &ticket).is_ok());
            // Hashing takes its time; some rounds come before its end and some after it.
            std::thread::sleep(Duration::from_millis(round * 8));
            (house.registry.revoke_invite(ROOT, invite.id).is_ok(), racer.join().unwrap())
        });
        assert_ne!(taken, revoked, "round {round}");
        used += u32::from(house.registry.account(ROOT, BO).is_ok());
    }
    assert!(used < 10);
}

#[test]
fn an_invitation_is_revoked_once() {
    let house = house();
    let (invite, _) = invited(&house, BO);
    house.registry.revoke_invite(ROOT, invite.id).unwrap();
    assert_eq!(problem(house.registry.revoke_invite(ROOT, invite.id)), Problem::NotFound);
    let unknown = InviteId::generate(START, &*house.dice).unwrap();
    assert_eq!(problem(house.registry.revoke_invite(ROOT, unknown)), Problem::NotFound);
    assert_eq!(house.store.count(table::TICKETS).unwrap(), 0, "its ticket went with it");
}

#[test]
fn what_the_operator_closed_afterwards_lets_nobody_in() {
    let house = house();
    let (invite, ticket) = invited(&house, BO);
    let closed = Registry::new(house.store.clone(), house.clock.clone(), house.dice.clone(), None);
    assert_eq!(closed.invite(&ticket).unwrap_err(), gone(&house));
    assert_eq!(closed.accept_invite(&ticket, &newcomer()).map(drop).unwrap_err(), gone(&house));
    assert_eq!(problem(closed.create_invite(ROOT, &new(BO, Role::Member))), Problem::NotAllowed);
    assert_eq!(
        closed.invites(ROOT).unwrap(),
        std::slice::from_ref(&invite),
        "but it is seen and can be taken back"
    );
    closed.revoke_invite(ROOT, invite.id).unwrap();
    assert_eq!(accept(&house, &ticket).map(drop).unwrap_err(), gone(&house));
}

#[test]
fn an_address_that_was_taken_meanwhile_stays_whose_it_is() {
    let house = house();
    let (_, ticket) = invited(&house, BO);
    let neighbour = house.neighbour();
    house.store.meanwhile(move || drop(neighbour.create_account(ROOT, &new_account(BO)).unwrap()));
    assert_eq!(problem(accept(&house, &ticket)), Problem::Conflict);
    assert_eq!(problem(house.registry.create_invite(ROOT, &new(BO, Role::Admin))), Problem::Conflict);
    let bo = house.registry.account(ROOT, BO).unwrap();
    assert_eq!((bo.role, bo.name), (Role::Member, None));
    assert_eq!(house.store.count(table::SESSIONS).unwrap() + house.store.count(table::PASSWORDS).unwrap(), 0);
    house.registry.delete_account(ROOT, BO).unwrap();
    accept(&house, &ticket).unwrap();
}

#[test]
fn a_ticket_of_another_kind_is_no_invitation() {
    let house = house();
    let (invite, _) = invited(&house, BO);
    for kind in [TicketKind::Session, TicketKind::Reset, TicketKind::Admin] {
        let ticket = Ticket::generate(kind, &*house.dice).unwrap();
        house.store.put(
            table::TICKETS,
            ticket.digest().as_bytes(),
            &table::ticket_value(kind, invite.id.as_bytes()),
        );
        assert_eq!(house.registry.invite(&ticket).unwrap_err(), gone(&house), "{kind:?}");
        assert_eq!(problem(accept(&house, &ticket)), Problem::NotFound, "{kind:?}");
    }
}

#[test]
fn only_administrators_invite_and_only_for_a_time_in_between() {
    let house = house();
    house.account(ANA);
    let member = house.member(ANA);
    assert_eq!(problem(house.registry.create_invite(member, &new(BO, Role::Member))), Problem::NotAllowed);
    let (invite, _) = invited(&house, BO);
    assert_eq!(problem(house.registry.invites(member)), Problem::NotAllowed);
    assert_eq!(problem(house.registry.revoke_invite(member, invite.id)), Problem::NotAllowed);
    for (lifetime, is_good) in [
        (MINUTE - MILLI, false),
        (MINUTE, true),
        (INVITE_MAX, true),
        (INVITE_MAX + MILLI, false),
        (Duration::MAX, false),
    ] {
        let outcome = house.registry.create_invite(ROOT, &NewInvite { lifetime, ..new(BO, Role::Member) });
        assert_eq!(outcome.is_ok(), is_good, "{lifetime:?}");
    }
}

#[test]
fn a_thousand_invitations_wait_at_once_and_those_that_are_over_make_room() {
    let house = house();
    for number in 0..1000 {
        invited(&house, &format!("user{number}@example.com"));
    }
    assert_eq!(problem(house.registry.create_invite(ROOT, &new(BO, Role::Member))), Problem::Conflict);
    invited(&house, "user7@example.com");
    house.wait(HOUR);
    assert_eq!(house.registry.invites(ROOT).unwrap(), []);
    invited(&house, BO);
    assert_eq!(house.store.count(table::INVITES).unwrap(), 1);
    assert_eq!(house.store.count(table::TICKETS).unwrap(), 1);
}

#[test]
fn a_bad_password_does_not_use_the_link_up() {
    let house = house();
    let (_, ticket) = invited(&house, BO);
    for password in ["short", &"x".repeat(1025)] {
        let outcome =
            house.registry.accept_invite(&ticket, &Newcomer { password: secret(password), ..newcomer() });
        assert_eq!(problem(outcome), Problem::Invalid);
    }
    accept(&house, &ticket).unwrap();
}

fn sign_up(house: &House, email: &str, from: &Place) -> Result<(), RegistryError> {
    house.registry.sign_up(&email.parse().unwrap(), &Newcomer { place: from.clone(), ..newcomer() })
}

#[test]
fn where_anyone_may_he_makes_a_members_account() {
    let house = open(&[]);
    sign_up(&house, "Bo@Example.com", &place(HOME)).unwrap();
    let bo = house.registry.account(ROOT, BO).unwrap();
    assert_eq!((bo.role, bo.status), (Role::Member, AccountStatus::Active));
    assert_eq!(house.sign_in(BO).account, bo);
    let (_, ticket) = invited(&house, ANA);
    accept(&house, &ticket).unwrap();
    assert!(trail(&house).contains(&("account.created", person(&bo))));
}

#[test]
fn a_taken_address_gets_the_same_answer_and_nothing_is_changed() {
    let house = open(&[]);
    let ana = house.person(ANA, Role::Admin);
    house.person(BO, Role::Member);
    house.registry.disable_account(ROOT, BO).unwrap();
    let events = house.store.count(table::AUDIT).unwrap();
    let other = Newcomer { password: secret("staple of batteries"), ..newcomer() };
    for (email, number) in [(ANA, 1), ("ANA@example.com", 2), (BO, 3)] {
        let newcomer = Newcomer {
            place: stranger(number),
            ..Newcomer { password: secret("staple of batteries"), ..newcomer() }
        };
        house.registry.sign_up(&email.parse().unwrap(), &newcomer).unwrap();
    }
    house.registry.sign_up(&"new@example.com".parse().unwrap(), &other).unwrap();
    assert_eq!(house.registry.account(ROOT, ANA).unwrap(), ana);
    assert_eq!(house.sign_in(ANA).account, ana, "with the old password");
    assert_eq!(house.registry.account(ROOT, BO).unwrap().status, AccountStatus::Disabled);
    assert_eq!(
        house.store.count(table::AUDIT).unwrap(),
        events + 2,
        "one account was made, one person signed in"
    );
}

#[test]
fn domains_are_compared_whole() {
    let house = open(&["example.com", "example.org"]);
    for (number, (email, is_welcome)) in [
        ("a@example.com", true),
        ("b@EXAMPLE.org", true),
        ("c@sub.example.com", false),
        ("d@badexample.com", false),
        ("e@example.com.evil.net", false),
        ("example.com@evil.net", false),
    ]
    .into_iter()
    .enumerate()
    {
        let outcome = sign_up(&house, email, &stranger(number));
        assert_eq!(outcome.is_ok(), is_welcome, "{email}");
        if let Err(error) = outcome {
            assert_eq!(error.problem(), Problem::NotAllowed);
        }
        assert_eq!(house.registry.account(ROOT, email).is_ok(), is_welcome, "{email}");
    }
}

#[test]
fn where_not_everyone_may_nobody_signs_up_alone() {
    for policy in [SignUp::Closed, SignUp::Invite] {
        let house = House::with_sign_up(policy);
        assert_eq!(problem(sign_up(&house, BO, &place(HOME))), Problem::NotAllowed);
        assert!(house.registry.is_empty().unwrap());
    }
}

#[test]
fn of_many_who_race_for_an_address_one_account_comes() {
    let house = open(&[]);
    let start = std::sync::Barrier::new(8);
    let race = |number| {
        start.wait();
        sign_up(&house, BO, &stranger(number))
    };
    let outcomes: Vec<_> = std::thread::scope(|threads| {
        let racers: Vec<_> = (0..8).map(|number| threads.spawn(move || race(number))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(house.registry.account_count().unwrap(), 1);
    assert_eq!(house.store.count(table::AUDIT).unwrap(), 1);
}

#[test]
fn whoever_makes_accounts_by_the_dozen_waits() {
    let house = open(&[]);
    for number in 0..20 {
        sign_up(&house, &format!("user{number}@example.com"), &place(HOME)).unwrap();
    }
    assert_eq!(problem(sign_up(&house, BO, &place(HOME))), Problem::TooMany);
    sign_up(&house, BO, &stranger(1)).unwrap();
}
