//! Limits and policies through the front door: what is refused, with which words and headers, and what a restart keeps.

use crate::ember::{Answer, Ember, Home, chat, request};
use crate::model::ModelServer;

const PATH: &str = "/v1/chat/completions";

fn home(settings: &str) -> Home {
    let home = Home::new(&format!("{settings}\n[models]\necho = true\n"));
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

fn key(home: &Home, name: &str, flags: &[&str]) -> String {
    let fixed = ["key", "create", "--account", "ana@example.com", "--name", name];
    home.ok(&[&fixed[..], flags].concat()).trim().to_string()
}

fn ask(server: &Ember, key: &str) -> Answer {
    server.post(PATH, Some(key), &chat("hello", r#","max_tokens":20"#))
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.header(name).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[test]
fn law_10_a_rate_is_told_in_headers_and_its_refusal_says_when_to_come_again() {
    let home = home("");
    let key = key(&home, "app", &["--rpm", "2"]);
    let server = home.serve();
    for left in [1, 0] {
        let answer = ask(&server, &key);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(number(&answer, "x-ratelimit-limit-requests"), 2);
        assert_eq!(number(&answer, "x-ratelimit-remaining-requests"), left);
        assert!(answer.header("x-ratelimit-reset-requests").unwrap().ends_with('s'));
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), None);
    }
    let refused = ask(&server, &key);
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    let wait = number(&refused, "retry-after-ms");
    assert!((1..=30_000).contains(&wait), "{wait}");
    assert_eq!(number(&refused, "retry-after"), wait.div_ceil(1000));
    assert_eq!(number(&refused, "x-ratelimit-remaining-requests"), 0);
    assert_eq!(refused.header("x-should-retry"), None, "waiting helps");
    assert_eq!(server.get("/v1/models", Some(&key)).status, 200, "looking is not limited");
}

#[test]
fn law_10_a_spent_budget_is_no_reason_to_try_again_and_a_restart_does_not_refill_it() {
    let home = home("[limits.account]\ntokens_per_month = 100000");
    let key = key(&home, "app", &["--tokens-total", "60"]);
    let server = home.serve();
    let first = ask(&server, &key);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(number(&first, "x-ratelimit-limit-tokens"), 60, "the one with the least left");
    assert_eq!(first.header("x-ratelimit-reset-tokens"), None, "it never comes back");
    let used = first.json()["usage"]["total_tokens"].as_u64().unwrap();
    let spend = |server: &Ember| {
        let mut used = 0;
        loop {
            let answer = ask(server, &key);
            if answer.status != 200 {
                return (used, answer);
            }
            used += answer.json()["usage"]["total_tokens"].as_u64().unwrap();
        }
    };
    let (more, refused) = spend(&server);
    assert!(used + more <= 60, "{used} and {more}");
    assert_eq!((refused.status, refused.code().as_str()), (429, "insufficient_quota"));
    assert_eq!(refused.json()["error"]["type"], "insufficient_quota");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert!(server.stop().success());
    let server = home.serve();
    assert_eq!(ask(&server, &key).code(), "insufficient_quota", "after a clean restart");
    server.kill();
    let server = home.serve();
    assert_eq!(ask(&server, &key).code(), "insufficient_quota", "after a crash");
    home.ok(&["key", "update", "app", "--tokens-total", "10k"]);
    assert_eq!(ask(&server, &key).status, 200, "more is allowed now");
}

#[test]
fn law_10_a_crash_forgets_no_budget_that_was_used() {
    let home = home("");
    let key = key(&home, "app", &["--rpd", "5"]);
    let mut passed = 0;
    for _ in 0..6 {
        let server = home.serve();
        passed += u32::from(ask(&server, &key).status == 200);
        server.kill();
    }
    assert!((1..=5).contains(&passed), "{passed}");
    let server = home.serve();
    let refused = ask(&server, &key);
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert_eq!(refused.header("x-should-retry"), Some("false"), "nobody waits until midnight");
}

#[test]
fn law_10_a_place_is_free_again_when_its_request_ends_or_its_client_goes() {
    let model = ModelServer::start();
    let home = model.home("", "");
    let key =
        home.ok(&["key", "create", "--account", "ana@example.com", "--name", "app", "--concurrent", "1"]);
    let key = key.trim();
    let server = home.serve();
    let body = chat("hello", r#","model":"m""#).replacen(r#""model":"ember-echo","#, "", 1);
    for _ in 0..3 {
        let mut stream = server.connect();
        std::io::Write::write_all(&mut stream, request("POST", PATH, Some(key), &body).as_bytes()).unwrap();
        let call = model.call();
        let refused = server.post(PATH, Some(key), &body);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (429, "rate_limit_exceeded"),
            "{}",
            refused.text()
        );
        assert_eq!(number(&refused, "retry-after"), 1);
        drop(stream);
        drop(call);
        crate::ember::eventually("the place is free", || {
            let limits = server.get("/v1/key", Some(key)).json()["limits"].clone();
            limits[0]["limit"] == "concurrent_requests" && limits[0]["remaining"] == 1
        });
    }
}

#[test]
fn an_account_is_limited_with_all_its_keys_together() {
    let home = home("");
    let keys = [key(&home, "one", &[]), key(&home, "two", &[])];
    home.ok(&["account", "update", "ana@example.com", "--rpm", "2"]);
    let server = home.serve();
    assert!(keys.iter().all(|key| ask(&server, key).status == 200));
    let refused = ask(&server, &keys[0]);
    assert_eq!(refused.status, 429);
    assert!(
        refused.text().contains("This API key's account may use 2 requests per minute"),
        "{}",
        refused.text()
    );
    home.ok(&["account", "update", "ana@example.com", "--rpm", "unlimited"]);
    assert_eq!(ask(&server, &keys[0]).status, 200, "at once");
}

#[test]
fn a_key_is_used_where_and_for_what_it_may() {
    let home = home("trusted_proxies = [\"127.0.0.1\"]");
    let near = key(&home, "near", &["--addresses", "203.0.113.0/24,::1"]);
    let narrow = key(&home, "narrow", &["--routes", "chat/completions"]);
    let server = home.serve();
    let from = |address: &str| {
        let asked = request("GET", "/v1/models", Some(&near), "");
        server.send(asked.replacen("\r\n", &format!("\r\nX-Forwarded-For: {address}\r\n"), 1).as_bytes())
    };
    assert_eq!(from("203.0.113.9").status, 200);
    assert_eq!(from("::ffff:203.0.113.9").status, 200);
    for address in ["203.0.114.9", "203.0.113.9, 198.51.100.1", "::2"] {
        let refused = from(address);
        assert_eq!((refused.status, refused.code().as_str()), (401, "ip_not_allowed"), "{address}");
    }
    assert_eq!(server.get("/v1/models", Some(&near)).code(), "ip_not_allowed", "the proxy itself");
    assert_eq!(ask(&server, &narrow).status, 200);
    let refused = server.get("/v1/models", Some(&narrow));
    assert_eq!((refused.status, refused.code().as_str()), (403, "insufficient_permissions"));
    assert_eq!(refused.json()["error"]["type"], "permission_error");
}

#[test]
fn a_request_that_never_fits_is_told_so() {
    let home = home("[limits]\ncompletion_tokens = 500");
    let key = key(&home, "app", &["--tpm", "100"]);
    let server = home.serve();
    let refused = server.post(PATH, Some(&key), &chat("hello", ""));
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(refused.header("retry-after"), None);
    assert!(refused.text().contains("Ask for less"), "{}", refused.text());
    assert_eq!(ask(&server, &key).status, 200, "with fewer tokens at most");
}

#[test]
fn a_key_tells_its_holder_what_it_may_and_what_is_left() {
    let home = home("");
    let flags = ["--env", "prod", "--rpm", "5", "--tokens-per-day", "100k", "--models", "ember-echo"];
    let secret = key(&home, "app", &flags);
    home.ok(&[
        "account",
        "update",
        "ana@example.com",
        "--concurrent",
        "4",
        "--routes",
        "chat/completions,models",
    ]);
    let server = home.serve();
    assert_eq!(ask(&server, &secret).status, 200);
    let answer = server.get("/v1/key", Some(&secret));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!((told["name"].as_str(), told["environment"].as_str()), (Some("app"), Some("prod")));
    assert_eq!(told["last4"].as_str(), Some(&secret[secret.len() - 4..]));
    assert_eq!(told["models"], serde_json::json!(["ember-echo"]));
    assert_eq!(told["routes"]["account"], serde_json::json!(["models", "chat/completions"]));
    assert!(!answer.text().contains(&secret));
    let limit = |name: &str, of: &str| {
        let all = told["limits"].as_array().unwrap().iter();
        all.clone().find(|one| one["limit"] == name && one["of"] == of).unwrap().clone()
    };
    assert_eq!(
        (&limit("requests_per_minute", "key")["max"], told["limits"].as_array().unwrap().len()),
        (&5.into(), 3)
    );
    assert_eq!(limit("requests_per_minute", "key")["remaining"], 4);
    let tokens = limit("tokens_per_day", "key")["remaining"].as_u64().unwrap();
    assert!((99_900..100_000).contains(&tokens), "{tokens}");
    assert_eq!(limit("concurrent_requests", "account")["remaining"], 4);
    assert_eq!(told["usage"]["last_24_hours"]["requests"], 1);
    assert_eq!(told["usage"]["last_7_days"], told["usage"]["last_24_hours"]);
    assert!(told["usage"]["last_7_days"]["completion_tokens"].as_u64() > Some(0));
    assert_eq!(server.get("/v1/key", None).code(), "invalid_api_key");
}
