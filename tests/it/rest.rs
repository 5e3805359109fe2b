//! A connection that waits for its client's next request is put to rest, and its client can't tell: it serves on, it is
//! judged as before, and it ends when it has to.

use std::time::{Duration, Instant};

use crate::ember::{Answer, Ember, Home, chat, eventually};
use crate::model::SOON;
use crate::wire::Wire;

const SHORT: Duration = Duration::from_millis(300);

struct Served {
    _home: Home,
    ember: Ember,
    key: String,
}

impl Served {
    /// With an ember whose log says when a connection is put to rest.
    fn with(server: &str) -> Self {
        let log = "[log]\nlevel = \"trace\"\n[models]\necho = true\n";
        let home = crate::model::home(&format!("{server}\n{log}"));
        let key = home.key("good");
        let ember = home.serve();
        eventually("a ready server", || ember.get("/readyz", None).status == 200);
        Self { _home: home, ember, key }
    }

    /// Has a connection asked something and be answered, and waits until it rests.
    fn ask(&self, wire: &mut Wire, parts: &[&str]) -> Answer {
        let before = self.rests();
        for (number, part) in parts.iter().enumerate() {
            assert!(number == 0 || wire.is_silent(Duration::from_millis(50)));
            wire.send(part);
        }
        let answer = wire.answer();
        eventually("a rest", || self.rests() > before);
        answer
    }

    fn rests(&self) -> usize {
        self.ember.log().matches("a connection is put to rest").count()
    }

    /// A connection that was answered and rests.
    fn at_rest(&self) -> Wire {
        let mut wire = Wire::open(&self.ember);
        assert_eq!(self.ask(&mut wire, &[&self.get()]).status, 200);
        wire
    }

    fn get(&self) -> String {
        format!("GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", self.key)
    }

    fn post(&self, body: &str) -> String {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        )
    }
}

#[test]
fn a_connection_serves_on_after_each_rest() {
    let served = Served::with("");
    let mut wire = served.at_rest();
    let long = "word ".repeat(20_000);
    for body in [chat("hi", ""), chat(&long, ",\"max_tokens\":3"), chat("hi", ",\"stream\":true")] {
        let answer = served.ask(&mut wire, &[&served.post(&body)]);
        assert!((answer.status, answer.whole) == (200, true), "{answer:?}");
        // Sooner than a rest begins for a client that asks soon.
        wire.send(served.get());
        assert_eq!(wire.answer().status, 200, "the request right after that");
        assert_eq!(served.ask(&mut wire, &[&served.get()]).status, 200, "and one more");
    }
}

#[test]
fn a_client_that_asks_again_at_once_is_not_put_to_rest_each_time() {
    let served = Served::with("");
    let mut wire = served.at_rest();
    let (before, began) = (served.rests(), Instant::now());
    for _ in 0..100 {
        wire.send(served.get());
        assert_eq!(wire.answer().status, 200);
    }
    // Its rest is the last line of all.
    served.ask(&mut wire, &[&served.get()]);
    let rests = served.rests() - before;
    // Whoever asked soon rests after 50 ms without a request only.
    let most = 3 + began.elapsed().as_millis() / 50;
    assert!(rests as u128 <= most, "{rests} rests, at most {most} expected");
}

#[test]
fn a_refused_request_whose_body_nobody_reads_leaves_the_connection_as_it_was() {
    let served = Served::with("");
    let mut wire = served.at_rest();
    let request = served.post(&chat("hi", "")).replace("Bearer ember_", "Bearer other_");
    for _ in 0..3 {
        assert_eq!(served.ask(&mut wire, &[&request]).status, 401);
        assert_eq!(served.ask(&mut wire, &[&served.get()]).status, 200);
    }
}

/// Bytes of memory that only this process has, and that no file holds.
pub fn anonymous_bytes(ember: &Ember) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", ember.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn law_12_a_connection_at_rest_takes_little_memory() {
    const COUNT: u64 = 400;
    let served = Served::with("");
    // TLS keeps buffers and keys of its own.
    let each_max = if served.ember.trust.is_some() { 24 * 1024 } else { 12 * 1024 };
    let ask = || {
        let mut wire = Wire::open(&served.ember);
        wire.send(served.get());
        assert_eq!(wire.answer().status, 200);
        wire
    };
    drop(ask());
    let before = anonymous_bytes(&served.ember);
    let held: Vec<_> = (0..COUNT).map(|_| ask()).collect();
    let each = anonymous_bytes(&served.ember).saturating_sub(before) / COUNT;
    assert!(each <= each_max, "{each} bytes each");
    drop(held);
}

#[test]
fn a_head_may_come_in_parts_after_a_rest() {
    let served = Served::with("header_timeout = \"2s\"");
    let mut wire = served.at_rest();
    let head = served.get();
    for at in [1, 7, head.len() - 1] {
        assert_eq!(served.ask(&mut wire, &[&head[..at], &head[at..]]).status, 200, "cut at {at}");
    }
}

#[test]
fn a_head_that_does_not_come_whole_after_a_rest_is_ended() {
    let served = Served::with("header_timeout = \"300ms\"");
    let mut wire = served.at_rest();
    wire.send("GET /v1/mod");
    let taken = wire.time_to_end();
    assert!(taken >= SHORT * 9 / 10 && taken < SOON, "ended after {taken:?}");
}

#[test]
fn law_1_a_head_of_two_meanings_is_refused_after_a_rest_too() {
    let served = Served::with("");
    for (text, first) in [
        (served.get().replace("\r\nHost", "\nHost"), "400"),
        (served.get().replace("Host: a", "Host: a\r\nContent-Length: 0\r\nContent-Length: 0"), "400"),
        ("nonsense\r\n\r\n".to_string(), "400"),
        // The second is sent before the first is answered.
        (served.get().repeat(2), "200"),
    ] {
        let mut wire = served.at_rest();
        wire.send(&text);
        let (bytes, _) = wire.rest();
        let answers = String::from_utf8_lossy(&bytes);
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses.first(), Some(&first), "{text}");
        assert!(statuses[1..].iter().all(|status| *status == "400"), "{text}: {statuses:?}");
    }
}

#[test]
fn a_client_that_goes_away_during_a_rest_gives_its_place_free_at_once() {
    let served = Served::with("connections_max = 1");
    for way in ["closes", "says that nothing more comes", "breaks off"] {
        let mut wire = served.at_rest();
        match way {
            "closes" => drop(wire),
            "breaks off" => wire.reset(),
            _ => {
                wire.half_close();
                assert!(wire.time_to_end() < SOON);
            }
        }
        let began = Instant::now();
        let mut next = Wire::open(&served.ember);
        next.send(served.get());
        assert_eq!(next.answer().status, 200, "{way}");
        assert!(began.elapsed() < SOON, "{way}: {:?}", began.elapsed());
    }
}

#[test]
fn a_stop_ends_a_connection_at_rest() {
    let mut served = Served::with("");
    let mut wire = served.at_rest();
    let began = Instant::now();
    served.ember.signal("TERM");
    assert!(wire.time_to_end() < SOON);
    assert_eq!(served.ember.wait().code(), Some(0));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn a_rest_does_not_prolong_the_idle_time() {
    let served = Served::with("idle_timeout = \"600ms\"");
    let asked = Instant::now();
    let mut wire = served.at_rest();
    wire.rest();
    let taken = asked.elapsed();
    assert!(taken >= Duration::from_millis(540) && taken < Duration::from_secs(5), "ended after {taken:?}");
}
