//! Laws 3, 6, 7, 9 and 11 with a model server that does what a test says: bytes cross unchanged, a cut key stops at
//! once, a broken stream never looks like a whole one, and nobody works for a client that has gone.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;

use crate::ember::{Answer, Ember, Home};
use crate::model::{Call, ModelServer, SOON, STREAM, delta};
use crate::wire::{End, Wire};

/// A stream whose usage the caller asks for himself, so that nothing is put into it or taken out.
const ASK: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
const CHAT: &str = "/v1/chat/completions";

struct Scene {
    home: Home,
    ember: Ember,
    model: ModelServer,
    key: String,
}

fn scene(upstream: &str) -> Scene {
    let model = ModelServer::start();
    let home = model.home("", upstream);
    let key = home.key("app");
    let ember = home.serve();
    Scene { home, ember, model, key }
}

impl Scene {
    /// Sends a request on a new connection that stays open.
    fn ask(&self, path: &str, body: &str) -> Wire {
        self.ask_as(path, body, "1.1", "")
    }

    fn ask_as(&self, path: &str, body: &str, version: &str, headers: &str) -> Wire {
        let mut wire = Wire::open(&self.ember);
        wire.send(format!(
            "POST {path} HTTP/{version}\r\nHost: a\r\nAuthorization: Bearer {}\r\n{headers}Content-Length: {}\r\n\r\n\
             {body}",
            self.key,
            body.len()
        ));
        wire
    }

    /// The call that comes for a request; none when the request is answered without one.
    fn call_for(&self, wire: &mut Wire, is_elsewhere: impl Fn() -> bool) -> Option<Call> {
        loop {
            if let Some(call) = self.model.call_by_now() {
                return Some(call);
            }
            assert!(!is_elsewhere(), "the request went over the old connection");
            if !wire.is_silent(Duration::from_millis(5)) {
                return None;
            }
        }
    }

    /// A stream under way: its first event has arrived.
    fn streaming(&self) -> (Wire, Call) {
        let mut wire = self.ask(CHAT, ASK);
        let mut call = self.model.call();
        call.say(STREAM);
        call.event("one");
        wire.read_until("one");
        (wire, call)
    }
}

fn event(json: &str) -> String {
    format!("data: {json}\n\n")
}

/// The error event that ends a stream: its code. Panics when something else is last.
fn last_error(body: &str) -> String {
    let last = body.trim_end_matches("\n\n").rsplit("\n\n").next().unwrap();
    let json = last.strip_prefix("data: ").unwrap_or_else(|| panic!("no event is last: {body:?}"));
    let json: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("no error: {body:?}"));
    assert!(body.ends_with("\n\n"), "the last event is not whole: {body:?}");
    json["error"]["code"].as_str().unwrap_or_else(|| panic!("no error is last: {body:?}")).to_string()
}

