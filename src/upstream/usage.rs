//! Token counts, as model servers write them into their answers. Never: estimates, sums over requests.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use memchr::memrchr_iter;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::types::Tokens;

/// Watches an answer that is not a stream, for the `usage` it ends with.
///
/// Keeps at most [`AnswerTap::BYTES_MAX`] bytes: all of a shorter answer; of a longer one (a batch of embeddings)
/// the end, at least half of that.
#[derive(Default)]
pub struct AnswerTap {
    kept: Kept,
    cut: bool,
}

enum Kept {
    /// An answer of one piece, as most are, is not copied.
    One(Bytes),
    Many(BytesMut),
}

impl Default for Kept {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Kept {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes,
        }
    }
}

impl AnswerTap {
    /// The most bytes kept.
    pub const BYTES_MAX: usize = 1 << 20;

    /// Takes note of the answer's next bytes.
    pub fn push(&mut self, chunk: &Bytes) {
        if self.kept.bytes().is_empty() && chunk.len() <= Self::BYTES_MAX {
            self.kept = Kept::One(chunk.clone());
        } else {
            self.add(chunk);
        }
    }

    fn add(&mut self, chunk: &[u8]) {
        const HALF: usize = AnswerTap::BYTES_MAX / 2;
        let kept = self.kept.bytes();
        if kept.len() + chunk.len() > Self::BYTES_MAX {
            self.cut = true;
            let newest = &chunk[chunk.len().saturating_sub(HALF)..];
            let older = &kept[kept.len().saturating_sub(HALF - newest.len())..];
            let mut cut = BytesMut::with_capacity(Self::BYTES_MAX);
            cut.extend_from_slice(older);
            cut.extend_from_slice(newest);
            self.kept = Kept::Many(cut);
            return;
        }
        match &mut self.kept {
            Kept::Many(kept) => kept.extend_from_slice(chunk),
            Kept::One(first) => {
                let mut both = BytesMut::with_capacity(first.len() + chunk.len());
                both.extend_from_slice(first);
                both.extend_from_slice(chunk);
                self.kept = Kept::Many(both);
            }
        }
    }

    /// Whether not a byte of it has come.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.bytes().is_empty()
    }

    /// Whether it is JSON that stops before its end. Not known of an answer that was not kept whole: no.
    pub(super) fn is_cut_short(&self) -> bool {
        let parsed = || serde_json::from_slice::<IgnoredAny>(self.kept.bytes());
        !self.cut && parsed().is_err_and(|error| error.is_eof())
    }

    /// The tokens that the answer so far reports: its top-level `usage` as chat, completions, embeddings and
    /// responses have it. Of an answer that was cut the last `usage` with counts is taken, wherever it stands.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        let kept = self.kept.bytes();
        if self.cut {
            return last_usage(kept);
        }
        if let Some(usage) = outermost_usage(kept) {
            return usage.tokens();
        }
        // serde would also take a list of the members' values.
        if !kept.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        let answer: Answer<'_> = serde_json::from_slice(kept).ok()?;
        tokens_of(answer.usage?)
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""usage""#));

/// Whether `json` has a member `usage` that is an object, at any depth: the cheap look that comes before parsing.
pub(super) fn has_usage_object(json: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = USAGE.find(&json[from..]) {
        if object_of(json, from + at).is_some() {
            return true;
        }
        from += at + USAGE.needle().len();
    }
    false
}

