//! The door and its client against each other over a real socket.

mod openapi;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use crate::admin::{
    AdminError, Command, ModelView, Record, Reloaded, Reply, Running, ServerStatus, UpstreamAsk, UsageAsk,
};
use crate::meter::Meter;
use crate::registry::{
    AccountChanges, AuditFilter, KeyChanges, KeyFilter, NewAccount, NewInvite, NewKey, NewToken, PAGE_MAX,
    Problem, Registry, Rotation,
};
use crate::store::MemoryStore;
use crate::types::{
    AddressScope, Clock, Environment, EventId, InviteId, Key, KeyId, Limit, LimitKind, Limits, ModelScope,
    Policy, PolicyChanges, Random, RandomUnavailable, Role, RouteName, RouteScope, Secret, SessionId,
    Timestamp, Tokens, TrailHead, Weight, network,
};

use super::route::{Found, call, command, find};
use super::{AdminDoor, Client, ClientError, serve_connection};

struct Noon;
impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000)
    }
}

/// A second later each time.
struct Ticking(std::sync::atomic::AtomicI64);
impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        let seconds = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Timestamp::from_millis(Noon.now().as_millis() + seconds * 1000)
    }
}

struct Counting(std::sync::atomic::AtomicU64);
impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        for byte in bytes {
            let step = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            *byte = (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        }
        Ok(())
    }
}

fn random() -> Counting {
    Counting(1.into())
}

fn key() -> Key {
    Key::generate(Environment::Prod, &random()).unwrap()
}

fn key_id() -> KeyId {
    KeyId::generate(Noon.now(), &random()).unwrap()
}

fn new_account() -> NewAccount {
    NewAccount {
        email: "ana+x@example.com".parse().unwrap(),
        name: Some("Ana M".parse().unwrap()),
        role: Role::Admin,
        password: Some(Secret::new("a long password".to_string())),
    }
}

/// One of each sort.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.set(LimitKind::TokensPerMonth, Limit::max(5_000_000).unwrap());
    limits.set(LimitKind::RequestsPerDay, Limit::Unlimited);
    limits
}

fn policy_changes() -> PolicyChanges {
    PolicyChanges {
        models: Some(ModelScope::All),
        routes: Some(RouteScope::Only([RouteName::ChatCompletions].into())),
        addresses: Some(AddressScope::Only([network("10.0.0.0/8").unwrap()].into())),
        limits: vec![
            (LimitKind::RequestsPerMinute, Limit::Default),
            (LimitKind::TokensTotal, Limit::max(9).unwrap()),
        ],
    }
}

fn new_key(models: ModelScope) -> NewKey {
    let name = "my app/1".parse().unwrap();
    NewKey {
        policy: Policy { limits: limits(), ..models.into() },
        allow_browser: true,
        weight: Weight::new(3).unwrap(),
        expires_at: Some(Timestamp::from_millis(1_900_000_000_123)),
        ..NewKey::new("ana+x@example.com", name, Environment::Staging)
    }
}

