//! Micro-benchmarks of what every request passes: `cargo bench --bench micro`. Figures are of one thread with everything
//! warm; what a whole request costs is measured by `benches/compare`.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use divan::{Bencher, black_box};
use ember_gateway::gate::{
    Asking, EndMet, Gate, Grant, KeySource, LimitLedger, Limiter, Owner, Refusal, SourceTrouble,
};
use ember_gateway::http::is_route;
use ember_gateway::meter::{Holder, Meter, Used};
use ember_gateway::store::MemoryStore;
use ember_gateway::types::{
    AccountId, Bounds, Clock, Ending, Environment, Key, KeyDigest, KeyId, KeyRecord, KeySecret, KeyStanding,
    LimitKind, Policy, Random, RandomUnavailable, Stopwatch, Timestamp, Tokens, Weight,
};
use ember_gateway::upstream::body::RequestFacts;
use ember_gateway::upstream::tap::{Dialect, SseTap};
use http::Method;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const CHUNK: &str = r#"data: {"id":"chatcmpl-9f2c1d7ab3e84c55a1f0d6c2b7e49a10","object":"chat.completion.chunk","created":1800000000,"model":"bench","choices":[{"index":0,"delta":{"content":" gateway"},"logprobs":null,"finish_reason":null}]}"#;

/// Calls measured together: enough for what happens once to vanish.
const SAMPLE_CALLS: u32 = 1000;

fn main() {
    divan::Divan::from_args().sample_size(SAMPLE_CALLS).main();
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceTrouble>> + Send + 'a>>;

/// Every key is known and stands; nothing is written down.
struct World {
    began: Instant,
    dice: AtomicU64,
}

impl KeySource for World {
    fn find<'a>(&'a self, digest: KeyDigest) -> Answer<'a, Option<Grant>> {
        let owner = Owner { is_active: true, ..Owner::default() };
        Box::pin(async move { Ok(Some(Grant::of(&self.record(digest), &digest, owner))) })
    }

    fn end_met(&self, _: EndMet) {}
}

impl LimitLedger for World {
    fn read(&self, _: Holder) -> Answer<'_, Option<Used>> {
        Box::pin(async { Ok(None) })
    }

    fn write(&self, _: Vec<(Holder, Used)>) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl Stopwatch for World {
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        NOW
    }
}

impl Random for World {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        for byte in bytes {
            let step = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            *byte = ((step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8;
        }
        Ok(())
    }
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), dice: AtomicU64::new(1) })
    }

    fn key(&self) -> Key {
        Key::generate(Environment::Prod, self).expect("it is made up")
    }

    fn record(&self, digest: KeyDigest) -> KeyRecord {
        let hint = self.key().hint();
        KeyRecord {
            id: KeyId::generate(NOW, self).expect("it is made up"),
            account: AccountId::from_bytes(&[1; 16]).expect("any bytes are an id"),
            name: "application-of-usual-length".parse().expect("a name"),
            environment: Environment::Prod,
            policy: Policy::default(),
            allow_browser: false,
            weight: Weight::default(),
            secrets: vec![KeySecret { digest, hint, created_at: NOW, valid_until: None }],
            standing: KeyStanding::Active,
            created_at: NOW,
            expires_at: None,
            expiry_met: false,
        }
    }
}

fn gate(world: &Arc<World>, bounds: Bounds) -> Gate {
    let meter = Arc::new(Meter::new(world.clone(), Arc::new(MemoryStore::new())));
    let limiter = Arc::new(Limiter::new(world.clone(), world.clone(), bounds, bounds));
    Gate::new(world.clone(), meter, limiter, 1000)
}

/// All kinds of limits, none of them near.
fn all() -> Bounds {
    let mut bounds = Bounds::default();
    LimitKind::ALL.into_iter().for_each(|kind| bounds.set(kind, NonZeroU64::new(1_000_000_000_000)));
    bounds
}

fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// What needs a thread that may block finds one.
fn inside<T>(work: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let _inside = runtime.enter();
    work()
}

