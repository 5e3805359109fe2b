//! What two HTTP parsers could read differently is refused, requests out of turn are not answered, and what is too
//! large is told so while it is still being sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::ember::{Answer, Ember, Home, chat};
use crate::guard::Dice;
use crate::proof;
use crate::wire::{End, Wire};

pub fn served() -> (Home, Ember, String) {
    served_with("")
}

pub fn served_with(server: &str) -> (Home, Ember, String) {
    let home = crate::model::home(&format!("{server}\n[models]\necho = true\n"));
    let key = home.key("good");
    let ember = home.serve();
    crate::ember::eventually("a ready server", || ember.get("/readyz", None).status == 200);
    (home, ember, key)
}

/// Settings with which a connection where nothing happens ends soon.
const SHORT: &str = "header_timeout = \"500ms\"\nbody_timeout = \"500ms\"\nidle_timeout = \"500ms\"";

/// How often a request was let through.
fn count_200(answers: &[u8]) -> usize {
    String::from_utf8_lossy(answers).matches("HTTP/1.1 200").count()
}

fn count_answers(answers: &[u8]) -> usize {
    String::from_utf8_lossy(answers).matches("HTTP/1.1 ").count()
}

/// `KEY` stands for the header with a good key, `LEN` for one with the length of an ordinary body, `BODY` for that body.
fn filled(text: &str, key: &str) -> String {
    let body = chat("hi", "");
    text.replace("KEY", &format!("Authorization: Bearer {key}"))
        .replace("LEN", &format!("Content-Length: {}", body.len()))
        .replace("BODY", &body)
}

