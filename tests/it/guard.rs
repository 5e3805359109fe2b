//! Law 1: nobody passes without a key, whatever the path, the method, the host or the place of the key.

use ember_gateway::types::Timestamp;

use crate::door;
use crate::ember::{Answer, Ember, Home, chat, eventually, request};
use crate::model::home;
use crate::proof;
use crate::wire::Wire;

/// Every route and then some, each with the methods it takes.
const PATHS: [(&str, &[&str]); 20] = [
    ("/v1/models", &["GET", "HEAD"]),
    ("/v1/key", &["GET", "HEAD"]),
    ("/v1/models/ember-echo", &["GET", "HEAD"]),
    ("/v1/models/%65mber-echo", &["GET", "HEAD"]),
    ("/v1/chat/completions", &["POST"]),
    ("/v1/completions", &["POST"]),
    ("/v1/embeddings", &["POST"]),
    ("/v1/responses", &["POST"]),
    (REVOKE, &["POST"]),
    ("/healthz", &["GET", "HEAD"]),
    ("/readyz", &["GET", "HEAD"]),
    ("/v1", &[]),
    ("/V1/models", &[]),
    ("/v1/chat", &[]),
    ("/v1/nothing", &[]),
    ("/v1/messages", &[]),
    ("/admin", &[]),
    ("/admin/v2/keys", &[]),
    ("/dashboards", &[]),
    ("/metrics", &[]),
];

/// Takes the key away that it is asked with.
const REVOKE: &str = "/v1/key/revoke";

const METHODS: [&str; 11] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "post", "BREW"];

fn is_open(path: &str) -> bool {
    ["/healthz", "/readyz"].contains(&path)
}

/// Some of the paths that are for people and administrators' programs, all of them only with a session or a token.
const OF_PEOPLE: [&str; 7] = [
    "/admin/v1/keys",
    "/admin/v1/accounts",
    "/admin/v1/status",
    "/dashboard",
    "/dashboard/keys/new",
    "/dashboard/accounts",
    "/dashboard/audit",
];

/// Paths for people and for administrators' programs, which take no key: `it/people` tries each of them.
fn is_of_people(path: &str) -> bool {
    let exact = ["/", "/sign-in", "/sign-out", "/sign-up", "/invite", "/reset", "/dashboard"];
    let below = ["/dashboard/", "/invite/", "/reset/", "/assets/", "/admin/v1/"];
    exact.contains(&path) || below.iter().any(|start| path.starts_with(start))
}

/// A body that the route takes.
fn body(path: &str) -> String {
    match path {
        "/v1/chat/completions" => chat("hi", ""),
        "/v1/completions" => r#"{"model":"ember-echo","prompt":"hi"}"#.to_string(),
        "/v1/embeddings" | "/v1/responses" => r#"{"model":"ember-echo","input":"hi"}"#.to_string(),
        _ => String::new(),
    }
}

/// A key that Ember never issued here, though its checksum is right.
fn unknown_key() -> String {
    home("").key("elsewhere")
}

fn wrong_checksum(key: &str) -> String {
    let last = if key.ends_with('a') { 'b' } else { 'a' };
    format!("{}{last}", &key[..key.len() - 1])
}

/// A key that lives for three seconds.
fn short_lived(home: &Home) -> String {
    #[expect(clippy::disallowed_methods, reason = "the server under test has the machine's clock")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let end = Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap() + 3000).to_string();
    let wanted = serde_json::json!({
        "account": "ana@example.com", "name": "expired", "environment": "dev", "expires_at": end,
    });
    let made = door::ask(&home.data(), "POST", "/admin/v1/keys", "", &wanted.to_string()).unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
    made.json()["key"].as_str().unwrap().to_string()
}

