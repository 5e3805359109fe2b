//! Laws 3, 6, 9 and 10 for requests that wait for a busy model server: each key has its turn, nobody waits for one who
//! has gone, and a stream that had to wait is what the model says, or says that it broke.

use std::time::{Duration, Instant};

use crate::ember::{Answer, Ember, Home, eventually};
use crate::model::{Call, ModelServer, SOON, STREAM, home};
use crate::wire::Wire;

const CHAT: &str = "/v1/chat/completions";
/// A stream whose usage the caller asks for himself, so that nothing is put into it or taken out.
const STREAMED: &str = r#""stream":true,"stream_options":{"include_usage":true}"#;
const PLAIN: &str = r#""stream":false"#;
const BEAT: &str = ": waiting\n\n";

struct Scene {
    home: Home,
    ember: Ember,
    model: ModelServer,
    /// Two keys.
    keys: [String; 2],
}

fn scene(server: &str, upstream: &str) -> Scene {
    let model = ModelServer::start();
    let home = model.home(server, upstream);
    let keys = [home.key("app"), home.key("other")];
    let ember = home.serve();
    Scene { home, ember, model, keys }
}

impl Scene {
    /// Sends a request that says its own `name`.
    fn ask(&self, key: usize, name: &str, more: &str) -> Wire {
        let mut wire = Wire::open(&self.ember);
        let body = format!("{{\"model\":\"m\",\"user\":\"{name}\",{more}}}");
        wire.send(crate::ember::request("POST", CHAT, Some(&self.keys[key]), &body));
        wire
    }

    /// The same, and waits until it stands in line as one of so many.
    fn wait(&self, key: usize, name: &str, more: &str, waiting: u64) -> Wire {
        let wire = self.ask(key, name, more);
        self.has_waiting(waiting);
        wire
    }

    /// So many requests under way that the server is full.
    fn busy(&self, slots: usize) -> Vec<(Wire, Call)> {
        let taken = (0..slots).map(|_| {
            let wire = self.ask(0, "first", PLAIN);
            (wire, self.model.call())
        });
        taken.collect()
    }

    fn load(&self, what: &str) -> u64 {
        let status: serde_json::Value =
            serde_json::from_str(&self.home.ok(&["status", "-o", "json"])).unwrap();
        let servers = status["server"]["upstreams"].as_array().unwrap();
        servers.iter().map(|server| server[what].as_u64().unwrap()).sum()
    }

    fn has_waiting(&self, count: u64) {
        eventually(&format!("{count} in line"), || self.load("waiting") == count);
    }

    /// Nothing is under way, and a request is served.
    fn is_free(&self) {
        eventually("free slots", || (self.load("in_flight"), self.load("waiting")) == (0, 0));
        let mut wire = self.ask(1, "last", PLAIN);
        let mut call = self.model.call();
        assert_eq!(name(&call), "last", "somebody who has gone was sent on");
        call.json("200 OK", "{}");
        assert_eq!(wire.answer().status, 200);
    }
}

/// Whose call it is.
fn name(call: &Call) -> String {
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    body["user"].as_str().unwrap().to_string()
}

/// The comments that a stream begins with, at least one, and the rest of it.
fn beats(body: &str) -> (usize, &str) {
    let mut rest = body;
    let mut count = 0;
    while let Some(after) = rest.strip_prefix(BEAT) {
        (rest, count) = (after, count + 1);
    }
    assert!(count > 0, "{body:?}");
    (count, rest)
}

/// What is left of a stream that is broken off: never a clean end.
fn broken(wire: &mut Wire) -> String {
    let (bytes, _) = wire.rest();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = Answer::parse(&[head.as_slice(), &bytes].concat());
    assert!(!answer.whole, "a clean end: {}", answer.text());
    answer.text()
}

/// Reads the head of a stream that begins before the model has anything to say.
fn begun(wire: &mut Wire) {
    let head = wire.read_until("\r\n\r\n").to_ascii_lowercase();
    for line in [
        "http/1.1 200 ok\r\n",
        "content-type: text/event-stream\r\n",
        "cache-control: no-cache, no-transform\r\n",
        "x-accel-buffering: no\r\n",
        "x-request-id: req_",
        "openai-processing-ms: ",
    ] {
        assert!(head.contains(line), "{line:?} is not in {head}");
    }
}

fn error_code(event: &str) -> String {
    let json = event.strip_prefix("data: ").and_then(|json| json.strip_suffix("\n\n"));
    let json: serde_json::Value =
        serde_json::from_str(json.unwrap_or_else(|| panic!("no event: {event:?}"))).unwrap();
    json["error"]["code"].as_str().unwrap().to_string()
}

