//! Reads an answer as it arrives: its head, then its body in either framing. It keeps no body.

use crate::Failure;

const HEADERS_MAX: usize = 64;

/// An answer that has arrived whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Bytes of the body, without its framing.
    pub(crate) length: usize,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
}

enum Stage {
    Head,
    Length(usize),
    /// In the line with a chunk's size; the size so far.
    Size(usize),
    Chunk(usize),
    /// Behind a chunk's bytes, up to the end of that line.
    ChunkEnd,
    /// In the lines behind the last chunk; the bytes of the current one.
    Trailer(usize),
}

/// The reader of one connection's answers, one after the other.
pub(crate) struct Reader {
    stage: Stage,
    /// The part of a head that has come so far.
    head: Vec<u8>,
    answer: Answer,
}

impl Reader {
    pub(crate) fn new() -> Self {
        let answer = Answer { status: 0, length: 0, closes: false };
        Self { stage: Stage::Head, head: Vec::new(), answer }
    }

    /// Whether no byte of an answer has come.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Head) && self.head.is_empty()
    }

    /// Takes what has arrived and hands the bytes of the body on. Says the answer when it is whole.
    ///
    /// # Errors
    /// What is no answer, or more than one.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<Option<Answer>, Failure> {
        while !bytes.is_empty() {
            let (rest, is_whole) = self.step(bytes, &mut body)?;
            bytes = rest;
            if is_whole {
                self.stage = Stage::Head;
                return if bytes.is_empty() {
                    Ok(Some(self.answer))
                } else {
                    Err("bytes behind an answer".into())
                };
            }
        }
        Ok(None)
    }

    fn step<'a>(
        &mut self,
        bytes: &'a [u8],
        body: &mut impl FnMut(&[u8]),
    ) -> Result<(&'a [u8], bool), Failure> {
        match self.stage {
            Stage::Head => self.head(bytes),
            Stage::Length(left) => {
                let rest = self.data(bytes, left, body);
                let left = left - (bytes.len() - rest.len());
                self.stage = Stage::Length(left);
                Ok((rest, left == 0))
            }
            Stage::Size(size) => self.size(bytes, size),
            Stage::Chunk(left) => {
                let rest = self.data(bytes, left, body);
                let left = left - (bytes.len() - rest.len());
                self.stage = if left == 0 { Stage::ChunkEnd } else { Stage::Chunk(left) };
                Ok((rest, false))
            }
            Stage::ChunkEnd => {
                if bytes[0] == b'\n' {
                    self.stage = Stage::Size(0);
                }
                Ok((&bytes[1..], false))
            }
            Stage::Trailer(count) => {
                let is_end = bytes[0] == b'\n' && count == 0;
                let more = if bytes[0] == b'\n' { 0 } else { count + usize::from(bytes[0] != b'\r') };
                self.stage = Stage::Trailer(more);
                Ok((&bytes[1..], is_end))
            }
        }
    }

    fn data<'a>(&mut self, bytes: &'a [u8], left: usize, body: &mut impl FnMut(&[u8])) -> &'a [u8] {
        let (now, rest) = bytes.split_at(left.min(bytes.len()));
        body(now);
        self.answer.length += now.len();
        rest
    }

    fn size<'a>(&mut self, bytes: &'a [u8], size: usize) -> Result<(&'a [u8], bool), Failure> {
        let byte = bytes[0];
        self.stage = match (char::from(byte).to_digit(16), byte) {
            (Some(digit), _) => Stage::Size(size * 16 + digit as usize),
            (None, b'\r') => Stage::Size(size),
            (None, b'\n') if size == 0 => Stage::Trailer(0),
            (None, b'\n') => Stage::Chunk(size),
            (None, _) => return Err("a chunk without a size".into()),
        };
        Ok((&bytes[1..], false))
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<(&'a [u8], bool), Failure> {
        let before = self.head.len();
        let (end, answer, stage) = if before == 0 {
            match parse(bytes)? {
                Some(parsed) => parsed,
                None => {
                    self.head.extend_from_slice(bytes);
                    return Ok((&[], false));
                }
            }
        } else {
            self.head.extend_from_slice(bytes);
            match parse(&self.head)? {
                Some(parsed) => parsed,
                None => return Ok((&[], false)),
            }
        };
        self.head.clear();
        self.answer = answer;
        let is_whole = matches!(stage, Stage::Length(0));
        self.stage = stage;
        Ok((&bytes[end - before..], is_whole))
    }
}

/// A whole head: where it ends, what it says, and what comes behind it.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Answer, Stage)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = response.parse(bytes)? else { return Ok(None) };
    let mut stage = None;
    let mut closes = false;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            stage = Some(Stage::Length(std::str::from_utf8(header.value)?.trim().parse()?));
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            stage = Some(Stage::Size(0));
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let answer = Answer { status: response.code.unwrap_or(0), length: 0, closes };
    Ok(Some((end, answer, stage.ok_or("an answer without a length")?)))
}
