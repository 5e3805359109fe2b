//! Metrics agree with what was done, to the unit; nobody reads them unasked; documents name what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ember_gateway::metrics::{
    Ended, MEDIA_TYPE, Metrics, Model, Moment, Pace, ProcessMoment, UpstreamMoment,
};
use ember_gateway::types::{Ending, Tokens, TokensSource};
use regex::Regex;
use serde_json::Value;

use crate::door;
use crate::ember::{Answer, Ember, Home, PATIENCE, chat, eventually, request};
use crate::exposition::Scrape;
use crate::model::{Call, ModelServer, STREAM};
use crate::wire::Wire;

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"m","stream":true,"messages":[]}"#;
const USAGE: &str = "{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18,\"prompt_tokens_details\":{\"cached_tokens\":3}}";

/// What the admin socket shows.
pub fn scrape(home: &Home) -> Scrape {
    let answer = door::ask(&home.data(), "GET", "/metrics", "", "").unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(MEDIA_TYPE)));
    Scrape::parse(&answer.text())
}

/// Once nothing is under way and so many requests have ended.
fn settled(home: &Home, requests: f64) -> Scrape {
    let mut found = None;
    eventually("all requests to have ended", || {
        let now = scrape(home);
        let ended = now.sum("ember_requests_total", &[]);
        assert!(ended <= requests, "more ended than were sent: {ended}");
        let is_quiet = now.sum("ember_requests_in_flight", &[]) == 0.0 && ended == requests;
        found = Some(now).filter(|_| is_quiet);
        found.is_some()
    });
    found.unwrap()
}

fn stream(ember: &Ember, model: &ModelServer, key: &str, events: usize) -> (Wire, Call) {
    let mut wire = Wire::open(ember);
    wire.send(request("POST", CHAT, Some(key), ASK));
    let mut call = model.call();
    call.say(STREAM);
    for event in 0..events {
        call.event(&format!("word-{event}"));
    }
    if events > 0 {
        wire.read_until(&format!("word-{}", events - 1));
    }
    (wire, call)
}

/// A request that the model server answers with this.
fn answered(ember: &Ember, model: &ModelServer, key: &str, status: &str, json: &str) -> u16 {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ember.post(CHAT, Some(key), &ASK.replace("true", "false")).status);
        model.call().json(status, json);
        asking.join().unwrap()
    })
}

fn is(found: &Scrape, name: &str, labels: &[(&str, &str)], value: f64) {
    let sum = found.sum(name, labels);
    assert!((sum - value).abs() < 1e-9, "{name}{labels:?} is {sum} and not {value}");
}

