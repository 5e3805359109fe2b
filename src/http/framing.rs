//! Watches the raw bytes of an HTTP/1.1 connection for what the parser behind it lets through: bare line feeds,
//! Content-Length beside Transfer-Encoding, requests sent before the last one was answered. Never: changes a byte.

/// What is wrong with a request's framing, so that another parser could read it differently (RFC 9112, 6.3 and 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FramingFault {
    BareLineFeed,
    LengthAndEncoding,
    TwoLengths,
    Encoding,
    Whitespace,
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

#[derive(Debug)]
enum State {
    /// In the head: its bytes so far.
    Head(Vec<u8>),
    /// After the head: bytes of the body still to come.
    Body(BodyLength),
}

/// Follows one connection through its requests.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    head_bytes_max: usize,
    fault: Option<FramingFault>,
    /// More came than one request, or it can't be told.
    must_close: bool,
}

impl Framing {
    /// Heads longer than `head_bytes_max` are not kept; the parser refuses them.
    pub(super) fn new(head_bytes_max: usize) -> Self {
        Self { state: State::Head(Vec::new()), head_bytes_max, fault: None, must_close: false }
    }

    /// Takes bytes that were read, in order.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Head(head) => {
                    let from = head.len().saturating_sub(3);
                    head.extend_from_slice(bytes);
                    let Some(end) = end_of_head(head, from) else {
                        self.must_close |= head.len() > self.head_bytes_max;
                        if self.must_close {
                            head.clear();
                        }
                        return;
                    };
                    let after = head.len() - end;
                    let (length, fault) = judge(&head[..end]);
                    self.fault = self.fault.or(fault);
                    self.must_close |= fault.is_some() || length == BodyLength::Chunked;
                    bytes = &bytes[bytes.len() - after..];
                    self.state = State::Body(length);
                }
                State::Body(BodyLength::Bytes(left)) => {
                    let body = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= body as u64;
                    self.must_close |= body < bytes.len();
                    return;
                }
                State::Body(BodyLength::Chunked) => return,
            }
        }
    }

    /// Whether some of a head has come, but not all of it.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(&self.state, State::Head(head) if !head.is_empty())
    }

    /// The last request was answered: the next bytes are a new head.
    pub(super) fn answered(&mut self) {
        if matches!(self.state, State::Body(BodyLength::Bytes(0))) {
            self.state = State::Head(Vec::new());
        }
    }

    pub(super) fn fault(&self) -> Option<FramingFault> {
        self.fault
    }

    pub(super) fn must_close(&self) -> bool {
        self.must_close
    }
}

/// Just after the empty line; leading empty lines belong to no head (RFC 9112, 2.2).
fn end_of_head(head: &[u8], from: usize) -> Option<usize> {
    let blank = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    memchr::memchr_iter(b'\n', &head[from.max(blank).min(head.len())..])
        .map(|at| at + from.max(blank))
        .find(|&at| matches!(head[..at], [.., b'\n'] | [.., b'\n', b'\r']))
        .map(|at| at + 1)
}

fn judge(head: &[u8]) -> (BodyLength, Option<FramingFault>) {
    let (mut lengths, mut encodings) = (Vec::new(), Vec::new());
    let (mut fault, mut in_headers) = (None, false);
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            fault = fault.or(Some(FramingFault::BareLineFeed));
            continue;
        };
        if line.is_empty() || !std::mem::replace(&mut in_headers, true) {
            continue;
        }
        let (name, value) = split_header(line);
        if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace()) {
            fault = fault.or(Some(FramingFault::Whitespace));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths.push(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encodings.push(value);
        }
    }
    let (length, wrong) = body_length(&lengths, &encodings);
    (length, fault.or(wrong))
}

fn split_header(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        Some(colon) => (&line[..colon], line[colon + 1..].trim_ascii()),
        None => (b"", b""),
    }
}

fn body_length(lengths: &[&[u8]], encodings: &[&[u8]]) -> (BodyLength, Option<FramingFault>) {
    match (lengths, encodings) {
        ([], []) => (BodyLength::Bytes(0), None),
        ([length], []) => {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            // The parser refuses what is no number.
            (BodyLength::Bytes(length.unwrap_or(0)), None)
        }
        ([], [encoding]) if encoding.eq_ignore_ascii_case(b"chunked") => (BodyLength::Chunked, None),
        ([], [_]) => (BodyLength::Chunked, Some(FramingFault::Encoding)),
        ([_, ..], [_, ..]) => (BodyLength::Chunked, Some(FramingFault::LengthAndEncoding)),
        _ => (BodyLength::Chunked, Some(FramingFault::TwoLengths)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8]) -> Framing {
        let mut whole = Framing::new(1000);
        whole.read(bytes);
        let mut single = Framing::new(1000);
        bytes.iter().for_each(|byte| single.read(&[*byte]));
        assert_eq!(
            (whole.fault, whole.must_close),
            (single.fault, single.must_close),
            "splits must not matter"
        );
        whole
    }

    #[test]
    fn ordinary_requests_are_let_be() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:3\r\n\r\nab",
        ] {
            let framing = after(text.as_bytes());
            assert_eq!((framing.fault(), framing.must_close()), (None, false), "{text:?}");
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
            ("POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", FramingFault::Whitespace),
            ("POST / HTTP/1.1\r\nX: a\r\n Content-Length: 3\r\n\r\n", FramingFault::Whitespace),
        ] {
            assert_eq!(after(text.as_bytes()).fault(), Some(fault), "{text:?}");
        }
    }

    #[test]
    fn a_second_request_before_the_answer_closes_the_connection() {
        let one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(after(&one.repeat(2)).must_close());
        let mut framing = after(one);
        framing.answered();
        framing.read(one);
        assert!(!framing.must_close());
    }

    #[test]
    fn a_body_that_has_not_come_whole_belongs_to_the_last_request() {
        let mut framing = after(b"POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\nabc");
        framing.answered();
        framing.read(b"GET / HTTP/1.1\n\n");
        assert_eq!(framing.fault(), None);
        assert!(!framing.is_in_head());
    }

    #[test]
    fn an_endless_head_is_not_kept() {
        let mut framing = Framing::new(100);
        for _ in 0..1000 {
            framing.read(b"X-Header: value\r\n");
        }
        assert!(framing.must_close() && !framing.is_in_head());
    }
}
