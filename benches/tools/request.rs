//! Reads a request as far as a model server has to: where it ends and what it asks for.

use memchr::memmem;

use crate::Failure;
use crate::moment::number;

const HEADERS_MAX: usize = 64;

/// What a whole request asks for.
pub(crate) struct Asked {
    /// Bytes of the request.
    pub(crate) length: usize,
    pub(crate) answer: Wanted,
}

pub(crate) enum Wanted {
    /// A model's answer in JSON.
    Json,
    /// The same with 32 kB of text.
    Long,
    /// Server-sent events; what the request does not say is absent.
    Stream { chunks: Option<u64>, gap_ms: Option<u64>, usage: bool },
    /// The list of models.
    Models,
    /// Whether the server is well.
    Health,
    /// What it has served.
    Counts,
}

/// The request that bytes begin with, if it is whole.
///
/// # Errors
/// What is no request, or has a body in chunks.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Asked>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes)? else { return Ok(None) };
    let mut length = head;
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length += std::str::from_utf8(header.value)?.trim().parse::<usize>()?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("a request body in chunks".into());
        }
    }
    let Some(body) = bytes.get(head..length) else { return Ok(None) };
    let answer = match (request.method, request.path) {
        (Some("GET"), Some("/v1/models")) => Wanted::Models,
        (Some("GET"), Some("/counts")) => Wanted::Counts,
        (Some("GET"), _) => Wanted::Health,
        _ => wanted(body),
    };
    Ok(Some(Asked { length, answer }))
}

fn wanted(body: &[u8]) -> Wanted {
    // What decides stands in the first bytes that `load` writes.
    let start = &body[..body.len().min(512)];
    if memmem::find(start, br#""stream":true"#).is_some() {
        return Wanted::Stream {
            chunks: value(body, br#""bench_chunks":"#),
            gap_ms: value(body, br#""bench_gap_ms":"#),
            usage: memmem::find(body, b"include_usage").is_some(),
        };
    }
    if memmem::find(start, br#""user":"long""#).is_some() { Wanted::Long } else { Wanted::Json }
}

fn value(body: &[u8], name: &[u8]) -> Option<u64> {
    memmem::find(body, name).map(|at| number(&body[at + name.len()..]))
}
