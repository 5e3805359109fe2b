//! Nobody holds a connection for nothing: the first byte, a head, a body, the next request and a client that takes
//! nothing each have their time, and connections have a cap.

use std::time::Duration;

use http_body_util::BodyExt;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::ember::{Answer, Ember, Home, chat, request};
use crate::model::{ModelServer, STREAM};
use crate::wire::{End, Wire};

/// The header, body and write timeouts of these tests.
const SHORT: Duration = Duration::from_millis(300);
const IDLE: Duration = Duration::from_millis(900);
/// A busy machine is late; a timer that does not work is later.
const LATE: Duration = Duration::from_secs(5);

const SETTINGS: &str = "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nwrite_timeout = \"300ms\"\n\
                        idle_timeout = \"900ms\"\n";

fn served(more: &str) -> (Home, Ember, String) {
    let home = crate::model::home(&format!("{SETTINGS}{more}\n[models]\necho = true\n"));
    let key = home.key("good");
    let ember = home.serve();
    crate::ember::eventually("a ready server", || ember.get("/readyz", None).status == 200);
    (home, ember, key)
}

fn get(key: &str) -> String {
    format!("GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n")
}

fn assert_between(least: Duration, taken: Duration, what: &str) {
    assert!(taken >= least * 9 / 10, "{what}: ended after {taken:?} already");
    assert!(taken < LATE, "{what}: ended only after {taken:?}");
}

#[test]
fn a_connection_that_does_not_begin_is_ended() {
    let (_home, ember, _) = served("");
    for first in ["", "\r\n", "G", "P", "PRI * HTTP/2.0\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n"] {
        let mut wire = Wire::open(&ember);
        wire.send(first);
        assert_between(SHORT, wire.time_to_end(), &format!("{first:?}"));
    }
}

#[test]
fn a_head_that_trickles_in_is_ended() {
    let (_home, ember, key) = served("");
    let mut wire = Wire::open(&ember);
    wire.send("GET /v1/models HTTP/1.1\r\nHost: a\r\nX: ");
    let began = std::time::Instant::now();
    // A byte now and then is no progress that counts.
    while wire.is_silent(Duration::from_millis(40)) && wire.offer("x") {
        assert!(began.elapsed() < LATE, "a head may trickle in for ever");
    }
    let mut second = Wire::open(&ember);
    second.send(get(&key));
    assert_eq!(second.answer().status, 200);
    second.send("GET /v1/mod");
    assert_between(SHORT, second.time_to_end(), "the head of a second request");
}

#[test]
fn a_body_that_stops_coming_is_ended() {
    let (_home, ember, key) = served("");
    let head = |framing: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n{framing}\r\n\r\n"
        )
    };
    for text in [
        head("Content-Length: 100"),
        head("Content-Length: 100") + "{\"model\"",
        head("Transfer-Encoding: chunked"),
        head("Transfer-Encoding: chunked") + "5\r\n{\"mod\r\n",
        head("Transfer-Encoding: chunked") + "5\r\n{\"",
    ] {
        let mut wire = Wire::open(&ember);
        wire.send(&text);
        let began = std::time::Instant::now();
        let (answers, _) = wire.rest();
        assert_between(SHORT, began.elapsed(), &text);
        let answer = Answer::parse(&answers);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{text}");
    }
    // Nobody waits for a body that nobody reads.
    let mut wire = Wire::open(&ember);
    wire.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    assert_eq!(wire.answer().status, 401);
    assert!(wire.time_to_end() < LATE);
}

#[test]
fn a_connection_without_a_request_is_ended_after_its_idle_time() {
    let (_home, ember, key) = served("");
    let mut wire = Wire::open(&ember);
    wire.send(get(&key));
    assert_eq!(wire.answer().status, 200);
    assert_between(IDLE, wire.time_to_end(), "after an answer");
    let mut wire = Wire::open(&ember);
    for _ in 0..5 {
        wire.send(get(&key));
        assert_eq!(wire.answer().status, 200);
    }
    assert_between(IDLE, wire.time_to_end(), "after several");
}

