//! `ember reload` and the hang-up signal: what changes at once, what is named, and that a bad file changes nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::ember::{Answer, Ember, Home, chat, eventually, request};
use crate::model::{self, ModelServer};

const PATH: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"m","messages":[]}"#;

/// Puts other settings in the file.
fn write(home: &Home, settings: &str) {
    let text = format!("[server]\nlisten = \"127.0.0.1:0\"\n{settings}");
    std::fs::write(home.file("ember.toml"), text).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a reload that must succeed says.
fn reload(home: &Home) -> Value {
    serde_json::from_str(&home.ok(&["reload", "-o", "json"])).unwrap()
}

/// Puts other settings in the file and has them loaded; what changed.
fn change(home: &Home, settings: &str) -> Vec<String> {
    write(home, settings);
    names(&reload(home)["changed"])
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_string()).collect()
}

fn models(server: &Ember, key: &str) -> Vec<String> {
    let answer = server.get("/v1/models", Some(key));
    assert_eq!(answer.status, 200);
    answer.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_string())
        .collect()
}

/// Answers every request that comes, until it is dropped.
struct Answering {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Answering {
    fn start(model: ModelServer, pause: Duration) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                match model.call_by_now() {
                    Some(mut call) => {
                        std::thread::spawn(move || {
                            std::thread::sleep(pause);
                            call.json("200 OK", r#"{"object":"chat.completion","choices":[]}"#);
                        });
                    }
                    None => std::thread::sleep(Duration::from_micros(200)),
                }
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A section in ember.toml.
fn section(name: &str, model: &ModelServer, more: &str) -> String {
    format!("[[upstream]]\nname = \"{name}\"\nurl = \"http://{}\"\nmodels = [\"m\"]\n{more}\n", model.address)
}

#[test]
fn upstreams_that_come_and_go_under_load_fail_no_request() {
    const RELOADS: usize = 50;
    let (one, two) = (ModelServer::start(), ModelServer::start());
    // So few at once that requests stand in every line.
    let bounds = "in_flight_max = 2\nqueue_max = 100\n";
    let (a, b) = (section("a", &one, bounds), section("b", &two, bounds));
    let renamed = section("c", &one, bounds);
    let slower = section("a", &one, "in_flight_max = 3\nqueue_max = 100\nidle_timeout = \"1m\"\n");
    let aliased = section("b", &two, &format!("{bounds}aliases = {{ other = \"m\" }}\n"));
    let stages = [
        format!("{a}{b}"),
        b.clone(),
        format!("{renamed}{b}"),
        a.clone(),
        format!("{slower}{aliased}"),
        slower,
    ];
    let home = model::home(&stages[0]);
    let key = Arc::new(home.key("app"));
    let (_one, _two) =
        (Answering::start(one, Duration::from_millis(3)), Answering::start(two, Duration::from_millis(3)));
    let server = Arc::new(home.serve());
    let (is_over, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (server, key) = (Arc::clone(&server), Arc::clone(&key));
            let (is_over, passed) = (Arc::clone(&is_over), Arc::clone(&passed));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let answer = server.post(PATH, Some(&key), ASK);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    passed.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for number in 1..=RELOADS {
        write(&home, &stages[number % stages.len()]);
        let answer = crate::door::ask(&home.data(), "POST", "/admin/v1/reload", "", "").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!names(&answer.json()["changed"]).is_empty());
        let before = passed.load(Ordering::SeqCst);
        eventually("requests go on", || passed.load(Ordering::SeqCst) >= before + 20);
    }
    is_over.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let status: Value = serde_json::from_str(&home.ok(&["status", "-o", "json"])).unwrap();
    let servers = status["server"]["upstreams"].as_array().unwrap().clone();
    assert!(servers.iter().all(|one| one["in_flight"] == 0 && one["waiting"] == 0), "{servers:?}");
}

#[test]
fn a_stream_goes_on_to_its_end_though_its_server_is_gone() {
    let (old, new) = (ModelServer::start(), ModelServer::start());
    let home = model::home(&section("old", &old, ""));
    let key = home.key("app");
    let server = home.serve();
    let mut stream = server.connect();
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    stream.write_all(request("POST", PATH, Some(&key), body).as_bytes()).unwrap();
    let mut call = old.call();
    call.say(model::STREAM);
    call.event("before");
    let mut seen = [0; 2048];
    let count = stream.read(&mut seen).unwrap();
    assert_eq!(change(&home, &section("new", &new, "")), ["upstream.new", "upstream.old"]);
    call.event("after");
    call.done();
    let mut bytes = seen[..count].to_vec();
    stream.read_to_end(&mut bytes).unwrap();
    let answer = Answer::parse(&bytes);
    assert!(answer.whole && answer.text().contains("after") && answer.text().contains("[DONE]"));
    let asking = std::thread::scope(|scope| {
        let asking = scope.spawn(|| server.post(PATH, Some(&key), ASK).status);
        new.call().json("200 OK", "{}");
        asking.join().unwrap()
    });
    assert_eq!(asking, 200);
    assert!(old.is_untouched());
}

#[test]
fn law_10_limits_hold_from_the_next_request_on_and_what_was_used_stays_used() {
    let home = Home::with_echo();
    let limits = |rate: u32, budget: u32| {
        format!(
            "[models]\necho = true\n[limits.key]\nrequests_per_minute = {rate}\nrequests_per_day = {budget}\n"
        )
    };
    write(&home, &limits(2, 100));
    let key = home.key("app");
    let server = home.serve();
    let ask = || server.post(PATH, Some(&key), &chat("hello", r#","max_tokens":5"#)).status;
    assert_eq!([(); 3].map(|()| ask()), [200, 200, 429]);
    assert_eq!(change(&home, &limits(5, 100)), ["limits.key.requests_per_minute"]);
    assert_eq!([(); 4].map(|()| ask()), [200, 200, 200, 429], "two of five were used");
    change(&home, &limits(3, 100));
    assert_eq!(ask(), 429);
    change(&home, &limits(1000, 6));
    assert_eq!([(); 2].map(|()| ask()), [200, 429], "five of six were used today");
    change(&home, &limits(1000, 7));
    assert_eq!([(); 2].map(|()| ask()), [200, 429]);
    change(&home, "[models]\necho = true\n");
    assert_eq!(ask(), 200, "there is no limit any more");
}

#[test]
fn the_level_of_the_log_and_its_access_lines_change_at_once() {
    let home = Home::with_echo();
    let key = home.key("app");
    let server = home.serve();
    // A connection that ends early leaves a line at the finest levels only.
    let leave =
        || UnixStream::connect(home.data().join("ember.sock")).unwrap().write_all(b"x\r\n\r\n").unwrap();
    let debug = || server.log().matches("ended early").count();
    let access = || server.log().matches("\"target\":\"access\"").count();
    let ask = || assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
    leave();
    ask();
    eventually("an access line", || access() == 1);
    assert_eq!(debug(), 0);
    let settings = |level: &str, access: bool| {
        format!("[models]\necho = true\n[log]\nlevel = \"{level}\"\naccess = {access}\n")
    };
    assert_eq!(change(&home, &settings("debug", false)), ["log.access", "log.level"]);
    leave();
    ask();
    eventually("a debug line", || debug() == 1);
    change(&home, &settings("info", true));
    leave();
    ask();
    eventually("another access line", || access() == 2);
    assert_eq!(debug(), 1);
}

#[test]
fn law_13_a_bad_file_is_refused_whole_and_changes_nothing() {
    let home = Home::with_echo();
    let key = home.key("app");
    let token = home.ok(&["token", "create", "ci"]);
    let server = home.serve();
    let before = models(&server, &key);
    write(
        &home,
        "cors_origins = [\"http://a.test\"]\nbody_timeut = \"1s\"\n[log]\nlevel = \"loud\"\n[[upstream]]\nname = \"b\"\nurl = \"http://127.0.0.1:9\"\nmodels = [\"new\"]\n\
         api_key_file = \"absent.key\"\n",
    );
    let words =
        ["ember.toml:4:1: ", "did you mean 'server.body_timeout'", "ember.toml:6:", "'loud'", "absent.key"];
    let refused = home.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(refused.stdout.is_empty());
    for word in words.iter().chain(&["nothing was changed"]) {
        assert_eq!(
            stderr(&refused).matches(word).count(),
            1,
            "{word:?} is not once in\n{}",
            stderr(&refused)
        );
    }
    let answer = server.post("/admin/v1/reload", Some(&token), "");
    assert_eq!((answer.status, answer.header("content-type")), (422, Some("application/problem+json")));
    let problem = answer.json();
    assert_eq!(problem["code"], "configuration");
    let faults = names(&problem["faults"]);
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(words.iter().all(|word| faults.iter().any(|fault| fault.contains(word))), "{faults:?}");
    server.signal("HUP");
    server.wait_for_log("did you mean 'server.body_timeout'");
    assert_eq!(models(&server, &key), before);
    let trail = home.run(&["audit", "--action", "config", "-o", "plain"]);
    assert!(trail.stdout.is_empty(), "a refusal is no change");

    std::fs::remove_file(home.file("ember.toml")).unwrap();
    let gone = home.run(&["reload"]);
    assert_eq!(gone.status.code(), Some(3), "{}", stderr(&gone));
    assert!(stderr(&gone).contains("ember.toml: the configuration can't be read"), "{}", stderr(&gone));
    assert_eq!(models(&server, &key), before);
    assert_eq!(server.post(PATH, Some(&key), &chat("hi", "")).status, 200);
}

#[test]
fn what_needs_a_restart_is_named_until_there_is_one() {
    let home = Home::with_echo();
    let key = home.key("app");
    let server = home.serve();
    let settings = "[models]\necho = true\nrefresh = \"1m\"\n[store]\ncache_bytes = \"9MiB\"\n[log]\nformat = \"text\"\n";
    write(&home, settings);
    let said = reload(&home);
    assert_eq!(names(&said["changed"]), ["models.refresh"]);
    assert_eq!(names(&said["restart"]), ["log.format", "store.cache_bytes"]);
    assert!(said["file"].as_str().unwrap().ends_with("ember.toml"));
    let again = home.run(&["reload"]);
    assert!(again.status.success());
    assert!(stderr(&again).contains("store.cache_bytes changed and needs a restart"), "{}", stderr(&again));
    server.wait_for_log("log.format changed and needs a restart");
    assert_eq!(models(&server, &key), ["ember-echo"]);
    assert!(server.stop().success());
    let server = home.serve();
    let said = home.run(&["reload"]);
    assert!(said.status.success() && said.stdout.is_empty());
    assert!(stderr(&said).contains("no setting changed"), "{}", stderr(&said));
    drop(server);
    let nobody = home.run(&["reload"]);
    assert_eq!(nobody.status.code(), Some(5), "{}", stderr(&nobody));
    assert!(stderr(&nobody).contains("no server runs on this data directory"));
}

#[test]
fn a_hang_up_reloads_and_the_trail_names_what_changed_and_no_value() {
    let model = ModelServer::start();
    let home = model.home("", "");
    let key = home.key("app");
    let server = home.serve();
    assert_eq!(models(&server, &key), ["m"]);
    write(&home, &model.section("aliases = { canary-alias = \"m\" }\n"));
    server.signal("HUP");
    server.wait_for_log("the configuration was loaded anew");
    assert_eq!(models(&server, &key), ["canary-alias", "m"]);
    let trail = home.ok(&["audit", "--action", "config.reloaded", "-o", "plain"]);
    assert_eq!(trail.lines().count(), 1);
    assert!(trail.contains("changed: upstream.scripted.aliases.canary-alias"), "{trail}");
    assert!(trail.contains("on the machine"), "{trail}");
    std::thread::scope(|scope| {
        let asking =
            scope.spawn(|| server.post(PATH, Some(&key), r#"{"model":"canary-alias","messages":[]}"#).status);
        let mut call = model.call();
        assert_eq!(call.body, br#"{"model":"m","messages":[]}"#);
        call.json("200 OK", "{}");
        assert_eq!(asking.join().unwrap(), 200);
    });
}

#[test]
fn a_key_for_a_model_server_is_read_again_and_never_told() {
    const KEYS: [&str; 2] = ["sk-canary-first-1", "sk-canary-second-2"];
    let model = ModelServer::start();
    let home = model.home("", "api_key_file = \"local.key\"");
    std::fs::write(home.file("local.key"), KEYS[0]).unwrap();
    let key = home.key("app");
    let server = home.serve();
    for (number, expected) in KEYS.iter().enumerate() {
        if number > 0 {
            std::fs::write(home.file("local.key"), expected).unwrap();
            let output = home.run(&["reload"]);
            assert!(output.status.success(), "{}", stderr(&output));
            let all = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(all).unwrap();
            assert!(said.contains("upstream.scripted.api_key") && !said.contains("canary"), "{said}");
        }
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| server.post(PATH, Some(&key), ASK).status);
            let mut call = model.call();
            assert_eq!(call.header("authorization"), Some(format!("Bearer {expected}").as_str()));
            call.json("200 OK", "{}");
            assert_eq!(asking.join().unwrap(), 200);
        });
    }
    assert!(KEYS.iter().all(|key| !server.log().contains(key)));
}

#[test]
fn origins_bounds_and_sign_up_hold_at_once() {
    let home = Home::with_echo();
    let key = home.ok(&["key", "create", "--account", "ana@example.com", "--name", "web", "--allow-browser"]);
    let server = home.serve();
    let from_page = || {
        let head = format!(
            "GET /v1/models HTTP/1.1\r\nHost: ember.test\r\nAuthorization: Bearer {key}\r\nOrigin: https://a.test\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = server.send(head.as_bytes());
        (answer.status, answer.header("access-control-allow-origin").map(str::to_string))
    };
    let big = chat(&"x".repeat(4000), "");
    assert_eq!(from_page(), (403, None));
    assert_eq!(server.get("/sign-up", None).status, 421, "under a foreign host");
    let sign_up =
        || server.send(b"GET /sign-up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").text();
    assert!(!sign_up().contains("name=\"email\""));
    assert_eq!(server.post(PATH, Some(&key), &big).status, 200);
    let changed = change(
        &home,
        "cors_origins = [\"https://a.test\"]\nbody_bytes_max = \"1KiB\"\npublic_url = \"http://ember.test\"\n\
         [models]\necho = true\n[dashboard]\nsign_up = \"open\"\n",
    );
    assert_eq!(
        changed,
        ["dashboard.sign_up", "server.body_bytes_max", "server.cors_origins", "server.public_url"]
    );
    assert_eq!(from_page(), (200, Some("https://a.test".to_string())));
    assert!(sign_up().contains("name=\"email\""));
    assert_eq!(server.get("/sign-up", None).status, 200, "under its own name now");
    assert_eq!(server.post(PATH, Some(&key), &big).code(), "request_too_large");
    let link = home.ok(&["account", "reset", "ana@example.com"]);
    assert!(link.starts_with("http://ember.test/"), "{link}");
}

#[test]
fn two_reloads_at_once_are_done_one_after_the_other() {
    let model = ModelServer::start();
    let home = model.home("", "");
    let key = home.key("app");
    let server = home.serve();
    for round in 0..5 {
        write(&home, &model.section(&format!("aliases = {{ round-{round} = \"m\" }}\n")));
        let asked: Vec<_> = (0..3)
            .map(|_| {
                let data = home.data();
                std::thread::spawn(move || {
                    crate::door::ask(&data, "POST", "/admin/v1/reload", "", "").unwrap().json()
                })
            })
            .collect();
        server.signal("HUP");
        let told: Vec<_> = asked.into_iter().map(|one| names(&one.join().unwrap()["changed"])).collect();
        // One of the four was first, and no other has seen a difference.
        assert!(told.iter().filter(|changed| !changed.is_empty()).count() <= 1, "{told:?}");
        eventually("the alias", || models(&server, &key) == ["m".to_string(), format!("round-{round}")]);
    }
}