#[test]
fn law_10_200_requests_of_one_key_delay_another_key_by_one_service_at_most() {
    for slots in [1, 3] {
        let scene = scene("", &format!("in_flight_max = {slots}"));
        let (mut waiting, mut busy): (Vec<Wire>, Vec<Call>) = scene.busy(slots).into_iter().unzip();
        waiting.extend((0..200).map(|_| scene.ask(0, "many", PLAIN)));
        scene.has_waiting(200);
        // As it will be in the middle of a long day.
        for _ in 0..20 {
            busy.remove(0).json("200 OK", "{}");
            busy.push(scene.model.call());
            assert_eq!(name(busy.last().unwrap()), "many");
            waiting.push(scene.ask(0, "many", PLAIN));
        }
        scene.has_waiting(200);
        waiting.push(scene.wait(1, "one", PLAIN, 201));
        assert!(scene.model.is_untouched(), "more than {slots} at once");
        busy.remove(0).json("200 OK", "{}");
        busy.push(scene.model.call());
        assert_eq!(name(busy.last().unwrap()), "one", "{slots} slots");
        for mut call in busy {
            call.json("200 OK", "{}");
        }
        for _ in 0..200 {
            scene.model.call().json("200 OK", "{}");
        }
        for mut wire in waiting {
            assert_eq!(wire.answer().status, 200);
        }
        scene.is_free();
    }
}

#[test]
fn slots_are_shared_by_the_weights_of_keys() {
    let scene = scene("", "in_flight_max = 1");
    scene.home.ok(&["key", "update", "other", "--weight", "3"]);
    let (first, mut call) = scene.busy(1).remove(0);
    let mut wires = vec![first];
    for _ in 0..8 {
        wires.extend([scene.ask(0, "light", PLAIN), scene.ask(1, "heavy", PLAIN)]);
    }
    scene.has_waiting(16);
    let mut names = Vec::new();
    for _ in 0..16 {
        call.json("200 OK", "{}");
        call = scene.model.call();
        names.push(name(&call));
    }
    call.json("200 OK", "{}");
    for mut wire in wires {
        assert_eq!(wire.answer().status, 200);
    }
    let heavy = names.iter().take(8).filter(|name| *name == "heavy").count();
    assert!((6..=7).contains(&heavy), "three of four: {names:?}");
}

#[test]
fn requests_of_one_key_are_served_in_order() {
    let scene = scene("", "in_flight_max = 1");
    let (_first, mut call) = scene.busy(1).remove(0);
    let names = ["a", "b", "c", "d", "e"];
    let wires: Vec<Wire> =
        names.iter().zip(1..).map(|(name, place)| scene.wait(0, name, PLAIN, place)).collect();
    for expected in names {
        call.json("200 OK", "{}");
        call = scene.model.call();
        assert_eq!(name(&call), expected);
    }
    call.json("200 OK", "{}");
    for mut wire in wires {
        assert_eq!(wire.answer().status, 200);
    }
    scene.ember.wait_for_log("\"queued_ms\":");
    scene.is_free();
}

#[test]
fn law_7_a_stream_that_waits_is_kept_alive_and_then_comes_byte_for_byte() {
    let odd = "event: x\r\nid:1\r\ndata:{\"a\" :1}\r\ndata: \u{e9}\u{1f525}\r\n\r\n: comment\n\nretry: 5\rdata: y\r\r\
               data:[DONE]\n\n: after the end\n\n";
    let scene = scene("keepalive_after = \"100ms\"", "in_flight_max = 1");
    let (_first, mut busy) = scene.busy(1).remove(0);
    let began = Instant::now();
    let mut wire = scene.wait(0, "stream", STREAMED, 1);
    let mut plain = scene.wait(0, "plain", PLAIN, 2);
    begun(&mut wire);
    for _ in 0..3 {
        wire.read_until(BEAT);
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "one every 100 ms: {:?}", began.elapsed());
    assert!(plain.is_silent(Duration::from_millis(1)), "one who asked for no stream just waits");
    busy.json("200 OK", "{}");
    let mut call = scene.model.call();
    assert_eq!(name(&call), "stream");
    // The model takes its time: it is still kept alive.
    wire.read_until(BEAT);
    call.say(STREAM);
    call.chunk(odd);
    call.say("0\r\n\r\n");
    let rest = String::from_utf8(wire.rest().0).unwrap();
    let (chunk, end) = (format!("{:X}\r\n{odd}\r\n", odd.len()), "0\r\n\r\n");
    let said = rest.strip_suffix(&format!("{chunk}{end}")).unwrap_or_else(|| panic!("{rest:?}"));
    assert_eq!(
        said.replace(&format!("B\r\n{BEAT}\r\n"), "").trim_start_matches("\r\n"),
        "",
        "only comments before"
    );
    scene.model.call().json("200 OK", "{}");
    assert_eq!(plain.answer().status, 200);
    scene.is_free();
}

