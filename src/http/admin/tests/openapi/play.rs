//! Every command there is, carried out, and what it is answered with.

use serde_json::Value;

use super::super::super::route::Operation;
use super::super::*;
use super::ROOT;
use crate::admin::{
    AdminError, Desk, ModelServer, Record, Reloaded, UpstreamAsk, UpstreamState, UpstreamStatus,
    UpstreamStep, UpstreamTest, UsageAsk, run, wire,
};
use crate::meter::{Course, Group, Step, Use};
use crate::types::{ModelId, Place, Prices, SessionId, SignUp, TrailHead};

/// A server with models behind it.
struct Busy;

fn local() -> UpstreamStatus {
    UpstreamStatus {
        name: "local".to_string(),
        address: "127.0.0.1:8000".to_string(),
        state: UpstreamState::Down,
        since: Some(Noon.now()),
        models: 1,
        in_flight: 2,
        waiting: 3,
        priority: 0,
        weight: 1,
        latency: Some(Duration::from_micros(1234)),
        detail: "it does not answer".to_string(),
    }
}

impl Running for Busy {
    fn status(&self) -> ServerStatus {
        ServerStatus { upstreams: vec![local()], ..Seventh.status() }
    }

    fn models(&self) -> Vec<ModelView> {
        let (name, model) = ("local".to_string(), "org/a".to_string());
        let server = ModelServer { name, model, state: UpstreamState::Open };
        vec![ModelView { name: "a".to_string(), servers: vec![server] }]
    }

    fn drain(&self, name: &str, drained: bool) -> Option<UpstreamStatus> {
        let state = if drained { UpstreamState::Draining } else { UpstreamState::Up };
        (name == "local").then(|| UpstreamStatus { state, since: None, latency: None, ..local() })
    }

    fn test(
        &self,
        name: &str,
        model: Option<&ModelId>,
        stream: bool,
    ) -> Result<Option<UpstreamTest>, AdminError> {
        let step = |name: &str, ok| UpstreamStep {
            name: name.to_string(),
            ok,
            took: Duration::from_micros(1234),
            detail: "3 models".to_string(),
        };
        let mut steps = vec![step("connect", true)];
        steps.extend(model.map(|_| step("answer", !stream)));
        Ok((name == "local").then(|| UpstreamTest { name: name.to_string(), steps }))
    }

    fn reload(&self, record: Record<'_>) -> Result<Reloaded, AdminError> {
        let reloaded = Reloaded {
            file: Some("/etc/ember/ember.toml".to_string()),
            changed: vec!["upstream.local.url".to_string()],
            restart: vec!["server.listen".to_string()],
            warnings: vec!["a variable has no effect".to_string()],
        };
        record(&reloaded).map(|()| reloaded)
    }
}

/// Every command there is, in an order in which each one works, with the answers of a real registry.
struct Play {
    registry: Registry,
    meter: Meter,
}

impl Play {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let meter = Meter::new(Arc::new(Noon), store.clone());
        let registry = Registry::new(store, Arc::new(Ticking(0.into())), Arc::new(random()), None);
        let rules = crate::registry::Rules { sign_up: SignUp::Invite, ..crate::registry::Rules::default() };
        Self { registry: registry.with_rules(rules), meter }
    }

    /// What is answered, as it is sent.
    fn ask(&self, command: &Command, has_server: bool) -> Value {
        let server: Option<&dyn Running> = if has_server { Some(&Busy) } else { None };
        let base_url = "https://ember.example.com";
        let (registry, meter, prices) = (&self.registry, &self.meter, &Prices::default());
        let desk = Desk { registry, meter, clock: &Noon, server, base_url, prices };
        let reply = run(&desk, ROOT, command).unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&wire::encode(&reply).unwrap()).unwrap()
    }

    /// A request with a key and one with nobody's.
    fn count(&self, key: &Value) {
        let id = |member: &str| key[member].as_str().unwrap().to_string();
        let used = Use {
            key: id("id").parse().unwrap(),
            account: id("account_id").parse().unwrap(),
            model: Some("a".into()),
            upstream: None,
            tokens: None,
            ending: crate::types::Ending::Done,
            course: Course::default(),
        };
        self.meter.record(used);
    }

    fn sign_in(&self) -> SessionId {
        let place = Place::new("2001:db8::7".parse().unwrap(), "Firefox");
        let password = Secret::new("a long password".to_string());
        self.registry.sign_in("ana+x@example.com", &password, &place).unwrap().session.id
    }
}

