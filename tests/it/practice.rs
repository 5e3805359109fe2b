//! One key for each application: keys that nobody uses, and all keys of an environment gone at once.

use serde_json::Value;

use crate::ember::{Home, chat, eventually};

fn list(home: &Home, more: &[&str]) -> Vec<String> {
    let args = [&["key", "list", "-o", "json"], more].concat();
    let json: Value = serde_json::from_str(&home.ok(&args)).unwrap();
    let names = json["data"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_string());
    names.collect()
}

#[test]
fn unused_keys_are_listed_by_the_command_and_the_admin_api() {
    let home = Home::with_echo();
    let (used, _) = (home.key("used"), home.key("never"));
    home.key("gone");
    let ember = home.serve();
    home.ok(&["key", "revoke", "gone"]);
    assert_eq!(ember.post("/v1/chat/completions", Some(&used), &chat("hi", "")).status, 200);
    eventually("its use is known", || !list(&home, &["--unused", "30d"]).contains(&"used".to_string()));
    assert_eq!(list(&home, &["--unused", "30d"]), ["never"], "a revoked key is no news");
    assert_eq!(list(&home, &["--unused", "30d", "--status", "revoked"]), ["gone"]);
    eventually("a second without use", || list(&home, &["--unused", "1s"]) == ["used", "never"]);
    let ask = |path: &str| crate::door::ask(&home.data(), "GET", path, "", "").unwrap();
    let page = ask("/admin/v1/keys?unused_seconds=0&limit=1").json();
    assert_eq!((&page["data"][0]["name"], &page["has_more"]), (&"used".into(), &true.into()));
    let after = page["last_id"].as_str().unwrap();
    let rest = ask(&format!("/admin/v1/keys?unused_seconds=0&limit=1&after={after}")).json();
    assert_eq!((&rest["data"][0]["name"], &rest["has_more"]), (&"never".into(), &false.into()));
    assert_eq!(ask("/admin/v1/keys?unused_seconds=x").status, 400);
}

#[test]
fn law_3_all_keys_of_an_environment_are_revoked_at_once_and_no_others() {
    let home = Home::with_echo();
    home.ok(&["account", "create", "bob@example.com"]);
    let make = |account: &str, env: &str, name: &str| {
        home.ok(&["key", "create", "--account", account, "--env", env, "--name", name])
    };
    let staging: Vec<_> = (0..5).map(|n| make("ana@example.com", "staging", &format!("s{n}"))).collect();
    let prod = make("ana@example.com", "prod", "prod");
    let bobs = make("bob@example.com", "staging", "bobs");
    let ember = home.serve();
    let code = |key: &str| {
        let answer = ember.get("/v1/models", Some(key));
        if answer.status == 200 { String::new() } else { answer.code() }
    };
    assert_eq!(staging.iter().map(|key| code(key)).collect::<String>(), "");
    let revoke = ["key", "revoke", "--account", "ana@example.com", "--env", "staging", "--all"];
    let said = home.run(&revoke);
    assert!(said.status.success());
    assert!(
        String::from_utf8_lossy(&said.stderr)
            .contains("5 keys of ana@example.com (staging) revoked for good")
    );
    assert!(staging.iter().all(|key| code(key) == "api_key_revoked"));
    assert_eq!((code(&prod), code(&bobs)), (String::new(), String::new()));
    assert_eq!(
        home.ok(&[&revoke[..], &["-o", "json"]].concat()),
        "{\n  \"object\": \"keys_revoked\",\n  \"revoked\": 0\n}"
    );
    let path = "/admin/v1/accounts/ana@example.com/keys/revoke";
    let answer =
        crate::door::ask(&home.data(), "POST", path, "", r#"{"environment":"prod","reason":"moved"}"#)
            .unwrap();
    assert_eq!((answer.status, &answer.json()["revoked"]), (200, &1.into()));
    assert_eq!(code(&prod), "api_key_revoked");
    let shown: Value = serde_json::from_str(&home.ok(&["key", "show", "prod", "-o", "json"])).unwrap();
    assert_eq!(shown["revoked_reason"], "moved");
    ember.kill();
    let ember = home.serve();
    assert!(staging.iter().all(|key| ember.get("/v1/models", Some(key)).code() == "api_key_revoked"));
    for wrong in [
        &["--all"][..],
        &["--account", "ana@example.com"],
        &["x", "--all", "--account", "a@b.test"],
        &["--env", "prod"],
    ] {
        let output = home.run(&[&["key", "revoke"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn keys_that_nobody_uses_expire_where_the_operator_wants_it() {
    let home = Home::new("[models]\necho = true\n[keys]\nunused_expiry = \"1s\"\n");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let key = home.key("app");
    let ember = home.serve();
    let status = || {
        let shown: Value = serde_json::from_str(&home.ok(&["key", "show", "app", "-o", "json"])).unwrap();
        (
            shown["status"].as_str().unwrap().to_string(),
            shown["history"].as_array().unwrap().last().unwrap().clone(),
        )
    };
    eventually("the key expires", || status().0 == "expired");
    assert_eq!(ember.get("/v1/models", Some(&key)).code(), "api_key_expired");
    let last = status().1;
    assert_eq!((&last["action"], &last["actor"]), (&"key.expired".into(), &"ember".into()));
    assert!(last["detail"].as_str().unwrap().starts_with("unused since "), "{last}");
    assert!(ember.stop().success());
    home.ok(&["key", "update", "app", "--expires", "never"]);
    assert_eq!(status().0, "active", "it is reversible");
}
