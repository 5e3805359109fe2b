//! What the fuzzer holds the tap on streams to: however a stream is cut it is read and sent on alike, and as a plain reader
//! of whole streams has it. Never: how chunks come.

use std::ops::Range;

use bytes::Bytes;

use super::{Dialect, SseTap};
use crate::types::Tokens;
use crate::upstream::fuzz::{Members, tokens_in};

/// Put in place of the byte 1 where long events are wanted.
static LONG: [u8; 700 << 10] = [b'x'; 700 << 10];

/// What a tap made of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    sent: Vec<u8>,
    at_boundary: bool,
    ended: bool,
    tokens: Option<Tokens>,
    contents: u64,
}

/// Panics unless a stream comes to the same in one piece and cut, and to what a plain reader makes of it. The first byte
/// says which API's it is, whether the usage chunk is to be taken out, and whether there are events too long to be looked
/// into; the second how many lengths of cuts follow.
pub fn tap(bytes: &[u8]) {
    let [how, count, bytes @ ..] = bytes else { return };
    let Some((cuts, stream)) = bytes.split_at_checked(usize::from(count % 16)) else { return };
    let dialect = if how & 1 == 0 { Dialect::Chat } else { Dialect::Responses };
    let strip = how & 2 != 0;
    let is_long = how & 0b11_1100 == 4 && stream.contains(&1);
    let stream = if is_long { lengthened(stream) } else { stream.to_vec() };
    let whole = run(dialect, strip, &stream, &[usize::MAX]);
    let cuts: Vec<usize> =
        if cuts.is_empty() { vec![1] } else { cuts.iter().copied().map(usize::from).collect() };
    let scaled = |cut: &usize| if is_long { (1 + cut) << 12 } else { *cut };
    let cuts: Vec<usize> = cuts.iter().map(scaled).collect();
    assert_eq!(run(dialect, strip, &stream, &cuts), whole, "cut after {cuts:?}");
    if !strip || dialect == Dialect::Responses {
        assert_eq!(whole.sent, stream, "every byte goes on");
    }
    if !is_long && let Some(plain) = plain(dialect, strip, &stream) {
        assert_eq!((whole.sent, whole.ended, whole.tokens), plain, "as a plain reader has it");
    }
}

/// With the byte 1 made long, twice at most.
fn lengthened(stream: &[u8]) -> Vec<u8> {
    let mut left = 2;
    let mut long = Vec::new();
    for byte in stream {
        if *byte == 1 && left > 0 {
            left -= 1;
            long.extend_from_slice(&LONG);
        } else {
            long.push(*byte);
        }
    }
    long
}

/// Runs a stream through a tap in parts of these lengths, again and again; no byte at all for a part of none.
fn run(dialect: Dialect, strip: bool, stream: &[u8], cuts: &[usize]) -> Outcome {
    let mut tap = SseTap::new(dialect, strip);
    let (mut rest, mut sent, mut pushed) = (Bytes::copy_from_slice(stream), Vec::new(), 0);
    let mut cuts = cuts.iter().cycle();
    let mut idle = 0;
    while !rest.is_empty() {
        let cut = cuts.next().copied().unwrap_or(usize::MAX).min(rest.len());
        // Nothing but empty parts would last for ever.
        idle = if cut == 0 { idle + 1 } else { 0 };
        let chunk = rest.split_to(if idle > 16 { 1 } else { cut });
        pushed += chunk.len();
        for piece in tap.push(chunk) {
            assert!(!piece.is_empty(), "an empty piece");
            sent.extend_from_slice(&piece);
        }
        assert!(tap.held.len() <= SseTap::EVENT_BYTES_MAX, "held without bound");
        assert!(strip || sent.len() == pushed, "held back for nothing");
    }
    let at_boundary = tap.at_boundary();
    sent.extend_from_slice(&tap.finish());
    Outcome {
        sent,
        at_boundary,
        ended: tap.ended(),
        tokens: tap.tokens(),
        contents: tap.completion_estimate(),
    }
}

