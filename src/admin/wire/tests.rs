//! The documents as programs see them; a change here is a change of what docs/api.md promises.

use crate::admin::{
    AccountDetail, Command, HistoryLine, KeyDetail, KeyView, Reply, SecretView, ServerStatus, Status,
    UpstreamStatus, Verdict,
};
use crate::gate::{Cut, Stop};
use crate::registry::{KeyFilter, Page};
use crate::types::{
    Account, AccountStatus, EventId, Key, KeyHint, KeyStatus, ModelScope, Role, Timestamp, Tokens,
};

use super::{decode, encode, encode_pretty, encode_without_secret};

const KEY_ID: &str = "key_01kaspw4g0000000000000000a";
const ACCOUNT_ID: &str = "acct_01kaspw4g0000000000000000b";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn account() -> Account {
    Account {
        id: ACCOUNT_ID.parse().unwrap(),
        email: "ana@example.com".parse().unwrap(),
        name: Some("Ana".parse().unwrap()),
        role: Role::Admin,
        status: AccountStatus::Disabled,
        created_at: at("2026-11-23T20:01:00Z"),
    }
}

fn key() -> KeyView {
    let last4 = |text: &[u8; 4]| KeyHint::from_bytes(*text).unwrap();
    let (created_at, end) = (at("2026-11-23T20:01:00Z"), at("2026-11-24T20:01:00Z"));
    KeyView {
        id: KEY_ID.parse().unwrap(),
        name: "my app".parse().unwrap(),
        owner: Some("ana@example.com".parse().unwrap()),
        account: ACCOUNT_ID.parse().unwrap(),
        environment: crate::types::Environment::Prod,
        models: ModelScope::Only(["org/b".parse().unwrap(), "a".parse().unwrap()].into()),
        last4: Some(last4(b"zQ1x")),
        status: KeyStatus::Revoked,
        created_at,
        expires_at: Some(at("2027-01-31T23:59:59.999Z")),
        last_used_at: Some(end),
        revoked_at: Some(end),
        revoked_reason: Some("lost".to_string()),
        secrets: vec![
            SecretView { last4: last4(b"zQ1x"), created_at: end, valid_until: None },
            SecretView { last4: last4(b"Ab12"), created_at, valid_until: Some(end) },
        ],
    }
}

fn history() -> Vec<HistoryLine> {
    vec![HistoryLine {
        id: "evt_01kaspw4g0000000000000000c".parse::<EventId>().unwrap(),
        at: at("2026-11-23T20:01:00Z"),
        actor: "uid:1000".to_string(),
        actor_name: "user 1000 on the machine".to_string(),
        target: KEY_ID.to_string(),
        action: "key.created".to_string(),
        detail: "prod my app ...Ab12".to_string(),
    }]
}

fn status() -> Status {
    Status {
        accounts: 2,
        keys: 3,
        denials_owed: false,
        server: Some(ServerStatus {
            version: "0.1.0".to_string(),
            pid: 4711,
            started_at: at("2026-11-23T20:01:00Z"),
            listen: vec!["http://127.0.0.1:7411".to_string()],
            upstreams: vec![UpstreamStatus {
                name: "local".to_string(),
                healthy: false,
                models: 1,
                detail: "it does not answer".to_string(),
            }],
            requests: 5,
            tokens: Tokens { prompt: 10, completion: 20, cached: 4 },
        }),
    }
}

#[test]
fn a_key_looks_as_documented() {
    let golden = r#"{
  "id": "key_01kaspw4g0000000000000000a",
  "object": "key",
  "name": "my app",
  "account": "ana@example.com",
  "account_id": "acct_01kaspw4g0000000000000000b",
  "environment": "prod",
  "models": [
    "a",
    "org/b"
  ],
  "last4": "zQ1x",
  "status": "revoked",
  "created_at": "2026-11-23T20:01:00.000Z",
  "expires_at": "2027-01-31T23:59:59.999Z",
  "last_used_at": "2026-11-24T20:01:00.000Z",
  "revoked_at": "2026-11-24T20:01:00.000Z",
  "revoked_reason": "lost",
  "secrets": [
    {
      "last4": "zQ1x",
      "created_at": "2026-11-24T20:01:00.000Z",
      "valid_until": null
    },
    {
      "last4": "Ab12",
      "created_at": "2026-11-23T20:01:00.000Z",
      "valid_until": "2026-11-24T20:01:00.000Z"
    }
  ]
}"#;
    assert_eq!(encode_pretty(&Reply::Key(key())).unwrap(), golden);
}

#[test]
fn an_account_looks_as_documented() {
    let golden = r#"{"id":"acct_01kaspw4g0000000000000000b","object":"account","email":"ana@example.com","name":"Ana","role":"admin","status":"disabled","created_at":"2026-11-23T20:01:00.000Z"}"#;
    assert_eq!(encode(&Reply::Account(account())).unwrap(), golden);
}