#[test]
fn every_request_is_counted_to_the_unit_however_it_ends() {
    let model = ModelServer::start();
    let home = model.home("", "");
    let key = home.key("app");
    let few = home.ok(&["key", "create", "--account", "ana@example.com", "--name", "few", "--rpm", "1"]);
    let ember = home.serve();
    is(&scrape(&home), "ember_requests_total", &[], 0.0);

    let (mut wire, mut call) = stream(&ember, &model, &key, 2);
    call.chunk(&format!("data: {{\"choices\":[],\"usage\":{USAGE}}}\n\n"));
    call.done();
    wire.read_until("[DONE]");
    let (mut wire, call) = stream(&ember, &model, &key, 2);
    is(&scrape(&home), "ember_requests_in_flight", &[], 1.0);
    is(&scrape(&home), "ember_upstream_requests_in_flight", &[("upstream", "scripted")], 1.0);
    call.reset();
    wire.read_until("upstream_");
    let (wire, mut call) = stream(&ember, &model, &key, 3);
    drop(wire);
    call.time_to_end();
    let whole = format!("{{\"choices\":[],\"usage\":{USAGE}}}");
    assert_eq!(answered(&ember, &model, &key, "200 OK", &whole), 200);
    assert_eq!(answered(&ember, &model, &few, "500 Internal Server Error", "{}"), 500);
    assert_eq!(ember.post(CHAT, Some(&few), ASK).code(), "rate_limit_exceeded");
    assert_eq!(ember.post(CHAT, None, ASK).code(), "invalid_api_key");
    assert_eq!(ember.post(CHAT, Some(&key), &ASK.replace("\"m\"", "\"invented\"")).code(), "model_not_found");
    assert_eq!(ember.get("/v1/nothing", Some(&key)).code(), "not_found");
    assert_eq!(ember.get("/v1/models/m", Some(&key)).status, 200);

    let found = settled(&home, 10.0);
    let count = |labels: &[(&str, &str)], value| is(&found, "ember_requests_total", labels, value);
    let (m, at) = (("model", "m"), ("upstream", "scripted"));
    count(&[("route", CHAT), m, at, ("status", "200"), ("ending", "done")], 2.0);
    count(&[("route", CHAT), m, at, ("status", "200"), ("ending", "server_died")], 1.0);
    count(&[("route", CHAT), m, at, ("status", "200"), ("ending", "client_gone")], 1.0);
    count(&[("route", CHAT), m, at, ("status", "500"), ("ending", "done")], 1.0);
    count(&[("route", CHAT), m, ("upstream", ""), ("status", "429"), ("ending", "refused")], 1.0);
    count(&[("route", CHAT), ("model", ""), ("status", "401"), ("ending", "refused")], 1.0);
    count(&[("route", CHAT), ("model", "other"), ("status", "404"), ("ending", "refused")], 1.0);
    count(&[("route", "-"), ("model", ""), ("status", "404")], 1.0);
    count(&[("route", "/v1/models/*"), m, ("status", "200"), ("ending", "done")], 1.0);
    let codes =
        ["upstream_unavailable", "rate_limit_exceeded", "invalid_api_key", "model_not_found", "not_found"];
    codes.iter().for_each(|code| is(&found, "ember_errors_total", &[("code", code)], 1.0));
    is(&found, "ember_errors_total", &[], 5.0);

    let tokens = |kind, source, value| {
        is(&found, "ember_tokens_total", &[m, at, ("kind", kind), ("source", source)], value);
    };
    tokens("prompt", "reported", 22.0);
    tokens("completion", "reported", 14.0);
    tokens("cached", "reported", 6.0);
    tokens("completion", "estimated", 5.0);
    is(&found, "ember_upstream_failures_total", &[at, ("kind", "broke_off")], 1.0);
    is(&found, "ember_upstream_failures_total", &[at, ("kind", "refused")], 1.0);
    is(&found, "ember_upstream_failures_total", &[at], 2.0);
    let of = [("gen_ai_operation_name", "chat"), ("gen_ai_request_model", "m"), at];
    is(&found, "gen_ai_server_time_to_first_token_seconds_count", &of, 3.0);
    is(&found, "gen_ai_server_time_per_output_token_seconds_count", &of, 1.0);
    is(&found, "gen_ai_server_request_duration_seconds_count", &of, 5.0);
    for (error, count) in [("", 2.0), ("upstream_unavailable", 1.0), ("client_gone", 1.0), ("500", 1.0)] {
        let end = [of[0], of[1], at, ("error_type", error)];
        is(&found, "gen_ai_server_request_duration_seconds_count", &end, count);
    }
    is(&found, "ember_overhead_seconds_count", &[], 5.0);
    is(&found, "ember_key_cache_misses_total", &[], 2.0);
    is(&found, "ember_key_cache_hits_total", &[], 7.0);
    is(&found, "ember_upstream_requests_in_flight_max", &[at], 256.0);
    for name in ["process_open_fds", "process_resident_memory_bytes"] {
        assert!(found.sum(name, &[]) > 0.0, "{name}");
    }
    eventually("what was used to be written down", || {
        scrape(&home).sum("ember_store_commit_seconds_count", &[]) > 0.0
    });
    is(&found, "ember_store_up", &[], 1.0);
    is(&found, "ember_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    eventually("the connections to be closed", || scrape(&home).sum("ember_connections", &[]) == 0.0);
}

#[test]
fn one_who_waits_is_seen_waiting_and_how_long_is_kept() {
    let model = ModelServer::start();
    let home = model.home("", "in_flight_max = 1");
    let key = home.key("app");
    let ember = home.serve();
    let (first, mut busy) = stream(&ember, &model, &key, 1);
    let mut second = Wire::open(&ember);
    second.send(request("POST", CHAT, Some(&key), ASK));
    eventually("the second to wait", || scrape(&home).sum("ember_upstream_requests_waiting", &[]) == 1.0);
    is(&scrape(&home), "ember_queue_wait_seconds_count", &[], 0.0);
    is(&scrape(&home), "ember_requests_waiting", &[], 1.0);
    busy.done();
    let mut call = model.call();
    call.say(STREAM);
    call.done();
    second.read_until("[DONE]");
    drop((first, second));
    let found = settled(&home, 2.0);
    is(&found, "ember_queue_wait_seconds_count", &[("upstream", "scripted")], 1.0);
    is(&found, "ember_upstream_requests_waiting", &[], 0.0);
    is(&found, "ember_requests_waiting", &[], 0.0);
    is(&found, "ember_upstream_requests_in_flight", &[], 0.0);
}

#[test]
fn one_who_waits_in_several_lines_is_one_and_is_counted_when_he_waited_for_nothing() {
    let model = ModelServer::start();
    let place = format!("url = \"http://{}\"\nmodels = [\"m\"]\nin_flight_max = 1", model.address);
    let other = format!("[[upstream]]\nname = \"other\"\n{place}\nqueue_timeout = \"1500ms\"\n");
    let home = model.home(&other, "in_flight_max = 1\nqueue_timeout = \"1500ms\"");
    let key = home.key("app");
    let ember = home.serve();
    let (first, _busy) = stream(&ember, &model, &key, 1);
    let (second, _busy_too) = stream(&ember, &model, &key, 1);
    let mut third = Wire::open(&ember);
    third.send(request("POST", CHAT, Some(&key), &ASK.replace("true", "false")));
    eventually("the third to stand in both lines, and to be one", || {
        let now = scrape(&home);
        let lines = now.sum("ember_upstream_requests_waiting", &[]);
        (now.sum("ember_requests_waiting", &[]), lines) == (1.0, 2.0)
    });
    assert_eq!(third.answer().code(), "overloaded");
    let found = scrape(&home);
    is(&found, "ember_requests_waiting", &[], 0.0);
    is(&found, "ember_queue_wait_seconds_count", &[("upstream", "")], 1.0);
    drop((first, second));
}

#[test]
fn time_that_others_take_is_not_embers_own() {
    let model = ModelServer::start();
    let home = model.home("", "first_byte_timeout = \"400ms\"");
    let key = home.key("app");
    let ember = home.serve();
    let ask = ASK.replace("true", "false");
    let mut slow = Wire::open(&ember);
    let request_text = request("POST", CHAT, Some(&key), &ask);
    let (early, late) = request_text.split_at(request_text.len() - 5);
    slow.send(early);
    std::thread::sleep(Duration::from_millis(400));
    slow.send(late);
    model.call().json("200 OK", "{}");
    let answer = slow.answer();
    let own: u64 = answer.header("openai-processing-ms").unwrap().parse().unwrap();
    assert!(own < 300, "the caller took his time with the body: {own}");
    let mut never = Wire::open(&ember);
    never.send(request("POST", CHAT, Some(&key), &ask));
    let _call = model.call();
    let answer = never.answer();
    assert_eq!((answer.status, answer.header("openai-processing-ms")), (504, None));
    let found = settled(&home, 2.0);
    is(&found, "ember_overhead_seconds_count", &[], 1.0);
    assert!(found.sum("ember_overhead_seconds_sum", &[]) < 0.3);
}

#[test]
fn the_state_of_a_model_server_is_shown_and_one_that_is_drained_is_not_down() {
    let model = ModelServer::start();
    let home = model.home("", "");
    let _ember = home.serve();
    let state =
        |state| scrape(&home).sum("ember_upstream_state", &[("upstream", "scripted"), ("state", state)]);
    home.ok(&["upstream", "drain", "scripted"]);
    assert_eq!(["unknown", "up", "down", "open", "draining"].map(state), [0.0, 0.0, 0.0, 0.0, 1.0]);
    home.ok(&["upstream", "undrain", "scripted"]);
    is(&scrape(&home), "ember_upstream_state", &[], 1.0);
    assert_eq!(state("draining"), 0.0);
}

#[test]
fn what_callers_make_up_is_never_a_label_and_nobodys_name_is_there() {
    let home = Home::with_echo();
    let key = home.key("ana-laptop");
    let ember = home.serve();
    for number in 0..50 {
        let body = chat("x", "").replace("ember-echo", &format!("madeup-{number}"));
        assert_eq!(ember.post(CHAT, Some(&key), &body).status, 404);
        assert_eq!(ember.get(&format!("/v1/models/madeup-{number}"), Some(&key)).status, 404);
        assert_eq!(ember.get(&format!("/madeup-{number}"), None).status, 401);
    }
    assert_eq!(ember.post(CHAT, Some(&key), &chat("prompt-canary", "")).status, 200);
    settled(&home, 151.0);
    let text = door::ask(&home.data(), "GET", "/admin/v1/metrics", "", "").unwrap().text();
    let id = home.ok(&["key", "list", "-o", "json"]);
    let id = serde_json::from_str::<Value>(&id).unwrap()["data"][0]["id"].as_str().unwrap().to_string();
    for word in ["madeup", &key[..20], &key[key.len() - 8..], &id, "ana", "canary", "127.0.0.1"] {
        assert!(!text.contains(word), "{word} is in the metrics");
    }
    assert!(text.contains("model=\"ember-echo\"") && text.contains("model=\"other\""));
}

/// Law 1.
#[test]
fn the_public_door_shows_metrics_to_administrators_only() {
    let home = Home::with_echo();
    let key = home.key("app");
    let token = home.ok(&["token", "create", "prometheus"]);
    let ember = home.serve();
    for path in ["/metrics", "/metrics/", "/admin/v1/metrics", "/v1/metrics"] {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let answer = ember.send(request(method, path, None, "").as_bytes());
            assert_eq!(answer.status, 401, "{method} {path}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("ember_requests"), "{method} {path}");
        }
    }
    assert_eq!(ember.get("/metrics", Some(&key)).status, 404, "a key is for models");
    assert_eq!(ember.get("/admin/v1/metrics", Some(&key)).status, 401);
    assert_eq!(ember.get("/metrics", Some(&token)).status, 401, "a token is for the admin API");
    let answer = ember.get("/admin/v1/metrics", Some(&token));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(MEDIA_TYPE)));
    assert!(Scrape::parse(&answer.text()).kinds.len() > 20);
    assert_eq!(ember.get("/admin/v1/metrics?colour=red", Some(&token)).status, 400);
    assert_eq!(ember.post("/admin/v1/metrics", Some(&token), "").status, 405);
}

