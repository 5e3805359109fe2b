//! What the model server says, written once: whole answers with their heads, and the pieces of a stream in chunks.

use crate::moment::STAMP_DIGITS;

/// Bytes of the JSON answer's body.
const JSON_BYTES: usize = 680;
/// Bytes of the long answer's body.
const LONG_BYTES: usize = 32 * 1024;
const BEFORE_TEXT: &str = r#"{"id":"chatcmpl-9f2c1d7ab3e84c55a1f0d6c2b7e49a10","object":"chat.completion","created":1800000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":""#;
const BEHIND_TEXT: &str = r#"","refusal":null,"tool_calls":[]},"logprobs":null,"finish_reason":"stop","stop_reason":null}],"usage":{"prompt_tokens":57,"total_tokens":139,"completion_tokens":82,"prompt_tokens_details":null},"system_fingerprint":"fp_bench","service_tier":null}"#;
const BEFORE_DELTA: &str = r#"data: {"id":"chatcmpl-9f2c1d7ab3e84c55a1f0d6c2b7e49a10","object":"chat.completion.chunk","created":1800000000,"model":"bench","choices":[{"index":0,"delta":{"content":""#;
const BEHIND_DELTA: &str = r#""},"logprobs":null,"finish_reason":null}]}"#;
const LAST: &str = r#"data: {"id":"chatcmpl-9f2c1d7ab3e84c55a1f0d6c2b7e49a10","object":"chat.completion.chunk","created":1800000000,"model":"bench","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"data: {"id":"chatcmpl-9f2c1d7ab3e84c55a1f0d6c2b7e49a10","object":"chat.completion.chunk","created":1800000000,"model":"bench","choices":[],"usage":{"prompt_tokens":57,"total_tokens":139,"completion_tokens":82}}"#;
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ndate: Fri, 15 Jan 2027 08:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

pub(super) struct Texts {
    pub(super) json: Vec<u8>,
    pub(super) long: Vec<u8>,
    pub(super) models: Vec<u8>,
    pub(super) health: Vec<u8>,
    /// The head of a stream.
    pub(super) stream: Vec<u8>,
    pub(super) chunk: Vec<u8>,
    /// Where a chunk has its stamp.
    pub(super) stamp_at: usize,
    pub(super) end: Vec<u8>,
    pub(super) end_with_usage: Vec<u8>,
}

impl Texts {
    pub(super) fn new(models: usize) -> Self {
        let delta = format!("{BEFORE_DELTA}{}{BEHIND_DELTA}", "0".repeat(STAMP_DIGITS));
        let one = chunk(&delta);
        let before = one.len() - "\n\n\r\n".len() - delta.len();
        let (last, usage, done) = (chunk(LAST), chunk(USAGE), chunk("data: [DONE]"));
        let end: &[u8] = b"0\r\n\r\n";
        Self {
            json: completion(JSON_BYTES),
            long: completion(LONG_BYTES),
            models: json(&list(models)),
            health: json(r#"{"status":"ok"}"#),
            stream: STREAM_HEAD.into(),
            stamp_at: before + BEFORE_DELTA.len(),
            chunk: one,
            end: [last.as_slice(), &done, end].concat(),
            end_with_usage: [last.as_slice(), &usage, &done, end].concat(),
        }
    }
}

/// A whole answer.
pub(super) fn json(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ndate: Fri, 15 Jan 2027 08:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: {length}\r\ncontent-type: application/json\r\n\r\n{body}").into()
}

fn completion(bytes: usize) -> Vec<u8> {
    let room = bytes.saturating_sub(BEFORE_TEXT.len() + BEHIND_TEXT.len());
    let words: String = "All work and no play. ".chars().cycle().take(room).collect();
    json(&format!("{BEFORE_TEXT}{words}{BEHIND_TEXT}"))
}

fn list(models: usize) -> String {
    let name = |number| if number == 0 { "bench".to_string() } else { format!("bench-{number:03}") };
    let entry = |number| {
        format!(r#"{{"id":"{}","object":"model","created":1800000000,"owned_by":"bench"}}"#, name(number))
    };
    format!(r#"{{"object":"list","data":[{}]}}"#, (0..models).map(entry).collect::<Vec<_>>().join(","))
}

fn chunk(event: &str) -> Vec<u8> {
    format!("{:x}\r\n{event}\n\n\r\n", event.len() + 2).into()
}