/// Those about people, the server and its history.
fn of_people(account: &str, key_text: &str) -> Vec<Command> {
    let (account, key_text) = (account.to_string(), key_text.to_string());
    vec![
        Command::AccountUpdate {
            account: account.clone(),
            changes: AccountChanges { name: Some("Ana".parse().ok()), policy: policy_changes() },
        },
        Command::AccountUpdate {
            account: account.clone(),
            changes: AccountChanges { name: Some(None), ..AccountChanges::default() },
        },
        Command::AccountReset { account: account.clone() },
        Command::InviteCreate(NewInvite {
            email: "bob@example.com".parse().unwrap(),
            role: Role::Admin,
            lifetime: Duration::from_secs(60),
        }),
        Command::InviteList,
        Command::InviteRevoke { invite: InviteId::generate(Noon.now(), &random()).unwrap() },
        Command::SessionList { account: account.clone() },
        Command::SessionsEnd { account: account.clone(), keep: None },
        Command::SessionsEnd {
            account: account.clone(),
            keep: Some(SessionId::generate(Noon.now(), &random()).unwrap()),
        },
        Command::SessionEnd { session: SessionId::generate(Noon.now(), &random()).unwrap() },
        Command::TokenCreate(NewToken { name: "ci".parse().unwrap(), expires_at: Some(Noon.now()) }),
        Command::TokenList,
        Command::TokenRevoke { token: key_text.clone() },
        Command::AuditList { filter: AuditFilter::default(), before: None, limit: 1 },
        Command::AuditList {
            filter: AuditFilter { action: Some("key".to_string()), search: Some("a=b".to_string()) },
            before: Some(EventId::generate(Noon.now(), &random()).unwrap()),
            limit: PAGE_MAX,
        },
        Command::AuditNews { filter: AuditFilter::default(), after: None, limit: 1 },
        Command::AuditNews {
            filter: AuditFilter { action: Some("key".to_string()), search: Some("a=b".to_string()) },
            after: Some(u64::MAX),
            limit: PAGE_MAX,
        },
        Command::AuditVerify { noted: None, after: None },
        Command::AuditVerify {
            noted: Some(TrailHead { sequence: 3, hash: [0xab; 32] }),
            after: Some(
                format!("1.9.{}.2:{}", EventId::generate(Noon.now(), &random()).unwrap(), "0".repeat(64))
                    .parse()
                    .unwrap(),
            ),
        },
        Command::Models,
        Command::Upstream(UpstreamAsk::List),
        Command::Upstream(UpstreamAsk::Drain { upstream: key_text.clone() }),
        Command::Upstream(UpstreamAsk::Undrain { upstream: key_text.clone() }),
        Command::Upstream(UpstreamAsk::Test { upstream: key_text.clone(), model: None, stream: false }),
        Command::Upstream(UpstreamAsk::Test {
            upstream: key_text.clone(),
            model: Some("org/\u{e9}".parse().unwrap()),
            stream: true,
        }),
    ]
}

/// What is asked about use.
fn about_usage() -> Vec<Command> {
    let (account, key_text) = ("ana+x@example.com".to_string(), "a/b c?d&é%".to_string());
    vec![
        Command::Usage { account: None },
        Command::Usage { account: Some(account.clone()) },
        Command::UsageReport(UsageAsk::default()),
        Command::UsageReport(UsageAsk {
            account: Some(account),
            key: Some(key_text),
            since: Some(Noon.now()),
            until: Some(Timestamp::from_millis(1_900_000_000_123)),
            group: Some(crate::meter::Group::Upstream),
            step: Some(crate::meter::Step::Hour),
        }),
        Command::UsageVerify,
    ]
}

/// Every command there is, with awkward values.
fn key_changes(two: &ModelScope) -> [KeyChanges; 3] {
    [
        KeyChanges::default(),
        KeyChanges {
            name: Some("n".parse().unwrap()),
            expires_at: Some(None),
            policy: policy_changes(),
            allow_browser: Some(true),
            weight: Some(Weight::new(100).unwrap()),
        },
        KeyChanges {
            policy: two.clone().into(),
            expires_at: Some(Some(Noon.now())),
            ..KeyChanges::default()
        },
    ]
}