/// A home whose metrics have a listener of their own, and where that is.
fn watched() -> (Home, Ember, SocketAddr) {
    let home = Home::new("[models]\necho = true\n[metrics]\nlisten = \"127.0.0.1:0\"\n");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let ember = home.serve();
    let log = ember.log();
    let (_, rest) = log.split_once("metrics on http://").unwrap();
    let address = rest.split_once("/metrics").unwrap().0.parse().unwrap();
    (home, ember, address)
}

fn ask(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::parse(&answer)
}

#[test]
fn the_listener_for_prometheus_answers_that_and_nothing_else() {
    let (home, ember, address) = watched();
    let key = home.key("app");
    let with_host = |method: &str, path: &str, host: &str| {
        let request =
            request(method, path, Some(&key), "").replace("Host: ember.test", &format!("Host: {host}"));
        ask(address, request.as_bytes())
    };
    let get = |method: &str, path: &str| with_host(method, path, "localhost");
    let answer = get("GET", "/metrics");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(MEDIA_TYPE)));
    let names = Scrape::parse(&answer.text()).names();
    assert_eq!(get("GET", "/metrics?x=1").status, 200);
    let head = get("HEAD", "/metrics");
    assert!(head.status == 200 && head.body.is_empty());
    for path in ["/", "/v1/models", "/admin/v1/status", "/healthz", "/metrics/", "/metric", "//metrics"] {
        assert_eq!(get("GET", path).status, 404, "{path}");
    }
    let refused = get("POST", "/metrics");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(scrape(&home).names(), names, "the same as on the socket");
    for (host, status) in
        [("evil.example", 421), ("localhost.evil", 421), ("127.0.0.1:9411", 200), ("[::1]", 200)]
    {
        assert_eq!(with_host("GET", "/metrics", host).status, status, "a page elsewhere: {host}");
    }
    let two = ask(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2).as_bytes());
    assert_eq!(String::from_utf8_lossy(&two.body).matches("# EOF").count(), 1, "one request a connection");
    assert!(!ember.log().contains("without any credential"), "loopback is no news");
}

