//! Laws 5, 6, 8 and 10: the table of misbehaviours, each met by a key of its own that may have one request under way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cases::{self, Asks, Case, Seen};
use super::rogue::{Rogue, SERVER_KEY, say, section};
use crate::door;
use crate::ember::{Answer, Ember, Home, eventually, request};
use crate::model::{home, json_answer};
use crate::proof;
use crate::wire::{End, Wire};

const CHAT: &str = "/v1/chat/completions";
/// How late an end may come behind its limit, on a busy machine.
const LATE: Duration = Duration::from_secs(5);
/// Cases at once.
const CALLERS: usize = 16;

fn body(model: &str, case: usize, asks: Asks) -> String {
    let more = match asks {
        Asks::Answer => "",
        Asks::Stream => ",\"stream\":true,\"stream_options\":{\"include_usage\":true}",
        Asks::Watched => ",\"stream\":true",
    };
    format!("{{\"model\":\"{model}\",\"case\":{case}{more}}}")
}

/// The code of the error event that is the last one of a stream.
fn last_error(text: &str) -> Option<String> {
    let last = text.strip_suffix("\n\n")?.rsplit("\n\n").next()?;
    let json: Value = serde_json::from_str(last.strip_prefix("data: ")?).ok()?;
    json["error"]["code"].as_str().map(str::to_string)
}

/// What is wrong with what was seen.
fn fault_of(case: &Case, bytes: &[u8], end: End) -> Option<String> {
    if bytes.is_empty() {
        return Some(format!("not a byte, {end:?}"));
    }
    let answer = Answer::parse(bytes);
    let text = String::from_utf8_lossy(&answer.body);
    let shown: String = text.chars().take(200).collect();
    let shown = format!("{} {shown:?}, whole: {}", answer.status, answer.whole);
    let is_right = match &case.seen {
        Seen::Error(status, code) => answer.status == *status && answer.whole && answer.code() == *code,
        Seen::Whole(status, body) => answer.status == *status && answer.whole && answer.body == *body,
        Seen::Broken(code) => {
            let told = last_error(&text);
            // What is held back leaves room for an event where there would be none.
            let is_told = told.as_deref() == *code || (case.asks == Asks::Watched && code.is_none());
            let is_silent = code.is_some() || case.asks == Asks::Watched || !text.contains("\"error\"");
            answer.status == 200
                && !answer.whole
                && is_told
                && is_silent
                && !text.contains("data: [DONE]\n\n")
        }
    };
    let is_evil = |(name, value): &(String, String)| {
        matches!(name.as_str(), "set-cookie" | "location") || value.contains("evil")
    };
    let leaks =
        answer.headers.iter().any(is_evil) || memchr::memmem::find(bytes, SERVER_KEY.as_bytes()).is_some();
    (!is_right || leaks).then(|| format!("{shown}, leaks: {leaks}"))
}

struct Scene {
    home: Home,
    ember: Ember,
    rogue: Rogue,
    cases: Vec<Case>,
    keys: Vec<String>,
}

fn scene() -> Scene {
    let cases = cases::all();
    let rogue = Rogue::start(cases.iter().map(|case| case.acts.clone()).collect());
    let good = Rogue::start(vec![vec![say(json_answer("200 OK", "Connection: close\r\n", "{\"good\":1}"))]]);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SERVER_KEY).unwrap();
    let key = format!("api_key_file = \"{}\"", secret.path().display());
    let home = home(&format!(
        "[limits.key]\nconcurrent_requests = 1\n{}{}",
        rogue.section("rogue", &format!("{key}\n{}", cases::TIMEOUTS)),
        section("good", good.address, "")
    ));
    let ember = home.serve();
    let keys =
        (0..=cases.len()).map(|number| door::create(&home, &format!("case-{number}")).unwrap().1).collect();
    Scene { home, ember, rogue, cases, keys }
}

