//! What is kept of people: the bytes on disk, names, the audit trail. No secret among it.

use proptest::prelude::*;

use super::super::invite::KeptInvite;
use super::super::record::people::{
    decode_invite, decode_reset, decode_session, decode_token, encode_invite, encode_reset, encode_session,
    encode_token,
};
use super::super::reset::KeptReset;
use super::super::session::{Kept, person};
use super::super::token::KeptToken;
use super::*;
use crate::types::{
    AccountId, AdminToken, DisplayName, EventId, Invite, InviteId, KeyHint, Session, SessionId, TicketDigest,
    TicketKind, TokenId,
};

const ID: [u8; 16] = [7; 16];

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn session(address: &str, agent: &str) -> Kept {
    let session = Session {
        id: SessionId::from_bytes(&ID).unwrap(),
        account: AccountId::from_bytes(&[9; 16]).unwrap(),
        created_at: time(1),
        seen_at: time(2),
        place: Place::new(address.parse().unwrap(), agent),
    };
    Kept { session, epoch: 300, digest: [0xaa; 32] }
}

fn invite(by: Actor) -> KeptInvite {
    let invite = Invite {
        id: InviteId::from_bytes(&ID).unwrap(),
        email: ANA.parse().unwrap(),
        role: Role::Admin,
        by,
        created_at: time(1),
        expires_at: time(64),
    };
    KeptInvite { invite, digest: [0xaa; 32] }
}

fn token(expires_at: Option<Timestamp>) -> KeptToken {
    let token = AdminToken {
        id: TokenId::from_bytes(&ID).unwrap(),
        name: "ci".parse().unwrap(),
        hint: KeyHint::from_bytes(*b"aB12").unwrap(),
        by: Actor::Token { token: TokenId::from_bytes(&[8; 16]).unwrap() },
        created_at: time(1),
        expires_at,
    };
    KeptToken { token, digest: [0xaa; 32] }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn words(text: &str) -> String {
    format!("{:02x}{}", text.len(), hex(text.as_bytes()))
}

#[test]
fn version_1_of_a_session_never_changes() {
    for (address, bytes) in [
        ("192.0.2.1", "00000000000000000000ffffc0000201"),
        ("2001:db8::7", "20010db8000000000000000000000007"),
    ] {
        let kept = session(address, "Firefox");
        let golden = format!("01{}{}ac020204{bytes}{}", "09".repeat(16), "aa".repeat(32), words("Firefox"));
        let bytes = encode_session(&kept);
        assert_eq!(hex(&bytes), golden);
        let read = decode_session(&ID, &bytes).unwrap();
        assert_eq!((read.session, read.epoch, read.digest), (kept.session, kept.epoch, kept.digest));
    }
}

#[test]
fn version_1_of_an_invitation_never_changes() {
    let person = Actor::Person { account: AccountId::from_bytes(&[9; 16]).unwrap(), admin: true };
    for (by, golden) in [
        (Actor::Machine { uid: 1000 }, "00e807".to_string()),
        (person, format!("01{}01", "09".repeat(16))),
        (Actor::Ember, "02".to_string()),
        (Actor::Token { token: TokenId::from_bytes(&[8; 16]).unwrap() }, format!("03{}", "08".repeat(16))),
    ] {
        let bytes = encode_invite(&invite(by));
        assert_eq!(hex(&bytes), format!("01{}{}01{golden}028001", "aa".repeat(32), words(ANA)));
        let read = decode_invite(&ID, &bytes).unwrap();
        assert_eq!((read.invite, read.digest), (invite(by).invite, [0xaa; 32]));
    }
}

#[test]
fn version_1_of_a_reset_link_never_changes() {
    let kept = KeptReset { digest: [0xaa; 32], expires_at: time(64) };
    let bytes = encode_reset(&kept);
    assert_eq!(hex(&bytes), format!("01{}8001", "aa".repeat(32)));
    assert_eq!(decode_reset(&bytes).unwrap(), kept);
}

#[test]
fn version_1_of_a_token_never_changes() {
    for (end, golden) in [(None, "00"), (Some(time(64)), "018001")] {
        let bytes = encode_token(&token(end));
        let head = format!("01{}{}{}", "aa".repeat(32), words("ci"), hex(b"aB12"));
        assert_eq!(hex(&bytes), format!("{head}03{}02{golden}", "08".repeat(16)));
        let read = decode_token(&ID, &bytes).unwrap();
        assert_eq!((read.token, read.digest), (token(end).token, [0xaa; 32]));
    }
}

type Decoder = fn(&[u8], &[u8]) -> Result<Vec<u8>, Trouble>;

/// Each kind of record: its bytes, how to read and write them again, and the table that damage is told of.
fn specimens() -> Vec<(Vec<u8>, Decoder, &'static str)> {
    vec![
        (
            encode_session(&session("192.0.2.1", "Firefox")),
            |id, bytes| decode_session(id, bytes).map(|kept| encode_session(&kept)),
            "sessions",
        ),
        (
            encode_invite(&invite(ROOT)),
            |id, bytes| decode_invite(id, bytes).map(|kept| encode_invite(&kept)),
            "invites",
        ),
        (
            encode_token(&token(Some(time(64)))),
            |id, bytes| decode_token(id, bytes).map(|kept| encode_token(&kept)),
            "tokens",
        ),
        (
            encode_reset(&KeptReset { digest: [0xaa; 32], expires_at: time(64) }),
            |_, bytes| decode_reset(bytes).map(|kept| encode_reset(&kept)),
            "resets",
        ),
    ]
}

#[test]
fn what_is_cut_short_too_long_or_of_another_version_is_damaged() {
    for (whole, decode, table) in specimens() {
        let damaged = Err(Trouble::Damaged { table });
        assert_eq!(decode(&ID, &whole), Ok(whole.clone()), "{table}");
        for end in 0..whole.len() {
            assert_eq!(decode(&ID, &whole[..end]), damaged, "the first {end} bytes of {table}");
        }
        assert_eq!(decode(&ID, &[&whole[..], &[0]].concat()), damaged, "{table}");
        for version in [0, 2, 255] {
            assert_eq!(decode(&ID, &[&[version], &whole[1..]].concat()), damaged, "{table}");
        }
        // A link's row is found by its account.
        for id in [&[][..], &ID[1..], &[0; 17]].into_iter().filter(|_| table != "resets") {
            assert_eq!(decode(id, &whole), damaged, "{table} with an id of {} bytes", id.len());
        }
    }
}

#[test]
fn a_damaged_byte_is_refused_or_read_as_what_it_says() {
    for (whole, decode, table) in specimens() {
        for place in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = whole.clone();
                bytes[place] = byte;
                match decode(&ID, &bytes) {
                    // Whatever was read is written as valid bytes that say the same.
                    Ok(again) => {
                        assert_eq!(decode(&ID, &again).as_ref(), Ok(&again), "{table} {place} {byte}")
                    }
                    Err(trouble) => assert_eq!(trouble, Trouble::Damaged { table }),
                }
            }
        }
    }
}

