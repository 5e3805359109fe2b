//! Administrators' tokens: who makes them, and when they stop.

use super::super::session::person;
use super::*;
use crate::types::{AccountId, AdminToken, TicketKind, TokenId};

fn new(name: &str, expires_at: Option<Timestamp>) -> NewToken {
    NewToken { name: name.parse().unwrap(), expires_at }
}

fn made(house: &House, actor: Actor, name: &str) -> (AdminToken, Ticket) {
    house.registry.create_token(actor, &new(name, None)).unwrap()
}

fn works(house: &House, ticket: &Ticket) -> bool {
    house.registry.token_actor(ticket).unwrap().is_some()
}

#[test]
fn a_token_acts_as_itself_until_it_is_revoked() {
    let house = House::new();
    let (token, ticket) = made(&house, ROOT, "ci");
    let actor = house.registry.token_actor(&ticket).unwrap().unwrap();
    assert_eq!(actor, Actor::Token { token: token.id });
    assert_eq!(house.registry.tokens(ROOT).unwrap(), std::slice::from_ref(&token));
    assert!(ticket.expose().ends_with(&token.hint.to_string()));
    let ana = house.registry.create_account(actor, &new_account(ANA)).unwrap();
    assert_eq!(house.registry.account_history(ana.id).unwrap()[0].actor, actor, "the trail names the token");
    assert_eq!(house.registry.revoke_token(ROOT, "ci").unwrap(), token);
    assert!(!works(&house, &ticket));
    assert_eq!(house.registry.tokens(ROOT).unwrap(), []);
    assert_eq!(problem(house.registry.revoke_token(ROOT, "ci")), Problem::NotFound);
    assert_eq!(house.store.count(table::TICKETS).unwrap(), 0);
}

#[test]
fn a_token_ends_to_the_millisecond() {
    let house = House::new();
    let end = START.after(MINUTE);
    for past in [START, Timestamp::from_millis(0)] {
        assert_eq!(problem(house.registry.create_token(ROOT, &new("ci", Some(past)))), Problem::Invalid);
    }
    let (_, ticket) = house.registry.create_token(ROOT, &new("ci", Some(end))).unwrap();
    house.wait(MINUTE - MILLI);
    assert!(works(&house, &ticket));
    house.wait(MILLI);
    assert!(!works(&house, &ticket));
    assert_eq!(house.registry.tokens(ROOT).unwrap().len(), 1, "it is still seen");
}

#[test]
fn a_token_stops_with_whoever_made_it() {
    let house = House::new();
    let ana = house.person(ANA, Role::Admin);
    let (_, ticket) = made(&house, person(&ana), "ci");
    assert!(works(&house, &ticket));
    house.registry.disable_account(ROOT, ANA).unwrap();
    assert!(!works(&house, &ticket));
    house.registry.enable_account(ROOT, ANA).unwrap();
    assert!(works(&house, &ticket));
    let member = Account { role: Role::Member, ..ana.clone() };
    let row = |account: &Account| {
        house.store.put(table::ACCOUNTS, ana.id.as_bytes(), &record::encode_account(account))
    };
    row(&member);
    assert!(!works(&house, &ticket), "no longer an administrator");
    row(&ana);
    house.registry.delete_account(ROOT, ANA).unwrap();
    assert!(!works(&house, &ticket));
}

#[test]
fn a_token_makes_no_tokens_nor_do_members() {
    let house = House::new();
    house.account(ANA);
    let (token, ticket) = made(&house, ROOT, "ci");
    let actor = house.registry.token_actor(&ticket).unwrap().unwrap();
    let outcome = house.registry.create_token(actor, &new("cd", None));
    assert_eq!(problem(outcome), Problem::NotAllowed);
    let member = house.member(ANA);
    assert_eq!(problem(house.registry.create_token(member, &new("cd", None))), Problem::NotAllowed);
    assert_eq!(problem(house.registry.tokens(member)), Problem::NotAllowed);
    assert_eq!(problem(house.registry.revoke_token(member, &token.id.to_string())), Problem::NotAllowed);
    assert_eq!(house.registry.tokens(ROOT).unwrap().len(), 1);
}

#[test]
fn a_token_that_was_made_by_one_is_none() {
    let house = House::new();
    let (mut token, ticket) = made(&house, ROOT, "ci");
    token.by = Actor::Token { token: token.id };
    let id = *token.id.as_bytes();
    let kept = super::super::token::KeptToken { token, digest: *ticket.digest().as_bytes() };
    house.store.put(table::TOKENS, &id, &record::people::encode_token(&kept));
    assert!(!works(&house, &ticket));
}

#[test]
fn a_token_is_named_by_id_name_or_last_four_characters_and_never_guessed() {
    let house = House::new();
    let (first, _) = made(&house, ROOT, "ci");
    let (second, _) = made(&house, ROOT, "cd");
    let (third, _) = made(&house, ROOT, "cd");
    assert_eq!(problem(house.registry.revoke_token(ROOT, "cd")), Problem::Conflict);
    for text in ["", "c", "tok_", "nobody", &TokenId::generate(START, &*house.dice).unwrap().to_string()] {
        assert_eq!(problem(house.registry.revoke_token(ROOT, text)), Problem::NotFound, "{text:?}");
    }
    assert_eq!(house.registry.revoke_token(ROOT, &second.id.to_string()).unwrap(), second);
    assert_eq!(house.registry.revoke_token(ROOT, &first.hint.to_string()).unwrap(), first);
    assert_eq!(house.registry.revoke_token(ROOT, "cd").unwrap(), third);
}

#[test]
fn a_ticket_of_another_kind_is_no_token() {
    let house = House::new();
    let (token, _) = made(&house, ROOT, "ci");
    for kind in [TicketKind::Session, TicketKind::Invite, TicketKind::Reset] {
        let ticket = Ticket::generate(kind, &*house.dice).unwrap();
        house.store.put(
            table::TICKETS,
            ticket.digest().as_bytes(),
            &table::ticket_value(kind, token.id.as_bytes()),
        );
        assert!(!works(&house, &ticket), "{kind:?}");
    }
    assert!(!works(&house, &Ticket::generate(TicketKind::Admin, &*house.dice).unwrap()));
}

#[test]
fn a_thousand_tokens_are_enough() {
    let house = House::new();
    for number in 0..1000 {
        made(&house, ROOT, &format!("t{number}"));
    }
    assert_eq!(problem(house.registry.create_token(ROOT, &new("one more", None))), Problem::Conflict);
    house.registry.revoke_token(ROOT, "t7").unwrap();
    made(&house, ROOT, "one more");
}

#[test]
fn a_token_of_an_account_that_is_lost_is_trouble_and_no_stranger() {
    let house = House::new();
    let nobody = Actor::Person { account: AccountId::from_bytes(&[7; 16]).unwrap(), admin: true };
    let (_, ticket) = made(&house, nobody, "ci");
    assert_eq!(problem(house.registry.token_actor(&ticket)), Problem::Unavailable);
}