impl Scene {
    /// What is wrong with the case of this number.
    fn fault(&self, number: usize) -> Option<String> {
        let (case, key) = (&self.cases[number], Some(self.keys[number].as_str()));
        let id = format!("\r\nX-Request-Id: case-{number}\r\n");
        let asked = request("POST", CHAT, key, &body("rogue", number, case.asks)).replacen("\r\n", &id, 1);
        let mut wire = Wire::open(&self.ember);
        let began = Instant::now();
        wire.send(asked);
        let (bytes, end) = wire.rest();
        let taken = began.elapsed();
        let wrong = fault_of(case, &bytes, end);
        let is_late = taken < case.after.mul_f64(0.9) || taken > case.after + LATE;
        let wrong = wrong.or_else(|| is_late.then(|| format!("it took {taken:?}")));
        // The key has its place back.
        eventually("a place for the next request of the key", || {
            let answer = self.ember.post(CHAT, key, &body("good", 0, Asks::Answer));
            assert!(matches!(answer.status, 200 | 429), "{}: {}", case.what, answer.text());
            answer.status == 200
        });
        wrong.map(|wrong| format!("{} ({:?}): {wrong}", case.what, case.asks))
    }

    /// One caller of the good server, until it `is_over`: how many answers he got, and the longest that one took.
    fn others(&self, is_over: &AtomicBool) -> (usize, Duration) {
        let (mut count, mut longest) = (0, Duration::ZERO);
        while !is_over.load(Ordering::SeqCst) {
            let began = Instant::now();
            let answer =
                self.ember.post(CHAT, self.keys.last().map(String::as_str), &body("good", 0, Asks::Answer));
            assert_eq!((answer.status, answer.text().as_str()), (200, "{\"good\":1}"));
            (count, longest) = (count + 1, longest.max(began.elapsed()));
        }
        (count, longest)
    }

    /// The request of each case stands once in the log and once in its key's record, with the name of its ending.
    fn are_recorded(&self, others: usize) {
        let lines = || {
            let log = self.ember.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let of_cases =
                |line: &Value| line["request_id"].as_str().is_some_and(|id| id.starts_with("case-"));
            lines.filter(of_cases).collect::<Vec<Value>>()
        };
        eventually("a line for each case", || lines().len() >= self.cases.len());
        let lines = lines();
        assert_eq!(lines.len(), self.cases.len());
        let total = others + 2 * self.cases.len();
        let mut report = Value::Null;
        eventually("all to be counted", || {
            report = serde_json::from_str(&self.home.ok(&["usage", "-o", "json", "--by", "key"])).unwrap();
            report["total"]["requests"] == total
        });
        for (number, case) in self.cases.iter().enumerate() {
            let what = format!("{} ({:?})", case.what, case.asks);
            let line = lines.iter().find(|line| line["request_id"] == format!("case-{number}"));
            assert_eq!(line.unwrap()["ending"], case.ending, "{what}: {line:?}");
            let rows = report["data"].as_array().unwrap();
            let row = rows.iter().find(|row| row["name"] == format!("case-{number}")).unwrap();
            let counted = |ending: &str| row["endings"][ending].as_u64().unwrap_or(0);
            let wanted = if case.ending == "done" { 2 } else { 1 };
            assert_eq!((&row["requests"], counted(case.ending)), (&2.into(), wanted), "{what}: {row}");
        }
        self.home.ok(&["usage", "verify"]);
    }
}

#[test]
fn every_misbehaviour_of_a_server_is_an_error_with_a_code_or_an_honest_break_in_time() {
    let scene = scene();
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (faults, (others, longest)) = std::thread::scope(|scope| {
        let others = scope.spawn(|| scene.others(&is_over));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::SeqCst));
                    let numbers = numbers.take_while(|number| *number < scene.cases.len());
                    numbers.filter_map(|number| scene.fault(number)).collect::<Vec<_>>()
                })
            })
            .collect();
        let found: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
        // Before anything of a caller that panicked: others would go on for ever.
        is_over.store(true, Ordering::SeqCst);
        let faults: Vec<String> = found.into_iter().flat_map(|faults| faults.unwrap()).collect();
        (faults, others.join().unwrap())
    });
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), scene.cases.len(), faults.join("\n"));
    assert!(others > 0 && longest < LATE, "{others} others were served, the slowest in {longest:?}");
    eventually("no server works for one who has gone", || scene.rogue.at_work() == 0);
    scene.are_recorded(others);
    let kinds = scene.cases.len();
    proof::show_none(
        "misbehaviours of a model server that ended in something else than an error with a code or an honest break",
        kinds,
    );
    proof::show(
        "requests of others served meanwhile, and the slowest",
        format!("{others}, {} ms", longest.as_millis()),
        "all",
    );
}
