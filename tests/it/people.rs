//! People and administrators' programs at the public door: cookies, forms, tokens, without a browser.

use serde_json::Value;

use crate::ember::{Answer, Home, chat, request};
use crate::proof;
use crate::visitor::{Browser, PASSWORD, csrf, encoded, value};

fn home(settings: &str) -> Home {
    let home = Home::new(&format!("{settings}\n[models]\necho = true\n"));
    for (email, role) in [("ana@example.com", Some("--admin")), ("bob@example.com", None)] {
        let mut args = vec!["account", "create", email, "--password-stdin"];
        args.extend(role);
        assert!(home.run_with(&args, PASSWORD).status.success());
    }
    home
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.header(name).unwrap_or_default()
}

/// Every page, with something for what stands in its path.
const GETS: [&str; 13] = [
    "/dashboard",
    "/dashboard/keys",
    "/dashboard/keys/new",
    "/dashboard/keys/key_01kaspw4g0000000000000000a",
    "/dashboard/keys/key_01kaspw4g0000000000000000a/edit",
    "/dashboard/account",
    "/dashboard/accounts",
    "/dashboard/accounts/new",
    "/dashboard/accounts/invite",
    "/dashboard/accounts/acct_01kaspw4g0000000000000000b",
    "/dashboard/models",
    "/dashboard/audit",
    "/dashboard/nothing/at/all",
];
const POSTS: [&str; 10] = [
    "/sign-out",
    "/dashboard/keys",
    "/dashboard/keys/key_01kaspw4g0000000000000000a/delete",
    "/dashboard/keys/key_01kaspw4g0000000000000000a/rotate",
    "/dashboard/account/password",
    "/dashboard/account/sessions/end",
    "/dashboard/accounts",
    "/dashboard/accounts/invite",
    "/dashboard/accounts/acct_01kaspw4g0000000000000000b/reset",
    "/dashboard/invites/inv_01kaspw4g0000000000000000c/revoke",
];

#[test]
fn no_page_is_shown_to_a_stranger() {
    let home = home("");
    let key = home.key("app");
    let ember = home.serve();
    let mut gone = Browser::of(&ember, "ana@example.com");
    let old = gone.cookies.clone();
    assert_eq!(gone.submit("/dashboard", "/sign-out", &[]).status, 303);
    let session = old["ember_session"].clone();
    let (start, last) = session.split_at(session.len() - 1);
    let wrong = format!("{start}{}", if last == "a" { "b" } else { "a" });
    for cookie in ["", &session, &wrong, &key, "x", "ember_session_"] {
        for (method, paths) in [("GET", &GETS[..]), ("POST", &POSTS)] {
            for path in paths {
                let mut stranger = Browser::new(&ember);
                stranger.cookies.insert("ember_session".to_string(), cookie.to_string());
                let bearer = format!("Origin: {}\r\nAuthorization: Bearer {key}\r\n", stranger.origin());
                let answer = stranger.send(method, path, &bearer, "csrf=x");
                assert_eq!(answer.status, 303, "{method} {path}: {}", answer.text());
                assert!(header(&answer, "location").starts_with("/sign-in"), "{method} {path}");
                assert!(answer.body.is_empty(), "{method} {path}");
            }
        }
    }
}

