//! The documents as programs see them; a change here is a change of what docs/api.md promises.

use std::time::Duration;

use crate::admin::{
    AccountDetail, AuditNews, AuditPage, Command, HistoryLine, KeyDetail, KeyView, ModelServer, ModelView,
    Reloaded, Reply, SecretView, ServerStatus, Status, UpstreamAsk, UpstreamState, UpstreamStatus,
    UpstreamStep, UpstreamTest, UsageAsk, UsageProof, UsageReport, UsageRow, UsageSums, UsageView, Verdict,
    WrongCounter,
};
use crate::gate::{Cut, Stop};
use crate::meter::{BrowserRefusals, Figures, Group, KeyTrace, KeyUser, Spread, Step};
use crate::registry::{
    AccountChanges, AuditFilter, KeyFilter, NewInvite, NewToken, Page, TrailFault, Verification,
};
use crate::types::{
    Account, AccountStatus, Actor, AddressScope, AdminToken, ClientName, EventId, Invite, Key, KeyHint,
    KeyStatus, Limit, LimitKind, Limits, ModelScope, Origin, Place, Policy, Role, RouteName, RouteScope,
    Secret, Session, Ticket, TicketKind, Timestamp, Tokens, TrailHead, Weight, network,
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
        policy: Policy::default(),
        created_at: at("2026-11-23T20:01:00Z"),
    }
}

/// Everything that may be chosen is chosen.
fn policy() -> Policy {
    let mut limits = Limits::default();
    limits.set(LimitKind::RequestsPerMinute, Limit::max(60).unwrap());
    limits.set(LimitKind::TokensTotal, Limit::Unlimited);
    Policy {
        models: ModelScope::Only(["org/b".parse().unwrap(), "a".parse().unwrap()].into()),
        routes: RouteScope::Only([RouteName::Models, RouteName::ChatCompletions].into()),
        addresses: AddressScope::Only([network("10.0.0.0/8").unwrap(), network("::1").unwrap()].into()),
        limits,
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
        policy: policy(),
        allow_browser: true,
        weight: Weight::new(7).unwrap(),
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
        sequence: Some(7),
        at: at("2026-11-23T20:01:00Z"),
        origin: Origin::address("192.0.2.1".parse().unwrap()),
        actor: "uid:1000".to_string(),
        actor_name: "user 1000 on the machine".to_string(),
        target: KEY_ID.to_string(),
        target_name: "my app".to_string(),
        action: "key.created".to_string(),
        detail: "prod my app ...Ab12".to_string(),
    }]
}

fn key_detail(trace: KeyTrace, spread: Option<Spread>) -> KeyDetail {
    KeyDetail { key: key(), history: history(), trace, spread }
}

fn actors() -> [Actor; 5] {
    [
        Actor::Machine { uid: 1000 },
        Actor::Person { account: ACCOUNT_ID.parse().unwrap(), admin: false },
        Actor::Token { token: "tok_01kaspw4g0000000000000000f".parse().unwrap() },
        Actor::Key { key: KEY_ID.parse().unwrap() },
        Actor::Ember,
    ]
}

fn invite(by: Actor) -> Invite {
    Invite {
        id: "inv_01kaspw4g0000000000000000d".parse().unwrap(),
        email: "bo@example.com".parse().unwrap(),
        role: Role::Member,
        by,
        created_at: at("2026-11-23T20:01:00Z"),
        expires_at: at("2026-11-30T20:01:00Z"),
    }
}

fn session(address: &str) -> Session {
    Session {
        id: "ses_01kaspw4g0000000000000000e".parse().unwrap(),
        account: ACCOUNT_ID.parse().unwrap(),
        created_at: at("2026-11-23T20:01:00Z"),
        seen_at: at("2026-11-23T20:02:00Z"),
        place: Place::new(address.parse().unwrap(), "Mozilla/5.0 \"x\" é"),
    }
}

