//! The stand-in as a client at the other end of the pipe sees it.

use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE};
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::types::Tokens;
use crate::upstream::tap::{Dialect, SseTap};
use crate::upstream::usage::AnswerTap;

const INTRODUCTION: &str =
    "This is ember-echo, the stand-in model built into Ember; it repeats what you say:";
const INTRODUCTION_WORDS: u64 = 14;

/// Long enough for a slow machine, and far shorter than what is cut short.
const SOON: Duration = Duration::from_secs(5);

async fn client(settings: EchoSettings) -> SendRequest<Full<Bytes>> {
    open(connect(settings)).await
}

async fn open(pipe: DuplexStream) -> SendRequest<Full<Bytes>> {
    let (client, connection) = handshake(TokioIo::new(pipe)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(path).header("host", "echo").body(Full::new(body.into())).unwrap()
}

fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    request("POST", path, body.to_string())
}

async fn ask(path: &str, body: Value) -> Response<Bytes> {
    send(&mut client(EchoSettings::default()).await, post(path, &body)).await
}

async fn send(client: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Response<Bytes> {
    client.ready().await.unwrap();
    let (parts, body) = client.send_request(request).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

async fn answer_to(path: &str, body: Value) -> Value {
    let answer = ask(path, body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    serde_json::from_slice(answer.body()).unwrap()
}

/// A streamed answer: the JSON of its events, and what the tap made of them.
async fn events_of(path: &str, body: Value, dialect: Dialect) -> (Vec<Value>, SseTap) {
    let answer = ask(path, body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
    let mut tap = SseTap::new(dialect, false);
    assert_eq!(tap.push(answer.body().clone()).count(), 1);
    assert!(tap.ended() && tap.at_boundary());
    let text = std::str::from_utf8(answer.body()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    (data.map(|data| serde_json::from_str(data).unwrap()).collect(), tap)
}

fn said(content: &str) -> Value {
    json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": content}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": null, "tool_calls": []},
    ])
}

/// The texts at `pointer`, put together.
fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

#[tokio::test]
async fn it_lists_itself() {
    let answer = send(&mut client(EchoSettings::default()).await, request("GET", "/v1/models", "")).await;
    let models: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!(MODEL)));
}

#[tokio::test]
async fn a_chat_is_repeated() {
    let answer =
        answer_to("/v1/chat/completions", json!({"model": MODEL, "messages": said("h\u{fc} \"x\"")})).await;
    assert_eq!(answer["object"], "chat.completion");
    let choice = json!({
        "index": 0,
        "message": {
            "role": "assistant",
            "content": format!("{INTRODUCTION} h\u{fc} \"x\""),
            "refusal": null,
            "annotations": [],
        },
        "logprobs": null,
        "finish_reason": "stop",
    });
    assert_eq!(answer["choices"], json!([choice]));
    assert_eq!(answer["usage"]["prompt_tokens"], 4);
    assert_eq!(answer["usage"]["completion_tokens"], INTRODUCTION_WORDS + 2);
    assert_eq!(answer["usage"]["total_tokens"], INTRODUCTION_WORDS + 6);
}

#[tokio::test]
async fn the_limit_is_kept() {
    for (path, limit, wish) in [
        ("/v1/chat/completions", "max_tokens", json!({"messages": said("a b")})),
        ("/v1/chat/completions", "max_completion_tokens", json!({"messages": said("a b")})),
        ("/v1/completions", "max_tokens", json!({"prompt": "a b"})),
        ("/v1/responses", "max_output_tokens", json!({"input": "a b"})),
    ] {
        for (max, words) in [(0, 0), (3, 3), (16, 16), (1000, 16)] {
            let mut wish = wish.clone();
            (wish["model"], wish[limit]) = (json!(MODEL), json!(max));
            let mut tap = AnswerTap::default();
            let answer = ask(path, wish).await;
            tap.push(answer.body());
            assert_eq!(tap.tokens().unwrap().completion, words, "{path} {max}");
            let answer: Value = serde_json::from_slice(answer.body()).unwrap();
            let cut = answer["choices"][0]["finish_reason"] == "length" || answer["status"] == "incomplete";
            assert_eq!(cut, words < 16, "{path} {max}");
        }
    }
}

