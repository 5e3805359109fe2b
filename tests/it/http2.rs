//! HTTP/2 by prior knowledge: the same laws, the same bounds, on every stream.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::ember::{Ember, PATIENCE, chat};
use crate::framing::{served, served_with};
use crate::wire::Wire;

/// A client that speaks HTTP/2 from the first byte.
pub async fn http2_client(ember: &Ember, window: Option<u32>) -> (http2::SendRequest<Full<Bytes>>, Ended) {
    let stream = tokio::net::TcpStream::connect(ember.address).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).initial_stream_window_size(window);
    if ember.trust.is_some() {
        let stream = crate::pipe::connect(ember, stream, &[b"h2"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        return (sender, tokio::spawn(async move { drop(connection.await) }));
    }
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

pub type Ended = tokio::task::JoinHandle<()>;

pub fn http2_request(method: &str, path: &str, key: Option<&str>, body: String) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("http://ember.test{path}"));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.body(Full::from(body)).unwrap()
}

async fn text(answer: Response<Incoming>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await }).expect("the test takes too long")
}

#[test]
fn http_2_is_spoken_by_prior_knowledge_and_each_stream_needs_its_key() {
    let (_home, ember, key) = served();
    run(async {
        let (mut client, _ended) = http2_client(&ember, None).await;
        for (method, path, sent, status, code) in [
            ("GET", "/healthz", None, 200, ""),
            ("GET", "/v1/models", Some(key.as_str()), 200, ""),
            ("GET", "/v1/models", None, 401, "invalid_api_key"),
            ("GET", "/v1/nothing", None, 401, "invalid_api_key"),
            ("GET", "/v1/nothing", Some(&key), 404, "not_found"),
            ("DELETE", "/v1/models", Some(&key), 405, "method_not_allowed"),
            ("GET", "//v1/models", Some(&key), 400, "bad_request"),
            ("GET", "/v1/models?key=x", None, 401, "invalid_api_key"),
        ] {
            let answer = client.send_request(http2_request(method, path, sent, String::new())).await.unwrap();
            assert_eq!(answer.status(), status, "{method} {path}");
            assert!(answer.headers().contains_key("x-request-id"));
            assert!(!answer.headers().contains_key("connection"));
            let text = text(answer).await;
            assert!(text.contains(code), "{method} {path}: {text}");
        }
        let streams = (0..8).map(|n| {
            let body = chat(&format!("number {n} here"), ",\"stream\":true,\"ember_echo_delay_ms\":5");
            let key = (n % 4 != 3).then_some(key.as_str());
            client.send_request(http2_request("POST", "/v1/chat/completions", key, body))
        });
        let streams: Vec<_> = streams.map(tokio::spawn).collect();
        for (n, stream) in streams.into_iter().enumerate() {
            let answer = stream.await.unwrap().unwrap();
            let status = answer.status();
            let text = text(answer).await;
            if n % 4 == 3 {
                assert_eq!(status, StatusCode::UNAUTHORIZED);
            } else {
                assert_eq!(status, StatusCode::OK, "{text}");
                assert!(text.contains(&n.to_string()) && text.ends_with("data: [DONE]\n\n"), "{text}");
            }
        }
        Ok::<(), Infallible>(())
    })
    .unwrap();
}

#[test]
fn an_http_2_client_that_opens_no_window_is_gone_after_the_write_timeout() {
    let (_home, ember, key) = served_with("write_timeout = \"300ms\"");
    run(async {
        let (mut client, ended) = http2_client(&ember, Some(0)).await;
        let body = chat("never read", ",\"stream\":true");
        let request = http2_request("POST", "/v1/chat/completions", Some(&key), body);
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let gone = tokio::time::timeout(Duration::from_secs(5), ended).await;
        gone.expect("the connection is still there").unwrap();
        drop(answer);
    });
}

#[test]
fn http_2_bounds_hold() {
    let (_home, ember, key) = served_with("body_bytes_max = \"64KiB\"");
    run(async {
        let (mut client, _ended) = http2_client(&ember, None).await;
        let large = "x".repeat(100_000);
        let request = http2_request("POST", "/v1/chat/completions", Some(&key), chat(&large, ""));
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(text(answer).await.contains("request_too_large"));
        let long = format!("/v1/models/{}", "x".repeat(9000));
        let answer =
            client.send_request(http2_request("GET", &long, Some(&key), String::new())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::URI_TOO_LONG);
        let mut many = http2_request("GET", "/v1/models", Some(&key), String::new());
        for n in 0..120 {
            many.headers_mut().insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), n.into());
        }
        let answer = client.send_request(many).await.unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let mut two = http2_request("GET", "/v1/models", Some(&key), String::new());
        let same = two.headers()["authorization"].clone();
        two.headers_mut().append("authorization", same);
        assert_eq!(client.send_request(two).await.unwrap().status(), StatusCode::BAD_REQUEST);
    });
}

