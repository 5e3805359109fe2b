//! What a request may say in its body and headers, what of it is never written down, and how much of it is held.

use crate::ember::{Ember, Home, chat, eventually, files_below, request};
use crate::model::{ModelServer, STREAM, home};
use crate::wire::Wire;

const CHAT: &str = "/v1/chat/completions";

fn served(settings: &str) -> (Home, Ember, String) {
    let home = home(settings);
    let key = home.key("good");
    let ember = home.serve();
    eventually("a ready server", || ember.get("/readyz", None).status == 200);
    (home, ember, key)
}

#[test]
fn a_body_that_two_parsers_could_read_differently_is_refused_before_a_model_sees_it() {
    let model = ModelServer::start();
    let (_home, ember, key) = served(&model.section(""));
    for (body, status, code) in [
        ("", 400, "invalid_json"),
        ("{", 400, "invalid_json"),
        ("[]", 400, "invalid_json"),
        ("\"m\"", 400, "invalid_json"),
        ("{\"model\":\"m\"} {}", 400, "invalid_json"),
        ("{\"model\":\"m\"}\0", 400, "invalid_json"),
        ("\u{feff}{\"model\":\"m\"}", 400, "invalid_json"),
        ("{'model':'m'}", 400, "invalid_json"),
        ("{\"model\":\"m\",}", 400, "invalid_json"),
        ("{\"model\":\"m\"/**/}", 400, "invalid_json"),
        ("{\"model\":\"m\",\"n\":NaN}", 400, "invalid_json"),
        ("{\"model\":\"m\",\"model\":\"n\"}", 400, "invalid_json"),
        ("{\"model\":\"m\",\"mod\\u0065l\":\"n\"}", 400, "invalid_json"),
        ("{\"model\":\"m\",\"x\":1,\"x\":1}", 400, "invalid_json"),
        ("{\"model\":\"m\",\"MODEL\":\"n\"}", 400, "invalid_json"),
        ("{\"model\":null}", 400, "invalid_json"),
        ("{\"model\":[\"m\"]}", 400, "invalid_json"),
        ("{}", 400, "missing_model"),
        ("{\"x\":{\"model\":\"m\"}}", 400, "missing_model"),
        ("{\"model\":\"M\"}", 404, "model_not_found"),
        ("{\"model\":\"m \"}", 404, "model_not_found"),
        ("{\"model\":\"../m\"}", 404, "model_not_found"),
    ] {
        for path in [CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses"] {
            let answer = ember.post(path, Some(&key), body);
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}: {body}");
        }
    }
    for (member, refused) in [
        ("\"previous_response_id\":\"resp_1\"", true),
        ("\"conversation\":\"conv_1\"", true),
        ("\"conversation\":{\"id\":\"conv_1\"}", true),
        ("\"background\":true", true),
        ("\"background\":1", true),
        ("\"backgroun\\u0064\":true", true),
        ("\"previous_response_id\":null", false),
        ("\"background\":false", false),
    ] {
        let body = format!("{{\"model\":\"m\",{member}}}");
        if refused {
            assert_eq!(
                ember.post("/v1/responses", Some(&key), &body).code(),
                "state_not_allowed",
                "{member}"
            );
        } else {
            let mut wire = Wire::open(&ember);
            wire.send(request("POST", "/v1/responses", Some(&key), &body));
            model.call().json("200 OK", "{}");
            assert_eq!(wire.answer().status, 200, "{member}");
        }
    }
    assert!(model.is_untouched(), "nothing of what was refused reached the model");
}

#[test]
fn a_compressed_body_is_refused() {
    let (_home, ember, key) = served("[models]\necho = true\n");
    for (encoding, status) in
        [("gzip", 415), ("identity, gzip", 415), ("br", 415), ("", 415), ("identity", 200), ("Identity", 200)]
    {
        let text = request("POST", CHAT, Some(&key), &chat("hi", ""));
        let text = text.replacen("\r\n", &format!("\r\nContent-Encoding: {encoding}\r\n"), 1);
        let answer = ember.send(text.as_bytes());
        assert_eq!(answer.status, status, "{encoding:?}: {}", answer.text());
    }
}

