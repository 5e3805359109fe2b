//! What administrators look through, names, and that no ticket is anywhere among it.

use super::super::session::person;
use super::*;
use crate::types::{DisplayName, EventId};

#[test]
fn a_name_is_changed_by_its_owner_and_by_administrators() {
    let house = House::new();
    let (ana, bo) = (house.account(ANA), house.account("bo@example.com"));
    let name = |text: &str| text.parse::<DisplayName>().unwrap();
    let rename = |actor, to: Option<&DisplayName>| rename(&house, actor, to);
    assert_eq!(rename(person(&ana), Some(&name("Ana"))).unwrap().name, Some(name("Ana")));
    assert_eq!(rename(ROOT, Some(&name("Ana"))).unwrap().name, Some(name("Ana")));
    assert_eq!(rename(ROOT, Some(&name("Ana M"))).unwrap().name, Some(name("Ana M")));
    assert_eq!(problem(rename(person(&bo), None)), Problem::NotFound);
    assert_eq!(rename(person(&ana), None).unwrap(), ana);
    let renamed = house.registry.account_history(ana.id).unwrap();
    let by: Vec<_> = renamed
        .iter()
        .filter(|event| event.action == Action::AccountRenamed)
        .map(|event| event.actor)
        .collect();
    assert_eq!(by.len(), 3, "what changes nothing is not written down");
    assert_eq!(renamed.last().unwrap().detail, "name: Ana M -> none");
    house.registry.disable_account(ROOT, ANA).unwrap();
    assert_eq!(rename(ROOT, Some(&name("Ana"))).unwrap().status, crate::types::AccountStatus::Disabled);
    let neighbour = house.neighbour();
    house.store.meanwhile(move || drop(neighbour.delete_account(ROOT, ANA).unwrap()));
    assert_eq!(problem(rename(ROOT, None)), Problem::NotFound, "deleted meanwhile");
}

#[test]
fn nobody_stops_himself() {
    let house = House::new();
    let (ana, _) = (house.person(ANA, Role::Admin), house.person("bo@example.com", Role::Admin));
    let registry = &house.registry;
    for text in [ANA, "ANA@example.com", &ana.id.to_string()] {
        assert_eq!(problem(registry.disable_account(person(&ana), text)), Problem::Conflict);
        assert_eq!(problem(registry.delete_account(person(&ana), text)), Problem::Conflict);
    }
    assert!(house.denied().is_empty());
    registry.disable_account(person(&ana), "bo@example.com").unwrap();
    registry.disable_account(ROOT, ANA).unwrap();
}

/// One event of each kind in a trail, a millisecond apart.
fn trail(house: &House) {
    let ana = house.person(ANA, Role::Admin);
    house.wait(MILLI);
    house.session_of(&ana);
    house.wait(MILLI);
    house.registry.issue_reset(ROOT, ANA).unwrap();
    house.wait(MILLI);
    house
        .registry
        .create_token(person(&ana), &NewToken { name: "Nightly".parse().unwrap(), expires_at: None })
        .unwrap();
    house.key(ANA, "ci");
    house.wait(MILLI);
    house.registry.revoke_key(ROOT, "ci", Some("leaked")).unwrap();
}

#[test]
fn the_trail_begins_with_the_newest_and_comes_in_parts() {
    let house = House::new();
    trail(&house);
    let page = |before, limit| house.registry.events(ROOT, &AuditFilter::default(), before, limit).unwrap();
    let words = |page: &Trail| page.entries.iter().map(|event| event.action.as_str()).collect::<Vec<_>>();
    let expected = [
        "key.revoked",
        "key.created",
        "token.created",
        "account.reset_issued",
        "account.signed_in",
        "account.created",
    ];
    let whole = page(None, 6);
    assert_eq!((words(&whole), whole.next.is_some()), (expected.to_vec(), false));
    for limit in 1..=6 {
        let (mut all, mut before) = (Vec::new(), None::<EventId>);
        loop {
            let part = page(before, limit);
            assert!(part.entries.len() == limit || part.next.is_none());
            before = part.entries.last().map(|event| event.id);
            all.extend(part.entries);
            if part.next.is_none() {
                break;
            }
        }
        assert_eq!(all, whole.entries, "in parts of {limit}");
    }
    assert!(page(Some(EventId::from_bytes(&[0; 16]).unwrap()), 5).entries.is_empty());
    assert_eq!(page(Some(EventId::from_bytes(&[255; 16]).unwrap()), 0).entries.len(), 1, "one at least");
}

