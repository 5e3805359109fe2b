//! The requests of a run, written once: each of the keys in turn, each of the models in turn.

use std::fs;

use crate::Failure;
use crate::moment;

use super::Common;

/// What a key of Ember's begins with; its checksum is behind it.
const UNKNOWN_KEY: &str = "ember_prod_00000000000000000000000000000000";
/// Digits at the end of the name of a key to be made.
const NAME_DIGITS: usize = 9;
const QUESTION: &str = "Say in one sentence what a gateway is for.";

pub(super) struct Script {
    heads: Vec<Vec<u8>>,
    bodies: Vec<Vec<u8>>,
    /// Where the body has the number of the request.
    number_at: Option<usize>,
    next: usize,
}

/// What a request asks of the model server beyond an answer.
pub(super) struct Stream {
    pub(super) chunks: u64,
    pub(super) gap_ms: u64,
}

impl Script {
    pub(super) fn new(common: &Common, stream: Option<&Stream>) -> Result<Self, Failure> {
        let names: Vec<_> = match common.models {
            0 | 1 => vec!["bench".to_string()],
            count => (0..count).map(|number| format!("bench-{number:03}")).collect(),
        };
        let bodies: Vec<_> = names.iter().map(|name| body(name, common, stream)).collect();
        let length = bodies[0].len();
        let heads = keys(common)?.iter().map(|key| head(key, common, length)).collect();
        let number_at = common.issue.as_ref().map(|_| length - "\"}".len() - NAME_DIGITS);
        Ok(Self { heads, bodies, number_at, next: 0 })
    }

    /// Head and body of the next request.
    pub(super) fn next(&mut self) -> [&[u8]; 2] {
        let number = self.next;
        self.next += 1;
        if let Some(at) = self.number_at {
            moment::stamp(number as u64, &mut self.bodies[0][at..at + NAME_DIGITS]);
        }
        [&self.heads[number % self.heads.len()], &self.bodies[number % self.bodies.len()]]
    }
}

fn keys(common: &Common) -> Result<Vec<String>, Failure> {
    let Some(file) = &common.keys else {
        let right = crc32fast::hash(UNKNOWN_KEY.as_bytes());
        let checksum = base62(if common.well_formed { right } else { !right });
        return Ok(vec![format!("{UNKNOWN_KEY}{checksum}")]);
    };
    let text = fs::read_to_string(file)?;
    let keys: Vec<_> = text.split_whitespace().take(common.keys_used).map(str::to_string).collect();
    if keys.is_empty() { Err("a file without keys".into()) } else { Ok(keys) }
}

/// Six digits, as keys have them behind their random part.
fn base62(mut number: u32) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 6];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[number as usize % 62];
        number /= 62;
    }
    text.into_iter().map(char::from).collect()
}

fn head(key: &str, common: &Common, length: usize) -> Vec<u8> {
    let target = common.target;
    let path = if common.issue.is_some() { "/admin/v1/keys" } else { "/v1/chat/completions" };
    format!(
        "POST {path} HTTP/1.1\r\nhost: {target}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\naccept: application/json\r\nuser-agent: bench\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into()
}

fn body(model: &str, common: &Common, stream: Option<&Stream>) -> Vec<u8> {
    if let Some(name) = &common.issue {
        let number = "0".repeat(NAME_DIGITS);
        let account = "fill@example.com";
        return format!(r#"{{"account":"{account}","environment":"prod","name":"{name}{number}"}}"#).into();
    }
    let more = match stream {
        Some(Stream { chunks, gap_ms }) => {
            format!(r#","stream":true,"bench_chunks":{chunks},"bench_gap_ms":{gap_ms}"#)
        }
        None if common.long_answer => r#","user":"long""#.to_string(),
        None => String::new(),
    };
    let before =
        format!(r#"{{"model":"{model}"{more},"max_tokens":64,"messages":[{{"role":"user","content":""#);
    let behind = r#""}]}"#;
    let room = common.body_bytes.saturating_sub(before.len() + behind.len()).max(QUESTION.len());
    let words: String = QUESTION.chars().chain(" ".chars()).cycle().take(room).collect();
    format!("{before}{words}{behind}").into()
}
