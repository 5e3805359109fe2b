//! The body of an answer, taken out of what was read: by its length, in chunks (RFC 9112, 7.1), or until the end.
//! Never: reading, what is in it.

use bytes::{Buf, Bytes, BytesMut};
use httparse::{EMPTY_HEADER, Status, parse_chunk_size, parse_headers};
use memchr::{memchr, memchr_iter};

/// The most bytes of all extensions of a body's chunks, and of its trailers.
const ASIDE_BYTES_MAX: usize = 16 << 10;
/// The longest line with a chunk's size.
const SIZE_LINE_MAX: usize = ASIDE_BYTES_MAX;
/// The most trailers.
const TRAILERS_MAX: usize = 100;
/// A chunk that is no longer is moved up to the one before it: so what came together goes on together.
const MOVED_BYTES_MAX: usize = 1 << 10;

/// The body broke off, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// What is still to come of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes, at least one.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    /// Nothing.
    Over,
}

/// Where in its chunks a body stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    next: Next,
    /// The bytes of extensions so far.
    extensions: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Size,
    /// So many bytes of a chunk, at least one.
    Data(u64),
    /// The end of line behind a chunk.
    DataEnd,
    Trailers,
    Nothing,
}

impl Body {
    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunks { next: Next::Size, extensions: 0 })
    }

    /// One of so many bytes.
    pub(super) const fn of(length: u64) -> Self {
        if length == 0 { Self::Over } else { Self::Length(length) }
    }

    /// Whether nothing of it is still to come.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// How many bytes are to come, as far as the server said.
    pub(super) const fn length(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Over => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// What of it is in `read`, if anything is. What does not belong to it stays there.
    ///
    /// # Errors
    /// [`Broken`].
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Broken> {
        match self {
            Self::Over => Ok(None),
            _ if read.is_empty() => Ok(None),
            Self::UntilClose => Ok(Some(read.split().freeze())),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *self = Self::of(*left - count as u64);
                Ok(Some(read.split_to(count).freeze()))
            }
            Self::Chunked(chunks) => {
                let taken = chunks.take(read)?;
                if chunks.next == Next::Nothing {
                    *self = Self::Over;
                }
                Ok(taken)
            }
        }
    }
}

impl Chunks {
    /// Goes through what was read as far as it makes sense. Before it is said that it does not, what came before is given
    /// out.
    fn take(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Broken> {
        let (mut from, mut to, mut at) = (0, 0, 0);
        loop {
            let Next::Data(left) = self.next else {
                match self.step(&read[at..]) {
                    Ok(0) => break,
                    Ok(passed) => at += passed,
                    Err(_) if to > from => break,
                    Err(broken) => return Err(broken),
                }
                continue;
            };
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(read.len() - at);
            if count == 0 {
                break;
            }
            if to == from {
                (from, to) = (at, at + count);
            } else if count <= MOVED_BYTES_MAX {
                read.copy_within(at..at + count, to);
                to += count;
            } else {
                break;
            }
            at += count;
            let left = left - count as u64;
            self.next = if left == 0 { Next::DataEnd } else { Next::Data(left) };
        }
        if to == from {
            read.advance(at);
            return Ok(None);
        }
        read.advance(from);
        let data = read.split_to(to - from).freeze();
        read.advance(at - to);
        Ok(Some(data))
    }

    /// Goes over what is no data; says how far, which is nowhere when more must come first.
    fn step(&mut self, read: &[u8]) -> Result<usize, Broken> {
        match self.next {
            Next::Data(_) | Next::Nothing => Ok(0),
            Next::Size => self.size(read),
            Next::DataEnd => match read {
                [b'\r', b'\n', ..] => {
                    self.next = Next::Size;
                    Ok(2)
                }
                [] | [b'\r'] => Ok(0),
                _ => Err(Broken),
            },
            Next::Trailers => {
                let passed = trailers(read)?;
                if passed > 0 {
                    self.next = Next::Nothing;
                }
                Ok(passed)
            }
        }
    }

    fn size(&mut self, read: &[u8]) -> Result<usize, Broken> {
        match read.first() {
            None => return Ok(0),
            Some(first) if !first.is_ascii_hexdigit() => return Err(Broken),
            Some(_) => {}
        }
        let Some(end) = memchr(b'\n', &read[..read.len().min(SIZE_LINE_MAX)]) else {
            return if read.len() < SIZE_LINE_MAX { Ok(0) } else { Err(Broken) };
        };
        let line = &read[..=end];
        let Ok(Status::Complete((passed, size))) = parse_chunk_size(line) else { return Err(Broken) };
        // Mostly there are none, and the line is shorter than any clever search is worth.
        self.extensions += line.iter().position(|byte| *byte == b';').map_or(0, |at| line.len() - at);
        if passed != line.len() || self.extensions >= ASIDE_BYTES_MAX {
            return Err(Broken);
        }
        self.next = if size == 0 { Next::Trailers } else { Next::Data(size) };
        Ok(passed)
    }
}

/// The length of the trailers with the empty line behind them; nothing while that has not come.
fn trailers(read: &[u8]) -> Result<usize, Broken> {
    if read.starts_with(b"\r\n") {
        return Ok(2);
    }
    let read = &read[..read.len().min(ASIDE_BYTES_MAX)];
    let is_bare = |at: usize| at == 0 || read[at - 1] != b'\r';
    let mut headers = [EMPTY_HEADER; TRAILERS_MAX];
    match parse_headers(read, &mut headers) {
        Ok(Status::Complete((passed, _))) => {
            // What comes behind them is not theirs.
            if memchr_iter(b'\n', &read[..passed]).any(is_bare) { Err(Broken) } else { Ok(passed) }
        }
        Ok(Status::Partial) if read.len() < ASIDE_BYTES_MAX => Ok(0),
        Ok(Status::Partial) | Err(_) => Err(Broken),
    }
}
