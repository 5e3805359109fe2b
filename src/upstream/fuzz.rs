//! What the fuzzer holds the reading of model servers' answers to, and a plain reader of JSON objects to compare with.
//! Never: how answers are asked for.

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::head::Head;
use super::usage::AnswerTap;
use crate::types::Tokens;

/// Panics unless an answer comes to the same in one piece and cut: as bytes of a connection, as httparse reads them, and as
/// a body with a `usage`, as serde_json reads that. The first byte says how it is cut.
pub fn answer(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let cut = usize::from(*cut).max(1);
    connection(bytes, cut);
    let body = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    reported(body, cut);
}

/// Names and values.
type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// What was made of the bytes of a connection: its head, whether it may be used again, its body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    /// Status, headers, whether it stays open.
    head: Option<(u16, Headers, bool)>,
    body: Vec<u8>,
    left: usize,
    is_over: bool,
    is_broken: bool,
}

fn connection(bytes: &[u8], cut: usize) {
    let whole = taken(bytes, bytes.len().max(1));
    let parts = taken(bytes, cut);
    assert_eq!(parts, whole, "cut after every {cut} bytes");
    let Some((status, headers, _)) = &whole.head else { return };
    let mut space = [httparse::EMPTY_HEADER; 128];
    let mut rest = bytes;
    loop {
        let mut response = httparse::Response::new(&mut space);
        let Ok(httparse::Status::Complete(length)) = response.parse(rest) else { panic!("no head") };
        rest = &rest[length..];
        if response.code == Some(*status) {
            let same = |(header, (name, value)): (&httparse::Header<'_>, &(Vec<u8>, Vec<u8>))| {
                header.name.as_bytes() == name && header.value == value
            };
            assert_eq!(response.headers.len(), headers.len());
            assert!(response.headers.iter().zip(headers).all(same), "other headers");
            break;
        }
        space = [httparse::EMPTY_HEADER; 128];
    }
    body_of(&whole, rest);
}

/// The body against a reader that has all of it before its eyes.
fn body_of(taken: &Taken, rest: &[u8]) {
    let Some((status, headers, _)) = &taken.head else { return };
    let has_none = matches!(status, 101 | 204 | 304);
    let is = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
    if is("transfer-encoding") && !has_none {
        let (chunks, left) = unchunked(rest);
        assert_eq!(taken.body, chunks, "other chunks");
        assert_eq!(taken.is_over, left.is_some(), "the end");
        assert!(left.is_none_or(|left| taken.left == left), "what comes behind it");
    } else {
        assert!(rest.starts_with(&taken.body) && taken.body.len() + taken.left == rest.len(), "other bytes");
    }
}

/// The data of chunks, as far as they make sense, and how many bytes follow their end.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, Option<usize>) {
    let mut data = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            return (data, None);
        };
        if !rest[0].is_ascii_hexdigit() || rest[..line - 1].contains(&b'\n') {
            return (data, None);
        }
        rest = &rest[line..];
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        data.extend_from_slice(&rest[..size]);
        match rest[size..].strip_prefix(b"\r\n") {
            Some(next) => rest = next,
            None => return (data, None),
        }
    }
    let mut space = [httparse::EMPTY_HEADER; 100];
    match httparse::parse_headers(rest, &mut space) {
        Ok(httparse::Status::Complete((length, _))) => {
            let is_strict =
                rest[..length].split_inclusive(|byte| *byte == b'\n').all(|line| line.ends_with(b"\r\n"));
            (data, is_strict.then_some(rest.len() - length))
        }
        _ => (data, None),
    }
}

fn taken(bytes: &[u8], cut: usize) -> Taken {
    let (mut head, mut read, mut taken) = (Head::default(), BytesMut::new(), Taken::default());
    let mut body = None;
    for part in bytes.chunks(cut) {
        read.extend_from_slice(part);
        if body.is_none() {
            match head.read(&mut read) {
                Ok(None) => continue,
                Ok(Some(framing)) => {
                    let headers = head.headers().map(|(name, value)| (name.to_vec(), value.to_vec()));
                    taken.head = Some((head.status().as_u16(), headers.collect(), framing.stays_open));
                    body = Some(framing.body);
                }
                Err(_) => return Taken { is_broken: true, ..Taken::default() },
            }
        }
        let Some(body) = &mut body else { continue };
        loop {
            match body.take(&mut read) {
                Ok(Some(data)) => taken.body.extend_from_slice(&data),
                Ok(None) => break,
                Err(_) => return Taken { is_broken: true, is_over: false, left: 0, ..taken },
            }
        }
    }
    if body.is_none() && head.is_hopeless(&read) {
        return Taken { is_broken: true, ..Taken::default() };
    }
    let is_over = body.is_some_and(|body| body.is_over());
    Taken { is_over, left: if is_over { read.len() } else { 0 }, ..taken }
}

