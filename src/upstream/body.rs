//! What a request's body says about itself, and the splices that may be made in it.
//! Never: a change that is no named splice; a byte of the body in an error, since prompts are shown to nobody.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod members;
mod skim;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use self::members::{Member, Members, Places, Rest, folds_to, walk};
use super::Endpoint;
use crate::types::ModelId;

/// The most members a request may have at the top level.
pub const MEMBERS_MAX: usize = 1024;

/// What the top level of a request says, read in one pass; everything else is for the model server to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFacts {
    /// The model the caller asks for.
    pub model: ModelId,
    /// `stream` is `true`. Any other value counts as false: the model server judges it, and its answer's
    /// content type says what came of it.
    pub stream: bool,
    /// The first member in use that ties the request to state kept by the model server.
    pub state: Option<StateMember>,
    /// How many tokens are wanted at most, by each member that says so.
    caps: [Option<u64>; TOKEN_CAPS.len()],
    /// How many answers are made.
    choices: u64,
    model_span: Range<usize>,
    inside: usize,
    usage_wish: UsageWish,
}

/// A member of a request to `/v1/responses` that reaches what other requests left on the model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateMember {
    /// `previous_response_id`, not null.
    PreviousResponseId,
    /// `conversation`, not null.
    Conversation,
    /// `background`, neither false nor null: model servers take 1 and "true" for true.
    Background,
}

impl StateMember {
    /// The member's name, for an error's `param`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreviousResponseId => Member::PreviousResponseId.name(),
            Self::Conversation => Member::Conversation.name(),
            Self::Background => Member::Background.name(),
        }
    }
}

/// Why a body is refused. The sentences are fit for the caller and never quote the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// Not UTF-8, which JSON has to be (RFC 8259, 8.1).
    #[error("the request's body is not UTF-8")]
    InvalidUtf8,
    /// Not JSON.
    #[error("the request's body is not JSON: it stops making sense at line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// In bytes, from 1; 0 before the first.
        column: usize,
    },
    /// A whole object, and more behind it.
    #[error("the request's body has more behind its JSON object")]
    TrailingData,
    /// JSON, but no object.
    #[error("the request's body is JSON, but not an object")]
    NotAnObject,
    /// More than [`MEMBERS_MAX`] members.
    #[error("the request's body has more than {MEMBERS_MAX} members at its top level")]
    TooManyMembers,
    /// A member twice. JSON parsers differ on which one counts, so an allow-list must not choose.
    #[error("{}", duplicate(*name))]
    DuplicateMember {
        /// Its name, when it is one that Ember reads.
        name: Option<&'static str>,
    },
    /// A member that some model servers (those in Go) take for `name`, and others not.
    #[error("the request has `{name}` in other upper or lower case; write `{name}`")]
    OddSpelling {
        /// How it is written.
        name: &'static str,
    },
    /// No `model`.
    #[error("the request names no model; give `model`, a string")]
    MissingModel,
    /// `model` is something else than a string.
    #[error("the request's `model` is not a string")]
    ModelNotAString,
    /// `model` is a string that can't name one.
    #[error(
        "the request's `model` can't be a model's name: those have 1 to 256 bytes and no control characters"
    )]
    BadModelName,
}

fn duplicate(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("the request has `{name}` twice; give it once"),
        None => "the request has a top-level member twice; give each once".to_string(),
    }
}

impl RequestFacts {
    /// Reads a request's body, which is not changed, in one pass.
    ///
    /// # Errors
    /// The first [`BodyFault`] found.
    pub fn read(body: &[u8]) -> Result<Self, BodyFault> {
        let text = simdutf8::basic::from_utf8(body).map_err(|_| BodyFault::InvalidUtf8)?;
        let members = Members::read(text)?;
        let value = |member: Member| members.values[member as usize];

        let model = value(Member::Model).ok_or(BodyFault::MissingModel)?;
        Ok(Self {
            model: model_name(model)?,
            stream: value(Member::Stream) == Some("true"),
            state: state_member(&members),
            caps: TOKEN_CAPS.map(|member| value(member).and_then(number)),
            choices: CHOICES
                .into_iter()
                .filter_map(|member| number(value(member)?))
                .max()
                .unwrap_or(1)
                .max(1),
            model_span: span(text, model),
            inside: after_brace(text, text),
            usage_wish: usage_wish(text, value(Member::StreamOptions)),
        })
    }