#[test]
fn no_command_of_the_admin_api_is_taken_from_a_stranger() {
    let home = home("");
    let key = home.key("app");
    let ember = home.serve();
    let token = home.ok(&["token", "create", "ci"]);
    let gone = home.ok(&["token", "create", "gone"]);
    home.ok(&["token", "revoke", "gone"]);
    let cut = &token[..token.len() - 1];
    let described = ember.get("/admin/openapi.json", None).json();
    let described = described["paths"].as_object().unwrap();
    let mut asked = 0;
    for path in described.keys().map(String::as_str).chain(["/admin/v1/nothing", "/admin/v1/backup"]) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
            for credential in [None, Some(key.as_str()), Some(&gone), Some(cut)] {
                let path = path.replace(['{', '}'], "");
                let answer = ember.send(request(method, &path, credential, "{}").as_bytes());
                assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text());
                assert!(method == "HEAD" || answer.json()["code"] == "unauthenticated");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
                asked += 1;
            }
        }
    }
    assert!(described.len() > 20, "only {}", described.len());
    proof::show_none("requests of the admin API's matrix that passed and should not", asked);
    assert_eq!(ember.get("/admin/v1/keys", Some(&token)).status, 200);
    assert_eq!(ember.get("/admin/v1/nothing", Some(&token)).status, 404);
    assert_eq!(ember.get("/admin/v1/backup", Some(&token)).status, 403, "copies stay on the machine");
    assert_eq!(ember.get("/v1/models", Some(&token)).status, 401, "a token is no key");
}

