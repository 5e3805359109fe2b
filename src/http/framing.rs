//! Watches the raw bytes of an HTTP/1.1 connection for what the parser behind it lets through: bare line feeds,
//! Content-Length beside Transfer-Encoding, requests sent before the last one was answered. Never: changes a byte.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;

/// What is wrong with a request's framing, so that another parser could read it differently (RFC 9112, 6.3 and 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FramingFault {
    BareLineFeed,
    LengthAndEncoding,
    TwoLengths,
    Encoding,
    Whitespace,
    /// It came before the last answer was over, so nobody looked at its head.
    TooEarly,
    /// URL parsers drop what follows a `#`; paths are matched as they come.
    Fragment,
}

impl FramingFault {
    /// Its words for the caller.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::BareLineFeed => "a line of its head ends without a carriage return",
            Self::LengthAndEncoding => "it has both Content-Length and Transfer-Encoding",
            Self::TwoLengths => "it has more than one Content-Length or Transfer-Encoding",
            Self::Encoding => "its Transfer-Encoding is something other than chunked",
            Self::Whitespace => "a header has a space before its colon, or goes on in the next line",
            Self::Fragment => "its target has a fragment",
            Self::TooEarly => "it was sent before the last answer was over",
        }
    }
}

/// What a request's head says of the body after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyLength {
    Bytes(u64),
    /// Ends where its chunks say; whatever follows it is not looked at, so the connection must not be used again.
    Chunked,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In the head: its bytes so far, and how many of them are empty lines before it.
    Head { bytes: Vec<u8>, blank: usize },
    /// After the head: bytes of the body still to come.
    Body(BodyLength),
}

impl State {
    const NOTHING: Self = Self::Head { bytes: Vec::new(), blank: 0 };
}

/// Follows one connection through its requests.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    head_bytes_max: usize,
    /// What was found of the last head, until its request takes it.
    judgement: Option<Option<FramingFault>>,
    /// The last request was answered, so what comes after its body is a new head.
    answered: bool,
    /// More came than one request, or it can't be told.
    must_close: bool,
}

impl Framing {
    /// Heads longer than `head_bytes_max` are not kept; the parser refuses them.
    pub(super) fn new(head_bytes_max: usize) -> Self {
        Self { state: State::NOTHING, head_bytes_max, judgement: None, answered: false, must_close: false }
    }

    /// Takes bytes that were read, in order. Once the connection must close they are not looked at any more: a request that
    /// begins nevertheless came too early.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.must_close {
            bytes = match &mut self.state {
                State::Head { .. } => self.read_head(bytes),
                State::Body(BodyLength::Chunked) => return,
                State::Body(BodyLength::Bytes(left)) => {
                    let body = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= body as u64;
                    if body < bytes.len() && !self.answered {
                        self.must_close = true;
                        return;
                    }
                    if body < bytes.len() {
                        self.state = State::NOTHING;
                    }
                    &bytes[body..]
                }
            };
        }
    }

    /// Whether some of a head has come, but not all of it.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(&self.state, State::Head { bytes, .. } if !bytes.is_empty())
    }

    /// Whether a body has not come whole, as far as can be told.
    pub(super) fn is_in_body(&self) -> bool {
        !matches!(&self.state, State::Head { .. } | State::Body(BodyLength::Bytes(0)))
    }

    /// Whether a whole request has come, and nothing after it.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.state, State::Body(BodyLength::Bytes(0)))
    }

    /// Whether bytes of a head have come that no request has taken.
    pub(super) fn is_unclaimed(&self) -> bool {
        self.judgement.is_some() || self.must_close || self.is_in_head()
    }

    /// Whether every byte so far belongs to a request that was answered, and whatever comes now is a new one.
    pub(super) fn is_between_requests(&self) -> bool {
        self.answered && !self.is_unclaimed() && !self.is_in_body()
    }

    /// A request begins: what is wrong with its head. One whose head nobody has seen came too early.
    pub(super) fn take_judgement(&mut self) -> Option<FramingFault> {
        self.answered = false;
        let fault = self.judgement.take().unwrap_or(Some(FramingFault::TooEarly));
        self.must_close |= fault.is_some();
        fault
    }

    /// The body of the request under way has come whole, which only its reader can tell of chunks.
    pub(super) fn body_done(&mut self) {
        if self.state == State::Body(BodyLength::Chunked) {
            self.state = State::Body(BodyLength::Bytes(0));
        }
    }

    /// Bytes were read that nobody gets: where the next request begins can't be told any more.
    pub(super) fn lost(&mut self) {
        self.must_close = true;
    }

    /// The last request was answered.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    pub(super) fn must_close(&self) -> bool {
        self.must_close
    }

    /// Takes bytes of a head; gives back those after it.
    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let State::Head { bytes: head, blank } = &mut self.state else { return bytes };
        let before = head.len();
        // A head that comes in one piece is looked at where it lies.
        if before == 0
            && let Some(judged) = judge(bytes)
        {
            self.take(&judged);
            return &bytes[judged.end..];
        }
        head.extend_from_slice(bytes);
        if *blank == before {
            *blank += count_blank(bytes);
        }
        let judged = if may_end(head, before.max(*blank)) { judge(head) } else { None };
        let Some(judged) = judged else {
            if head.len() > self.head_bytes_max {
                self.must_close = true;
                self.state = State::NOTHING;
            }
            return &[];
        };
        self.take(&judged);
        &bytes[judged.end - before..]
    }

    fn take(&mut self, judged: &Judged) {
        self.judgement = Some(judged.fault);
        // What comes behind it in the same breath comes before its answer.
        self.answered = false;
        self.must_close |= judged.fault.is_some() || judged.is_tunnel || judged.length == BodyLength::Chunked;
        self.state = State::Body(judged.length);
    }
}