/// The commands up to what takes a key or an account away.
fn first_act(session: SessionId) -> Vec<Command> {
    let (account, key) = (|| "ana+x@example.com".to_string(), || "my app/1".to_string());
    let two = ModelScope::Only(["org/a".parse().unwrap(), "b".parse().unwrap()].into());
    let invite = || NewInvite {
        email: "bob@example.com".parse().unwrap(),
        role: Role::Member,
        lifetime: Duration::from_secs(60),
    };
    let token = |expires_at| NewToken { name: "ci".parse().unwrap(), expires_at };
    vec![
        Command::KeyCreate(new_key(two.clone())),
        Command::KeyCreate(NewKey {
            name: "open".parse().unwrap(),
            expires_at: None,
            ..new_key(ModelScope::All)
        }),
        Command::KeyShow { key: key() },
        Command::KeyRotate { key: key(), rotation: Rotation::Grace(Duration::from_secs(90)) },
        Command::KeyUpdate { key: key(), changes: KeyChanges::default() },
        Command::KeyList { filter: KeyFilter::default(), unused: None, after: None, limit: 1 },
        Command::KeyDisable { key: key() },
        Command::KeyEnable { key: key() },
        Command::KeyRevoke { key: key(), reason: Some("lost".to_string()) },
        Command::KeyShow { key: key() },
        Command::KeyRevokeAll {
            account: account(),
            environment: Some(crate::types::Environment::Dev),
            reason: None,
        },
        Command::AccountShow { account: account() },
        Command::AccountList { after: None, limit: 1 },
        Command::AccountUpdate {
            account: account(),
            changes: AccountChanges { name: Some(None), policy: two.clone().into() },
        },
        Command::AccountReset { account: account() },
        Command::SessionList { account: account() },
        Command::SessionEnd { session },
        Command::SessionsEnd { account: account(), keep: None },
        Command::InviteCreate(invite()),
        Command::InviteList,
        Command::TokenCreate(token(None)),
        Command::TokenList,
        Command::TokenRevoke { token: "ci".to_string() },
        Command::TokenCreate(token(Some(Timestamp::from_millis(1_900_000_000_123)))),
        Command::AuditList { filter: AuditFilter::default(), before: None, limit: 100 },
        Command::AuditNews { filter: AuditFilter::default(), after: Some(0), limit: 100 },
        Command::AuditVerify { noted: None, after: None },
        Command::AuditVerify { noted: Some(TrailHead { sequence: 999, hash: [1; 32] }), after: None },
        Command::Models,
        Command::Usage { account: None },
        Command::UsageReport(UsageAsk {
            group: Some(Group::Key),
            step: Some(Step::Day),
            ..UsageAsk::default()
        }),
        Command::UsageVerify,
        Command::Reload,
        Command::Status,
    ]
}

fn about_upstreams() -> Vec<Command> {
    let upstream = || "local".to_string();
    let asks = [
        UpstreamAsk::List,
        UpstreamAsk::Drain { upstream: upstream() },
        UpstreamAsk::Undrain { upstream: upstream() },
        UpstreamAsk::Test { upstream: upstream(), model: None, stream: false },
        UpstreamAsk::Test { upstream: upstream(), model: Some("org/a".parse().unwrap()), stream: true },
    ];
    asks.into_iter().map(Command::Upstream).collect()
}

/// Every answer, with the row of its command.
pub(super) fn answers() -> Vec<(Operation, Value)> {
    let (play, mut answers) = (Play::new(), Vec::new());
    let mut ask = |command: &Command, has_server| {
        let call = call(command).unwrap();
        let uri: http::Uri = call.target.parse().unwrap();
        let Found::Row(row, _) = find(&call.method, uri.path()) else { panic!("{}", call.target) };
        let answer = play.ask(command, has_server);
        answers.push((row.operation, answer.clone()));
        answer
    };
    let nothing = [
        Command::AccountList { after: None, limit: 1 },
        Command::KeyList { filter: KeyFilter::default(), unused: None, after: None, limit: 1 },
        Command::InviteList,
        Command::TokenList,
        Command::AuditList { filter: AuditFilter::default(), before: None, limit: 1 },
        Command::Models,
        Command::Status,
    ];
    nothing.iter().for_each(|command| drop(ask(command, false)));
    ask(&Command::AccountCreate(new_account()), true);
    let session = play.sign_in();
    for command in first_act(session).into_iter().chain(about_upstreams()) {
        let answer = ask(&command, true);
        if matches!(command, Command::KeyCreate(_)) {
            play.count(&answer);
        }
    }
    let (open, key) = ("open".to_string(), play.registry.key(ROOT, "open").unwrap().id);
    let grace = Rotation::Grace(Duration::from_secs(90));
    ask(&Command::KeyRotate { key: open.clone(), rotation: grace }, true);
    for agent in ["OpenAI/Python 1.99.9", "curl/8.5.0", "node"] {
        let address = "192.0.2.7".parse().unwrap();
        play.meter.traces().see(key, address, agent.as_bytes(), Noon.now(), true);
    }
    play.meter.traces().refuse_browser(key, b"https://app.example.com", Noon.now());
    ask(&Command::KeyShow { key: open }, true);
    let rotated = ask(&Command::KeyRotate { key: "open".to_string(), rotation: Rotation::Now }, true);
    let verify = || {
        let key = Key::parse(rotated["key"].as_str().unwrap().as_bytes()).unwrap();
        Command::KeyVerify { key }
    };
    ask(&verify(), true);
    let account = "ana+x@example.com".to_string();
    let password = Secret::new("another password".to_string());
    let invites = play.registry.invites(ROOT).unwrap();
    for command in [
        Command::AccountPassword { account: account.clone(), password, current: None },
        Command::AccountDisable { account: account.clone() },
        verify(),
        Command::AccountEnable { account: account.clone() },
        Command::AccountDelete { account },
        verify(),
        Command::InviteRevoke { invite: invites[0].id },
    ] {
        ask(&command, true);
    }
    answers
}