/// Each a request with a good key that would be answered 200 if its framing had one meaning.
const AMBIGUOUS: [(&str, &str); 28] = [
    ("bare LF after the request line", "GET /v1/models HTTP/1.1\nHost: a\r\nKEY\r\n\r\n"),
    ("bare LF after a header", "GET /v1/models HTTP/1.1\r\nHost: a\nKEY\r\n\r\n"),
    ("bare LF everywhere", "GET /v1/models HTTP/1.1\nHost: a\nKEY\n\n"),
    ("bare LF at the end", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\n"),
    ("bare CR in a value", "GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\rb\r\nKEY\r\n\r\n"),
    ("NUL in a value", "GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\0b\r\nKEY\r\n\r\n"),
    (
        "length, then encoding",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nLEN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "encoding, then length",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\nLEN\r\n\r\n0\r\n\r\n",
    ),
    (
        "encoding and length of a GET",
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths alike", "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nLEN\r\nLEN\r\n\r\nBODY"),
    (
        "two lengths that differ",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nLEN\r\nContent-Length: 5\r\n\r\nBODY",
    ),
    ("two lengths in one", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: 0, 0\r\n\r\n"),
    ("signed length", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: +0\r\n\r\n"),
    ("negative length", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: -1\r\n\r\n"),
    ("hexadecimal length", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: 0x0\r\n\r\n"),
    ("empty length", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length:\r\n\r\n"),
    (
        "huge length",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: 18446744073709551616\r\n\r\n",
    ),
    (
        "gzip, chunked",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked, identity",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    ("identity", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: identity\r\n\r\n"),
    (
        "two encodings",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "vertical tab before chunked",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "space before a colon",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length : 4\r\n\r\nBODY",
    ),
    ("space in a name", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\nX Y: 4\r\n\r\n"),
    ("folded line", "GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\nKEY\r\n\r\n"),
    ("first line folded", "GET /v1/models HTTP/1.1\r\n Host: a\r\nHost: a\r\nKEY\r\n\r\n"),
    ("no colon", "GET /v1/models HTTP/1.1\r\nHost: a\r\nX\r\nKEY\r\n\r\n"),
    ("no name", "GET /v1/models HTTP/1.1\r\nHost: a\r\n: x\r\nKEY\r\n\r\n"),
];

/// Each a request with a good key whose end is clear, but not where it is meant to go.
const MISADDRESSED: [(&str, &str); 6] = [
    ("no host", "GET /v1/models HTTP/1.1\r\nKEY\r\n\r\n"),
    ("two hosts", "GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: a\r\nKEY\r\n\r\n"),
    ("a host with a query", "GET /v1/models HTTP/1.1\r\nHost: a?\r\nKEY\r\n\r\n"),
    ("a host with a user", "GET /v1/models HTTP/1.1\r\nHost: a@b\r\nKEY\r\n\r\n"),
    ("an empty host", "GET /v1/models HTTP/1.1\r\nHost:\r\nKEY\r\n\r\n"),
    ("a whole URL", "GET http://a/v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n"),
];

#[test]
fn what_two_parsers_could_read_differently_is_refused_and_the_connection_ends() {
    let (_home, ember, key) = served();
    for (what, text) in AMBIGUOUS {
        let mut wire = Wire::open(&ember);
        wire.send(filled(text, &key));
        // Whatever comes behind it must not be taken for a request.
        wire.offer(filled("GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n", &key));
        let (answers, end) = wire.rest();
        let shown = String::from_utf8_lossy(&answers);
        assert_eq!((count_200(&answers), count_answers(&answers)), (0, 1), "{what}: {shown}");
        assert_eq!(end, End::Closed, "{what}");
        let answer = Answer::parse(&answers);
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{what}: {shown}");
    }
}

#[test]
fn what_is_ambiguous_is_refused_as_a_later_request_too_and_however_it_is_split() {
    let (_home, ember, key) = served();
    for (what, text) in AMBIGUOUS {
        let mut wire = Wire::open(&ember);
        wire.send(filled("GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n", &key));
        assert_eq!(wire.answer().status, 200, "{what}");
        // Up to the end of the head the server has no reason to close.
        for byte in filled(text, &key).as_bytes() {
            if !wire.offer([*byte]) {
                break;
            }
        }
        let (answers, _) = wire.rest();
        let shown = String::from_utf8_lossy(&answers);
        assert_eq!((count_200(&answers), count_answers(&answers)), (0, 1), "{what}: {shown}");
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let (_home, ember, key) = served();
    let mut wire = Wire::open(&ember);
    for text in [
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nLEN\r\n\r\nBODY",
        "\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n",
    ] {
        filled(text, &key).as_bytes().iter().for_each(|byte| wire.send([*byte]));
        assert_eq!(wire.answer().status, 200, "{text}");
    }
}

#[test]
fn what_is_misaddressed_is_refused() {
    let (_home, ember, key) = served();
    for (what, text) in MISADDRESSED {
        let mut wire = Wire::open(&ember);
        wire.send(filled(text, &key));
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{what}");
    }
}

#[test]
fn every_refusal_of_a_head_has_a_body_and_a_request_id() {
    let (_home, ember, key) = served();
    let is_mute = |text: &str| {
        let mut wire = Wire::open(&ember);
        wire.send_beside(filled(text, &key).into_bytes());
        let answer = wire.answer();
        answer.header("x-request-id").is_none() || answer.body.is_empty() || answer.code().is_empty()
    };
    let large = oversized_heads().into_iter().map(|(text, _)| (format!("{} bytes", text.len()), text));
    let odd = AMBIGUOUS.iter().map(|(what, text)| ((*what).to_string(), (*text).to_string()));
    let mute: Vec<_> = odd.chain(large).filter(|(_, text)| is_mute(text)).map(|(what, _)| what).collect();
    assert!(mute.is_empty(), "refused without a word: {mute:?}");
}

#[test]
fn law_1_what_is_ambiguous_gets_no_further_without_a_key() {
    let (_home, ember, _) = served();
    for (what, text) in AMBIGUOUS.into_iter().chain(MISADDRESSED) {
        let mut wire = Wire::open(&ember);
        wire.send(filled(&text.replace("KEY\r\n", "").replace("KEY\n", ""), ""));
        let answer = wire.answer();
        assert!([400, 401].contains(&answer.status), "{what}: {}", answer.text());
    }
}

#[test]
fn an_empty_path_is_refused() {
    let (_home, ember, key) = served();
    for target in ["evil:80", "evil", "", "?x=1"] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\nKEY\r\nConnection: close\r\n\r\n");
        let answer = ember.send(filled(&text, &key).as_bytes());
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
    }
}

/// What a request says that hides behind another.
const HIDDEN: [(&str, &str); 6] = [
    ("in order", "GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n"),
    ("bare LF", "GET /v1/models HTTP/1.1\nHost: a\nKEY\n\n"),
    (
        "length and encoding",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nLEN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("no host", "GET /v1/models HTTP/1.1\r\nKEY\r\n\r\n"),
    ("folded", "GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\nKEY\r\n\r\n"),
    (
        "space before a colon",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length : 4\r\n\r\nBODY",
    ),
];

#[test]
fn law_1_a_request_behind_a_refused_body_is_never_answered() {
    const LENGTH: usize = 8000;
    let (_home, ember, key) = served_with(SHORT);
    for (what, hidden) in HIDDEN {
        let hidden = filled(hidden, &key);
        // How much of the body comes with the head, and whether the answer is waited for.
        for (first, waits) in
            [(0, true), (0, false), (4000, true), (4000, false), (LENGTH, true), (LENGTH, false)]
        {
            let mut wire = Wire::open(&ember);
            wire.send(format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n{}",
                "x".repeat(first)
            ));
            let mut answers = Vec::new();
            if waits {
                answers.extend(wire.read_until("\"code\":\"invalid_api_key\"}}").into_bytes());
            }
            let middle = (LENGTH - first) / 2;
            wire.offer("y".repeat(middle));
            wire.offer(format!("{}{hidden}", "z".repeat(LENGTH - first - middle)));
            wire.offer(&hidden);
            let judged = what == "in order" && first == LENGTH;
            answers.extend(wire.rest().0);
            let shown = String::from_utf8_lossy(&answers);
            // A second request in order on a connection whose first was over is an ordinary one.
            assert!(count_200(&answers) == 0 || judged, "{what}, {first} with the head: {shown}");
        }
    }
}

#[test]
fn law_1_a_request_within_a_body_that_nobody_reads_is_never_answered() {
    let (_home, ember, key) = served_with(SHORT);
    // All at once; each is over when its connection is.
    let mut wires = Vec::new();
    for (what, hidden) in HIDDEN {
        let hidden = filled(hidden, &key);
        for head in [
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                hidden.len()
            ),
            format!("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", hidden.len()),
            format!(
                "POST /v1/nothing HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
                hidden.len()
            ),
            "POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_string(),
            "POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_string(),
        ] {
            let allowed = usize::from(head.starts_with("GET /healthz"));
            for at_once in [true, false] {
                let mut wire = Wire::open(&ember);
                if at_once {
                    wire.send(format!("{head}{hidden}"));
                } else {
                    wire.send(&head);
                    wire.offer(&hidden);
                }
                wires.push((format!("{what} in {head:?}"), allowed, wire));
            }
        }
    }
    for (what, allowed, mut wire) in wires {
        let answers = wire.rest().0;
        assert!(count_200(&answers) <= allowed, "{what}: {}", String::from_utf8_lossy(&answers));
    }
}

#[test]
fn a_request_before_the_answer_ends_the_connection_with_that_answer() {
    let (_home, ember, key) = served();
    let slow = chat("one two three", ",\"stream\":true,\"ember_echo_delay_ms\":20");
    let slow = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: {}\r\n\r\n{slow}",
        slow.len()
    );
    for (what, hidden) in HIDDEN {
        for first in ["GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n", &slow] {
            let mut wire = Wire::open(&ember);
            wire.send(filled(&format!("{first}{hidden}"), &key));
            let (answers, end) = wire.rest();
            let shown = String::from_utf8_lossy(&answers);
            assert_eq!(count_answers(&answers), 1, "{what}: {shown}");
            assert_eq!(end, End::Closed, "{what}");
            assert!(Answer::parse(&answers).whole, "{what}: {shown}");
        }
    }
}

/// A connection whose answer is handed over whole and stuck behind its head: the list of these models is more than the
/// kernel keeps for a client that does not read.
pub fn stuck(settings: &str) -> (Home, Ember, String, Wire, String) {
    let section = |server: u32| {
        let names: Vec<_> = (0..1000).map(|model| format!("\"{server}m{model}\"")).collect();
        let address = "url = \"http://127.0.0.1:9\"";
        format!("[[upstream]]\nname = \"u{server}\"\n{address}\nmodels = [{}]\n", names.join(","))
    };
    let sections: String = (0..64).map(section).collect();
    let home = crate::model::home(&format!("{settings}\n{sections}"));
    let key = home.key("good");
    let ember = home.serve();
    let mut wire = Wire::open(&ember);
    wire.send(filled("GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n", &key));
    let head = wire.read_until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    (home, ember, key, wire, head)
}

#[test]
fn law_1_what_comes_while_the_end_of_an_answer_is_stuck_is_never_read_out_of_step() {
    let hidden = "GET /v1/models/hidden HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n";
    for what in ["a request", "a body"] {
        let (_home, _ember, key, mut wire, head) = stuck("");
        let hidden = filled(hidden, &key);
        wire.send(match what {
            "a request" => hidden,
            // A request in a body, where what is read at a time ends.
            _ => {
                let head = |length: usize| {
                    format!("POST /v1/nothing HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
                };
                let padding = "x".repeat(512 - head(1000).len());
                let body = format!("{padding}{hidden}");
                format!("{}{body}{}", head(1000), "x".repeat(1000 - body.len()))
            }
        });
        // The wait can only hide a defect.
        std::thread::sleep(Duration::from_millis(300));
        assert!(wire.rest_of(&head).whole, "{what}");
        let (answers, end) = wire.rest();
        assert_eq!((String::from_utf8_lossy(&answers).as_ref(), end), ("", End::Closed), "{what}");
    }
}

#[test]
fn several_requests_on_one_connection_are_each_judged_by_themselves() {
    const ROUNDS: usize = 400;
    let (_home, ember, key) = served();
    let mut wire = Wire::open(&ember);
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let (text, status) = match round % 4 {
            0 => ("GET /v1/models HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n", 200),
            1 => ("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 401),
            2 => ("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nLEN\r\n\r\nBODY", 200),
            _ => ("\r\nGET /v1/nothing HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n", 404),
        };
        wire.send(filled(text, &key));
        let answer = wire.answer();
        assert_eq!(answer.status, status, "round {round}: {}", answer.text());
        assert_eq!(answer.header("connection"), None, "round {round}");
        ids.push(answer.header("x-request-id").unwrap().to_string());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), ROUNDS, "every request has an id of its own");
}

/// Some requests, one after the other or too early, with bodies full of requests; split anywhere.
fn conversation(dice: &mut Dice, key: &str) -> Vec<Vec<u8>> {
    let (_, hidden) = HIDDEN[dice.below(HIDDEN.len())];
    let hidden = filled(&hidden.replace("KEY", "X-Request-Id: hidden\r\nKEY"), key);
    let mut text = String::new();
    for _ in 0..=dice.below(3) {
        let credential = dice.pick(&["", "KEY\r\n", "Authorization: Bearer x\r\n"]);
        let target =
            dice.pick(&["POST /v1/chat/completions", "GET /v1/models", "GET /healthz", "PUT /v1/nothing"]);
        let padding = "x".repeat(dice.below(3) * 3000);
        let body = dice
            .pick(&["", &hidden, &format!("{padding}{hidden}"), &format!("{hidden}{padding}")])
            .to_string();
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let (framing, body) = match dice.below(4) {
            0 if !body.is_empty() => ("Transfer-Encoding: chunked".to_string(), chunks),
            1 => (format!("Expect: 100-continue\r\nContent-Length: {}", body.len()), body),
            _ => (format!("Content-Length: {}", body.len()), body),
        };
        let lines = format!("Host: a\r\nX-Request-Id: outer\r\n{credential}{framing}\r\n\r\n");
        text += &filled(&format!("{target} HTTP/1.1\r\n{lines}"), key);
        text += &body;
    }
    let mut parts = Vec::new();
    let mut left = text.as_bytes();
    while !left.is_empty() {
        let (part, rest) = left.split_at(1 + dice.below(left.len()));
        parts.push(part.to_vec());
        left = rest;
    }
    parts
}

/// Who stands in between may take all that follows for the tunnel's, and let it pass unseen.
#[test]
fn bug_what_follows_a_tunnel_that_was_refused_is_no_request() {
    let (_home, ember, key) = served_with("");
    for target in ["/v1/models", "/healthz", "ember.test:80"] {
        let mut wire = Wire::open(&ember);
        wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: ember.test\r\n\r\n"));
        let refused = wire.answer();
        assert!([400, 401, 405].contains(&refused.status), "{target}: {}", refused.status);
        assert_eq!(refused.header("connection"), Some("close"), "{target}");
        // The connection may be gone already.
        wire.offer(filled("GET /v1/models HTTP/1.1\r\nHost: ember.test\r\nKEY\r\n\r\n", &key));
        assert_eq!(wire.rest().0, b"", "{target}");
    }
}

#[test]
fn law_1_no_request_hides_in_the_body_of_another() {
    const THREADS: usize = 32;
    let rounds = proof::size(25, 320);
    let (_home, ember, key) = served_with(SHORT);
    let hidden = AtomicUsize::new(0);
    let talk = |seed: usize| {
        let seed = seed as u64;
        let parts = conversation(&mut Dice(seed), &key);
        let text = parts.concat();
        let text = String::from_utf8_lossy(&text);
        hidden.fetch_add(text.matches("X-Request-Id: hidden").count(), Ordering::Relaxed);
        let mut wire = Wire::open(&ember);
        for part in &parts {
            wire.offer(part);
            // Now and then the server gets to answer in between.
            if seed.is_multiple_of(3) {
                wire.is_silent(Duration::from_millis(1 + seed % 7));
            }
        }
        let answers = wire.rest().0;
        let shown = String::from_utf8_lossy(&answers);
        // Each answer has the id of its request, and one that is made up where the parser refuses that.
        let (all, known) = (shown.matches("x-request-id: "), shown.matches("x-request-id: outer\r\n"));
        assert_eq!(all.count(), known.count(), "seed {seed}: {text:?}: {shown}");
    };
    std::thread::scope(|scope| {
        let talk = &talk;
        for thread in 0..THREADS {
            scope.spawn(move || (thread * rounds..(thread + 1) * rounds).for_each(talk));
        }
    });
    proof::show("connections with bodies of odd framing", THREADS * rounds, "10,000");
    let hidden = hidden.into_inner();
    assert!(hidden >= THREADS * rounds, "only {hidden}");
    proof::show_none("requests hidden in them that were answered", hidden);
}

#[test]
fn a_chunked_body_is_taken_and_its_odd_chunks_are_not() {
    let (_home, ember, key) = served_with(SHORT);
    let body = chat("hi", "");
    let length = body.len();
    let post = |body: &str| {
        let head =
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut wire = Wire::open(&ember);
        wire.send(filled(head, &key) + body);
        wire
    };
    let mut whole = post(&format!("5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", &body[..5], length - 5, &body[5..]));
    assert_eq!(whole.answer().status, 200);
    for odd in [
        format!("{length:x}\n{body}\r\n0\r\n\r\n"),
        format!("+{length:x}\r\n{body}\r\n0\r\n\r\n"),
        format!("0x{length:x}\r\n{body}\r\n0\r\n\r\n"),
        format!("-{length:x}\r\n{body}\r\n0\r\n\r\n"),
        format!("{length:x}\r\n{body}0\r\n\r\n"),
        format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n"),
        format!("{:x}\r\n{body}\r\n0\r\n\r\n", length + 1),
        format!("\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"),
    ] {
        // One that still waits for more gets no more.
        let answers = post(&odd).rest().0;
        assert_eq!(count_200(&answers), 0, "{odd:?}: {}", String::from_utf8_lossy(&answers));
    }
}

#[test]
fn expect_100_continue_is_answered_for_good_keys_alone() {
    let (_home, ember, key) = served();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nLEN\r\nExpect: 100-continue\r\n\r\n";
    let mut wire = Wire::open(&ember);
    wire.send(filled(head, &key));
    assert_eq!(wire.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send(filled("BODY", ""));
    assert_eq!(wire.answer().status, 200);
    let mut wire = Wire::open(&ember);
    wire.send(filled(&head.replace("KEY\r\n", ""), ""));
    assert_eq!(wire.answer().code(), "invalid_api_key");
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let (_home, ember, key) = served();
    for (text, status) in [
        ("GET /v1/models HTTP/1.0\r\nKEY\r\n\r\n", 200),
        ("GET /v1/models HTTP/1.0\r\nHost: a\r\nKEY\r\n\r\n", 200),
        ("POST /v1/chat/completions HTTP/1.0\r\nKEY\r\nLEN\r\n\r\nBODY", 200),
        ("GET /v1/models HTTP/1.0\r\n\r\n", 401),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("POST /v1/chat/completions HTTP/1.0\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ] {
        let (answers, end) = {
            let mut wire = Wire::open(&ember);
            wire.send(filled(text, &key));
            wire.rest()
        };
        let answer = Answer::parse(&answers);
        assert_eq!((answer.status, end), (status, End::Closed), "{text}: {}", answer.text());
        assert!(answer.header("transfer-encoding").is_none(), "HTTP/1.0 knows no chunks");
        if status == 401 {
            assert_eq!(answer.code(), "invalid_api_key");
        }
    }
}

/// Heads that are over a bound, and the answer to each.
fn oversized_heads() -> Vec<(String, u16)> {
    let headers = |count: usize, bytes: usize| -> String {
        (0..count).map(|n| format!("X-{n}: {}\r\n", "v".repeat(bytes))).collect()
    };
    let get = |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nKEY\r\n{more}\r\n");
    vec![
        (get("/v1/models", &headers(79, 1)), 431),
        (get("/v1/models", &headers(400, 1)), 431),
        (get("/v1/models", &headers(20_000, 1)), 431),
        (get("/v1/models", &headers(1, 65 * 1024)), 431),
        (get("/v1/models", &headers(70, 1000)), 431),
        (get("/v1/models", &headers(1, 500_000)), 431),
        (get("/v1/models", &headers(4, 1_000_000)), 431),
        (get(&format!("/v1/models/{}", "x".repeat(8192)), ""), 414),
        (get(&format!("/v1/models?{}", "x".repeat(8192)), ""), 414),
        (get(&format!("/v1/models/{}", "x".repeat(60_000)), ""), 414),
        (get(&format!("/v1/models/{}", "x".repeat(200_000)), ""), 414),
        (get(&format!("/v1/models/{}", "x".repeat(2_000_000)), ""), 414),
    ]
}

#[test]
fn a_head_that_is_too_large_is_told_so_while_it_is_still_being_sent() {
    let (_home, ember, key) = served();
    for (text, status) in oversized_heads() {
        let what = format!("{status} of {} bytes: {text:.40}", text.len());
        let mut wire = Wire::open(&ember);
        wire.send_beside(filled(&text, &key).into_bytes());
        let answer = wire.answer();
        // Far above the bound the parser refuses before it is known what is too large.
        assert!(answer.status == status || answer.status == 431, "{what}: {}", answer.text());
        assert!(answer.body.is_empty() || answer.code() == "request_too_large", "{what}");
    }
}

#[test]
fn heads_within_the_bounds_are_taken() {
    let (_home, ember, key) = served();
    let key = format!("Host: a\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n");
    let many: String = (0..77).map(|n| format!("X-{n}: v\r\n")).collect();
    let large = format!("X: {}\r\n", "v".repeat(60 * 1024));
    for more in [many, large] {
        assert_eq!(ember.send(format!("GET /v1/models HTTP/1.1\r\n{key}{more}\r\n").as_bytes()).status, 200);
    }
    let query = "x".repeat(8192 - "/v1/models?".len());
    assert_eq!(ember.send(format!("GET /v1/models?{query} HTTP/1.1\r\n{key}\r\n").as_bytes()).status, 200);
}

#[test]
fn law_1_the_key_is_asked_for_before_headers_are_counted() {
    for (server, most) in [("", 80), ("headers_max = 200", 200)] {
        let (_home, ember, key) = served_with(server);
        let ask = |lines: usize, credential: &str| {
            let mut wire = Wire::open(&ember);
            let given = 1 + credential.lines().count();
            let more: String = (given..lines).map(|n| format!("X-{n}: v\r\n")).collect();
            wire.send(filled(&format!("GET /v1/models HTTP/1.1\r\nHost: a\r\n{credential}{more}\r\n"), &key));
            let answer = wire.answer();
            assert!(answer.header("x-request-id").is_some(), "{lines} lines");
            (answer.status, if answer.status == 200 { String::new() } else { answer.code() })
        };
        let too_large = (431, "request_too_large".to_string());
        let unknown = (401, "invalid_api_key".to_string());
        assert_eq!(ask(most, "KEY\r\n").0, 200);
        assert_eq!(ask(most + 1, "KEY\r\n"), too_large);
        for lines in [most, most + 1, most + 20] {
            assert_eq!(ask(lines, ""), unknown, "{lines} of {most} lines");
        }
        // Where the parser ends.
        assert_eq!(ask(most + 21, ""), too_large);
        assert_eq!(ask(most + 21, "KEY\r\n"), too_large);
    }
}

#[test]
fn a_body_that_is_too_large_is_told_so_while_it_is_still_being_sent() {
    const MIB: usize = 1024 * 1024;
    let (_home, ember, key) = served();
    let body = vec![b' '; 40 * MIB];
    let mut chunked = Vec::new();
    for part in body.chunks(MIB) {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    let announced = format!("Content-Length: {}", body.len());
    for (framing, body) in [(announced.as_str(), &body), ("Transfer-Encoding: chunked", &chunked)] {
        for (sent_key, status, code) in [("KEY\r\n", 413, "request_too_large"), ("", 401, "invalid_api_key")]
        {
            let head =
                format!("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{sent_key}{framing}\r\n\r\n");
            let mut bytes = filled(&head, &key).into_bytes();
            bytes.extend_from_slice(body);
            let mut wire = Wire::open(&ember);
            wire.send_beside(bytes);
            let (answers, end) = wire.rest();
            assert_eq!(end, End::Closed, "{code} with {framing}");
            let answer = Answer::parse(&answers);
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "with {framing}");
        }
    }
}

#[test]
fn a_body_at_the_bound_is_taken_and_one_byte_more_is_not() {
    const BOUND: usize = 64 * 1024;
    let (_home, ember, key) = served_with("body_bytes_max = \"64KiB\"");
    for (bytes, status) in [(BOUND, 200), (BOUND + 1, 413)] {
        let empty = chat("", "").len();
        let body = chat(&"x".repeat(bytes - empty), "");
        assert_eq!(body.len(), bytes);
        assert_eq!(ember.post("/v1/chat/completions", Some(&key), &body).status, status);
        let head =
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut wire = Wire::open(&ember);
        wire.send_beside(format!("{}{bytes:x}\r\n{body}\r\n0\r\n\r\n", filled(head, &key)).into_bytes());
        assert_eq!(wire.answer().status, status, "chunked");
    }
}

#[test]
fn an_early_hang_up_harms_nobody() {
    let (_home, ember, key) = served();
    let whole = filled("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nKEY\r\nLEN\r\n\r\nBODY", &key);
    for at in (0..whole.len()).step_by(7) {
        let mut wire = Wire::open(&ember);
        wire.send(&whole[..at]);
        if at % 2 == 0 {
            wire.half_close();
            assert_eq!(count_200(&wire.rest().0), 0, "after {at} bytes");
        }
    }
    assert_eq!(ember.get("/v1/models", Some(&key)).status, 200);
}