#[test]
fn a_list_looks_as_documented() {
    let list = encode(&Reply::Accounts(Page { entries: vec![account()], has_more: true })).unwrap();
    assert!(list.starts_with(r#"{"object":"list","data":[{"id":"acct_"#), "{list}");
    assert!(
        list.ends_with(&format!(r#"],"first_id":"{ACCOUNT_ID}","last_id":"{ACCOUNT_ID}","has_more":true}}"#))
    );
    let empty = encode(&Reply::Keys(Page { entries: Vec::new(), has_more: false })).unwrap();
    assert_eq!(empty, r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#);
}

#[test]
fn the_status_looks_as_documented() {
    let golden = r#"{"object":"status","running":true,"accounts":2,"keys":3,"denials_owed":false,"server":{"version":"0.1.0","pid":4711,"started_at":"2026-11-23T20:01:00.000Z","listen":["http://127.0.0.1:7411"],"upstreams":[{"name":"local","healthy":false,"models":1,"detail":"it does not answer"}],"requests":5,"tokens":{"prompt":10,"completion":20,"cached":4}}}"#;
    assert_eq!(encode(&Reply::Status(status())).unwrap(), golden);
    let stopped = encode(&Reply::Status(Status { server: None, ..status() })).unwrap();
    assert!(stopped.contains(r#""running":false"#) && stopped.ends_with(r#""server":null}"#), "{stopped}");
}

#[test]
fn the_key_itself_is_in_one_document_only() {
    let text = concat!("ember_", "prod_", "0123456789ABCDEFGHIJKLMNOPQRSTUV", "04znqH");
    let secret = || Key::parse(text.as_bytes()).unwrap();
    let reply = Reply::Issued { key: key(), secret: secret() };
    let issued = encode_pretty(&reply).unwrap();
    assert!(issued.ends_with(&format!("],\n  \"key\": \"{text}\"\n}}")), "{issued}");
    assert_eq!(encode_without_secret(&reply).unwrap(), encode_pretty(&Reply::Key(key())).unwrap());
    assert!(!encode(&Reply::Key(key())).unwrap().contains("\"key\":\""));
}

/// What is decoded is encoded to the same text again.
fn comes_back(command: &Command, reply: &Reply) {
    let text = encode(reply).unwrap();
    let read = decode(command, text.as_bytes()).unwrap();
    assert_eq!(encode(&read).unwrap(), text);
    assert_eq!(std::mem::discriminant(&read), std::mem::discriminant(reply), "{text}");
}

#[test]
fn every_reply_survives_the_way_back() {
    let text = String::new;
    let open = KeyView { owner: None, last4: None, models: ModelScope::All, expires_at: None, ..key() };
    comes_back(&Command::AccountEnable { account: text() }, &Reply::Account(account()));
    let page = || Page { entries: vec![account()], has_more: true };
    comes_back(&Command::AccountList { after: None, limit: 1 }, &Reply::Accounts(page()));
    let detail = AccountDetail { account: account(), history: history() };
    comes_back(&Command::AccountShow { account: text() }, &Reply::AccountDetail(detail));
    comes_back(&Command::KeyEnable { key: text() }, &Reply::Key(open.clone()));
    let list = Command::KeyList { filter: KeyFilter::default(), after: None, limit: 1 };
    comes_back(&list, &Reply::Keys(Page { entries: vec![key(), open], has_more: false }));
    comes_back(
        &Command::KeyShow { key: text() },
        &Reply::KeyDetail(KeyDetail { key: key(), history: history() }),
    );
    let stops =
        [Cut::Revoked, Cut::Disabled, Cut::Replaced, Cut::AccountDisabled].map(|cut| Some(Stop::Cut(cut)));
    for stop in stops.into_iter().chain([Some(Stop::Expired), None]) {
        let text = concat!("ember_", "prod_", "0123456789ABCDEFGHIJKLMNOPQRSTUV", "04znqH");
        let secret = || Key::parse(text.as_bytes()).unwrap();
        comes_back(&Command::KeyVerify { key: secret() }, &Reply::Verdict(Verdict { key: key(), stop }));
        let rotate = Command::KeyRotate { key: String::new(), rotation: crate::registry::Rotation::Now };
        comes_back(&rotate, &Reply::Issued { key: key(), secret: secret() });
    }
    comes_back(&Command::Status, &Reply::Status(status()));
    comes_back(&Command::Status, &Reply::Status(Status { server: None, ..status() }));
}

#[test]
fn what_is_no_reply_is_refused_without_being_quoted() {
    let error = decode(&Command::Status, br#"{"object":"ember_secret"}"#).err().unwrap();
    assert!(!error.detail.contains("ember_secret"), "{error}");
}
