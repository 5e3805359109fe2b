//! How an access line is written: its fields, their names and their order (docs/logs.md). Never: where it goes, what
//! becomes of a request.

use std::io::Write;
use std::net::IpAddr;

use crate::types::{AccountId, Ending, KeyId, Tokens, TokensSource};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// One JSON object a line.
    Json,
    /// Text.
    Text,
    /// Text for a terminal.
    Colour,
}

/// What stands in a line. A field that does not apply is absent.
pub(super) struct Line<'a> {
    /// Letters, digits, dots and dashes.
    pub(super) request_id: &'a [u8],
    pub(super) peer: IpAddr,
    pub(super) method: &'static str,
    pub(super) route: &'static str,
    pub(super) status: Option<u16>,
    pub(super) code: Option<&'static str>,
    pub(super) key: Option<KeyId>,
    pub(super) account: Option<AccountId>,
    pub(super) model: Option<&'a str>,
    pub(super) upstream: Option<&'a str>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) tokens: Option<(Tokens, TokensSource)>,
    pub(super) queued_ms: Option<u64>,
    pub(super) first_byte_ms: Option<u64>,
    pub(super) duration_ms: u64,
    pub(super) ending: Ending,
}

/// A point in time, as in `2027-01-31T12:00:00.000000Z`.
pub(super) type Moment = [u8; 27];

/// What stands before a value, by look.
type Name = [&'static str; 3];

const JSON: usize = Look::Json as usize;
const TEXT: usize = Look::Text as usize;
const COLOUR: usize = Look::Colour as usize;

/// The name of what is no text.
macro_rules! bare {
    ($name:literal) => {
        [
            concat!(",\"", $name, "\":"),
            concat!(" ", $name, "="),
            concat!(" \x1b[3m", $name, "\x1b[0m\x1b[2m=\x1b[0m"),
        ]
    };
}

/// The name of a text, with the quote that opens it.
macro_rules! text {
    ($name:literal) => {
        [
            concat!(",\"", $name, "\":\""),
            concat!(" ", $name, "=\""),
            concat!(" \x1b[3m", $name, "\x1b[0m\x1b[2m=\x1b[0m\""),
        ]
    };
}

const PEER: Name = [",\"peer\":\"", " peer=", " \x1b[3mpeer\x1b[0m\x1b[2m=\x1b[0m"];
const TIMESTAMP: Name = ["{\"timestamp\":\"", "", "\x1b[2m"];
const HEAD: Name = [
    "\",\"level\":\"INFO\",\"message\":\"request\"",
    "  INFO access: request",
    "\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2maccess\x1b[0m\x1b[2m:\x1b[0m request",
];
const END: Name = [",\"target\":\"access\"}\n", "\n", "\n"];

impl Line<'_> {
    /// Writes it behind what is there.
    pub(super) fn write(&self, look: Look, timestamp: &Moment, to: &mut Vec<u8>) {
        match look {
            Look::Json => self.write_as(timestamp, &mut Ink::<JSON>(to)),
            Look::Text => self.write_as(timestamp, &mut Ink::<TEXT>(to)),
            Look::Colour => self.write_as(timestamp, &mut Ink::<COLOUR>(to)),
        }
    }

    fn write_as<const LOOK: usize>(&self, timestamp: &Moment, ink: &mut Ink<'_, LOOK>) {
        ink.fixed(&TIMESTAMP);
        ink.0.extend_from_slice(timestamp);
        ink.fixed(&HEAD);
        ink.word(&text!("request_id"), self.request_id);
        ink.address(self.peer);
        ink.word(&text!("method"), self.method.as_bytes());
        ink.word(&text!("route"), self.route.as_bytes());
        ink.number(&bare!("status"), self.status.map(u64::from));
        if let Some(code) = self.code {
            ink.word(&text!("code"), code.as_bytes());
        }
        self.write_who(ink);
        ink.number(&bare!("bytes_in"), Some(self.bytes_in));
        ink.number(&bare!("bytes_out"), Some(self.bytes_out));
        if let Some((tokens, source)) = self.tokens {
            ink.number(&bare!("prompt_tokens"), Some(tokens.prompt));
            ink.number(&bare!("completion_tokens"), Some(tokens.completion));
            ink.number(&bare!("cached_tokens"), Some(tokens.cached));
            ink.word(&text!("tokens_source"), source.as_str().as_bytes());
        }
        ink.number(&bare!("queued_ms"), self.queued_ms);
        ink.number(&bare!("first_byte_ms"), self.first_byte_ms);
        ink.number(&bare!("duration_ms"), Some(self.duration_ms));
        ink.word(&text!("ending"), self.ending.as_str().as_bytes());
        ink.fixed(&END);
    }

    fn write_who<const LOOK: usize>(&self, ink: &mut Ink<'_, LOOK>) {
        if let Some(key) = self.key {
            ink.word(&text!("key"), &key.text());
        }
        if let Some(account) = self.account {
            ink.word(&text!("account"), &account.text());
        }
        if let Some(model) = self.model {
            ink.text(&text!("model"), model);
        }
        if let Some(upstream) = self.upstream {
            ink.text(&text!("upstream"), upstream);
        }
    }
}

/// Writes in one look, so that the compiler knows each of the fixed texts and their lengths.
struct Ink<'a, const LOOK: usize>(&'a mut Vec<u8>);

impl<const LOOK: usize> Ink<'_, LOOK> {
    #[inline]
    fn fixed(&mut self, name: &Name) {
        self.0.extend_from_slice(name[LOOK].as_bytes());
    }

    #[inline]
    fn number(&mut self, name: &Name, number: Option<u64>) {
        let Some(number) = number else { return };
        self.fixed(name);
        match number {
            0..10 => self.0.push(b'0' + number as u8),
            _ => self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// A word in which nothing has to be escaped.
    #[inline]
    fn word(&mut self, name: &Name, word: &[u8]) {
        self.fixed(name);
        self.0.extend_from_slice(word);
        self.0.push(b'"');
    }

    /// Anything.
    #[inline]
    fn text(&mut self, name: &Name, text: &str) {
        if is_plain(text.as_bytes()) {
            return self.word(name, text.as_bytes());
        }
        self.0.extend_from_slice(name[LOOK].trim_end_matches('"').as_bytes());
        // A vector takes everything, and a text can always be written as JSON.
        let _ = match LOOK {
            JSON => serde_json::to_writer(&mut *self.0, text).is_ok(),
            _ => write!(self.0, "{text:?}").is_ok(),
        };
    }

    fn address(&mut self, peer: IpAddr) {
        self.fixed(&PEER);
        match peer {
            IpAddr::V4(peer) => {
                for (place, part) in peer.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.0.push(b'.');
                    }
                    self.octet(part);
                }
            }
            IpAddr::V6(peer) => drop(write!(self.0, "{peer}")),
        }
        if LOOK == JSON {
            self.0.push(b'"');
        }
    }

    fn octet(&mut self, octet: u8) {
        if octet >= 100 {
            self.0.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            self.0.push(b'0' + octet / 10 % 10);
        }
        self.0.push(b'0' + octet % 10);
    }
}

/// Whether a text stands between quotes as it is, in JSON and as text.
fn is_plain(text: &[u8]) -> bool {
    let odd = |byte: u8| !(b' '..=b'~').contains(&byte) | (byte == b'"') | (byte == b'\\');
    // Without a way out in the middle, so that many bytes are looked at in one step.
    !text.iter().fold(false, |is_odd, byte| is_odd | odd(*byte))
}

#[cfg(test)]
mod tests;