#[test]
fn law_7_a_stream_is_relayed_event_by_event() {
    let scene = scene("");
    let asks = [ASK, r#"{"model":"m","stream":true,"messages":[]}"#];
    for ask in asks {
        let mut wire = scene.ask(CHAT, ask);
        let mut call = scene.model.call();
        call.say(STREAM);
        let head = wire.read_until("\r\n\r\n").to_ascii_lowercase();
        for line in [
            "http/1.1 200 ok\r\n",
            "content-type: text/event-stream\r\n",
            "cache-control: no-cache, no-transform\r\n",
            "x-accel-buffering: no\r\n",
            "x-request-id: req_",
            "openai-processing-ms: ",
        ] {
            assert!(head.contains(line), "{line:?} is not in {head}");
        }
        for word in ["one", "two", "three"] {
            call.event(word);
            // The next is not sent before this one has arrived.
            assert!(wire.read_until("\n\n").contains(&delta(word)));
        }
        call.chunk(": a comment\n\n");
        wire.read_until(": a comment\n\n");
        call.done();
        assert_eq!(wire.read_until("0\r\n\r\n").matches("data: ").count(), 1, "the end mark alone");
    }
}

#[test]
fn law_7_what_the_model_says_is_what_the_caller_gets() {
    let scene = scene("");
    let odd = "event: x\r\nid:1\r\ndata:{\"a\" :1}\r\ndata: \u{e9}\u{1f525}\r\n\r\n: comment\n\nretry: 5\rdata: y\r\r\u{feff}\n\
               data:[DONE]\n\n: after the end\n\n";
    for step in [1, 2, 3, 7, odd.len()] {
        let mut wire = scene.ask_as(CHAT, ASK, "1.1", "Connection: close\r\n");
        let mut call = scene.model.call();
        call.say(STREAM);
        for part in odd.as_bytes().chunks(step) {
            call.say(format!("{:x}\r\n", part.len()));
            call.say(part);
            call.say("\r\n");
        }
        call.say("0\r\n\r\n");
        let answer = Answer::parse(&wire.rest().0);
        assert!(answer.whole);
        assert_eq!(answer.text(), odd, "in steps of {step}");
    }
    for body in
        ["{ \"odd\" : [ 1 ,2],\"n\":1e400,\"u\":\"\\u00e9\u{e9}\" }\n\n", "not JSON at all \0\u{1}", ""]
    {
        let mut wire = scene.ask(CHAT, r#"{"model":"m"}"#);
        scene.model.call().json("200 OK", body);
        let answer = wire.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
    }
}

#[test]
fn law_7_what_the_caller_says_is_what_the_model_gets() {
    let scene = scene("");
    let long = "\u{1f525}x".repeat(200_000);
    for body in [
        r#"{"model":"m"}"#,
        " \r\n\t{ \"zz\" : [ 1.0 , 1e2,-0 ] ,\"model\"\t:\t\"m\" , \"x_unknown\":{\"b\":1,\"a\":{}},\"é\":\"\\u00e9\\/\" } \n",
        r#"{"messages":[{"role":"user","content":"{\"model\":\"other\"}"}],"model":"\u006d","temperature":0.10}"#,
        r#"{"model":"m","stream":false,"stream_options":null}"#,
        &format!("{{\"model\":\"m\",\"messages\":\"{long}\"}}"),
    ] {
        for path in [CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses"] {
            let mut wire = scene.ask(path, body);
            let mut call = scene.model.call();
            assert!(call.head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{}", call.head);
            assert!(call.body == body.as_bytes(), "{path}: {body:.100}");
            call.json("200 OK", "{}");
            assert_eq!(wire.answer().status, 200);
        }
    }
}

#[test]
fn law_11_headers_cross_by_a_list_of_those_that_may() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "sk-of-the-server\n").unwrap();
    let scene = scene(&format!("api_key_file = \"{}\"", secret.path().display()));
    let crossing = "Content-Type: application/json; charset=utf-8\r\nAccept: text/event-stream\r\nUser-Agent: Test/1.0\r\n\
                    Traceparent: 00-1-2-03\r\nTracestate: a=b\r\nX-Request-Id: mine.1\r\nOpenAI-Organization: org\r\n\
                    OpenAI-Beta: x\r\n";
    let staying = "Cookie: a=b\r\nX-Api-Key: secret\r\nApi-Key: secret\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: for=x\r\n\
                   Accept-Encoding: gzip\r\nX-Stainless-Lang: python\r\nProxy-Authorization: Basic x\r\nTE: trailers\r\n\
                   Referer: http://a\r\nExpect: 100-continue\r\nUpgrade: h2c\r\nX-Other: x\r\n";
    let query = format!("{CHAT}?api-version=1&key=secret");
    let mut wire = scene.ask_as(&query, r#"{"model":"m"}"#, "1.1", &format!("{crossing}{staying}"));
    let mut call = scene.model.call();
    let address = scene.model.address.to_string();
    let expected = [
        ("host", address.as_str()),
        ("authorization", "Bearer sk-of-the-server"),
        ("accept-encoding", "identity"),
        ("content-length", "13"),
    ];
    let lines = crossing.lines().filter_map(|line| line.split_once(": "));
    for (name, value) in lines.chain(expected) {
        assert_eq!(call.header(name), Some(value), "{name}");
    }
    assert_eq!(call.head.lines().count(), 1 + 8 + expected.len() + 1, "{}", call.head);
    assert!(call.head.starts_with(&format!("POST {CHAT} HTTP/1.1\r\n")), "{}", call.head);
    assert!(!call.head.contains(&scene.key) && !call.head.contains("secret"), "{}", call.head);
    call.say(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nOpenAI-Model: m\r\nServer-Timing: a\r\n\
         Set-Cookie: a=b\r\nServer: uvicorn\r\nX-Request-Id: theirs\r\nAuthorization: Bearer sk-of-the-server\r\n\
         OpenAI-Debug: sk-of-the-server\r\nAccess-Control-Allow-Origin: *\r\n\r\n{}",
    );
    wire.read_until("HTTP/1.1 100 Continue\r\n\r\n");
    let answer = wire.answer();
    assert_eq!(answer.header("x-request-id"), Some("mine.1"));
    assert_eq!((answer.header("openai-model"), answer.header("server-timing")), (Some("m"), Some("a")));
    let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let mut known = [
        "content-length",
        "content-type",
        "date",
        "openai-model",
        "openai-processing-ms",
        "server-timing",
        "x-request-id",
    ];
    known.sort_unstable();
    assert_eq!(names, known);
    assert!(!scene.ember.log().contains("sk-of-the-server") && !scene.ember.log().contains(&scene.key));
}

#[test]
fn usage_is_asked_for_where_the_caller_did_not_and_its_chunk_is_taken_out_again() {
    const USAGE: &str =
        r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    let scene = scene("");
    for (asked, sent, stripped) in [
        (
            r#"{ "model":"m","stream":true}"#,
            r#"{"stream_options":{"include_usage":true}, "model":"m","stream":true}"#,
            true,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{ } }"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true } }"#,
            true,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":null}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            true,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage": false}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage": true}}"#,
            true,
        ),
        (ASK, ASK, false),
    ] {
        for path in [CHAT, "/v1/completions"] {
            let mut wire = scene.ask_as(path, asked, "1.1", "Connection: close\r\n");
            let mut call = scene.model.call();
            assert_eq!(String::from_utf8_lossy(&call.body), sent);
            call.say(STREAM);
            call.event("one");
            call.chunk(&event(USAGE));
            call.done();
            let answer = Answer::parse(&wire.rest().0);
            assert!(answer.whole);
            let kept = if stripped { String::new() } else { event(USAGE) };
            assert_eq!(
                answer.text(),
                format!("{}{kept}{}", event(&delta("one")), event("[DONE]")),
                "{asked}"
            );
        }
    }
    scene.ember.wait_for_log("\"completion_tokens\":2");
}

