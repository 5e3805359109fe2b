//! What requests used is on disk a moment later: seen in a backup of the running server, and after its end.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ember_gateway::meter::{Ask, Meter, Sums};
use ember_gateway::store::{Commit, RedbStore, Store, StoreOptions, Table, Write};
use ember_gateway::types::{Clock, Prices, Timestamp};
use serde_json::Value;

use crate::ember::{Ember, Home, PATIENCE, chat, eventually, request};
use crate::model::{Call, ModelServer, STREAM};
use crate::proof;
use crate::wire::Wire;

/// The moment that the test looks back from.
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// The sums of the whole server's last day in a store that nobody has open.
fn sums(file: &Path) -> Sums {
    let day = Duration::from_secs(24 * 60 * 60);
    meter_of(file).0.sums(None, day).unwrap()
}

/// A meter over a store that nobody has open, and the time it shows.
fn meter_of(file: &Path) -> (Meter, Timestamp) {
    #[expect(clippy::disallowed_methods, reason = "the server under test has the machine's clock")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap());
    let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
    let store = RedbStore::open(file, options).unwrap();
    (Meter::new(Arc::new(Still(now)), Arc::new(store)), now)
}

/// Sends a request and adds what its answer says was used.
fn ask(server: &Ember, key: &str, sum: &mut Sums) {
    let answer = server.post("/v1/chat/completions", Some(key), &chat("count me", ""));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let usage = answer.json()["usage"].clone();
    sum.requests += 1;
    sum.tokens.prompt += usage["prompt_tokens"].as_u64().unwrap();
    sum.tokens.completion += usage["completion_tokens"].as_u64().unwrap();
    sum.tokens.cached += usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
}

#[test]
fn usage_is_on_disk_soon_and_whole_after_the_end() {
    let home = Home::with_echo();
    let key = home.key("app");
    let mut used = Sums::default();
    let server = home.serve();
    (0..3).for_each(|_| ask(&server, &key, &mut used));
    let mut copies = 0;
    eventually("the sums in a backup", || {
        copies += 1;
        let copy = format!("copy-{copies}.redb");
        home.ok(&["backup", &copy]);
        let found = sums(&home.file(&copy));
        assert!(found.requests <= used.requests, "{found:?} of {used:?}");
        found == used
    });
    server.kill();
    let server = home.serve();
    ask(&server, &key, &mut used);
    assert!(server.stop().success());
    assert_eq!(sums(&home.data().join("ember.redb")), used);
    assert!(used.tokens.prompt > 0 && used.tokens.completion > 0);
}

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"m","stream":true,"messages":[]}"#;

/// A report as JSON.
fn report(home: &Home, args: &[&str]) -> Value {
    let all: Vec<&str> = ["usage", "-o", "json"].iter().chain(args).copied().collect();
    serde_json::from_str(&home.ok(&all)).unwrap()
}

/// The row with that name; the one without, where it is empty.
fn row(report: &Value, name: &str) -> Value {
    let rows = report["data"].as_array().unwrap();
    let found = rows.iter().find(|row| row["name"].as_str().unwrap_or_default() == name);
    found.unwrap_or_else(|| panic!("no {name}: {report}")).clone()
}