#[test]
fn damage_is_trouble_for_whoever_asks() {
    let house = House::with_sign_up(SignUp::Invite);
    let ana = house.account(ANA);
    let signed = house.session_of(&ana);
    let reset = house.registry.issue_reset(ROOT, ANA).unwrap();
    let new = NewInvite { email: "bo@example.com".parse().unwrap(), role: Role::Member, lifetime: DAY };
    let (invite, link) = house.registry.create_invite(ROOT, &new).unwrap();
    let (token, ticket) = house
        .registry
        .create_token(ROOT, &NewToken { name: "ci".parse().unwrap(), expires_at: None })
        .unwrap();
    for (table, id) in [
        (table::SESSIONS, signed.session.id.as_bytes()),
        (table::RESETS, ana.id.as_bytes()),
        (table::INVITES, invite.id.as_bytes()),
        (table::TOKENS, token.id.as_bytes()),
    ] {
        house.store.put(table, id, &[1, 2, 3]);
    }
    let registry = &house.registry;
    for (table, outcome) in [
        ("sessions", registry.session(&signed.ticket).map(drop)),
        ("sessions", registry.sessions(ROOT, ANA).map(drop)),
        ("sessions", registry.end_session(ROOT, signed.session.id).map(drop)),
        ("resets", registry.reset_account(&reset.ticket).map(drop)),
        ("invites", registry.invite(&link).map(drop)),
        ("invites", registry.invites(ROOT).map(drop)),
        ("tokens", registry.token_actor(&ticket).map(drop)),
        ("tokens", registry.tokens(ROOT).map(drop)),
    ] {
        let (problem, words) = refused(outcome);
        assert_eq!(problem, Problem::Unavailable);
        assert!(words.contains(&format!("'{table}' is damaged")), "{words}");
    }
}

#[test]
fn a_digest_is_what_was_read() {
    let ticket = Ticket::generate(TicketKind::Invite, &*House::new().dice).unwrap();
    let digest = ticket.digest();
    assert_eq!(TicketDigest::from_bytes(*digest.as_bytes()), digest);
    assert!(
        Ticket::parse(TicketKind::Invite, ticket.expose().as_bytes())
            .is_some_and(|same| same.digest() == digest)
    );
}

