//! What crosses: bytes, splices, headers, connections.

use http::header::{HeaderName, RETRY_AFTER};

use super::*;
use crate::types::{Ending, Tokens, TokensSource};

fn head_of(request: &str) -> Vec<&str> {
    request.split_once("\r\n\r\n").unwrap().0.lines().collect()
}

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn bodies_cross_byte_for_byte() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let asked = "{ \"x\" : 1.0e2,\t\"model\":\"re\\u0061l\" , \"y\":[\"\\u00e9\u{e9}\"] }\n";
    let said = "{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\n \"é\" : 1e400}";
    let (reply, seen) = tokio::join!(relay.ask(asked), model.answer(json_answer(said)));
    let reply = reply.unwrap();
    assert_eq!(body_of(&seen), asked);
    assert_eq!(reply.body.size_hint().exact(), Some(said.len() as u64));
    let report = reply.report.clone();
    assert_eq!(all(reply.body).await, (said.to_string(), None));
    let tokens = Tokens { prompt: 3, completion: 2, cached: 0 };
    assert_eq!(report.read().tokens, Some((tokens, TokensSource::Reported)));
    assert_eq!(report.read().ending, Ending::Done);
    assert_eq!(report.read().upstream.as_deref(), Some("one"));
    assert!(report.read().first_byte.is_some());
    relay.is_settled(1);
    assert_eq!(relay.door.meter.totals().tokens, tokens);
}

#[tokio::test]
async fn only_listed_headers_reach_the_server_and_the_callers_key_never() {
    let model = Model::start().await;
    let relay = Relay::to(vec![ServerSettings { prefix: "/llm/".to_string(), ..model.settings() }]);
    let mut asked = request(ASK);
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "*/*"),
        ("user-agent", "OpenAI/Python"),
        ("traceparent", "00-1"),
        ("tracestate", "a=b"),
        ("openai-beta", "x=1"),
        ("authorization", CALLER_KEY),
        ("x-api-key", CALLER_KEY),
        ("cookie", CALLER_KEY),
        ("proxy-authorization", CALLER_KEY),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-request-id", "the callers"),
        ("host", "ember.example"),
        ("content-length", "9"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-secret"),
        ("expect", "100-continue"),
        ("accept-encoding", "gzip"),
        ("x-stainless-lang", "python"),
    ] {
        asked.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let (reply, seen) = tokio::join!(relay.send(asked), model.answer(json_answer("{}")));
    reply.unwrap();
    let mut head = head_of(&seen);
    assert_eq!(head.remove(0), "POST /llm/v1/chat/completions HTTP/1.1");
    head.sort_unstable();
    let host = format!("host: 127.0.0.1:{}", model.port());
    let length = format!("content-length: {}", ASK.len());
    let authorization = format!("authorization: Bearer {SERVER_KEY}");
    let mut expected = vec![
        "accept: */*",
        "accept-encoding: identity",
        &authorization,
        &length,
        "content-type: application/json",
        &host,
        "openai-beta: x=1",
        "traceparent: 00-1",
        "tracestate: a=b",
        "user-agent: OpenAI/Python",
        "x-request-id: req_1",
    ];
    expected.sort_unstable();
    assert_eq!(head, expected);
}

#[tokio::test]
async fn only_listed_headers_come_back_and_the_servers_key_never() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let answer = format!(
        "HTTP/1.1 429 Too Many\r\nContent-Type: application/json\r\nRETRY-AFTER: 7\r\nopenai-version: 1\r\n\
         server-timing: a\r\nopenai-echo: {SERVER_KEY}\r\nset-cookie: a=b\r\nserver: uvicorn\r\nx-request-id: 9\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(&answer));
    let reply = reply.unwrap();
    assert_eq!(reply.status, 429);
    assert_eq!(reply.headers.media_type.unwrap(), "application/json");
    assert_eq!(reply.headers.others[RETRY_AFTER], "7");
    let mut names: Vec<&str> = reply.headers.others.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["openai-version", "retry-after", "server-timing"]);
    assert_eq!(reply.body.size_hint().exact(), Some(2));
    assert_eq!(reply.report.read().tokens, None);
    assert_eq!(all(reply.body).await, ("{}".to_string(), None));
    relay.is_settled(1);
}

#[tokio::test]
async fn an_alias_and_the_wish_for_usage_are_spliced_in_and_the_usage_chunk_out() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n";
    let script = async {
        let mut peer = model.accept().await;
        let seen = peer.request().await;
        peer.say(STREAM_HEAD).await;
        peer.chunk(EVENT).await;
        peer.chunk(&format!("{usage}{END}")).await;
        peer.say("0\r\n\r\n").await;
        seen
    };
    let (reply, seen) = tokio::join!(relay.ask(r#"{ "model" : "alias", "stream": true, "a":"é" }"#), script);
    assert_eq!(
        body_of(&seen),
        r#"{"stream_options":{"include_usage":true}, "model" : "real", "stream": true, "a":"é" }"#
    );
    let reply = reply.unwrap();
    assert!(reply.is_stream());
    let report = reply.report.clone();
    assert_eq!(all(reply.body).await, (format!("{EVENT}{END}"), None));
    let tokens = Tokens { prompt: 5, completion: 1, cached: 0 };
    assert_eq!(report.read().tokens, Some((tokens, TokensSource::Reported)));
}

#[tokio::test]
async fn usage_is_asked_for_only_where_the_route_knows_it_and_kept_when_the_caller_asked() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n";
    let said = format!("{EVENT}{usage}{END}");
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\n\r\n{said}");
    let (reply, seen) = tokio::join!(relay.ask(ASK_STREAM), model.answer(&answer));
    assert_eq!(body_of(&seen), ASK_STREAM);
    assert_eq!(all(reply.unwrap().body).await, (said, None));

    let asked = r#"{"model":"real","stream":true}"#;
    let done = "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n";
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{done}");
    let responses = RelayRequest { endpoint: Endpoint::Responses, ..request(asked) };
    let (reply, seen) = tokio::join!(relay.send(responses), model.answer(&answer));
    assert!(seen.starts_with("POST /v1/responses HTTP/1.1\r\n"));
    assert_eq!(body_of(&seen), asked);
    assert_eq!(all(reply.unwrap().body).await, (done.to_string(), None));
}