    /// The most tokens that all answers to it may have together; `usual` for each where the request does not say. On
    /// each route only what its servers look at counts: the largest, where there are several.
    #[must_use]
    pub fn completion_tokens_max(&self, endpoint: Endpoint, usual: u64) -> u64 {
        let [tokens, completion, output] = self.caps;
        let cap = match endpoint {
            Endpoint::ChatCompletions => tokens.max(completion),
            Endpoint::Completions => tokens,
            Endpoint::Responses => output,
            Endpoint::Embeddings => return 0,
        };
        cap.unwrap_or(usual).saturating_mul(self.choices)
    }

    /// The splice that gives the model its `real` name.
    #[must_use]
    pub fn rename_model(&self, real: &ModelId) -> Splice {
        let quoted = serde_json::Value::from(real.as_str()).to_string();
        Splice { range: self.model_span.clone(), with: quoted.into() }
    }

    /// The splice that asks the model server for a usage chunk at the end of its stream, when the caller streams
    /// and did not ask himself. Only for chat/completions and completions: /v1/responses knows no such member.
    #[must_use]
    pub fn ask_for_usage(&self) -> Option<Splice> {
        const ASKING: &[u8] = br#"{"include_usage":true}"#;
        if !self.stream {
            return None;
        }
        let (range, with): (_, &'static [u8]) = match &self.usage_wish {
            UsageWish::NoOptions => {
                (self.inside..self.inside, br#""stream_options":{"include_usage":true},"#)
            }
            UsageWish::NullOptions(span) => (span.clone(), ASKING),
            UsageWish::EmptyOptions(inside) => (*inside..*inside, br#""include_usage":true"#),
            UsageWish::OtherOptions(inside) => (*inside..*inside, br#""include_usage":true,"#),
            UsageWish::Declined(span) => (span.clone(), b"true"),
            UsageWish::Stated => return None,
        };
        Some(Splice { range, with: Bytes::from_static(with) })
    }
}

/// One change to a body: the bytes of `range` give way to `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// Where, in bytes of the original body; empty to insert.
    pub range: Range<usize>,
    /// What stands there instead.
    pub with: Bytes,
}

/// A body with its splices made: pieces to be sent one after the other.
#[derive(Clone, PartialEq, Eq)]
pub struct Spliced {
    /// In order, none empty; the original's are slices of it, not copies.
    pub pieces: Vec<Bytes>,
    /// Their bytes in total: the request's content-length.
    pub bytes: u64,
}

/// Makes `splices` (in any order, apart from each other, all read from this very body) in `body`.
#[must_use]
pub fn apply(body: &Bytes, mut splices: Vec<Splice>) -> Spliced {
    splices.sort_by_key(|splice| splice.range.start);
    let mut pieces = Vec::with_capacity(2 * splices.len() + 1);
    let mut done = 0;
    for splice in splices {
        let start = splice.range.start.clamp(done, body.len());
        pieces.push(body.slice(done..start));
        pieces.push(splice.with);
        done = splice.range.end.clamp(start, body.len());
    }
    pieces.push(body.slice(done..));
    pieces.retain(|piece| !piece.is_empty());
    let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    Spliced { pieces, bytes }
}

const TOKEN_CAPS: [Member; 3] = [Member::MaxTokens, Member::MaxCompletionTokens, Member::MaxOutputTokens];
const CHOICES: [Member; 2] = [Member::N, Member::BestOf];

/// The whole number that a lenient reader could take a value for: `100`, `1e2`, `99.5`, `"100"`. None for what is none.
fn number(value: &str) -> Option<u64> {
    value.parse().ok().or_else(|| odd_number(value.trim_matches('"')))
}

fn odd_number(value: &str) -> Option<u64> {
    // Beyond the largest number it is the largest.
    let rounded = |n: f64| (n >= 0.0).then_some(n.ceil() as u64);
    value.parse().ok().or_else(|| value.parse().ok().and_then(rounded))
}

/// What the caller said about usage chunks, and so where a splice that asks for them goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum UsageWish {
    /// No `stream_options`.
    NoOptions,
    /// `null`, there.
    NullOptions(Range<usize>),
    /// `{}`, whose inside begins there.
    EmptyOptions(usize),
    /// An object without `include_usage`, whose inside begins there.
    OtherOptions(usize),
    /// `include_usage` is false or null, there.
    Declined(Range<usize>),
    /// Asked for, or said in a way that only the model server can judge.
    Stated,
}

fn usage_wish(body: &str, options: Option<&str>) -> UsageWish {
    let Some(options) = options else { return UsageWish::NoOptions };
    if options == "null" {
        return UsageWish::NullOptions(span(body, options));
    }
    let mut said = Options::default();
    let walked = walk(options, Rest::Ignored, &mut said);
    let declined = said.value.filter(|value| said.is_exact && matches!(*value, "false" | "null"));
    match (walked, said.members, said.wishes, declined) {
        (Ok(()), 0, _, _) => UsageWish::EmptyOptions(after_brace(body, options)),
        (Ok(()), _, 0, _) => UsageWish::OtherOptions(after_brace(body, options)),
        (Ok(()), _, 1, Some(value)) => UsageWish::Declined(span(body, value)),
        _ => UsageWish::Stated,
    }
}

/// What stands in `stream_options`.
#[derive(Default)]
struct Options<'b> {
    members: usize,
    /// How many of them some server takes for `include_usage`.
    wishes: usize,
    /// Whether the last of these is written like that.
    is_exact: bool,
    value: Option<&'b str>,
}

