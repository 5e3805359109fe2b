//! `/v1/embeddings`: a small vector made from the text's digest. The same text has the same vector; nearness means
//! nothing.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::input::Input;
use super::reply::{Refusal, Reply};
use super::{EchoSettings, MODEL, check_model, parse};

const DIMENSIONS: usize = 16;
const DIMENSIONS_MAX: usize = 1024;

#[derive(Deserialize)]
struct EmbeddingsRequest {
    model: String,
    input: Input,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
    ember_echo_delay_ms: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    /// Little-endian 32-bit floats: what the official SDKs ask for.
    Base64,
}

#[derive(Serialize)]
struct Embeddings {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'static str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Answers with one vector for each input, after one pause.
pub(super) fn embeddings(body: &[u8], settings: EchoSettings) -> Result<Reply, Refusal> {
    let request: EmbeddingsRequest = parse(body)?;
    check_model(&request.model)?;
    let delay = settings.delay(request.ember_echo_delay_ms)?;
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(Refusal::bad(Some("dimensions"), "dimensions is from 1 to 1024"));
    }
    let words = request.input.words();
    let texts = request.input.texts;
    if texts.is_empty() {
        return Err(Refusal::bad(Some("input"), "input is empty; give at least one text"));
    }
    let encode = |floats: Vec<f32>| match request.encoding_format {
        None | Some(Encoding::Float) => Vector::Floats(floats),
        Some(Encoding::Base64) => {
            Vector::Base64(base64(floats.into_iter().flat_map(f32::to_le_bytes).collect()))
        }
    };
    let data = texts.iter().enumerate().map(|(index, text)| Embedding {
        object: "embedding",
        index,
        embedding: encode(vector(text, dimensions)),
    });
    let usage = Usage { prompt_tokens: words, total_tokens: words };
    Ok(Reply::json_after(delay, &Embeddings { object: "list", data: data.collect(), model: MODEL, usage }))
}

/// A vector of length 1 that only depends on the text.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let seed = digest(&SHA256, text.as_bytes());
    let blocks = (0..=u16::MAX).flat_map(|block| {
        let block = digest(&SHA256, &[seed.as_ref(), &block.to_le_bytes()].concat());
        block.as_ref().chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect::<Vec<_>>()
    });
    let raw: Vec<f32> = blocks.take(dimensions).map(|value| f32::from(value) + 0.5).collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.into_iter().map(|value| value / length).collect()
}

/// RFC 4648, section 4.
fn base64(bytes: Vec<u8>) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sextet in 0..4 {
            let index = (group >> (18 - 6 * sextet)) & 63;
            text.push(if sextet <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_the_rfc_has_it() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes().to_vec()), text);
        }
        assert_eq!(base64(vec![0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_vector_depends_on_the_text_alone() {
        let [a, b] = ["a", "b"].map(|text| vector(text, DIMENSIONS_MAX));
        assert_eq!(a, vector("a", DIMENSIONS_MAX));
        assert_ne!(a, b);
        assert_eq!(a.len(), DIMENSIONS_MAX);
        assert!((a.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-3);
    }
}
