//! `/v1/responses` in OpenAI's shapes, whole and as typed events. Never: what is said, state between requests.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::input::Conversation;
use super::reply::{CREATED, Event, Refusal, Reply, new_id};
use super::speech::{Speech, count};
use super::{EchoSettings, MODEL, check_model, parse};

#[derive(Deserialize)]
struct ResponsesRequest {
    model: String,
    input: Option<Conversation>,
    instructions: Option<String>,
    stream: Option<bool>,
    max_output_tokens: Option<u64>,
    ember_echo_delay_ms: Option<u64>,
}

/// Answers an input: repeats what the user said last.
pub(super) fn responses(body: &[u8], settings: EchoSettings) -> Result<Reply, Refusal> {
    let request: ResponsesRequest = parse(body)?;
    check_model(&request.model)?;
    let Some(input) = request.input else {
        return Err(Refusal::bad(Some("input"), "input is missing; give a text or a list of messages"));
    };
    let turn = Turn {
        id: new_id("resp_"),
        item_id: new_id("msg_"),
        speech: Speech::repeating(&input.last, request.max_output_tokens),
        input_words: input.words + request.instructions.as_deref().map_or(0, count),
        instructions: request.instructions,
        words_max: request.max_output_tokens,
    };
    let delay = settings.delay(request.ember_echo_delay_ms)?;
    if request.stream == Some(true) {
        return Ok(Reply::stream(delay, turn.events()));
    }
    let pause: Duration = delay.saturating_mul(u32::try_from(turn.speech.words).unwrap_or(u32::MAX));
    Ok(Reply::json_after(pause, &turn.response(turn.status())))
}

/// One response to be given.
struct Turn {
    id: String,
    item_id: String,
    speech: Speech,
    input_words: u64,
    instructions: Option<String>,
    words_max: Option<u64>,
}

const IN_PROGRESS: &str = "in_progress";

impl Turn {
    fn status(&self) -> &'static str {
        if self.speech.cut { "incomplete" } else { "completed" }
    }

    /// The whole response as it stands: without output and usage while it is in progress.
    fn response(&self, status: &str) -> Value {
        let done = status != IN_PROGRESS;
        let cut = done && self.speech.cut;
        json!({
            "id": self.id,
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": null,
            "incomplete_details": cut.then(|| json!({"reason": "max_output_tokens"})),
            "instructions": self.instructions,
            "max_output_tokens": self.words_max,
            "metadata": {},
            "model": MODEL,
            "output": if done { vec![self.item(status)] } else { Vec::new() },
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "store": false,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": done.then(|| self.usage()),
            "user": null,
        })
    }

    fn usage(&self) -> Value {
        json!({
            "input_tokens": self.input_words,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.speech.words,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.input_words + self.speech.words,
        })
    }

    fn item(&self, status: &str) -> Value {
        let content = if status == IN_PROGRESS { Vec::new() } else { vec![part(&self.speech.text)] };
        json!({"id": self.item_id, "type": "message", "status": status, "role": "assistant", "content": content})
    }

    fn events(self) -> impl Iterator<Item = Event> + Send + 'static {
        let status = self.status();
        let end = if self.speech.cut { "response.incomplete" } else { "response.completed" };
        let id = self.item_id.clone();
        let of_item = |kind: &str| json!({"type": kind, "output_index": 0});
        let of_part = move |kind: &str, name: &str, value: Value| json!({"type": kind, "item_id": id, "output_index": 0, "content_index": 0, name: value});
        let before = [
            json!({"type": "response.created", "response": self.response(IN_PROGRESS)}),
            json!({"type": "response.in_progress", "response": self.response(IN_PROGRESS)}),
            with(of_item("response.output_item.added"), "item", self.item(IN_PROGRESS)),
            of_part("response.content_part.added", "part", part("")),
        ];
        let text = Value::from(self.speech.text.as_str());
        let after = [
            with(of_part("response.output_text.done", "text", text), "logprobs", json!([])),
            of_part("response.content_part.done", "part", part(&self.speech.text)),
            with(of_item("response.output_item.done"), "item", self.item(status)),
            json!({"type": end, "response": self.response(status)}),
        ];
        let words = self.speech.pieces().map(move |piece| {
            let delta = of_part("response.output_text.delta", "delta", Value::from(piece));
            (true, with(delta, "logprobs", json!([])))
        });
        let at_once = |event| (false, event);
        let events = before.into_iter().map(at_once).chain(words).chain(after.into_iter().map(at_once));
        events.enumerate().map(|(number, (waits, event))| {
            let event = with(event, "sequence_number", Value::from(number));
            let named = Event::named(event["type"].as_str().unwrap_or_default(), &event);
            if waits { named.waiting() } else { named }
        })
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// `object` with one more member.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}
