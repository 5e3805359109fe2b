//! How a model server may misbehave, and what a caller is to see of it.

use std::time::Duration;

use super::rogue::{Act, SERVER_KEY, chunk, say};
use crate::model::STREAM;
use crate::proof;

/// The timeouts of the rogue's section: to connect and for the first byte, for silence, for all of an answer.
pub const FIRST: Duration = Duration::from_secs(1);
pub const IDLE: Duration = Duration::from_secs(1);
pub const TOTAL: Duration = Duration::from_secs(3);
pub const TIMEOUTS: &str =
    "connect_timeout = \"1s\"\nfirst_byte_timeout = \"1s\"\nidle_timeout = \"1s\"\ntotal_timeout = \"3s\"";

const SOON: Duration = Duration::ZERO;
const MEGABYTE: usize = 1 << 20;

/// What the caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    Answer,
    Stream,
    /// A stream, and no usage: so that Ember asks for it, and looks at each event before it passes it on.
    Watched,
}

/// What the caller sees.
#[derive(Debug, Clone)]
pub enum Seen {
    /// An error of Ember's.
    Error(u16, &'static str),
    /// An answer that breaks off; with an error event of this code, where one can be.
    Broken(Option<&'static str>),
    /// What the server said.
    Whole(u16, Vec<u8>),
}

#[derive(Debug, Clone)]
pub struct Case {
    pub what: &'static str,
    pub acts: Vec<Act>,
    pub asks: Asks,
    pub seen: Seen,
    /// The name of the ending in logs and records.
    pub ending: &'static str,
    /// The limit that ends it, if one does.
    pub after: Duration,
}

/// Without what is asked for.
type Row = (&'static str, Vec<Act>, Seen, &'static str, Duration);

const UNAVAILABLE: Seen = Seen::Error(502, "upstream_unavailable");
const INVALID: Seen = Seen::Error(502, "upstream_invalid");
const TIMEOUT: Seen = Seen::Error(504, "upstream_timeout");
const BROKEN: Seen = Seen::Broken(None);
const TOLD: Seen = Seen::Broken(Some("upstream_unavailable"));
const TOLD_LATE: Seen = Seen::Broken(Some("upstream_timeout"));

const OK: &str = "HTTP/1.1 200 OK\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const SSE: &str = "Content-Type: text/event-stream\r\n";
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const GZIP: [u8; 22] = *b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabV\xcaH\xcd\xc9\xc9W\xb2R\n\xd3";
/// The pause of a server that is slow and alive.
const PAUSE: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);

pub fn all() -> Vec<Case> {
    let of = |asks: Asks, rows: Vec<Row>| {
        rows.into_iter().map(move |(what, acts, seen, ending, after)| Case {
            what,
            acts,
            asks,
            seen,
            ending,
            after,
        })
    };
    let both = [Asks::Answer, Asks::Stream];
    let mut cases: Vec<Case> = both.into_iter().flat_map(|asks| of(asks, before_the_answer())).collect();
    cases.extend(both.into_iter().flat_map(|asks| of(asks, heads())));
    cases.extend(both.into_iter().flat_map(|asks| of(asks, errors())));
    cases.extend(of(Asks::Answer, answers()));
    cases.extend(of(Asks::Answer, chunks()));
    cases.extend([Asks::Stream, Asks::Watched].into_iter().flat_map(|asks| of(asks, streams())));
    cases.extend([Asks::Stream, Asks::Watched].into_iter().flat_map(|asks| of(asks, ends_of_streams())));
    cases
}

fn before_the_answer() -> Vec<Row> {
    let half = format!("{OK}{JSON}Content-Le");
    let died = |what, acts| (what, acts, UNAVAILABLE, "server_died", SOON);
    let late = |what, acts| (what, acts, TIMEOUT, "timeout", FIRST);
    vec![
        late("nothing", vec![Act::Hang]),
        died("the end", vec![]),
        died("a reset", vec![Act::Reset]),
        late("a status line, and nothing", vec![say(OK), Act::Hang]),
        died("a status line, and the end", vec![say(OK)]),
        late("half a head, and nothing", vec![say(&half), Act::Hang]),
        died("half a head, and the end", vec![say(&half)]),
        died("half a head, and a reset", vec![say(&half), Act::Reset]),
        late("a head that drips", vec![say(format!("{OK}X: ")), Act::Drip(b"x".to_vec(), PAUSE)]),
        late("a byte a minute", vec![Act::Drip(b"H".to_vec(), MINUTE)]),
        late(
            "interim answers, one after the other",
            vec![Act::Drip(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec(), PAUSE)],
        ),
        died("an interim answer, and the end", vec![say("HTTP/1.1 100 Continue\r\n\r\n")]),
    ]
}

fn heads() -> Vec<Row> {
    let floods = [
        ("a header of 100 MB", say(format!("{OK}X: ")), vec![b'x'; 64 << 10]),
        ("100 MB of headers", say(OK), b"X: y\r\n".repeat(1000)),
        ("100 MB of line ends", say("\r\n"), b"\r\n".repeat(1000)),
        ("100 MB of interim answers", say(""), b"HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)),
        ("a status line of 100 MB", say("HTTP/1.1 200 "), vec![b'x'; 64 << 10]),
    ];
    let rows =
        floods.map(|(what, begin, flood)| (what, vec![begin, Act::Flood(flood, 100 * MEGABYTE), Act::Hang]));
    let said: Vec<(&str, Vec<u8>)> = [
        ("garbage", "\u{1}\u{2}\u{3}\u{4}garbage\u{fe}\r\n\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH_9\r\n"),
        ("a request", "GET / HTTP/1.1\r\n\r\n"),
        ("HTTP/0.9", "{\"a\":1}"),
        ("HTTP/2 by its preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/2 by its first frame", "\0\0\u{6}\u{4}\0\0\0\0\0\0\u{3}\0\0\0\u{64}"),
        ("HTTP/3.0", "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        ("an alert of TLS", "\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{28}"),
        ("a status without digits", "HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\n{}"),
        ("a status of 99", "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\n{}"),
        ("a status of 600", "HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\n{}"),
        (
            "another protocol from now on",
            "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{}",
        ),
        ("go elsewhere", "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 2\r\n\r\n{}"),
        ("nothing new", "HTTP/1.1 304 Not Modified\r\n\r\n"),
    ]
    .map(|(what, text)| (what, text.as_bytes().to_vec()))
    .into();
    let framings = [
        ("ten thousand headers", "a:b\r\n".repeat(10_000)),
        ("a negative length", "Content-Length: -1\r\n".into()),
        ("a length with a plus", "Content-Length: +2\r\n".into()),
        ("a length in hex", "Content-Length: 0x2\r\n".into()),
        ("an empty length", "Content-Length:\r\n".into()),
        ("a length beyond all numbers", "Content-Length: 18446744073709551616\r\n".into()),
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n".into()),
        ("two lengths in one", "Content-Length: 2, 3\r\n".into()),
        ("a length and chunks", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n".into()),
        ("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n".into()),
        ("chunks of something packed", "Transfer-Encoding: gzip, chunked\r\n".into()),
        ("chunks twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".into()),
        ("an unknown framing", "Transfer-Encoding: identity\r\n".into()),
        ("gzip", "Content-Length: 2\r\nContent-Encoding: gzip\r\n".into()),
        (
            "gzip behind nothing",
            "Content-Length: 2\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\n".into(),
        ),
        ("a header split by a CR", "OpenAI-X: a\rSet-Cookie: evil=1\r\nContent-Length: 2\r\n".into()),
        ("a header with a NUL", "OpenAI-X: a\0Set-Cookie: evil=1\r\nContent-Length: 2\r\n".into()),
        ("a folded header", "OpenAI-X: a\r\n Set-Cookie: evil=1\r\nContent-Length: 2\r\n".into()),
        ("a name with a space", "OpenAI-X : a\r\nContent-Length: 2\r\n".into()),
    ]
    .map(|(what, lines): (_, String)| (what, format!("{OK}{JSON}{lines}\r\n{{}}").into_bytes()));
    let said = said.into_iter().chain(framings).map(|(what, text)| (what, vec![Act::Say(text), Act::Hang]));
    let rows = rows.into_iter().chain(said);
    rows.map(|(what, acts)| (what, acts, INVALID, "server_died", SOON)).collect()
}

fn errors() -> Vec<Row> {
    let head =
        |status: &str, length: usize| format!("HTTP/1.1 {status}\r\n{JSON}Content-Length: {length}\r\n\r\n");
    let refused = |what, status: &str| {
        (
            what,
            vec![say(head(status, 2) + "{}"), Act::Hang],
            Seen::Error(502, "upstream_auth_failed"),
            "server_died",
            SOON,
        )
    };
    let echo = format!("{{\"error\":\"no such key: {SERVER_KEY}\"}}");
    let invalid = |what, acts| (what, acts, INVALID, "server_died", SOON);
    vec![
        refused("its own 401", "401 Unauthorized"),
        refused("its own 403", "403 Forbidden"),
        refused("its own 407", "407 Proxy"),
        invalid(
            "an error of 100 MB",
            vec![say(head("400 Bad", 100 * MEGABYTE)), Act::Flood(vec![b'x'; 64 << 10], 100 * MEGABYTE)],
        ),
        invalid("an error that shows its key", vec![say(head("500 Oh", echo.len()) + &echo)]),
        (
            "an error that stops in the middle",
            vec![say(head("400 Bad", 9) + "{"), Act::Hang],
            TIMEOUT,
            "timeout",
            IDLE,
        ),
        (
            "an error that ends in the middle",
            vec![say(head("400 Bad", 9) + "{")],
            UNAVAILABLE,
            "server_died",
            SOON,
        ),
        (
            "an error of its own",
            vec![say(head("429 Slow", 2) + "{}")],
            Seen::Whole(429, b"{}".to_vec()),
            "done",
            SOON,
        ),
    ]
}

fn answers() -> Vec<Row> {
    let with = |lines: &str, body: &str| say(format!("{OK}{JSON}{lines}\r\n{body}"));
    let (long, begun) = ("Content-Length: 100\r\n", "{\"a\":");
    let whole = |what, act, body: &[u8]| (what, vec![act], Seen::Whole(200, body.to_vec()), "done", SOON);
    let died = |what, acts| (what, acts, BROKEN, "server_died", SOON);
    let flood = proof::size(2, 64) * MEGABYTE;
    let (old, packed) =
        (format!("HTTP/1.0 200 OK\r\n{JSON}\r\n"), format!("{OK}{JSON}Content-Length: 22\r\n\r\n"));
    vec![
        died("shorter than its length", vec![with(long, begun)]),
        died("a reset in the middle", vec![with(long, begun), Act::Reset]),
        ("a silence in the middle", vec![with(long, begun), Act::Hang], BROKEN, "timeout", IDLE),
        ("a byte a minute", vec![with(long, "{"), Act::Drip(b" ".to_vec(), MINUTE)], BROKEN, "timeout", IDLE),
        (
            "a byte now and then",
            vec![with("Content-Length: 10000\r\n", "{"), Act::Drip(b" ".to_vec(), PAUSE)],
            BROKEN,
            "timeout",
            TOTAL,
        ),
        died("a length of 2 GB that is a lie", vec![with("Content-Length: 2147483648\r\n", begun)]),
        (
            "no length, and never an end",
            vec![with("", "["), Act::Flood(vec![b'1'; 8 << 10], flood), Act::Hang],
            BROKEN,
            "timeout",
            IDLE,
        ),
        died("no length, and an end within the JSON", vec![with("", begun)]),
        died("no length, and a reset", vec![with("", "{\"a\":1}"), Act::Reset]),
        died("HTTP/1.0, and an end within the JSON", vec![say(old.clone() + begun)]),
        whole("HTTP/1.0", say(old + "{\"a\":1}"), b"{\"a\":1}"),
        whole("longer than its length", with("Content-Length: 7\r\n", "{\"a\":1}evil"), b"{\"a\":1}"),
        // The caller's parser finds it.
        whole("a length that ends within the JSON", with("Content-Length: 5\r\n", "{\"a\":1}"), b"{\"a\":"),
        whole(
            "two answers at once",
            with("Content-Length: 2\r\n", &format!("{{}}{OK}{JSON}Content-Length: 6\r\n\r\n\"evil\"")),
            b"{}",
        ),
        whole(
            "a header split by an LF",
            with("OpenAI-X: a\nSet-Cookie: evil=1\r\nContent-Length: 2\r\n", "{}"),
            b"{}",
        ),
        whole("packed without a word", say([packed.as_bytes(), &GZIP].concat()), &GZIP),
        whole("the same length twice", with("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"), b"{}"),
        (
            "no content, and a body",
            vec![say(format!("HTTP/1.1 204 No Content\r\n{JSON}Content-Length: 7\r\n\r\n\"evil\""))],
            Seen::Whole(204, Vec::new()),
            "done",
            SOON,
        ),
    ]
}

fn chunks() -> Vec<Row> {
    let with = |body: &str| say(format!("{OK}{JSON}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n{body}"));
    let died = |what, body: &str| (what, vec![with(body)], BROKEN, "server_died", SOON);
    let flooded = |what, body: &str, bytes: &[u8]| {
        (
            what,
            vec![with(body), Act::Flood(bytes.repeat(1000), 100 * MEGABYTE), Act::Hang],
            BROKEN,
            "server_died",
            SOON,
        )
    };
    let whole = |what, body: &str| (what, vec![with(body)], Seen::Whole(200, b"{}".to_vec()), "done", SOON);
    vec![
        died("no end", ""),
        died("half a chunk", "ff\r\n\"a\":"),
        died("garbage for a size", "zz\r\n}\r\n0\r\n\r\n"),
        died("a negative size", "-1\r\n}\r\n0\r\n\r\n"),
        died("a size in hex with a sign for it", "0x1\r\n}\r\n0\r\n\r\n"),
        died("a size beyond all numbers", "10000000000000000\r\n}\r\n0\r\n\r\n"),
        died("the largest size", "ffffffffffffffff\r\n}\r\n0\r\n\r\n"),
        died("more than the size says", "1\r\n}evil\r\n0\r\n\r\n"),
        died("a bare LF", "1\n}\n0\n\n"),
        died("a trailer that is none", "1\r\n}\r\n0\r\nevil\r\n\r\n"),
        flooded("extensions without end", "1;", b"evil"),
        flooded("trailers without end", "1\r\n}\r\n0\r\n", b"evil: 1\r\n"),
        flooded("a size without end", "", b"0"),
        ("silence between two chunks", vec![with(""), Act::Hang], BROKEN, "timeout", IDLE),
        whole("trailers", "1\r\n}\r\n0\r\nSet-Cookie: evil=1\r\nContent-Length: 9\r\n\r\n"),
        whole("extensions", "1;evil=1\r\n}\r\n0;evil\r\n\r\n"),
        whole("more behind the end", &format!("1\r\n}}\r\n0\r\n\r\n{OK}Content-Length: 4\r\n\r\nevil")),
    ]
}

fn streams() -> Vec<Row> {
    let flood = proof::size(2, 64) * MEGABYTE;
    let head = || say(STREAM);
    let flooded = |what, begin: &str, line: &[u8], seen| {
        // Each blank line is looked at.
        let flood = if begin == "\n" { flood / 16 } else { flood };
        let acts =
            vec![head(), chunk(EVENT), say("ffffffff\r\n"), say(begin), Act::Flood(line.to_vec(), flood)];
        (what, acts, seen, "server_died", SOON)
    };
    let died = |what, acts: Vec<Act>, seen| (what, acts, seen, "server_died", SOON);
    let late = |what, acts: Vec<Act>, seen| (what, acts, seen, "timeout", IDLE);
    vec![
        died("a head, and the end", vec![head()], TOLD),
        died("the end between two events", vec![head(), chunk(EVENT)], TOLD),
        died("a reset between two events", vec![head(), chunk(EVENT), Act::Reset], TOLD),
        died("the end within an event", vec![head(), chunk(EVENT), chunk("data: {\"ch")], BROKEN),
        died("a reset within an event", vec![head(), chunk(EVENT), chunk("data: {\"ch"), Act::Reset], BROKEN),
        died("the end within a chunk", vec![head(), say("ff\r\ndata: {\"ch")], BROKEN),
        died("a clean end without the end mark", vec![head(), chunk(EVENT), say("0\r\n\r\n")], TOLD),
        died("an end mark that is a comment", vec![head(), chunk(": [DONE]\n\n"), say("0\r\n\r\n")], TOLD),
        died("half an end mark", vec![head(), chunk("data: [DO"), say("0\r\n\r\n")], BROKEN),
        died("garbage for a chunk", vec![head(), chunk(EVENT), say("zz\r\n")], TOLD),
        died("a size beyond all numbers", vec![head(), chunk(EVENT), say("fffffffffffffffff\r\n")], TOLD),
        died("packed without a word", vec![head(), say("16\r\n"), say(GZIP), say("\r\n0\r\n\r\n")], BROKEN),
        died(
            "shorter than its length",
            vec![say(format!("{OK}{SSE}Content-Length: 1000\r\n\r\n{EVENT}"))],
            TOLD,
        ),
        died(
            "longer than its length",
            vec![say(format!("{OK}{SSE}Content-Length: 20\r\n\r\n{EVENT}{DONE}"))],
            BROKEN,
        ),
        died("HTTP/1.0 without an end mark", vec![say(format!("HTTP/1.0 200 OK\r\n{SSE}\r\n{EVENT}"))], TOLD),
        flooded("a line without end", "data: ", &[b'x'; 64 << 10], BROKEN),
        flooded("an event without end", "data: x", &b"\ndata: xxxxxxx".repeat(4000), BROKEN),
        flooded("a comment without end", ": ", &[b'x'; 64 << 10], BROKEN),
        flooded("line ends without end", "\n", &[b'\n'; 64 << 10], TOLD),
        late("silence before the first event", vec![head(), Act::Hang], TOLD_LATE),
        late("silence between two events", vec![head(), chunk(EVENT), Act::Hang], TOLD_LATE),
        late("silence within an event", vec![head(), chunk("data: {\"ch"), Act::Hang], BROKEN),
        late("an event a minute", vec![head(), chunk(EVENT), Act::Drip(EVENT.into(), MINUTE)], TOLD_LATE),
    ]
}

fn ends_of_streams() -> Vec<Row> {
    let whole = |what, behind: Vec<Act>, after| {
        let acts = [vec![say(STREAM), chunk(EVENT), chunk(DONE)], behind].concat();
        (what, acts, Seen::Whole(200, format!("{EVENT}{DONE}").into_bytes()), "done", after)
    };
    let none = |what, said: String| (what, vec![say(said), Act::Hang], INVALID, "server_died", SOON);
    let odd = b"data: \0\xff\xfe\n\n: \xc0\n\ndata: [DONE]\n\n";
    vec![
        whole("an end mark and no end", vec![Act::Hang], IDLE),
        whole("an end mark and the end", vec![], SOON),
        whole("an end mark and a reset", vec![Act::Reset], SOON),
        whole("an end mark and garbage", vec![say("zz\r\n")], SOON),
        whole("an end mark and trailers", vec![say("0\r\nSet-Cookie: evil=1\r\n\r\n")], SOON),
        (
            "more behind the end mark",
            vec![say(STREAM), chunk(DONE), chunk(EVENT), say("0\r\n\r\n")],
            Seen::Whole(200, format!("{DONE}{EVENT}").into_bytes()),
            "done",
            SOON,
        ),
        (
            "bytes that are no text",
            vec![say(format!("{OK}{SSE}Content-Length: {}\r\n\r\n", odd.len())), say(odd)],
            Seen::Whole(200, odd.to_vec()),
            "done",
            SOON,
        ),
        (
            "an answer in place of a stream, cut short",
            vec![say(format!("{OK}{JSON}\r\n{{\"a\":"))],
            BROKEN,
            "server_died",
            SOON,
        ),
        none("no content in place of a stream", format!("HTTP/1.1 204 No Content\r\n{SSE}\r\n")),
        none("content to be dropped in place of a stream", format!("HTTP/1.1 205 Reset\r\n{SSE}\r\n")),
        none("an empty answer in place of a stream", format!("{OK}Content-Length: 0\r\n\r\n")),
        none("empty JSON in place of a stream", format!("{OK}{JSON}Content-Length: 0\r\n\r\n")),
        none("an empty stream", format!("{OK}{SSE}Content-Length: 0\r\n\r\n")),
        (
            "empty chunks in place of a stream",
            vec![say(format!("{OK}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))],
            BROKEN,
            "server_died",
            SOON,
        ),
        (
            "nothing until the end in place of a stream",
            vec![say(format!("{OK}\r\n"))],
            BROKEN,
            "server_died",
            SOON,
        ),
    ]
}