fn admission(bencher: Bencher<'_, '_>, bounds: Bounds) {
    inside(|| {
        let world = World::new();
        let (gate, key) = (gate(&world, bounds), world.key());
        let model = "llama3".parse().expect("a model");
        let asking = Asking { model, tokens: 1500 };
        bencher.bench_local(|| {
            let caller = at_once(gate.identify(Some(key.expose().as_bytes()), NOW));
            let asking = asking.clone();
            let pass = caller.and_then(|caller| at_once(gate.admit(caller, asking, NOW)));
            let mut pass = pass.unwrap_or_else(|_| unreachable!("it may pass"));
            pass.settle(Some(Tokens { prompt: 300, completion: 200, cached: 0 }), Ending::Done);
        });
    });
}

/// Identify, admit, settle and drop, without limits.
#[divan::bench]
fn admit(bencher: Bencher<'_, '_>) {
    admission(bencher, Bounds::default());
}

/// The same with every kind of limit on the key and on its account.
#[divan::bench]
fn admit_limited(bencher: Bencher<'_, '_>) {
    admission(bencher, all());
}

/// A known key, and nothing more than who it is.
#[divan::bench]
fn identify(bencher: Bencher<'_, '_>) {
    let world = World::new();
    let (gate, key) = (gate(&world, Bounds::default()), world.key());
    bencher.bench_local(|| at_once(gate.identify(Some(key.expose().as_bytes()), NOW)).is_ok());
}

/// A key that was made up: its checksum is wrong.
#[divan::bench]
fn identify_misspelt(bencher: Bencher<'_, '_>) {
    let gate = gate(&World::new(), Bounds::default());
    let text = format!("ember_prod_{}", "7".repeat(38));
    bencher.bench_local(|| {
        let found = at_once(gate.identify(Some(black_box(text.as_bytes())), NOW));
        assert!(matches!(found, Err(Refusal::InvalidKey)));
    });
}

/// A key from its text, and its digest.
#[divan::bench]
fn key_parse_and_digest(bencher: Bencher<'_, '_>) {
    let key = World::new().key();
    bencher.bench_local(|| Key::parse(black_box(key.expose().as_bytes())).map(|key| key.digest()));
}

/// The members of a chat request that are looked at: `args` bytes of it are prompt.
#[divan::bench(args = [300, 32_768])]
fn request_facts(bencher: Bencher<'_, '_>, prompt: usize) {
    let words = "All work and no play. ".repeat(prompt / 22);
    let body = format!(
        r#"{{"model":"llama3","stream":true,"max_tokens":64,"messages":[{{"role":"user","content":"{words}"}}]}}"#
    );
    bencher.bench_local(|| RequestFacts::read(black_box(body.as_bytes())).is_ok());
}

/// A chunk of one event passes the tap; with the usage chunk being taken out, or not.
#[divan::bench(args = [true, false])]
fn tap_chunk(bencher: Bencher<'_, '_>, strip_usage: bool) {
    let mut tap = SseTap::new(Dialect::Chat, strip_usage);
    let chunk = Bytes::from(format!("{CHUNK}\n\n"));
    bencher.bench_local(|| tap.push(black_box(chunk.clone())).map(|part| part.len()).sum::<usize>());
}

/// The same event in two pieces.
#[divan::bench]
fn tap_split_chunk(bencher: Bencher<'_, '_>) {
    let mut tap = SseTap::new(Dialect::Chat, true);
    let mut first = Bytes::from(format!("{CHUNK}\n\n"));
    let second = first.split_off(100);
    bencher.bench_local(|| {
        let parts = tap.push(black_box(first.clone())).chain(tap.push(black_box(second.clone())));
        parts.map(|part| part.len()).sum::<usize>()
    });
}

/// The route of a raw path.
#[divan::bench(args = ["/v1/chat/completions", "/v1/models/org/name", "/dashboard/keys", "/nothing/there"])]
fn router(bencher: Bencher<'_, '_>, path: &str) {
    let method = if path.ends_with("completions") { Method::POST } else { Method::GET };
    bencher.bench_local(|| is_route(black_box(&method), black_box(path)));
}
