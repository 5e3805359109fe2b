//! Watching an answer that streams (server-sent events) as it flows past: where events end, how the stream ends,
//! what it reports. Never: a changed byte, but for the one usage chunk that the caller did not ask for.

mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use self::event::{Seen, mark_len, names_response_end, only_line};
use crate::types::Tokens;

/// Which API's events flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `/v1/chat/completions` and `/v1/completions`: ends with `data: [DONE]`.
    Chat,
    /// `/v1/responses`: ends with the event `response.completed`, `response.failed` or `response.incomplete`.
    Responses,
}

/// Watches one stream. Line ends, fields, comments and the byte order mark are as the WHATWG's
/// "Server-sent events" (HTML, 9.2.6) has them; chunks may be split anywhere.
/// (A blank line right behind the mark is taken for a part of the first event: no server writes one.)
///
/// Keeps a copy of the incomplete event at a chunk's end, at most [`SseTap::EVENT_BYTES_MAX`] bytes. A longer event
/// is passed on as it comes and not looked into, but for its name.
pub struct SseTap {
    dialect: Dialect,
    strip_usage: bool,
    line: Line,
    held: BytesMut,
    /// The event under way is too long to be judged; nothing of it is held.
    oversized: bool,
    /// It is an end mark, by its name.
    oversized_end: bool,
    /// No event has ended yet, so a byte order mark may stand before this one.
    first: bool,
    /// Bytes of an event without its end were given out by [`SseTap::finish`].
    finished: bool,
    seen: Seen,
}

/// Bytes to send on now, in order; slices of the chunk wherever the event did not begin in an earlier one. Mostly it is
/// the chunk itself, which takes no memory.
#[derive(Default)]
pub struct Forward {
    first: Option<Bytes>,
    rest: VecDeque<Bytes>,
}

impl SseTap {
    /// The longest event that is looked into, and the most bytes kept.
    pub const EVENT_BYTES_MAX: usize = 1 << 20;

    /// With `strip_usage` the extra usage chunk is taken out, and so an event is only sent on when it is complete;
    /// without it every byte is sent on at once.
    #[must_use]
    pub fn new(dialect: Dialect, strip_usage: bool) -> Self {
        Self {
            dialect,
            strip_usage,
            line: Line::default(),
            held: BytesMut::new(),
            oversized: false,
            oversized_end: false,
            first: true,
            finished: false,
            seen: Seen::default(),
        }
    }

    /// Takes the model server's next bytes and gives those to send on.
    #[must_use]
    pub fn push(&mut self, chunk: Bytes) -> Forward {
        let mut out = Forward::default();
        // Up to `sent` the chunk is dealt with; the event under way begins at `event`, or in an earlier chunk.
        let (mut sent, mut event, mut at) = (0, 0, 0);
        while at < chunk.len() {
            if let Some(owner) = self.line.after_cr.take()
                && chunk[at] == b'\n'
            {
                at += 1;
                match owner {
                    LfOwner::Event => {}
                    LfOwner::Sent => event = at,
                    LfOwner::Stripped => (sent, event) = (at, at),
                }
                continue;
            }
            if at == event
                && self.is_between_events()
                && let Some((length, data)) = only_line(&chunk[at..])
            {
                let end = at + length;
                self.first = false;
                let usage_chunk = self.seen.judge_data(self.dialect, b"", data);
                if usage_chunk && self.strip_usage {
                    out.push(chunk.slice(sent..at));
                    sent = end;
                }
                (at, event) = (end, end);
                continue;
            }
            let Some((next, ended)) = self.line.advance(&chunk, at) else { break };
            at = next;
            if ended {
                let stripped = self.end_event(&chunk, &mut sent, event..at, &mut out);
                self.line.begin_event(chunk[at - 1], stripped);
                event = at;
            }
        }
        self.keep_rest(chunk, sent, event, &mut out);
        out
    }