#[test]
fn law_6_a_stream_that_began_while_it_waited_says_how_it_failed() {
    const OWN: &str = "{\"error\":{\"message\":\"too long\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"context\"}}";
    let scene = scene("keepalive_after = \"50ms\"", "in_flight_max = 1");
    type Ending = fn(Call);
    let endings: [(&str, Ending); 5] = [
        ("context", |mut call| call.json("400 Bad Request", OWN)),
        ("upstream_invalid", |mut call| call.json("500 Internal Server Error", "{\"detail\":\"x\"}")),
        ("upstream_invalid", |mut call| call.json("200 OK", "{\"id\":\"c\"}")),
        ("upstream_unavailable", drop),
        ("upstream_unavailable", |mut call| {
            call.say(STREAM);
            call.chunk(": nothing yet\n\n");
        }),
    ];
    for path in [CHAT, "/v1/completions", "/v1/responses"] {
        for (code, ending) in &endings {
            let (_first, mut busy) = scene.busy(1).remove(0);
            let mut wire = Wire::open(&scene.ember);
            let body = format!("{{\"model\":\"m\",{STREAMED}}}");
            wire.send(crate::ember::request("POST", path, Some(&scene.keys[0]), &body));
            begun(&mut wire);
            busy.json("200 OK", "{}");
            ending(scene.model.call());
            let body = broken(&mut wire);
            let (_, rest) = beats(&body);
            let rest = rest.strip_prefix(": nothing yet\n\n").unwrap_or(rest);
            assert_eq!(error_code(rest), *code, "{path}: {body:?}");
            if *code == "context" {
                assert_eq!(rest, format!("data: {OWN}\n\n"), "the server's own words");
            }
        }
    }
    scene.ember.wait_for_log("\"code\":\"upstream_error\"");
    scene.is_free();
}

#[test]
fn law_3_a_cut_key_leaves_the_line() {
    let scene = scene("keepalive_after = \"400ms\"", "in_flight_max = 1");
    let mut first = scene.ask(1, "first", PLAIN);
    let mut busy = scene.model.call();
    let mut begun_already = scene.wait(0, "stream", STREAMED, 1);
    begun(&mut begun_already);
    let mut plain = scene.wait(0, "plain", PLAIN, 2);
    let mut stream = scene.wait(0, "stream", STREAMED, 3);
    scene.home.ok(&["key", "revoke", "app"]);
    let acknowledged = Instant::now();
    for wire in [&mut plain, &mut stream] {
        let answer = wire.answer();
        if answer.status == 401 {
            assert_eq!(answer.code(), "api_key_revoked");
        }
        assert!(answer.status == 401, "{}", answer.status);
    }
    let body = broken(&mut begun_already);
    assert!(acknowledged.elapsed() < SOON, "{:?}", acknowledged.elapsed());
    assert_eq!(error_code(beats(&body).1), "api_key_revoked");
    assert_eq!(scene.load("waiting"), 0, "its places are free");
    busy.json("200 OK", "{}");
    assert_eq!(first.answer().status, 200);
    scene.is_free();
}

#[test]
fn law_9_one_who_hangs_up_leaves_the_line() {
    let scene = scene("keepalive_after = \"50ms\"", "in_flight_max = 1");
    let (mut first, mut busy) = scene.busy(1).remove(0);
    let plain = scene.wait(0, "gone", PLAIN, 1);
    let mut stream = scene.wait(0, "gone", STREAMED, 2);
    begun(&mut stream);
    let mut other = scene.wait(0, "patient", PLAIN, 3);
    drop((plain, stream));
    let left = Instant::now();
    scene.has_waiting(1);
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());
    busy.json("200 OK", "{}");
    assert_eq!(first.answer().status, 200);
    let mut call = scene.model.call();
    assert_eq!(name(&call), "patient");
    call.json("200 OK", "{}");
    assert_eq!(other.answer().status, 200);
    eventually("two lines of those who hung up", || {
        let log = scene.ember.log();
        let gone = log.lines().filter(|line| line.contains("client_gone") && line.contains("\"queued_ms\":"));
        gone.count() == 2
    });
    scene.is_free();
}