#[test]
fn an_alias_changes_the_name_in_the_request_and_nothing_else() {
    let scene = scene("[upstream.aliases]\n\"gpt-4o\" = \"org/real-1\"");
    let mut wire = scene.ask(CHAT, "{\"a\":1, \"model\" :  \"gpt-4o\" ,\"z\":\"gpt-4o\"}");
    let mut call = scene.model.call();
    assert_eq!(
        String::from_utf8_lossy(&call.body),
        "{\"a\":1, \"model\" :  \"org/real-1\" ,\"z\":\"gpt-4o\"}"
    );
    let body = r#"{"model":"org/real-1"}"#;
    call.json("200 OK", body);
    assert_eq!(wire.answer().text(), body);
}

/// What ends a key at once, and what its holder is told.
const CUTS: [(&[&str], &str); 4] = [
    (&["key", "revoke", "app"], "api_key_revoked"),
    (&["key", "disable", "app"], "api_key_disabled"),
    (&["key", "rotate", "app", "--now"], "api_key_revoked"),
    (&["account", "disable", "ana@example.com"], "api_key_disabled"),
];

#[test]
fn law_3_a_cut_key_ends_its_streams_with_an_error() {
    for (command, code) in CUTS {
        let scene = scene("");
        let (mut wire, mut call) = scene.streaming();
        scene.home.ok(command);
        let acknowledged = Instant::now();
        assert_eq!(scene.ember.get("/v1/models", Some(&scene.key)).code(), code);
        call.time_to_end();
        let (rest, _) = wire.rest();
        assert!(acknowledged.elapsed() < SOON, "{command:?}: {:?}", acknowledged.elapsed());
        let rest = String::from_utf8(rest).unwrap();
        assert!(!rest.ends_with("0\r\n\r\n"), "{command:?}: a clean end: {rest:?}");
        let events = rest[rest.find("data: ").unwrap()..].trim_end_matches("\r\n");
        assert_eq!(last_error(events), code, "{command:?}");
        assert!(!rest.contains("[DONE]"));
    }
}

#[test]
fn law_3_a_cut_key_gets_no_answer_that_has_not_begun() {
    for (command, code) in CUTS {
        let scene = scene("");
        let mut wire = scene.ask(CHAT, ASK);
        let mut call = scene.model.call();
        scene.home.ok(command);
        let acknowledged = Instant::now();
        call.time_to_end();
        let answer = wire.answer();
        assert!(acknowledged.elapsed() < SOON, "{command:?}");
        assert_eq!((answer.status, answer.code().as_str()), (401, code), "{command:?}");
    }
}

