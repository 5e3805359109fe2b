//! Law 9: however a caller leaves and whenever, the model server's connection closes within a second, or his place in line
//! is free.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::rogue::section;
use crate::door;
use crate::ember::{Ember, Home, PATIENCE, eventually};
use crate::http2::{END_HEADERS, END_STREAM, HEADERS, frame, greeting, head};
use crate::model::{ModelServer, SOON, STREAM, home};
use crate::proof;
use crate::wire::Wire;

const CHAT: &str = "/v1/chat/completions";
/// Callers of each kind.
fn count() -> usize {
    proof::size(20, 1000)
}

/// A way to leave; what it gives back stays.
type Way = (&'static str, Speaks, fn(Wire) -> Option<Wire>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

/// Frames of HTTP/2 (RFC 9113, 6).
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

const WAYS: [Way; 10] = [
    ("closes", Speaks::Http1, |_| None),
    ("resets", Speaks::Http1, |wire| {
        wire.reset();
        None
    }),
    ("half closes", Speaks::Http1, half_close),
    ("closes behind a byte", Speaks::Http1, |mut wire| {
        wire.send("x");
        None
    }),
    ("resets behind a byte", Speaks::Http1, |mut wire| {
        wire.send("\r\n");
        wire.reset();
        None
    }),
    ("resets the stream", Speaks::Http2, |mut wire| {
        wire.send(frame(RST_STREAM, 0, 1, &CANCEL));
        Some(wire)
    }),
    ("closes", Speaks::Http2, |_| None),
    ("resets", Speaks::Http2, |wire| {
        wire.reset();
        None
    }),
    ("half closes", Speaks::Http2, half_close),
    ("says goodbye and closes", Speaks::Http2, |mut wire| {
        wire.send(frame(GOAWAY, 0, 0, &[0; 8]));
        None
    }),
];

fn half_close(mut wire: Wire) -> Option<Wire> {
    wire.half_close();
    Some(wire)
}

fn ask(ember: &Ember, key: &str, speaks: Speaks, model: &str) -> Wire {
    let body = format!("{{\"model\":\"{model}\",\"stream\":true}}");
    let mut wire = Wire::open(ember);
    match speaks {
        Speaks::Http1 => wire.send(format!(
            "POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )),
        Speaks::Http2 => {
            let head = frame(HEADERS, END_HEADERS, 1, &head("POST", CHAT, key));
            wire.send([greeting(), head, frame(DATA, END_STREAM, 1, body.as_bytes())].concat());
        }
    }
    wire
}

/// How long the server's connection lives on when its caller has left.
fn time_to_close(
    ember: &Ember,
    key: &str,
    model: &str,
    server: &ModelServer,
    way: Way,
    begun: bool,
) -> Duration {
    let (_, speaks, leave) = way;
    let mut wire = ask(ember, key, speaks, model);
    let mut call = server.call();
    if begun {
        call.say(STREAM);
        call.event("one");
        wire.read_until("one");
    }
    let left = Instant::now();
    let _stays = leave(wire);
    call.time_to_end();
    left.elapsed()
}

#[test]
fn law_9_whoever_leaves_before_or_in_his_answer_is_seen_to_within_a_second() {
    const SERVERS: usize = 4;
    let mut servers: Vec<(String, ModelServer)> =
        (0..SERVERS).map(|number| (format!("m{number}"), ModelServer::start())).collect();
    let home =
        home(&servers.iter().map(|(model, server)| section(model, server.address, "")).collect::<String>());
    let key = home.key("app");
    let ember = home.serve();
    let mut left = 0;
    let mut slowest = Duration::ZERO;
    for way in WAYS {
        for begun in [false, true] {
            let times = std::thread::scope(|scope| {
                let callers: Vec<_> = servers
                    .iter_mut()
                    .map(|(model, server)| {
                        let (ember, key) = (&ember, &key);
                        let leave = move |_| time_to_close(ember, key, model, server, way, begun);
                        scope.spawn(move || (0..count() / SERVERS).map(leave).max().unwrap())
                    })
                    .collect();
                callers.into_iter().map(|caller| caller.join().unwrap()).max().unwrap()
            });
            let (how, speaks, _) = way;
            assert!(times < SOON, "{speaks:?} {how}, begun: {begun}: {times:?}");
            (left, slowest) = (left + count() / SERVERS * SERVERS, slowest.max(times));
        }
    }
    eventually("all are recorded as gone", || gone(&ember) >= left);
    assert_eq!(gone(&ember), left);
    proof::show(
        &format!("callers who left before or in their answer, {} of each kind", count()),
        left,
        "20,000",
    );
    proof::show("the longest until the model server saw it, ms", slowest.as_millis(), "under 1,000");
}

/// The lines of requests that ended because their callers left.
fn gone(ember: &Ember) -> usize {
    ember.log().matches("\"ending\":\"client_gone\"").count()
}

fn waiting(home: &Home) -> u64 {
    let answer = door::ask(&home.data(), "GET", "/admin/v1/upstreams", "", "").unwrap();
    let list: Value = answer.json();
    list["data"][0]["waiting"].as_u64().unwrap_or_else(|| panic!("{list}"))
}

/// Until so many wait; how long that took.
fn has_waiting(home: &Home, count: usize) -> Duration {
    let began = Instant::now();
    while waiting(home) != count as u64 {
        assert!(began.elapsed() < PATIENCE, "{} wait, {count} should", waiting(home));
        std::thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

#[test]
fn law_9_whoever_leaves_the_line_is_out_of_it_within_a_second_and_never_sent_on() {
    const AT_ONCE: usize = 20;
    let server = ModelServer::start();
    let home = home(&section("m", server.address, "in_flight_max = 1"));
    let key = home.key("app");
    let ember = home.serve();
    let first = ask(&ember, &key, Speaks::Http1, "m");
    let call = server.call();
    let (mut left, mut slowest) = (0, Duration::ZERO);
    for (how, speaks, leave) in WAYS {
        for _ in 0..count() / AT_ONCE {
            let wires: Vec<Wire> = (0..AT_ONCE).map(|_| ask(&ember, &key, speaks, "m")).collect();
            has_waiting(&home, AT_ONCE);
            let _stay: Vec<_> = wires.into_iter().filter_map(leave).collect();
            let taken = has_waiting(&home, 0);
            assert!(taken < SOON, "{speaks:?} {how}: {taken:?}");
            (left, slowest) = (left + AT_ONCE, slowest.max(taken));
        }
    }
    eventually("all are recorded as gone", || gone(&ember) >= left);
    drop(call);
    drop(first);
    // The next one is the first whom the server sees.
    let mut next = ask(&ember, &key, Speaks::Http1, "m");
    let mut call = server.call();
    call.json("200 OK", "{\"next\":1}");
    assert!(next.answer().text().contains("next"));
    assert!(server.is_untouched(), "one who had left was sent on");
    proof::show(&format!("callers who left the line, {} of each kind", count()), left, "10,000");
    proof::show("the longest until 20 of them were out of it, ms", slowest.as_millis(), "under 1,000");
}