fn all() -> Vec<Command> {
    let (account, key_text) = (|| "ana+x@example.com".to_string(), || "a/b c?d&é%".to_string());
    let two = ModelScope::Only(["org/a".parse().unwrap(), "b".parse().unwrap()].into());
    let changes = key_changes(&two);
    let filter = KeyFilter {
        account: Some(account()),
        environment: Some(Environment::Prod),
        status: Some(crate::types::KeyStatus::Expired),
        search: Some("a&b".to_string()),
        newest_first: true,
    };
    let mut commands = vec![
        Command::AccountCreate(new_account()),
        Command::AccountCreate(NewAccount {
            name: None,
            role: Role::Member,
            password: None,
            ..new_account()
        }),
        Command::AccountList { after: None, limit: 1 },
        Command::AccountShow { account: account() },
        Command::AccountDisable { account: account() },
        Command::AccountEnable { account: account() },
        Command::AccountDelete { account: account() },
        Command::AccountPassword {
            account: account(),
            password: Secret::new("p\"\u{e9}".to_string()),
            current: None,
        },
        Command::AccountPassword {
            account: account(),
            password: Secret::new("new".to_string()),
            current: Some(Secret::new("old".to_string())),
        },
        Command::KeyCreate(new_key(ModelScope::All)),
        Command::KeyCreate(new_key(two)),
        Command::KeyList { filter: KeyFilter::default(), unused: None, after: None, limit: PAGE_MAX },
        Command::KeyList { filter, unused: Some(Duration::from_secs(60)), after: Some(key_id()), limit: 7 },
        Command::KeyShow { key: key_text() },
        Command::KeyDisable { key: key_text() },
        Command::KeyEnable { key: key_text() },
        Command::KeyRevoke { key: key_text(), reason: None },
        Command::KeyRevokeAll { account: "ana+x@example.com".to_string(), environment: None, reason: None },
        Command::KeyRevokeAll {
            account: "ana+x@example.com".to_string(),
            environment: Some(crate::types::Environment::Staging),
            reason: Some("moved".to_string()),
        },
        Command::KeyRevoke { key: key_text(), reason: Some("lost".to_string()) },
        Command::KeyRotate { key: key_text(), rotation: Rotation::Now },
        Command::KeyRotate { key: key_text(), rotation: Rotation::Grace(Duration::from_secs(90)) },
        Command::KeyVerify { key: key() },
        Command::Reload,
        Command::Status,
    ];
    commands.extend(of_people(&account(), &key_text()));
    commands.extend(about_usage());
    commands.extend(changes.map(|changes| Command::KeyUpdate { key: key_text(), changes }));
    commands
}

#[test]
fn every_command_survives_the_way_to_the_server() {
    for asked in all() {
        let sent = call(&asked).unwrap();
        let uri: http::Uri = sent.target.parse().unwrap();
        let Found::Row(row, subject) = find(&sent.method, uri.path()) else {
            panic!("{} {} leads nowhere", sent.method, sent.target);
        };
        let body = sent.body.clone().unwrap_or_default();
        let read = command(row, subject, uri.query().unwrap_or_default(), &body).unwrap().unwrap();
        let again = call(&read).unwrap();
        assert_eq!((&sent.method, &sent.target, &sent.body), (&again.method, &again.target, &again.body));
        assert_eq!(std::mem::discriminant(&asked), std::mem::discriminant(&read), "{}", sent.target);
    }
}