#[test]
fn silent_connections_do_not_keep_prometheus_out() {
    let (_home, _ember, address) = watched();
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(ask(address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
    drop(silent);
}

#[test]
fn an_address_that_others_reach_is_warned_of_and_one_that_is_taken_is_a_fault() {
    let home = Home::new("[metrics]\nlisten = \"0.0.0.0:0\"\n");
    let ember = home.serve();
    ember.wait_for_log("without any credential");
    let taken = ember.address;
    let other = Home::new(&format!("[metrics]\nlisten = \"{taken}\"\n"));
    let output = other.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let same = Home::new("");
    let text = "[server]\nlisten = \"127.0.0.1:7499\"\n[metrics]\nlisten = \"localhost:7499\"\n";
    std::fs::write(same.file("ember.toml"), text).unwrap();
    let output = same.run(&["config", "check"]);
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("ember.toml:4:") && error.contains("give it another port"), "{error}");
    std::fs::write(same.file("ember.toml"), "[metrics]\nlisten = \"here\"\n").unwrap();
    assert_eq!(same.run(&["config", "check"]).status.code(), Some(3));
}

/// A request to a model; each thing that can be known of one is known.
fn ended(model: &str) -> Ended<'_> {
    let tokens = Tokens { prompt: 10, completion: 5, cached: 1 };
    Ended {
        route: CHAT,
        operation: Some("chat"),
        model: Model::Known(model),
        upstream: Some("local"),
        status: Some(200),
        code: None,
        ending: Ending::Done,
        took: Duration::from_secs(1),
        overhead: Some(Duration::from_micros(80)),
        queued: Some(Duration::from_millis(3)),
        stream: Some(Pace { first_token: Duration::from_millis(200), end: Duration::from_secs(1) }),
        tokens: Some((tokens, TokensSource::Reported)),
    }
}