/// What was found of a head.
struct Judged {
    /// Just after its empty line.
    end: usize,
    length: BodyLength,
    fault: Option<FramingFault>,
    /// It asks for a tunnel. There is none, but what comes next may be meant for it (RFC 9110, 9.3.6), as whoever stands in
    /// between may believe: it is no request of this connection's.
    is_tunnel: bool,
}

/// What a head says of its body, header by header.
#[derive(Default)]
struct Said<'a> {
    /// The last one, and how many there are.
    length: (&'a [u8], usize),
    encoding: (&'a [u8], usize),
}

/// How many of the bytes are empty lines before a head: they belong to none (RFC 9112, 2.2).
fn count_blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// Whether an empty line is among the last bytes, those from `from` on: only then a head has ended with them, so that it
/// is judged once.
fn may_end(head: &[u8], from: usize) -> bool {
    let is_end = |at: usize| matches!(head[..at], [.., b'\n'] | [.., b'\n', b'\r']);
    memchr::memchr_iter(b'\n', &head[from..]).any(|at| is_end(from + at))
}

/// Judges the head that `bytes` begin with; none while its empty line has not come.
fn judge(bytes: &[u8]) -> Option<Judged> {
    let (mut said, mut fault, mut in_headers, mut is_tunnel) = (Said::default(), None, false, false);
    let blank = count_blank(bytes);
    let mut start = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        let whole = &bytes[start..at];
        start = at + 1;
        let line = whole.strip_suffix(b"\r");
        if line.is_none() {
            fault = fault.or(Some(FramingFault::BareLineFeed));
        }
        if line.unwrap_or(whole).is_empty() && at >= blank {
            let (length, wrong) = said.body_length();
            return Some(Judged { end: start, length, fault: fault.or(wrong), is_tunnel });
        }
        let Some(line) = line.filter(|line| !line.is_empty()) else { continue };
        if !std::mem::replace(&mut in_headers, true) {
            fault = fault.or(memchr::memchr(b'#', line).map(|_| FramingFault::Fragment));
            is_tunnel = line.starts_with(b"CONNECT ");
            continue;
        }
        match name_of(line) {
            Some(name) => said.take(name, line),
            None => fault = fault.or(Some(FramingFault::Whitespace)),
        }
    }
    None
}

/// The name of a header, right before its colon; none when it is empty, or when there is white space in it.
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().position(|byte| *byte == b':' || byte.is_ascii_whitespace())?;
    (end > 0 && line[end] == b':').then(|| &line[..end])
}