#[test]
fn a_full_line_is_refused_with_a_time_and_no_key_fills_it_alone() {
    let scene = scene("", "in_flight_max = 1\nqueue_max = 2");
    let (_first, busy) = scene.busy(1).remove(0);
    let mut own = vec![scene.wait(0, "own", PLAIN, 1), scene.wait(0, "own", PLAIN, 2)];
    let mut refused = scene.ask(0, "own", PLAIN);
    let answer = refused.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), (Some("1"), Some("1000")));
    let mut other = scene.ask(1, "other", PLAIN);
    let mut last = own.pop().unwrap();
    assert_eq!(
        (last.answer().status, scene.load("waiting")),
        (503, 2),
        "the longest gives up its last place"
    );
    let mut calls = Vec::from([busy]);
    for expected in ["other", "own"] {
        calls.pop().unwrap().json("200 OK", "{}");
        calls.push(scene.model.call());
        assert_eq!(name(calls.last().unwrap()), expected);
    }
    calls.pop().unwrap().json("200 OK", "{}");
    assert_eq!((own.pop().unwrap().answer().status, other.answer().status), (200, 200));
    scene.is_free();
}

#[test]
fn nobody_waits_longer_than_the_bound_and_the_answer_says_how_long_it_will_take() {
    let scene = scene("keepalive_after = \"100ms\"", "in_flight_max = 1\nqueue_timeout = \"250ms\"");
    // A service of at least 1.2 s, from which the next is estimated.
    let (mut first, mut call) = scene.busy(1).remove(0);
    std::thread::sleep(Duration::from_millis(1200));
    call.json("200 OK", "{}");
    assert_eq!(first.answer().status, 200);
    eventually("a free slot", || scene.load("in_flight") == 0);
    let (_first, mut busy) = scene.busy(1).remove(0);
    let began = Instant::now();
    let answer = scene.ask(1, "plain", PLAIN).answer();
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    let millis: u64 = answer.header("retry-after-ms").unwrap().parse().unwrap();
    assert!((1200..5000).contains(&millis), "{millis}");
    assert_eq!(answer.header("retry-after"), Some(millis.div_ceil(1000).to_string().as_str()));
    let own_ms: u64 = answer.header("openai-processing-ms").unwrap().parse().unwrap();
    assert!(own_ms < 250, "the wait is not Ember's work: {own_ms}");
    let mut stream = scene.ask(1, "stream", STREAMED);
    begun(&mut stream);
    assert_eq!(error_code(beats(&broken(&mut stream)).1), "overloaded");
    busy.json("200 OK", "{}");
    scene.is_free();
}

#[test]
fn a_stop_ends_the_wait_and_says_so() {
    let mut scene = scene("keepalive_after = \"100ms\"\ndrain_timeout = \"500ms\"", "in_flight_max = 1");
    let (_first, _busy) = scene.busy(1).remove(0);
    let mut plain = scene.wait(0, "plain", PLAIN, 1);
    let mut stream = scene.wait(0, "stream", STREAMED, 2);
    begun(&mut stream);
    scene.ember.signal("TERM");
    let answer = plain.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert!(answer.text().contains("restarting"));
    let body = broken(&mut stream);
    assert_eq!(error_code(beats(&body).1), "overloaded");
    assert_eq!(scene.ember.wait().code(), Some(0));
}

#[test]
fn a_request_waits_at_all_servers_of_its_model_and_takes_the_first_slot() {
    let (one, two) = (ModelServer::start(), ModelServer::start());
    let more = "in_flight_max = 1";
    let home = home(&format!("{}{}", one.section(more), two.section(more).replace("scripted", "second")));
    let key = home.key("app");
    let ember = home.serve();
    let ask = || {
        let mut wire = Wire::open(&ember);
        wire.send(crate::ember::request("POST", CHAT, Some(&key), "{\"model\":\"m\"}"));
        wire
    };
    let mut held = [ask(), ask()];
    let (mut first, mut second) = (one.call(), two.call());
    let mut waits = [ask(), ask()];
    let lines = || home.ok(&["status", "-o", "plain"]);
    eventually("two in both lines", || lines().matches("\tup\t1\t2").count() == 2);
    second.json("200 OK", "{}");
    let mut third = two.call();
    eventually("one in both lines", || lines().matches("\tup\t1\t1").count() == 2);
    assert!(one.is_untouched());
    first.json("200 OK", "{}");
    let mut fourth = one.call();
    third.json("200 OK", "{}");
    fourth.json("200 OK", "{}");
    for wire in held.iter_mut().chain(&mut waits) {
        assert_eq!(wire.answer().status, 200);
    }
    eventually("nobody anywhere", || lines().matches("\tup\t0\t0").count() == 2);
}