#[test]
fn a_request_id_is_kept_when_it_is_plain_and_made_when_not() {
    let (_home, ember, key) = served("[models]\necho = true\n");
    let long = "x".repeat(128);
    for (sent, kept) in [
        ("mine", true),
        ("A-Z.a_z-0.9", true),
        (long.as_str(), true),
        (&format!("{long}x"), false),
        ("", false),
        ("a b", false),
        ("a\"b", false),
        ("a/b", false),
        ("\u{e9}", false),
        (&key, false),
        (&format!("id-{key}"), false),
        (&key[..20], false),
    ] {
        for path in ["/v1/models", "/v1/nothing", "/healthz"] {
            let text = format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: {sent}\r\n\r\n"
            );
            let answer = ember.send(text.as_bytes());
            let id = answer.header("x-request-id").unwrap();
            assert_eq!(id == sent, kept, "{sent}: {id}");
            assert!(kept || id.starts_with("req_"), "{sent}: {id}");
        }
    }
}

#[test]
fn names_of_models_may_have_slashes() {
    let model = ModelServer::start();
    let (_home, ember, key) =
        served(&model.section("[upstream.aliases]\n\"org/na me:1%\" = \"m\"\n\"\u{e9}\" = \"m\""));
    for path in ["org/na%20me:1%25", "org%2Fna%20me:1%25", "org%2fna%20me%3a1%25"] {
        let answer = ember.get(&format!("/v1/models/{path}"), Some(&key));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.json()["id"], "org/na me:1%", "{path}");
    }
    assert_eq!(ember.get("/v1/models/%C3%A9", Some(&key)).status, 200);
    // Escapes are undone once.
    for path in ["org%252Fna%20me:1%25", "org/na+me:1%25", "m/", "%6d%00", "%2e%2e/m", "M"] {
        let answer = ember.get(&format!("/v1/models/{path}"), Some(&key));
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.text());
    }
}

#[test]
fn no_upgrade_is_made() {
    let (_home, ember, key) = served("[models]\necho = true\n");
    for upgrade in [
        "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x",
        "h2c\r\nHTTP2-Settings: AAMAAABk",
        "TLS/1.0",
    ] {
        let mut wire = Wire::open(&ember);
        wire.send(format!(
            "GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
        ));
        assert_eq!(wire.answer().status, 200, "{upgrade}");
    }
}

#[test]
fn bodies_in_memory_have_one_bound_together_and_give_it_back() {
    const BODY: usize = 60 * 1024;
    let (_home, ember, key) =
        served("body_bytes_max = \"64KiB\"\nbuffered_bytes_max = \"100KiB\"\n[models]\necho = true\n");
    let body = chat(&"x".repeat(BODY - chat("", "").len()), "");
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {BODY}\r\n\r\n"
    );
    // What is only announced takes no memory.
    let mut idle: Vec<Wire> = (0..4).map(|_| Wire::open(&ember)).collect();
    idle.iter_mut().for_each(|wire| wire.send(&head));
    assert_eq!(ember.post(CHAT, Some(&key), &body).status, 200);
    // One is held, and the next does not fit beside it; or the other way round, if that one came first.
    eventually("a refusal", || {
        let mut held = Wire::open(&ember);
        held.send(&head);
        held.send(&body[..BODY - 1]);
        let answer = ember.post(CHAT, Some(&key), &body);
        assert_eq!(ember.get("/v1/models", Some(&key)).status, 200, "who brings no body is served");
        if answer.status == 503 {
            assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("overloaded", Some("1")));
        }
        answer.status == 503
    });
    eventually("memory given back", || ember.post(CHAT, Some(&key), &body).status == 200);
}