impl<'a> Said<'a> {
    fn take(&mut self, name: &[u8], line: &'a [u8]) {
        let value = || line[name.len() + 1..].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.length = (value(), self.length.1 + 1);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encoding = (value(), self.encoding.1 + 1);
        }
    }

    fn body_length(&self) -> (BodyLength, Option<FramingFault>) {
        match (self.length, self.encoding) {
            ((_, 0), (_, 0)) => (BodyLength::Bytes(0), None),
            ((length, 1), (_, 0)) => {
                let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
                // The parser refuses what is no number.
                (BodyLength::Bytes(length.unwrap_or(0)), None)
            }
            ((_, 0), (encoding, 1)) if encoding.eq_ignore_ascii_case(b"chunked") => {
                (BodyLength::Chunked, None)
            }
            ((_, 0), (_, 1)) => (BodyLength::Chunked, Some(FramingFault::Encoding)),
            ((_, 1..), (_, 1..)) => (BodyLength::Chunked, Some(FramingFault::LengthAndEncoding)),
            _ => (BodyLength::Chunked, Some(FramingFault::TwoLengths)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After one head, however its bytes are split.
    fn after(bytes: &[u8]) -> (Option<FramingFault>, bool) {
        let mut whole = Framing::new(1000);
        whole.read(bytes);
        let mut single = Framing::new(1000);
        bytes.iter().for_each(|byte| single.read(&[*byte]));
        let outcome = (whole.take_judgement(), whole.must_close());
        assert_eq!(outcome, (single.take_judgement(), single.must_close()), "splits must not matter");
        outcome
    }

    #[test]
    fn ordinary_requests_are_let_be() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:3\r\n\r\nab",
        ] {
            assert_eq!(after(text.as_bytes()), (None, false), "{text:?}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_a_fault() {
        for (text, fault) in [
            ("GET / HTTP/1.1\nHost: a\n\n", FramingFault::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", FramingFault::BareLineFeed),
            (
                "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                FramingFault::LengthAndEncoding,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                FramingFault::LengthAndEncoding,
            ),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", FramingFault::TwoLengths),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", FramingFault::Encoding),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", FramingFault::Encoding),
            ("GET /healthz#x HTTP/1.1\r\nHost: a\r\n\r\n", FramingFault::Fragment),
            ("POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", FramingFault::Whitespace),
            ("POST / HTTP/1.1\r\nX: a\r\n Content-Length: 3\r\n\r\n", FramingFault::Whitespace),
        ] {
            assert_eq!(after(text.as_bytes()), (Some(fault), true), "{text:?}");
        }
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn each_request_after_an_answer_is_judged_anew() {
        let mut framing = Framing::new(1000);
        for _ in 0..3 {
            framing.read(GET);
            assert_eq!(framing.take_judgement(), None);
            framing.answered();
        }
        framing.read(b"GET / HTTP/1.1\n\n");
        assert_eq!(framing.take_judgement(), Some(FramingFault::BareLineFeed));
    }

    #[test]
    fn bug_a_good_head_right_behind_a_bad_one_does_not_hide_it() {
        for bad in ["GET / HTTP/1.1\nHost: a\r\n\r\n", "GET /healthz#x HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut framing = Framing::new(1000);
            framing.read(GET);
            assert_eq!(framing.take_judgement(), None);
            framing.answered();
            framing.read(&[bad.as_bytes(), GET].concat());
            assert!(framing.must_close());
            assert!(framing.take_judgement().is_some(), "{bad:?}");
        }
    }

    #[test]
    fn bug_what_follows_a_tunnel_that_was_refused_is_no_request() {
        for (method, is_tunnel) in
            [("CONNECT", true), ("connect", false), ("CONNECTED", false), ("GET", false)]
        {
            let mut framing = Framing::new(1000);
            framing.read(format!("{method} /v1/models HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            assert_eq!((framing.take_judgement(), framing.must_close()), (None, is_tunnel), "{method}");
            framing.answered();
            framing.read(GET);
            assert_eq!(framing.take_judgement().is_some(), is_tunnel, "{method}");
        }
    }

    #[test]
    fn a_request_before_the_answer_is_never_let_through_unjudged() {
        let mut framing = Framing::new(1000);
        framing.read(&GET.repeat(2));
        assert_eq!(framing.take_judgement(), None);
        assert!(framing.must_close());
        framing.answered();
        assert_eq!(framing.take_judgement(), Some(FramingFault::TooEarly));
    }

    #[test]
    fn the_rest_of_a_refused_body_is_not_taken_for_a_head() {
        let mut framing = Framing::new(1000);
        framing.read(b"POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\nabc");
        assert_eq!(framing.take_judgement(), None);
        assert!(framing.is_in_body());
        framing.answered();
        framing.read(b"GET / HTTP/1.1\r\n\r\n123456789GET / HTTP/1.1\n\n");
        assert_eq!(framing.take_judgement(), Some(FramingFault::BareLineFeed));
    }

    #[test]
    fn an_endless_head_is_not_kept() {
        let mut framing = Framing::new(100);
        for _ in 0..1000 {
            framing.read(b"X-Header: value\r\n");
        }
        let State::Head { bytes, .. } = &framing.state else { panic!("{framing:?}") };
        assert!(framing.must_close() && bytes.len() <= 100 + 17);
    }

    #[test]
    fn empty_lines_before_a_head_are_looked_at_once() {
        let mut framing = Framing::new(1000);
        for count in 1..=100 {
            framing.read(b"\r\n");
            let State::Head { bytes, blank } = &framing.state else { panic!("{framing:?}") };
            assert_eq!((*blank, bytes.len()), (2 * count, 2 * count));
            assert!(!may_end(bytes, *blank), "judged for nothing after {count}");
        }
        framing.read(b"GET / HTTP/1.1\r\n");
        framing.read(b"Host: a\r\n");
        assert!(matches!(&framing.state, State::Head { blank: 200, .. }), "{framing:?}");
        framing.read(b"\r\n");
        assert_eq!((framing.take_judgement(), framing.is_whole()), (None, true));
    }

    #[test]
    fn nothing_is_judged_behind_lost_bytes() {
        let mut framing = Framing::new(1000);
        framing.read(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!((framing.take_judgement(), framing.is_whole()), (None, false));
        framing.body_done();
        assert!(framing.is_whole());
        for chunked in [true, false] {
            let mut framing = Framing::new(1000);
            framing.read(GET);
            assert_eq!(framing.take_judgement(), None);
            framing.answered();
            framing.lost();
            framing.read(if chunked { b"0\r\n\r\n" } else { GET });
            assert_eq!(
                (framing.take_judgement(), framing.must_close()),
                (Some(FramingFault::TooEarly), true)
            );
        }
    }
}