fn token(by: Actor, expires_at: Option<Timestamp>) -> AdminToken {
    AdminToken {
        id: "tok_01kaspw4g0000000000000000f".parse().unwrap(),
        name: "ci".parse().unwrap(),
        hint: KeyHint::from_bytes(*b"zQ1x").unwrap(),
        by,
        created_at: at("2026-11-23T20:01:00Z"),
        expires_at,
    }
}

/// The same in every run.
fn ticket(kind: TicketKind) -> Ticket {
    struct Sevens;
    impl crate::types::Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), crate::types::RandomUnavailable> {
            bytes.fill(7);
            Ok(())
        }
    }
    Ticket::generate(kind, &Sevens).unwrap()
}

fn link(kind: TicketKind) -> Secret {
    let text = format!("https://ember.example.com/{}/{}", kind.as_str(), ticket(kind).expose());
    Secret::new(text)
}

fn models() -> Vec<ModelView> {
    let server =
        |name: &str, state| ModelServer { name: name.to_string(), model: "org/a".to_string(), state };
    vec![
        ModelView {
            name: "a".to_string(),
            servers: vec![server("local", UpstreamState::Up), server("other", UpstreamState::Draining)],
        },
        ModelView { name: "b".to_string(), servers: Vec::new() },
    ]
}

fn usage_report() -> UsageReport {
    let figures = Figures {
        requests: 9,
        tokens: Tokens { prompt: 10, completion: 20, cached: 4 },
        estimated: 1,
        errors: 5,
        client_errors: 2,
        server_errors: 3,
        endings: [1, 2, 3, 4, 5, 6, 7, 8],
        first_tokens: 6,
        first_token_ms: 700,
        duration_ms: 8000,
    };
    let total = UsageRow { figures, cost: "0.000000001".parse().ok(), ..UsageRow::default() };
    let text = |text: &str| Some(text.to_string());
    let row = UsageRow {
        start: Some(at("2026-11-24T00:00:00Z")),
        id: text("key_x"),
        name: text("app"),
        owner: text("ana@example.com"),
        ..total.clone()
    };
    UsageReport {
        since: at("2026-11-24T00:00:00Z"),
        until: at("2026-11-25T00:00:00Z"),
        group: Some(Group::Key),
        step: Some(Step::Day),
        currency: text("EUR"),
        rows: vec![row, UsageRow::default()],
        total,
    }
}

fn usage() -> UsageView {
    let sums = |requests| UsageSums { requests, tokens: Tokens { prompt: 10, completion: 20, cached: 4 } };
    UsageView { day: sums(5), week: sums(u64::MAX) }
}

fn upstream() -> UpstreamStatus {
    UpstreamStatus {
        name: "local".to_string(),
        address: "127.0.0.1:8000".to_string(),
        state: UpstreamState::Open,
        since: Some(at("2026-11-23T20:01:00Z")),
        models: 1,
        in_flight: 2,
        waiting: 3,
        priority: 7,
        weight: 100,
        latency: Some(Duration::from_micros(1250)),
        detail: "it does not answer".to_string(),
    }
}

