//! The head of a model server's answer: where it ends, what it says, how its body is framed (RFC 9112, 6). Never: which
//! headers go back, what they mean.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use httparse::{Header, ParserConfig, Response, Status};
use memchr::memchr_iter;

use super::framing::Body;

/// The longest head, with the interim ones that come before it.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// The most headers.
const HEADERS_MAX: usize = 100;
/// A head that comes in parts is read anew with each of them up to this length; a longer one when its end is there.
const REREAD_BYTES_MAX: usize = 2 << 10;

/// It is no head, or one that nobody should believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid;

/// The head of the answer that was read last.
#[derive(Default)]
pub(super) struct Head {
    status: StatusCode,
    bytes: Bytes,
    /// Kept from answer to answer.
    lines: Vec<Line>,
    /// Which line is the first `Content-Type`.
    content_type: Option<usize>,
    has_encoding: bool,
    /// The bytes of interim heads before it.
    interim: usize,
    /// How much was looked at without finding its end.
    seen: usize,
}

/// Where a header stands in the head.
struct Line {
    name: (usize, usize),
    value: (usize, usize),
}

/// What follows a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) body: Body,
    /// The connection may be used again after it.
    pub(super) stays_open: bool,
}

impl Head {
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// Every header: its name as it was written, its value.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let of = |(from, to): (usize, usize)| &self.bytes[from..to];
        self.lines.iter().map(move |line| (of(line.name), of(line.value)))
    }

    /// The values of one header.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers().filter(|(known, _)| is(known, name.as_bytes())).map(|(_, value)| value)
    }

    /// The value of its first `Content-Type`.
    pub(super) fn content_type(&self) -> Option<&[u8]> {
        let line = self.lines.get(self.content_type?)?;
        Some(&self.bytes[line.value.0..line.value.1])
    }

    /// Whether it has any `Content-Encoding`.
    pub(super) const fn has_encoding(&self) -> bool {
        self.has_encoding
    }

    /// One of the values, to be kept.
    pub(super) fn share(&self, value: &[u8]) -> Bytes {
        self.bytes.slice_ref(value)
    }

    /// Forgets it, and so lets go of the bytes it stood in.
    pub(super) fn clear(&mut self) {
        self.bytes = Bytes::new();
        self.lines.clear();
        (self.interim, self.seen) = (0, 0);
    }

    /// Takes the head out of what was read; none when its end has not come. Interim answers are passed over.
    ///
    /// # Errors
    /// [`Invalid`].
    pub(super) fn read(&mut self, read: &mut BytesMut) -> Result<Option<Framing>, Invalid> {
        while !read.is_empty() {
            let Some((length, framing)) = self.parse(read)? else { break };
            if let Some(framing) = framing {
                self.bytes = read.split_to(length).freeze();
                return Ok(Some(framing));
            }
            read.advance(length);
            self.interim += length;
            self.seen = 0;
        }
        if self.interim + read.len() >= HEAD_BYTES_MAX { Err(Invalid) } else { Ok(None) }
    }

    /// Whether what was read is no beginning of a head either.
    pub(super) fn is_hopeless(&mut self, read: &[u8]) -> bool {
        self.seen = 0;
        !read.is_empty() && self.parse(read).is_err()
    }

    /// The length of the first head, and what follows it if it is the answer's; none while its end has not come.
    fn parse(&mut self, read: &[u8]) -> Result<Option<(usize, Option<Framing>)>, Invalid> {
        if self.seen >= REREAD_BYTES_MAX && !has_end(read, self.seen) {
            self.seen = read.len();
            return Ok(None);
        }
        let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
        let mut answer = Response::new(&mut []);
        let parsed =
            ParserConfig::default().parse_response_with_uninit_headers(&mut answer, read, &mut headers);
        let Status::Complete(length) = parsed.map_err(|_| Invalid)? else {
            self.seen = read.len();
            return Ok(None);
        };
        self.status = StatusCode::from_u16(answer.code.ok_or(Invalid)?).map_err(|_| Invalid)?;
        if self.interim + length > HEAD_BYTES_MAX {
            return Err(Invalid);
        }
        if self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some((length, None)));
        }
        let base = read.as_ptr().addr();
        let place = |text: &[u8]| {
            let from = text.as_ptr().addr() - base;
            (from, from + text.len())
        };
        self.lines.clear();
        (self.content_type, self.has_encoding) = (None, false);
        for (number, header) in answer.headers.iter().enumerate() {
            match header.name.len() {
                12 if is(header.name.as_bytes(), b"content-type") => {
                    self.content_type.get_or_insert(number);
                }
                16 => self.has_encoding |= is(header.name.as_bytes(), b"content-encoding"),
                _ => {}
            }
            self.lines.push(Line { name: place(header.name.as_bytes()), value: place(header.value) });
        }
        let is_new = answer.version == Some(1);
        Ok(Some((length, Some(Framing::of(self.status, is_new, answer.headers)?))))
    }
}