#[test]
fn what_is_not_asked_properly_is_refused_with_its_name() {
    let refused = |method: &str, target: &str, body: &str| {
        let (uri, method): (http::Uri, http::Method) = (target.parse().unwrap(), method.parse().unwrap());
        let Found::Row(row, subject) = find(&method, uri.path()) else { panic!("{target}") };
        let read = command(row, subject, uri.query().unwrap_or_default(), body.as_bytes());
        read.err().unwrap_or_else(|| panic!("{method} {target} {body} was accepted")).detail
    };
    for (method, target, body, word) in [
        ("GET", "/admin/v1/keys?limit=0", "", "1 to 1000"),
        ("GET", "/admin/v1/keys?limit=1001", "", "1 to 1000"),
        ("GET", "/admin/v1/keys?colour=red", "", "colour"),
        ("GET", "/admin/v1/keys?limit=1&limit=2", "", "twice"),
        ("GET", "/admin/v1/keys?status=dead", "", "status"),
        ("GET", "/admin/v1/keys?environment=test", "", "environment"),
        ("POST", "/admin/v1/keys", "{}", "missing field"),
        ("PATCH", "/admin/v1/accounts/a@b.c", "[null,null]", "no JSON object"),
        ("PATCH", "/admin/v1/keys/k", " [\"n\"]", "no JSON object"),
        (
            "POST",
            "/admin/v1/keys",
            r#"{"account":"a@b.c","name":"n","environment":"dev","colour":1}"#,
            "colour",
        ),
        ("POST", "/admin/v1/accounts", r#"{"email":"nobody"}"#, "no @"),
        ("POST", "/admin/v1/accounts", r#"{"email":"a@b.c","role":"king"}"#, "role"),
        ("POST", "/admin/v1/keys/k/rotate", "{}", "grace_seconds"),
        ("POST", "/admin/v1/keys/k/rotate", r#"{"now":true,"grace_seconds":1}"#, "either"),
        ("POST", "/admin/v1/keys/verify", r#"{"key":"hunter2"}"#, "not an Ember key"),
    ] {
        let sentence = refused(method, target, body);
        assert!(sentence.contains(word) && !sentence.contains("hunter2"), "{target} {body}: {sentence}");
    }
    assert!(matches!(find(&http::Method::PUT, "/admin/v1/keys"), Found::OtherMethods(_)));
    for path in ["/admin/v1", "/admin/v1/keys/k/", "/admin/v1/../v1/keys", "/admin/v1/keys/%zz"] {
        assert!(matches!(find(&http::Method::GET, path), Found::Nothing), "{path}");
    }
}

/// A door on a socket of its own, open until the folder is dropped.
struct Seventh;
impl Running for Seventh {
    fn status(&self) -> ServerStatus {
        ServerStatus {
            version: super::VERSION.to_string(),
            pid: 7,
            started_at: Noon.now(),
            listen: vec!["http://127.0.0.1:7411".to_string()],
            upstreams: Vec::new(),
            requests: 3,
            tokens: Tokens { prompt: 1, completion: 2, cached: 0 },
            in_flight: 4,
            waiting: 1,
            connections: 6,
            errors: [("invalid_api_key".to_string(), 3)].into(),
        }
    }

    fn models(&self) -> Vec<ModelView> {
        Vec::new()
    }

    fn drain(&self, _: &str, _: bool) -> Option<crate::admin::UpstreamStatus> {
        None
    }

    fn test(
        &self,
        _: &str,
        _: Option<&crate::types::ModelId>,
        _: bool,
    ) -> Result<Option<crate::admin::UpstreamTest>, AdminError> {
        Ok(None)
    }

    fn reload(&self, record: Record<'_>) -> Result<Reloaded, AdminError> {
        let reloaded = Reloaded::default();
        record(&reloaded).map(|()| reloaded)
    }
}

fn open_door(backup: &'static [u8]) -> (tempfile::TempDir, Arc<Registry>) {
    let store = Arc::new(MemoryStore::new());
    let meter = Arc::new(Meter::new(Arc::new(Noon), store.clone()));
    let registry = Arc::new(Registry::new(store, Arc::new(Ticking(0.into())), Arc::new(random()), None));
    let snapshot = move || {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(backup).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        Ok(file)
    };
    let door = AdminDoor::new(
        Arc::clone(&registry),
        meter,
        Arc::new(Noon),
        Arc::new(Seventh),
        Box::new(snapshot),
        "http://127.0.0.1:7411".to_string(),
    );
    let (door, folder) = (Arc::new(door), tempfile::tempdir().unwrap());
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_connection(stream, Arc::clone(&door)));
            }
        });
    });
    (folder, registry)
}

fn connect(folder: &tempfile::TempDir) -> UnixStream {
    UnixStream::connect(folder.path().join("s")).unwrap()
}