/// Everything from the `{` of the `usage` at `at` on. Quotes in JSON strings are escaped, so texts do not match, nor do
/// names that end in it.
fn object_of(json: &[u8], at: usize) -> Option<&[u8]> {
    if json[..at].ends_with(b"\\") {
        return None;
    }
    let value = json[at + USAGE.needle().len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    value.starts_with(b"{").then_some(value)
}

/// The `usage` of a whole answer, where it is clear from what stands behind it that it belongs to the outermost object.
/// Servers write it last or nearly so: what stands before it need not be parsed.
fn outermost_usage(json: &[u8]) -> Option<Usage> {
    let json = json.trim_ascii();
    let object = object_of(json, names_from_the_end(json).next().filter(|_| json.starts_with(b"{"))?)?;
    // Once for all that is read of it.
    let object = std::str::from_utf8(object).ok()?;
    let mut values = serde_json::Deserializer::from_str(object).into_iter::<Usage>();
    let usage = values.next()?.ok()?;
    ends_object(&object.as_bytes()[values.byte_offset()..]).then_some(usage)
}

/// Where `"usage"` stands, the last place first. Its second letter is rare in what stands behind it.
fn names_from_the_end(json: &[u8]) -> impl Iterator<Item = usize> {
    let places = memrchr_iter(b'u', json).filter_map(|u| u.checked_sub(1));
    places.filter(|at| json[*at..].starts_with(USAGE.needle()))
}

/// Whether a text is the rest of exactly one object: more members, if any, and its end.
fn ends_object(rest: &[u8]) -> bool {
    const MEMBERS_BYTES_MAX: usize = 4 << 10;
    let rest = rest.trim_ascii();
    if rest == b"}" {
        return true;
    }
    let is_short = rest.starts_with(b",") && rest.len() <= MEMBERS_BYTES_MAX;
    is_short && serde_json::from_slice::<IgnoredAny>(&[br#"{"":0"#, rest].concat()).is_ok()
}

/// The counts that stand last in a JSON text whose beginning is missing. Looks at few places and little of each,
/// so that the cost stays linear.
fn last_usage(json: &[u8]) -> Option<Tokens> {
    const PLACES_MAX: usize = 16;
    const OBJECT_BYTES_MAX: usize = 16 << 10;
    let places = names_from_the_end(json).filter_map(|at| object_of(json, at));
    places.take(PLACES_MAX).find_map(|object| {
        let object = &object[..object.len().min(OBJECT_BYTES_MAX)];
        let usage: Usage = serde_json::Deserializer::from_slice(object).into_iter().next()?.ok()?;
        usage.tokens()
    })
}

/// The counts of a `usage` value, if it has any.
pub(super) fn tokens_of(usage: &RawValue) -> Option<Tokens> {
    serde_json::from_str::<Usage>(usage.get()).ok()?.tokens()
}

/// `usage` in both of OpenAI's spellings: chat, completions and embeddings have the first, responses the second.
#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Usage {
    fn tokens(self) -> Option<Tokens> {
        let prompt = self.prompt_tokens.or(self.input_tokens);
        let completion = self.completion_tokens.or(self.output_tokens);
        if prompt.is_none() && completion.is_none() {
            return None;
        }
        let prompt = prompt.unwrap_or(0);
        let details = self.prompt_tokens_details.or(self.input_tokens_details);
        let cached = details.and_then(|details| details.cached_tokens).unwrap_or(0).min(prompt);
        Some(Tokens { prompt, completion: completion.unwrap_or(0), cached })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(answer: &str) -> Option<Tokens> {
        let mut tap = AnswerTap::default();
        answer.as_bytes().chunks(7).for_each(|chunk| tap.push(&Bytes::copy_from_slice(chunk)));
        let tokens = tap.tokens();
        let mut whole = AnswerTap::default();
        whole.push(&Bytes::copy_from_slice(answer.as_bytes()));
        assert_eq!(whole.tokens(), tokens, "{answer}: in one piece");
        tokens
    }

    fn counted(prompt: u64, completion: u64, cached: u64) -> Option<Tokens> {
        Some(Tokens { prompt, completion, cached })
    }

    #[test]
    fn usage_of_every_kind_of_answer() {
        for (answer, wanted) in [
            (
                r#"{"choices":[{"message":{"content":"\"usage\":{}"}}],"usage":{"prompt_tokens":12,"completion_tokens":3,
                "total_tokens":15,"prompt_tokens_details":{"cached_tokens":8},"x":1.5}}"#,
                counted(12, 3, 8),
            ),
            (r#"{"usage":{"prompt_tokens":5,"total_tokens":5},"data":[]}"#, counted(5, 0, 0)),
            (
                r#"{"object":"response","usage":{"input_tokens":7,"output_tokens":2,"input_tokens_details":{"cached_tokens":1}}}"#,
                counted(7, 2, 1),
            ),
            (
                r#"{"usage":{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":9}}}"#,
                counted(5, 0, 5),
            ),
            (r#"{"usage":{"prompt_tokens":5,"prompt_tokens_details":null}}"#, counted(5, 0, 0)),
            (r#"{"usage":null}"#, None),
            (r#"{"a\"usage":{"prompt_tokens":5}}"#, None),
            (r#"{"usage":{"prompt_tokens":5},"a\"usage":{"prompt_tokens":6}}"#, counted(5, 0, 0)),
            (r#"{"usage":{}}"#, None),
            (r#"{"usage":{"prompt_tokens":-1}}"#, None),
            (r#"{"usage":{"prompt_tokens":"5"}}"#, None),
            (r#"{"usage":[1]}"#, None),
            (r#"[{"prompt_tokens":5}]"#, None),
            (r#"{"a":{"usage":{"prompt_tokens":5}}}"#, None),
            (r#"{"a":[{"usage":{"prompt_tokens":5},"b":1}],"c":1}"#, None),
            (r#"{"a":{"usage":{"prompt_tokens":5},"b":1}}"#, None),
            (r#" {"usage":{"prompt_tokens":5},"a":null,"timings":{"ms":[1.5]}} "#, counted(5, 0, 0)),
            (r#"{"usage":{"prompt_tokens":5},"a":{"usage":{"prompt_tokens":6}}}"#, counted(5, 0, 0)),
            (r#"{"usage":{"prompt_tokens":5},"a"}"#, None),
            (r#"[{"usage":{"prompt_tokens":5}]"#, None),
            (r#"{"usage":{"prompt_tokens":5}"#, None),
            ("", None),
            ("<html>", None),
        ] {
            assert_eq!(tokens(answer), wanted, "{answer}");
        }
    }

    #[test]
    fn a_long_answer_is_kept_by_its_end() {
        let vectors = r#"{"index":0,"embedding":[0.25,0.5]},"#.repeat(90_000);
        let answer = format!(
            r#"{{"data":[{vectors}0],"usage":{{"prompt_tokens":0}},"usage" : {{"prompt_tokens":77}}}}"#
        );
        for size in [4096, 1_000_000, answer.len()] {
            let mut tap = AnswerTap::default();
            for chunk in answer.as_bytes().chunks(size) {
                tap.push(&Bytes::copy_from_slice(chunk));
                assert!(tap.kept.bytes().len() <= AnswerTap::BYTES_MAX);
            }
            assert_eq!(tap.tokens(), counted(77, 0, 0));
            assert!(tap.kept.bytes().len() >= AnswerTap::BYTES_MAX / 2);
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = 400_000;
        let answer = format!(r#"{{"usage":{}1{}}}"#, "[".repeat(deep), "]".repeat(deep));
        assert_eq!(tokens(&answer), None);
        assert_eq!(tokens(&r#"{"usage":"#.repeat(200_000)), None);
    }
}