/// A frame as it goes over the wire (RFC 9113, 4.1).
pub fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

/// A header as HPACK writes it plainly (RFC 7541, 6.2.2).
fn header(name: &str, value: &str) -> Vec<u8> {
    // Longer ones have their length in more bytes.
    assert!(name.len() < 127 && value.len() < 127);
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.bytes());
    }
    bytes
}

pub const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn greeting() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")].concat()
}

pub fn head(method: &str, path: &str, key: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)];
    let mut block: Vec<u8> = fields.iter().flat_map(|(name, value)| header(name, value)).collect();
    block.extend(header("authorization", &format!("Bearer {key}")));
    block
}

#[test]
fn law_12_an_http_2_connection_has_no_more_streams_than_it_may() {
    const MAX_CONCURRENT_STREAMS: &str = "\0\u{3}\0\0\0\u{3}";
    const REFUSED: &str = "\0\0\u{4}\u{3}\0\0\0\0\u{7}\0\0\0\u{7}";
    let (_home, ember, key) = served_with("streams_max = 3");
    let mut wire = Wire::open(&ember);
    wire.send(greeting());
    // Each waits for its body.
    for stream in [1, 3, 5, 7] {
        wire.send(frame(HEADERS, END_HEADERS, stream, &head("POST", "/v1/chat/completions", &key)));
    }
    assert!(wire.read_until(REFUSED).contains(MAX_CONCURRENT_STREAMS), "what may be is not said");
}

