//! The bytes on disk: they never change under a version, and damage is told as damage.

use proptest::prelude::*;

use super::super::record::{
    decode_account, decode_key, encode_account, encode_key,
    event::{decode_event, encode_event, encode_unlinked},
};
use super::*;
use crate::types::{
    AccountId, AccountStatus, AddressScope, EventId, KeyDigest, KeyHint, KeyId, KeySecret, KeyStanding,
    Limit, LimitKind, Limits, Origin, Policy, RouteName, RouteScope, Timestamp, Weight, network,
};

const ID: [u8; 16] = [7; 16];

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn account() -> Account {
    Account {
        id: AccountId::from_bytes(&ID).unwrap(),
        email: "ana@example.com".parse().unwrap(),
        name: "Ana".parse().ok(),
        role: Role::Admin,
        status: AccountStatus::Disabled,
        policy: Policy::default(),
        created_at: time(300),
    }
}

fn key(standing: KeyStanding) -> KeyRecord {
    let secret = |byte, valid_until| KeySecret {
        digest: KeyDigest::from_bytes([byte; 32]),
        hint: KeyHint::from_bytes(*b"aB12").unwrap(),
        created_at: time(1),
        valid_until,
    };
    KeyRecord {
        id: KeyId::from_bytes(&ID).unwrap(),
        account: AccountId::from_bytes(&[9; 16]).unwrap(),
        name: "ci".parse().unwrap(),
        environment: Environment::Prod,
        policy: scope(&["a", "b/c"]).into(),
        allow_browser: false,
        weight: Weight::default(),
        secrets: vec![secret(0xaa, None), secret(0xbb, Some(time(64)))],
        standing,
        created_at: time(2),
        expires_at: Some(time(3)),
        expiry_met: false,
    }
}

fn revoked() -> KeyRecord {
    key(KeyStanding::Revoked { at: time(4), reason: Some("leaked".to_string()) })
}

fn event(actor: Actor) -> Event {
    Event {
        id: EventId::from_bytes(&ID).unwrap(),
        sequence: 0,
        at: time(5),
        actor,
        origin: Origin::Unknown,
        action: Action::KeyRevoked,
        target: [8; 16],
        detail: "why".to_string(),
    }
}

