//! The log as a whole: what is written when, in which order, and what happens when nobody reads it.

use std::collections::HashMap;
use std::io::Read;

use serde_json::Value;

use crate::ember::{Ember, Home, eventually};
use crate::wire::Wire;

fn health(id: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n")
}

/// The lines of a log, each of which must be one whole JSON object.
fn lines(log: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not whole: {line}"));
    log.lines().map(parse).collect()
}

fn is_access(line: &&Value) -> bool {
    line["target"] == "access"
}

#[test]
fn lines_come_whole_and_in_order_and_a_clean_stop_loses_none() {
    const CALLERS: usize = 1000;
    let home = Home::with_echo();
    let mut ember = home.serve();
    let mut wires: Vec<_> = (0..CALLERS).map(|_| Wire::open(&ember)).collect();
    for turn in 0..2 {
        for (caller, wire) in wires.iter_mut().enumerate() {
            wire.send(health(&format!("{caller}-{turn}")));
        }
        for wire in &mut wires {
            assert_eq!(wire.answer().status, 200);
        }
    }
    // What was answered a moment ago is still gathered.
    ember.signal("TERM");
    drop(wires);
    assert!(ember.wait().success());
    let mut log = Vec::new();
    eventually("the last lines", || {
        log = lines(&ember.log());
        log.iter().filter(is_access).count() == 2 * CALLERS
    });
    let mut turns = HashMap::new();
    for line in log.iter().filter(is_access) {
        let (caller, turn) = line["request_id"].as_str().unwrap().split_once('-').unwrap();
        let next = turns.entry(caller.to_string()).or_insert(0);
        assert_eq!(turn, next.to_string(), "of {caller}");
        *next += 1;
    }
    assert!(turns.len() == CALLERS && turns.values().all(|turns| *turns == 2));
}

#[test]
fn other_lines_stand_behind_what_was_before_them() {
    const ROUNDS: usize = 5;
    let home = Home::with_echo();
    let ember = home.serve();
    let mut wire = Wire::open(&ember);
    for round in 0..ROUNDS {
        for part in ["a", "b"] {
            wire.send(health(&format!("{round}{part}")));
            assert_eq!(wire.answer().status, 200);
        }
        home.key(&format!("key-{round}"));
    }
    let mut log = Vec::new();
    eventually("the audit lines", || {
        log = lines(&ember.log());
        log.iter().filter(|line| line["target"] == "audit").count() == ROUNDS
    });
    let order = log.iter().filter_map(|line| match line["target"].as_str() {
        Some("access") => line["request_id"].as_str(),
        Some("audit") => Some("audit"),
        _ => None,
    });
    let wanted = [
        "0a", "0b", "audit", "1a", "1b", "audit", "2a", "2b", "audit", "3a", "3b", "audit", "4a", "4b",
        "audit",
    ];
    assert_eq!(order.collect::<Vec<_>>(), wanted);
}

#[test]
fn lines_are_written_soon_though_nothing_else_is() {
    let home = Home::with_echo();
    let ember = home.serve();
    for round in 0..3 {
        let id = format!("round-{round}");
        let mut wire = Wire::open(&ember);
        wire.send(health(&id));
        assert_eq!(wire.answer().status, 200);
        ember.wait_for_log(&id);
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    const REQUESTS: usize = 1500;
    let home = Home::with_echo();
    let (ember, mut log) = Ember::start_unread(home.command(&["serve"]));
    let mut wire = Wire::open(&ember);
    let long = "x".repeat(100);
    // A pipe takes 64 KiB; what is said here is many times that.
    for number in 0..REQUESTS {
        wire.send(health(&format!("{long}-{number}")));
        assert_eq!(wire.answer().status, 200);
        if number % 300 == 0 {
            home.key(&format!("key-{number}"));
        }
    }
    assert!(ember.stop().success());
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
    let numbers: Vec<_> =
        lines(whole).iter().filter(is_access).map(|line| line["request_id"].clone()).collect();
    assert!(numbers.len() > 50 && numbers.len() < REQUESTS, "{} lines", numbers.len());
    for (number, id) in numbers.iter().enumerate() {
        assert_eq!(*id, format!("{long}-{number}"));
    }
}