#[test]
fn a_token_does_what_the_command_line_does() {
    let home = home("");
    let ember = home.serve();
    let token = home.ok(&["token", "create", "ci"]);
    let body =
        r#"{"account":"bob@example.com","name":"by token","environment":"prod","models":["ember-echo"]}"#;
    let made = ember.post("/admin/v1/keys", Some(&token), body).json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(ember.post("/v1/chat/completions", Some(key), &chat("hi", "")).status, 200);
    let shown: Value = serde_json::from_str(&home.ok(&["key", "show", id, "-o", "json"])).unwrap();
    assert_eq!(shown["history"][0]["actor_name"].as_str().unwrap().split(' ').next(), Some("token"));
    assert_eq!(ember.post(&format!("/admin/v1/keys/{id}/revoke"), Some(&token), "{}").status, 200);
    assert_eq!(ember.get("/v1/models", Some(key)).code(), "api_key_revoked");
    let unknown = ember.post("/admin/v1/keys", Some(&token), &body.replace("name", "nome"));
    assert_eq!((unknown.status, unknown.json()["code"].as_str()), (400, Some("invalid")));
    let by_name = ember.get("/admin/v1/keys/by%20token", Some(&token));
    assert_eq!(by_name.json()["status"], "revoked", "a name with a space in the path");
    assert_eq!(ember.post("/admin/v1/tokens", Some(&token), r#"{"name":"more"}"#).status, 403);
    assert!(!ember.log().contains(&token) && !ember.log().contains(key));
}

#[test]
fn a_session_may_use_the_admin_api_with_its_form_token() {
    let home = home("");
    let ember = home.serve();
    let mut bob = Browser::of(&ember, "bob@example.com");
    let csrf = csrf(&bob.get("/dashboard").text());
    let origin = bob.origin();
    let body = r#"{"account":"bob@example.com","name":"mine","environment":"dev"}"#;
    for (headers, status) in [
        (String::new(), 403),
        (format!("Origin: {origin}\r\n"), 403),
        (format!("X-Csrf-Token: {csrf}\r\n"), 403),
        (format!("X-Csrf-Token: {csrf}\r\nOrigin: http://evil.test\r\n"), 403),
        (format!("X-Csrf-Token: {csrf}\r\nOrigin: {origin}\r\nSec-Fetch-Site: cross-site\r\n"), 403),
        (format!("X-Csrf-Token: {csrf}\r\nOrigin: {origin}\r\n"), 200),
    ] {
        let headers = format!("{headers}Content-Type: application/json\r\n");
        let answer = bob.send("POST", "/admin/v1/keys", &headers, body);
        assert_eq!(answer.status, status, "{headers}: {}", answer.text());
    }
    let own = bob.get("/admin/v1/keys").json();
    assert_eq!(own["data"].as_array().unwrap().len(), 1);
    home.key("anas");
    assert_eq!(bob.get("/admin/v1/keys").json()["data"].as_array().unwrap().len(), 1, "his own only");
    assert_eq!(bob.get("/admin/v1/keys/anas").status, 404);
    for others in
        ["/admin/v1/accounts", "/admin/v1/status", "/admin/v1/models", "/admin/v1/audit", "/admin/v1/tokens"]
    {
        assert_eq!(bob.get(others).status, 403, "{others}");
    }
}

#[test]
fn bug_sending_the_form_of_a_link_again_does_not_end_the_link_that_was_handed_over() {
    let home = home("");
    let ember = home.serve();
    let mut ana = Browser::of(&ember, "ana@example.com");
    let bob: Value =
        serde_json::from_str(&home.ok(&["account", "show", "bob@example.com", "-o", "json"])).unwrap();
    let page = format!("/dashboard/accounts/{}", bob["id"].as_str().unwrap());
    let form = ana.get(&page).text();
    let (csrf, once) = (csrf(&form), value(&form, "name=\"once\" value=\""));
    let fields = [("csrf", csrf.as_str()), ("once", once.as_str())];
    let link = value(
        &ana.post(&format!("{page}/reset"), &fields).text(),
        "id=\"issued-link\" class=\"mono\" value=\"",
    );
    let again = ana.post(&format!("{page}/reset"), &fields);
    assert_eq!(
        (again.status, header(&again, "location")),
        (303, "/dashboard/accounts?done=link-sent-before")
    );
    let path = link.strip_prefix(&ana.origin()).unwrap();
    assert_eq!(ana.get(path).status, 200, "the link works still");
}

#[test]
fn bug_every_link_of_the_audit_page_leads_somewhere() {
    let home = home("");
    for name in ["kept", "gone"] {
        home.ok(&["account", "create", &format!("{name}@example.com")]);
        home.ok(&["key", "create", "--name", "app", "--account", &format!("{name}@example.com")]);
    }
    home.ok(&["account", "delete", "gone@example.com", "-y"]);
    let ember = home.serve();
    let mut ana = Browser::of(&ember, "ana@example.com");
    let page = ana.get("/dashboard/audit").text();
    assert!(page.contains("gone@example.com"), "what is deleted keeps its name: {page}");
    let of_things = ["/dashboard/accounts/", "/dashboard/keys/"];
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let links: Vec<_> = links.filter(|link| of_things.iter().any(|of| link.starts_with(of))).collect();
    assert!(links.len() >= 5, "{links:?}");
    for link in links {
        assert_eq!(ana.get(link).status, 200, "{link}");
    }
}

#[test]
fn signing_in_ends_the_session_that_the_browser_had() {
    let home = home("");
    let ember = home.serve();
    let mut ana = Browser::of(&ember, "ana@example.com");
    let mut other = Browser::new(&ember);
    other.cookies.clone_from(&ana.cookies);
    assert_eq!(other.get("/dashboard").status, 200);
    let csrf = csrf(&ana.get("/dashboard").text());
    let fields = [("csrf", csrf.as_str()), ("email", "bob@example.com"), ("password", PASSWORD)];
    assert_eq!(ana.post("/sign-in", &fields).status, 303);
    assert_eq!(ana.get("/dashboard/accounts").status, 404, "bob is no administrator");
    assert_eq!(other.get("/dashboard").status, 303, "ana's session is over");
}

#[test]
fn another_host_and_an_open_network_sign_nobody_in() {
    let home = home("");
    let ember = home.serve();
    let page = |host: &str, more: &str| {
        ember.send(
            format!("GET /sign-in HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n").as_bytes(),
        )
    };
    assert_eq!(page("evil.test", "").status, 421);
    assert_eq!(page("localhost", "").status, 200);
    let proxied = page("localhost", "X-Forwarded-For: 203.0.113.9\r\n");
    assert!(
        proxied.text().contains("server.trusted_proxies") && !proxied.text().contains("name=\"password\"")
    );
    let lan = page("192.0.2.1:7411", "");
    assert!(lan.text().contains("not encrypted") && !lan.text().contains("name=\"password\""));
}

#[test]
fn behind_a_proxy_that_is_known_cookies_are_bound_and_addresses_are_the_clients() {
    let home = Home::new(
        "public_url = \"https://ai.test\"\ntrusted_proxies = [\"127.0.0.1\"]\n[dashboard]\nsign_up = \"invite\"\n\
         [models]\necho = true\n",
    );
    assert!(
        home.run_with(&["account", "create", "ana@example.com", "--admin", "--password-stdin"], PASSWORD)
            .status
            .success()
    );
    let ember = home.serve();
    let send = |method: &str, path: &str, headers: &str, body: &str| {
        ember.send(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: ai.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\n\
                 {headers}Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    };
    let form = send("GET", "/sign-in", "", "");
    let visitor = header(&form, "set-cookie").split(';').next().unwrap().to_string();
    assert!(visitor.starts_with("__Host-ember_visitor="), "{visitor}");
    let fields =
        encoded(&[("csrf", &csrf(&form.text())), ("email", "ana@example.com"), ("password", PASSWORD)]);
    let headers = format!("Cookie: {visitor}\r\nOrigin: https://ai.test\r\n");
    let answer = send("POST", "/sign-in", &headers, &fields);
    assert_eq!(answer.status, 303, "{}", answer.text());
    let session = answer.headers.iter().find(|(_, value)| value.contains("ember_session=")).unwrap();
    assert!(session.1.starts_with("__Host-ember_session=") && session.1.contains("; Secure"), "no Secure");
    let shown = home.ok(&["account", "show", "ana@example.com", "-o", "json"]);
    assert!(shown.contains("from 203.0.113.9"), "{shown}");
    let link = home.ok(&["invite", "create", "cy@example.com"]);
    assert!(link.starts_with("https://ai.test/invite/"), "a link by the public address");
    ember.wait_for_log("203.0.113.9");
}

#[test]
fn a_store_in_trouble_signs_nobody_out() {
    let home = home("");
    let ember = home.serve();
    let mut ana = Browser::of(&ember, "ana@example.com");
    assert_eq!(ana.get("/dashboard").status, 200);
    let csrf = csrf(&ana.get("/dashboard/keys/new").text());
    let long = "x".repeat(70_000);
    let answer = ana.post("/dashboard/keys", &[("csrf", &csrf), ("name", &long)]);
    assert_eq!(answer.status, 413, "a form has a bound");
    assert_eq!(ana.get("/dashboard").status, 200);
}

#[test]
fn a_hundred_sign_ins_at_once_do_not_slow_admission() {
    let home = home("");
    let key = home.key("app");
    let ember = home.serve();
    let mut first = Browser::new(&ember);
    let form = first.get("/sign-in");
    let (csrf, cookies) = (csrf(&form.text()), first.cookies.clone());
    std::thread::scope(|scope| {
        let tries: Vec<_> = (0..100)
            .map(|number| {
                let (ember, csrf, cookies) = (&ember, csrf.clone(), cookies.clone());
                scope.spawn(move || {
                    let mut browser = Browser::with(ember, cookies);
                    let email = format!("nobody{number}@example.com");
                    browser.post("/sign-in", &[("csrf", &csrf), ("email", &email), ("password", "x")]).status
                })
            })
            .collect();
        let mut slowest = std::time::Duration::ZERO;
        while tries.iter().any(|one| !one.is_finished()) {
            let began = std::time::Instant::now();
            assert_eq!(ember.get("/v1/models", Some(&key)).status, 200);
            slowest = slowest.max(began.elapsed());
        }
        let statuses: Vec<_> = tries.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| [403, 429].contains(status)), "{statuses:?}");
        assert!(statuses.contains(&429), "they are bounded: {statuses:?}");
        assert!(slowest < std::time::Duration::from_secs(2), "admission took {slowest:?}");
    });
}