impl<'b> Places<'b> for Options<'b> {
    fn of(&mut self, name: Cow<'b, str>) -> Result<Option<&mut Option<&'b str>>, BodyFault> {
        const NAME: &str = "include_usage";
        self.members += 1;
        if !folds_to(&name, NAME) {
            return Ok(None);
        }
        self.wishes += 1;
        self.is_exact = name == NAME;
        Ok(Some(&mut self.value))
    }
}

fn state_member(members: &Members<'_>) -> Option<StateMember> {
    let said = |member: Member| members.values[member as usize].filter(|value| *value != "null");
    if said(Member::PreviousResponseId).is_some() {
        Some(StateMember::PreviousResponseId)
    } else if said(Member::Conversation).is_some() {
        Some(StateMember::Conversation)
    } else {
        said(Member::Background).filter(|value| *value != "false").map(|_| StateMember::Background)
    }
}

fn model_name(written: &str) -> Result<ModelId, BodyFault> {
    /// A name's longest writing: every byte as `\u00xx`, and the quotes.
    const WRITTEN_BYTES_MAX: usize = 6 * ModelId::BYTES_MAX + 2;
    if !written.starts_with('"') {
        return Err(BodyFault::ModelNotAString);
    }
    if written.len() > WRITTEN_BYTES_MAX {
        return Err(BodyFault::BadModelName);
    }
    // Without escapes what is between the quotes is the name.
    let plain = written.get(1..written.len() - 1).unwrap_or_default();
    if !plain.as_bytes().contains(&b'\\') {
        return plain.parse().map_err(|_| BodyFault::BadModelName);
    }
    let name: String = serde_json::from_str(written).map_err(|_| BodyFault::BadModelName)?;
    name.parse().map_err(|_| BodyFault::BadModelName)
}

/// Where `part`, a slice of `body`, stands in it.
fn span(body: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    start..start + part.len()
}