proptest! {
    #[test]
    fn whatever_a_browser_calls_itself_can_be_read_again(agent: String, address: std::net::IpAddr) {
        let kept = Kept { session: Session { place: Place::new(address, &agent), ..session("::1", "").session }, ..session("::1", "") };
        let read = decode_session(&ID, &encode_session(&kept)).unwrap();
        prop_assert_eq!(read.session, kept.session);
    }

    #[test]
    fn a_place_shows_no_controls_and_is_bounded(agent: String, address: std::net::IpAddr) {
        let place = Place::new(address, &agent);
        prop_assert!(place.agent.chars().count() <= 256);
        prop_assert!(!place.agent.chars().any(crate::types::is_control));
        prop_assert_eq!(Place::new(place.address, &place.agent), place.clone(), "once is enough");
        let near = Place::new(place.neighbourhood(), "");
        prop_assert_eq!(near.neighbourhood(), place.neighbourhood());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let versioned = [&[1][..], &bytes].concat();
        for (_, decode, table) in specimens() {
            for bytes in [&bytes, &versioned] {
                prop_assert!(matches!(decode(&ID, bytes), Ok(_) | Err(Trouble::Damaged { .. })), "{}", table);
            }
        }
    }
}

#[test]
fn an_ipv4_address_is_one_however_it_is_written_and_a_network_is_one_neighbour() {
    assert_eq!(place("::ffff:192.0.2.1"), place("192.0.2.1"));
    let near = |address: &str| place(address).neighbourhood();
    assert_eq!(near("2001:db8:0:1::1"), near("2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_ne!(near("2001:db8:0:1::1"), near("2001:db8:0:2::1"));
    assert_ne!(near("192.0.2.1"), near("192.0.2.2"));
    assert_eq!(Place::new("::1".parse().unwrap(), "a\u{1b}[31mb\u{202e}\n").agent, "a[31mb");
    assert_eq!(Place::new("::1".parse().unwrap(), &"é".repeat(300)).agent.chars().count(), 256);
}

#[test]
fn a_name_is_changed_by_its_owner_and_by_administrators() {
    let house = House::new();
    let (ana, bo) = (house.account(ANA), house.account("bo@example.com"));
    let name = |text: &str| text.parse::<DisplayName>().unwrap();
    let rename = |actor, to: Option<&DisplayName>| house.registry.rename_account(actor, ANA, to);
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
    house.registry.issue_reset(person(&ana), ANA).unwrap();
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
    let words =
        |page: &Page<Event>| page.entries.iter().map(|event| event.action.as_str()).collect::<Vec<_>>();
    let expected = [
        "key.revoked",
        "key.created",
        "token.created",
        "account.reset_issued",
        "account.signed_in",
        "account.created",
    ];
    let whole = page(None, 6);
    assert_eq!((words(&whole), whole.has_more), (expected.to_vec(), false));
    for limit in 1..=6 {
        let (mut all, mut before) = (Vec::new(), None::<EventId>);
        loop {
            let part = page(before, limit);
            assert!(part.entries.len() == limit || !part.has_more);
            before = part.entries.last().map(|event| event.id);
            all.extend(part.entries);
            if !part.has_more {
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
    for nothing in ["ke", "key.", "", "key.sold", "KEY"] {
        assert_eq!(found(Some(nothing), None), [""; 0], "{nothing}");
    }
    assert_eq!(found(None, Some("NIGHTLY")), ["token.created"]);
    assert_eq!(found(None, Some(&key.to_string())), ["key.revoked", "key.created"]);
    assert_eq!(found(None, Some(&token.to_string())), ["token.created"]);
    assert_eq!(found(None, Some("uid:0")), ["key.revoked", "key.created", "account.created"]);
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
    assert_eq!((page.entries.len(), page.has_more), (1, false));
    let all = house.registry.events(ROOT, &AuditFilter::default(), None, PAGE_MAX).unwrap();
    assert_eq!((all.entries.len(), all.has_more), (1000, true));
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
    let plain = hex(secret.as_bytes());
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
    let ana = house.person(ANA, Role::Admin);
    let signed = house.sign_in(ANA);
    let changed = house.registry.change_password(
        &signed.session,
        &secret(PASSWORD),
        &secret("staple of batteries"),
        &place(HOME),
    );
    let reset = house.registry.issue_reset(person(&ana), ANA).unwrap();
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