/// A server, a good key, and the credentials that are refused with their code.
fn served() -> (Home, Ember, String, Vec<(String, &'static str)>) {
    let home = Home::with_echo();
    home.ok(&["account", "create", "bob@example.com"]);
    let good = home.key("good");
    let other = |name: &str| home.key(name);
    let bobs = home.ok(&["key", "create", "--account", "bob@example.com", "--name", "bobs"]);
    let mut refused = vec![
        (other("revoked"), "api_key_revoked"),
        (other("rotated"), "api_key_revoked"),
        (other("disabled"), "api_key_disabled"),
        (bobs, "api_key_disabled"),
    ];
    let token = home.ok(&["token", "create", "ci"]);
    for unknown in ["nonsense".to_string(), String::new(), unknown_key(), wrong_checksum(&good), token] {
        refused.push((unknown, "invalid_api_key"));
    }
    let ember = home.serve();
    let expired = short_lived(&home);
    home.ok(&["key", "revoke", "revoked"]);
    home.ok(&["key", "rotate", "rotated", "--now"]);
    home.ok(&["key", "disable", "disabled"]);
    home.ok(&["account", "disable", "bob@example.com"]);
    eventually("a ready server", || ember.get("/readyz", None).status == 200);
    eventually("the key expires", || ember.get("/v1/key", Some(&expired)).status == 401);
    refused.push((expired, "api_key_expired"));
    (home, ember, good, refused)
}

fn ask(ember: &Ember, method: &str, path: &str, key: Option<&str>) -> Answer {
    ember.send(request(method, path, key, &body(path)).as_bytes())
}

fn assert_error(answer: &Answer, method: &str, status: u16, code: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert!(answer.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{what}");
    if method == "HEAD" {
        assert!(answer.body.is_empty(), "{what}");
    } else {
        assert_eq!(answer.code(), code, "{what}");
    }
    assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"), "{what}");
}

#[test]
fn law_1_every_route_method_and_credential() {
    let (home, ember, good, refused) = served();
    let mut credentials: Vec<(Option<&str>, &str)> = vec![(None, "invalid_api_key")];
    credentials.extend(refused.iter().map(|(key, code)| (Some(key.as_str()), *code)));
    let asked = PATHS.len() * METHODS.len() * (credentials.len() + 1);
    for (path, takes) in PATHS {
        for method in METHODS {
            let wrong_method = if takes == ["POST"] { "POST" } else { "GET, HEAD" };
            for (key, code) in &credentials {
                let what = format!("{method} {path} with {key:?}");
                let answer = ask(&ember, method, path, *key);
                if !is_open(path) {
                    assert_error(&answer, method, 401, code, &what);
                } else if takes.contains(&method) {
                    assert_eq!(answer.status, 200, "{what}");
                } else {
                    assert_error(&answer, method, 405, "method_not_allowed", &what);
                }
            }
            let what = format!("{method} {path} with a good key");
            let spare = (path == REVOKE).then(|| home.key(&format!("spare {method}")));
            let answer = ask(&ember, method, path, Some(spare.as_ref().unwrap_or(&good)));
            if takes.contains(&method) {
                assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                assert_eq!(answer.body.is_empty(), method == "HEAD", "{what}");
            } else if takes.is_empty() {
                assert_error(&answer, method, 404, "not_found", &what);
            } else {
                assert_error(&answer, method, 405, "method_not_allowed", &what);
                assert_eq!(answer.header("allow"), Some(wrong_method), "{what}");
            }
        }
    }
    proof::show("requests of the matrix route x method x credential", asked, "all");
    proof::show_none("of those that passed and should not", asked);
}

/// An answer without what differs from one to the next by nature.
fn without_time(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let own = ["date", "x-request-id", "openai-processing-ms"];
    let shared = |(name, _): &&(String, String)| !own.contains(&name.as_str());
    (answer.status, answer.headers.iter().filter(shared).cloned().collect(), answer.body.clone())
}

#[test]
fn law_1_missing_malformed_and_unknown_keys_get_one_and_the_same_answer() {
    let (_home, ember, _, refused) = served();
    let first = without_time(&ember.get("/v1/models", None));
    let unknown = refused.iter().filter(|(_, code)| *code == "invalid_api_key");
    let mut values: Vec<String> = unknown.map(|(key, _)| format!("Bearer {key}")).collect();
    values.extend(["Basic YTpi", "Bearer", "Token x", "\u{1}", ", Bearer x"].map(str::to_string));
    values.push(format!("Bearer {}", "x".repeat(10_000)));
    for (path, _) in PATHS.iter().filter(|(path, _)| !is_open(path)) {
        for value in &values {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {value}\r\nConnection: close\r\n\r\n"
            );
            if value.contains('\u{1}') {
                // No header at all may have such bytes; then the request is none.
                assert!([400, 401].contains(&ember.send(head.as_bytes()).status));
                continue;
            }
            assert_eq!(without_time(&ember.send(head.as_bytes())), first, "{path} with {value:.60}");
        }
    }
}

/// A fixed sequence of numbers from a seed (SplitMix64), so that a failure can be seen again.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % bound
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// What is put into a path, anywhere.
const INSERTS: [&str; 32] = [
    "/",
    "//",
    "/./",
    "/../",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    "%2f",
    "%2F",
    "%5c",
    "%5C",
    "%255c",
    "%2500",
    "\\",
    ";x",
    ";a=b/",
    "%00",
    "%0d%0a",
    "%252e",
    "%252f",
    "%c0%af",
    "%ef%bc%8f",
    "%",
    "%zz",
    "?",
    "*",
    "@",
    "\u{e9}",
    "\u{ff0f}",
    "/healthz",
    "/v1",
];

const STARTS: [&str; 13] = [
    "http://ember.test",
    "https://ember.test",
    "http://localhost:7411",
    "//ember.test",
    "ember.test:80",
    "/healthz/..",
    "/healthz/../",
    "/healthz;",
    "/healthz?",
    "/healthz%2f..",
    "/readyz//",
    "/.",
    "",
];

/// A way in which a path can be odd: its name, and whether a path is so.
type Oddity = (&'static str, fn(&str) -> bool);

/// Each of these must be tried.
const ODDITIES: [Oddity; 16] = [
    ("//", |path| path.contains("//")),
    ("/./", |path| path.contains("/./")),
    ("..", |path| path.contains("..")),
    ("%2e", |path| path.to_lowercase().contains("%2e")),
    ("%2f", |path| path.to_lowercase().contains("%2f")),
    ("%5c", |path| path.to_lowercase().contains("%5c")),
    ("a backslash", |path| path.contains('\\')),
    (";x", |path| path.contains(";x")),
    ("case", |path| PATHS.iter().any(|(known, _)| path != *known && path.eq_ignore_ascii_case(known))),
    ("a trailing slash", |path| path.len() > 1 && path.ends_with('/')),
    ("%00", |path| path.contains("%00")),
    ("double encoding", |path| path.contains("%25")),
    ("a broken escape", |path| path.contains("%zz")),
    ("absolute form", |path| path.starts_with("http://") || path.starts_with("https://")),
    ("no path", str::is_empty),
    ("absolute form with no path", |path| path == "http://ember.test" || path == "https://ember.test"),
];

fn mutated(dice: &mut Dice) -> String {
    let start = dice.below(PATHS.len() + OF_PEOPLE.len());
    let mut path =
        PATHS.get(start).map_or_else(|| OF_PEOPLE[start - PATHS.len()], |known| known.0).to_string();
    for _ in 0..=dice.below(3) {
        let places: Vec<usize> = path.char_indices().map(|(at, _)| at).chain([path.len()]).collect();
        let at = places[dice.below(places.len())];
        match dice.below(6) {
            0 => path = format!("{}{path}", dice.pick(&STARTS)),
            1 if at < path.len() => {
                let letter = path[at..].chars().next().unwrap();
                let swapped = if letter.is_ascii_lowercase() {
                    letter.to_ascii_uppercase()
                } else {
                    letter.to_ascii_lowercase()
                };
                path.replace_range(at..at + letter.len_utf8(), &swapped.to_string());
            }
            2 if at < path.len() => {
                let letter = path[at..].chars().next().unwrap();
                let escaped: String = letter.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
                path.replace_range(at..at + letter.len_utf8(), &escaped);
            }
            3 => path.truncate(if dice.below(4) == 0 { 0 } else { at }),
            _ => path.insert_str(at, dice.pick(&INSERTS)),
        }
    }
    path
}

#[test]
fn law_1_no_odd_path_reaches_a_handler_without_a_key() {
    let rounds = proof::size(4000, 100_000);
    let (_home, ember, good, _) = served();
    let (own, mut dice) = (ember.address.to_string(), Dice(7411));
    let mut tried = ODDITIES.map(|(what, _)| (what, 0));
    for round in 0..rounds {
        let path = mutated(&mut dice);
        for ((_, is_so), (_, count)) in ODDITIES.iter().zip(&mut tried) {
            *count += usize::from(is_so(&path));
        }
        let query = if round % 3 == 0 { format!("?api_key={good}&key={good}") } else { String::new() };
        let method = dice.pick(&["GET", "POST", "HEAD", "OPTIONS"]);
        let is_own = round % 2 == 0;
        let host = if is_own { &own } else { "ember.test" };
        let head = format!(
            "{method} {path}{query} HTTP/1.1\r\nHost: {host}\r\nX-Original-URL: /healthz\r\n\
             X-Forwarded-For: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = ember.raw(head.as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let exact = path.split('?').next().unwrap();
        if is_open(exact) {
            assert!([200, 405].contains(&status), "{method} {path}: {status}");
        } else if is_of_people(exact) {
            // Pages are there under Ember's own name only, and lead to the sign-in; / leads to one of them.
            let refusals: &[u16] = match is_own {
                true if exact.starts_with("/admin/") => &[400, 401],
                true => &[303, 400, 401, 403, 404, 405],
                false => &[400, 401, 404, 405, 421],
            };
            assert!(refusals.contains(&status), "{method} {path} at {host}: {status}");
            let next = if exact == "/" { "\r\nlocation: /dashboard\r\n" } else { "\r\nlocation: /sign-in" };
            assert!(status != 303 || answer.contains(next), "{method} {path}: {answer}");
        } else {
            assert!([400, 401].contains(&status), "round {round}: {method} {path}{query}: {status}");
        }
    }
    let (rarest, least) = tried.into_iter().min_by_key(|(_, count)| *count).unwrap();
    assert!(least > 0, "never tried: {rarest}");
    proof::show("mutated paths without a key", rounds, "100,000");
    let kinds = format!("{}, each at least {least} times", tried.len());
    proof::show("kinds of oddity among them", kinds, "each");
    proof::show_none("of those that reached a handler", rounds);
}

#[test]
fn law_1_odd_paths_are_refused_with_a_key_too() {
    let (_home, ember, good, _) = served();
    for path in [
        "//v1/models",
        "/v1//models",
        "/v1/./models",
        "/v1/../v1/models",
        "/v1/%6dodels",
        "/v1/models/",
        "/v1/models;x",
        "/v1\\models",
        "/v1/models%00",
        "/v1/models/..",
        "/v1/models/%zz",
        "http://ember.test/v1/models",
        "*",
    ] {
        let answer = ember.get(path, Some(&good));
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert_eq!(answer.code(), "bad_request", "{path}");
    }
}

#[test]
fn a_fragment_in_the_target_is_odd_and_is_not_dropped() {
    let (_home, ember, good, _) = served();
    for (path, key) in
        [("/healthz#x", None), ("/v1/models#x", Some(good.as_str())), ("/v1/models/ember-echo#", Some(&good))]
    {
        let answer = ember.get(path, key);
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert_eq!(answer.code(), "bad_request", "{path}");
    }
}

#[test]
fn law_1_odd_targets_get_an_answer_or_none_but_never_a_handler() {
    let (_home, ember, good, _) = served();
    for line in [
        "GET /healthz",
        "GET  /healthz HTTP/1.1",
        "GET /healthz HTTP/1.1 x",
        "GET ember:80 HTTP/1.1",
        "GET * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT /v1/models HTTP/1.1",
        "CONNECT ember.test:80 HTTP/1.1",
        "CONNECT /healthz HTTP/1.1",
        "GET healthz HTTP/1.1",
        "GET /v1/models HTTP/2.0",
        "GET /v1/models HTTP/1.2",
        "GET /v1/models",
        " GET /v1/models HTTP/1.1",
        "GET\t/v1/models\tHTTP/1.1",
        "GET /v1/models HTTP/1.1\r",
    ] {
        for key in ["", &format!("Authorization: Bearer {good}\r\n")] {
            let head = format!("{line}\r\nHost: ember.test\r\n{key}Connection: close\r\n\r\n");
            let answer = ember.raw(head.as_bytes());
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains(" 200 "), "{line:?} (key: {}): {text}", !key.is_empty());
        }
    }
}

#[test]
fn law_1_a_host_or_a_header_of_a_proxy_opens_nothing() {
    let (_home, ember, ..) = served();
    for header in [
        "Host: localhost",
        "Host: 127.0.0.1:7411",
        "Host: ember",
        "Host: [::1]",
        "Host: a\r\nX-Forwarded-For: 127.0.0.1",
        "Host: a\r\nForwarded: for=127.0.0.1",
        "Host: a\r\nX-Forwarded-Host: localhost",
        "Host: a\r\nX-Original-URL: /healthz",
        "Host: a\r\nX-Rewrite-URL: /healthz",
        "Host: a\r\nX-HTTP-Method-Override: OPTIONS",
        "Host: a\r\nOrigin: http://localhost:7411\r\nAccess-Control-Request-Method: GET",
        "Host: a\r\nEmber-Version: 0.1.0",
    ] {
        for method in ["GET", "OPTIONS"] {
            let head = format!("{method} /v1/models HTTP/1.1\r\n{header}\r\nConnection: close\r\n\r\n");
            let answer = ember.send(head.as_bytes());
            assert_error(&answer, "GET", 401, "invalid_api_key", header);
            assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{header}");
        }
    }
}

#[test]
fn a_key_counts_in_one_authorization_header_and_nowhere_else() {
    let (_home, ember, good, _) = served();
    let get = |headers: &str| {
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n\r\n");
        ember.send(head.as_bytes())
    };
    for headers in [
        format!("Cookie: key={good}; Authorization=Bearer {good}"),
        format!("X-Api-Key: {good}"),
        format!("Api-Key: {good}"),
        format!("Proxy-Authorization: Bearer {good}"),
        format!("X-Authorization: Bearer {good}"),
        format!("Authorization: {good}"),
        format!("Authorization: Bearer{good}"),
        format!("Authorization: Basic {good}"),
        format!("Authorization: Bearer {good},"),
        format!("Authorization: Bearer {good} {good}"),
        format!("Authorization: Bearer \"{good}\""),
        format!("Sec-WebSocket-Protocol: openai-insecure-api-key.{good}"),
    ] {
        assert_eq!(get(&headers).code(), "invalid_api_key", "{headers}");
    }
    for path in [format!("/v1/models?key={good}"), format!("/v1/models?authorization=Bearer%20{good}")] {
        assert_eq!(ember.get(&path, None).code(), "invalid_api_key");
    }
    let in_body = format!("{{\"api_key\":\"{good}\",\"model\":\"ember-echo\",\"messages\":[]}}");
    assert_eq!(ember.post("/v1/chat/completions", None, &in_body).code(), "invalid_api_key");
    let mut trailer = Wire::open(&ember);
    trailer.send(format!(
        "POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n\
         0\r\nAuthorization: Bearer {good}\r\n\r\n"
    ));
    assert_eq!(trailer.answer().code(), "invalid_api_key");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(get(&format!("Authorization: {scheme} {good}")).status, 200, "{scheme} (RFC 9110, 11.1)");
        assert_eq!(get(&format!("aUTHORIZATION: {scheme} {good}")).status, 200);
    }
}

#[test]
fn two_authorization_headers_are_refused_whatever_they_hold() {
    let (_home, ember, good, refused) = served();
    let (good, bad) = (format!("Bearer {good}"), format!("Bearer {}", refused[0].0));
    for (first, second) in [(&good, &good), (&good, &bad), (&bad, &good), (&bad, &bad)] {
        for name in ["Authorization", "authorization"] {
            let answer = ember.send(
                format!(
                    "GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {first}\r\n\
                     {name}: {second}\r\n\r\n"
                )
                .as_bytes(),
            );
            assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"));
        }
    }
}

#[test]
fn no_refusal_shows_the_key_it_refuses() {
    let (_home, ember, good, refused) = served();
    for (key, _) in refused.iter().chain([&(format!("{good}x"), "")]).filter(|(key, _)| key.len() > 20) {
        for path in ["/v1/models", "/v1/nothing", "/v1/../x", &format!("/v1/models/{key}")] {
            let answer = ember.get(path, Some(key));
            assert_eq!(answer.status, 401);
            assert!(!answer.text().contains(&key[..20]), "{}", answer.text());
        }
        assert!(!ember.log().contains(key.as_str()), "a key in the log");
    }
    assert!(!ember.log().contains(&good));
}