#[test]
fn law_3_a_cut_key_breaks_an_answer_that_does_not_stream() {
    let scene = scene("");
    for length in ["Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        scene.home.ok(&["key", "enable", "app"]);
        let mut wire = scene.ask(CHAT, r#"{"model":"m"}"#);
        let mut call = scene.model.call();
        call.say(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{length}"));
        wire.read_until("{");
        scene.home.ok(&["key", "disable", "app"]);
        assert!(call.time_to_end() < SOON);
        let (rest, _) = wire.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{length}: a clean end");
    }
}

#[test]
fn law_3_a_client_that_reads_nothing_is_cut_too() {
    let check = |command: &[&str], version: &str| {
        let scene = scene("");
        let mut wire = scene.ask_as(CHAT, ASK, version, "");
        let mut call = scene.model.call();
        call.say(STREAM);
        assert!(call.flood());
        scene.home.ok(command);
        let taken = call.time_to_end();
        assert!(taken < SOON, "{command:?} with HTTP/{version}: {taken:?}");
        let (answer, end) = wire.rest();
        let is_broken = version == "1.1" && !answer.ends_with(b"0\r\n\r\n");
        assert!(end == End::Reset || is_broken, "HTTP/{version}: {end:?}");
    };
    std::thread::scope(|scope| {
        for (command, _) in CUTS {
            for version in ["1.1", "1.0"] {
                scope.spawn(move || check(command, version));
            }
        }
    });
}

#[test]
fn law_3_a_cut_over_http_2_resets_the_stream_and_spares_the_others() {
    let scene = scene("");
    let other = scene.home.key("other");
    crate::http2::run(async {
        let (mut client, _ended) = crate::http2::http2_client(&scene.ember, None).await;
        let ask = |key: &str| crate::http2::http2_request("POST", CHAT, Some(key), ASK.to_string());
        let cut = tokio::spawn(client.send_request(ask(&scene.key)));
        let mut cut_call = scene.model.call();
        cut_call.say(STREAM);
        let kept = tokio::spawn(client.send_request(ask(&other)));
        let mut kept_call = scene.model.call();
        kept_call.say(STREAM);
        let (cut, kept) = (cut.await.unwrap().unwrap(), kept.await.unwrap().unwrap());
        scene.home.ok(&["key", "revoke", "app"]);
        assert!(cut_call.time_to_end() < SOON);
        let mut body = cut.into_body();
        let event = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(last_error(std::str::from_utf8(&event).unwrap()), "api_key_revoked");
        assert!(body.frame().await.unwrap().is_err(), "the stream ends cleanly");
        kept_call.event("kept");
        kept_call.done();
        let kept = kept.into_body().collect().await.unwrap().to_bytes();
        assert!(kept.ends_with(b"data: [DONE]\n\n"));
    });
}

#[test]
fn law_3_a_rotation_with_grace_cuts_nothing() {
    let scene = scene("");
    let (mut wire, mut call) = scene.streaming();
    let new = scene.home.ok(&["key", "rotate", "app", "--grace", "1h"]);
    for key in [&scene.key, &new] {
        assert_eq!(scene.ember.get("/v1/models", Some(key)).status, 200);
    }
    call.event("two");
    wire.read_until("two");
    call.done();
    wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
}

/// How a model server may fail in the middle of an answer, and the code of the error event, where there can be one.
type Failure = (&'static str, fn(Call), Option<&'static str>);

const FAILURES: [Failure; 9] = [
    (
        "between two events",
        |mut call| {
            call.say(STREAM);
            call.event("one");
        },
        Some("upstream_unavailable"),
    ),
    (
        "between two events, with a reset",
        |mut call| {
            call.say(STREAM);
            call.event("one");
            call.reset();
        },
        Some("upstream_unavailable"),
    ),
    ("before the first event", |mut call| call.say(STREAM), Some("upstream_unavailable")),
    (
        "a clean end without the end mark",
        |mut call| {
            call.say(STREAM);
            call.event("one");
            call.say("0\r\n\r\n");
        },
        Some("upstream_unavailable"),
    ),
    (
        "an end without the end mark where only the close is the end",
        |mut call| {
            call.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n");
        },
        Some("upstream_unavailable"),
    ),
    (
        "a whole length without the end mark",
        |mut call| {
            call.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nContent-Length: 10\r\n\r\ndata: {}\n\n");
        },
        Some("upstream_unavailable"),
    ),
    (
        "in the middle of an event",
        |mut call| {
            call.say(STREAM);
            call.event("one");
            call.chunk("data: {\"choices\":[{\"del");
        },
        None,
    ),
    (
        "before the blank line",
        |mut call| {
            call.say(STREAM);
            call.chunk("data: {}\n");
        },
        None,
    ),
    (
        "in the middle of a chunk",
        |mut call| {
            call.say(STREAM);
            call.say("ff\r\ndata: {\"cho");
        },
        None,
    ),
];

#[test]
fn law_6_a_stream_that_breaks_never_ends_cleanly() {
    let scene = scene("");
    for (what, fail, code) in FAILURES {
        for (version, headers) in [
            ("1.1", ""),
            ("1.1", "Connection: close\r\n"),
            ("1.0", ""),
            ("1.0", "Connection: keep-alive\r\n"),
        ] {
            let what = format!("{what}, HTTP/{version} {headers:?}");
            let mut wire = scene.ask_as(CHAT, ASK, version, headers);
            fail(scene.model.call());
            let (bytes, end) = wire.rest();
            let answer = Answer::parse(&bytes);
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, 200, "{what}");
            assert!(!text.contains("[DONE]"), "{what}: {text}");
            if version == "1.1" {
                assert!(!answer.whole, "{what}: a clean end: {text}");
            } else {
                assert_eq!(end, End::Reset, "{what}: looks like an end: {text}");
            }
            match code {
                Some(code) => assert_eq!(last_error(&text), code, "{what}"),
                None => assert!(!text.contains("error"), "{what}: {text}"),
            }
        }
    }
}

#[test]
fn law_6_a_stream_that_breaks_while_its_usage_is_watched_does_not_end_cleanly_either() {
    let scene = scene("");
    for (what, fail, _) in FAILURES {
        let mut wire = scene.ask(CHAT, r#"{"model":"m","stream":true}"#);
        fail(scene.model.call());
        let answer = Answer::parse(&wire.rest().0);
        let text = answer.text();
        assert!(!answer.whole && !text.contains("[DONE]"), "{what}: {text}");
        // Half an event may be held back, so an error can always be told here; if it is, it must be readable.
        if text.contains("\"error\"") {
            assert_eq!(last_error(&text), "upstream_unavailable", "{what}");
        }
    }
}

#[test]
fn law_6_responses_have_an_end_mark_of_their_own() {
    let scene = scene("");
    let completed = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n";
    for (last, whole) in
        [(completed, true), ("event: response.created\ndata: {}\n\n", false), ("data: [DONE]\n\n", false)]
    {
        let mut wire =
            scene.ask_as("/v1/responses", r#"{"model":"m","stream":true}"#, "1.1", "Connection: close\r\n");
        let mut call = scene.model.call();
        assert_eq!(call.body, br#"{"model":"m","stream":true}"#);
        call.say(STREAM);
        call.chunk(last);
        call.say("0\r\n\r\n");
        let answer = Answer::parse(&wire.rest().0);
        assert_eq!(answer.whole, whole, "{last}");
        assert_eq!(answer.text().contains("upstream_unavailable"), !whole, "{last}");
    }
}

#[test]
fn a_server_that_dies_behind_its_end_mark_spoils_nothing() {
    let scene = scene("");
    let mut wire = scene.ask_as(CHAT, ASK, "1.1", "Connection: close\r\n");
    let mut call = scene.model.call();
    call.say(STREAM);
    call.event("one");
    call.chunk("data: [DONE]\n\n");
    call.reset();
    let answer = Answer::parse(&wire.rest().0);
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
}

#[test]
fn law_6_an_answer_that_breaks_never_ends_cleanly() {
    let scene = scene("");
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n",
        "HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":",
    ] {
        for version in ["1.1", "1.0"] {
            let mut wire = scene.ask_as(CHAT, r#"{"model":"m"}"#, version, "Connection: close\r\n");
            scene.model.call().say(said);
            let (bytes, end) = wire.rest();
            let answer = Answer::parse(&bytes);
            let looks_whole = answer.whole && (version == "1.1" || answer.header("content-length").is_some());
            assert!(answer.status == 502 || end == End::Reset || !looks_whole, "HTTP/{version}: {said}");
            assert!(
                version == "1.1" || answer.header("content-length").is_some() || end == End::Reset,
                "{said}"
            );
        }
    }
}

/// A way to go; what it gives back is kept.
type HangUp = (&'static str, fn(Wire) -> Option<Wire>);

#[test]
fn law_9_a_client_that_hangs_up_frees_the_model() {
    let hang_ups: [HangUp; 4] = [
        ("gone", |_| None),
        ("half closed", |mut wire| {
            wire.half_close();
            Some(wire)
        }),
        ("gone behind a stray CRLF", |mut wire| {
            wire.send("\r\n");
            None
        }),
        ("gone behind another request", |mut wire| {
            wire.send("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n");
            None
        }),
    ];
    let scene = scene("");
    for (what, hang_up) in hang_ups {
        for version in ["1.1", "1.0"] {
            for begun in [false, true] {
                let mut wire = scene.ask_as(CHAT, ASK, version, "");
                let mut call = scene.model.call();
                if begun {
                    call.say(STREAM);
                    call.event("one");
                    wire.read_until("one");
                }
                let _half = hang_up(wire);
                let taken = call.time_to_end();
                assert!(taken < SOON, "{what}, begun: {begun}, HTTP/{version}: {taken:?}");
            }
        }
    }
}

#[test]
fn law_9_a_stray_crlf_before_the_hang_up_hides_nothing() {
    let scene = scene("");
    for begun in [false, true] {
        let mut wire = scene.ask(CHAT, ASK);
        let mut call = scene.model.call();
        wire.send("\r\n");
        if begun {
            call.say(STREAM);
            call.event("one");
            wire.read_until("one");
        }
        // The stray bytes were read before the client goes.
        wire.send("\r\n");
        drop(wire);
        assert!(call.time_to_end() < SOON);
    }
    // One who stays gets his answer.
    let mut wire = scene.ask(CHAT, ASK);
    let mut call = scene.model.call();
    wire.send("\r\n");
    call.say(STREAM);
    call.done();
    wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
}

#[test]
fn law_9_over_http_2_a_stream_that_is_given_up_frees_the_model() {
    let scene = scene("");
    crate::http2::run(async {
        let (mut client, _ended) = crate::http2::http2_client(&scene.ember, None).await;
        for begun in [false, true] {
            let request = crate::http2::http2_request("POST", CHAT, Some(&scene.key), ASK.to_string());
            let asking = tokio::spawn(client.send_request(request));
            let mut call = scene.model.call();
            if begun {
                call.say(STREAM);
                drop(asking.await.unwrap().unwrap());
            } else {
                asking.abort();
            }
            assert!(call.time_to_end() < SOON, "begun: {begun}");
            client.ready().await.unwrap();
        }
    });
}

#[test]
fn law_5_a_model_servers_trouble_is_told_as_what_it_is() {
    let scene = scene("");
    let ok = "Content-Type: application/json\r\nContent-Length: 2\r\n";
    for (said, status, code) in [
        (format!("HTTP/1.1 401 No\r\n{ok}\r\n{{}}"), 502, "upstream_auth_failed"),
        (format!("HTTP/1.1 407 No\r\n{ok}\r\n{{}}"), 502, "upstream_auth_failed"),
        (format!("HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n{ok}\r\n{{}}"), 502, "upstream_invalid"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n".to_string(), 502, "upstream_invalid"),
        (
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_string(),
            502,
            "upstream_invalid",
        ),
        (format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n{ok}\r\n{{}}"), 502, "upstream_invalid"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_string(), 502, "upstream_invalid"),
        ("HTTP/1.1 999999 OK\r\n\r\n".to_string(), 502, "upstream_invalid"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}".to_string(),
            502,
            "upstream_invalid",
        ),
        ("HTTP/1.1 20".to_string(), 502, "upstream_unavailable"),
        (String::new(), 502, "upstream_unavailable"),
    ] {
        let mut wire = scene.ask(CHAT, ASK);
        scene.model.call().say(&said);
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{said}");
        assert!(answer.header("location").is_none());
    }
    assert!(scene.model.is_untouched(), "nothing is sent twice once it was written");
}

#[test]
fn law_5_a_403_is_the_servers_word_on_ember_where_ember_has_a_key_and_on_the_request_where_not() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "sk-of-the-server").unwrap();
    let with_key = format!("api_key_file = \"{}\"", secret.path().display());
    for (upstream, status) in [(with_key.as_str(), 502), ("", 403)] {
        let scene = scene(upstream);
        let mut wire = scene.ask(CHAT, ASK);
        scene.model.call().json("403 Forbidden", "no");
        let answer = wire.answer();
        assert_eq!(answer.status, status, "{upstream}");
        match status {
            403 => assert_eq!(answer.text(), "no"),
            _ => assert_eq!(answer.code(), "upstream_auth_failed"),
        }
    }
}

#[test]
fn a_model_servers_own_errors_pass_unchanged() {
    let scene = scene("");
    let body = "{ \"error\":{\"message\":\"too long\" ,\"code\":400}}\n";
    for status in [
        "400 Bad Request",
        "404 Not Found",
        "409 Conflict",
        "413 Too Large",
        "418 Teapot",
        "422 No",
        "429 Slow",
        "500 Oh",
        "503 Busy",
        "529 Full",
    ] {
        let mut wire = scene.ask(CHAT, ASK);
        let length = body.len();
        scene.model.call().say(format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\nConnection: close\r\nRetry-After: 7\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let answer = wire.answer();
        assert_eq!((answer.status, answer.text().as_str()), (status[..3].parse().unwrap(), body));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("retry-after"), Some("7"));
    }
}

#[test]
fn law_11_an_error_that_shows_the_servers_key_is_replaced() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "sk-of-the-server").unwrap();
    let scene = scene(&format!("api_key_file = \"{}\"", secret.path().display()));
    for body in ["wrong key sk-of-the-server!", r#"{"error":"sk-of-\the-server"}"#] {
        let mut wire = scene.ask(CHAT, ASK);
        scene.model.call().json("400 Bad Request", body);
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_invalid"));
    }
    let mut wire = scene.ask(CHAT, ASK);
    scene.model.call().json("400 Bad Request", "another mistake");
    assert_eq!(wire.answer().text(), "another mistake");
}

#[test]
fn a_server_that_is_not_there_is_unavailable_and_its_models_are_unknown_until_read() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (models, status) in [("models = [\"m\"]", 502), ("", 503)] {
        let home =
            crate::model::home(&format!("[[upstream]]\nname = \"gone\"\nurl = \"http://{free}\"\n{models}"));
        let key = home.key("app");
        let ember = home.serve();
        let answer = ember.post(CHAT, Some(&key), ASK);
        assert_eq!((answer.status, answer.code().as_str()), (status, "upstream_unavailable"));
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        let list = ember.get("/v1/models", Some(&key));
        assert_eq!(list.status, 200, "the list is answered though no server is up");
        let ready = ember.get("/readyz", None);
        assert_eq!((ready.status, ready.text().contains("no model server up")), (503, true));
        assert_eq!(ember.get("/healthz", None).status, 200);
    }
}

#[test]
fn a_model_that_a_key_may_not_use_is_told_like_one_that_is_not_there() {
    let scene = scene("");
    let create = ["key", "create", "--account", "ana@example.com", "--name", "narrow", "--models", "other"];
    let narrow = scene.home.ok(&create);
    let told = |key: &str, model: &str| {
        let answer = scene.ember.post(CHAT, Some(key), &format!("{{\"model\":\"{model}\",\"messages\":[]}}"));
        assert_eq!((answer.status, answer.code().as_str()), (404, "model_not_found"));
        let shown = scene.ember.get(&format!("/v1/models/{model}"), Some(key));
        assert_eq!(shown.text(), answer.text());
        let names: Vec<String> = answer.headers.iter().map(|(name, _)| name.clone()).collect();
        (answer.text().replace(&format!("'{model}'"), "MODEL"), names)
    };
    assert_eq!(told(&narrow, "m"), told(&narrow, "nothing"));
    assert_eq!(told(&narrow, "m"), told(&scene.key, "nothing"));
    assert_eq!(scene.ember.get("/v1/models", Some(&narrow)).json()["data"], serde_json::json!([]));
    assert!(scene.model.is_untouched());
}

#[test]
fn a_slow_server_is_given_up_and_told_so() {
    let scene = scene("first_byte_timeout = \"300ms\"\nidle_timeout = \"300ms\"");
    let mut wire = scene.ask(CHAT, ASK);
    let mut call = scene.model.call();
    let answer = wire.answer();
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
    assert!(call.time_to_end() < SOON);
    let (mut wire, mut call) = scene.streaming();
    let (rest, _) = wire.rest();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("upstream_timeout") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    assert!(call.time_to_end() < SOON);
}

#[test]
fn law_10_a_slot_comes_back_however_a_request_ends() {
    let scene = scene("in_flight_max = 1\nqueue_max = 0");
    let is_free = || {
        let mut wire = scene.ask(CHAT, r#"{"model":"m"}"#);
        loop {
            if let Some(mut call) = scene.model.call_by_now() {
                call.json("200 OK", "{}");
                return wire.answer().status == 200;
            }
            if !wire.is_silent(Duration::from_millis(5)) {
                return false;
            }
        }
    };
    type Ending = fn(&Scene, Wire, Call);
    let endings: [(&str, Ending); 4] = [
        ("done", |_, mut wire, mut call| {
            call.done();
            wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
        }),
        ("client gone", |_, wire, mut call| {
            drop(wire);
            call.time_to_end();
        }),
        ("server died", |_, mut wire, call| {
            drop(call);
            wire.rest();
        }),
        ("key cut", |scene, mut wire, mut call| {
            scene.home.ok(&["key", "disable", "app"]);
            call.time_to_end();
            wire.rest();
            scene.home.ok(&["key", "enable", "app"]);
        }),
    ];
    for (what, ending) in endings {
        let (wire, call) = scene.streaming();
        let full = scene.ember.post(CHAT, Some(&scene.key), ASK);
        assert_eq!((full.status, full.code().as_str()), (503, "overloaded"), "{what}");
        assert!(full.header("retry-after").is_some());
        ending(&scene, wire, call);
        // The connection closes a moment before the slot is given back.
        crate::ember::eventually(what, is_free);
    }
}

#[test]
fn what_a_server_says_beside_its_answer_reaches_nobody_else() {
    const BESIDE: [&str; 3] = [
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n\"evil\"",
        "evil",
        "\r\n",
    ];
    let scene = scene("");
    for beside in BESIDE {
        for _ in 0..20 {
            let mut wire = scene.ask(CHAT, r#"{"model":"m"}"#);
            let mut first = scene.model.call();
            first.say(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}{beside}"
            ));
            assert_eq!(wire.answer().text(), "{}");
            // The next is asked on another connection, and not answered with what was left over on this one.
            let mut wire = scene.ask(CHAT, r#"{"model":"m","second":true}"#);
            let call = scene.call_for(&mut wire, || first.is_used_again());
            let mut call = call.unwrap_or_else(|| panic!("answered with {beside:?}: {:?}", wire.answer()));
            assert!(call.body.ends_with(b"\"second\":true}"));
            call.json("200 OK", "[]");
            assert_eq!(wire.answer().text(), "[]", "{beside:?}");
        }
    }
}

#[test]
fn a_connection_is_used_again_and_one_that_dies_unused_harms_nobody() {
    const CLOSES: usize = 30;
    let scene = scene("");
    let ask = || scene.ask(CHAT, r#"{"model":"m"}"#);
    let mut wire = ask();
    let mut call = scene.model.call();
    for _ in 0..5 {
        call.json_and_stay("200 OK", "{}");
        assert_eq!(wire.answer().status, 200);
        wire = ask();
        call = call.next();
    }
    let mut unlucky = 0;
    for _ in 0..CLOSES {
        call.json_and_stay("200 OK", "{}");
        assert_eq!(wire.answer().status, 200);
        // The server closes the connection that Ember keeps.
        drop(call);
        // By the time this is answered, Ember has been told of the close that came before; nearly always.
        assert_eq!(scene.ember.get("/healthz", None).status, 200);
        call = loop {
            wire = ask();
            match scene.call_for(&mut wire, || false) {
                Some(call) => break call,
                None => assert_eq!(wire.answer().code(), "upstream_unavailable"),
            }
            unlucky += 1;
        };
    }
    assert!(unlucky <= 1, "{unlucky} of {CLOSES} requests were sent into a closed connection");
}

#[test]
fn informational_answers_are_no_answers() {
    let scene = scene("");
    let mut wire = scene.ask(CHAT, r#"{"model":"m"}"#);
    let mut call = scene.model.call();
    call.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    call.json("200 OK", "{}");
    assert_eq!(wire.answer().status, 200);
    wire.half_close();
    assert!(wire.rest().0.is_empty(), "one answer");
}

#[test]
fn an_answer_that_comes_before_the_body_was_taken_is_the_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let section = format!(
        "[[upstream]]\nname = \"hasty\"\nurl = \"http://{}\"\nmodels = [\"m\"]",
        listener.local_addr().unwrap()
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let _ = std::io::Read::read(&mut stream, &mut head);
                let answer =
                    "HTTP/1.1 413 Too Large\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nlong";
                let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
                // Stays open, and takes nothing more.
                std::thread::park();
            });
        }
    });
    let home = crate::model::home(&section);
    let key = home.key("app");
    let ember = home.serve();
    let body = format!("{{\"model\":\"m\",\"x\":\"{}\"}}", "x".repeat(16 * 1024 * 1024));
    let answer = ember.post(CHAT, Some(&key), &body);
    assert_eq!((answer.status, answer.text().as_str()), (413, "long"));
}