/// Asking and taking back costs a client nothing, and the server work each time (CVE-2023-44487, CVE-2025-8671).
#[test]
fn law_12_an_http_2_client_has_few_streams_reset_before_it_is_ended() {
    const ANSWER_TO_PING: &str = "\0\0\u{8}\u{6}\u{1}\0\0\0\0are you ";
    let (_home, ember, key) = served_with("idle_timeout = \"5s\"");
    let (get, post) = (head("GET", "/v1/models", &key), head("POST", "/v1/chat/completions", &key));
    let taken_back = |stream| {
        let asked = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get);
        [asked, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    // With what it begins with, a window would be larger than may be.
    let wrong = |stream| {
        let grown = frame(WINDOW_UPDATE, 0, stream, &[127, 255, 255, 255]);
        [frame(HEADERS, END_HEADERS, stream, &post), grown].concat()
    };
    let streams = |of: &dyn Fn(u8) -> Vec<u8>, count: usize| {
        [greeting(), (1..=255).step_by(2).take(count).flat_map(of).collect()].concat()
    };
    let few = |of| [streams(of, 40), frame(PING, 0, 0, b"are you ")].concat();
    for (what, few, many) in [
        // What the library says of the bound that was met.
        ("too_many_resets", few(&taken_back), streams(&taken_back, 128)),
        ("too_many_internal_resets", few(&wrong), streams(&wrong, 128)),
    ] {
        let mut wire = Wire::open(&ember);
        wire.send(few);
        wire.read_until(ANSWER_TO_PING);
        let mut wire = Wire::open(&ember);
        wire.send(many);
        let rest = wire.rest().0;
        assert!(rest.windows(what.len()).any(|told| told == what.as_bytes()), "not bounded: {what}");
    }
}

#[test]
fn an_http_2_client_that_only_stays_busy_is_ended() {
    const LATE: Duration = Duration::from_secs(5);
    let timers = "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nidle_timeout = \"300ms\"";
    let (_home, ember, key) = served_with(timers);
    let get = head("GET", "/v1/models", &key);
    for (what, first) in [
        ("no request", greeting()),
        ("a head that never ends", [greeting(), frame(HEADERS, END_STREAM, 1, &get)].concat()),
        ("a request, then nothing", [greeting(), frame(HEADERS, END_STREAM | END_HEADERS, 1, &get)].concat()),
        (
            "a request, then a head that never ends",
            [
                greeting(),
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &get),
                frame(HEADERS, END_STREAM, 3, &get),
            ]
            .concat(),
        ),
        (
            "a body that never comes",
            [greeting(), frame(HEADERS, END_HEADERS, 1, &head("POST", "/v1/chat/completions", &key))]
                .concat(),
        ),
    ] {
        for pings in [false, true] {
            // Several at once, so that tasks meet in every order.
            let mut wires: Vec<Wire> = (0..16).map(|_| Wire::open(&ember)).collect();
            wires.iter_mut().for_each(|wire| wire.send(&first));
            let began = Instant::now();
            // Within a head nothing else may come.
            let pings = pings && !what.contains("never ends");
            let ping = frame(PING, 0, 0, b"stayopen");
            while pings && wires.iter_mut().fold(false, |any, wire| wire.offer(&ping) | any) {
                assert!(began.elapsed() < LATE, "{what}: pings keep it open");
                // Now and then: what is flooded and not read ends for another reason.
                std::thread::sleep(Duration::from_millis(20));
            }
            for wire in &mut wires {
                wire.rest();
            }
            assert!(began.elapsed() < LATE, "{what}, pings: {pings}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn bug_what_comes_while_an_idle_http_2_connection_ends_is_answered() {
    const GOAWAY: &str = "\0\0\u{8}\u{7}\0\0\0\0\0";
    let (_home, ember, key) = served_with("idle_timeout = \"300ms\"");
    let ask = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("GET", "/v1/models", &key));
    let mut wire = Wire::open(&ember);
    wire.send([greeting(), ask(1)].concat());
    wire.read_until(GOAWAY);
    // Sent before the client has heard of the end.
    wire.send(ask(3));
    let rest = wire.rest();
    let head_of_answer = [1, END_HEADERS, 0, 0, 0, 3];
    assert!(rest.0.windows(6).any(|bytes| bytes == head_of_answer), "no answer");
}

#[test]
fn an_http_2_head_without_end_is_bounded() {
    let (_home, ember, key) = served();
    let mut wire = Wire::open(&ember);
    wire.send([greeting(), frame(HEADERS, END_STREAM, 1, &head("GET", "/v1/models", &key))].concat());
    let part: Vec<u8> = (0..100).flat_map(|n| header(&format!("x-{n}"), &"v".repeat(100))).collect();
    let mut sent = 0;
    while wire.offer(frame(CONTINUATION, 0, 1, &part)) {
        sent += part.len();
        assert!(sent < 64 * 1024 * 1024, "a head may go on for ever");
    }
}

const GET: (&str, &str) = (":method", "GET");
const HTTP: (&str, &str) = (":scheme", "http");
const MODELS: (&str, &str) = (":path", "/v1/models");
const HERE: (&str, &str) = (":authority", "a");

/// Heads that are wrong in one thing; each would be answered 200 without it.
const ODD: [(&str, &[(&str, &str)]); 16] = [
    ("no path", &[GET, HTTP, HERE]),
    ("an empty path", &[GET, HTTP, HERE, (":path", "")]),
    ("a path without a slash", &[GET, HTTP, HERE, (":path", "v1/models")]),
    ("a whole URL", &[GET, HTTP, HERE, (":path", "http://a/v1/models")]),
    ("two paths", &[GET, HTTP, HERE, (":path", "/healthz"), MODELS]),
    ("a user", &[GET, HTTP, (":authority", "u@a"), MODELS]),
    ("a host with a user", &[GET, HTTP, MODELS, ("host", "u@a")]),
    ("another host", &[GET, HTTP, HERE, MODELS, ("host", "b")]),
    ("two hosts", &[GET, HTTP, MODELS, ("host", "a"), ("host", "a")]),
    ("no host", &[GET, HTTP, MODELS]),
    ("a tunnel", &[(":method", "CONNECT"), (":authority", "a:80")]),
    ("an extended tunnel", &[(":method", "CONNECT"), (":protocol", "websocket"), HTTP, HERE, MODELS]),
    ("a capital", &[GET, HTTP, HERE, MODELS, ("X-Other", "x")]),
    ("a connection header", &[GET, HTTP, HERE, MODELS, ("connection", "close")]),
    ("an encoding", &[GET, HTTP, HERE, MODELS, ("transfer-encoding", "chunked")]),
    ("a line feed", &[GET, HTTP, HERE, MODELS, ("x", "a\r\nb: c")]),
];

#[test]
fn law_1_odd_http_2_heads_open_nothing() {
    let (_home, ember, key) = served_with("header_timeout = \"500ms\"\nidle_timeout = \"500ms\"");
    let ask = |fields: &[(&str, &str)]| {
        let mut block: Vec<u8> = fields.iter().flat_map(|(name, value)| header(name, value)).collect();
        block.extend(header("authorization", &format!("Bearer {key}")));
        let mut wire = Wire::open(&ember);
        wire.send([greeting(), frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)].concat());
        wire
    };
    // All at once; each is over when its connection is.
    let mut wires: Vec<_> = ODD.iter().map(|(what, fields)| (*what, ask(fields))).collect();
    for fields in [
        [GET, HTTP, HERE, MODELS].as_slice(),
        &[GET, HTTP, HERE, MODELS, ("host", "A")],
        &[GET, HTTP, MODELS, ("host", "a")],
    ] {
        wires.push(("nothing", ask(fields)));
    }
    for (what, mut wire) in wires {
        let is_listed = wire.rest().0.windows(10).any(|window| window == b"ember-echo");
        assert_eq!(is_listed, what == "nothing", "wrong: {what}");
    }
}