/// The tokens that a body which is no stream reports.
fn reported(body: &[u8], cut: usize) {
    let (mut whole, mut parts) = (AnswerTap::default(), AnswerTap::default());
    whole.push(&Bytes::copy_from_slice(body));
    body.chunks(cut).for_each(|part| parts.push(&Bytes::copy_from_slice(part)));
    let tokens = whole.tokens();
    assert_eq!(parts.tokens(), tokens, "cut after every {cut} bytes");
    assert_eq!(parts.is_cut_short(), whole.is_cut_short(), "cut after every {cut} bytes");
    if body.trim_ascii_start().starts_with(b"[") {
        assert_eq!(tokens, None, "a list reports nothing");
    }
    let Some(Some(answer)) = Members::of_data(body) else { return };
    if !answer.has_twice(&["usage"])
        && let Some(wanted) = tokens_in(answer.value("usage").unwrap_or("null"))
    {
        assert_eq!(tokens, wanted, "as serde_json has it");
    }
}

/// The members of an object, by serde_json and in their order.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Of those before the first fault, too.
    pub(super) names: Vec<String>,
    /// Values as they are written.
    pub(super) values: Vec<String>,
}

impl Members {
    /// All of an object, or as far as it makes sense.
    ///
    /// # Errors
    /// What was read, and why no more.
    pub(super) fn read(text: &str) -> Result<Self, (Self, serde_json::Error)> {
        let mut members = Self::default();
        let mut json = serde_json::Deserializer::from_str(text);
        match json.deserialize_map(Reading(&mut members)).and_then(|()| json.end()) {
            Ok(()) => Ok(members),
            Err(error) => Err((members, error)),
        }
    }

    /// Of an event's data or an answer; the outer none when it is nobody's business how it is read.
    pub(super) fn of_data(data: &[u8]) -> Option<Option<Self>> {
        let text = std::str::from_utf8(data).ok().filter(|text| !text.contains('\\'))?;
        Some(Self::read(text).ok())
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let place = self.names.iter().position(|known| known == name)?;
        self.values.get(place).map(String::as_str)
    }

    pub(super) fn has_twice(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.names.iter().filter(|known| known == name).count() > 1)
    }
}

struct Reading<'m>(&'m mut Members);

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.0.names.push(name);
            self.0.values.push(map.next_value::<Box<RawValue>>()?.get().to_string());
        }
        Ok(())
    }
}

/// The tokens of a `usage`; the outer none when it is nobody's business what they are.
pub(super) fn tokens_in(usage: &str) -> Option<Option<Tokens>> {
    if usage.starts_with('[') {
        return None;
    }
    let Some(usage) = Members::of_data(usage.as_bytes())? else { return Some(None) };
    const COUNTS: [&str; 4] = ["prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"];
    const DETAILS: [&str; 2] = ["prompt_tokens_details", "input_tokens_details"];
    if usage.has_twice(&COUNTS) || usage.has_twice(&DETAILS) {
        return Some(None);
    }
    let counts = COUNTS.map(|name| count(usage.value(name)));
    let mut cached = Vec::new();
    for details in DETAILS.map(|name| usage.value(name)).into_iter().flatten() {
        match details.as_bytes().first() {
            Some(b'[') => return None,
            Some(b'{') => {
                let Some(details) = Members::of_data(details.as_bytes())? else { return Some(None) };
                if details.has_twice(&["cached_tokens"]) {
                    return Some(None);
                }
                cached.push(count(details.value("cached_tokens")));
            }
            _ if details == "null" => {}
            _ => return Some(None),
        }
    }
    let all: Result<Vec<Option<u64>>, ()> = counts.into_iter().collect();
    let (Ok(all), Ok(cached)) = (all, cached.into_iter().collect::<Result<Vec<_>, ()>>()) else {
        return Some(None);
    };
    let (prompt, completion) = (all[0].or(all[2]), all[1].or(all[3]));
    if prompt.is_none() && completion.is_none() {
        return Some(None);
    }
    let (prompt, cached) = (prompt.unwrap_or(0), cached.first().copied().flatten().unwrap_or(0));
    Some(Some(Tokens { prompt, completion: completion.unwrap_or(0), cached: cached.min(prompt) }))
}

fn count(value: Option<&str>) -> Result<Option<u64>, ()> {
    match value {
        None | Some("null") => Ok(None),
        Some(text) => serde_json::from_str(text).map(Some).map_err(|_| ()),
    }
}
