//! Law 7 over connections that are kept and fail: nobody gets the answer to another's request, and no request is sent twice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::rogue::section;
use crate::ember::{Answer, Ember};
use crate::model::home;
use crate::pipe::Pipe;
use crate::proof;

/// Callers at once, each on one connection of his own.
const CALLERS: usize = 16;

/// What the server does with a request, and with the connection behind it. What it says unasked when the next request is
/// on its way already is not here: in HTTP/1.1 that is an answer to it, and nobody can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Answer,
    AnswerInChunks,
    /// Closes behind the answer without a word, at once or when it was left alone for a moment.
    Close,
    CloseLater,
    CloseAsSaid,
    BreakOff,
    ResetWithin,
    ResetBefore,
    /// Another whole answer right behind it, in the same breath.
    TwoAnswers,
    TwoAnswersInChunks,
    Garbage,
    /// Answers before the request has come, and reads the rest of it, or takes it for another request.
    Early,
    EarlyAndAgain,
    /// Refuses what it has not read, and takes the rest of it for another request.
    RefuseEarly,
}

use Deed::*;

/// So many of a thousand requests; all others are answered.
const DEEDS: [(usize, Deed); 13] = [
    (50, AnswerInChunks),
    (30, Close),
    (30, CloseLater),
    (30, CloseAsSaid),
    (30, BreakOff),
    (20, ResetWithin),
    (20, ResetBefore),
    (40, TwoAnswers),
    (30, TwoAnswersInChunks),
    (30, Garbage),
    (1, Early),
    (1, EarlyAndAgain),
    (10, RefuseEarly),
];

/// What looks random and is the same in every run (SplitMix64).
fn hash(number: usize) -> u64 {
    let mut mixed = (number as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn deed(number: usize) -> Deed {
    let mut dice = usize::try_from(hash(number) % 1000).unwrap();
    for (share, deed) in DEEDS {
        if dice < share {
            return deed;
        }
        dice -= share;
    }
    Answer
}

/// How much longer its request is made. Half of what is answered early is more than the kernel keeps for one who does not read
/// (4 MiB and what [`server`] takes): a request that was written whole can't be known to have been answered too early.
fn filler(deed: Deed) -> usize {
    if matches!(deed, Early | EarlyAndAgain) {
        16 << 20
    } else if deed == RefuseEarly {
        20 << 10
    } else {
        10
    }
}

/// What it knows of the requests that came.
struct Seen {
    /// By number.
    came: Vec<AtomicBool>,
    twice: AtomicUsize,
    /// Their head said another number than their body.
    torn: AtomicUsize,
    connections: AtomicUsize,
}

/// A server that answers each request with the number in its `x-request-id`.
fn server(deed_of: fn(usize) -> Deed, requests: usize) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 64 << 10).unwrap();
    let address = listener.local_addr().unwrap();
    let came = std::iter::repeat_with(AtomicBool::default).take(requests).collect();
    let seen = Seen {
        came,
        twice: AtomicUsize::new(0),
        torn: AtomicUsize::new(0),
        connections: AtomicUsize::new(0),
    };
    let (seen, known) = {
        let seen = Arc::new(seen);
        (Arc::clone(&seen), seen)
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&seen);
            seen.connections.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || Line { stream, unread: Vec::new() }.serve(deed_of, &seen));
        }
    });
    (address, known)
}

/// A connection of the server's.
struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// The number of a request and the length of its body; none of a request that Ember makes for itself.
fn request_of(head: &str) -> Option<(usize, usize)> {
    let value = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name))?;
        line.parse().ok()
    };
    Some((value("x-request-id: ")?, value("content-length: ")?))
}

fn answer(number: usize, more: &str) -> String {
    let body = format!("{{\"n\":{number}}}");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn in_chunks(number: usize) -> String {
    let body = format!("{{\"n\":{number}}}");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    )
}

impl Line {
    fn more(&mut self) -> Option<()> {
        let mut part = [0; 16 << 10];
        let count = self.stream.read(&mut part).ok().filter(|count| *count > 0)?;
        self.unread.extend_from_slice(&part[..count]);
        Some(())
    }

    fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.unread, rest)).ok();
            }
            self.more()?;
        }
    }

    fn body(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.unread.len() < length {
            self.more()?;
        }
        let rest = self.unread.split_off(length);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    fn say(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(text.as_bytes()).ok()
    }

    fn serve(mut self, deed_of: fn(usize) -> Deed, seen: &Seen) -> Option<()> {
        self.stream.set_nodelay(true).unwrap();
        loop {
            let head = self.head()?;
            let Some((number, length)) = request_of(&head) else {
                self.say("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            };
            if seen.came[number].swap(true, Ordering::SeqCst) {
                seen.twice.fetch_add(1, Ordering::SeqCst);
            }
            let deed = deed_of(number);
            // Of another number, which another caller may be waiting for.
            let evil = number + 1;
            if matches!(deed, Early | EarlyAndAgain | RefuseEarly) {
                let right = answer(number, "");
                self.say(&if deed == RefuseEarly { right.replace("200 OK", "413 Long") } else { right })?;
                let half = length / 2;
                self.body(half)?;
                if deed != Early {
                    self.say(&answer(evil, ""))?;
                }
                self.body(length - half)?;
                continue;
            }
            let body = self.body(length)?;
            if memchr::memmem::find(&body, format!("\"n\":{number}}}").as_bytes()).is_none() {
                seen.torn.fetch_add(1, Ordering::SeqCst);
            }
            self.answer(deed, number, evil)?;
        }
    }

    /// None ends the connection.
    fn answer(&mut self, deed: Deed, number: usize, evil: usize) -> Option<()> {
        let right = answer(number, "");
        match deed {
            Answer => self.say(&right),
            AnswerInChunks => self.say(&in_chunks(number)),
            TwoAnswers => self.say(&(right + &answer(evil, ""))),
            TwoAnswersInChunks => self.say(&(in_chunks(number) + &in_chunks(evil))),
            Garbage => self.say(&(right + "\r\nevil")),
            Close => self.say(&right).and(None),
            CloseAsSaid => self.say(&answer(number, "Connection: close\r\n")).and(None),
            CloseLater => {
                self.say(&right)?;
                self.stream.set_read_timeout(Some(Duration::from_millis(1 + hash(evil) % 3))).unwrap();
                let more = self.more();
                self.stream.set_read_timeout(None).unwrap();
                more
            }
            BreakOff => self.say(&right[..right.len() - 2]).and(None),
            ResetWithin | ResetBefore => {
                if deed == ResetWithin {
                    self.say(&right[..right.len() - 2])?;
                }
                rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
                None
            }
            Early | EarlyAndAgain | RefuseEarly => unreachable!("it was answered before"),
        }
    }
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Right,
    /// The answer to another one: to the one with this number.
    Wrong(u64),
    /// An error of Ember's.
    Error,
    /// The answer broke off; so did the connection.
    Broken,
}

struct Caller<'a> {
    ember: &'a Ember,
    key: &'a str,
    pipe: Pipe,
    unread: Vec<u8>,
}

impl<'a> Caller<'a> {
    fn new(ember: &'a Ember, key: &'a str) -> Self {
        Self { ember, key, pipe: Pipe::open(ember), unread: Vec::new() }
    }

    /// `filler` makes it so long that its server can answer before it has come.
    fn ask(&mut self, model: &str, number: usize, filler: usize) -> Came {
        let body = format!("{{\"model\":\"{model}\",\"x\":\"{}\",\"n\":{number}}}", "x".repeat(filler));
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nX-Request-Id: {number}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        let sent = self.pipe.write_all(request.as_bytes());
        let came =
            sent.ok().and_then(|()| self.answer()).map_or(Came::Broken, |answer| match answer.status {
                200 | 413 if answer.json()["n"] == number => Came::Right,
                200 | 413 => Came::Wrong(answer.json()["n"].as_u64().unwrap()),
                502 => {
                    assert!(matches!(answer.code().as_str(), "upstream_unavailable" | "upstream_invalid"));
                    Came::Error
                }
                other => panic!("{other}: {}", answer.text()),
            });
        if came == Came::Broken {
            *self = Self::new(self.ember, self.key);
        }
        came
    }

    /// Where the answer that has begun ends, once that can be told.
    fn end_of_answer(&self) -> Option<usize> {
        const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
        let head = memchr::memmem::find(&self.unread, b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&self.unread[..head]).to_ascii_lowercase();
        match text.lines().find_map(|line| line.strip_prefix("content-length:")) {
            Some(length) => Some(head + 4 + length.trim().parse::<usize>().unwrap()),
            None => Some(head + memchr::memmem::find(&self.unread[head..], LAST_CHUNK)? + LAST_CHUNK.len()),
        }
    }

    /// A whole answer.
    fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some(end) = self.end_of_answer().filter(|end| *end <= self.unread.len()) {
                // What is left belongs to no request yet: it is taken for the answer to the next one.
                let rest = self.unread.split_off(end);
                return Some(Answer::parse(&std::mem::replace(&mut self.unread, rest)));
            }
            let mut part = [0; 4096];
            let count = self.pipe.read(&mut part).ok().filter(|count| *count > 0)?;
            self.unread.extend_from_slice(&part[..count]);
        }
    }
}

