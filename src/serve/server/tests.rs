//! A server in this process of which one handler panics. Never: the real program.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::*;
use crate::config::{Sources, load};
use crate::gate::{EndMet, Grant, KeySource, SourceTrouble};
use crate::registry::{NewAccount, NewKey};
use crate::store::StoreOptions;
use crate::types::{Actor, Environment, Key, KeyDigest, Role};

const ROOT: Actor = Actor::Machine { uid: 0 };
const PANICS: usize = 20;

/// Finds keys as a server does, and panics when it has found one of them.
struct Mined {
    source: RegistrySource,
    key: KeyDigest,
    is_armed: AtomicBool,
}

impl KeySource for Mined {
    fn find<'a>(
        &'a self,
        digest: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>> {
        Box::pin(async move {
            let found = self.source.find(digest).await;
            assert!(digest != self.key || !self.is_armed.load(Ordering::SeqCst), "a panic on purpose");
            found
        })
    }

    fn end_met(&self, end: EndMet) {
        self.source.end_met(end);
    }
}

/// A server with the built-in model, one good key and one whose requests panic.
struct Scene {
    address: SocketAddr,
    good: String,
    mined: String,
    source: Arc<Mined>,
    metrics: Arc<Metrics>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ember.toml"), "[models]\necho = true\n").unwrap();
        let environment = [("HOME".to_string(), folder.path().display().to_string())];
        let sources =
            Sources { environment: &environment, directory: Some(folder.path()), ..Sources::default() };
        let loaded = load(&sources).unwrap();
        let said = loaded.said();
        let basis =
            Basis { kept: loaded.kept, said, parts: Vec::new(), found: Vec::new(), hangup_ends: false };
        let opened = crate::serve::open(&loaded.config.data, true, &StoreOptions::default()).unwrap();
        let (good, mined) = keys(&opened.registry());
        let listener = Listener::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listener.addresses()[0];
        let source = RegistrySource::new(Arc::new(opened.registry()), mpsc::channel(1).0);
        let key = Key::digest_of(mined.as_bytes()).unwrap();
        let source = Arc::new(Mined { source, key, is_armed: AtomicBool::new(true) });
        let mut server = Server {
            config: loaded.config,
            dir: opened.dir,
            store: opened.store,
            listener,
            notifier: Notifier::new(None),
            watchdog: None,
            log: Log::silent(),
        };
        let built = server.build().unwrap();
        built.upstreams.look().await;
        let reloader = server.reloader(&built, basis, None);
        let (_, door) = server.open_door(&built, &server.exposition(&built), reloader).unwrap();
        let gate = Gate::new(source.clone(), Arc::clone(&built.meter), Arc::clone(&built.limiter), 100);
        let parts = Parts { gate: Arc::new(gate), ..server.parts(&built, door) };
        let metrics = Arc::clone(&built.metrics);
        tokio::spawn(async move {
            let _built = built;
            server.listener.serve(parts, &Stop::default()).await;
        });
        Self { address, good, mined, source, metrics, _folder: folder }
    }

    async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (client, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A stream of some words, each after its pause. HTTP/2 wants whole URLs (`base`), HTTP/1 paths.
    fn stream(&self, base: &str, pause_ms: u64, key: &str) -> Request<Full<Bytes>> {
        let body = format!(
            "{{\"model\":\"ember-echo\",\"stream\":true,\"ember_echo_delay_ms\":{pause_ms},\
             \"messages\":[{{\"role\":\"user\",\"content\":\"one two three four five six seven eight\"}}]}}"
        );
        let request = Request::post(format!("{base}/v1/chat/completions"));
        let request =
            request.header("authorization", format!("Bearer {key}")).header("host", self.address.to_string());
        request.body(Full::from(body)).unwrap()
    }
}

fn keys(registry: &Registry) -> (String, String) {
    let email = "ana@example.com".parse().unwrap();
    let account = NewAccount { email, name: None, role: Role::Member, password: None };
    registry.create_account(ROOT, &account).unwrap();
    let key = |name: &str| {
        let new = NewKey::new("ana@example.com", name.parse().unwrap(), Environment::Dev);
        registry.create_key(ROOT, &new).unwrap().1.expose().to_string()
    };
    (key("good"), key("mined"))
}

async fn told(
    answer: impl Future<Output = hyper::Result<http::Response<hyper::body::Incoming>>>,
) -> (StatusCode, String) {
    let answer = answer.await.unwrap();
    assert!(answer.headers().contains_key("x-request-id"));
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn assert_panicked((status, text): &(StatusCode, String)) {
    assert_eq!(*status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
    assert!(text.contains("\"internal_error\""), "{text}");
}

fn assert_whole((status, text): &(StatusCode, String)) {
    assert_eq!(*status, StatusCode::OK, "{text}");
    assert!(text.contains("eight") && text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_12_a_panic_in_one_handler_harms_no_other_request() {
    let scene = Scene::new().await;
    let (mut before, mut same, mut shared) = (scene.http1().await, scene.http1().await, scene.http2().await);
    let base = &format!("http://{}", scene.address);
    // Under way all the while, one of them on the connection that the others panic on.
    let streams = [
        tokio::spawn(told(before.send_request(scene.stream("", 50, &scene.good)))),
        tokio::spawn(told(shared.send_request(scene.stream(base, 50, &scene.good)))),
    ];
    for _ in 0..PANICS {
        same.ready().await.unwrap();
        let (on_http1, on_http2, as_well) = tokio::join!(
            told(same.send_request(scene.stream("", 0, &scene.mined))),
            told(shared.send_request(scene.stream(base, 0, &scene.mined))),
            told(shared.clone().send_request(scene.stream(base, 0, &scene.good))),
        );
        assert_panicked(&on_http1);
        assert_panicked(&on_http2);
        assert_whole(&as_well);
        same.ready().await.unwrap();
        assert_whole(&told(same.send_request(scene.stream("", 0, &scene.good))).await);
    }
    for stream in streams {
        assert_whole(&stream.await.unwrap());
    }
    scene.source.is_armed.store(false, Ordering::SeqCst);
    same.ready().await.unwrap();
    assert_whole(&told(same.send_request(scene.stream("", 0, &scene.mined))).await);
    tokio::time::timeout(Duration::from_secs(10), async {
        while scene.metrics.figures().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("what panicked has left something open");
    crate::types::proof::show("requests that a panic in another handler harmed", 0, "be 0");
}
