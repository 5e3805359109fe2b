//! `/v1/chat/completions` and `/v1/completions` in OpenAI's shapes, whole and as streams. Never: what is said.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::input::{Conversation, Input};
use super::reply::{CREATED, Event, Refusal, Reply, new_id};
use super::speech::Speech;
use super::{EchoSettings, MODEL, check_model, parse};

#[derive(Deserialize)]
struct ChatRequest {
    model: String,
    messages: Conversation,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    ember_echo_delay_ms: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionRequest {
    model: String,
    prompt: Option<Input>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    ember_echo_delay_ms: Option<u64>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Answers a chat: repeats what the user said last.
pub(super) fn chat(body: &[u8], settings: EchoSettings) -> Result<Reply, Refusal> {
    let request: ChatRequest = parse(body)?;
    check_model(&request.model)?;
    if matches!(request.messages.messages, None | Some(0)) {
        return Err(Refusal::bad(Some("messages"), "messages has to be a list of at least one message"));
    }
    let words_max = request.max_completion_tokens.or(request.max_tokens);
    let turn = Turn {
        api: Api::Chat,
        id: new_id("chatcmpl-"),
        speech: Speech::repeating(&request.messages.last, words_max),
        prompt_words: request.messages.words,
        delay: settings.delay(request.ember_echo_delay_ms)?,
    };
    Ok(turn.reply(request.stream, request.stream_options))
}

/// Answers a prompt: repeats it, the last one if there are several.
pub(super) fn completion(body: &[u8], settings: EchoSettings) -> Result<Reply, Refusal> {
    let request: CompletionRequest = parse(body)?;
    check_model(&request.model)?;
    let prompt = request.prompt.unwrap_or_default();
    let turn = Turn {
        api: Api::Completion,
        id: new_id("cmpl-"),
        speech: Speech::repeating(prompt.texts.last().map_or("", String::as_str), request.max_tokens),
        prompt_words: prompt.words(),
        delay: settings.delay(request.ember_echo_delay_ms)?,
    };
    Ok(turn.reply(request.stream, request.stream_options))
}

#[derive(Clone, Copy)]
enum Api {
    Chat,
    Completion,
}

/// One answer to be given.
struct Turn {
    api: Api,
    id: String,
    speech: Speech,
    prompt_words: u64,
    delay: Duration,
}

impl Turn {
    fn reply(self, stream: Option<bool>, options: Option<StreamOptions>) -> Reply {
        if stream == Some(true) {
            let include_usage = options.and_then(|options| options.include_usage) == Some(true);
            Reply::stream(self.delay, self.events(include_usage))
        } else {
            let pause = self.delay.saturating_mul(u32::try_from(self.speech.words).unwrap_or(u32::MAX));
            Reply::json_after(pause, &self.whole())
        }
    }

    fn whole(&self) -> Answer<'_> {
        let (text, finish) = (self.speech.text.clone(), Some(self.finish()));
        let (object, choice) = match self.api {
            Api::Chat => ("chat.completion", Choice::message(text, finish)),
            Api::Completion => ("text_completion", Choice::text(text, finish)),
        };
        Answer::new(&self.id, object, &[choice], Some(Some(self.usage())))
    }

    /// Chat: the role, the words, the reason to finish. Completions: the words, the reason. Then the usage chunk
    /// if asked for (and `"usage":null` in all others), and the end mark.
    fn events(self, include_usage: bool) -> impl Iterator<Item = Event> + Send + 'static {
        let null_usage = include_usage.then_some(None);
        let (object, role) = match self.api {
            Api::Chat => ("chat.completion.chunk", Some(Choice::role())),
            Api::Completion => ("text_completion", None),
        };
        let (api, id, usage) = (self.api, self.id.clone(), self.usage());
        let piece = move |text: String| match api {
            Api::Chat => Choice::delta(Some(text), None),
            Api::Completion => Choice::text(text, None),
        };
        let last = match api {
            Api::Chat => Choice::delta(None, Some(self.finish())),
            Api::Completion => Choice::text(String::new(), Some(self.finish())),
        };
        let chunk = move |choices: &[Choice], usage| Event::data(&Answer::new(&id, object, choices, usage));
        let role = role.map(|role| chunk(&[role], null_usage));
        let end = [
            Some(chunk(&[last], null_usage)),
            include_usage.then(|| chunk(&[], Some(Some(usage)))),
            Some(Event::done()),
        ];
        let words = self.speech.pieces().map(move |text| chunk(&[piece(text)], null_usage).waiting());
        role.into_iter().chain(words).chain(end.into_iter().flatten())
    }

    fn finish(&self) -> &'static str {
        if self.speech.cut { "length" } else { "stop" }
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.prompt_words,
            completion_tokens: self.speech.words,
            total_tokens: self.prompt_words + self.speech.words,
            prompt_tokens_details: PromptDetails { cached_tokens: 0 },
            completion_tokens_details: CompletionDetails { reasoning_tokens: 0 },
        }
    }
}

/// An answer or a chunk of one.
#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'static str,
    system_fingerprint: &'static str,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

impl<'a> Answer<'a> {
    fn new(id: &'a str, object: &'static str, choices: &[Choice], usage: Option<Option<Usage>>) -> Self {
        let (created, model, choices) = (CREATED, MODEL, choices.to_vec());
        Self { id, object, created, model, system_fingerprint: "fp_ember_echo", choices, usage }
    }
}

/// The three shapes of a choice.
#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Choice {
    Delta { index: u8, delta: Delta, logprobs: (), finish_reason: Option<&'static str> },
    Message { index: u8, message: Spoken, logprobs: (), finish_reason: Option<&'static str> },
    Text { text: String, index: u8, logprobs: (), finish_reason: Option<&'static str> },
}

impl Choice {
    fn role() -> Self {
        let delta = Delta { role: Some("assistant"), content: Some(String::new()) };
        Self::Delta { index: 0, delta, logprobs: (), finish_reason: None }
    }

    fn delta(content: Option<String>, finish_reason: Option<&'static str>) -> Self {
        Self::Delta { index: 0, delta: Delta { role: None, content }, logprobs: (), finish_reason }
    }

    fn message(content: String, finish_reason: Option<&'static str>) -> Self {
        let message = Spoken { role: "assistant", content, refusal: (), annotations: [] };
        Self::Message { index: 0, message, logprobs: (), finish_reason }
    }

    fn text(text: String, finish_reason: Option<&'static str>) -> Self {
        Self::Text { text, index: 0, logprobs: (), finish_reason }
    }
}

#[derive(Clone, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

#[derive(Clone, Serialize)]
struct Spoken {
    role: &'static str,
    content: String,
    refusal: (),
    annotations: [(); 0],
}

#[derive(Clone, Copy, Serialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Clone, Copy, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}