/// How many requests came to what.
#[derive(Debug, Default)]
struct Tally {
    right: AtomicUsize,
    /// After which deed.
    wrong: Mutex<Vec<String>>,
    errors: AtomicUsize,
    broken: AtomicUsize,
}

impl Tally {
    fn count(&self, came: &Came, deed_of: fn(usize) -> Deed) {
        let place = match came {
            Came::Right => &self.right,
            Came::Wrong(other) => {
                // It says the number behind its own.
                let culprit = deed_of(usize::try_from(other - 1).unwrap());
                return self.wrong.lock().unwrap().push(format!("{culprit:?}"));
            }
            Came::Error => &self.errors,
            Came::Broken => &self.broken,
        };
        place.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has callers ask for numbers up to `requests`, and counts what comes.
fn load(
    ember: &Ember,
    key: &str,
    requests: usize,
    callers: usize,
    deed_of: fn(usize) -> Deed,
    model_of: fn(usize) -> String,
) -> Tally {
    let (next, tally) = (AtomicUsize::new(0), Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let mut caller = Caller::new(ember, key);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return;
                    }
                    let came = caller.ask(&model_of(number), number, filler(deed_of(number)));
                    tally.count(&came, deed_of);
                }
            });
        }
    });
    tally
}

#[test]
fn law_7_over_connections_that_fail_nobody_gets_the_answer_to_another_request() {
    let requests = proof::size(5_000, 1_000_000);
    let (address, seen) = server(deed, requests + 1);
    let home = home(&format!("[log]\naccess = false\n{}", section("m", address, "")));
    let (key, ember) = (home.key("app"), home.serve());
    let began = Instant::now();
    let tally = load(&ember, &key, requests, CALLERS, deed, |_| "m".to_string());
    let rate = requests as f64 / began.elapsed().as_secs_f64();
    let connections = seen.connections.load(Ordering::Relaxed);
    eprintln!("{tally:?}, {connections} connections, {rate:.0} a second");
    let wrong = tally.wrong.lock().unwrap().len();
    let (twice, torn) = (seen.twice.load(Ordering::SeqCst), seen.torn.load(Ordering::SeqCst));
    assert_eq!((wrong, twice, torn), (0, 0, 0));
    let right = tally.right.load(Ordering::SeqCst);
    assert!(right > requests * 8 / 10 && right < requests * 97 / 100, "{tally:?}");
    proof::show("requests over failing pooled connections", requests, "1,000,000");
    proof::show("answers to the wrong request, requests sent twice", format!("{wrong}, {twice}"), "0, 0");
}

/// Requests to each server that misbehaves once.
const EACH: usize = 64;

/// The first offence of a server that was well all along.
fn first_offence(number: usize) -> Deed {
    const OFFENCES: [Deed; 6] = [TwoAnswers, TwoAnswersInChunks, Garbage, Close, RefuseEarly, CloseLater];
    if number % EACH != EACH * 2 / 3 {
        return Answer;
    }
    OFFENCES[number / EACH % OFFENCES.len()]
}

#[test]
fn law_7_the_first_offence_of_a_server_that_was_well_mixes_nothing_up() {
    let servers = proof::size(64, 512);
    let requests = servers * EACH;
    let (address, seen) = server(first_offence, requests + 1);
    let sections: String = (0..servers).map(|number| section(&format!("m{number}"), address, "")).collect();
    let home = home(&format!("[log]\naccess = false\n{sections}"));
    let (key, ember) = (home.key("app"), home.serve());
    let tally = load(&ember, &key, requests, 4, first_offence, |number| format!("m{}", number / EACH));
    eprintln!("{tally:?}, {} connections", seen.connections.load(Ordering::Relaxed));
    let wrong = tally.wrong.lock().unwrap().len();
    let (twice, torn) = (seen.twice.load(Ordering::SeqCst), seen.torn.load(Ordering::SeqCst));
    assert_eq!((wrong, twice, torn), (0, 0, 0));
    assert!(tally.right.load(Ordering::SeqCst) > requests * 9 / 10, "{tally:?}");
    let shown = format!("{wrong} of {requests}");
    proof::show(
        &format!("answers to the wrong request around the first offence of {servers} servers"),
        shown,
        "0",
    );
}