#[test]
fn a_slow_model_is_waited_for() {
    let (_home, ember, key) = served("");
    // Longer than every timer above.
    let body = chat("slow", ",\"max_tokens\":1,\"ember_echo_delay_ms\":1500");
    let answer = ember.post("/v1/chat/completions", Some(&key), &body);
    assert_eq!((answer.status, answer.whole), (200, true));
    let body = chat("slow", ",\"max_tokens\":1,\"ember_echo_delay_ms\":1500,\"stream\":true");
    let answer = ember.post("/v1/chat/completions", Some(&key), &body);
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_gone() {
    let model = ModelServer::start();
    let home = model.home(SETTINGS, "");
    let key = home.key("good");
    let ember = home.serve();
    for version in ["1.1", "1.0"] {
        let mut wire = Wire::open(&ember);
        let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        wire.send(
            request("POST", "/v1/chat/completions", Some(&key), body)
                .replace("HTTP/1.1", &format!("HTTP/{version}")),
        );
        let mut call = model.call();
        call.say(STREAM);
        call.flood();
        assert!(call.time_to_end() < LATE);
        let (answer, end) = wire.rest();
        assert!(
            end == End::Reset || (version == "1.1" && !Answer::parse(&answer).whole),
            "HTTP/{version}: {end:?}"
        );
        ember.wait_for_log("client_gone");
    }
}

#[test]
fn a_client_that_hangs_up_on_the_end_of_its_answer_is_gone() {
    // Nothing but the hang-up ends the connection within this test.
    let settings = "write_timeout = \"10m\"\nidle_timeout = \"10m\"";
    let (home, _ember, _, mut wire, _) = crate::framing::stuck(settings);
    wire.half_close();
    crate::ember::eventually("the end of the connection", || {
        crate::metrics::scrape(&home).sum("ember_connections", &[]) == 0.0
    });
}

#[test]
fn an_http_2_connection_without_a_request_is_ended_too() {
    let (_home, ember, key) = served("");
    crate::http2::run(async {
        for asks in [false, true] {
            let (mut client, ended) = crate::http2::http2_client(&ember, None).await;
            if asks {
                let request = crate::http2::http2_request("GET", "/v1/models", Some(&key), String::new());
                client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
            }
            tokio::time::timeout(LATE, ended).await.expect("an idle connection stays").unwrap();
            drop(client);
        }
    });
}

#[test]
fn a_connection_above_the_cap_waits_for_one_to_end() {
    let home = crate::model::home("connections_max = 4\n[models]\necho = true\n");
    let key = home.key("good");
    let ember = home.serve();
    let mut held: Vec<Wire> = (0..4).map(|_| Wire::open(&ember)).collect();
    for wire in &mut held {
        wire.send(get(&key));
        assert_eq!(wire.answer().status, 200);
    }
    let mut fifth = Wire::open(&ember);
    fifth.send(get(&key));
    assert!(fifth.is_silent(Duration::from_millis(200)), "a fifth connection is served");
    held[0].send(get(&key));
    assert_eq!(held[0].answer().status, 200, "the others go on");
    held.pop();
    assert_eq!(fifth.answer().status, 200);
}

/// `ember serve` with a limit of open files, soft and hard.
fn with_descriptors(home: &Home, limit: u32) -> Ember {
    with_limits(home, &format!("ulimit -n {limit}"))
}

/// `ember serve` behind these words of a shell.
fn with_limits(home: &Home, limits: &str) -> Ember {
    let ember = home.command(&["serve"]);
    let mut command = std::process::Command::new("sh");
    command.env_clear().current_dir(home.folder.path()).stdin(std::process::Stdio::null());
    command.args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")]);
    command.arg(ember.get_program()).args(ember.get_args());
    Ember::start(command)
}

#[test]
fn bug_a_flood_at_a_low_limit_of_descriptors_leaves_commands_and_callers_a_way_in() {
    let home = crate::model::home("[models]\necho = true\n");
    let key = home.key("good");
    let ember = with_descriptors(&home, 128);
    ember.wait_for_log("at most 32 connections");
    let mut kept = Wire::open(&ember);
    kept.send(get(&key));
    assert_eq!(kept.answer().status, 200);
    let flood: Vec<_> = (0..300).map(|_| ember.connect()).collect();
    let began = std::time::Instant::now();
    assert!(home.ok(&["key", "list", "-o", "plain"]).contains("good"));
    home.ok(&["status"]);
    kept.send(get(&key));
    assert_eq!(kept.answer().status, 200, "who is connected goes on");
    assert!(began.elapsed() < LATE, "commands wait for the flood to end");
    drop(flood);
    let began = std::time::Instant::now();
    assert_eq!(ember.get("/v1/models", Some(&key)).status, 200);
    assert!(began.elapsed() < LATE && !ember.log().contains("could not be accepted"));
}

#[test]
fn law_12_accepting_goes_on_when_descriptors_are_back() {
    let home = crate::model::home("[models]\necho = true\n");
    let key = home.key("good");
    let ember = home.serve();
    let mut kept = Wire::open(&ember);
    kept.send(get(&key));
    assert_eq!(kept.answer().status, 200);
    let process = i32::try_from(ember.pid()).ok().and_then(Pid::from_raw);
    let hard = getrlimit(Resource::Nofile).maximum;
    let limited = |current| prlimit(process, Resource::Nofile, Rlimit { current, maximum: hard }).unwrap();
    let before = limited(Some(3));
    std::thread::scope(|scope| {
        // With TLS it is not open before it was accepted.
        let waits = scope.spawn(|| {
            let mut wire = Wire::open(&ember);
            wire.send(get(&key));
            wire.answer().status
        });
        ember.wait_for_log("a connection could not be accepted");
        kept.send(get(&key));
        assert_eq!(kept.answer().status, 200, "who is connected goes on");
        let began = std::time::Instant::now();
        limited(before.current);
        assert_eq!(waits.join().unwrap(), 200);
        assert!(began.elapsed() < LATE);
    });
}

#[test]
fn a_server_raises_its_soft_limit_of_descriptors() {
    let home = crate::model::home("[models]\necho = true\n");
    let ember = with_limits(&home, "ulimit -Sn 64 && ulimit -Hn 512");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", ember.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["512", "512"]);
    assert!(ember.log().contains("at most 384 connections"), "{}", ember.log());
}

#[test]
fn refused_clients_that_stay_do_not_use_the_connections_up() {
    let home = crate::model::home(
        "connections_max = 4\nidle_timeout = \"300ms\"\nheader_timeout = \"300ms\"\n[models]\necho = true\n",
    );
    let key = home.key("good");
    let ember = home.serve();
    let mut stay = Vec::new();
    for text in [
        "GET /v1/models HTTP/1.1\nHost: a\n\n",
        "POST /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n",
        "GET /v1/models HTTP/1.0\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let mut wire = Wire::open(&ember);
        wire.send(text);
        wire.answer();
        stay.push(wire);
    }
    let mut next = Wire::open(&ember);
    next.send(get(&key));
    assert_eq!(next.answer().status, 200);
}