fn moment() -> Moment {
    let failures = vec![("timeout", 1)];
    let states = vec![("up", true), ("down", false)];
    let local = UpstreamMoment { name: "local".to_string(), failures, states, ..UpstreamMoment::default() };
    let known = Some(1);
    let process = ProcessMoment {
        started_at: 1.5,
        cpu_seconds: Some(0.5),
        resident_bytes: known,
        open_fds: known,
        max_fds: known,
    };
    Moment { version: "1", upstreams: vec![local], process, ..Moment::default() }
}

/// With something in every family.
fn full() -> Scrape {
    let metrics = Metrics::default();
    metrics.request_ended(&ended("m"));
    metrics.request_ended(&Ended { code: Some("not_found"), ..ended("m") });
    metrics.committed(Duration::from_millis(1), true);
    Scrape::parse(&metrics.text(&moment()))
}

#[test]
fn a_thousand_models_are_quick_to_show_and_more_are_other() {
    let metrics = Metrics::default();
    let names: Vec<_> = (0..1500).map(|number| format!("org/model-{number}")).collect();
    std::thread::scope(|scope| {
        for part in names.chunks(500) {
            let metrics = &metrics;
            scope.spawn(move || part.iter().for_each(|name| metrics.request_ended(&ended(name))));
        }
        for _ in 0..3 {
            let now = Scrape::parse(&metrics.text(&moment()));
            for name in now.names().iter().filter_map(|name| name.strip_suffix("_count")) {
                let all = now.sum(&format!("{name}_bucket"), &[("le", "+Inf")]);
                is(&now, &format!("{name}_count"), &[], all);
            }
        }
    });
    let began = Instant::now();
    let text = metrics.text(&moment());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for name in names.iter().take(500) {
        metrics.request_ended(&Ended { code: Some("not_found"), ..ended(name) });
    }
    let more = Scrape::parse(&metrics.text(&moment()));
    let family = "gen_ai_server_request_duration_seconds_count";
    let sets = more.samples.iter().filter(|sample| sample.name == family).count();
    assert!(sets <= 1002, "{sets} histograms");
    is(&more, family, &[], 2000.0);
    let found = Scrape::parse(&text);
    is(&found, "ember_requests_total", &[], 1500.0);
    is(&found, "ember_requests_total", &[("model", "other")], 500.0);
    let models: BTreeSet<_> = found.samples.iter().filter_map(|sample| sample.labels.get("model")).collect();
    assert_eq!(models.len(), 1001);
    is(&found, "gen_ai_server_time_to_first_token_seconds_count", &[], 1500.0);
}

