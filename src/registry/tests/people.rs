//! The bytes on disk of what stands behind tickets, and where people come from.

use proptest::prelude::*;

use super::super::invite::KeptInvite;
use super::super::record::people::{
    decode_invite, decode_reset, decode_session, decode_token, encode_invite, encode_reset, encode_session,
    encode_token,
};
use super::super::reset::KeptReset;
use super::super::session::Kept;
use super::super::token::KeptToken;
use super::*;
use crate::types::{
    AccountId, AdminToken, Invite, InviteId, KeyHint, Session, SessionId, TicketDigest, TicketKind, TokenId,
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
    let kept = KeptReset { digest: [0xaa; 32], expires_at: time(64), by: ROOT };
    let bytes = encode_reset(&kept);
    assert_eq!(hex(&bytes), format!("01{}80010000", "aa".repeat(32)));
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
            encode_reset(&KeptReset { digest: [0xaa; 32], expires_at: time(64), by: ROOT }),
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