#[tokio::test]
async fn what_is_asked_for_is_the_model_that_was_admitted() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let pass = relay.door.pass("real").await;
    let smuggled = request(r#"{"model":"other"}"#);
    let (reply, seen) = tokio::join!(relay.upstreams.relay(pass, smuggled), model.answer(json_answer("{}")));
    reply.unwrap();
    assert_eq!(body_of(&seen), r#"{"model":"real"}"#);
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_whole_answer() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let script = async {
        let mut peer = model.accept().await;
        peer.request().await;
        peer.say(&json_answer("{}")).await;
        peer.request().await;
        peer.say(STREAM_HEAD).await;
        peer.chunk(END).await;
        peer.say("0\r\n\r\n").await;
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        peer
    };
    let asking = async {
        assert_eq!(all(relay.ask(ASK).await.unwrap().body).await.0, "{}");
        assert_eq!(all(relay.ask(ASK_STREAM).await.unwrap().body).await.0, END);
        assert_eq!(all(relay.ask(ASK).await.unwrap().body).await.0, "");
    };
    let ((), _peer) = tokio::join!(asking, script);
    assert!(!model.is_asked_again().await);
    relay.is_settled(3);
}

/// Law 7: a server that refuses a body without reading it may take it for a request, and answer that at any time.
#[tokio::test]
async fn bug_after_a_refusal_the_next_request_has_another_connection_however_late_it_comes() {
    for status in ["413 Big", "400 No", "429 Slow", "500 Oh", "204 Nothing"] {
        let model = Model::start().await;
        let relay = Relay::to(vec![model.settings()]);
        let script = async {
            let mut refused = model.accept().await;
            refused.request().await;
            refused.say(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
            tokio::join!(refused.is_left(), async {
                let mut next = model.accept().await;
                next.request().await;
                next.say(&json_answer("{}")).await;
            });
        };
        let asking = async {
            assert_eq!(all(relay.ask(ASK).await.unwrap().body).await.0, "", "{status}");
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::time::resume();
            assert_eq!(all(relay.ask(ASK).await.unwrap().body).await.0, "{}", "{status}");
        };
        tokio::join!(asking, script);
        relay.is_settled(2);
    }
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_when_nothing_was_written() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    for _ in 0..20 {
        let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(json_answer("{}")));
        assert_eq!(all(reply.unwrap().body).await, ("{}".to_string(), None));
        // The runtime learns that the server hung up before it is asked again, as it would within 3 s of idleness.
        tokio::task::spawn_blocking(|| {}).await.unwrap();
    }
    relay.is_settled(20);
}

#[tokio::test]
async fn a_kept_connection_that_dies_under_a_request_is_not_tried_again() {
    let (model, other) = (Model::start().await, Model::start().await);
    let second = ServerSettings { priority: 1, ..settings("two", other.port()) };
    let relay = Relay::to(vec![model.settings(), second]);
    let script = async {
        let mut peer = model.accept().await;
        peer.request().await;
        peer.say(&json_answer("{}")).await;
        peer.request().await;
        peer.reset();
    };
    let asking = async {
        all(relay.ask(ASK).await.unwrap().body).await;
        relay.ask(ASK).await.unwrap_err().fault
    };
    assert_eq!(tokio::join!(asking, script).0, RelayFault::BrokeOff);
    assert!(!model.is_asked_again().await && !other.is_asked_again().await);
    relay.is_settled(2);
}

#[tokio::test]
async fn a_unix_socket_and_a_long_body_work() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let relay = Relay::to(vec![ServerSettings { address: Address::Unix(path), ..settings("one", 1) }]);
    let asked = format!(r#"{{"model":"alias","x":"{}"}}"#, "x".repeat(3 << 20));
    let script = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 1 << 16];
        let mut total = 0;
        while total < asked.len() {
            total += peer.read(&mut bytes).await.unwrap();
        }
        peer.write_all(json_answer(r#"{"a":1}"#).as_bytes()).await.unwrap();
    };
    let (reply, ()) = tokio::join!(relay.ask(&asked), script);
    assert_eq!(all(reply.unwrap().body).await.0, r#"{"a":1}"#);
}

#[tokio::test]
async fn bug_an_ember_key_in_a_vendor_header_does_not_reach_the_server() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let mut asked = request(ASK);
    let key = relay.door.key.expose().to_string();
    for (name, value) in [
        ("openai-project", key.clone()),
        ("openai-key", format!("Bearer {key}")),
        ("openai-beta", "x=1".into()),
    ] {
        asked.headers.append(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
    }
    let (reply, seen) = tokio::join!(relay.send(asked), model.answer(json_answer("{}")));
    reply.unwrap();
    assert!(!seen.contains(&key) && seen.contains("openai-beta: x=1\r\n"), "{seen}");
}

#[tokio::test]
async fn a_request_on_its_way_takes_little_room() {
    let relay = Relay::to(vec![settings("one", closed_port().await)]);
    let pass = relay.door.pass("real").await;
    let bytes = size_of_val(&relay.upstreams.relay(pass, request(ASK)));
    // It is moved with the task that holds it, and every byte of it is.
    assert!(bytes <= 2048, "{bytes}");
}