/// Where the inside of `object`, a slice of `body` that has been read as an object, begins.
fn after_brace(body: &str, object: &str) -> usize {
    // It is the first byte, or nearly so.
    let brace = object.bytes().position(|byte| byte == b'{');
    span(body, object).start + brace.map_or(0, |brace| brace + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read(body: &str) -> Result<RequestFacts, BodyFault> {
        RequestFacts::read(body.as_bytes())
    }

    fn spliced(body: &str, splices: Vec<Splice>) -> String {
        let spliced = apply(&Bytes::copy_from_slice(body.as_bytes()), splices);
        let whole = spliced.pieces.concat();
        assert_eq!(whole.len() as u64, spliced.bytes);
        assert!(spliced.pieces.iter().all(|piece| !piece.is_empty()));
        String::from_utf8(whole).unwrap()
    }

    fn asking(body: &str) -> Option<String> {
        let splice = read(body).unwrap().ask_for_usage()?;
        Some(spliced(body, vec![splice]))
    }

    #[test]
    fn the_facts_of_an_ordinary_request() {
        let facts = read(
            r#" {"messages":[{"role":"user","content":"}{\"model\":\"x\""}],"stream" : true,"max_tokens":5,
              "max_completion_tokens": 70, "max_output_tokens": "no", "model" : "gl\u006d-4.7" } "#,
        )
        .unwrap();
        assert_eq!(facts.model.as_str(), "glm-4.7");
        assert!(facts.stream);
        assert_eq!(facts.completion_tokens_max(Endpoint::ChatCompletions, 1), 70);
        assert_eq!(facts.state, None);
    }

    #[test]
    fn law_10_only_what_a_routes_servers_look_at_says_how_many_tokens_an_answer_has() {
        use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
        for (members, endpoint, wanted) in [
            ("", ChatCompletions, 1024),
            (r#","max_tokens":20"#, ChatCompletions, 20),
            (r#","max_output_tokens":1"#, ChatCompletions, 1024),
            (r#","max_tokens":1,"max_completion_tokens":100000"#, ChatCompletions, 100_000),
            (r#","max_tokens":1,"max_completion_tokens":1e5"#, ChatCompletions, 100_000),
            (r#","max_tokens":1,"max_completion_tokens":"100000""#, ChatCompletions, 100_000),
            (r#","max_tokens":null"#, ChatCompletions, 1024),
            (r#","max_tokens":[1]"#, ChatCompletions, 1024),
            (r#","max_tokens":-1"#, ChatCompletions, 1024),
            (r#","max_tokens":0.5"#, ChatCompletions, 1),
            (r#","max_tokens":10,"n":3"#, ChatCompletions, 30),
            (r#","max_tokens":10,"n":0"#, ChatCompletions, 10),
            (r#","n":2,"best_of":4"#, Completions, 4096),
            (r#","max_completion_tokens":1"#, Completions, 1024),
            (r#","max_tokens":1"#, Responses, 1024),
            (r#","max_output_tokens":7"#, Responses, 7),
            (r#","max_tokens":18446744073709551615,"n":9"#, ChatCompletions, u64::MAX),
            (r#","max_tokens":1e300"#, ChatCompletions, u64::MAX),
            (r#","max_tokens":10"#, Embeddings, 0),
        ] {
            let body = format!(r#"{{"model":"m"{members}}}"#);
            let facts = RequestFacts::read(body.as_bytes()).unwrap();
            assert_eq!(facts.completion_tokens_max(endpoint, 1024), wanted, "{endpoint:?} {body}");
        }
    }

    #[test]
    fn faults_by_name() {
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(257));
        let huge = format!(r#"{{"model":"{}"}}"#, "m".repeat(100_000));
        let model = |name| BodyFault::DuplicateMember { name };
        for (body, fault) in [
            ("", BodyFault::NotJson { line: 1, column: 0 }),
            ("{\n \"a\":tru}", BodyFault::NotJson { line: 2, column: 9 }),
            (r#"{"model":"a""#, BodyFault::NotJson { line: 1, column: 12 }),
            (r#"{"model":"a",}"#, BodyFault::NotJson { line: 1, column: 14 }),
            (r#"{"a\ud800":1,"model":"a"}"#, BodyFault::NotJson { line: 1, column: 10 }),
            ("\u{feff}{\"model\":\"a\"}", BodyFault::NotJson { line: 1, column: 1 }),
            (r#"{"model":"a"} {}"#, BodyFault::TrailingData),
            (r#"{"model":"a"}x"#, BodyFault::TrailingData),
            (r#"["model"]"#, BodyFault::NotAnObject),
            (r#""model""#, BodyFault::NotAnObject),
            ("12", BodyFault::NotAnObject),
            ("null", BodyFault::NotAnObject),
            ("{}", BodyFault::MissingModel),
            (r#"{"a":{"model":"a"}}"#, BodyFault::MissingModel),
            (r#"{"model":null}"#, BodyFault::ModelNotAString),
            (r#"{"model":["a"]}"#, BodyFault::ModelNotAString),
            (r#"{"model":""}"#, BodyFault::BadModelName),
            (r#"{"model":"a\n"}"#, BodyFault::BadModelName),
            (r#"{"model":"\ud800"}"#, BodyFault::BadModelName),
            (&long, BodyFault::BadModelName),
            (&huge, BodyFault::BadModelName),
            (r#"{"model":"a","mod\u0065l":"b"}"#, model(Some("model"))),
            (r#"{"model":"a","model":"a"}"#, model(Some("model"))),
            (r#"{"stream":true,"model":"a","stream":null}"#, model(Some("stream"))),
            (r#"{"x":1,"model":"a","\u0078":1}"#, model(None)),
            (r#"{"":1,"model":"a","":1}"#, model(None)),
            (r#"{"model":"a","Model":"b"}"#, BodyFault::OddSpelling { name: "model" }),
            (r#"{"model":"a","BACKGROUND":true}"#, BodyFault::OddSpelling { name: "background" }),
            ("{\"model\":\"a\",\"bac\u{212a}ground\":1}", BodyFault::OddSpelling { name: "background" }),
            ("{\"model\":\"a\",\"\u{17f}tream\":1}", BodyFault::OddSpelling { name: "stream" }),
        ] {
            assert_eq!(read(body), Err(fault), "{body}");
        }
        assert_eq!(RequestFacts::read(b"{\"model\":\"a\xff\"}"), Err(BodyFault::InvalidUtf8));
    }

    #[test]
    fn no_fault_quotes_the_body() {
        for body in
            [r#""canary""#, r#"{"canary":1,"canary":1}"#, r#"{"model":"canary\n"}"#, r#"{"canary":nul"#]
        {
            assert!(!read(body).unwrap_err().to_string().contains("canary"), "{body}");
        }
    }

    #[test]
    fn a_name_of_256_bytes_written_as_escapes_is_read() {
        let body = format!(r#"{{"model":"{}"}}"#, r"\u006d".repeat(256));
        assert_eq!(read(&body).unwrap().model.as_str(), "m".repeat(256));
    }

    #[test]
    fn members_are_bounded() {
        let with = |count: usize| {
            let members: Vec<String> = (1..count).map(|n| format!(r#""m{n}":0"#)).collect();
            read(&format!(r#"{{"model":"a",{}}}"#, members.join(",")))
        };
        assert!(with(MEMBERS_MAX).is_ok());
        assert_eq!(with(MEMBERS_MAX + 1), Err(BodyFault::TooManyMembers));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = 1_000_000;
        assert_eq!(read(&"[".repeat(deep)), Err(BodyFault::NotAnObject));
        let objects = r#"{"a":"#.repeat(deep);
        assert!(matches!(read(&objects), Err(BodyFault::NotJson { .. })));
        for member in ["x", "stream_options", "background", "max_tokens"] {
            let body = format!(
                r#"{{"model":"a","stream":true,"{member}":{}{}}}"#,
                "[".repeat(deep),
                "]".repeat(deep)
            );
            assert_eq!(read(&body).unwrap().model.as_str(), "a");
        }
        let model = format!(r#"{{"model":{}{}}}"#, "[".repeat(deep), "]".repeat(deep));
        assert_eq!(read(&model), Err(BodyFault::ModelNotAString));
    }

    #[test]
    fn stream_is_true_only_when_it_says_true() {
        for (value, stream) in
            [("true", true), ("false", false), ("null", false), ("1", false), (r#""true""#, false)]
        {
            assert_eq!(
                read(&format!(r#"{{"stream":{value},"model":"a"}}"#)).unwrap().stream,
                stream,
                "{value}"
            );
        }
    }

    #[test]
    fn state_is_seen_whatever_it_is_written_like() {
        for (members, state) in [
            (r#""previous_response_id":"r""#, Some(StateMember::PreviousResponseId)),
            (r#""previous_response_id":null,"conversation":{"id":"c"}"#, Some(StateMember::Conversation)),
            (r#""background": true"#, Some(StateMember::Background)),
            (r#""b\u0061ckground":"true""#, Some(StateMember::Background)),
            (r#""background":1"#, Some(StateMember::Background)),
            (r#""background":false,"conversation":null"#, None),
            (r#""x":{"background":true}"#, None),
        ] {
            assert_eq!(read(&format!(r#"{{"model":"a",{members}}}"#)).unwrap().state, state, "{members}");
        }
    }

    #[test]
    fn usage_is_asked_for_where_the_caller_did_not() {
        let body = |options: &str| format!(r#" {{ "stream":true{options} , "model":"a"}}"#);
        for (before, after) in [
            (r#","stream_options": null"#, r#","stream_options": {"include_usage":true}"#),
            (r#","stream_options":{ }"#, r#","stream_options":{"include_usage":true }"#),
            (r#","stream_options":{"x":{}}"#, r#","stream_options":{"include_usage":true,"x":{}}"#),
            (
                r#","stream_options":{"a":1,"include_usage" : false}"#,
                r#","stream_options":{"a":1,"include_usage" : true}"#,
            ),
            (
                r#","stream_options":{"include\u005fusage":null}"#,
                r#","stream_options":{"include\u005fusage":true}"#,
            ),
        ] {
            assert_eq!(asking(&body(before)), Some(body(after)), "{before}");
        }
        assert_eq!(
            asking(&body("")).unwrap(),
            r#" {"stream_options":{"include_usage":true}, "stream":true , "model":"a"}"#
        );
    }

    #[test]
    fn usage_is_not_asked_for_otherwise() {
        for options in [
            r#"{"include_usage":true}"#,
            r#"{"include_usage":1}"#,
            r#"{"include_usage":false,"include_usage":true}"#,
            r#"{"Include_Usage":true}"#,
            r#"{"include_usage":false,"Include_Usage":true}"#,
            "[]",
            r#""null""#,
            "7",
        ] {
            let body = format!(r#"{{"stream":true,"stream_options":{options},"model":"a"}}"#);
            assert_eq!(asking(&body), None, "{options}");
        }
        assert_eq!(asking(r#"{"stream":false,"model":"a"}"#), None);
        assert_eq!(asking(r#"{"stream":"true","stream_options":null,"model":"a"}"#), None);
    }

    #[test]
    fn pieces_of_the_original_are_not_copied() {
        let body = Bytes::from_static(br#"{"model":"a","stream":true}"#);
        let facts = RequestFacts::read(&body).unwrap();
        let splices = vec![facts.rename_model(&"b\"c".parse().unwrap()), facts.ask_for_usage().unwrap()];
        let spliced = apply(&body, splices);
        let wanted: &[u8] = br#"{"stream_options":{"include_usage":true},"model":"b\"c","stream":true}"#;
        assert_eq!(spliced.pieces.concat(), wanted);
        for piece in [&spliced.pieces[0], &spliced.pieces[2], &spliced.pieces[4]] {
            assert!(body.as_ptr_range().contains(&piece.as_ptr()));
        }
    }

    #[test]
    fn splices_of_another_body_do_no_harm() {
        let splice = |range| Splice { range, with: Bytes::from_static(b"x") };
        assert_eq!(spliced("abc", vec![splice(2..90), splice(1..3), splice(50..60)]), "axxx");
    }

    fn spaces() -> impl Strategy<Value = &'static str> {
        prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t"), 1 => Just("  \n")]
    }

    /// A string as somebody might write it: each character plain or, where JSON can, escaped.
    fn written(text: &str, escapes: u64) -> String {
        let mut out = String::from("\"");
        for (n, c) in text.chars().enumerate() {
            if (escapes >> (n % 64)) & 1 == 1 || c < ' ' || c == '"' || c == '\\' {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            } else {
                out.push(c);
            }
        }
        out + "\""
    }

    fn text() -> impl Strategy<Value = String> {
        (prop_oneof![".{0,8}", "[{}\\[\\]\":,model\\\\/ ü😀]{0,12}"], any::<u64>())
            .prop_map(|(text, escapes)| written(&text, escapes))
    }

    fn scalar() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("null".to_string()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<i64>().prop_map(|value| value.to_string()),
            (any::<i16>(), -30..30_i32).prop_map(|(value, power)| format!("{value}.50e{power}")),
            text(),
        ]
    }

    fn listed(open: char, items: Vec<String>, close: char, space: &str) -> String {
        format!("{open}{space}{}{space}{close}", items.join(&format!("{space},{space}")))
    }

    pub(super) fn json() -> impl Strategy<Value = String> {
        scalar().prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..4), spaces())
                    .prop_map(|(items, space)| listed('[', items, ']', space)),
                (prop::collection::vec((text(), spaces(), inner), 0..4), spaces()).prop_map(
                    |(members, space)| {
                        let members =
                            members.into_iter().map(|(name, gap, value)| format!("{name}{gap}:{gap}{value}"));
                        listed('{', members.collect(), '}', space)
                    }
                ),
            ]
        })
    }

    fn options() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            Just(None),
            json().prop_map(Some),
            (json(), "x|include_usage", any::<u64>(), spaces()).prop_map(|(value, name, escapes, space)| {
                Some(format!("{{{space}{}{space}:{value}{space}}}", written(&name, escapes)))
            }),
            (spaces(), prop_oneof!["true", "false", "null", "0"]).prop_map(|(space, value)| Some(format!(
                r#"{{"a":[]{space},"include_usage":{space}{value}}}"#
            ))),
        ]
    }

    prop_compose! {
        pub(super) fn request()(
            model in "[ -~ü😀]{1,20}",
            escapes in any::<u64>(),
            stream in prop_oneof![3 => Just("true".to_string()), 1 => json()],
            options in options(),
            others in prop::collection::btree_map(".{0,8}", json(), 0..5),
            (outer, space) in (spaces(), spaces()),
            turn in any::<usize>(),
        ) -> String {
            let mut members = vec![("model".to_string(), written(&model, escapes)), ("stream".to_string(), stream)];
            members.extend(options.map(|options| ("stream_options".to_string(), options)));
            members.extend(others.into_iter().filter(|(name, _)| Member::like(name).is_none()));
            let turn = turn % members.len();
            members.rotate_left(turn);
            let members = members.into_iter().map(|(name, value)| {
                format!("{}{space}:{space}{value}", written(&name, escapes.rotate_left(7)))
            });
            format!("{outer}{}{outer}", listed('{', members.collect(), '}', space))
        }
    }

    /// Everything before and after the splice is as it was.
    fn only_spliced(before: &str, splice: &Splice, after: &str) -> bool {
        let (head, tail) = (&before[..splice.range.start], &before[splice.range.end..]);
        after.starts_with(head)
            && after.ends_with(tail)
            && after.len() == head.len() + splice.with.len() + tail.len()
    }

    proptest! {
        #[test]
        fn renaming_changes_the_model_and_nothing_else(body in request(), real in "[ -~ü😀]{1,20}") {
            let mut value: Value = serde_json::from_str(&body).unwrap();
            let facts = read(&body).unwrap();
            prop_assert_eq!(facts.model.as_str(), value["model"].as_str().unwrap());
            prop_assert_eq!(facts.stream, value["stream"] == Value::Bool(true));

            let splice = facts.rename_model(&real.parse().unwrap());
            let after = spliced(&body, vec![splice.clone()]);
            prop_assert!(only_spliced(&body, &splice, &after));
            value["model"] = Value::from(real);
            prop_assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), value);
        }

        #[test]
        fn asking_for_usage_changes_include_usage_and_nothing_else(body in request()) {
            let mut value: Value = serde_json::from_str(&body).unwrap();
            let options = value.get("stream_options").cloned().unwrap_or(Value::Null);
            let stated = !(options.is_null() || options.is_object())
                || !matches!(options.get("include_usage"), None | Some(Value::Null | Value::Bool(false)));
            let facts = read(&body).unwrap();
            let splice = facts.ask_for_usage();
            prop_assert_eq!(splice.is_some(), facts.stream && !stated);
            if let Some(splice) = splice {
                let after = spliced(&body, vec![splice.clone()]);
                prop_assert!(only_spliced(&body, &splice, &after));
                value["stream_options"]["include_usage"] = Value::Bool(true);
                prop_assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), value);
                prop_assert_eq!(read(&after).unwrap().ask_for_usage(), None);
            }
        }

        #[test]
        fn no_input_panics(body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            "[{}\\[\\]\":,truemodlsa_1 \\\\]{0,40}".prop_map(String::into_bytes),
        ]) {
            if let Ok(facts) = RequestFacts::read(&body) {
                let value: Value = serde_json::from_slice(&body).unwrap();
                prop_assert_eq!(facts.model.as_str(), value["model"].as_str().unwrap());
            }
        }
    }
}
