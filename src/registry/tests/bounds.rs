//! What a person may do is bounded, and ends with his rights.

use super::super::session::person;
use super::*;
use crate::types::TicketKind;

const NEW: &str = "a password of one's own";

fn new_key(name: &str) -> NewKey {
    NewKey::new(ANA, name.parse().unwrap(), Environment::Dev)
}

#[test]
fn bug_links_end_with_the_rights_of_whoever_made_them() {
    for by_token in [false, true] {
        let house = House::with_sign_up(SignUp::Invite);
        let (eve, bo) =
            (house.person("eve@example.com", Role::Admin), house.person("bo@example.com", Role::Member));
        let token = NewToken { name: "ci".parse().unwrap(), expires_at: None };
        let (token, _) = house.registry.create_token(person(&eve), &token).unwrap();
        let actor = if by_token { Actor::Token { token: token.id } } else { person(&eve) };
        let invite = NewInvite { email: "cy@example.com".parse().unwrap(), role: Role::Admin, lifetime: DAY };
        let (_, invite) = house.registry.create_invite(actor, &invite).unwrap();
        let reset = house.registry.issue_reset(actor, bo.email.as_str()).unwrap().ticket;
        assert!(house.registry.invite(&invite).is_ok() && house.registry.reset_account(&reset).is_ok());
        house.registry.disable_account(ROOT, "eve@example.com").unwrap();
        assert_eq!(problem(house.registry.invite(&invite)), Problem::NotFound);
        let newcomer = Newcomer { name: None, password: secret(NEW), place: place(HOME) };
        assert_eq!(problem(house.registry.accept_invite(&invite, &newcomer)), Problem::NotFound);
        assert_eq!(
            problem(house.registry.redeem_reset(&reset, &secret(NEW), &place(HOME))),
            Problem::NotFound
        );
    }
}

#[test]
fn a_person_makes_and_changes_at_a_pace_and_takes_rights_away_at_any() {
    let house = House::new();
    let ana = house.person(ANA, Role::Member);
    let (first, _) = house.registry.create_key(person(&ana), &new_key("first")).unwrap();
    let busy = (0..1000).find(|number| {
        let name = KeyChanges { name: format!("n{number}").parse().ok(), ..KeyChanges::default() };
        house.registry.update_key(person(&ana), &first.id.to_string(), &name).is_err()
    });
    assert_eq!(busy, Some(99), "a hundred with the key itself");
    assert_eq!(problem(house.registry.create_key(person(&ana), &new_key("second"))), Problem::TooMany);
    assert!(house.registry.create_key(ROOT, &new_key("by the machine")).is_ok());
    house.registry.disable_key(person(&ana), &first.id.to_string()).unwrap();
    house.registry.revoke_key(person(&ana), &first.id.to_string(), None).unwrap();
    house.wait(Duration::from_secs(1));
    assert!(house.registry.create_key(person(&ana), &new_key("second")).is_ok());
}

#[test]
fn a_member_has_so_many_keys_that_work() {
    let house = House::new();
    let ana = house.person(ANA, Role::Member);
    for number in 0..1000 {
        house.registry.create_key(ROOT, &new_key(&format!("k{number}"))).unwrap();
    }
    assert_eq!(problem(house.registry.create_key(person(&ana), &new_key("one more"))), Problem::Conflict);
    house.registry.revoke_key(ROOT, "k7", None).unwrap();
    assert!(house.registry.create_key(person(&ana), &new_key("one more")).is_ok());
    assert!(house.registry.create_key(ROOT, &new_key("by the machine")).is_ok(), "which decides for itself");
}

#[test]
fn bug_no_secret_is_taken_for_a_name() {
    let house = House::with_sign_up(SignUp::Open { domains: Vec::new() });
    let ana = house.person(ANA, Role::Member);
    let (key, text) = house.registry.create_key(ROOT, &new_key("app")).unwrap();
    let ticket = Ticket::generate(TicketKind::Admin, &*house.dice).unwrap();
    for text in [text.expose(), ticket.expose()] {
        let changes = KeyChanges { name: text.parse().ok(), ..KeyChanges::default() };
        let name = text.parse().unwrap();
        for outcome in [
            house.registry.create_key(person(&ana), &new_key(text)).map(drop),
            house.registry.update_key(person(&ana), &key.id.to_string(), &changes).map(drop),
            rename(&house, person(&ana), Some(&name)).map(drop),
        ] {
            let (told, words) = refused(outcome);
            assert!(told == Problem::Invalid && !words.contains(text), "{words}");
        }
    }
}

#[test]
fn bug_whose_key_it_is_is_told_to_its_owner_only() {
    let house = House::new();
    let (ana, bo) = (house.person(ANA, Role::Member), house.person("bo@example.com", Role::Member));
    let (key, text) = house.registry.create_key(ROOT, &new_key("app")).unwrap();
    assert_eq!(house.registry.verify_key(person(&ana), &text).unwrap().0.id, key.id);
    let stranger = Key::generate(Environment::Dev, &*house.dice).unwrap();
    let (foreign, none) =
        (house.registry.verify_key(person(&bo), &text), house.registry.verify_key(ROOT, &stranger));
    assert_eq!(refused(foreign), refused(none));
}

#[test]
fn bug_a_link_is_no_way_around_ones_own_password() {
    let house = House::new();
    let ana = house.person(ANA, Role::Admin);
    assert_eq!(problem(house.registry.issue_reset(person(&ana), ANA).map(drop)), Problem::Conflict);
    assert!(house.registry.issue_reset(ROOT, ANA).is_ok());
}

#[test]
fn a_list_that_begins_with_the_newest_has_the_same_keys_the_other_way_round() {
    let house = House::new();
    house.person(ANA, Role::Member);
    for number in 0..7 {
        house.wait(MILLI);
        house.registry.create_key(ROOT, &new_key(&format!("k{number}"))).unwrap();
    }
    for account in [None, Some(ANA.to_string())] {
        let mut filter = KeyFilter { account, ..KeyFilter::default() };
        let mut forward = house.registry.keys(ROOT, &filter, None, 10).unwrap().entries;
        filter.newest_first = true;
        let (mut back, mut after) = (Vec::new(), None);
        loop {
            let page = house.registry.keys(ROOT, &filter, after, 3).unwrap();
            after = page.entries.last().map(|key| key.id);
            back.extend(page.entries);
            if !page.has_more {
                break;
            }
        }
        forward.reverse();
        assert_eq!(back, forward);
    }
}