/// How requests ended, but for those that nothing ended so.
fn endings(row: &Value) -> Vec<(String, u64)> {
    let endings = row["endings"].as_object().unwrap().iter();
    let counted = endings.map(|(name, count)| (name.clone(), count.as_u64().unwrap()));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// Waits until so many requests are counted, and checks that it all adds up.
fn counted(home: &Home, requests: u64) -> Value {
    let mut found = Value::Null;
    eventually("all requests to be counted", || {
        found = report(home, &["--by", "model"]);
        found["total"]["requests"] == requests
    });
    assert!(home.ok(&["usage", "verify"]).starts_with("Proven"), "it adds up");
    found
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

/// Law 8.
#[test]
fn every_request_is_counted_once_however_it_ends() {
    let model = ModelServer::start();
    let home = model.home("", "");
    let (key, other) = (home.key("app"), home.key("other"));
    let ember = home.serve();

    let (mut wire, mut call) = stream(&ember, &model, &key, 1);
    call.chunk("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18,\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\n");
    call.done();
    wire.read_until("[DONE]");
    let (mut wire, call) = stream(&ember, &model, &key, 2);
    call.reset();
    wire.read_until("upstream_");
    let (wire, mut call) = stream(&ember, &model, &key, 3);
    drop(wire);
    call.time_to_end();
    for (status, ours) in [("404 Not Found", 404), ("500 Internal Server Error", 500)] {
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ember.post(CHAT, Some(&other), ASK).status);
            model.call().json(status, r#"{"error":{"message":"no","type":"x","param":null,"code":"x"}}"#);
            assert_eq!(asking.join().unwrap(), ours);
        });
    }
    assert_eq!(ember.post(CHAT, Some(&other), &ASK.replace("\"m\"", "\"invented\"")).status, 404);

    let by_model = counted(&home, 6);
    assert_eq!(by_model["data"].as_array().unwrap().len(), 2, "no row has an invented name: {by_model}");
    let m = row(&by_model, "m");
    let ends = [("client_gone", 1), ("done", 3), ("server_died", 1)];
    assert_eq!(endings(&m), ends.map(|(name, count)| (name.to_string(), count)));
    assert_eq!((&m["tokens"]["cached"], &m["estimated"]), (&3.into(), &2.into()));
    let prompt = 11 + 2 * (ASK.len() as u64 / 4);
    assert_eq!((&m["tokens"]["prompt"], &m["tokens"]["completion"]), (&prompt.into(), &(7 + 2 + 3).into()));
    assert_eq!((&m["errors"], &m["client_errors"], &m["server_errors"]), (&3.into(), &1.into(), &1.into()));
    assert_eq!(m["first_tokens"], 3);
    let unknown = row(&by_model, "");
    assert_eq!((endings(&unknown), &unknown["errors"]), (vec![("refused".to_string(), 1)], &1.into()));

    let by_key = report(&home, &["--by", "key"]);
    assert_eq!(
        (&row(&by_key, "app")["requests"], &row(&by_key, "other")["requests"]),
        (&3.into(), &3.into())
    );
    assert_eq!(row(&by_key, "app")["owner"], "ana@example.com");
    let by_server = report(&home, &["--by", "upstream"]);
    assert_eq!(
        (&row(&by_server, "scripted")["requests"], &row(&by_server, "")["requests"]),
        (&5.into(), &1.into())
    );
    let of_key = report(&home, &["--by", "hour,model", "--key", "app", "--account", "ana@example.com"]);
    assert_eq!(
        (&of_key["total"]["requests"], of_key["data"].as_array().unwrap().len() <= 2),
        (&3.into(), true)
    );
    assert_eq!(report(&home, &["--since", "2020-01-01", "--until", "2020-01-31"])["total"]["requests"], 0);
    assert!(ember.stop().success());
    assert_eq!(report(&home, &["--by", "model"])["data"], by_model["data"], "the same from the file");
}