#[tokio::test]
async fn a_chat_streams_in_openais_chunks() {
    let wish = |options: Value| json!({"model": MODEL, "stream": true, "stream_options": options, "messages": said("a b")});
    let (events, tap) = events_of("/v1/chat/completions", wish(Value::Null), Dialect::Chat).await;
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(joined(&events, "/choices/0/delta/content"), format!("{INTRODUCTION} a b"));
    let last = events.last().unwrap();
    let end = json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"});
    assert_eq!(last["choices"], json!([end]));
    assert!(
        events.iter().all(|event| event["object"] == "chat.completion.chunk" && event["id"] == last["id"])
    );
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    assert_eq!(tap.tokens(), None);
    assert_eq!(tap.completion_estimate(), INTRODUCTION_WORDS + 2);

    let (with_usage, tap) =
        events_of("/v1/chat/completions", wish(json!({"include_usage": true})), Dialect::Chat).await;
    let (usage_chunk, others) = with_usage.split_last().unwrap();
    assert_eq!(usage_chunk["choices"], json!([]));
    assert_eq!(others.len(), events.len());
    assert!(others.iter().all(|event| event["usage"].is_null() && event.get("usage").is_some()));
    assert_eq!(tap.tokens(), Some(Tokens { prompt: 4, completion: INTRODUCTION_WORDS + 2, cached: 0 }));
}

#[tokio::test]
async fn a_completion_streams_too() {
    let wish = json!({"model": MODEL, "stream": true, "prompt": ["no", "a b"], "max_tokens": 15,
        "stream_options": {"include_usage": true}});
    let (events, tap) = events_of("/v1/completions", wish, Dialect::Chat).await;
    assert_eq!(joined(&events, "/choices/0/text"), format!("{INTRODUCTION} a"));
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "length");
    assert!(events.iter().all(|event| event["object"] == "text_completion"));
    assert_eq!(tap.tokens(), Some(Tokens { prompt: 3, completion: 15, cached: 0 }));
}

#[tokio::test]
async fn a_response_streams_as_typed_events() {
    for (max, end) in [(Value::Null, "completed"), (json!(3), "incomplete")] {
        let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "a b"}]}]);
        let wish = json!({"model": MODEL, "input": input, "stream": true, "instructions": "be brief",
            "max_output_tokens": max});
        let (events, tap) = events_of("/v1/responses", wish, Dialect::Responses).await;
        let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        kinds.dedup();
        let last = format!("response.{end}");
        assert_eq!(
            kinds,
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                &last,
            ]
        );
        assert!(events.iter().zip(0_u64..).all(|(event, number)| event["sequence_number"] == number));
        let response = &events.last().unwrap()["response"];
        assert_eq!((&response["status"], response["id"] == events[0]["response"]["id"]), (&json!(end), true));
        assert_eq!(response["output"][0]["content"][0]["text"], joined(&events, "/delta"));
        let completion = if max.is_null() { INTRODUCTION_WORDS + 2 } else { 3 };
        assert_eq!(tap.tokens(), Some(Tokens { prompt: 4, completion, cached: 0 }));
        assert_eq!(tap.completion_estimate(), completion);
    }
}

