//! Keys do not belong in browsers: what browsers send is refused, unless the key and the page's origin are allowed.

use serde_json::Value;

use crate::ember::{Answer, Ember, Home, chat};

const APP: &str = "https://app.example.com";

/// A home whose configuration names an origin.
fn home() -> Home {
    let home =
        Home::new(&format!("cors_origins = [\"{APP}\", \"http://localhost:3000\"]\n[models]\necho = true\n"));
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

fn open_key(home: &Home, name: &str) -> String {
    home.ok(&["key", "create", "--account", "ana@example.com", "--name", name, "--allow-browser"])
}

fn send(ember: &Ember, method: &str, path: &str, key: Option<&str>, headers: &[&str]) -> Answer {
    let body = if method == "POST" { chat("hi", "") } else { String::new() };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: ember.test\r\nConnection: close\r\n");
    let key = key.map(|key| format!("Authorization: Bearer {key}"));
    for line in headers.iter().copied().chain(key.as_deref()) {
        head.push_str(&format!("{line}\r\n"));
    }
    head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    ember.send(head.as_bytes())
}

fn post(ember: &Ember, key: &str, headers: &[&str]) -> Answer {
    send(ember, "POST", "/v1/chat/completions", Some(key), headers)
}

fn shown(home: &Home, key: &str) -> Value {
    serde_json::from_str(&home.ok(&["key", "show", key, "-o", "json"])).unwrap()
}

#[test]
fn what_browsers_send_is_refused_and_programs_pass() {
    let home = Home::with_echo();
    let (key, open) = (home.key("app"), open_key(&home, "open"));
    let ember = home.serve();
    for browser in [
        &["Origin: https://app.example.com"][..],
        &["Origin: null"],
        &["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"],
        &["sec-fetch-dest: document"],
    ] {
        for key in [&key, &open] {
            let answer = post(&ember, key, browser);
            assert_eq!((answer.status, answer.code().as_str()), (403, "browser_not_allowed"), "{browser:?}");
            assert_eq!(answer.json()["error"]["type"], "permission_error");
            assert!(answer.json()["error"]["message"].as_str().unwrap().contains("your own server"));
            assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control")));
        }
        // Who has no key learns nothing.
        let answer = send(&ember, "GET", "/v1/models", None, browser);
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_api_key"), "{browser:?}");
    }
    for program in [
        &[][..],
        // Node's own fetch, which the official Node SDK uses.
        &["accept-language: *", "sec-fetch-mode: cors", "user-agent: node", "accept-encoding: gzip, deflate"],
        &[
            "User-Agent: OpenAI/JS 6.49.0",
            "X-Stainless-Lang: js",
            "sec-fetch-mode: cors",
            "accept-language: *",
        ],
        &["User-Agent: Mozilla/5.0", "Referer: https://app.example.com/"],
    ] {
        assert_eq!(post(&ember, &key, program).status, 200, "{program:?}");
    }
}

#[test]
fn an_allowed_key_works_from_a_configured_origin_and_nowhere_else() {
    let home = home();
    let (key, open) = (home.key("app"), open_key(&home, "open"));
    let ember = home.serve();
    let origin = format!("Origin: {APP}");
    let good = post(&ember, &open, &[&origin, "Sec-Fetch-Site: cross-site"]);
    assert_eq!(good.status, 200, "{}", good.text());
    let refused = post(&ember, &key, &[&origin]);
    assert_eq!((refused.status, refused.code().as_str()), (403, "browser_not_allowed"));
    let unknown = send(&ember, "GET", "/v1/models", Some("nonsense"), &[&origin]);
    assert_eq!(unknown.status, 401);
    let missing = send(&ember, "GET", "/v1/nothing", Some(&open), &[&origin]);
    assert_eq!(missing.status, 404);
    for answer in [&good, &refused, &unknown, &missing] {
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert_eq!(answer.header("vary"), Some("origin"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in ["x-request-id", "retry-after-ms", "x-ratelimit-remaining-tokens", "openai-processing-ms"]
        {
            assert!(exposed.split(", ").any(|one| one == name), "{name}");
        }
    }
    for headers in [
        &["Origin: https://evil.example.com"][..],
        &["Origin: https://app.example.com.evil.test"],
        &["Origin: http://app.example.com"],
        &["Origin: null"],
        &[&origin, "Origin: https://evil.example.com"],
        &["Sec-Fetch-Site: same-origin"],
    ] {
        let answer = post(&ember, &open, headers);
        assert_eq!((answer.status, answer.code().as_str()), (403, "browser_not_allowed"), "{headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{headers:?}");
        assert_eq!(answer.header("vary"), Some("origin"));
    }
    // Programs are asked for no origin.
    assert_eq!(post(&ember, &key, &[]).header("access-control-allow-origin"), None);
}

#[test]
fn law_1_a_preflight_takes_no_key_and_does_nothing_else() {
    let home = home();
    let ember = home.serve();
    let origin = format!("Origin: {APP}");
    let asks = [origin.as_str(), "Access-Control-Request-Method: POST"];
    let names = "Access-Control-Request-Headers: authorization,content-type,x-stainless-os";
    let answer = send(&ember, "OPTIONS", "/v1/chat/completions", None, &[asks[0], asks[1], names]);
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization,content-type,x-stainless-os")
    );
    assert!(answer.header("access-control-max-age").is_some());
    assert!(answer.header("vary").unwrap().starts_with("origin, "));
    assert!(answer.header("x-request-id").is_some());
    let models = send(&ember, "OPTIONS", "/v1/models/a/b", None, &asks);
    assert_eq!(models.header("access-control-allow-methods"), Some("GET, HEAD"));
    for (method, path, headers) in [
        ("OPTIONS", "/v1/models", &asks[..1]),
        ("OPTIONS", "/v1/models", &asks[1..]),
        ("OPTIONS", "/v1/models", &["Origin: https://evil.test", asks[1]]),
        ("OPTIONS", "/v1/nothing", &asks),
        ("OPTIONS", "/v1//models", &asks),
        ("OPTIONS", "/v1/../healthz", &asks),
        ("GET", "/v1/models", &asks),
        ("HEAD", "/v1/models", &asks),
        ("POST", "/v1/chat/completions", &asks),
        ("options", "/v1/models", &asks),
    ] {
        let answer = send(&ember, method, path, None, headers);
        assert_eq!(answer.status, 401, "{method} {path} {headers:?}");
    }
    for path in ["/healthz", "/admin/v1/keys", "/dashboard", "/sign-in"] {
        let answer = send(&ember, "OPTIONS", path, None, &asks);
        assert!(answer.status >= 400, "{path}: {}", answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[test]
fn without_configured_origins_nothing_answers_a_preflight() {
    let home = Home::with_echo();
    let open = open_key(&home, "open");
    let ember = home.serve();
    let asks = ["Origin: https://app.example.com", "Access-Control-Request-Method: GET"];
    assert_eq!(send(&ember, "OPTIONS", "/v1/models", None, &asks).status, 401);
    let plain = send(&ember, "OPTIONS", "/v1/models", Some(&open), &[]);
    assert_eq!((plain.status, plain.header("vary")), (405, None));
}

#[test]
fn refused_browsers_are_counted_and_users_are_shown_and_a_stop_loses_nothing() {
    let home = home();
    let key = home.key("app");
    let ember = home.serve();
    for _ in 0..3 {
        post(&ember, &key, &["Origin: https://shop.example.com\u{7f}<x>"]);
        post(&ember, &key, &["Origin: https://shop.example.com"]);
    }
    post(&ember, &key, &["User-Agent: OpenAI/Python 1.99.9 (x)"]);
    post(&ember, &key, &["User-Agent: OpenAI/Python 1.99.9 (x)"]);
    post(&ember, &key, &["User-Agent: curl/8.5.0"]);
    let seen = shown(&home, "app")["seen"].clone();
    // A header with a control character is no request at all.
    assert_eq!(seen["browsers_refused"]["requests"], 3, "{seen}");
    assert_eq!(seen["browsers_refused"]["origin"], "https://shop.example.com");
    let users = seen["users"].as_array().unwrap();
    assert_eq!((users.len(), users[0]["client"].as_str()), (2, Some("curl/8.5.0")));
    assert_eq!((&users[1]["requests"], &users[1]["address"]), (&2.into(), &"127.0.0.1".into()));
    assert_eq!(seen["spread"], Value::Null);
    post(&ember, &key, &["User-Agent: node"]);
    assert_eq!(shown(&home, "app")["seen"]["spread"]["clients"], 3);
    assert!(ember.stop().success());
    let after = shown(&home, "app")["seen"].clone();
    assert_eq!(
        (&after["browsers_refused"], after["users"].as_array().unwrap().len()),
        (&seen["browsers_refused"], 3)
    );
    let text = home.ok(&["key", "show", "app"]);
    for part in
        ["Browsers refused", "https://shop.example.com", "OpenAI/Python 1.99.9", "3 different clients"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn origins_that_no_browser_sends_are_refused_by_name() {
    for (origin, word) in [
        ("https://app.example.com/", "slash"),
        ("app.example.com", "no origin"),
        ("*", "no origin"),
        ("https://App.example.com", "capitals"),
        ("https://app.example.com:443", "own port"),
        ("null", "no origin"),
    ] {
        let home = Home::new(&format!("cors_origins = [\"{origin}\"]\n"));
        let output = home.run(&["config", "check"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("server.cors_origins"), "{origin}: {text}");
        assert!(text.contains(word), "{origin}: {text}");
    }
}