/// Whether a head ends in what was read after the first `seen` bytes.
fn has_end(read: &[u8], seen: usize) -> bool {
    // What was seen may end within the last line end and the empty line.
    let rest = read.get(seen.saturating_sub(3)..).unwrap_or_default();
    memchr_iter(b'\n', rest).any(|at| {
        let next = rest.get(at + 1..).unwrap_or_default();
        next.starts_with(b"\n") || next.starts_with(b"\r\n")
    })
}

impl Framing {
    /// What the headers of an answer of HTTP/1.1 (`is_new`) or 1.0 say.
    fn of(status: StatusCode, is_new: bool, headers: &[Header<'_>]) -> Result<Self, Invalid> {
        let mut stays_open = is_new && status != StatusCode::SWITCHING_PROTOCOLS;
        let (mut length, mut is_chunked) = (None, false);
        for header in headers {
            match header.name.len() {
                10 if is(header.name.as_bytes(), b"connection") => stays_open &= !lists_close(header.value),
                14 if is(header.name.as_bytes(), b"content-length") => {
                    let stated = length_of(header.value)?;
                    if length.is_some_and(|known| known != stated) {
                        return Err(Invalid);
                    }
                    length = Some(stated);
                }
                // Nothing else was asked for (RFC 9112, 7.4); twice would be something else, too.
                17 if is(header.name.as_bytes(), b"transfer-encoding") => {
                    if is_chunked || !is_new || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                        return Err(Invalid);
                    }
                    is_chunked = true;
                }
                _ => {}
            }
        }
        let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // Whether the server sends what it announces there, nobody knows.
        stays_open &= !(has_none && (is_chunked || length.is_some_and(|length| length > 0)));
        let body = match (status, is_chunked, length) {
            _ if has_none => Body::Over,
            (StatusCode::SWITCHING_PROTOCOLS, _, _) => Body::Over,
            // Where one says this and the other that, two readers see two answers.
            (_, true, Some(_)) => return Err(Invalid),
            (_, true, None) => Body::chunked(),
            (_, false, Some(length)) => Body::of(length),
            (_, false, None) => Body::UntilClose,
        };
        Ok(Self { stays_open: stays_open && body != Body::UntilClose, body })
    }
}

/// Whether the name of a header that was read is this, however its letters are written: `known` has small ones and dashes.
#[inline]
pub(super) fn is(name: &[u8], known: &[u8]) -> bool {
    // Without a way out in the middle, so that many bytes are compared in one step. Of the bytes that are in names only
    // a capital becomes a small letter by this bit, and no other byte becomes a dash.
    let differs = |(byte, known): (&u8, &u8)| (byte | 0x20) ^ known;
    name.len() == known.len() && name.iter().zip(known).map(differs).fold(0, |all, one| all | one) == 0
}

/// Whether `close` is one of the words of a list.
fn lists_close(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// A length; several that are the same are one.
fn length_of(value: &[u8]) -> Result<u64, Invalid> {
    let mut words = value.split(|byte| *byte == b',').map(|word| number(word.trim_ascii()));
    let first: u64 = words.next().flatten().ok_or(Invalid)?;
    if words.all(|word| word == Some(first)) { Ok(first) } else { Err(Invalid) }
}

/// A number in digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}