fn person() -> Actor {
    Actor::Person { account: AccountId::from_bytes(&[9; 16]).unwrap(), admin: true }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn words(text: &str) -> String {
    hex(text.as_bytes())
}

/// Lets the bytes of a record be read, though another version of them is written now.
fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn version_1_of_an_account_stays_readable() {
    let golden = |rest: &str| bytes(&format!("010f{}{rest}d804", words("ana@example.com")));
    let whole = golden(&format!("0103{}0101", words("Ana")));
    assert_eq!(decode_account(&ID, &whole).unwrap(), account());
    let bare = Account { name: None, role: Role::Member, status: AccountStatus::Active, ..account() };
    assert_eq!(decode_account(&ID, &golden("000000")).unwrap(), bare);
    let deleted = Account { status: AccountStatus::Deleted, ..bare };
    assert_eq!(decode_account(&ID, &golden("000002")).unwrap(), deleted);
}

/// Everything that may be chosen is chosen.
fn policy() -> Policy {
    let mut limits = Limits::default();
    limits.set(LimitKind::RequestsPerMinute, Limit::max(300).unwrap());
    limits.set(LimitKind::TokensTotal, Limit::Unlimited);
    Policy {
        models: scope(&["a", "b/c"]),
        routes: RouteScope::Only([RouteName::Models, RouteName::Responses].into()),
        addresses: AddressScope::Only([network("10.0.0.0/8").unwrap(), network("::1").unwrap()].into()),
        limits,
    }
}

const POLICY: &str = "0102000401020a31302e302e302e302f38033a3a310200ac020700";

#[test]
fn version_2_of_an_account_never_changes() {
    let first = format!("0f{}0103{}0101d804", words("ana@example.com"), words("Ana"));
    let bare = encode_account(&account());
    assert_eq!(hex(&bare), format!("02{first}00000000"));
    assert_eq!(decode_account(&ID, &bare).unwrap(), account());
    let held = Account { policy: policy(), ..account() };
    let bytes = encode_account(&held);
    assert_eq!(hex(&bytes), format!("02{first}0102{}{}{POLICY}", "0161", "03622f63"));
    assert_eq!(decode_account(&ID, &bytes).unwrap(), held);
}

#[test]
fn version_1_of_a_key_stays_readable() {
    let head = format!("01{}02{}02010201{}03{}", "09".repeat(16), words("ci"), words("a"), words("b/c"));
    let secrets =
        format!("02{}{}0200{}{}02018001", "aa".repeat(32), words("aB12"), "bb".repeat(32), words("aB12"));
    for (standing, golden) in [
        (KeyStanding::Active, "00".to_string()),
        (KeyStanding::Disabled, "01".to_string()),
        (KeyStanding::Revoked { at: time(4), reason: None }, "020800".to_string()),
        (revoked().standing, format!("02080106{}", words("leaked"))),
    ] {
        let golden = bytes(&format!("{head}{secrets}{golden}040106"));
        assert_eq!(decode_key(&ID, &golden).unwrap(), key(standing));
    }
    let bare = KeyRecord {
        policy: Policy::default(),
        secrets: Vec::new(),
        expires_at: None,
        environment: Environment::Dev,
        ..key(KeyStanding::Active)
    };
    let golden = bytes(&format!("01{}02{}000000000400", "09".repeat(16), words("ci")));
    assert_eq!(decode_key(&ID, &golden).unwrap(), bare);
}

#[test]
fn version_2_of_a_key_never_changes() {
    let bare = KeyRecord {
        policy: Policy::default(),
        secrets: Vec::new(),
        expires_at: None,
        environment: Environment::Dev,
        ..key(KeyStanding::Active)
    };
    let first = format!("{}02{}00", "09".repeat(16), words("ci"));
    assert_eq!(hex(&encode_key(&bare)), format!("02{first}0000000400000000000100"));
    let held = KeyRecord {
        policy: policy(),
        allow_browser: true,
        weight: Weight::new(100).unwrap(),
        expiry_met: true,
        ..bare
    };
    let bytes = encode_key(&held);
    assert_eq!(hex(&bytes), format!("02{first}01020161{}00000400{POLICY}016401", "03622f63"));
    assert_eq!(decode_key(&ID, &bytes).unwrap(), held);
}

#[test]
fn version_2_of_an_event_never_changes() {
    for (origin, golden) in [
        (Origin::Unknown, "00".to_string()),
        (Origin::Socket, "01".to_string()),
        (Origin::File, "02".to_string()),
        (Origin::address([192, 0, 2, 1].into()), format!("03{}ffffc0000201", "00".repeat(10))),
        (Origin::address("2001:db8::7".parse().unwrap()), format!("0320010db8{}07", "00".repeat(11))),
    ] {
        let event = Event { sequence: 300, origin, ..event(Actor::Ember) };
        let bytes = encode_event(&event);
        let rest = format!("0b{}{}03{}", words("key.revoked"), "08".repeat(16), words("why"));
        assert_eq!(hex(&bytes), format!("02ac020a02{golden}{rest}"));
        assert_eq!(decode_event(&ID, &bytes).unwrap(), event);
    }
}

#[test]
fn version_1_of_an_event_never_changes() {
    for (actor, golden) in [
        (Actor::Machine { uid: 1000 }, "00e807".to_string()),
        (person(), format!("01{}01", "09".repeat(16))),
        (Actor::Ember, "02".to_string()),
        (Actor::Key { key: KeyId::from_bytes(&[7; 16]).unwrap() }, format!("04{}", "07".repeat(16))),
    ] {
        let bytes = encode_unlinked(&event(actor));
        let rest = format!("0b{}{}03{}", words("key.revoked"), "08".repeat(16), words("why"));
        assert_eq!(hex(&bytes), format!("010a{golden}{rest}"));
        assert_eq!(decode_event(&ID, &bytes).unwrap(), event(actor));
    }
}

#[test]
fn the_words_of_actions_never_change() {
    for (action, word) in [
        (Action::AccountCreated, "account.created"),
        (Action::AccountDisabled, "account.disabled"),
        (Action::AccountEnabled, "account.enabled"),
        (Action::AccountDeleted, "account.deleted"),
        (Action::PasswordSet, "account.password_set"),
        (Action::KeyCreated, "key.created"),
        (Action::KeyUpdated, "key.updated"),
        (Action::KeyDisabled, "key.disabled"),
        (Action::KeyEnabled, "key.enabled"),
        (Action::KeyExpired, "key.expired"),
        (Action::GraceMet, "key.grace_over"),
        (Action::KeyRevoked, "key.revoked"),
        (Action::KeyRotated, "key.rotated"),
    ] {
        assert_eq!((action.as_str(), Action::from_word(word)), (word, Some(action)));
    }
    assert_eq!(Action::from_word("key.sold"), None);
}

type Decoder = fn(&[u8], &[u8]) -> Result<(), Trouble>;

/// Each kind of record: its bytes, how to read them, and the table that damage is told of.
fn specimens() -> Vec<(Vec<u8>, Decoder, &'static str)> {
    vec![
        (encode_account(&account()), |id, bytes| decode_account(id, bytes).map(drop), "accounts"),
        (encode_key(&revoked()), |id, bytes| decode_key(id, bytes).map(drop), "keys"),
        (encode_unlinked(&event(person())), |id, bytes| decode_event(id, bytes).map(drop), "audit"),
        (encode_event(&event(person())), |id, bytes| decode_event(id, bytes).map(drop), "audit"),
    ]
}

#[test]
fn what_is_cut_short_too_long_or_of_another_version_is_damaged() {
    for (whole, decode, table) in specimens() {
        let damaged = Err(Trouble::Damaged { table });
        for end in 0..whole.len() {
            assert_eq!(decode(&ID, &whole[..end]), damaged, "the first {end} bytes");
        }
        assert_eq!(decode(&ID, &[&whole[..], &[0]].concat()), damaged);
        for version in [0, 3, 255] {
            assert_eq!(decode(&ID, &[&[version], &whole[1..]].concat()), damaged);
        }
        for id in [&[][..], &ID[1..], &[0; 17]] {
            assert_eq!(decode(id, &whole), damaged, "an id of {} bytes", id.len());
        }
    }
}

#[test]
fn a_record_is_never_read_as_another_kind() {
    for (bytes, _, own) in specimens() {
        for (_, decode, table) in specimens() {
            assert_eq!(decode(&ID, &bytes).is_ok(), table == own, "{own} read as {table}");
        }
    }
}

#[test]
fn damage_in_a_record_is_trouble_for_whoever_asks() {
    let house = House::new();
    let (record, key) = house.key("ana@example.com", "ci");
    let garbled = Write::Put { table: table::KEYS, key: record.id.as_bytes().to_vec(), value: vec![1, 2, 3] };
    house.store.commit(Commit { writes: vec![garbled], ..Commit::default() }).unwrap();
    for outcome in [
        house.registry.key(ROOT, "ci").map(drop),
        house.registry.by_digest(&key.digest()).map(drop),
        house.registry.keys(ROOT, &KeyFilter::default(), None, 10).map(drop),
    ] {
        let (problem, words) = refused(outcome);
        assert_eq!(problem, Problem::Unavailable);
        assert!(words.contains("'keys' is damaged"), "{words}");
    }
}

#[test]
fn commits_are_told_as_changes_of_keys_and_accounts() {
    let house = House::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    house.store.observe(Box::new(move |writes| told.lock().unwrap().extend(changes(writes))));
    let ana = house.account("ana@example.com");
    let (key, _) = house.key("ana@example.com", "ci");
    let revoked = house.registry.revoke_key(ROOT, "ci", None).unwrap();
    let expected = [Change::Account(ana), Change::Key(key), Change::Key(revoked)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

fn honest(read: &Result<(), Trouble>) -> bool {
    matches!(read, Ok(()) | Err(Trouble::Damaged { .. }))
}

proptest! {
    #[test]
    fn no_bytes_panic_and_damage_has_one_name(bytes: Vec<u8>) {
        let versioned = [&[1][..], &bytes].concat();
        for (_, decode, table) in specimens() {
            for bytes in [&bytes, &versioned] {
                prop_assert!(honest(&decode(&ID, bytes)), "{}", table);
            }
        }
    }

    #[test]
    fn no_changed_bytes_panic(at in 0_usize..1000, byte: u8, more in 0_usize..3) {
        for (mut bytes, decode, _) in specimens() {
            let length = bytes.len();
            for step in 0..=more {
                bytes[(at + step * 7) % length] = byte;
            }
            prop_assert!(honest(&decode(&ID, &bytes)));
        }
    }

    #[test]
    fn whatever_can_be_named_can_be_read_again(
        email in "\\PC{1,90}@[a-zA-Z\u{130}\u{1e9e}]{1,90}(\\.[a-z]{1,9}){0,3}",
        name in "\\PC{1,64}",
        millis in 0_i64..300_000_000_000_000,
    ) {
        if let (Ok(email), Ok(name)) = (email.parse(), name.parse()) {
            let account = Account { email, name: Some(name), created_at: time(millis), ..account() };
            prop_assert_eq!(decode_account(&ID, &encode_account(&account)), Ok(account));
        }
        if let Ok(name) = name.parse() {
            let key = KeyRecord { name, expires_at: Some(time(millis)), ..revoked() };
            prop_assert_eq!(decode_key(&ID, &encode_key(&key)), Ok(key));
        }
    }
}