#[tokio::test]
async fn embeddings_come_as_floats_and_as_base64() {
    let wish = |input: Value| json!({"model": MODEL, "input": input});
    let floats = answer_to("/v1/embeddings", wish(json!(["a b", "c"]))).await;
    assert_eq!(floats["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    assert_eq!((floats["data"][1]["index"].as_u64(), floats["data"].as_array().unwrap().len()), (Some(1), 2));
    let vector: Vec<f64> = floats["data"][0]["embedding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect();
    assert_eq!(vector.len(), 16);
    let mut encoded = wish(json!("a b"));
    encoded["encoding_format"] = json!("base64");
    let encoded = answer_to("/v1/embeddings", encoded).await;
    assert_eq!(encoded["data"][0]["embedding"].as_str().unwrap().len(), (16 * 4_usize).div_ceil(3) * 4);
    let tokens = answer_to("/v1/embeddings", wish(json!([[1, 2], [3]]))).await;
    assert_eq!(tokens["usage"]["prompt_tokens"], 3);
}

#[tokio::test]
async fn refusals_have_openais_shape_and_the_connection_lives_on() {
    let chat = |name: &str, value: Value| {
        let mut wish = json!({"model": MODEL, "messages": said("a")});
        wish[name] = value;
        post("/v1/chat/completions", &wish)
    };
    let mut client = client(EchoSettings::default()).await;
    for (request, status, code, param) in [
        (request("GET", "/v1/nothing", ""), 404, json!("not_found"), Value::Null),
        (request("GET", "/v1/chat/completions", ""), 405, json!("method_not_allowed"), Value::Null),
        (request("POST", "/v1/models", ""), 405, json!("method_not_allowed"), Value::Null),
        (request("POST", "/v1/chat/completions", "canary"), 400, json!("invalid_json"), Value::Null),
        (chat("messages", json!(["canary"])), 400, json!("invalid_json"), Value::Null),
        (chat("messages", json!("canary")), 400, Value::Null, json!("messages")),
        (chat("messages", json!([])), 400, Value::Null, json!("messages")),
        (chat("model", json!("canary")), 404, json!("model_not_found"), json!("model")),
        (chat("ember_echo_delay_ms", json!(10_001)), 400, Value::Null, json!("ember_echo_delay_ms")),
        (post("/v1/responses", &json!({"model": MODEL})), 400, Value::Null, json!("input")),
        (
            post("/v1/embeddings", &json!({"model": MODEL, "input": "a", "dimensions": 0})),
            400,
            Value::Null,
            json!("dimensions"),
        ),
        (post("/v1/embeddings", &json!({"model": MODEL, "input": []})), 400, Value::Null, json!("input")),
    ] {
        let answer = send(&mut client, request).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key(ALLOW), status == 405);
        let mut body: Value = serde_json::from_slice(answer.body()).unwrap();
        let message = body["error"]["message"].take();
        assert!(!message.as_str().unwrap().contains("canary"));
        let error = json!({"message": null, "type": "invalid_request_error", "param": param, "code": code});
        assert_eq!(body, json!({"error": error}));
    }
}

#[tokio::test]
async fn deep_nesting_is_refused() {
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"] {
        for member in ["messages", "prompt", "input"] {
            let body = format!(r#"{{"model":"ember-echo","{member}":{}"#, "[".repeat(1_000_000));
            let answer = send(&mut client(EchoSettings::default()).await, request("POST", path, body)).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        }
    }
}

#[tokio::test]
async fn words_come_one_by_one_after_their_pause() {
    let mut client = client(EchoSettings { delay: Duration::from_millis(3) }).await;
    let wish = json!({"model": MODEL, "messages": said("a"), "stream": true});
    let begun = std::time::Instant::now();
    let mut body = client.send_request(post("/v1/chat/completions", &wish)).await.unwrap().into_body();
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        assert!(!frame.unwrap().into_data().unwrap().is_empty());
        frames += 1;
    }
    assert!(frames >= INTRODUCTION_WORDS, "{frames} frames");
    let words = u32::try_from(INTRODUCTION_WORDS).unwrap() + 1;
    assert!(begun.elapsed() >= Duration::from_millis(3) * words);
}

#[tokio::test]
async fn it_stops_at_once_when_the_pipe_closes() {
    for stream in [true, false] {
        let (near, far) = tokio::io::duplex(4096);
        let serving = tokio::spawn(serve(far, EchoSettings::default()));
        let mut client = open(near).await;
        let wish =
            json!({"model": MODEL, "messages": said("a"), "stream": stream, "ember_echo_delay_ms": 10_000});
        let answer = client.send_request(post("/v1/chat/completions", &wish));
        if stream {
            let mut body = answer.await.unwrap().into_body();
            assert!(body.frame().await.is_some());
            drop(body);
        } else {
            assert!(timeout(Duration::from_millis(20), answer).await.is_err());
        }
        drop(client);
        timeout(SOON, serving).await.expect("the serving task ends").unwrap();
    }
}