#[test]
fn a_report_comes_as_table_lines_and_csv_with_costs() {
    let prices = "[models]\necho = true\n[models.prices.ember-echo]\nprompt = \"1000\"\ncompletion = \"2000\"\n[usage]\ncurrency = \"EUR\"\n";
    let home = Home::new(prices);
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let key = home.ok(&["key", "create", "--account", "ana@example.com", "--name", "=cmd"]);
    let ember = home.serve();
    let mut used = Sums::default();
    ask(&ember, &key, &mut used);
    counted(&home, 1);
    let micros = 1000 * used.tokens.prompt + 2000 * used.tokens.completion;
    let cost = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let cost = cost.trim_end_matches('0');
    let json = report(&home, &["--by", "key"]);
    assert_eq!((&json["total"]["cost"], &json["currency"]), (&cost.into(), &"EUR".into()));
    let table = home.ok(&["usage", "--by", "key"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("KEY") && lines[1].starts_with("=cmd (ana@example.com)"), "{table}");
    assert!(lines[2].starts_with("total") && lines[2].ends_with(" EUR"), "{table}");
    let csv = home.ok(&["usage", "--by", "key", "-o", "csv"]);
    assert!(
        csv.starts_with("start,id,name,owner,requests,prompt_tokens,")
            && csv.contains(",'=cmd,ana@example.com,1,"),
        "{csv}"
    );
    let plain = home.ok(&["usage", "--by", "day", "-o", "plain"]);
    assert!(plain.ends_with(cost) && plain.split('\t').count() == 10, "{plain}");
    assert_eq!(home.run(&["key", "list", "-o", "csv"]).status.code(), Some(2));
    assert_eq!(home.run(&["usage", "--by", "week"]).status.code(), Some(2));
    assert_eq!(home.run(&["usage", "--since", "2026-02-01", "--until", "2026-01-01"]).status.code(), Some(2));
    drop(ember);
}

/// Law 8 under `kill -9`.
#[test]
fn a_stream_that_a_kill_breaks_off_is_counted_with_what_it_used() {
    let model = ModelServer::start();
    let home = model.home("", "");
    let key = home.key("app");
    let ember = home.serve();
    let (_wire, _call) = stream(&ember, &model, &key, 5);
    let mut copies = 0;
    eventually("the open stream in a backup", || {
        copies += 1;
        let copy = home.file(&format!("copy-{copies}.redb"));
        home.ok(&["backup", copy.to_str().unwrap()]);
        let (meter, now) = meter_of(&copy);
        meter.begin().unwrap();
        let ask =
            Ask { account: None, key: None, from: Timestamp::default(), until: now, group: None, step: None };
        meter.report(&ask, &Prices::default()).unwrap().total.figures.tokens.completion == 5
    });
    ember.kill();
    for _ in 0..2 {
        let ember = home.serve();
        let died = row(&counted(&home, 1), "m");
        assert_eq!(endings(&died), [("ember_died".to_string(), 1)]);
        assert_eq!(
            (&died["tokens"]["completion"], &died["tokens"]["prompt"]),
            (&5.into(), &(ASK.len() / 4).into())
        );
        assert_eq!((&died["estimated"], &died["errors"]), (&1.into(), &1.into()));
        ember.kill();
    }
}

/// Law 8 under `kill -9`: never doubled, at most the last second lost.
#[test]
fn kills_in_the_midst_of_requests_lose_at_most_the_last_second() {
    let kills = proof::size(4, 500);
    // A flush begins a second after the one before it has ended; the rest is for its commit, and every day for a slow machine.
    let may_be_lost = Duration::from_millis(if proof::is_full() { 1500 } else { 2500 });
    let home = Home::new("[models]\necho = true\n[log]\naccess = false\n");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let key = home.key("app");
    let (mut sent, mut known, mut judged) = (0, 0, 0);
    for round in 0..kills {
        let server = home.serve();
        let (answered, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let tries = AtomicU64::new(0);
        let killed = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let Ok(mut stream) = TcpStream::connect(server.address) else { break };
                        tries.fetch_add(1, Ordering::SeqCst);
                        let text = request("POST", CHAT, Some(&key), &chat("count me", ""));
                        let mut answer = Vec::new();
                        let done = stream.write_all(text.as_bytes()).is_ok()
                            && stream.read_to_end(&mut answer).is_ok();
                        if done && answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"}") {
                            answered.lock().unwrap().push(Instant::now());
                        }
                    }
                });
            }
            // One answer at least that may not be lost.
            let patience = Instant::now() + PATIENCE;
            while answered.lock().unwrap().is_empty() && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(may_be_lost + within_a_flush(round));
            let killed = Instant::now();
            server.signal("KILL");
            stop.store(true, Ordering::SeqCst);
            killed
        });
        server.kill();
        let answered = answered.into_inner().unwrap();
        let safe = answered.iter().filter(|at| killed.duration_since(**at) > may_be_lost).count() as u64;
        sent += tries.into_inner();
        let total = report(&home, &["--by", "model"])["total"]["requests"].as_u64().unwrap();
        assert!(total >= known + safe, "round {round}: {total} of {known} + {safe}");
        assert!(total <= sent, "round {round}: {total} of {sent}");
        assert!(home.ok(&["usage", "verify"]).starts_with("Proven    yes"));
        known = total;
        judged += usize::from(safe > 0);
    }
    assert_eq!(judged, kills, "each had a request that may not be lost");
    proof::show(
        &format!("kills under load that lost a count older than {may_be_lost:?}"),
        format_args!("0 of {judged} that had one"),
        "0",
    );
    proof::show_none("requests counted twice", known);
}

/// Another moment each time: the golden section spreads them evenly over the second between two flushes.
fn within_a_flush(round: usize) -> Duration {
    Duration::from_secs_f64((round as f64 * 0.618_033_988_75).fract() * 1.1)
}

#[test]
fn a_record_that_was_changed_from_outside_is_named() {
    let home = Home::with_echo();
    let key = home.key("app");
    let server = home.serve();
    ask(&server, &key, &mut Sums::default());
    assert!(server.stop().success());
    let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
    let store = RedbStore::open(&home.data().join("ember.redb"), options).unwrap();
    let keys = Table("usage_keys");
    let (row, mut value) = store.scan(keys, Bound::Unbounded, Bound::Unbounded, 1).unwrap().remove(0);
    // After the version and five bytes or more of time the requests stand.
    let place = value.iter().enumerate().skip(1).find(|(_, byte)| **byte < 0x80).unwrap().0 + 1;
    assert_eq!(value[place], 1);
    value[place] = 3;
    let writes = vec![Write::Put { table: keys, key: row, value }];
    store.commit(Commit { writes, ..Commit::default() }).unwrap();
    drop(store);
    let output = home.run(&["usage", "verify"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("key app of ana@example.com  3         1"), "{said}");
    let _server = home.serve();
    assert_eq!(
        home.run(&["usage", "verify", "-o", "json"]).status.code(),
        Some(7),
        "the running server says so, too"
    );
}
