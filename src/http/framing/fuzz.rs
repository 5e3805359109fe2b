//! What the fuzzer holds the watch on raw bytes to: it must read heads as the parser behind it does. Never: routes, keys.

use httparse::{EMPTY_HEADER, Request, Status};

use super::{BodyLength, Framing, FramingFault, Judged, judge};

/// Longer than anything that is fuzzed, so that no bound hides a difference.
const HEAD_BYTES_MAX: usize = 1 << 20;
const HEADERS_MAX: usize = 512;

/// Panics unless the bytes of a connection come to the same however they are cut (by the first byte), and a head in which
/// no fault is found ends, and says of its body, what httparse takes from it.
pub fn head(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let parts = usize::from(*cut).max(1);
    let (whole, single) = (after(bytes, bytes.len().max(1)), after(bytes, parts));
    assert_eq!(whole, single, "cut after every {parts} bytes");
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let parsed = request.parse(bytes);
    let judged = judge(bytes);
    if let Some(Judged { fault: None, end, .. }) = judged {
        assert!(is_strict(&bytes[..end]), "lines that others read otherwise");
    }
    match (parsed, judged) {
        (Ok(Status::Complete(_)), None) => panic!("a head ends unseen"),
        (Ok(Status::Partial), Some(Judged { fault: None, .. })) => panic!("a head ends too early"),
        (Ok(Status::Complete(length)), Some(Judged { fault: None, end, length: body, is_tunnel })) => {
            assert_eq!(end, length, "where the head ends");
            assert!(!request.path.is_some_and(|path| path.contains('#')), "a fragment");
            assert_eq!(Some(body), said_by(&request), "how long the body is");
            assert_eq!(is_tunnel, request.method == Some("CONNECT"), "a tunnel");
        }
        (Ok(_) | Err(_), _) => {}
    }
}

/// Whether every line of a head ends as it must, and every header is a name with its colon right behind it.
fn is_strict(head: &[u8]) -> bool {
    let lines = head.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r\n"));
    let Some(lines) = lines.collect::<Option<Vec<_>>>() else { return false };
    let is_header = |line: &&[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        !name.is_empty() && name.len() < line.len() && !name.iter().any(u8::is_ascii_whitespace)
    };
    lines.iter().filter(|line| !line.is_empty()).skip(1).all(is_header)
}

/// All that a connection can tell after these bytes.
fn after(bytes: &[u8], parts: usize) -> (Option<FramingFault>, [bool; 5]) {
    let mut framing = Framing::new(HEAD_BYTES_MAX);
    bytes.chunks(parts).for_each(|part| framing.read(part));
    let before = [framing.is_in_head(), framing.is_in_body(), framing.is_whole(), framing.is_unclaimed()];
    let fault = framing.take_judgement();
    let [head, body, whole, unclaimed] = before;
    (fault, [head, body, whole, unclaimed, framing.must_close()])
}

/// The body's length by the headers of another parser; none when there is more than one answer.
fn said_by(request: &Request<'_, '_>) -> Option<BodyLength> {
    let all = |name: &str| -> Vec<&[u8]> {
        let named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii()).collect()
    };
    match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) => Some(BodyLength::Bytes(0)),
        // What is no number the server refuses.
        ([length], []) => {
            let number = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            Some(BodyLength::Bytes(number.unwrap_or(0)))
        }
        ([], [encoding]) if encoding.eq_ignore_ascii_case(b"chunked") => Some(BodyLength::Chunked),
        _ => None,
    }
}