#[test]
fn a_stream_under_way_counts_when_it_ends_and_rates_are_right() {
    let metrics = Metrics::default();
    metrics.request_ended(&ended("m"));
    let estimated = Some((Tokens { prompt: 1, completion: 9, cached: 0 }, TokensSource::Estimated));
    metrics.request_ended(&Ended { tokens: estimated, ending: Ending::ClientGone, ..ended("m") });
    metrics.request_ended(&Ended { stream: None, ..ended("m") });
    let found = Scrape::parse(&metrics.text(&moment()));
    is(&found, "gen_ai_server_time_per_output_token_seconds_sum", &[], 0.2);
    is(&found, "gen_ai_server_time_per_output_token_seconds_count", &[], 1.0);
    is(&found, "gen_ai_server_time_to_first_token_seconds_sum", &[], 0.4);
    is(&found, "gen_ai_server_request_duration_seconds_sum", &[], 3.0);
}

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// The rows of a document's tables whose first cell is a name in code: that, and the other cells.
fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|cells| (cells[1].trim_matches('`').to_string(), cells[2..].to_vec())).collect()
}

#[test]
fn the_table_of_metrics_is_what_is_shown() {
    let text = document("metrics.md");
    let table = text.split("\n## ").find(|part| part.starts_with("Metrics\n")).unwrap();
    let documented = rows(table).into_iter().map(|(name, cells)| {
        let labels = cells[1].split(',').map(|label| label.trim().trim_matches('`').to_string());
        (name, (cells[0].clone(), labels.filter(|label| !label.is_empty()).collect::<BTreeSet<_>>()))
    });
    let documented: BTreeMap<_, _> = documented.collect();
    let shown = full().documented();
    assert_eq!(
        documented.keys().collect::<Vec<_>>(),
        shown.keys().collect::<Vec<_>>(),
        "documented and shown"
    );
    assert_eq!(documented, shown);
}

/// The metrics that an expression names, labels left out.
fn named(expression: &str) -> BTreeSet<String> {
    let labels = Regex::new(r"\{[^}]*\}|(?:by|without) \([^)]*\)|label_values\((\w+), \w+\)").unwrap();
    let bare = labels.replace_all(expression, " $1 ");
    let names = Regex::new(r"\b(?:ember|gen_ai|process)_[a-z_]+\b").unwrap();
    names.find_iter(&bare).map(|name| name.as_str().to_string()).collect()
}

fn assert_shown(expressions: &[String]) {
    let names = full().names();
    for expression in expressions {
        let named = named(expression);
        assert!(!named.is_empty(), "{expression} names no metric");
        for name in named {
            assert!(names.contains(&name), "{name} of {expression} is not shown");
        }
    }
}