#[test]
fn the_trail_is_filtered_by_what_who_and_on_what() {
    let house = House::new();
    trail(&house);
    let ana = house.registry.account(ROOT, ANA).unwrap().id;
    let key = house.registry.key(ROOT, "ci").unwrap().id;
    let token = house.registry.tokens(ROOT).unwrap()[0].id;
    let found = |action: Option<&str>, search: Option<&str>| {
        let filter = AuditFilter { action: action.map(str::to_string), search: search.map(str::to_string) };
        let page = house.registry.events(ROOT, &filter, None, 10).unwrap();
        page.entries.iter().map(|event| event.action.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(found(Some("key"), None), ["key.revoked", "key.created"]);
    assert_eq!(found(Some("key.created"), None), ["key.created"]);
    for unknown in ["ke", "key.", "", "key.sold", "KEY"] {
        let filter = AuditFilter { action: Some(unknown.to_string()), search: None };
        let (told, words) = refused(house.registry.events(ROOT, &filter, None, 10));
        assert!(told == Problem::Invalid && words.contains("key.created"), "{unknown}: {words}");
    }
    assert_eq!(found(None, Some("NIGHTLY")), ["token.created"]);
    assert_eq!(found(None, Some(&key.to_string())), ["key.revoked", "key.created"]);
    assert_eq!(found(None, Some(&token.to_string())), ["token.created"]);
    assert_eq!(
        found(None, Some("uid:0")),
        ["key.revoked", "key.created", "account.reset_issued", "account.created"]
    );
    assert_eq!(
        found(None, Some("ANA@example.com")),
        found(None, Some(&ana.to_string())),
        "by the address, too"
    );
    let by_or_on_ana = ["token.created", "account.reset_issued", "account.signed_in", "account.created"];
    assert_eq!(found(None, Some(&ana.to_string())), by_or_on_ana);
    assert_eq!(found(Some("account"), Some("leaked")), [""; 0]);
    house.account("bo@example.com");
    let member = house.member("bo@example.com");
    assert_eq!(problem(house.registry.events(member, &AuditFilter::default(), None, 1)), Problem::NotAllowed);
}

#[test]
fn a_filter_looks_through_more_than_one_part_of_the_trail() {
    let house = House::new();
    house.key(ANA, "first");
    for number in 0..1100 {
        house.wait(MILLI);
        let changes = KeyChanges { name: format!("k{number}").parse().ok(), ..KeyChanges::default() };
        let id = house.registry.keys(ROOT, &KeyFilter::default(), None, 1).unwrap().entries[0].id;
        house.registry.update_key(ROOT, &id.to_string(), &changes).unwrap();
    }
    let filter = AuditFilter { action: Some("account".to_string()), search: None };
    let page = house.registry.events(ROOT, &filter, None, 10).unwrap();
    assert_eq!((page.entries.len(), page.next.is_some()), (1, false));
    let all = house.registry.events(ROOT, &AuditFilter::default(), None, PAGE_MAX).unwrap();
    assert_eq!((all.entries.len(), all.next.is_some()), (1000, true));
}

#[test]
fn keys_are_searched_and_a_member_sees_his_own() {
    let house = House::new();
    let (ci, _) = house.key(ANA, "Nightly CI");
    let (cd, _) = house.key(ANA, "deploy");
    let (other, _) = house.key("bo@example.com", "nightly");
    let found = |actor, account: Option<&str>, search: &str| {
        let filter = KeyFilter {
            account: account.map(str::to_string),
            search: Some(search.to_string()),
            ..KeyFilter::default()
        };
        house
            .registry
            .keys(actor, &filter, None, 10)
            .map(|page| page.entries.iter().map(|key| key.id).collect::<Vec<_>>())
    };
    let all = |search: &str| found(ROOT, None, search).unwrap();
    assert_eq!(all("NIGHTLY"), [ci.id, other.id]);
    assert_eq!(all("ploy"), [cd.id]);
    assert_eq!(all(&cd.hint().unwrap().to_string()), [cd.id]);
    assert_eq!(all(&other.id.to_string()), [other.id]);
    assert_eq!(all(""), [ci.id, cd.id, other.id]);
    assert_eq!(all("nobody"), []);
    let ana = house.member(ANA);
    assert_eq!(found(ana, None, "nightly").unwrap(), [ci.id], "without asking for it");
    assert_eq!(found(ana, Some(ANA), "").unwrap(), [ci.id, cd.id]);
    assert_eq!(found(ana, None, &other.id.to_string()).unwrap(), []);
    let sentence = |email: &str| refused(found(ana, Some(email), "")).1.replace(email, "IT");
    assert_eq!(sentence("bo@example.com"), sentence("nobody@example.com"), "someone else's looks like none");
}

/// A text as it may stand somewhere: as it is, in hexadecimal, in base64 at any of its three alignments.
pub(super) fn disguises(secret: &str) -> Vec<String> {
    let plain: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![secret.to_string(), plain.to_uppercase(), plain];
    for skip in 0..3 {
        let whole = secret.as_bytes()[skip..].chunks_exact(3);
        let text: String = whole.flat_map(|three| base64([three[0], three[1], three[2]])).collect();
        all.push(text.replace('+', "-").replace('/', "_"));
        all.push(text);
    }
    all
}

fn base64([a, b, c]: [u8; 3]) -> [char; 4] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = u32::from_be_bytes([0, a, b, c]);
    [18, 12, 6, 0].map(|shift| char::from(DIGITS[(value >> shift) as usize & 63]))
}

#[test]
fn no_ticket_is_ever_given_to_the_store() {
    let house = House::with_sign_up(SignUp::Invite);
    house.person(ANA, Role::Admin);
    let signed = house.sign_in(ANA);
    let changed = house.registry.change_password(
        &signed.session,
        &secret(PASSWORD),
        &secret("staple of batteries"),
        &place(HOME),
    );
    let reset = house.registry.issue_reset(ROOT, ANA).unwrap();
    let redeemed = house.registry.redeem_reset(&reset.ticket, &secret(PASSWORD), &place(HOME)).unwrap();
    let new = NewInvite { email: "bo@example.com".parse().unwrap(), role: Role::Member, lifetime: DAY };
    let (_, invited) = house.registry.create_invite(ROOT, &new).unwrap();
    let newcomer = Newcomer { name: None, password: secret("hunter2 hunter2"), place: place(HOME) };
    let accepted = house.registry.accept_invite(&invited, &newcomer).unwrap();
    let (token, admin) = house
        .registry
        .create_token(ROOT, &NewToken { name: "ci".parse().unwrap(), expires_at: None })
        .unwrap();
    house.registry.revoke_token(ROOT, &token.id.to_string()).unwrap();
    house.registry.end_session(ROOT, accepted.session.id).unwrap();
    let written = house.store.written.lock().unwrap();
    let holds = |text: &str| memchr::memmem::find(&written, text.as_bytes()).is_some();
    assert!(holds("bo@example.com") && holds("Firefox"), "the search itself must find what is there");
    for ticket in [
        &signed.ticket,
        &changed.unwrap().ticket,
        &reset.ticket,
        &redeemed.ticket,
        &invited,
        &accepted.ticket,
        &admin,
    ] {
        let text = ticket.expose();
        // Neither whole nor the random part of it: all but the hint, which is the end.
        for part in [text, &text[..text.len() - 4], &text[text.len() - 28..text.len() - 4]] {
            assert!(!disguises(part).iter().any(|text| holds(text)), "a ticket reached the store");
        }
    }
    for password in [PASSWORD, "staple of batteries", "hunter2 hunter2"] {
        assert!(!disguises(password).iter().any(|text| holds(text)), "a password reached the store");
    }
}
