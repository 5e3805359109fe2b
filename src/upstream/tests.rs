//! The relay against model servers made of scripted sockets.

mod catalogue;
mod checkout;
mod echo_model;
mod endings;
mod failures;
mod replace;
mod wire;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::body::RequestFacts;
use super::*;
use crate::gate::{
    About, Asking, EndMet, Gate, Grant, GrantStanding, KeySource, LimitLedger, Limiter, Owner, Pass,
    SourceTrouble,
};
use crate::meter::Meter;
use crate::meter::{Holder, Used};
use crate::registry::{Denial, DenialReason, DenialTarget, Door};
use crate::store::MemoryStore;
use crate::types::{
    AccountId, Bounds, Environment, Key, KeyDigest, KeyId, ModelId, Random, RandomUnavailable, Secret,
    Stopwatch, Timestamp, Weight,
};

const SERVER_KEY: &str = "sk-upstream/0123456789";
const CALLER_KEY: &str = "Bearer ember_dev_callers";
/// Nothing here waits that long unless it is broken.
const SOON: Duration = Duration::from_secs(5);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
}

impl Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(place % 60).unwrap();
        }
        Ok(())
    }
}

fn dice() -> Arc<dyn Random> {
    Arc::new(Fixed)
}

/// A gate with one key.
struct Door1 {
    gate: Gate,
    meter: Arc<Meter>,
    key: Key,
    id: KeyId,
}

struct OneGrant(Grant);

impl KeySource for OneGrant {
    fn find<'a>(
        &'a self,
        _: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>> {
        Box::pin(async { Ok(Some(self.0.clone())) })
    }

    fn end_met(&self, _: EndMet) {}
}

/// Nobody has limits here.
impl LimitLedger for Fixed {
    fn read(
        &self,
        _: Holder,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Used>, SourceTrouble>> + Send + '_>> {
        Box::pin(async { Ok(None) })
    }

    fn write(
        &self,
        _: Vec<(Holder, Used)>,
    ) -> Pin<Box<dyn Future<Output = Result<(), SourceTrouble>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}

impl Stopwatch for Fixed {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

impl Door1 {
    fn new() -> Self {
        let id = KeyId::generate(Fixed.now(), &Fixed).unwrap();
        let grant = Grant {
            key: id,
            about: Arc::new(About {
                name: "ci".parse().unwrap(),
                environment: Environment::Dev,
                created_at: Fixed.now(),
                hint: None,
            }),
            account: AccountId::generate(Fixed.now(), &Fixed).unwrap(),
            policy: Arc::default(),
            models: ModelScope::All,
            allow_browser: false,
            weight: Weight::default(),
            standing: GrantStanding::Active,
            expires_at: None,
            expiry_met: false,
            replaced_at: None,
            owner: Owner { is_active: true, ..Owner::default() },
        };
        let meter = Arc::new(Meter::new(Arc::new(Fixed), Arc::new(MemoryStore::new())));
        let limiter = Limiter::new(Arc::new(Fixed), Arc::new(Fixed), Bounds::default(), Bounds::default());
        let gate = Gate::new(Arc::new(OneGrant(grant)), Arc::clone(&meter), Arc::new(limiter), 4);
        Self { gate, meter, key: Key::generate(Environment::Dev, &Fixed).unwrap(), id }
    }

    async fn pass(&self, model: &str) -> Pass {
        let bearer = self.key.expose().as_bytes();
        let caller = self.gate.identify(Some(bearer), Fixed.now()).await.ok().unwrap();
        let asking = Asking { model: id(model), tokens: 10 };
        self.gate.admit(caller, asking, Fixed.now()).await.ok().unwrap()
    }

    fn revoke(&self) {
        self.gate.deny(Denial { target: DenialTarget::Key(self.id), because: DenialReason::Revoked });
    }
}

fn id(model: &str) -> ModelId {
    model.parse().unwrap()
}

/// A model server whose every byte is the test's.
struct Model(TcpListener);

impl Model {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn settings(&self) -> ServerSettings {
        settings("one", self.port())
    }

    async fn accept(&self) -> Peer {
        Peer(in_time(self.0.accept()).await.unwrap().0)
    }

    /// Takes one connection, reads one request, answers and hangs up.
    async fn answer(&self, answer: impl AsRef<str>) -> String {
        let mut peer = self.accept().await;
        let request = peer.request().await;
        peer.say(answer.as_ref()).await;
        request
    }