    /// What is still held when the model server ended its answer cleanly, to be sent on before the end. An end mark
    /// whose blank line never came counts.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        let held = mem::take(&mut self.held).freeze();
        if !held.is_empty() {
            self.seen.judge(self.dialect, &held, self.first);
        }
        self.finished = true;
        if self.strip_usage { held } else { Bytes::new() }
    }

    /// Whether what was sent on so far ends between two events (or after a comment line), so that another event
    /// can follow.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        let held_back = self.strip_usage && !self.oversized && !self.finished;
        held_back || (self.line.empty && !self.line.fields)
    }

    /// Whether the end mark was seen. A stream that ends without it was broken off.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.seen.ended
    }

    /// The last usage that the stream reported.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        self.seen.tokens
    }

    /// An estimate of the tokens generated, for a stream that reported none: the events that carried content.
    #[must_use]
    pub fn completion_estimate(&self) -> u64 {
        self.seen.contents
    }

    /// Whether nothing of the next event has come, nor is the line end of the last one open.
    fn is_between_events(&self) -> bool {
        let Line { empty, fields, after_cr } = self.line;
        self.held.is_empty() && !self.oversized && empty && !fields && after_cr.is_none()
    }

    /// Deals with the event that ends where `tail`, its part of this chunk, does; says whether it was stripped.
    fn end_event(&mut self, chunk: &Bytes, sent: &mut usize, tail: Range<usize>, out: &mut Forward) -> bool {
        let first = mem::take(&mut self.first);
        let whole = self.held.len() + tail.len();
        if self.oversized || whole > Self::EVENT_BYTES_MAX {
            if !mem::take(&mut self.oversized) {
                self.oversized_end = self.names_end(&chunk[tail], first);
            }
            self.seen.ended |= mem::take(&mut self.oversized_end);
            self.give_held(out);
            return false;
        }
        if self.held.is_empty() {
            let event = &chunk[tail.clone()];
            let usage_chunk = self.seen.judge(self.dialect, event, first);
            if usage_chunk && self.strip_usage {
                let mark = if first { mark_len(event) } else { 0 };
                out.push(chunk.slice(*sent..tail.start + mark));
                *sent = tail.end;
            }
            return usage_chunk && self.strip_usage;
        }
        self.held.extend_from_slice(&chunk[tail.clone()]);
        let usage_chunk = self.seen.judge(self.dialect, &self.held, first);
        if !self.strip_usage {
            self.forget_held();
            return false;
        }
        *sent = tail.end;
        if usage_chunk {
            let mark = if first { mark_len(&self.held) } else { 0 };
            self.held.truncate(mark);
        }
        self.give_held(out);
        usage_chunk
    }

    /// Sends on what can be, and keeps the incomplete event at the chunk's end for later.
    fn keep_rest(&mut self, chunk: Bytes, sent: usize, event: usize, out: &mut Forward) {
        let tail = &chunk[event..];
        if self.held.len() + tail.len() > Self::EVENT_BYTES_MAX {
            if !mem::replace(&mut self.oversized, true) {
                self.oversized_end = self.names_end(tail, self.first);
            }
            self.give_held(out);
        }
        if !self.oversized && !tail.is_empty() {
            self.held.extend_from_slice(tail);
        }
        let (from, to) = match (self.strip_usage, self.oversized) {
            (false, _) => (0, chunk.len()),
            (true, true) => (sent, chunk.len()),
            (true, false) => (sent, event),
        };
        out.push(if to - from == chunk.len() { chunk } else { chunk.slice(from..to) });
    }

    /// Whether the event that consists of what is held and `more` is an end mark, by its first bytes.
    fn names_end(&self, more: &[u8], first: bool) -> bool {
        const HEAD_BYTES: usize = 1 << 10;
        let mut head = self.held[..self.held.len().min(HEAD_BYTES)].to_vec();
        head.extend_from_slice(&more[..more.len().min(HEAD_BYTES - head.len())]);
        self.dialect == Dialect::Responses && names_response_end(&head, first)
    }

    fn give_held(&mut self, out: &mut Forward) {
        if self.strip_usage {
            out.push(mem::take(&mut self.held).freeze());
        } else {
            self.forget_held();
        }
    }

    fn forget_held(&mut self) {
        const WORTH_KEEPING: usize = 16 << 10;
        if self.held.capacity() > WORTH_KEEPING {
            self.held = BytesMut::new();
        }
        self.held.clear();
    }
}

impl Forward {
    fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        match self.first {
            None => self.first = Some(bytes),
            Some(_) => self.rest.push_back(bytes),
        }
    }
}

impl Iterator for Forward {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.first.take().or_else(|| self.rest.pop_front())
    }
}

/// An event with `json` as its data. Line ends in it, which JSON has only between tokens, become `data:` lines.
#[must_use]
pub fn error_event(json: &str) -> Bytes {
    let mut event = String::with_capacity(json.len() + 8);
    for line in json.split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// Where in the lines of an event the stream stands.
#[derive(Debug)]
struct Line {
    /// No byte of the line under way has come.
    empty: bool,
    /// The event under way has had something else than comments.
    fields: bool,
    /// The last byte was a CR; whose an LF right after it is.
    after_cr: Option<LfOwner>,
}

/// Whose the LF of a CR LF is, when the CR already ended the line.
#[derive(Debug, Clone, Copy)]
enum LfOwner {
    /// The event under way.
    Event,
    /// An event that has been sent on.
    Sent,
    /// An event that has been taken out.
    Stripped,
}

impl Default for Line {
    fn default() -> Self {
        Self { empty: true, fields: false, after_cr: None }
    }
}

impl Line {
    /// Goes from `at` to behind the line's end; says whether that ended the event. None when the end has not come.
    fn advance(&mut self, chunk: &[u8], at: usize) -> Option<(usize, bool)> {
        let rest = &chunk[at..];
        // A blank line ends where it begins.
        let is_blank = matches!(rest.first(), Some(b'\n' | b'\r'));
        let end = if is_blank { Some(0) } else { memchr2(b'\n', b'\r', rest) };
        let text = &rest[..end.unwrap_or(rest.len())];
        if self.empty && !text.is_empty() {
            self.empty = false;
            self.fields |= text[0] != b':';
        }
        let end = end?;
        let blank = mem::replace(&mut self.empty, true) && text.is_empty();
        self.after_cr = (rest[end] == b'\r').then_some(LfOwner::Event);
        Some((at + end + 1, blank))
    }

    /// The event ended with the byte `last`.
    fn begin_event(&mut self, last: u8, stripped: bool) {
        let owner = if stripped { LfOwner::Stripped } else { LfOwner::Sent };
        *self = Self { empty: true, fields: false, after_cr: (last == b'\r').then_some(owner) };
    }
}

#[cfg(test)]
mod tests;