fn raw(folder: &tempfile::TempDir, request: &str) -> String {
    let mut stream = connect(folder);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_key_is_issued_verified_and_revoked_over_the_socket() {
    let (folder, _) = open_door(b"");
    let ask = |command: Command| Client::new(connect(&folder)).ask(&command);
    ask(Command::AccountCreate(new_account())).unwrap();
    let Ok(Reply::Issued { key, secret }) = ask(Command::KeyCreate(new_key(ModelScope::All))) else {
        panic!("no key")
    };
    let verify = || ask(Command::KeyVerify { key: Key::parse(secret.expose().as_bytes()).unwrap() });
    assert!(matches!(verify(), Ok(Reply::Verdict(verdict)) if verdict.stop.is_none() && verdict.key == key));
    ask(Command::KeyRevoke { key: "my app/1".to_string(), reason: Some("lost".to_string()) }).unwrap();
    assert!(matches!(verify(), Ok(Reply::Verdict(verdict)) if verdict.stop.is_some()));
    let Ok(Reply::KeyDetail(detail)) = ask(Command::KeyShow { key: key.id.to_string() }) else { panic!() };
    let uid = rustix::process::geteuid().as_raw();
    let told: Vec<_> = detail.history.iter().map(|line| (line.action.as_str(), line.actor.clone())).collect();
    assert_eq!(told, [("key.created", format!("uid:{uid}")), ("key.revoked", format!("uid:{uid}"))]);
    let refused = ask(Command::KeyShow { key: "nobody".to_string() });
    assert!(matches!(refused, Err(ClientError::Refused(error)) if error.problem == Problem::NotFound));
    assert!(
        matches!(ask(Command::Status), Ok(Reply::Status(status)) if status.server.as_ref().is_some_and(|one| one.pid == 7))
    );
}

#[test]
fn a_backup_comes_whole() {
    let content: &'static [u8] = Box::leak(vec![7; 3 * 1024 * 1024 + 5].into_boxed_slice());
    let (folder, _) = open_door(content);
    let mut out = Vec::new();
    assert_eq!(Client::new(connect(&folder)).backup(&mut out).unwrap(), content.len() as u64);
    assert!(out == content);
}

#[test]
fn versions_must_be_the_same_and_a_person_with_curl_need_not_tell_his() {
    let (folder, _) = open_door(b"");
    let answer = raw(&folder, "GET /admin/v1/status HTTP/1.1\r\nhost: ember\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("ember-version: "), "{answer}");
    let answer = raw(&folder, "GET /admin/v1/status HTTP/1.1\r\nhost: ember\r\nember-version: 9.9.9\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("\"code\":\"other_version\""), "{answer}");
}

#[test]
fn a_server_of_another_version_is_told_to_the_one_who_asks() {
    let (mine, mut theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut head = [0; 1024];
        let _ = theirs.read(&mut head).unwrap();
        theirs.write_all(b"HTTP/1.1 426 x\r\nember-version: 9.9.9\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    });
    let answer = Client::new(mine).ask(&Command::Status);
    assert!(matches!(answer, Err(ClientError::OtherVersion(version)) if version.contains("9.9.9")));
    server.join().unwrap();
}

#[test]
fn a_server_that_hangs_up_gives_no_answer() {
    let (mine, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(matches!(Client::new(mine).ask(&Command::Status), Err(ClientError::NoAnswer(_))));
}

#[test]
fn refusals_are_problems_with_their_status() {
    let (folder, _) = open_door(b"");
    let big = format!("POST /admin/v1/keys HTTP/1.1\r\nhost: ember\r\ncontent-length: {}\r\n\r\n", 2 << 20);
    for (request, status, code) in [
        ("GET /v1/models HTTP/1.1\r\nhost: e\r\n\r\n", "404 ", "unknown_path"),
        ("PUT /admin/v1/keys HTTP/1.1\r\nhost: e\r\n\r\n", "405 ", "unknown_method"),
        ("GET /admin/v1/keys/x HTTP/1.1\r\nhost: e\r\n\r\n", "404 ", "not_found"),
        ("GET /admin/v1/keys?x=1 HTTP/1.1\r\nhost: e\r\n\r\n", "400 ", "invalid"),
        (&big, "413 ", "body_refused"),
    ] {
        let answer = raw(&folder, request);
        assert!(answer.contains(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
}