#[test]
fn memory_is_given_back_once_the_model_has_the_body() {
    let model = ModelServer::start();
    let bounds = "body_bytes_max = \"64KiB\"\nbuffered_bytes_max = \"100KiB\"\n";
    let (_home, ember, key) = served(&format!("{bounds}{}", model.section("")));
    let body = format!("{{\"model\":\"m\",\"x\":\"{}\"}}", "x".repeat(60 * 1024));
    // Each answer is under way while the next body comes.
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(&ember);
        wire.send(request("POST", CHAT, Some(&key), &body));
        let mut call = model.call();
        call.say(STREAM);
        call.event("one");
        wire.read_until("one");
        open.push((wire, call));
    }
}

/// Stands for a prompt, and for an answer.
const CANARY: &str = "canary-7c1e";
const UPSTREAM_KEY: &str = "sk-upstream-canary";

/// A request with one more header.
fn request_with(key: &str, body: &str, header: &str) -> String {
    request("POST", CHAT, Some(key), body).replacen("\r\n", &format!("\r\n{header}\r\n"), 1)
}

/// Whole and broken answers to a prompt.
fn talk_about_it(ember: &Ember, model: &ModelServer, key: &str) {
    let prompt = format!("{{\"model\":\"m\",\"stream\":true,\"messages\":[{{\"content\":\"{CANARY}\"}}]}}");
    let ask = || {
        let mut wire = Wire::open(ember);
        wire.send(request("POST", CHAT, Some(key), &prompt));
        (wire, model.call())
    };
    for breaks in [false, true] {
        let (mut wire, mut call) = ask();
        call.say(STREAM);
        call.event(CANARY);
        if breaks {
            call.chunk(&format!("data: {{\"{CANARY}"));
            call.reset();
        } else {
            call.done();
        }
        wire.rest();
    }
    let (mut wire, mut call) = ask();
    call.json("400 Bad Request", &format!("{{\"error\":\"{CANARY}\"}}"));
    wire.answer();
    drop(call);
    let (mut wire, mut call) = ask();
    call.say(format!("HTTP/1.1 {CANARY}\r\n\r\n"));
    wire.answer();
}

/// Puts a key wherever a request has room for it.
fn misplace(ember: &Ember, key: &str) {
    ember.post(CHAT, Some(key), &format!("{{\"broken\":\"{CANARY}\""));
    let answer = ember.post(CHAT, Some(key), &format!("{{\"model\":\"{key}\"}}"));
    assert!(!answer.text().contains(&key[10..]), "a key comes back");
    for path in ["/v1/models/KEY", "/v1/KEY?canary-7c1e", "/KEY", "//KEY"] {
        ember.get(&path.replace("KEY", key), Some(key));
        ember.get(&path.replace("KEY", key), None);
    }
    for name in [
        "X-Request-Id",
        "User-Agent",
        "Cookie",
        "Host",
        "X-Forwarded-For",
        "OpenAI-Organization",
        "Content-Type",
    ] {
        ember.send(request_with(key, "{}", &format!("{name}: {key}")).as_bytes());
    }
    let odd = format!("{key} {key} HTTP/1.1\r\nHost: {key}\r\nConnection: close\r\n\r\n");
    ember.raw(odd.as_bytes());
    ember.raw(format!("GET /v1/models HTTP/1.1\r\nAuthorization: Bearer {key}\n\n").as_bytes());
}

#[test]
fn law_2_and_11_no_log_shows_a_key_or_a_prompt_at_the_finest_level() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), UPSTREAM_KEY).unwrap();
    let model = ModelServer::start();
    let home = model.home("", &format!("api_key_file = \"{}\"", secret.path().display()));
    let (key, unknown) = (home.key("good"), crate::model::home("").key("elsewhere"));
    let ember = Ember::start(home.command(&["serve", "-vv"]));
    talk_about_it(&ember, &model, &key);
    misplace(&ember, &key);
    misplace(&ember, &unknown);
    ember.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: the-last\r\nConnection: close\r\n\r\n");
    ember.wait_for_log("the-last");
    let log = ember.log();
    for secret in [&key, &unknown, &key[10..], CANARY, UPSTREAM_KEY] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} in the log");
    }
    assert!(ember.stop().success());
    for (path, bytes) in files_below(&home.data()) {
        for secret in [&key, CANARY, UPSTREAM_KEY] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    }
}