fn status() -> Status {
    Status {
        accounts: 2,
        keys: 3,
        denials_owed: false,
        audit_head: TrailHead { sequence: 3, hash: [0xab; 32] },
        server: Some(ServerStatus {
            version: "0.1.0".to_string(),
            pid: 4711,
            started_at: at("2026-11-23T20:01:00Z"),
            listen: vec!["http://127.0.0.1:7411".to_string()],
            upstreams: vec![upstream()],
            requests: 5,
            tokens: Tokens { prompt: 10, completion: 20, cached: 4 },
            in_flight: 4,
            waiting: 1,
            connections: 6,
            errors: [("invalid_api_key".to_string(), 3)].into(),
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
  "routes": [
    "models",
    "chat/completions"
  ],
  "addresses": [
    "10.0.0.0/8",
    "::1"
  ],
  "limits": {
    "requests_per_minute": 60,
    "tokens_total": "unlimited"
  },
  "allow_browser": true,
  "weight": 7,
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
    let golden = r#"{"id":"acct_01kaspw4g0000000000000000b","object":"account","email":"ana@example.com","name":"Ana","role":"admin","status":"disabled","models":null,"routes":null,"addresses":null,"limits":{},"created_at":"2026-11-23T20:01:00.000Z"}"#;
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
    let golden = r#"{"object":"status","running":true,"accounts":2,"keys":3,"denials_owed":false,"audit_head":"3:abababababababababababababababababababababababababababababababab","server":{"version":"0.1.0","pid":4711,"started_at":"2026-11-23T20:01:00.000Z","listen":["http://127.0.0.1:7411"],"upstreams":[{"name":"local","object":"upstream","address":"127.0.0.1:8000","state":"open","since":"2026-11-23T20:01:00.000Z","healthy":false,"models":1,"in_flight":2,"waiting":3,"priority":7,"weight":100,"latency_ms":1.3,"detail":"it does not answer"}],"requests":5,"tokens":{"prompt":10,"completion":20,"cached":4},"in_flight":4,"waiting":1,"connections":6,"errors":{"invalid_api_key":3}}}"#;
    assert_eq!(encode(&Reply::Status(status())).unwrap(), golden);
    let stopped = encode(&Reply::Status(Status { server: None, ..status() })).unwrap();
    assert!(stopped.contains(r#""running":false"#) && stopped.ends_with(r#""server":null}"#), "{stopped}");
}

#[test]
fn a_test_of_a_model_server_looks_as_documented() {
    let step = |name: &str, ok| UpstreamStep {
        name: name.to_string(),
        ok,
        took: Duration::from_micros(700),
        detail: "3 models".to_string(),
    };
    let test =
        UpstreamTest { name: "local".to_string(), steps: vec![step("connect", true), step("models", false)] };
    let golden = r#"{"object":"upstream_test","name":"local","ok":false,"steps":[{"step":"connect","ok":true,"took_ms":0.7,"detail":"3 models"},{"step":"models","ok":false,"took_ms":0.7,"detail":"3 models"}]}"#;
    let reply = Reply::UpstreamTested(test);
    assert_eq!(encode(&reply).unwrap(), golden);
    comes_back(
        &Command::Upstream(UpstreamAsk::Test { upstream: String::new(), model: None, stream: false }),
        &reply,
    );
    comes_back(
        &Command::Upstream(UpstreamAsk::Drain { upstream: String::new() }),
        &Reply::Upstream(upstream()),
    );
    let blank = UpstreamStatus { since: None, latency: None, state: UpstreamState::Unknown, ..upstream() };
    comes_back(&Command::Upstream(UpstreamAsk::List), &Reply::Upstreams(vec![upstream(), blank]));
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
    let (file, [changed, restart, warnings]) = (Some(text()), [1, 2, 3].map(|count| vec![text(); count]));
    comes_back(&Command::Reload, &Reply::Reloaded(Reloaded { file, changed, restart, warnings }));
    let open = KeyView { owner: None, last4: None, policy: Policy::default(), expires_at: None, ..key() };
    comes_back(&Command::AccountEnable { account: text() }, &Reply::Account(account()));
    let page = || Page { entries: vec![account()], has_more: true };
    comes_back(&Command::AccountList { after: None, limit: 1 }, &Reply::Accounts(page()));
    let detail = AccountDetail { account: account(), history: history() };
    comes_back(&Command::AccountShow { account: text() }, &Reply::AccountDetail(detail));
    comes_back(&Command::KeyEnable { key: text() }, &Reply::Key(open.clone()));
    let list = Command::KeyList { filter: KeyFilter::default(), unused: None, after: None, limit: 1 };
    comes_back(&list, &Reply::Keys(Page { entries: vec![key(), open], has_more: false }));
    comes_back(&Command::KeyShow { key: text() }, &Reply::KeyDetail(key_detail(KeyTrace::default(), None)));
    let user = KeyUser {
        address: "2001:db8::7".parse().unwrap(),
        client: ClientName::of(b"OpenAI/Python 1.99.9"),
        first_at: at("2026-11-23T20:01:00Z"),
        last_at: at("2026-11-23T20:02:00Z"),
        requests: 7,
    };
    let browsers =
        BrowserRefusals { requests: 2, last_at: at("2026-11-23T20:01:00Z"), origin: "https://a.test".into() };
    let trace = KeyTrace { users: vec![user.clone()], browsers: Some(browsers), old_secret: Some(user) };
    let seen = Reply::KeyDetail(key_detail(trace, Some(Spread { clients: 3, networks: 1 })));
    comes_back(&Command::KeyShow { key: text() }, &seen);
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

#[test]
fn an_invitation_looks_as_documented_and_its_link_is_in_one_document_only() {
    let plain = r#"{"id":"inv_01kaspw4g0000000000000000d","object":"invite","email":"bo@example.com","role":"member","by":"uid:1000","created_at":"2026-11-23T20:01:00.000Z","expires_at":"2026-11-30T20:01:00.000Z"}"#;
    let invite = || invite(actors()[0]);
    assert_eq!(encode(&Reply::Invite(invite())).unwrap(), plain);
    let list = encode(&Reply::Invites(vec![invite()])).unwrap();
    assert!(list.starts_with(&format!(r#"{{"object":"list","data":[{plain}],"first_id":"inv_"#)), "{list}");
    assert!(list.ends_with(r#","has_more":false}"#), "{list}");
    let new = encode(&Reply::Invited { invite: invite(), link: link(TicketKind::Invite) }).unwrap();
    let ticket = ticket(TicketKind::Invite);
    let end = format!(r#","link":"https://ember.example.com/invite/{}"}}"#, ticket.expose());
    assert_eq!(new, format!("{}{end}", plain.trim_end_matches('}')));
}

#[test]
fn a_reset_link_looks_as_documented() {
    let expires_at = at("2026-11-24T20:01:00Z");
    let reply = Reply::Reset { account: account(), expires_at, link: link(TicketKind::Reset) };
    let account = encode(&Reply::Account(account())).unwrap();
    let link = link(TicketKind::Reset);
    let golden = format!(
        r#"{{"object":"reset","account":{account},"expires_at":"2026-11-24T20:01:00.000Z","link":"{}"}}"#,
        link.expose()
    );
    assert_eq!(encode(&reply).unwrap(), golden);
}

#[test]
fn a_session_looks_as_documented() {
    let golden = r#"{"id":"ses_01kaspw4g0000000000000000e","object":"session","account_id":"acct_01kaspw4g0000000000000000b","address":"192.0.2.1","agent":"Mozilla/5.0 \"x\" é","created_at":"2026-11-23T20:01:00.000Z","seen_at":"2026-11-23T20:02:00.000Z"}"#;
    assert_eq!(encode(&Reply::Session(session("192.0.2.1"))).unwrap(), golden);
    let list = encode(&Reply::Sessions(vec![session("192.0.2.1")])).unwrap();
    assert!(list.contains(golden) && list.ends_with(r#"e","has_more":false}"#), "{list}");
}

#[test]
fn a_token_looks_as_documented_and_is_itself_in_one_document_only() {
    let plain = r#"{"id":"tok_01kaspw4g0000000000000000f","object":"token","name":"ci","last4":"zQ1x","by":"uid:1000","created_at":"2026-11-23T20:01:00.000Z","expires_at":null}"#;
    let token = || token(actors()[0], None);
    assert_eq!(encode(&Reply::Token(token())).unwrap(), plain);
    assert!(encode(&Reply::Tokens(vec![token()])).unwrap().contains(plain));
    let issued = encode(&Reply::TokenIssued { token: token(), secret: ticket(TicketKind::Admin) }).unwrap();
    let end = format!(r#","token":"{}"}}"#, ticket(TicketKind::Admin).expose());
    assert_eq!(issued, format!("{}{end}", plain.trim_end_matches('}')));
}

#[test]
fn an_event_looks_as_documented() {
    let golden = r#"{"id":"evt_01kaspw4g0000000000000000c","object":"event","sequence":7,"at":"2026-11-23T20:01:00.000Z","origin":"192.0.2.1","actor":"uid:1000","actor_name":"user 1000 on the machine","target":"key_01kaspw4g0000000000000000a","target_name":"my app","action":"key.created","detail":"prod my app ...Ab12"}"#;
    let page = encode(&Reply::Audit(AuditPage { entries: history(), next: Some(history()[0].id) })).unwrap();
    let id = "evt_01kaspw4g0000000000000000c";
    let list = format!(
        r#"{{"object":"list","data":[{golden}],"first_id":"{id}","last_id":"{id}","has_more":true}}"#
    );
    assert_eq!(page, list);
    let detail = AccountDetail { account: account(), history: history() };
    let shown = encode(&Reply::AccountDetail(detail)).unwrap();
    assert!(shown.ends_with(&format!(r#","history":[{golden}]}}"#)), "{shown}");
}

#[test]
fn models_and_usage_look_as_documented() {
    let golden = r#"{"object":"list","data":[{"id":"a","object":"model","servers":[{"name":"local","model":"org/a","healthy":true,"state":"up"},{"name":"other","model":"org/a","healthy":false,"state":"draining"}]},{"id":"b","object":"model","servers":[]}],"first_id":"a","last_id":"b","has_more":false}"#;
    assert_eq!(encode(&Reply::Models(models())).unwrap(), golden);
    let golden = r#"{"object":"usage","day":{"requests":5,"tokens":{"prompt":10,"completion":20,"cached":4}},"week":{"requests":18446744073709551615,"tokens":{"prompt":10,"completion":20,"cached":4}}}"#;
    assert_eq!(encode(&Reply::Usage(usage())).unwrap(), golden);
}

#[test]
fn every_reply_about_the_trail_survives_the_way_back() {
    let news = Command::AuditNews { filter: AuditFilter::default(), after: None, limit: 1 };
    let older = HistoryLine { sequence: None, origin: Origin::Unknown, ..history().remove(0) };
    let entries = vec![older, HistoryLine { origin: Origin::Socket, ..history().remove(0) }];
    comes_back(&news, &Reply::AuditNews(AuditNews { entries, next: 8, has_more: true }));
    comes_back(&news, &Reply::AuditNews(AuditNews { entries: Vec::new(), next: 0, has_more: false }));
    let verify = Command::AuditVerify { noted: None, after: None };
    for (fault, next) in
        [(None, Some("1.2.3")), (Some((Some(7), Some("evt_x"))), None), (Some((None, None)), None)]
    {
        let fault = fault.map(|(sequence, event): (_, Option<&str>)| TrailFault {
            sequence,
            event: event.map(str::to_string),
            what: "why".to_string(),
        });
        let next = next.map(|text| text.parse().unwrap());
        let found = Verification { checked: 5, head: status().audit_head, anchor: 2, fault, next };
        comes_back(&verify, &Reply::AuditVerified(found));
    }
}

#[test]
fn every_reply_about_people_survives_the_way_back() {
    let text = String::new;
    let new_invite = || NewInvite {
        email: "bo@example.com".parse().unwrap(),
        role: Role::Member,
        lifetime: std::time::Duration::from_secs(60),
    };
    let expires_at = at("2026-11-24T20:01:00Z");
    let reset = Reply::Reset { account: account(), expires_at, link: link(TicketKind::Reset) };
    comes_back(&Command::AccountReset { account: text() }, &reset);
    let changes = AccountChanges::default();
    comes_back(&Command::AccountUpdate { account: text(), changes }, &Reply::Account(account()));
    let new_token = || NewToken { name: "ci".parse().unwrap(), expires_at: None };
    for by in actors() {
        let invite = || invite(by);
        let link = link(TicketKind::Invite);
        comes_back(&Command::InviteCreate(new_invite()), &Reply::Invited { invite: invite(), link });
        comes_back(&Command::InviteRevoke { invite: invite().id }, &Reply::Invite(invite()));
        comes_back(&Command::InviteList, &Reply::Invites(vec![invite(), invite()]));
        for end in [None, Some(expires_at)] {
            let token = || token(by, end);
            let secret = ticket(TicketKind::Admin);
            comes_back(&Command::TokenCreate(new_token()), &Reply::TokenIssued { token: token(), secret });
            comes_back(&Command::TokenRevoke { token: text() }, &Reply::Token(token()));
            comes_back(&Command::TokenList, &Reply::Tokens(vec![token(), token()]));
        }
    }
    for address in ["192.0.2.1", "2001:db8::7"] {
        let session = || session(address);
        comes_back(&Command::SessionEnd { session: session().id }, &Reply::Session(session()));
        comes_back(&Command::SessionList { account: text() }, &Reply::Sessions(vec![session(), session()]));
    }
    let audit = Command::AuditList { filter: AuditFilter::default(), before: None, limit: 1 };
    comes_back(&audit, &Reply::Audit(AuditPage { entries: history(), next: Some(history()[0].id) }));
    comes_back(&audit, &Reply::Audit(AuditPage { entries: Vec::new(), next: Some(history()[0].id) }));
    comes_back(&Command::Models, &Reply::Models(models()));
    comes_back(&Command::Usage { account: None }, &Reply::Usage(usage()));
    let report = Reply::UsageReport(Box::new(usage_report()));
    comes_back(&Command::UsageReport(UsageAsk::default()), &report);
    let wrong =
        WrongCounter { of: "key a of b".to_string(), id: None, counted: (1, 2), found: (3, u64::MAX) };
    let proof = UsageProof { accounts: 1, keys: 2, records: 3, requests: 4, faults: 1, wrong: vec![wrong] };
    comes_back(&Command::UsageVerify, &Reply::UsageProof(proof));
    for (command, empty) in [
        (Command::InviteList, Reply::Invites(Vec::new())),
        (Command::TokenList, Reply::Tokens(Vec::new())),
        (Command::SessionList { account: text() }, Reply::Sessions(Vec::new())),
        (Command::Models, Reply::Models(Vec::new())),
        (audit, Reply::Audit(AuditPage { entries: Vec::new(), next: None })),
    ] {
        comes_back(&command, &empty);
    }
}

#[test]
fn what_lacks_its_secret_is_no_answer_to_a_command_that_makes_one() {
    let new_token = Command::TokenCreate(NewToken { name: "ci".parse().unwrap(), expires_at: None });
    let plain = encode(&Reply::Token(token(Actor::Ember, None))).unwrap();
    assert!(decode(&new_token, plain.as_bytes()).is_err());
    let session = ticket(TicketKind::Session);
    let other = plain
        .replace("\"expires_at\":null", &format!("\"expires_at\":null,\"token\":\"{}\"", session.expose()));
    let error = decode(&new_token, other.as_bytes()).err().unwrap();
    assert!(!error.detail.contains(session.expose()), "{error}");
    let invite = encode(&Reply::Invite(invite(Actor::Ember))).unwrap();
    let new_invite = NewInvite {
        email: "bo@example.com".parse().unwrap(),
        role: Role::Member,
        lifetime: std::time::Duration::from_secs(60),
    };
    assert!(decode(&Command::InviteCreate(new_invite), invite.as_bytes()).is_err());
}
