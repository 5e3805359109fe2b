//! One server-sent event: its fields, and what its data says about end, usage and content. Never: how events are cut
//! out of a stream.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::{memchr, memchr2, memchr2_iter, memmem::Finder};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::usage::{has_usage_object, tokens_of};
use super::{Dialect, SseTap};
use crate::types::Tokens;

/// What the events said.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) ended: bool,
    pub(super) tokens: Option<Tokens>,
    pub(super) contents: u64,
}

impl Seen {
    /// Takes note of an event; says whether it is the extra usage chunk.
    pub(super) fn judge(&mut self, dialect: Dialect, event: &[u8], first: bool) -> bool {
        let event = if first { &event[mark_len(event)..] } else { event };
        let (name, data) = fields(event);
        self.judge_data(dialect, name, &data)
    }

    /// The same of an event whose name and data are known.
    pub(super) fn judge_data(&mut self, dialect: Dialect, name: &[u8], data: &[u8]) -> bool {
        if data.is_empty() {
            return false;
        }
        match dialect {
            Dialect::Chat => self.judge_chat(data),
            Dialect::Responses => {
                self.judge_response(name, data);
                false
            }
        }
    }

    fn judge_chat(&mut self, data: &[u8]) -> bool {
        if data.starts_with(b"[DONE]") {
            self.ended = true;
            return false;
        }
        self.contents += u64::from(has_text(data, &*CHUNK_TEXTS));
        // serde would also take a list of the members' values.
        if !has_usage_object(data) || !data.trim_ascii_start().starts_with(b"{") {
            return false;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else { return false };
        self.note_usage(chunk.usage);
        chunk.is_extra()
    }

    fn judge_response(&mut self, name: &[u8], data: &[u8]) {
        self.contents += u64::from(has_text(data, &*RESPONSE_TEXTS));
        self.ended |= is_response_end(name);
        let unnamed = name.is_empty() && RESPONSE_END.iter().any(|end| end.find(data).is_some());
        if !unnamed && !has_usage_object(data) {
            return;
        }
        let Ok(event) = serde_json::from_slice::<ResponseEvent<'_>>(data) else { return };
        self.ended |= name.is_empty() && event.kind.is_some_and(|kind| is_response_end(kind.as_bytes()));
        self.note_usage(event.response.and_then(|response| response.usage));
    }

    fn note_usage(&mut self, usage: Option<&RawValue>) {
        self.tokens = usage.and_then(tokens_of).or(self.tokens);
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Chunk<'_> {
    /// Whether this is the chunk that servers send last when `include_usage` is set: usage and no choice.
    fn is_extra(&self) -> bool {
        let no_choice = |choices: &RawValue| serde_json::from_str::<[IgnoredAny; 0]>(choices.get()).is_ok();
        self.usage.is_some_and(|usage| usage.get().starts_with('{'))
            && self.choices.is_some_and(no_choice)
            && self.error.is_none()
    }
}

#[derive(Deserialize)]
struct ResponseEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response: Option<ResponseSoFar<'a>>,
}

#[derive(Deserialize)]
struct ResponseSoFar<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

const RESPONSE_ENDS: [&str; 3] = ["response.completed", "response.failed", "response.incomplete"];

fn is_response_end(name: &[u8]) -> bool {
    RESPONSE_ENDS.iter().any(|end| end.as_bytes() == name)
}

/// Whether an event of which only the `head` is known is an end mark: by its name, else by the type that its data
/// begins with.
pub(super) fn names_response_end(head: &[u8], first: bool) -> bool {
    let (name, data) = fields(if first { &head[mark_len(head)..] } else { head });
    if !name.is_empty() {
        return is_response_end(name);
    }
    leading_type(&data).is_some_and(is_response_end)
}

fn leading_type(data: &[u8]) -> Option<&[u8]> {
    let member = data.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start().strip_prefix(b"\"type\"")?;
    let value = member.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    memchr(b'"', value).map(|end| &value[..end])
}

static RESPONSE_END: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| RESPONSE_ENDS.map(Finder::new));

/// Where chunks have pieces of generated text (`reasoning_content` and the like included).
static CHUNK_TEXTS: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| [r#"content":"#, r#""text":"#, r#""arguments":"#].map(Finder::new));

/// Where events of `/v1/responses` have them.
static RESPONSE_TEXTS: LazyLock<[Finder<'static>; 1]> = LazyLock::new(|| [r#""delta":"#].map(Finder::new));

/// Whether one of `names` has a string that is not empty. A look at bytes, good enough for an estimate.
fn has_text(data: &[u8], names: &[Finder<'static>]) -> bool {
    names.iter().any(|name| {
        let mut rest = data;
        while let Some(at) = name.find(rest) {
            rest = &rest[at + name.needle().len()..];
            let value = rest.trim_ascii_start();
            if value.starts_with(b"\"") && !value.starts_with(b"\"\"") {
                return true;
            }
        }
        false
    })
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The length of the byte order mark that `event` begins with; 0 when it has none.
pub(super) fn mark_len(event: &[u8]) -> usize {
    if event.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// An event's last `event` and its `data` lines, joined.
fn fields(event: &[u8]) -> (&[u8], Cow<'_, [u8]>) {
    if let Some(data) = only_data(event) {
        return (&[], Cow::Borrowed(data));
    }
    let (mut name, mut data): (&[u8], Option<Cow<'_, [u8]>>) = (&[], None);
    let mut begin = 0;
    for end in memchr2_iter(b'\n', b'\r', event).chain([event.len()]) {
        let line = &event[begin..end];
        begin = end + 1;
        match field(line) {
            (b"data", value) => match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            (b"event", value) => name = value,
            _ => {}
        }
    }
    (name, data.unwrap_or_default())
}

/// The data of an event that has one line of it and nothing else, as nearly all of them do.
fn only_data(event: &[u8]) -> Option<&[u8]> {
    let value = event.strip_prefix(b"data:")?;
    let (value, rest) = value.split_at(memchr2(b'\n', b'\r', value).unwrap_or(value.len()));
    let is_alone = rest.iter().all(|byte| matches!(byte, b'\n' | b'\r'));
    is_alone.then(|| unspaced(value))
}

/// The length and the data of the event that `stream` begins with, if that is one line of data and a blank one, and no
/// longer than an event that is looked into may be. Nearly all are.
pub(super) fn only_line(stream: &[u8]) -> Option<(usize, &[u8])> {
    let value = stream.strip_prefix(b"data:")?;
    let (data, rest) = value.split_at(memchr2(b'\n', b'\r', value)?);
    let ends = ["\n\n", "\r\n\r\n"].into_iter().find(|ends| rest.starts_with(ends.as_bytes()))?;
    let length = stream.len() - rest.len() + ends.len();
    (length <= SseTap::EVENT_BYTES_MAX).then(|| (length, unspaced(data)))
}

/// A line's name and value; a comment's name is empty.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    if let Some(value) = line.strip_prefix(b"data:") {
        return (b"data", unspaced(value));
    }
    match memchr(b':', line) {
        Some(colon) => (&line[..colon], unspaced(&line[colon + 1..])),
        None => (line, &[]),
    }
}

/// A value without the space that may stand before it.
fn unspaced(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}