/// What is to be sent on, whether the end was seen, and the tokens; none where it is nobody's business what they are:
/// names with escapes, lists in place of objects, texts that are not UTF-8.
fn plain(dialect: Dialect, strip: bool, stream: &[u8]) -> Option<(Vec<u8>, bool, Option<Tokens>)> {
    let (mut sent, mut ended, mut tokens) = (Vec::new(), false, None);
    let (events, rest) = events(stream);
    let (count, first) = (events.len(), if stream.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 });
    for (number, event) in events.into_iter().chain([rest]).enumerate() {
        let mark = if number == 0 { first } else { 0 };
        let (name, data) = fields(&stream[event.start + mark..event.end]);
        let said = said(dialect, &name, &data)?;
        ended |= said.ends;
        tokens = said.tokens.or(tokens);
        let is_taken_out = strip && said.is_extra && number < count;
        sent.extend_from_slice(
            &stream[event.start..if is_taken_out { event.start + mark } else { event.end }],
        );
    }
    Some((sent, ended, tokens))
}

/// Where each event is with its blank line, and what is left.
fn events(stream: &[u8]) -> (Vec<Range<usize>>, Range<usize>) {
    let (mut events, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(length) = stream[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let is_pair = stream[at + length..].starts_with(b"\r\n");
        at += length + if is_pair { 2 } else { 1 };
        if length == 0 {
            events.push(start..at);
            start = at;
        }
    }
    (events, start..stream.len())
}

/// An event's name and data, by the letter of the HTML standard (9.2.6).
fn fields(event: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut name, mut data) = (Vec::new(), Vec::new());
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => name = value.to_vec(),
            b"data" => {
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            _ => {}
        }
    }
    data.pop();
    (name, data)
}

#[derive(Default)]
struct Said {
    ends: bool,
    tokens: Option<Tokens>,
    is_extra: bool,
}

fn said(dialect: Dialect, name: &[u8], data: &[u8]) -> Option<Said> {
    if data.is_empty() {
        return Some(Said::default());
    }
    match dialect {
        Dialect::Chat if data.starts_with(b"[DONE]") => Some(Said { ends: true, ..Said::default() }),
        Dialect::Chat => said_in_chat(data),
        Dialect::Responses => said_in_response(name, data),
    }
}

fn said_in_chat(data: &[u8]) -> Option<Said> {
    let Some(chunk) = Members::of_data(data)? else { return Some(Said::default()) };
    if chunk.has_twice(&["usage", "choices", "error"]) {
        return Some(Said::default());
    }
    let value = |name: &str| chunk.value(name).unwrap_or("null");
    let is_object = value("usage").starts_with('{');
    let no_choice = value("choices").chars().filter(|c| !c.is_ascii_whitespace()).eq("[]".chars());
    Some(Said {
        ends: false,
        tokens: tokens_in(value("usage"))?,
        is_extra: is_object && no_choice && value("error") == "null",
    })
}

fn said_in_response(name: &[u8], data: &[u8]) -> Option<Said> {
    const ENDS: [&str; 3] = ["response.completed", "response.failed", "response.incomplete"];
    let by_name = Said { ends: ENDS.iter().any(|end| end.as_bytes() == name), ..Said::default() };
    let Some(event) = Members::of_data(data)? else { return Some(by_name) };
    if event.has_twice(&["type", "response"]) {
        return Some(by_name);
    }
    let (kind, response) = (event.value("type").unwrap_or("null"), event.value("response").unwrap_or("null"));
    if !(kind.starts_with('"') || kind == "null") || !(response.starts_with('{') || response == "null") {
        return if response.starts_with('[') { None } else { Some(by_name) };
    }
    let inner = if response == "null" { None } else { Members::of_data(response.as_bytes())? };
    let usage =
        inner.as_ref().filter(|inner| !inner.has_twice(&["usage"])).and_then(|inner| inner.value("usage"));
    if inner.as_ref().is_some_and(|inner| inner.has_twice(&["usage"])) {
        return Some(by_name);
    }
    let by_kind = name.is_empty() && ENDS.iter().any(|end| kind == format!("\"{end}\""));
    Some(Said { ends: by_name.ends || by_kind, tokens: tokens_in(usage.unwrap_or("null"))?, is_extra: false })
}