/// The one access line of a request.
fn access_line(ember: &Ember, id: &str) -> serde_json::Value {
    let wanted = format!("\"request_id\":\"{id}\"");
    eventually(id, || ember.log().contains(&wanted));
    let log = ember.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&wanted)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    serde_json::from_str(lines[0]).unwrap()
}

#[test]
fn law_8_each_request_leaves_one_line_that_says_how_it_ended() {
    const USAGE: &str =
        r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#;
    let model = ModelServer::start();
    let home = model.home("", "");
    let key = home.key("good");
    let ember = home.serve();
    let ask = |id: &str| {
        let mut wire = Wire::open(&ember);
        wire.send(request_with(&key, r#"{"model":"m","stream":true}"#, &format!("X-Request-Id: {id}")));
        let mut call = model.call();
        call.say(STREAM);
        call.event("one");
        wire.read_until("one");
        (wire, call)
    };
    let (mut wire, mut call) = ask("done");
    call.chunk(&format!("data: {USAGE}\n\n"));
    call.done();
    wire.rest();
    drop(call);
    let (wire, mut call) = ask("left");
    drop(wire);
    call.time_to_end();
    let (mut wire, call) = ask("died");
    drop(call);
    wire.rest();
    let (mut wire, mut call) = ask("cut");
    home.ok(&["key", "disable", "good"]);
    call.time_to_end();
    wire.rest();
    for (id, ending, source) in [
        ("done", "done", "reported"),
        ("left", "client_gone", "estimated"),
        ("died", "server_died", "estimated"),
        ("cut", "cut", "estimated"),
    ] {
        let line = access_line(&ember, id);
        for (name, value) in [
            ("ending", ending),
            ("tokens_source", source),
            ("model", "m"),
            ("upstream", "scripted"),
            ("route", CHAT),
        ] {
            assert_eq!(line[name], value, "{name} in {line}");
        }
        assert_eq!(line["status"], 200);
        assert!(line["key"].as_str().is_some_and(|key| key.starts_with("key_")), "{line}");
    }
    let line = access_line(&ember, "done");
    assert_eq!((&line["prompt_tokens"], &line["completion_tokens"]), (&11.into(), &7.into()));
}

#[test]
fn law_3_no_use_succeeds_once_a_revocation_is_acknowledged() {
    const CYCLES: usize = 40;
    let (home, ember, _) = served("[models]\necho = true\n");
    for cycle in 0..CYCLES {
        let name = format!("cycle-{cycle}");
        let key = home.key(&name);
        let get = format!("GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n");
        let mut wire = Wire::open(&ember);
        wire.send(&get);
        assert_eq!(wire.answer().status, 200, "at once usable");
        home.ok(&["key", "revoke", &name]);
        wire.send(&get);
        assert_eq!(wire.answer().code(), "api_key_revoked", "on a connection that was open before");
        assert_eq!(ember.get("/v1/models", Some(&key)).code(), "api_key_revoked");
    }
}

#[test]
fn law_3_a_crash_does_not_bring_a_revoked_key_back() {
    const CYCLES: usize = 10;
    let (home, mut ember, _) = served("[models]\necho = true\n");
    for cycle in 0..CYCLES {
        let name = format!("cycle-{cycle}");
        let key = home.key(&name);
        assert_eq!(ember.get("/v1/models", Some(&key)).status, 200);
        home.ok(&["key", "revoke", &name]);
        ember.kill();
        ember = home.serve();
        assert_eq!(ember.get("/v1/models", Some(&key)).code(), "api_key_revoked", "cycle {cycle}");
    }
}