/// Everything below `value` that is under `name`.
fn below(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(name).and_then(Value::as_str).map(ToString::to_string));
            members.values().for_each(|value| below(value, name, found));
        }
        Value::Array(entries) => entries.iter().for_each(|value| below(value, name, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_are_there() {
    let dashboard: Value = serde_json::from_str(&document("grafana.json")).unwrap();
    let mut expressions = Vec::new();
    below(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 15, "{}", expressions.len());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let queries = variables.iter().filter(|one| one["type"] == "query");
    expressions.extend(queries.map(|one| one["query"].as_str().unwrap().to_string()));
    assert_shown(&expressions);
    let mut sources = Vec::new();
    below(&dashboard, "uid", &mut sources);
    sources.retain(|uid| uid != "ember");
    assert!(!sources.is_empty() && sources.iter().all(|uid| uid == "${datasource}"), "{sources:?}");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}

#[test]
fn the_alerts_ask_for_metrics_that_are_there() {
    let text = document("metrics.md");
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    // `up` is Prometheus's own word on a scrape.
    let (of_prometheus, expressions): (Vec<_>, Vec<_>) =
        lines.map(ToString::to_string).partition(|expression| expression.starts_with("up{"));
    assert!(of_prometheus.len() == 1 && expressions.len() >= 6, "{expressions:?}");
    assert_shown(&expressions);
    assert!(named("sum by (ember_x) (rate(ember_y_total{ember_z=\"1\"}[5m]))").contains("ember_y_total"));
}

#[test]
fn the_fields_of_access_lines_are_as_documented() {
    let model = ModelServer::start();
    let home = model.home("", "in_flight_max = 1");
    let key = home.key("app");
    let ember = home.serve();
    let (first, mut busy) = stream(&ember, &model, &key, 1);
    let mut second = Wire::open(&ember);
    second.send(request("POST", CHAT, Some(&key), ASK));
    eventually("the second to wait", || scrape(&home).sum("ember_upstream_requests_waiting", &[]) == 1.0);
    busy.done();
    let mut call = model.call();
    call.say(STREAM);
    call.event("word");
    call.done();
    second.read_until("[DONE]");
    drop((first, second));
    assert_eq!(ember.post(CHAT, None, ASK).status, 401);
    let mut gone = Wire::open(&ember);
    gone.send(request("POST", CHAT, Some(&key), ASK));
    let mut call = model.call();
    drop(gone);
    call.time_to_end();
    settled(&home, 4.0);
    let access = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["target"] == "access").then_some(line)
    };
    let mut lines = Vec::new();
    eventually("the access lines", || {
        lines = ember.log().lines().filter_map(access).collect();
        lines.len() == 4
    });
    let fields: BTreeSet<_> =
        lines.iter().flat_map(|line| line.as_object().unwrap().keys().cloned()).collect();
    let documented = rows(&document("logs.md"));
    assert_eq!(documented.keys().cloned().collect::<BTreeSet<_>>(), fields);
    for (field, cells) in documented {
        let is_always = cells[1] == "never";
        let there = lines.iter().filter(|line| line.get(&field).is_some()).count();
        assert_eq!(there == lines.len(), is_always, "{field}: when is it absent?");
        for value in lines.iter().filter_map(|line| line.get(&field)) {
            assert_eq!(value.is_number(), cells[0].starts_with("number"), "{field} is {value}");
        }
    }
}

#[test]
fn status_is_watched_as_often_as_was_asked_for() {
    let home = Home::with_echo();
    let key = home.key("app");
    let nobody = home.run(&["status", "--watch", "0.1", "-n", "1"]);
    assert_eq!(nobody.status.code(), Some(5), "{}", String::from_utf8_lossy(&nobody.stderr));
    let ember = home.serve();
    assert_eq!(ember.post(CHAT, Some(&key), &chat("before", "")).status, 200);
    let mut command = home.command(&["status", "--watch", "0.1", "-o", "json"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["requests"], 0, "what was before is not new");
    let status = |key: Option<&str>| ember.post(CHAT, key, &chat("hello there", "")).status;
    assert_eq!((status(Some(&key)), status(Some(&key)), status(None)), (200, 200, 401));
    let (mut requests, mut errors) = (0, 0);
    while (requests, errors) != (2, 1) {
        let line = next();
        assert!(line["object"] == "watch" && line["upstreams"][0]["name"] == "echo", "{line}");
        requests += line["requests"].as_u64().unwrap();
        errors += line["errors"]["invalid_api_key"].as_u64().unwrap_or_default();
        assert!(requests <= 2 && errors <= 1, "counted twice: {line}");
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
    let plain = home.ok(&["status", "--watch", "0.1", "-n", "2", "-o", "plain"]);
    assert_eq!(plain.lines().map(|line| line.split('\t').count()).collect::<Vec<_>>(), [8, 8]);
    let words = home.ok(&["status", "--watch", "0.1", "-n", "1"]);
    assert!(words.contains("requests/s") && words.ends_with("1 of 1 upstreams up"), "{words}");
    assert!(!words.contains('\u{1b}'), "nothing acts on a terminal that is none");
    for wrong in [&["status", "-n", "2"][..], &["status", "--watch", "0"], &["status", "--watch", "x"]] {
        assert_eq!(home.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
