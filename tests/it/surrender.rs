//! Whoever holds a key can kill it, without an account; and who still uses a secret that was rotated is told, and seen.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ember::{Answer, Ember, Home, chat};
use crate::model::{ModelServer, STREAM};
use crate::wire::Wire;

const REVOKE: &str = "/v1/key/revoke";
/// The longest that something cut goes on.
const SOON: Duration = Duration::from_secs(1);

fn shown(home: &Home, key: &str) -> Value {
    serde_json::from_str(&home.ok(&["key", "show", key, "-o", "json"])).unwrap()
}

fn with(ember: &Ember, headers: &str, key: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "POST {REVOKE} HTTP/1.1\r\nHost: ember.test\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    ember.send(head.as_bytes())
}

#[test]
fn bug_a_key_that_was_given_up_keeps_its_name_in_the_trail() {
    let home = Home::with_echo();
    let key = home.key("app");
    let ember = home.serve();
    assert_eq!(ember.post(REVOKE, Some(&key), "").status, 200);
    let trail: Value = serde_json::from_str(&home.ok(&["audit", "-o", "json"])).unwrap();
    let names = |event: &Value| (event["actor_name"].clone(), event["target_name"].clone());
    assert_eq!(names(&trail["data"][0]), ("whoever holds the key".into(), "app".into()));
    assert_eq!(trail["data"][1]["target_name"], "app");
    let history = shown(&home, "app")["history"].clone();
    assert_eq!(history[1]["actor_name"], "whoever holds the key");
}

#[test]
fn law_3_whoever_holds_a_key_revokes_it_for_good() {
    let home = Home::with_echo();
    let (key, other) = (home.key("app"), home.key("other"));
    let ember = home.serve();
    let answer = ember.post(REVOKE, Some(&key), r#"{"reason":"found in a public repository"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = shown(&home, "app")["id"].clone();
    let wanted = serde_json::json!({ "object": "key", "id": id, "revoked": true });
    assert_eq!(answer.json(), wanted);
    for _ in 0..2 {
        assert_eq!(ember.post("/v1/chat/completions", Some(&key), &chat("hi", "")).code(), "api_key_revoked");
        assert_eq!(ember.post(REVOKE, Some(&key), "").code(), "api_key_revoked");
    }
    assert_eq!(ember.get("/v1/models", Some(&other)).status, 200);
    let shown = shown(&home, "app");
    let reason = "revoked by whoever held it, from 127.0.0.1: found in a public repository";
    assert_eq!((&shown["status"], &shown["revoked_reason"]), (&"revoked".into(), &reason.into()));
    let last = shown["history"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["action"], &last["actor"]), (&"key.revoked".into(), &id));
    ember.kill();
    let ember = home.serve();
    assert_eq!(
        ember.get("/v1/models", Some(&key)).code(),
        "api_key_revoked",
        "a crash does not bring it back"
    );
}

#[test]
fn law_3_streams_of_a_key_that_is_given_up_are_cut() {
    let model = ModelServer::start();
    let home = model.home("", "");
    let key = home.key("app");
    let ember = home.serve();
    let mut wire = Wire::open(&ember);
    let ask = r#"{"model":"m","stream":true,"messages":[]}"#;
    wire.send(crate::ember::request("POST", "/v1/chat/completions", Some(&key), ask));
    let mut call = model.call();
    call.say(STREAM);
    call.event("one");
    wire.read_until("one");
    assert_eq!(ember.post(REVOKE, Some(&key), "").status, 200);
    let acknowledged = Instant::now();
    call.time_to_end();
    let (rest, _) = wire.rest();
    assert!(acknowledged.elapsed() < SOON);
    assert!(String::from_utf8_lossy(&rest).contains("api_key_revoked"));
}

#[test]
fn it_takes_no_leave_and_little_to_read() {
    let home = Home::with_echo();
    let key = home.ok(&[
        "key",
        "create",
        "--account",
        "ana@example.com",
        "--name",
        "app",
        "--routes",
        "models",
        "--addresses",
        "192.0.2.0/24",
        "--rpm",
        "1",
    ]);
    let ember = home.serve();
    for (body, status, code) in [
        ("x", 400, "invalid_json"),
        (r#"{"reason":7}"#, 400, "invalid_json"),
        (r#"{"key":"x"}"#, 400, "invalid_json"),
        (&format!(r#"{{"reason":"{}"}}"#, "x".repeat(101)), 400, "invalid_json"),
        (&format!(r#"{{"reason":"it is {key}"}}"#), 400, "invalid_json"),
        (&" ".repeat(5000), 413, "request_too_large"),
    ] {
        let answer = with(&ember, "", &key, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body:.60}");
        assert!(!answer.text().contains(&key));
    }
    assert_eq!(shown(&home, "app")["status"], "active");
    let browser = "Origin: https://paste.example.com\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(with(&ember, browser, &key, "").status, 200, "its policy does not keep it from being revoked");
    assert_eq!(shown(&home, "app")["status"], "revoked");
}

#[test]
fn an_old_secret_warns_is_seen_and_gives_up_itself_alone() {
    let home = Home::with_echo();
    let old = home.key("app");
    let ember = home.serve();
    assert_eq!(ember.get("/v1/models", Some(&old)).header("x-ember-warning"), None);
    let new = home.ok(&["key", "rotate", "app", "--grace", "1h"]);
    assert_eq!(shown(&home, "app")["seen"]["old_secret"], Value::Null, "uses before the rotation are none");
    let until = shown(&home, "app")["secrets"][1]["valid_until"].as_str().unwrap().to_string();
    let warning = format!("this secret was rotated; it works until {until}");
    for answer in [
        ember.post("/v1/chat/completions", Some(&old), &chat("hi", "")),
        ember.post("/v1/chat/completions", Some(&old), &chat("hi", ",\"stream\":true")),
        ember.get("/v1/nothing", Some(&old)),
    ] {
        assert_eq!(answer.header("x-ember-warning"), Some(warning.as_str()), "{}", answer.status);
    }
    assert_eq!(ember.get("/v1/models", Some(&new)).header("x-ember-warning"), None);
    let seen = shown(&home, "app")["seen"]["old_secret"].clone();
    assert_eq!((&seen["requests"], &seen["address"]), (&3.into(), &"127.0.0.1".into()), "{seen}");
    assert!(home.ok(&["key", "show", "app"]).contains("Old secret used"));

    assert_eq!(ember.post(REVOKE, Some(&old), "").status, 200);
    assert_eq!(ember.get("/v1/models", Some(&old)).code(), "api_key_revoked");
    assert_eq!(ember.get("/v1/models", Some(&new)).status, 200, "the key goes on");
    let shown = shown(&home, "app");
    assert_eq!((&shown["status"], shown["secrets"].as_array().unwrap().len()), (&"active".into(), 1));
    assert_eq!(shown["seen"]["old_secret"], Value::Null);
    ember.kill();
    let ember = home.serve();
    assert_eq!(ember.get("/v1/models", Some(&old)).code(), "api_key_revoked");
    assert_eq!(ember.get("/v1/models", Some(&new)).status, 200);
}