    /// Whether someone stands at the door.
    async fn is_asked_again(&self) -> bool {
        let accepted = poll_fn(|cx| std::task::Poll::Ready(self.0.poll_accept(cx).is_ready()));
        tokio::task::yield_now().await;
        accepted.await
    }
}

/// A connection, seen from the model server.
struct Peer(TcpStream);

impl Peer {
    /// The next request, head and body.
    async fn request(&mut self) -> String {
        let mut bytes = Vec::new();
        loop {
            let mut more = [0; 4096];
            let count = in_time(self.0.read(&mut more)).await.unwrap();
            assert!(count > 0, "hung up after {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&more[..count]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text.into_owned();
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// One chunk of a chunked answer.
    async fn chunk(&mut self, text: &str) {
        self.say(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    /// Returns when the other side has hung up.
    async fn is_left(&mut self) {
        let mut more = [0; 64];
        loop {
            match in_time(self.0.read(&mut more)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Ends the connection with a reset.
    fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this should have come long ago")
}

fn settings(name: &str, port: u16) -> ServerSettings {
    ServerSettings {
        name: name.to_string(),
        address: Address::Tcp { host: "127.0.0.1".to_string(), port },
        prefix: String::new(),
        models: vec![id("real")],
        aliases: BTreeMap::from([(id("alias"), id("real"))]),
        api_key: Some(Secret::new(SERVER_KEY.to_string())),
        connect_timeout: SOON,
        first_byte_timeout: SOON,
        idle_timeout: SOON,
        total_timeout: SOON,
        priority: 0,
        weight: 1,
        health_path: None,
        health_interval: None,
        in_flight_max: 8,
        queue_max: 0,
        queue_timeout: SOON,
        metadata: BTreeMap::new(),
    }
}

/// A port that nobody listens on.
async fn closed_port() -> u16 {
    Model::start().await.port()
}

/// An answer, and what is reported of its request.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: super::Back,
    body: RelayBody,
    report: ReportHandle,
}

impl Reply {
    fn is_stream(&self) -> bool {
        self.headers.media_type.as_ref().is_some_and(|kind| kind == "text/event-stream")
    }
}

/// A request without an answer, and what is reported of it.
#[derive(Debug)]
struct Refused {
    fault: RelayFault,
    report: ReportHandle,
}

/// A door, the servers behind it and how requests are made.
struct Relay {
    door: Door1,
    upstreams: Arc<Upstreams>,
}

impl Relay {
    fn to(servers: Vec<ServerSettings>) -> Self {
        let upstreams = Upstreams::new(servers, None, Duration::from_secs(60), &Fixed, &dice()).unwrap();
        Self { door: Door1::new(), upstreams }
    }

    async fn send(&self, request: RelayRequest) -> Result<Reply, Refused> {
        let pass = self.door.pass(request.facts.model.as_str()).await;
        let report = request.report.clone();
        match in_time(self.upstreams.relay(pass, request)).await {
            Ok(super::Reply { status, headers, body }) => Ok(Reply { status, headers, body, report }),
            Err(fault) => Err(Refused { fault, report }),
        }
    }

    async fn ask(&self, body: &str) -> Result<Reply, Refused> {
        self.send(request(body)).await
    }

    fn in_flight(&self) -> usize {
        self.upstreams.health().iter().map(|server| server.in_flight).sum()
    }

    /// What must hold after every request, however it ended.
    fn is_settled(&self, requests: u64) {
        assert_eq!(self.in_flight(), 0, "a slot is stuck");
        assert_eq!(self.door.meter.totals().requests, requests);
    }
}

fn request(body: &str) -> RelayRequest {
    RelayRequest {
        endpoint: Endpoint::ChatCompletions,
        headers: HeaderMap::new(),
        request_id: HeaderValue::from_static("req_1"),
        body: Bytes::copy_from_slice(body.as_bytes()),
        facts: RequestFacts::read(body.as_bytes()).unwrap(),
        stop: stops(std::future::pending()),
        keepalive_after: SOON,
        report: ReportHandle::default(),
    }
}

const ASK: &str = r#"{"model":"real","messages":[]}"#;
const ASK_STREAM: &str = r#"{"model":"real","stream":true,"stream_options":{"include_usage":true}}"#;
const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const END: &str = "data: [DONE]\n\n";

fn json_answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The next bytes of a body.
async fn next(body: &mut RelayBody) -> Option<Result<Bytes, Broken>> {
    let frame = in_time(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

/// All of a body, and how it broke.
async fn all(mut body: RelayBody) -> (String, Option<Broken>) {
    let mut bytes = Vec::new();
    while let Some(chunk) = next(&mut body).await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(broken) => return (String::from_utf8(bytes).unwrap(), Some(broken)),
        }
    }
    (String::from_utf8(bytes).unwrap(), None)
}

/// The source of one signal.
struct Once(std::sync::Mutex<Option<StopSignal>>);

impl StopSource for Once {
    fn stopped(self: Arc<Self>) -> StopSignal {
        self.0.lock().unwrap().take().unwrap()
    }
}

pub(super) fn stops(signal: impl Future<Output = ()> + Send + 'static) -> Arc<dyn StopSource> {
    Arc::new(Once(std::sync::Mutex::new(Some(Box::pin(signal)))))
}

/// The signal of a key that stands.
pub(super) async fn never_cut() -> crate::gate::CutSignal {
    Door1::new().pass("real").await.caller().cut()
}
